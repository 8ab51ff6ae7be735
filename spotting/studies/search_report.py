"""What a search found: tables, a plot, and a config of the values it chose."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from spotting.base.files import atomic_file
from spotting.base.text_table import text_table
from spotting.runs.config import flatten

_LEFT_OUT = ("scale_note", "tune.")  # of the config that is written


class Round(NamedTuple):
    """The trials of one hyper-parameter.

    Attributes:
      model: "confidence" or "displacement", or "suppression".
      parameter: its name in the config.
      measured: what the scores are, in words.
      values: tried, in ascending order.
      seeds: of the trainings of each.
      scores: [values, seeds], fractions; NaN where a loss diverged.
    """

    model: str
    parameter: str
    measured: str
    values: list[float]
    seeds: tuple[int, ...]
    scores: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Mean over seeds [values]; NaN where a seed diverged."""
        return self.scores.mean(axis=1)

    @property
    def best(self) -> float:
        """The value of the highest mean, the least of equals."""
        return self.values[int(np.nanargmax(self.means))]

    @property
    def is_open(self) -> bool:
        """Whether a value beyond those tried, which are two or more, may be better yet."""
        lowest = self.best == self.values[0] and self.best > 0
        return len(self.values) > 1 and (lowest or self.best == self.values[-1])

    @property
    def title(self) -> str:
        """Model and parameter as people read them."""
        return f"{self.model}: {self.parameter.replace('_', ' ')}"


def table(done: Round) -> str:
    """A round as text."""
    rows = []
    for value, scores in zip(done.values, 100 * done.scores, strict=True):
        cell = "diverged" if math.isnan(scores.mean()) else f"{scores.mean():.2f}"
        if len(scores) > 1 and cell != "diverged":
            cell += f" ± {scores.std(ddof=1):.2f}"
        mark = ""
        if value == done.best:
            mark = "<- chosen" + (": no value beyond it was tried" if done.is_open else "")
        rows.append((f"{value:g}", cell, mark))
    title = f"{done.title}; {done.measured} on the validation split, percent"
    return f"\n{title}\n{text_table(rows, names=3, indent='  ')}"


def csv_text(rounds: Sequence[Round]) -> str:
    """Every trial as CSV, one line for each value and seed; scores in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("round", "model", "parameter", "value", "seed", "measured", "score", "chosen"))
    for number, done in enumerate(rounds, 1):
        for value, scores in zip(done.values, 100 * done.scores, strict=True):
            for seed, score in zip(done.seeds, scores, strict=True):
                chosen = int(value == done.best)
                row = number, done.model, done.parameter, value, seed, done.measured, score, chosen
                writer.writerow(row)
    return text.getvalue()


def plot(rounds: Sequence[Round], path: Path) -> None:
    """Draws every trial, a panel for each round, as a PNG file.

    Candidates stand at equal distances: they are about geometric, and 0 is among them.
    """
    columns = min(4, len(rounds))
    rows = -(-len(rounds) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, done in zip(panels, rounds, strict=False):
        places, scores = np.arange(len(done.values)), 100 * done.scores
        panel.plot(places, scores, ".", color="0.6", zorder=1)
        panel.plot(places, scores.mean(axis=1), "-", color="C0", zorder=2)
        best = done.values.index(done.best)
        panel.plot(best, scores[best].mean(), "o", color="C0", markersize=8, zorder=3)
        diverged = np.flatnonzero(np.isnan(done.means))
        panel.plot(diverged, np.full(len(diverged), np.nanmin(scores)), "x", color="C3")
        panel.set_xticks(places, [f"{value:g}" for value in done.values], rotation=45, fontsize=8)
        panel.set_title(done.title, fontsize=10)
        panel.set_ylabel(f"{done.measured} (%)", fontsize=8)
        panel.grid(axis="y", alpha=0.3)
    for panel in panels[len(rounds) :]:
        panel.set_axis_off()
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=120)


def config_file(chosen: ConfigDict, workdir: Path) -> str:
    """A config file of the values chosen: what differs from configs/common.py."""
    from configs import common

    usual = flatten(common.get_config().to_dict())
    changes = [
        f"    config.{name} = {value!r}"
        for name, value in flatten(chosen.to_dict()).items()
        if not name.startswith(_LEFT_OUT) and usual.get(name) != value
    ]
    return "\n".join(
        [
            '"""Values that python -m spotting.tune chose on the validation split.',
            "",
            f"    python -m spotting.main --config={workdir / 'tuned.py'}",
            '"""',
            "",
            "from ml_collections import ConfigDict",
            "",
            "from configs import common",
            "",
            "",
            "def get_config() -> ConfigDict:",
            "    config = common.get_config()",
            *changes,
            "    return config",
            "",
        ]
    )
