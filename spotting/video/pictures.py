"""Pictures made ready for a network: 224 lines, 224 columns of the middle, exactly as OpenCV does.

OpenCV's INTER_AREA and INTER_CUBIC are repeated here to the last bit of 8-bit values (release
3.4.11, which SoccerNet's extractor asks for), so that features are not moved by another resize.
Pictures are [H, W, 3] uint8 arrays in the order blue, green, red.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

SIZE = 224
_FIXED_POINT = 2048  # OpenCV's weights of 11 bits


class _Taps(NamedTuple):
    """Weights of an axis: target d is the sum over j of weight[d, j] * values[source[d, j]].

    What is there for all targets to have as many taps has the weight 0.
    """

    source: np.ndarray  # [targets, taps]
    weight: np.ndarray  # [targets, taps] float32


def fit(picture: np.ndarray, columns: int = SIZE) -> np.ndarray:
    """Resizes to 224 lines and cuts the middle columns out; SoccerNet's transform "crop".

    Args:
      picture: [H, W, 3] uint8.
      columns: of a picture whose width is odd when it has 224 lines: 224 drops the last one, 225
        keeps it, as SoccerNet's extractor does.

    Returns:
      [224, 224 or 225, 3] uint8.

    Raises:
      ValueError: too narrow for its height.
    """
    height, width = picture.shape[:2]
    new_width = fitted_width(width, height)
    if new_width < SIZE:
        raise ValueError(f"{width}x{height} is narrower than high")
    left = (new_width - SIZE) // 2
    kept = SIZE + (new_width % 2 if columns > SIZE else 0)
    if height == SIZE:
        return picture[:, left : left + kept]
    return resize_area(picture, SIZE, new_width)[:, left : left + kept]


def fitted_width(width: int, height: int) -> int:
    """The width that a picture has at 224 lines."""
    return width if height == SIZE else int(width * (SIZE / float(height)))


def resize_area(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """OpenCV's resize with INTER_AREA.

    Args:
      picture: [H, W, C] uint8.
      height: of the result.
      width: of the result.

    Returns:
      [height, width, C] uint8.
    """
    old_height, old_width = picture.shape[:2]
    if (old_height, old_width) == (height, width):
        return picture.copy()
    if height > old_height or width > old_width:
        return _enlarge(picture, height, width)
    if old_height % height == 0 and old_width % width == 0:
        return _sum_boxes(picture, old_height // height, old_width // width)
    return _average(picture, height, width)


def _sum_boxes(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    height, width, channels = picture.shape
    boxes = picture.reshape(height // rows, rows, width // columns, columns, channels)
    sums = boxes.sum((1, 3), dtype=np.int32)
    if rows == columns == 2:
        return ((sums + 2) >> 2).astype(np.uint8)
    share = np.float32(1 / (rows * columns))
    return np.rint(sums.astype(np.float32) * share).astype(np.uint8)


def _average(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Area averages: along rows first, then along columns, in float32 in the order of sources."""
    across, down = _area_taps(picture.shape[1], width), _area_taps(picture.shape[0], height)
    wide = picture.astype(np.float32)
    narrow = _weigh(wide.transpose(1, 0, 2), across).transpose(1, 0, 2)
    return np.clip(np.rint(_weigh(narrow, down)), 0, 255).astype(np.uint8)


def _weigh(source: np.ndarray, taps: _Taps) -> np.ndarray:
    """[targets, ...] sums over the first axis of `source`."""
    weight = taps.weight[..., None, None]
    total = source[taps.source[:, 0]] * weight[:, 0]
    for j in range(1, taps.source.shape[1]):
        total += source[taps.source[:, j]] * weight[:, j]
    return total


@functools.lru_cache(maxsize=64)
def _area_taps(source: int, target: int) -> _Taps:
    scale = 1 / (target / source)
    lists: list[list[tuple[int, float]]] = []
    for d in range(target):
        first, last = d * scale, d * scale + scale
        cell = min(scale, source - first)
        low = math.ceil(first)
        high = min(math.floor(last), source - 1)
        low = min(low, high)
        taps = []
        if low - first > 1e-3:
            taps.append((low - 1, (low - first) / cell))
        taps += [(s, 1 / cell) for s in range(low, high)]
        if last - high > 1e-3:
            taps.append((high, min(min(last - high, 1.0), cell) / cell))
        lists.append(taps)
    most = max(map(len, lists))
    index = np.zeros((target, most), np.int64)
    weight = np.zeros((target, most), np.float32)
    for d, taps in enumerate(lists):
        for j, (s, value) in enumerate(taps):
            index[d, j], weight[d, j] = s, value
    return _Taps(index, weight)


def _enlarge(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear in fixed point, with weights that divide cells as areas do."""
    across, down = _linear_taps(picture.shape[1], width), _linear_taps(picture.shape[0], height)
    source = picture.astype(np.int32)
    x0, x1 = across.source.T
    a0, a1 = across.weight.T.astype(np.int32)[..., None]
    wide = source[:, x0] * a0 + source[:, x1] * a1
    y0, y1 = down.source.T
    b0, b1 = down.weight.T.astype(np.int32)[..., None, None]
    total = ((b0 * (wide[y0] >> 4)) >> 16) + ((b1 * (wide[y1] >> 4)) >> 16)
    return np.clip((total + 2) >> 2, 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def _linear_taps(source: int, target: int) -> _Taps:
    inverse = target / source
    scale = 1 / inverse
    index = np.zeros((target, 2), np.int64)
    weight = np.zeros((target, 2), np.float32)
    for d in range(target):
        s = math.floor(d * scale)
        f = np.float32((d + 1) - (s + 1) * inverse)
        f = np.float32(0) if f <= 0 else f - np.floor(f)
        if s < 0:
            s, f = 0, np.float32(0)
        if s >= source - 1:
            s, f = source - 1, np.float32(0)
        index[d] = s, min(s + 1, source - 1)
        weight[d] = np.rint((np.float32(1) - f) * _FIXED_POINT), np.rint(f * _FIXED_POINT)
    return _Taps(index, weight)


def resize_cubic(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """OpenCV's resize with INTER_CUBIC.

    Args:
      picture: [H, W, C] uint8.
      height: of the result.
      width: of the result.

    Returns:
      [height, width, C] uint8.
    """
    across, down = _cubic_taps(picture.shape[1], width), _cubic_taps(picture.shape[0], height)
    tall = _weigh_last_first(picture.astype(np.float32), down)
    total = _weigh_last_first(tall.transpose(1, 0, 2), across).transpose(1, 0, 2)
    return np.clip(np.rint(total), 0, 255).astype(np.uint8)


def _weigh_last_first(source: np.ndarray, taps: _Taps) -> np.ndarray:
    """`_weigh` with the terms added in the opposite order."""
    return _weigh(source, _Taps(taps.source[:, ::-1], taps.weight[:, ::-1]))


@functools.lru_cache(maxsize=64)
def _cubic_taps(source: int, target: int) -> _Taps:
    places = (np.arange(target) + 0.5) * (source / target) - 0.5
    first = np.floor(places)
    x = (places - first).astype(np.float32)
    a = np.float32(-0.75)
    taps = [
        ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a,
        ((a + 2) * x - (a + 3)) * x * x + 1,
        ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1,
    ]
    taps.append(1 - taps[0] - taps[1] - taps[2])
    index = np.clip(first[:, None].astype(np.int64) + np.arange(-1, 3), 0, source - 1)
    return _Taps(index, np.stack(taps, 1))
