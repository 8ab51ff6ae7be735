"""Rows against a base: how much better, over which seeds, and how sure with so few games."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from spotting.base.errors import InputError
from spotting.base.text_table import text_table
from spotting.reporting.games import Truth, read_predictions, read_truth
from spotting.reporting.runs import WITH, ReportedRow, ReportedRun
from spotting.scoring import metrics
from spotting.scoring.gains import Gain, measure_gain
from spotting.scoring.metrics import Counts

TOLERANCES = {"loose": metrics.LOOSE, "tight": metrics.TIGHT}


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
    of_base = _count(base, truth, split)
    found = []
    for row in others:
        _first(row)
        of_row = _count(row, truth, split)
        seeds = min(len(of_base), len(of_row))
        gains = {
            kind: measure_gain(
                [counts[kind] for counts in of_base[:seeds]],
                [counts[kind] for counts in of_row[:seeds]],
            )
            for kind in TOLERANCES
        }
        found.append(Comparison(row.name, seeds, gains))
    return found


def table(comparisons: Sequence[Comparison]) -> str:
    """Gains as text, in percent points: mean, spread over seeds, interval over games."""
    rows = []
    for each in comparisons:
        cells = []
        for gain in each.gains.values():
            cell = f"{100 * gain.mean:+.1f}"
            if each.seeds > 1:
                cell += f" ± {100 * gain.spread:.1f}"
            cells.append(f"{cell} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]")
        rows.append((each.name, str(each.seeds), *cells))
    return text_table(rows, ("gain over the base", "seeds", *TOLERANCES))


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


def _count(row: ReportedRow, truth: Truth, split: str) -> list[dict[str, Counts]]:
    """Counts by game of each seed, for each of `TOLERANCES`."""
    classes = truth.dataset.classes
    games = list(dict.fromkeys(half.game for half in truth.halves))
    game_of_half = [games.index(half.game) for half in truth.halves]
    truths = metrics.truths_from_events(truth.events, classes)
    found = []
    for run in row.runs:
        predictions = read_predictions(_of_split(run, split), WITH, truth)
        if predictions is None:
            raise InputError(f"{run.path}: its results for the {split} split are not there")
        if not any(predictions):
            raise InputError(f"{run.path}: no spots in the {split} games of {truth.dataset.root}")
        spots = metrics.spots_from_predictions(predictions, classes)
        found.append(
            {
                kind: metrics.count_by_game(truths, spots, game_of_half, len(classes), tolerances)
                for kind, tolerances in TOLERANCES.items()
            }
        )
    return found
