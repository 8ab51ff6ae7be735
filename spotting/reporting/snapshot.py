"""A figure of what was spotted when, in one half of a game: timeline.png."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spotting import timing
from spotting.base.errors import InputError
from spotting.base.files import atomic_file
from spotting.base.text_table import printable
from spotting.data.annotations import Event, Prediction
from spotting.reporting.games import LabelledHalf, read_predictions, read_truth
from spotting.reporting.runs import WITH, read_run
from spotting.runs.layout import TIMELINE
from spotting.scoring import metrics

TOLERANCE = 5.0
THRESHOLD = 0.5
"""Of spots in a run that has no thresholds of its own."""

_HIT, _FALSE_ALARM, _INK, _TRUTH, _GRID = "#0067b1", "#d04a00", "#111111", "#8b939d", "#dfe3e8"
_HEIGHT = 0.72  # of a lane that confidence 1 reaches


def write_snapshot(
    workdir: str | os.PathLike, game: str | None = None, number: int | None = None
) -> Path:
    """Draws truth and spots of one half of the split that a run's metrics are of.

    Args:
      workdir: A finished run directory; `timeline.png` is written into it.
      game: The game; by default the first of the split.
      number: The half; by default the first of the game.

    Returns:
      The path of the figure.

    Raises:
      InputError: the run has no results, its data is not there, or it has no such half.
    """
    run = read_run(Path(workdir))
    truth = read_truth(run)
    predictions = read_predictions(run, WITH, truth)
    if predictions is None:
        raise InputError(f"{workdir}: no results folder; run spotting.main --mode=evaluate")
    chosen = [
        (half, spots)
        for half, spots in zip(truth.halves, predictions, strict=True)
        if game in (None, half.game) and number in (None, half.number)
    ]
    if not chosen:
        raise InputError(f"{workdir}: no half {number} of game {game!r} in split {truth.split}")
    half, spots = chosen[0]
    classes, limits = truth.dataset.classes, run.thresholds or {}
    spots = [
        spot
        for spot in spots
        if spot.label in classes and spot.confidence >= limits.get(spot.label, THRESHOLD)
    ]
    path = Path(workdir) / TIMELINE
    figure = _draw(half, spots, classes, limits)
    with atomic_file(path) as file, warnings.catch_warnings():
        # A name may be in a script that no installed font has; boxes say as much.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(file, format="png", dpi=150)
    return path


def _draw(
    half: LabelledHalf,
    spots: Sequence[Prediction],
    classes: Sequence[str],
    limits: Mapping[str, float],
) -> Figure:
    # Not pyplot: it would choose a backend for the whole process.
    figure = Figure(figsize=(11, 1.9 + 0.42 * len(classes)), layout="constrained")
    axes = figure.add_subplot()
    _draw_lanes(axes, half.seconds, classes)
    lane = {name: k for k, name in enumerate(classes)}
    hits, found = _match(half.events, spots, classes)
    for i, event in enumerate(half.events):
        dashes: Any = "-" if event.visible else (0, (2, 2))
        bottom, top = _y(lane[event.label], -0.1), _y(lane[event.label], 1.1)
        axes.plot([event.position] * 2, [bottom, top], color=_TRUTH, linestyle=dashes, zorder=2)
        if i not in found:
            axes.plot(event.position, _y(lane[event.label], 0), **_MISS)
    for i, spot in enumerate(spots):
        style = _HIT_STYLE if i in hits else _FALSE_STYLE
        axes.plot(spot.position, _y(lane[spot.label], spot.confidence), **style)

    keys: tuple[tuple[dict[str, Any], str], ...] = (
        ({"color": _TRUTH}, f"in truth ({len(half.events)}; dashed: not shown)"),
        (_HIT_STYLE, f"hit ({len(hits)})"),
        (_MISS, f"miss ({len(half.events) - len(found)})"),
        (_FALSE_STYLE, f"false alarm ({len(spots) - len(hits)})"),
    )
    for style, label in keys:
        axes.plot([], [], **style, label=label)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    chosen = "its class's threshold (best F1 on validation)" if limits else f"{THRESHOLD:g}"
    axes.set_title(
        f"{printable(half.game)}, half {half.number}: what happened and what was spotted\n",
        loc="left",
        parse_math=False,  # "$" in a name begins no formula
    )
    axes.text(
        0,
        1.015,
        f"Height in a lane is confidence; a spot counts from {chosen} on; a hit is within"
        f" {TOLERANCE / 2:g} s of its truth.",
        transform=axes.transAxes,
        color="#59616b",
        fontsize=9,
    )
    return figure


_HIT_STYLE: dict[str, Any] = {
    "color": _HIT,
    "marker": "o",
    "markersize": 7,
    "linestyle": "",
    "zorder": 4,
}
_FALSE_STYLE: dict[str, Any] = {
    "color": _FALSE_ALARM,
    "marker": "x",
    "markersize": 7,
    "markeredgewidth": 2,
    "linestyle": "",
    "zorder": 4,
}
_MISS: dict[str, Any] = {
    "color": _INK,
    "marker": "D",
    "markersize": 6,
    "markerfacecolor": "white",
    "markeredgewidth": 1.6,
    "linestyle": "",
    "zorder": 3,
}


def _draw_lanes(axes: Axes, seconds: float, classes: Sequence[str]) -> None:
    for k in range(len(classes)):
        axes.axhspan(k - 0.46, k + 0.46, color="#f5f6f8", zorder=0)
    axes.set_yticks(range(len(classes)), [*map(printable, classes)], parse_math=False)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(-0.01 * seconds, 1.01 * seconds)
    steps = (30, 60, 120, 300, 600, 1800, 3600)
    step = next((step for step in steps if seconds / step <= 12), seconds / 12)
    marks = np.arange(0, seconds + 1, step)
    axes.set_xticks(marks, [timing.clock(mark).partition(".")[0] for mark in marks])
    axes.grid(axis="x", color=_GRID, zorder=1)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _y(lane: int, confidence: float) -> float:
    return lane + _HEIGHT * (0.5 - confidence)


def _match(
    events: Sequence[Event], spots: Sequence[Prediction], classes: Sequence[str]
) -> tuple[set[int], set[int]]:
    """Indexes of the spots that are hits, and of the events that are found."""
    matches = metrics.match(
        metrics.truths_from_events([events], classes),
        metrics.spots_from_predictions([spots], classes),
        TOLERANCE,
    )
    return set(matches.spot.tolist()), set(matches.truth.tolist())
