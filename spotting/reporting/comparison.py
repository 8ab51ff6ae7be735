"""Rows against a base: how much better, over which seeds, and how sure with so few games.

In a report the base is the row that is named base, or whose name ends so: `best_study_base`.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.base.errors import InputError
from spotting.base.text_table import text_table
from spotting.reporting.games import Truth, read_predictions, read_truth
from spotting.reporting.runs import WITH, ReportedRow, ReportedRun
from spotting.reporting.settings import format_value, list_hyper_parameters
from spotting.reporting.tables import NONE, Table
from spotting.scoring import metrics
from spotting.scoring.gains import Gain, draw_scores, measure_gain
from spotting.scoring.metrics import Counts

TOLERANCES = {"loose": metrics.LOOSE, "tight": metrics.TIGHT}
_SPLITS = {"valid": "Validation split, to choose by", "test": "Test split"}
_NOTE = (
    "Gains in points of average-mAP: mean, standard deviation over seeds, and 95 % interval over"
    " games, of which both rows have the same draws; an interval with 0 in it shows no gain. Epoch"
    " time is the confidence model's, in units of the base's, as the logs have it."
)


class Comparison(NamedTuple):
    """A row's gain over the base, fractions, for each of `TOLERANCES`; None for a row without."""

    name: str
    seeds: int
    gains: dict[str, Gain]


def compare(base: ReportedRow, others: Sequence[ReportedRow], split: str) -> list[Comparison]:
    """Measures the gain of rows over a base, with displacement where there is one.

    Seeds are taken in the order of their folders, as many as both rows have.

    Args:
      base: what the others are measured against.
      others: the rows.
      split: "test" or "valid".

    Raises:
      InputError: a row has no finished run, or no results for the split, or none of these games.
    """
    truth = read_truth(_of_split(_first(base), split))
    of_base = _score_draws(base, truth, split)
    found = []
    for row in others:
        _first(row)
        of_row = _score_draws(row, truth, split)
        seeds = min(len(base.runs), len(row.runs))
        gains = {
            kind: measure_gain(of_base[kind][:seeds], of_row[kind][:seeds]) for kind in TOLERANCES
        }
        found.append(Comparison(row.name, seeds, gains))
    return found


def table(comparisons: Sequence[Comparison]) -> str:
    """Gains as text, in percent points: mean, spread over seeds, interval over games."""
    rows = [(each.name, str(each.seeds), *_format_gains(each)) for each in comparisons]
    return text_table(rows, ("gain over the base", "seeds", *TOLERANCES))


def find_base(rows: Sequence[ReportedRow]) -> ReportedRow | None:
    """The row that others are to be compared with; None if there is none, or several."""
    named = [row for row in rows if row.name == "base" or row.name.endswith("_base")]
    return named[0] if len(named) == 1 else None


def make_tables(base: ReportedRow, others: Sequence[ReportedRow]) -> list[tuple[str, Table]]:
    """Makes tables, each with its heading: what rows gained over the base, and what they change.

    Beside the gain stands the time of an epoch in units of the base's. Where `compare` raises
    InputError, its message stands below the table.
    """
    found = []
    for split, heading in _SPLITS.items():
        rows = [row for row in others if _has(row, split)]
        if not (rows and _has(base, split)):
            continue
        try:
            gains = [(str(c.seeds), *_format_gains(c)) for c in compare(base, rows, split)]
            note = _NOTE
        except InputError as error:
            gains = [(NONE,) * (1 + len(TOLERANCES))] * len(rows)
            note = f"Not compared: {error}"
        body = [
            (row.name, *cells, _format_cost(base, row))
            for row, cells in zip(rows, gains, strict=True)
        ]
        columns = "Row", "seeds", "avg-mAP", "tight avg-mAP", "epoch time"
        found.append((heading, Table(columns, body, 1, (note,))))
    changes = [(row.name, *cells) for row in others for cells in _list_changes(base, row)]
    settings = Table(("Row", "Setting", base.name, "here"), changes, 4)
    return [*found, ("What the rows change", settings)]


def _has(row: ReportedRow, split: str) -> bool:
    return bool(row.runs) and all(split in run.metrics for run in row.runs)


def _format_gains(comparison: Comparison) -> list[str]:
    cells = []
    for gain in comparison.gains.values():
        mean, low, high = (
            f"{round(100 * each, 1) + 0:+.1f}" for each in (gain.mean, gain.low, gain.high)
        )  # Without the 0 there would be -0.0.
        spread = f" ± {100 * gain.spread:.1f}" if comparison.seeds > 1 else ""
        cells.append(f"{mean}{spread} [{low}, {high}]")
    return cells


def _list_changes(base: ReportedRow, row: ReportedRow) -> list[tuple[str, str, str]]:
    """The settings in which a row differs from the base: name, the base's value, the row's."""
    usual, own = (list_hyper_parameters(each.runs[0].config) for each in (base, row))
    return [
        (name, format_value(usual.get(name, "")), format_value(value))
        for name, value in own.items()
        # A field that the base's version did not have yet was off there.
        if value != usual.get(name) and (value or name in usual)
    ]


def _format_cost(base: ReportedRow, row: ReportedRow) -> str:
    """Time of an epoch of the confidence model, of that of the base."""
    times = [[run.epoch_seconds() for run in each.runs] for each in (base, row)]
    known = [[seconds for seconds in each if seconds] for each in times]
    if not all(known):
        return NONE
    usual, own = (statistics.median(each) for each in known)
    return f"{own / usual:.2f}"


def _first(row: ReportedRow) -> ReportedRun:
    if not row.runs:
        reason = next(iter(row.unfinished), "no run in it")
        raise InputError(f"{row.path}: nothing to compare: {reason}")
    return row.runs[0]


def _of_split(run: ReportedRun, split: str) -> ReportedRun:
    """The run as if it had been scored on this split alone."""
    if split not in run.metrics:
        raise InputError(f"{run.path}: has no results for the {split} split")
    return dataclasses.replace(run, metrics={split: run.metrics[split]})


def _score_draws(row: ReportedRow, truth: Truth, split: str) -> dict[str, np.ndarray]:
    """What `draw_scores` gives of the seeds, for each of `TOLERANCES`."""
    classes = truth.dataset.classes
    games = list(dict.fromkeys(half.game for half in truth.halves))
    game_of_half = [games.index(half.game) for half in truth.halves]
    truths = metrics.truths_from_events(truth.events, classes)
    counts: dict[str, list[Counts]] = {kind: [] for kind in TOLERANCES}
    for run in row.runs:
        predictions = read_predictions(_of_split(run, split), WITH, truth)
        if predictions is None:
            raise InputError(f"{run.path}: its results for the {split} split are not there")
        if not any(predictions):
            raise InputError(f"{run.path}: no spots in the {split} games of {truth.dataset.root}")
        spots = metrics.spots_from_predictions(predictions, classes)
        for kind, tolerances in TOLERANCES.items():
            counts[kind].append(
                metrics.count_by_game(truths, spots, game_of_half, len(classes), tolerances)
            )
    return {kind: draw_scores(each) for kind, each in counts.items()}
