"""Everything that a report is about: the rows, the truth, and what was measured of each run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spotting.base.errors import InputError
from spotting.data.annotations import Prediction
from spotting.data.dataset import SOCCERNET_V2
from spotting.reporting.games import MissingTruth, Truth, read_predictions, read_truth
from spotting.reporting.measures import Measures, measure
from spotting.reporting.runs import (
    WITH,
    WITHOUT,
    ReportedRow,
    ReportedRun,
    is_any_of_paper,
    name_by_data,
    scale_notes,
)


@dataclass(frozen=True)
class MeasuredRow:
    """A row with what its runs' spots show: for each variant one result for each seed.

    The lists are empty where there are no spots or no truth.
    """

    row: ReportedRow
    measures: dict[str, list[Measures]]


@dataclass(frozen=True)
class ReportedStudy:
    """The rows of a report, all on one data set, and what could not be looked at."""

    rows: tuple[MeasuredRow, ...]
    truth: Truth | None
    missing: tuple[str, ...]

    @property
    def finished(self) -> list[MeasuredRow]:
        """The rows with at least one finished run."""
        return [row for row in self.rows if row.row.runs]

    @property
    def data_name(self) -> str:
        """The data set, as a reader knows it."""
        if self.truth:
            return self.truth.dataset.name
        return _described_name(row.row for row in self.rows) or "data that is not at hand"

    @property
    def comparable(self) -> bool:
        """Whether the data is SoccerNet-v2, so that the paper's levels are a measure."""
        return self.truth is not None and self.truth.is_soccernet_v2

    def title(self) -> str:
        """Names the data, and whatever shrank the study."""
        notes = scale_notes([row.row for row in self.rows], self.comparable)
        return f"Action spotting on {self.data_name}" + "".join(f" ({note})" for note in notes)

    def summary(self) -> str:
        """A few sentences on data, trainings and terms."""
        parts = []
        if self.truth:
            actions = sum(map(len, self.truth.events))
            parts.append(
                f"{self.data_name}, {self.truth.split} split: {len(self.truth.halves)} halves with"
                f" {actions:,} actions of {len(self.truth.dataset.classes)} classes."
            )
        runs = sum(len(row.row.runs) for row in self.rows)
        parts.append(f"{_count(len(self.finished), 'method')}, {_count(runs, 'training')}.")
        parts.append(
            "Average-mAP (loose) is over tolerances of 5 to 60 s, tight average-mAP over 1 to 5 s,"
            " in percent."
        )
        return " ".join(parts)

    def warnings(self) -> list[str]:
        """What a reader must know before the numbers."""
        lines = []
        if is_any_of_paper([row.row for row in self.rows]) and not self.comparable:
            lines.append(
                f"Ours: {self.data_name}. The paper's: SoccerNet-v2. The paper's numbers stand"
                " beside ours to show which row is which and how its components act; comparing"
                " levels across data sets means nothing, so no differences are given."
            )
        if any(run.split == "valid" for row in self.finished for run in row.row.runs):
            lines.append("There is no test split: metrics are of the one that chose the models.")
        for row in self.rows:
            lines += [f"No result for {row.row.name}: {reason}" for reason in row.row.unfinished]
        return [*lines, *self.missing]


def read_study(rows: Sequence[ReportedRow], progress: Callable[[str], None]) -> ReportedStudy:
    """Reads the truth and measures every run's spots against it.

    Args:
      rows: See `runs.read_rows`.
      progress: Gets a line before each run is read.

    Raises:
      InputError: no run is finished, the runs are on several data sets, or a file is broken.
    """
    if not any(row.runs for row in rows):
        raise InputError(f"no training has a result yet: {rows[0].unfinished[0]}")
    truth, missing = _read_common_truth([run for row in rows for run in row.runs])
    data = truth.dataset.name if truth else _described_name(rows)
    if data not in ("", SOCCERNET_V2):
        rows = name_by_data(rows, data)
    measured = []
    for row in rows:
        measures: dict[str, list[Measures]] = {WITH: [], WITHOUT: []}
        for run in row.runs:
            if truth is None:
                break
            progress(f"reading {run.path}")
            for variant, found in measures.items():
                predictions = read_predictions(run, variant, truth)
                if predictions is not None:
                    found.append(measure(truth.events, predictions, truth.dataset.classes))
                elif variant == WITH:
                    missing.append(f"{run.path}: no results folder, so its spots are not shown")
        measured.append(MeasuredRow(row, measures))
    return ReportedStudy(tuple(measured), truth, tuple(missing))


def _read_common_truth(runs: Sequence[ReportedRun]) -> tuple[Truth | None, list[str]]:
    """The truth of all runs; without it, why the figures that need it are left out."""
    truths: dict[tuple[Path, str], Truth] = {}
    missing: dict[tuple[Path, str], str] = {}
    for run in runs:
        key = run.data_root, run.split
        if key not in truths and key not in missing:
            try:
                truths[key] = read_truth(run)
            except MissingTruth as error:
                missing[key] = f"Figures that need the truth are left out: {error}"
    names = {f"{truth.dataset.name} ({truth.split})" for truth in truths.values()}
    if len(names) > 1:
        several = ", ".join(sorted(names))
        raise InputError(f"the runs are on several sets of games, {several}: report each by itself")
    if missing or not truths:
        return None, list(missing.values())
    return next(iter(truths.values())), []


def read_first_predictions(study: ReportedStudy) -> dict[str, list[list[Prediction]]]:
    """Reads the spots of each method's first training, with displacement."""
    found = {}
    if study.truth is None:
        return {}
    for row in study.finished:
        predictions = read_predictions(row.row.runs[0], WITH, study.truth)
        if predictions is not None:
            found[row.row.name] = predictions
    return found


def _described_name(rows: Iterable[ReportedRow]) -> str:
    """The data set's name as the runs' own dataset.json have it; "" where they have none."""
    names = [str(run.description.get("name", "")) for row in rows for run in row.runs]
    return next(filter(None, names), "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
