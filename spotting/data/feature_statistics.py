"""Statistics of features [N, P] that are too many to be in memory together.

Sums are in float64 and parts are combined in a fixed order, so that a result does not depend on how
many threads computed it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_ROWS = 256  # Frames that are converted to float64 at a time.


@dataclass(frozen=True)
class Moments:
    """Moments of the columns of some frames: their number, and [P] each, in float64.

    `squares` is the sum of squared distances from the mean.
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray
    max_abs: np.ndarray

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both parts together (Chan, Golub, LeVeque 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        return Moments(
            count,
            self.mean + step * (other.count / count),
            self.squares + other.squares + step**2 * (self.count * other.count / count),
            np.maximum(self.max_abs, other.max_abs),
        )

    def std(self) -> np.ndarray:
        """Standard deviation of each column, [P]."""
        return np.sqrt(self.squares / self.count)


def compute_moments(features: np.ndarray) -> Moments:
    """Moments of features [N, P] with N > 0, read a few frames at a time."""
    firsts = range(0, len(features), _ROWS)
    return add_moments(_moments_of_few(features[first : first + _ROWS]) for first in firsts)


def _moments_of_few(features: np.ndarray) -> Moments:
    rows = np.asarray(features, np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    squares = np.einsum("np,np->p", centred, centred)
    return Moments(len(rows), mean, squares, np.abs(rows).max(axis=0))


def add_moments(parts: Iterable[Moments]) -> Moments:
    """The moments of all parts together."""
    parts = iter(parts)
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def map_threads(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """Results of `function` in the order of `items`, computed on all cores, a few ahead.

    NumPy and file reads let go of the interpreter's lock, so threads do. An error stops it at once.
    """
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[_Result]] = []
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
