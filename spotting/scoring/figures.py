"""How good the predictions for a split are: score maps, the spots in them, average-mAP.

    confidence, displacement [N, K] of each half -> score maps [N, K] -> Spots -> AverageMap

Nothing here writes files; runs/results.py does.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from spotting.base.text_table import text_table
from spotting.data.halves import Half
from spotting.inference.oracle import Outputs
from spotting.inference.postprocessing import Suppression, score_map
from spotting.scoring import metrics
from spotting.scoring.intervals import bootstrap_interval
from spotting.scoring.metrics import AverageMap, Spots, Truths


class Spotted(NamedTuple):
    """What was spotted in the halves of a split.

    Attributes:
      score_maps: float32 [N, K] of each half, the score of each spot, -1 elsewhere.
      frame_rate: of the score maps.
      spots: the same as a table.
    """

    score_maps: list[np.ndarray]
    frame_rate: float
    spots: Spots


class SplitScores(NamedTuple):
    """The scores of a split's predictions, and the spots that were scored.

    Attributes:
      scores: the split's part of metrics.json: with displacement, without it, of guesses, and of
        the truth itself as perfect models would output it.
      spotted: with displacement.
      without_displacement: every confidence where it was predicted; None for a system that has no
        displacement.
    """

    scores: dict[str, Any]
    spotted: Spotted
    without_displacement: Spotted | None


def make_truths(halves: Sequence[Half], classes: Sequence[str]) -> Truths:
    """The annotated actions of a split, placed as SoccerNet's evaluator places them."""
    return metrics.truths_from_events([half.events for half in halves], classes)


def spot_split(
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray] | None,
    frame_rate: float,
    suppression: Suppression,
) -> Spotted:
    """Spots the actions of a split from what the two models predicted.

    Args:
      confidence: [N, K] of each half, in [0, 1].
      displacement: [N, K] of each half, in frames; None leaves confidences where they are.
      frame_rate: of the predictions.
      suppression: which NMS.
    """
    shifts = [None] * len(confidence) if displacement is None else displacement
    pairs = zip(confidence, shifts, strict=True)
    maps = [score_map(scores, shift, frame_rate, suppression) for scores, shift in pairs]
    rate = suppression.votes.output_rate(frame_rate)
    return Spotted(maps, rate, metrics.spots_from_score_maps(maps, rate))


def score_predictions(
    truth: Truths,
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray] | None,
    frame_rate: float,
    suppression: Suppression,
    tolerances: Sequence[float],
) -> AverageMap:
    """Average-mAP of a split's predictions over some tolerances, in seconds.

    Args:
      truth: of the split, of `make_truths`.
      confidence: as `spot_split`.
      displacement: as `spot_split`.
      frame_rate: as `spot_split`.
      suppression: as `spot_split`.
      tolerances: such as `metrics.LOOSE`.
    """
    spots = spot_split(confidence, displacement, frame_rate, suppression).spots
    return metrics.average_map(truth, spots, confidence[0].shape[1], tolerances)["all"]


def score_spots(
    truth: Truths, spots: Spots, classes: Sequence[str], games: Sequence[int] = ()
) -> dict[str, Any]:
    """Loose and tight average-mAP in percent, overall and per class, as metrics.json holds them.

    Args:
      truth: of a split.
      spots: of the same halves.
      classes: names of the K classes.
      games: of each half, the index of its game, for the 95 % intervals beside both; without it
        there are none.
    """
    loose, tight = (
        metrics.average_map(truth, spots, len(classes), tolerances)["all"]
        for tolerances in (metrics.LOOSE, metrics.TIGHT)
    )
    interval = {}
    if len(games):
        for name, tolerances in (("loose", metrics.LOOSE), ("tight", metrics.TIGHT)):
            ends = bootstrap_interval(truth, spots, games, len(classes), tolerances)
            interval[name] = None if ends is None else [100 * end for end in ends]
    return {
        "loose": 100 * loose.map,
        "tight": 100 * tight.map,
        **({"interval": interval} if interval else {}),
        "per_class": {
            name: {
                "loose": 100 * float(loose.per_class[k]),
                "tight": 100 * float(tight.per_class[k]),
            }
            for k, name in enumerate(classes)
        },
    }


def score_variants(
    halves: Sequence[Half],
    classes: Sequence[str],
    frame_rate: float,
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray] | None,
    suppression: Suppression,
    oracle: Outputs | None = None,
) -> SplitScores:
    """Scores a split's predictions with displacement and without, beside guesses and the truth.

    Args:
      halves: of the split, with their events.
      classes: names of the K classes.
      frame_rate: of the predictions.
      confidence: [N, K] of each half, in [0, 1].
      displacement: [N, K] of each half, in frames; None for a system that has none.
      suppression: which NMS.
      oracle: what perfect models would predict, of `inference.oracle`; None to do without.
    """
    truth = make_truths(halves, classes)
    names = [half.game for half in halves]
    games = [list(dict.fromkeys(names)).index(name) for name in names]

    def spot(scores: Sequence[np.ndarray], shifts: Sequence[np.ndarray] | None) -> Spotted:
        return spot_split(scores, shifts, frame_rate, suppression)

    spotted = spot(confidence, displacement)
    scores = {"with_displacement": score_spots(truth, spotted.spots, classes, games)}
    without = None
    if displacement is not None:
        without = spot(confidence, None)
        scores["without_displacement"] = score_spots(truth, without.spots, classes, games)
    guessed = spot(_draw_guesses(halves, len(classes)), None)
    scores["guessing"] = score_spots(truth, guessed.spots, classes, games)
    if oracle is not None:
        perfect = spot(oracle.confidence, oracle.displacement)
        scores["oracle"] = score_spots(truth, perfect.spots, classes, games)
    return SplitScores(scores, spotted, without)


def format_scores(scores: dict[str, Any], split: str) -> str:
    """The scores of a split as people read them; `scores` is the split's part of metrics.json."""

    def make_row(name: str, values: dict[str, float]) -> tuple[str, ...]:
        return f"  {name}", f"{values['loose']:.1f}", f"{values['tight']:.1f}"

    variants = ("with_displacement", "without_displacement", "guessing", "oracle")
    rows: list[tuple[str, ...] | str] = [
        make_row(name.replace("_", " "), scores[name]) for name in variants if name in scores
    ]
    rows.append("per class, with displacement")
    rows += [
        make_row(name, values) for name, values in scores["with_displacement"]["per_class"].items()
    ]
    return text_table(rows, (f"average-mAP, {split} split", "loose", "tight"))


def summarize(scores: dict[str, Any]) -> dict[str, Any]:
    """A split's part of metrics.json without its classes."""
    return {
        variant: {key: values[key] for key in ("loose", "tight")}
        for variant, values in scores.items()
    }


def _draw_guesses(halves: Sequence[Half], num_classes: int) -> list[np.ndarray]:
    """Confidences drawn uniformly: what a score must be compared with to mean anything."""
    generator = np.random.default_rng(0)
    return [generator.random((half.num_frames, num_classes), np.float32) for half in halves]
