"""Scoring a split: predictions to score maps, figures, and SoccerNet's files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spotting.base.files import write_json_atomic
from spotting.data.annotations import RESULTS_FILE, predictions_from_scores, write_results
from spotting.data.halves import Half
from spotting.inference.postprocessing import Suppression, score_map
from spotting.scoring import metrics
from spotting.scoring.metrics import Spots, Truths


def truths(halves: Sequence[Half], classes: Sequence[str]) -> Truths:
    """The annotated actions of a split, placed as SoccerNet's evaluator places them."""
    return metrics.truths_from_events([half.events for half in halves], classes)


def figures(truth: Truths, spots: Spots, classes: Sequence[str]) -> dict[str, Any]:
    """Loose and tight average-mAP in percent, overall and per class, as metrics.json holds them."""
    loose, tight = (
        metrics.average_map(truth, spots, len(classes), tolerances)["all"]
        for tolerances in (metrics.LOOSE, metrics.TIGHT)
    )
    return {
        "loose": 100 * loose.map,
        "tight": 100 * tight.map,
        "per_class": {
            name: {
                "loose": 100 * float(loose.per_class[k]),
                "tight": 100 * float(tight.per_class[k]),
            }
            for k, name in enumerate(classes)
        },
    }


def write_split(
    directory: Path,
    halves: Sequence[Half],
    score_maps: Iterable[np.ndarray],
    classes: Sequence[str],
    frame_rate: float,
) -> None:
    """Writes `<game>/results_spotting.json` for every game of a split."""
    games: dict[str, list] = {}
    for half, scores in zip(halves, score_maps, strict=True):
        spots = predictions_from_scores(scores, half.number, classes, frame_rate)
        games.setdefault(half.game, []).extend(spots)
    for game, spots in games.items():
        write_results(directory / game / RESULTS_FILE, game, spots)


def score_split(
    folder: Path,
    halves: Sequence[Half],
    classes: Sequence[str],
    frame_rate: float,
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray],
    suppression: Suppression,
) -> tuple[dict[str, Any], Spots]:
    """Turns the predictions of a split into spots, writes them, and scores them.

    Args:
      folder: gets `results` and `results_without_displacement`.
      halves: of the split, with their events.
      classes: names of the K classes.
      frame_rate: of the predictions.
      confidence: [N, K] of each half, in [0, 1].
      displacement: [N, K] of each half, in frames.
      suppression: which NMS.

    Returns:
      The split's part of metrics.json, and the spots with displacement.
    """
    truth = truths(halves, classes)

    def score_maps(
        scores: Sequence[np.ndarray], shifts: Sequence[np.ndarray | None]
    ) -> list[np.ndarray]:
        pairs = zip(scores, shifts, strict=True)
        return [score_map(*pair, frame_rate, suppression) for pair in pairs]

    unmoved = [None] * len(halves)
    without = score_maps(confidence, unmoved)
    write_split(folder / "results_without_displacement", halves, without, classes, frame_rate)
    with_displacement = score_maps(confidence, displacement)
    write_split(folder / "results", halves, with_displacement, classes, frame_rate)
    spots = metrics.spots_from_score_maps(with_displacement, frame_rate)
    guesses = score_maps(_guesses(halves, len(classes)), unmoved)
    result = {
        "with_displacement": figures(truth, spots, classes),
        "without_displacement": figures(
            truth, metrics.spots_from_score_maps(without, frame_rate), classes
        ),
        "guessing": figures(truth, metrics.spots_from_score_maps(guesses, frame_rate), classes),
    }
    return result, spots


def _guesses(halves: Sequence[Half], num_classes: int) -> list[np.ndarray]:
    """Confidences drawn uniformly: what a figure must be compared with to mean anything."""
    generator = np.random.default_rng(0)
    return [generator.random((half.num_frames, num_classes), np.float32) for half in halves]


def write_thresholds(
    workdir: Path, truth: Truths, spots: Spots, classes: Sequence[str], tolerance: float
) -> None:
    """Writes thresholds.json: per class, the confidence from which on F1 is greatest.

    Args:
      workdir: the run's folder.
      truth: of the validation split.
      spots: of the validation split.
      classes: names of the K classes.
      tolerance: seconds, within which a spot is right.
    """
    thresholds, _ = metrics.best_f1_thresholds(truth, spots, len(classes), tolerance)
    named = dict(zip(classes, thresholds.tolist(), strict=True))
    write_json_atomic(workdir / "thresholds.json", named)


def table(result: dict[str, Any], split: str) -> str:
    """The figures of a split as people read them; `result` is the split's part of metrics.json."""

    def row(name: str, loose: Any, tight: Any) -> str:
        return f"{name:<34}{loose:>8}{tight:>8}"

    def figures_row(name: str, values: dict[str, float]) -> str:
        return row(name, f"{values['loose']:.1f}", f"{values['tight']:.1f}")

    lines = [row(f"average-mAP, {split} split", "loose", "tight")]
    for name in ("with_displacement", "without_displacement", "guessing"):
        lines.append(figures_row(f"  {name.replace('_', ' ')}", result[name]))
    lines.append("per class, with displacement")
    for name, values in result["with_displacement"]["per_class"].items():
        lines.append(figures_row(f"  {name}", values))
    return "\n".join(lines)


def summarize(scores: dict[str, Any]) -> dict[str, Any]:
    """A split's part of metrics.json without its classes."""
    return {
        variant: {key: values[key] for key in ("loose", "tight")}
        for variant, values in scores.items()
    }
