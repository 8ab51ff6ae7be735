"""The report's tables as data, with a rendering in HTML and one in Markdown."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.base.text_table import printable
from spotting.reporting import paper
from spotting.reporting.page import escape
from spotting.reporting.runs import (
    GUESSING,
    ORACLE,
    WITH,
    WITHOUT,
    ReportedRow,
    Summary,
    count_seeds,
    summarize,
)

NONE = "\u2013"  # an en dash
MARKS = (
    "▲ ▼: further from zero than the spread of the seeds (one standard deviation); ≈: within it;"
    " no mark: fewer than two seeds, spread unknown."
)
_INTERVALS = "[low, high]: 95 % interval, bootstrap over games"


class Table(NamedTuple):
    """Cells as text; all but the first `names` columns are right-aligned numbers."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    names: int = 1
    notes: tuple[str, ...] = ()
    shaded: bool = False  # tint each number by its percentage


def to_html(table: Table) -> str:
    """Renders a table in a box that scrolls sideways where the window is narrow."""

    def cell(tag: str, column: int, content: str) -> str:
        css = "" if column < table.names else ' class="figure"'
        style = ""
        if table.shaded and tag == "td" and column >= table.names and content != NONE:
            style = f' style="--share:{float(content.split()[0]):.0f}%"'
        return f"<{tag}{css}{style}><span>{escape(content)}</span></{tag}>"

    def row(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(cell(tag, i, c) for i, c in enumerate(cells)) + "</tr>"

    body = "\n".join(row("td", cells) for cells in table.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    css = ' class="shaded"' if table.shaded else ""
    return (
        f'<div class="scroll"><table{css}><thead>{row("th", table.columns)}</thead>\n'
        f"<tbody>{body}</tbody></table></div>{notes}"
    )


def to_markdown(table: Table) -> str:
    """Renders a table as GitHub's Markdown, notes below."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(escape_markdown, cells)) + " |"

    rule = ["---" if i < table.names else "---:" for i in range(len(table.columns))]
    lines = [row(table.columns), row(rule), *map(row, table.rows)]
    return "\n".join([*lines, *(f"\n{escape_markdown(note, True)}" for note in table.notes)]) + "\n"


def escape_markdown(text: str, is_line: bool = False) -> str:
    """Makes any text one line that Markdown shows as it is: no HTML, links, code, formulas.

    Args:
      text: Of any characters.
      is_line: Whether it begins a line, where a "#" would make it a heading.
    """
    text = re.sub(r"([\\`*|$~])", r"\\\1", printable(text))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Brackets are links only before these; elsewhere they are intervals.
    text = text.replace("](", "]\\(").replace("]:", "]\\:")
    return re.sub(r"^([#+-])", r"\\\1", text) if is_line else text


def make_results(rows: Sequence[ReportedRow]) -> Table:
    """Makes the table of loose and tight average-mAP of rows that are none of the paper's."""
    body = [
        (name, *(_format(row, variant, kind) for kind in ("loose", "tight")), _count_runs(row))
        for row in rows
        for name, variant in _variants(row)
    ]
    columns = ("Method", "avg-mAP", "tight avg-mAP", "seeds")
    return Table(columns, body, 1, (*_spread_notes(rows), *_bounds(rows)))


def make_table_1(rows: Sequence[ReportedRow], comparable: bool) -> Table:
    """Makes Table 1: loose average-mAP of the rows, beside the paper's.

    Args:
      rows: Our rows.
      comparable: Whether ours were measured on the paper's data set. Only then are differences
        shown, the paper's speeds and sizes, and the paper's rows that were not run.
    """
    by_name = {row.paper_row: row for row in rows if row.paper_row}
    body = []
    for theirs in paper.TABLE_1:
        row = by_name.get(theirs.name)
        if row is None and not comparable:
            continue
        trained_on = row.trained_on if row else theirs.features
        body.append((theirs.method, trained_on, *_speed_row(row, theirs, comparable)))
    for row in rows:
        if row.paper_row not in {theirs.name for theirs in paper.TABLE_1}:
            body.append((row.name, "", *_speed_row(row, None, comparable)))
    columns: tuple[str, ...] = ("Method", _name_column(comparable), "avg-mAP, ours", "paper")
    columns += ("difference",) if comparable else ()
    columns += ("seeds, ours", "s per epoch, ours")
    columns += ("paper",) if comparable else ()
    columns += ("parameters, ours",)
    columns += ("paper",) if comparable else ()
    devices = {printable(str(run.start("device"))) for row in rows for run in row.runs if run.log}
    speed = (
        f"An epoch is {paper.CHUNKS_PER_EPOCH:,} chunks of training the confidence model; ours on"
        f" {', '.join(sorted(devices)) or 'an unknown device'}, seeds trained together sharing the"
        " time" + ("; the paper's on one V100." if comparable else ".")
    )
    return Table(columns, body, 2, (*_comparison_notes(rows, comparable), speed))


def _speed_row(
    row: ReportedRow | None, theirs: paper.PaperSpeed | None, comparable: bool
) -> list[str]:
    """The numbers of a line of Table 1."""
    score = f"{theirs.loose:.1f}" if theirs else NONE
    cells = [_format(row, WITH, "loose"), score]
    if comparable:
        ours = row.summarize(WITH, "loose") if row else None
        cells.append(_subtract(ours, theirs.loose if theirs else None))
    times = [time for run in (row.runs if row else ()) if (time := run.epoch_seconds())]
    cells += [_count_runs(row), f"{sum(times) / len(times):.3g}" if times else NONE]
    if comparable:
        cells.append(f"{theirs.epoch_seconds:.1f}" if theirs else NONE)
    cells.append(format_parameters(row))
    if comparable:
        cells.append(theirs.parameters if theirs else NONE)
    return cells


def format_parameters(row: ReportedRow | None) -> str:
    """Parameters of a row's confidence network in words, "1.12M"."""
    counts = {run.parameters("confidence") for run in (row.runs if row else ())} - {None}
    words = [
        f"{count / 1e6:.3g}M" if count >= 1e6 else f"{count:,}"
        for count in sorted(filter(None, counts))
    ]
    return " to ".join(words) or NONE


def make_table_2(rows: Sequence[ReportedRow], comparable: bool) -> Table:
    """Makes Table 2: loose and tight average-mAP with and without displacement, and the paper's."""
    ours = {_place(row, variant): (row, variant) for row in rows for _, variant in _variants(row)}
    published = {row.name: row for row in paper.TABLE_2}
    body = []
    for name in dict.fromkeys([*published, *ours] if comparable else ours):
        row, variant = ours.get(name, (None, WITH))
        theirs = published.get(name)
        cells = []
        for kind in ("loose", "tight"):
            printed = getattr(theirs, kind, None)
            cells += [_format(row, variant, kind), NONE if printed is None else f"{printed:.1f}"]
            if comparable:
                cells.append(_subtract(row.summarize(variant, kind) if row else None, printed))
        if any(cell != NONE for cell in cells):
            is_named = theirs or (row and row.paper_row)
            method, trained_on = paper.split_name(name) if is_named else (name, "")
            if row and row.data:
                trained_on = row.data
            note = f" ({theirs.note})" if theirs and theirs.note else ""
            body.append((method + note, trained_on, *cells, _count_runs(row)))
    columns: tuple[str, ...] = ("Method", _name_column(comparable))
    for kind in ("avg-mAP", "tight avg-mAP"):
        columns += (f"{kind}, ours", "paper")
        columns += ("difference",) if comparable else ()
    notes = (*_comparison_notes(rows, comparable), *_bounds(rows))
    return Table((*columns, "seeds, ours"), body, 2, notes)


def _place(row: ReportedRow, variant: str) -> str:
    """The row of the paper whose place it takes, or its own name, without or with displacement."""
    if row.paper_row:
        return paper.without_displacement(row.paper_row) if variant == WITHOUT else row.paper_row
    return f"{row.name} {paper.WITHOUT_DISPLACEMENT}" if variant == WITHOUT else row.name


def _variants(row: ReportedRow) -> list[tuple[str, str]]:
    """A row's names, without and with displacement, and which result each has.

    A system that has no displacement has one result.
    """
    has_one = row.summarize(WITH, "loose") and not row.summarize(WITHOUT, "loose")
    return [
        (_place(row, variant), variant) for variant in ((WITH,) if has_one else (WITHOUT, WITH))
    ]


def _bounds(rows: Sequence[ReportedRow]) -> list[str]:
    """What confidences drawn at random score on the same data, and what the truth itself does."""
    words = {
        GUESSING: "Guessing, confidences drawn at random",
        ORACLE: "Ceiling, the truth as a perfect model would output it",
    }
    notes = []
    for variant, text in words.items():
        known = [
            (loose, tight)
            for row in rows
            for run in row.runs
            if (loose := run.score(variant, "loose")) is not None
            and (tight := run.score(variant, "tight")) is not None
        ]
        if known:
            loose, tight = np.mean(known, axis=0)
            notes.append(f"{text}: {loose:.1f}, tight {tight:.1f}.")
    return notes


def _name_column(comparable: bool) -> str:
    return "Features" if comparable else "Data"


def make_per_class(rows: Sequence[ReportedRow], kind: str) -> Table:
    """Makes the table of each class's AP (mean over seeds), a column for each row."""
    scores = {row.name: [run.class_scores(WITH, kind) for run in row.runs] for row in rows}
    classes = dict.fromkeys(name for runs in scores.values() for run in runs for name in run)
    body = []
    for name in classes:
        cells = [summarize([run[name] for run in runs if name in run]) for runs in scores.values()]
        body.append((name, *(NONE if cell is None else f"{cell.mean:.1f}" for cell in cells)))
    means = [row.summarize(WITH, kind) for row in rows]
    body.append(("mean", *(NONE if mean is None else f"{mean.mean:.1f}" for mean in means)))
    return Table(("Class", *scores), body, shaded=True)


def format_signed(value: Summary | None) -> str:
    """Formats a gain with its sign, its spread and the mark that `MARKS` explains."""
    if value is None:
        return NONE
    if value.std is None:
        return f"{value.mean:+.1f}"
    mark = "≈" if abs(value.mean) <= value.std else "▲" if value.mean > 0 else "▼"
    return f"{value.mean:+.1f} ± {value.std:.1f} {mark}"


def format_interval(interval: tuple[float, float] | None) -> str:
    """Formats an interval as "[66.0, 75.9]"; nothing where there is none."""
    return "" if interval is None else f"[{interval[0]:.1f}, {interval[1]:.1f}]"


def _spread_notes(rows: Sequence[ReportedRow]) -> list[str]:
    notes = ["Mean ± standard deviation over seeds."] if count_seeds(rows) > 1 else []
    return notes + _interval_notes(rows)


def _interval_notes(rows: Sequence[ReportedRow]) -> list[str]:
    """What the brackets are, where there are any."""
    if not any(row.interval(WITH, "loose") for row in rows):
        return []
    return [_INTERVALS + (", mean over seeds." if count_seeds(rows) > 1 else ".")]


def _comparison_notes(rows: Sequence[ReportedRow], comparable: bool) -> list[str]:
    over_seeds = count_seeds(rows) > 1
    ours = "Ours: mean ± standard deviation over seeds" if over_seeds else "Ours: one training"
    note = f"{ours}; the paper's: mean of five trainings."
    if comparable:
        note = f"{note} {MARKS}"
    else:
        note += " The paper's columns are SoccerNet-v2, another data set: levels do not compare."
    return [note, *_interval_notes(rows)]


def _subtract(ours: Summary | None, theirs: float | None) -> str:
    if ours is None or theirs is None:
        return NONE
    return format_signed(Summary(ours.mean - theirs, ours.std, ours.seeds))


def _format(row: ReportedRow | None, variant: str, kind: str) -> str:
    """An average-mAP with its spread over seeds and its interval over games."""
    value = row.summarize(variant, kind) if row else None
    if row is None or value is None:
        return NONE
    return f"{value} {format_interval(row.interval(variant, kind))}".rstrip()


def _count_runs(row: ReportedRow | None) -> str:
    return NONE if row is None else str(len(row.runs))
