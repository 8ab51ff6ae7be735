"""The results files of a run: the spots of each game, and the thresholds of each class."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spotting.base.files import write_json_atomic
from spotting.base.logs import RunLog
from spotting.data.annotations import RESULTS_FILE, make_predictions, write_results
from spotting.data.halves import Half
from spotting.inference.oracle import Outputs, predict_truth
from spotting.inference.postprocessing import Suppression
from spotting.notation import Confidence, Displacement
from spotting.runs import layout
from spotting.runs.predictions import save_predictions
from spotting.runs.setup import Setup, read_offsets, read_oracle, read_suppression
from spotting.scoring import metrics
from spotting.scoring.figures import SplitScores, make_truths, score_variants, summarize
from spotting.scoring.metrics import Spots, Truths


def write_variants(
    folder: Path,
    halves: Sequence[Half],
    scored: SplitScores,
    classes: Sequence[str],
) -> None:
    """Writes the spots of a split with displacement and without, each into its folder.

    Args:
      folder: gets `results` and `results_without_displacement`.
      halves: of the split.
      scored: of `score_variants`.
      classes: names of the K classes.
    """
    for name, spotted in (
        (layout.RESULTS, scored.spotted),
        (layout.RESULTS_WITHOUT_DISPLACEMENT, scored.without_displacement),
    ):
        if spotted is not None:
            maps, rate = spotted.score_maps, spotted.frame_rate
            write_split(folder / name, halves, maps, classes, rate)


def write_split(
    folder: Path,
    halves: Sequence[Half],
    score_maps: Iterable[np.ndarray],
    classes: Sequence[str],
    frame_rate: float,
) -> None:
    """Writes `<game>/results_spotting.json` for every game of a split."""
    games: dict[str, list] = {}
    for half, scores in zip(halves, score_maps, strict=True):
        spots = make_predictions(scores, half.number, classes, frame_rate)
        games.setdefault(half.game, []).extend(spots)
    for game, spots in games.items():
        write_results(folder / game / RESULTS_FILE, game, spots)


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
    write_json_atomic(workdir / layout.THRESHOLDS, named)


def score_split(
    folder: Path,
    halves: Sequence[Half],
    classes: Sequence[str],
    frame_rate: float,
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray] | None,
    suppression: Suppression,
    oracle: Outputs | None = None,
) -> tuple[dict[str, Any], Spots]:
    """Scores a split's predictions and writes their spots; see `score_variants`.

    Returns:
      The split's part of metrics.json, and the spots with displacement.
    """
    scored = score_variants(
        halves, classes, frame_rate, confidence, displacement, suppression, oracle
    )
    write_variants(folder, halves, scored, classes)
    return scored.scores, scored.spotted.spots


def score_and_write(
    setup: Setup,
    workdir: Path,
    split: str,
    confidence: Sequence[Confidence],
    displacement: Sequence[Displacement] | None = None,
) -> dict[str, Any]:
    """Scores a run's predictions for a split and writes all that follows from them.

    Args:
      setup: of the run.
      workdir: the seed's run folder.
      split: "valid" or "test".
      confidence: [N, K] of each half, in [0, 1].
      displacement: [N, K] of each half, in frames; None for a system that has none.

    Returns:
      The split's part of metrics.json.
    """
    config, classes, halves = setup.config, setup.matches.classes, setup.matches.splits[split]
    if config.inference.save_predictions:
        save_predictions(workdir, split, halves, confidence, displacement)
    scores, spots = score_split(
        layout.locate_split(workdir, split),
        halves,
        classes,
        setup.matches.dataset.frame_rate,
        confidence,
        displacement,
        read_suppression(config, len(classes)),
        predict_truth(
            read_offsets(config, setup.matches.dataset, halves),
            read_oracle(config, setup.matches.dataset.frame_rate),
        ),
    )
    if split == "valid":
        tolerance = config.postprocessing.f1_tolerance
        write_thresholds(workdir, make_truths(halves, classes), spots, classes, tolerance)
    return scores


def write_metrics(workdir: Path, run_log: RunLog, metrics: dict[str, Any]) -> None:
    """Writes metrics.json, and a line of it into the log."""
    write_json_atomic(workdir / layout.METRICS, metrics)
    run_log.write("test", **{split: summarize(scores) for split, scores in metrics.items()})
