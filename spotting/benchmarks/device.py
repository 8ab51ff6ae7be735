"""Timing, and what a device can do at best."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_BUDGET = 10.0  # seconds after which no further round is timed
_ROUNDS = 3, 15  # at least, at most
_CPU_MATRIX, _MATRIX = 4096, 8192  # rows and columns
_CPU_ARRAY, _ARRAY = 1 << 26, 1 << 28  # float32 values


def median_seconds(*functions: Callable[[], object]) -> list[float]:
    """Median time of each function, called in turn so that all see the machine in the same state.

    A first call, which may compile, is not counted.
    """
    for function in functions:
        jax.block_until_ready(function())
    times: list[list[float]] = [[] for _ in functions]
    began = time.perf_counter()
    least, most = _ROUNDS
    for count in range(most):
        if count >= least and time.perf_counter() - began > _BUDGET:
            break
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(function())
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


class Probe(NamedTuple):
    """Something simple that is limited by one thing alone.

    Attributes:
      run: does it.
      amount: floating point operations, or bytes read and written.
    """

    run: Callable[[], object]
    amount: float


def matmul_probe(dtype: jnp.dtype) -> Probe:
    """A product of two square matrices; multiply and add count as two operations."""
    size = _CPU_MATRIX if jax.default_backend() == "cpu" else _MATRIX
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda x: x @ x)
    return Probe(lambda: product(matrix), 2 * size**3)


def memory_probe() -> Probe:
    """Reading and writing an array, in place, that is too large for any cache."""
    size = _CPU_ARRAY if jax.default_backend() == "cpu" else _ARRAY
    array = jnp.zeros(size, jnp.float32)
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def run() -> jax.Array:
        nonlocal array
        array = add(array)
        return array

    return Probe(run, 2 * array.nbytes)
