"""Ablation: what each component of the method adds, ours over seeds beside the paper's."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from spotting.reporting import paper, tables
from spotting.reporting.runs import WITH, WITHOUT, ReportedRow, Summary, summarize


class Gain(NamedTuple):
    """What a component adds: ours over seeds, and the paper's where it prints both rows."""

    component: str
    where: str
    loose: Summary | None
    tight: Summary | None
    paper_loose: float | None
    paper_tight: float | None


def measure_gains(rows: Sequence[ReportedRow]) -> list[Gain]:
    """Ablation: what SAM, mixup, both, and displacement add, in points of average-mAP.

    The spread of a difference of two rows is that of independent trainings, the root of the sum of
    both variances; displacement is switched within one training, so its differences are paired.
    """
    found = []
    by_name = {row.paper_row: row for row in rows if row.paper_row}
    features = dict.fromkeys(paper.split_name(name)[1] for name in by_name)
    steps = (
        ("SAM", "DU", "DU+SAM"),
        ("mixup", "DU+SAM", "DU+SAM+mixup"),
        ("SAM and mixup", "DU", "DU+SAM+mixup"),
    )
    for component, before, after in steps:
        for kind in features:
            first, second = (by_name.get(f"{method} {kind}") for method in (before, after))
            if first and second:
                loose, tight = (_subtract(first, second, score) for score in ("loose", "tight"))
                theirs = _read_paper_gain(f"{before} {kind}", f"{after} {kind}")
                where = f"{before} → {after}, {first.trained_on}"
                found.append(Gain(component, where, loose, tight, *theirs))
    for row in rows:
        loose, tight = (_compare_within(row, score) for score in ("loose", "tight"))
        if loose is not None and tight is not None:
            without = paper.without_displacement(row.paper_row)
            theirs = _read_paper_gain(without, row.paper_row)
            found.append(Gain("displacement", row.name, loose, tight, *theirs))
    return found


def make_table(found: Sequence[Gain]) -> tables.Table:
    """Puts ours beside the paper's, marked against the spread."""
    published = any(gain.paper_loose is not None for gain in found)
    body = []
    for gain in found:
        cells = [gain.component, gain.where]
        for ours, theirs in ((gain.loose, gain.paper_loose), (gain.tight, gain.paper_tight)):
            cells += [tables.format_signed(ours), *([_format_plain(theirs)] if published else [])]
        body.append(tuple(cells))
    columns = ["Component", "Rows"]
    for kind in ("avg-mAP", "tight avg-mAP"):
        columns += [f"{kind}, ours", "paper"] if published else [kind]
    return tables.Table(tuple(columns), body, 2, (tables.MARKS,))


def _subtract(before: ReportedRow, after: ReportedRow, kind: str) -> Summary | None:
    first, second = before.summarize(WITH, kind), after.summarize(WITH, kind)
    if first is None or second is None:
        return None
    known = first.std is not None and second.std is not None
    std = math.hypot(first.std or 0, second.std or 0) if known else None
    return Summary(second.mean - first.mean, std, min(first.seeds, second.seeds))


def _compare_within(row: ReportedRow, kind: str) -> Summary | None:
    pairs = [(run.score(WITHOUT, kind), run.score(WITH, kind)) for run in row.runs]
    return summarize([b - a for a, b in pairs if a is not None and b is not None])


def _read_paper_gain(before: str, after: str) -> tuple[float | None, float | None]:
    """Loose and tight; Table 2 first, which has both, then Table 1."""
    second = {row.name: row for row in paper.TABLE_2}
    first = {row.name: row for row in paper.TABLE_1}
    if before in second and after in second:
        return (
            second[after].loose - second[before].loose,
            second[after].tight - second[before].tight,
        )
    if before in first and after in first:
        return first[after].loose - first[before].loose, None
    return None, None


def _format_plain(value: float | None) -> str:
    return tables.NONE if value is None else f"{value:+.1f}"
