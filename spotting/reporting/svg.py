"""Inline SVG drawn by hand: axes, lines, markers and labels whose colours are CSS variables.

Colours come from classes (`s0`..`s7` set the variable `--c`), so that the same drawing serves light
and dark pages and print. Sizes are in CSS pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spotting.reporting.page import escape

SERIES = 8
"""Number of series colours and shapes; further series start again from the first."""

_LEAST_WIDTH = 560
_LEAST_SHARE = 0.85  # of its own width, to which a drawing may shrink before it scrolls
_RESOLUTION = 10  # tenths of a pixel
_MOST_POINTS = 150  # with values, of a line
_CHARACTER = 7.4  # mean width of a character at 12 px, in a wide font


@dataclass(frozen=True)
class Axes:
    """A plotting area and the data ranges that fill it."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def px(self, value: float) -> float:
        """Horizontal pixel of a data value."""
        return self.left + self.width * _share(value, *self.x)

    def py(self, value: float) -> float:
        """Vertical pixel of a data value."""
        return self.top + self.height * (1 - _share(value, *self.y))


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies from `low`, 0, to `high`, 1; in the middle where they are equal."""
    return 0.5 if high == low else (value - low) / (high - low)


def text_width(text: str) -> float:
    """Estimates the width of a label."""
    return _CHARACTER * len(text)


def make_drawing(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """Makes a whole figure; `label` is what a screen reader says."""
    # Narrower than this its labels could not be read; the page then scrolls it sideways.
    least = min(_LEAST_SHARE * width, _LEAST_WIDTH)
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" '
        f'style="min-width:{least:g}px;max-width:{width:g}px" '
        f'role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Finds round numbers from `low` to `high`, about `count` of them.

    Where floats are too coarse for that, as between two neighbours of 1e30, `low` alone.
    """
    step = (high - low) / count
    if not math.isfinite(step) or step <= 1e-13 * max(abs(low), abs(high)):
        return [low]
    unit = 10.0 ** math.floor(math.log10(step))
    step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= step * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    # What is left of 0.1 + 0.2 goes.
    digits = 10 - math.floor(math.log10(step))
    return [round(step * i, digits) for i in range(first, last + 1)]


def draw_frame(
    axes: Axes,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_label: str = "",
    y_label: str = "",
    x_format: Callable[[float], str] = "{:g}".format,
    y_format: Callable[[float], str] = "{:g}".format,
) -> str:
    """Draws grid lines, tick labels and axis labels of a plotting area."""
    right, bottom = axes.left + axes.width, axes.top + axes.height
    parts = []
    for value in y_ticks:
        y = axes.py(value)
        parts.append(f'<path class="grid" d="M{axes.left:.1f} {y:.1f}H{right:.1f}"/>')
        parts.append(draw_text(axes.left - 7, y + 4, y_format(value), "tick end"))
    for value in x_ticks:
        x = axes.px(value)
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom:.1f}v4"/>')
        parts.append(draw_text(x, bottom + 17, x_format(value), "tick mid"))
    parts.append(f'<path class="axis" d="M{axes.left:.1f} {bottom:.1f}H{right:.1f}"/>')
    if x_label:
        parts.append(draw_text(axes.left + axes.width / 2, bottom + 36, x_label, "mid"))
    if y_label:
        # Above the axis and horizontal: nobody has to turn the head.
        parts.append(draw_text(2, axes.top - 10, y_label, ""))
    return "".join(parts)


def draw_text(x: float, y: float, content: str, css: str = "") -> str:
    """Draws a label; `css` may hold mid or end (anchor), tick, strong, muted and a series class."""
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'


def draw_line(axes: Axes, xs: Sequence[float], ys: Sequence[float], css: str) -> str:
    """Draws a polyline through data points, without those that no eye could tell from the last."""
    # Steps instead of places, in tenths of a pixel: half the text, and it does not add up errors.
    points = [(round(10 * axes.px(x)), round(10 * axes.py(y))) for x, y in zip(xs, ys, strict=True)]
    last = points[0]
    drawn = f"M{last[0] / 10:g} {last[1] / 10:g}"
    for point in points[1:]:
        if math.dist(point, last) >= _RESOLUTION or point is points[-1]:
            drawn += f"l{(point[0] - last[0]) / 10:g} {(point[1] - last[1]) / 10:g}"
            last = point
    return f'<path class="line {css}" d="{drawn}"/>'


def draw_band(
    axes: Axes, xs: Sequence[float], low: Sequence[float], high: Sequence[float], css: str
) -> str:
    """Shades the region between two curves."""
    upper = [f"{axes.px(x):.1f} {axes.py(y):.1f}" for x, y in zip(xs, high, strict=True)]
    lower = [f"{axes.px(x):.1f} {axes.py(y):.1f}" for x, y in zip(xs, low, strict=True)]
    return f'<path class="band {css}" d="M{"L".join(upper + lower[::-1])}Z"/>'


def draw_marker(
    series: int, x: float, y: float, css: str = "", tip: str = "", size: float = 4
) -> str:
    """Draws the shape of a series at a pixel position; `tip` shows on hover."""
    r = size
    shape = (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
        f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}Z",
        f"M{x:.1f} {y - 1.2 * r:.1f}l{1.2 * r:g} {2 * r}h{-2.4 * r:g}Z",
        f"M{x:.1f} {y - 1.3 * r:.1f}l{1.3 * r:g} {1.3 * r:g}l{-1.3 * r:g} {1.3 * r:g}"
        f"l{-1.3 * r:g} {-1.3 * r:g}Z",
        f"M{x:.1f} {y + 1.2 * r:.1f}l{1.2 * r:g} {-2 * r}h{-2.4 * r:g}Z",
        f"M{x - r:.1f} {y - r / 2:.1f}h{2 * r}v{r}h{-2 * r}Z",
        f"M{x - r / 2:.1f} {y - r:.1f}h{r}v{2 * r}h{-r}Z",
        f"M{x - r:.1f} {y - r:.1f}l{2 * r} {2 * r}h{-2 * r}Z",
    )[series % SERIES]
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<path class="mark {css}" d="{shape}">{title}</path>'


def label_ends(
    axes: Axes, labels: Sequence[tuple[float, str, str]], x: float | None = None, gap: float = 15
) -> str:
    """Writes names of lines beside their right ends, pushed apart where they would overlap.

    Args:
      axes: The plotting area; labels stand right of it, `x` is where the lines end if not there.
      labels: (data value at the line's end, name, CSS class) of each line.
      x: Pixel where the lines end.
      gap: Least distance of two labels.
    """
    start = axes.left + axes.width if x is None else x
    order = sorted(range(len(labels)), key=lambda i: axes.py(labels[i][0]))
    places = spread_out(
        [axes.py(labels[i][0]) for i in order], gap, axes.top, axes.top + axes.height
    )
    parts = []
    for i, place in zip(order, places, strict=True):
        value, name, css = labels[i]
        parts.append(
            f'<path class="leader {css}" d="M{start + 3:.1f} {axes.py(value):.1f}'
            f'L{start + 14:.1f} {place:.1f}h4"/>'
        )
        parts.append(draw_text(start + 22, place + 4, name, f"name {css}"))
    return "".join(parts)


def spread_out(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves ascending `places` as little as one sweep each way can, to be `gap` apart."""
    moved = list(places)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    ceiling = max(high, low + gap * (len(moved) - 1))
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved


def draw_points(
    axes: Axes, xs: Sequence[float], ys: Sequence[float], tips: Sequence[str], css: str
) -> str:
    """Marks at data points that are seen, with their values, only where the reader points.

    Of a long line a few hundred points in equal steps, and its last, have one.
    """
    step = -(-len(xs) // _MOST_POINTS)
    chosen = sorted({*range(0, len(xs), step), len(xs) - 1})
    return "".join(
        draw_marker(0, axes.px(xs[i]), axes.py(ys[i]), f"point {css}", tips[i], 3) for i in chosen
    )
