"""Ablation: what each component of the method adds, ours over seeds beside the paper's."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from spotting.reporting import paper, tables
from spotting.reporting.runs import WITH, WITHOUT, Row, Spread, spread


class Gain(NamedTuple):
    """What a component adds: ours over seeds, and the paper's where it prints both rows."""

    component: str
    where: str
    loose: Spread | None
    tight: Spread | None
    paper_loose: float | None
    paper_tight: float | None


def measure_gains(rows: Sequence[Row]) -> list[Gain]:
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
            pair = [by_name.get(f"{method} {kind}") for method in (before, after)]
            if None not in pair:
                ours = [_independent(*pair, score) for score in ("loose", "tight")]
                theirs = _paper_gain(f"{before} {kind}", f"{after} {kind}")
                found.append(Gain(component, f"{before} → {after}, {kind}", *ours, *theirs))
    for row in rows:
        ours = [_paired(row, score) for score in ("loose", "tight")]
        if None not in ours:
            without = paper.without_displacement(row.paper_row)
            found.append(
                Gain("displacement", row.name, *ours, *_paper_gain(without, row.paper_row))
            )
    return found


def gains_table(found: Sequence[Gain]) -> tables.Table:
    """Ours beside the paper's, marked against the spread."""
    published = any(gain.paper_loose is not None for gain in found)
    body = []
    for gain in found:
        cells = [gain.component, gain.where]
        for ours, theirs in ((gain.loose, gain.paper_loose), (gain.tight, gain.paper_tight)):
            cells += [tables.signed(ours), *([_plain(theirs)] if published else [])]
        body.append(tuple(cells))
    columns = ["Component", "Rows"]
    for kind in ("avg-mAP", "tight avg-mAP"):
        columns += [f"{kind}, ours", "paper"] if published else [kind]
    return tables.Table(tuple(columns), body, 2, (tables.MARKS,))


def _independent(before: Row, after: Row, kind: str) -> Spread | None:
    first, second = before.spread(WITH, kind), after.spread(WITH, kind)
    if first is None or second is None:
        return None
    known = first.std is not None and second.std is not None
    std = math.hypot(first.std, second.std) if known else None
    return Spread(second.mean - first.mean, std, min(first.count, second.count))


def _paired(row: Row, kind: str) -> Spread | None:
    pairs = [(run.score(WITHOUT, kind), run.score(WITH, kind)) for run in row.runs]
    return spread([after - before for before, after in pairs if None not in (before, after)])


def _paper_gain(before: str, after: str) -> tuple[float | None, float | None]:
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


def _plain(value: float | None) -> str:
    return tables.NONE if value is None else f"{value:+.1f}"
