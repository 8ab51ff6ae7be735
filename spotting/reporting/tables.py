"""The report's tables as data, with a rendering in HTML and one in Markdown."""

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.reporting import paper
from spotting.reporting.runs import WITH, WITHOUT, Row, Spread, spread

NONE = "\u2013"  # an en dash
MARKS = (
    "▲ ▼: further from zero than the spread of the seeds (one standard deviation); ≈: within it;"
    " no mark: fewer than two seeds, spread unknown."
)


class Table(NamedTuple):
    """Cells as text; all but the first `names` columns are right-aligned figures."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    names: int = 1
    notes: tuple[str, ...] = ()
    shaded: bool = False  # tint each figure by its percentage


def to_html(table: Table) -> str:
    """The table in a box that scrolls sideways where the window is narrow."""

    def cell(tag: str, column: int, content: str) -> str:
        css = "" if column < table.names else ' class="figure"'
        style = ""
        if table.shaded and tag == "td" and column >= table.names and content != NONE:
            style = f' style="--share:{float(content.split()[0]):.0f}%"'
        return f"<{tag}{css}{style}><span>{html.escape(content)}</span></{tag}>"

    def row(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(cell(tag, i, c) for i, c in enumerate(cells)) + "</tr>"

    body = "\n".join(row("td", cells) for cells in table.rows)
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    css = ' class="shaded"' if table.shaded else ""
    return (
        f'<div class="scroll"><table{css}><thead>{row("th", table.columns)}</thead>\n'
        f"<tbody>{body}</tbody></table></div>{notes}"
    )


def to_markdown(table: Table) -> str:
    """The table as GitHub's Markdown, notes below."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---" if i < table.names else "---:" for i in range(len(table.columns))]
    lines = [row(table.columns), row(rule), *map(row, table.rows)]
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes)]) + "\n"


def results(rows: Sequence[Row]) -> Table:
    """Loose and tight average-mAP of rows that are none of the paper's."""
    body = [
        (name, *(_text(row.spread(variant, kind)) for kind in ("loose", "tight")), _seeds(row))
        for row in rows
        for name, variant in _variants(row)
    ]
    spreads = "Mean ± standard deviation over seeds."
    columns = ("Method", "avg-mAP", "tight avg-mAP", "seeds")
    return Table(columns, body, 1, (spreads, *_guessing(rows)))


def table_1(rows: Sequence[Row], comparable: bool) -> Table:
    """Table 1: loose average-mAP of the rows, beside the paper's.

    Args:
      rows: Our rows.
      comparable: Whether ours were measured on the paper's data set. Only then are differences
        shown, and the paper's rows that were not run.
    """
    by_name = {row.paper_row: row for row in rows if row.paper_row}
    body = []
    for theirs in paper.TABLE_1:
        row = by_name.get(theirs.name)
        if row is None and not comparable:
            continue
        body.append((theirs.method, theirs.features, *_speed_row(row, theirs, comparable)))
    for row in rows:
        if row.paper_row not in {theirs.name for theirs in paper.TABLE_1}:
            body.append((row.name, "", *_speed_row(row, None, comparable)))
    columns = ("Method", _features_title(comparable), "avg-mAP, ours", "paper")
    columns += ("difference",) if comparable else ()
    columns += ("seeds, ours", "s per epoch, ours", "paper", "parameters, paper")
    devices = {str(run.start("device")) for row in rows for run in row.runs if run.log}
    speed = (
        f"An epoch is {paper.CHUNKS_PER_EPOCH:,} chunks of training the confidence model; ours on"
        f" {', '.join(sorted(devices)) or 'an unknown device'}, seeds trained together sharing the"
        " time; the paper's on one V100."
    )
    return Table(columns, body, 2, (*_comparison_notes(comparable), speed))


def _speed_row(row: Row | None, theirs: paper.PaperSpeed | None, comparable: bool) -> list[str]:
    """The figures of a line of Table 1."""
    ours = row and row.spread(WITH, "loose")
    score, seconds, size = NONE, NONE, NONE
    if theirs:
        score, seconds = f"{theirs.loose:.1f}", f"{theirs.epoch_seconds:.1f}"
        size = theirs.parameters
    difference = [_difference(ours, theirs and theirs.loose)] if comparable else []
    times = [time for run in (row.runs if row else ()) if (time := run.epoch_seconds())]
    epoch = f"{sum(times) / len(times):.3g}" if times else NONE
    return [_text(ours), score, *difference, _seeds(row), epoch, seconds, size]


def table_2(rows: Sequence[Row], comparable: bool) -> Table:
    """Table 2: loose and tight average-mAP with and without displacement, beside the paper's."""
    ours = {name: (row, variant) for row in rows for name, variant in _variants(row)}
    published = {row.name: row for row in paper.TABLE_2}
    body = []
    for name in dict.fromkeys([*published, *ours] if comparable else ours):
        row, variant = ours.get(name, (None, WITH))
        theirs = published.get(name)
        figures = []
        for kind in ("loose", "tight"):
            mine = row and row.spread(variant, kind)
            printed = getattr(theirs, kind, None)
            figures += [_text(mine), NONE if printed is None else f"{printed:.1f}"]
            figures += [_difference(mine, printed)] if comparable else []
        if any(figure != NONE for figure in figures):
            method, features = paper.split_name(name) if theirs or row.paper_row else (name, "")
            note = f" ({theirs.note})" if theirs and theirs.note else ""
            body.append((method + note, features, *figures, _seeds(row)))
    columns = ("Method", _features_title(comparable))
    for kind in ("avg-mAP", "tight avg-mAP"):
        columns += (f"{kind}, ours", "paper")
        columns += ("difference",) if comparable else ()
    notes = (*_comparison_notes(comparable), *_guessing(rows))
    return Table((*columns, "seeds, ours"), body, 2, notes)


def _variants(row: Row) -> list[tuple[str, str]]:
    """A row's names in Table 2, without and with displacement, and which result each has."""
    without = (
        paper.without_displacement(row.paper_row)
        if row.paper_row
        else f"{row.name} {paper.WITHOUT_DISPLACEMENT}"
    )
    return [(without, WITHOUT), (row.paper_row or row.name, WITH)]


def _guessing(rows: Sequence[Row]) -> tuple[str, ...]:
    """What confidences drawn at random score on the same data."""
    runs = [run for row in rows for run in row.runs if run.score("guessing", "loose") is not None]
    if not runs:
        return ()
    loose, tight = (np.mean([run.score("guessing", k) for run in runs]) for k in ("loose", "tight"))
    return (f"Guessing, confidences drawn at random: {loose:.1f}, tight {tight:.1f}.",)


def _features_title(comparable: bool) -> str:
    return "Features" if comparable else "Features, paper"


def per_class(rows: Sequence[Row], kind: str) -> Table:
    """Average precision of each class (mean over seeds), a column for each row."""
    scores = {row.name: [run.class_scores(WITH, kind) for run in row.runs] for row in rows}
    classes = dict.fromkeys(name for runs in scores.values() for run in runs for name in run)
    body = []
    for name in classes:
        cells = [spread([run[name] for run in runs if name in run]) for runs in scores.values()]
        body.append((name, *(NONE if cell is None else f"{cell.mean:.1f}" for cell in cells)))
    means = [row.spread(WITH, kind) for row in rows]
    body.append(("mean", *(NONE if mean is None else f"{mean.mean:.1f}" for mean in means)))
    return Table(("Class", *scores), body, shaded=True)


def signed(value: Spread | None) -> str:
    """A gain with its sign, its spread and the mark that `MARKS` explains."""
    if value is None:
        return NONE
    if value.std is None:
        return f"{value.mean:+.1f}"
    mark = "≈" if abs(value.mean) <= value.std else "▲" if value.mean > 0 else "▼"
    return f"{value.mean:+.1f} ± {value.std:.1f} {mark}"


def _comparison_notes(comparable: bool) -> tuple[str, ...]:
    ours = "Ours: mean ± standard deviation over seeds; the paper's: mean of five trainings."
    if comparable:
        return (f"{ours} {MARKS}",)
    return (
        f"{ours} The paper's columns are SoccerNet-v2, another data set: levels do not compare.",
    )


def _difference(ours: Spread | None, theirs: float | None) -> str:
    if ours is None or theirs is None:
        return NONE
    return signed(Spread(ours.mean - theirs, ours.std, ours.count))


def _text(value: Spread | None) -> str:
    return NONE if value is None else str(value)


def _seeds(row: Row | None) -> str:
    return NONE if row is None else str(len(row.runs))
