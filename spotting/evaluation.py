"""Scoring a split: predictions to score maps, figures, and SoccerNet's files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spotting import metrics
from spotting.data.annotations import RESULTS_FILE, predictions_from_scores, write_results
from spotting.data.soccernet import Half
from spotting.metrics import Spots, Truths


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


def guessed_score_maps(
    halves: Sequence[Half], num_classes: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Confidences drawn uniformly: what a figure must be compared with to mean anything."""
    return [rng.random((half.num_frames, num_classes), np.float32) for half in halves]


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
