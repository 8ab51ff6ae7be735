"""The report's plots, each a function from measured arrays to inline SVG."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from spotting.reporting import svg
from spotting.reporting.gains import Gain
from spotting.reporting.measures import ERROR_REACH, TOLERANCES, Measures
from spotting.reporting.page import escape
from spotting.reporting.runs import Summary, summarize
from spotting.reporting.svg import (
    Axes,
    draw_frame,
    draw_line,
    draw_marker,
    draw_text,
    make_drawing,
    ticks,
)
from spotting.scoring.metrics import THRESHOLDS

SMALL = (264, 196)  # of one panel in a grid of panels
ERROR_BIN = 0.5  # seconds


class Line(NamedTuple):
    """A method in Figure 2: its mAP in percent [S, 20], one row for each seed."""

    name: str
    series: int
    dashed: bool
    values: np.ndarray


def draw_tolerances(lines: Sequence[Line], label: str) -> str:
    """Draws Figure 2: mAP against matching tolerance; mean and standard deviation over seeds."""
    right = 40 + 1.15 * max(svg.text_width(each.name) for each in lines)  # bold
    top = max(float(each.values.mean(axis=0).max()) for each in lines)
    axes = Axes(44, 34, 520, 340, (1, 20), (0, min(100, 10 * np.ceil(top / 10 + 0.3))))
    parts = [draw_frame(axes, [1, 5, 10, 15, 20], ticks(*axes.y), "tolerance (s)", "mAP (%)")]
    for each in lines:
        css = _series(each.series, each.dashed)
        points = [_summarize(column) for column in each.values.T]
        if len(each.values) > 1:
            low = [max(point.mean - (point.std or 0), 0) for point in points]
            high = [min(point.mean + (point.std or 0), 100) for point in points]
            parts.append(svg.draw_band(axes, TOLERANCES, low, high, css))
        parts.append(draw_line(axes, TOLERANCES, [point.mean for point in points], css))
        for tolerance, point in zip(TOLERANCES, points, strict=True):
            tip = f"{each.name}, {tolerance} s: {point}"
            place = axes.px(tolerance), axes.py(point.mean)
            parts.append(draw_marker(each.series, *place, css, tip, 3.2))
    ends = [
        (float(each.values[:, -1].mean()), each.name, _series(each.series, each.dashed))
        for each in lines
    ]
    parts.append(svg.label_ends(axes, ends))
    return make_drawing(axes.left + axes.width + right, 424, parts, label)


def draw_gains(found: Sequence[Gain]) -> str:
    """Draws ablation gains as points with their spread: loose above, tight below."""
    names = [f"{gain.component}: {gain.where}" for gain in found]
    left = 24 + max(svg.text_width(name) for name in names)
    values = [value for gain in found for value in (gain.loose, gain.tight) if value]
    low = min(0.0, *(value.mean - (value.std or 0) for value in values))
    high = max(0.0, *(value.mean + (value.std or 0) for value in values))
    pad = 0.06 * (high - low) + 0.2
    height = 40 * len(found)
    axes = Axes(left, 14, 420, height, (low - pad, high + pad), (len(found), 0))
    parts = [draw_frame(axes, ticks(*axes.x, 7), [], "points of average-mAP", x_format=_signed)]
    parts.append(f'<path class="zero" d="M{axes.px(0):.1f} {axes.top}v{height}"/>')
    for i, (gain, name) in enumerate(zip(found, names, strict=True)):
        parts.append(draw_text(left - 12, axes.py(i + 0.5) + 4, name, "end"))
        for series, value in enumerate((gain.loose, gain.tight)):
            if value is None:
                continue
            y, css = axes.py(i + 0.34 * (series + 1)), _series(series)
            if value.std is not None:
                ends = axes.px(value.mean - value.std), axes.px(value.mean + value.std)
                parts.append(f'<path class="line {css}" d="M{ends[0]:.1f} {y:.1f}H{ends[1]:.1f}"/>')
            tip = f"{('loose', 'tight')[series]}: {value}"
            parts.append(draw_marker(series, axes.px(value.mean), y, css, tip, 4.5))
    return make_drawing(left + 440, height + 60, parts, "Ablation gains")


def draw_classes(classes: Mapping[str, tuple[float, float | None]], label: str) -> str:
    """Draws each class's average AP without displacement (hollow), and a line to that with it."""
    left = 24 + max(svg.text_width(name) for name in classes)
    height = 22 * len(classes)
    axes = Axes(left, 14, 300, height, (0, 100), (len(classes), 0))
    parts = [draw_frame(axes, [0, 20, 40, 60, 80, 100], [], label)]
    for i, (name, (with_it, without)) in enumerate(classes.items()):
        y = axes.py(i + 0.5)
        parts.append(f'<path class="grid" d="M{axes.left:.1f} {y:.1f}h{axes.width}"/>')
        parts.append(draw_text(left - 10, y + 4, name, "end"))
        if without is not None:
            ends = axes.px(without), axes.px(with_it)
            parts.append(f'<path class="line s0" d="M{ends[0]:.1f} {y:.1f}H{ends[1]:.1f}"/>')
            tip = f"{name} without displacement: {without:.1f}"
            parts.append(draw_marker(1, axes.px(without), y, "hollow s1", tip, 4))
        parts.append(draw_marker(0, axes.px(with_it), y, "s0", f"{name}: {with_it:.1f}", 4.5))
    return make_drawing(left + 324, height + 60, parts, f"{label} by class")


def draw_precision_recall(
    name: str, curves: Sequence[tuple[np.ndarray, np.ndarray, str]], truths: int
) -> str:
    """Draws precision against recall of one class, a line for each seed.

    Args:
      name: The class.
      curves: (precision, recall, CSS class) of each line, over the score thresholds.
      truths: Number of actions in truth.
    """
    axes = Axes(34, 30, SMALL[0] - 46, SMALL[1] - 74, (0, 100), (0, 100))
    parts = [draw_frame(axes, [0, 25, 50, 75, 100], [0, 50, 100], "recall (%)")]
    parts.append(draw_text(axes.left, 16, name, "strong"))
    parts.append(draw_text(SMALL[0] - 12, 16, f"{truths} in truth", "muted end"))
    for precision, recall, css in curves:
        defined = (precision > 0) | (recall > 0)
        if defined.any():
            xs, ys = (100 * recall[defined]).tolist(), (100 * precision[defined]).tolist()
            limits = THRESHOLDS[defined].tolist()
            tips = [
                f"{name}: recall {x:.0f} %, precision {y:.0f} % from confidence {limit:.2f} on"
                for x, y, limit in zip(xs, ys, limits, strict=True)
            ]
            parts.append(draw_line(axes, xs, ys, css))
            parts.append(svg.draw_points(axes, xs, ys, tips, css))
    if not any(recall.any() for _, recall, _ in curves):
        parts.append(draw_text(SMALL[0] / 2, axes.py(45), "no hit", "muted mid"))
    return make_drawing(*SMALL, parts, f"Precision and recall of {name}")


def draw_errors(variants: Mapping[str, Sequence[Measures]]) -> str:
    """Draws spot minus truth of matched spots; bars for the first variant, outlines for the others.

    Counts are means over the seeds.
    """
    edges = np.arange(-ERROR_REACH - ERROR_BIN / 2, ERROR_REACH + ERROR_BIN, ERROR_BIN)
    counts = {
        name: np.mean([np.histogram(run.errors, edges)[0] for run in runs], axis=0)
        for name, runs in variants.items()
    }
    top = max(1.0, *(values.max() for values in counts.values()))
    axes = Axes(50, 34, 600, 240, (edges[0], edges[-1]), (0, top * 1.08))
    marks = [-10, -5, -2, -1, 0, 1, 2, 5, 10]
    parts = [
        draw_frame(
            axes, marks, ticks(*axes.y), "spot minus truth (s): early | late", "spots per 0.5 s"
        )
    ]
    parts.append(f'<path class="zero" d="M{axes.px(0):.1f} {axes.top}v{axes.height}"/>')
    for series, (name, values) in enumerate(counts.items()):
        css = _series(series, dashed=series > 0)
        path = [f"M{axes.px(edges[0]):.1f} {axes.py(0):.1f}"]
        for value, end in zip(values, edges[1:], strict=True):
            path.append(f"V{axes.py(value):.1f}H{axes.px(end):.1f}")
        shape = "".join(path) + f"V{axes.py(0):.1f}"
        fill = "bars" if series == 0 else "line"
        parts.append(f'<path class="{fill} {css}" d="{shape}"><title>{escape(name)}</title></path>')
    return make_drawing(670, 328, parts, "Temporal error of matched spots")


def draw_calibration(variants: Mapping[str, Sequence[Measures]]) -> str:
    """Draws the reliability diagram: share of hits in each tenth of confidence, pooled over seeds.

    Below it, on a logarithmic scale, how many spots of the first variant each tenth holds.
    """
    axes = Axes(60, 34, 320, 260, (0, 1), (0, 100))
    tenths = [0, 0.2, 0.4, 0.6, 0.8, 1]
    parts = [draw_frame(axes, tenths, ticks(0, 100), "", "hits (%)")]
    parts.append(f'<path class="zero" d="M{axes.px(0)} {axes.py(0)}L{axes.px(1)} {axes.py(100)}"/>')
    shown = []
    for series, (name, runs) in enumerate(variants.items()):
        css = _series(series, dashed=series > 0)
        total = [
            np.sum(column, axis=0) for column in zip(*(r.calibration for r in runs), strict=True)
        ]
        shown.append(total[2])
        filled = total[2] > 0
        confidence, hits, count = (column[filled] for column in total)
        parts.append(draw_line(axes, confidence / count, 100 * hits / count, css))
        for c, h, n in zip(confidence / count, 100 * hits / count, count, strict=True):
            tip = f"{name}: confidence {c:.2f}, {h:.0f} % hits of {n:.0f} spots"
            parts.append(draw_marker(series, axes.px(c), axes.py(h), css, tip))
    digits = np.log10(np.maximum(shown[0], 1))
    below = Axes(60, 348, 320, 66, (0, 1), (0, float(np.ceil(digits.max() + 0.1))))
    powers = range(0, int(below.y[1]) + 1, 1 if below.y[1] < 4 else 2)
    parts.append(
        draw_frame(below, tenths, powers, "confidence", "spots", y_format=lambda v: f"{10**v:,.0f}")
    )
    width = below.width / len(digits)
    for i, (height, count) in enumerate(zip(digits, shown[0], strict=True)):
        y = below.py(height)
        parts.append(
            f'<path class="bars s0" d="M{below.left + i * width + 2:.1f} {below.py(0):.1f}V{y:.1f}'
            f'h{width - 4:.1f}V{below.py(0):.1f}Z"><title>{count:.0f} spots</title></path>'
        )
    return make_drawing(400, 456, parts, "Reliability of confidences")


def draw_learning(
    title: str, curves: Sequence[tuple[Sequence[float], Sequence[float], str]]
) -> str:
    """Draws a quantity of the log against the epoch: (epochs, values, CSS class) of each line."""
    xs = [x for epochs, _, _ in curves for x in epochs]
    ys = [y for _, values, _ in curves for y in values]
    low, high = min(ys), max(ys)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    end = max(max(xs), min(xs) + 1)
    axes = Axes(66, 30, SMALL[0] + 32, SMALL[1] - 60, (min(xs), end), (low - pad, high + pad))
    whole = [epoch for epoch in ticks(*axes.x, 4) if epoch == int(epoch)]
    parts = [draw_frame(axes, whole, ticks(*axes.y, 4), "epoch")]
    parts.append(draw_text(2, 14, title, "strong"))
    for epochs, values, css in curves:
        tips = [f"epoch {x:g}: {y:.4g}" for x, y in zip(epochs, values, strict=True)]
        parts.append(draw_line(axes, epochs, values, css))
        parts.append(svg.draw_points(axes, epochs, values, tips, css))
        if len(epochs) == 1:
            parts.append(draw_marker(0, axes.px(epochs[0]), axes.py(values[0]), css))
    return make_drawing(SMALL[0] + 116, SMALL[1] + 12, parts, title)


def make_legend(entries: Sequence[tuple[str, str]]) -> str:
    """Makes a row of keys above a figure: (CSS class of the line, what it is)."""
    keys = "".join(
        f'<span><svg class="key" viewBox="0 0 28 10" width="28" height="10" aria-hidden="true">'
        f'<path class="line {css}" d="M1 5H27"/></svg>{escape(name)}</span>'
        for css, name in entries
    )
    return f'<p class="legend">{keys}</p>'


def _signed(value: float) -> str:
    return f"{value:+g}" if value else "0"


def _series(series: int, dashed: bool = False) -> str:
    return f"s{series % svg.SERIES}" + (" dashed" if dashed else "")


def _summarize(values: np.ndarray) -> Summary:
    """Mean and spread of one or more values."""
    found = summarize(values.tolist())
    assert found is not None
    return found
