"""Halves as stored blocks: rounding to the storage type, and what that loses. NumPy only."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from spotting.anchors import NO_EVENT
from spotting.base.errors import InputError
from spotting.data.halves import Half, TimeSource, compute_offsets
from spotting.data.prepared.blocks import num_blocks

STORAGE_DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
"""float16 keeps 11 significant bits up to 65504, bfloat16 8 bits at any magnitude."""


@dataclass
class StorageStatistics:
    """What went into storage, and how far what came out differs. Sums, so that they add up.

    Attributes:
      frames: frames stored, without padding.
      values: features stored.
      total: their sum.
      squares: sum of their squares.
      error_squares: sum of squared differences between a feature and what is stored of it.
      max_error: greatest such difference.
    """

    frames: int = 0
    values: int = 0
    total: float = 0.0
    squares: float = 0.0
    error_squares: float = 0.0
    max_error: float = 0.0

    def __add__(self, other: "StorageStatistics") -> "StorageStatistics":
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        sums = [a + b for a, b in zip(mine, theirs, strict=True)]
        sums[-1] = max(mine[-1], theirs[-1])
        return StorageStatistics(*sums)

    @property
    def mean(self) -> float:
        """Mean of all features."""
        return self.total / self.values

    @property
    def std(self) -> float:
        """Standard deviation of all features."""
        return max(self.squares / self.values - self.mean**2, 0.0) ** 0.5

    @property
    def relative_error(self) -> float:
        """Root mean square of what storage changed, relative to that of the features."""
        return (self.error_squares / self.squares) ** 0.5 if self.squares else 0.0


def iterate_blocks(
    half: Half,
    classes: Sequence[str],
    frame_rate: float,
    time_source: TimeSource,
    block_frames: int,
    dtype: np.dtype,
) -> Iterator[tuple[dict[str, Any], StorageStatistics]]:
    """Cuts a half into the blocks that are stored.

    Reads a memory-mapped half block by block, so that memory holds one block of it.

    Args:
      half: what to store.
      classes: the K classes.
      frame_rate: of the half.
      time_source: which time of an event to go by, see `make_label_matrix`.
      block_frames: T.
      dtype: one of STORAGE_DTYPES.

    Yields:
      The block as the fields of a record, features [T, P] and offsets int16 [T, K] among them,
      padded with zeros and NO_EVENT after the half's end; and statistics of its features.

    Raises:
      InputError: a feature is NaN, infinite, or too large for the storage type.
    """
    (half_offsets,), _ = compute_offsets([half], classes, frame_rate, time_source)
    half_features = half.load()
    for block in range(num_blocks(half.num_frames, block_frames)):
        start = block * block_frames
        stop = min(start + block_frames, half.num_frames)
        features = np.zeros((block_frames, half_features.shape[1]), dtype)
        offsets = np.full((block_frames, len(classes)), NO_EVENT, np.int16)
        exact = np.asarray(half_features[start:stop], np.float32)
        with np.errstate(over="ignore"):
            features[: stop - start] = exact
        offsets[: stop - start] = half_offsets[start:stop]
        statistics = _statistics(exact, features[: stop - start])
        if not np.isfinite(statistics.error_squares):
            raise _not_storable(half, start, exact, dtype)
        yield (
            {
                "features": features,
                "offsets": offsets,
                "game": half.game,
                "half": half.number,
                "start": start,
                "num_frames": stop - start,
            },
            statistics,
        )


def _statistics(exact: np.ndarray, stored: np.ndarray) -> StorageStatistics:
    with np.errstate(invalid="ignore", over="ignore"):
        error = stored.astype(np.float32)
        error -= exact
        return StorageStatistics(
            frames=len(exact),
            values=exact.size,
            total=float(exact.sum(dtype=np.float64)),
            squares=float(np.vdot(exact, exact)),
            error_squares=float(np.vdot(error, error)),
            max_error=float(max(error.max(), -error.min())),
        )


def _not_storable(half: Half, start: int, exact: np.ndarray, dtype: np.dtype) -> InputError:
    with np.errstate(over="ignore"):
        frame, column = np.argwhere(~np.isfinite(exact.astype(dtype)))[0]
    value = exact[frame, column]
    remedy = (
        f"too large for {dtype}; set --config.data.storage to float32 or bfloat16"
        if np.isfinite(value)
        else "not a number to train on; extract or download the file again"
    )
    return InputError(
        f"{half.path}: frame {start + frame}, column {column} (from 0) is {value}: {remedy}"
    )
