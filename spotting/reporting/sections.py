"""The sections of the report, each from the study's measures to tables and plots."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.reporting import comparison, curves, gains, paper, tables
from spotting.reporting.details import make_details
from spotting.reporting.games import make_timeline_games
from spotting.reporting.measures import TOLERANCES, Measures
from spotting.reporting.page import escape
from spotting.reporting.runs import WITH, WITHOUT, ReportedRow, count_seeds, is_any_of_paper
from spotting.reporting.settings import format_duration, make_settings_table
from spotting.reporting.study import MeasuredRow, ReportedStudy, read_first_predictions
from spotting.reporting.tables import NONE, Table
from spotting.reporting.timeline import make_timeline

_SHOWN_TOLERANCES = (1, 2, 3, 4, 5, 10, 15, 20)
_REACHES = (0.5, 1, 2, 5)  # seconds, of temporal errors


class Section(NamedTuple):
    """A part of the report; the tables go into the Markdown too."""

    anchor: str
    title: str
    html: str = ""
    tables: Sequence[tuple[str, Table]] = ()  # heading, table


def make_sections(study: ReportedStudy) -> list[Section]:
    """Makes the sections that the study has measures for, in reading order."""
    rows = [row.row for row in study.finished]
    if is_any_of_paper(rows):
        found = [
            Section(
                "table-1", "Table 1", tables=[("", tables.make_table_1(rows, study.comparable))]
            ),
            Section(
                "table-2", "Table 2", tables=[("", tables.make_table_2(rows, study.comparable))]
            ),
        ]
    else:
        found = [Section("results", "Results", tables=[("", tables.make_results(rows))])]
    added = gains.measure_gains(rows)
    if added:
        found.append(_make_gains(added, count_seeds(rows)))
    measured = [row for row in study.finished if row.measures[WITH]]
    found += _compare_with_base(measured)
    if measured:
        found.append(_make_figure_2(measured))
        found.append(_make_temporal_error(measured))
    if any(run.class_scores(WITH, "tight") for row in rows for run in row.runs):
        per_class = [
            (f"{kind.capitalize()} average AP (%)", tables.make_per_class(rows, kind))
            for kind in ("tight", "loose")
        ]
        found.append(Section("classes", "Average precision by class", tables=per_class))
    found += [_make_details(study), *_make_timeline(study)]
    found.append(Section("settings", "Settings", tables=[("", make_settings_table(rows))]))
    found.append(Section("runs", "Trainings", tables=[("", _list_runs(study))]))
    return found


def _make_gains(added: Sequence[gains.Gain], seeds: int) -> Section:
    over_seeds = ", mean and standard deviation over seeds" if seeds > 1 else ""
    text = f"<p>Points of average-mAP{over_seeds}.</p>"
    keys = curves.make_legend([("s0", "loose"), ("s1", "tight")])
    drawn = f"{text}{keys}<figure>{curves.draw_gains(added)}</figure>"
    return Section("gains", "What each component adds", drawn, [("", gains.make_table(added))])


def _compare_with_base(measured: Sequence[MeasuredRow]) -> list[Section]:
    rows = [row.row for row in measured]
    base = comparison.find_base(rows)
    others = [row for row in rows if row is not base]
    if base is None or not others:
        return []
    title = f"Gain over {base.name}"
    return [Section("base", title, tables=comparison.make_tables(base, others))]


def _make_figure_2(measured: Sequence[MeasuredRow]) -> Section:
    panels: dict[str, list[tuple[str, MeasuredRow]]] = {}
    for row in measured:
        panels.setdefault(row.row.trained_on, []).append((row.row.method, row))
    methods = list(dict.fromkeys(name for members in panels.values() for name, _ in members))
    drawn, body = [], []
    for features, members in panels.items():
        lines = []
        for name, row in members:
            series = methods.index(name)
            lines.append(curves.Line(name, series, False, _curve(row.measures[WITH])))
            if row.measures[WITHOUT] and _shows_without(row, len(members)):
                name = f"{name} {paper.WITHOUT_DISPLACEMENT}"
                lines.append(curves.Line(name, series, True, _curve(row.measures[WITHOUT])))
        heading = f"<h3>{escape(features)}</h3>" if features else ""
        label = f"mAP against tolerance, {features}"
        drawn.append(f"{heading}<figure>{curves.draw_tolerances(lines, label)}</figure>")
        for line in lines:
            mean = line.values.mean(axis=0)
            cells = [f"{mean[TOLERANCES.index(d)]:.1f}" for d in _SHOWN_TOLERANCES]
            body.append((line.name, features, *cells))
    columns = ("Method", "Trained on", *(f"{d} s" for d in _SHOWN_TOLERANCES))
    seeds = count_seeds([row.row for row in measured])
    over_seeds = "; mean over seeds, the band is one standard deviation" if seeds > 1 else ""
    text = (
        f"<p>mAP (%) against the matching tolerance, 1 to 20 s{over_seeds}."
        f" {paper.WITHOUT_DISPLACEMENT}: the displacement step of post-processing skipped.</p>"
    )
    note = (
        f"The paper draws {', '.join(paper.FIGURE_2_LINES)} on"
        f" {paper.FIGURE_2_FEATURES}, without printing the values."
    )
    table = Table(columns, body, 2, (note,))
    title = "mAP against tolerance (the paper's Figure 2)"
    return Section("figure-2", title, text + "".join(drawn), [("", table)])


def _shows_without(row: MeasuredRow, lines: int) -> bool:
    """Where the paper has the line, and where few lines leave room for it."""
    published = {result.name for result in paper.TABLE_2}
    return lines <= 3 or paper.without_displacement(row.row.paper_row) in published


def _curve(measures: Sequence[Measures]) -> np.ndarray:
    return np.stack([each.map_by_tolerance for each in measures])


def _make_temporal_error(measured: Sequence[MeasuredRow]) -> Section:
    body = [
        (row.row.name, name, *_summarize_errors(row.measures[variant]))
        for row in measured
        for variant, name in ((WITH, "with displacement"), (WITHOUT, paper.WITHOUT_DISPLACEMENT))
        if row.measures[variant]
    ]
    reaches = [f"≤ {reach:g} s (%)" for reach in _REACHES]
    columns = ("Method", "Post-processing", "matched (%)", "median (s)", *reaches)
    note = (
        "Of each class as many of the most confident spots as there are actions in truth, matched"
        " within 10 s on either side; all seeds together. Median and shares of the matched spots'"
        " distance in time."
    )
    return Section("errors", "Temporal error", tables=[("", Table(columns, body, 2, (note,)))])


def _summarize_errors(runs: Sequence[Measures]) -> list[str]:
    """Share matched, median error, and the shares of the matched within each reach."""
    errors = np.abs(np.concatenate([run.errors for run in runs]))
    looked_for = sum(run.looked_for for run in runs)
    matched = f"{100 * len(errors) / looked_for:.1f}" if looked_for else NONE
    if not len(errors):
        return [matched] + [NONE] * (1 + len(_REACHES))
    shares = [f"{100 * np.mean(errors <= reach):.1f}" for reach in _REACHES]
    return [matched, f"{np.median(errors):.2f}", *shares]


def _make_details(study: ReportedStudy) -> Section:
    rows = study.finished
    options = "".join(f"<option>{escape(row.row.name)}</option>" for row in rows)
    parts = [
        '<p class="controls" hidden><label>Method <select id="row-choice">'
        f"{options}</select></label></p>"
    ]
    for row in rows:
        drawn = make_details(row, study.truth)
        parts.append(f'<div class="row-details"><h3>{escape(row.row.name)}</h3>{drawn}</div>')
    return Section("details", "One method in detail", "".join(parts))


def _make_timeline(study: ReportedStudy) -> list[Section]:
    predictions = read_first_predictions(study)
    if study.truth is None or not predictions:
        return []
    thresholds = {
        row.row.name: limits
        for row in study.finished
        if (limits := row.row.runs[0].thresholds) and row.row.name in predictions
    }
    games = make_timeline_games(study.truth, predictions)
    drawn = make_timeline(games, study.truth.dataset.classes, thresholds)
    first = "the first training of each method" if count_seeds(_rows(study)) > 1 else "each method"
    seeds = f"<p>Spots of {first}, with displacement.</p>"
    return [Section("game", "Timeline of a game", seeds + drawn)]


def _rows(study: ReportedStudy) -> list[ReportedRow]:
    return [row.row for row in study.finished]


def _list_runs(study: ReportedStudy) -> Table:
    body = []
    for row in study.rows:
        for run in row.row.runs:
            scores = []
            for kind in ("loose", "tight"):
                score = run.score(WITH, kind)
                interval = tables.format_interval(run.interval(WITH, kind))
                scores.append(NONE if score is None else f"{score:.1f} {interval}".rstrip())
            origin = [str(run.start(key) or NONE) for key in ("device", "revision")]
            seconds = run.wall_seconds()
            time = NONE if seconds is None else format_duration(seconds)
            body.append((row.row.name, str(run.path), *origin, time, *scores))
        for reason in row.row.unfinished:
            body.append((row.row.name, reason, NONE, NONE, NONE, NONE, NONE))
    return Table(("Method", "Run directory", "Device", "Code", "time", "loose", "tight"), body, 4)
