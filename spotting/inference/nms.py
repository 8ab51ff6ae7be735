"""Non-maximum suppression along time, exact and in parallel over halves and classes.

Greedy suppression takes the greatest remaining score (the earliest of equals), keeps it, acts on
its neighbours, and continues. A score that beats every remaining one within the radius is taken at
some point whatever happens elsewhere, so all such scores can be taken at once: in each round keep
every frame strictly greater than the remaining ones within the radius before it and at least equal
to those after it. The result is the greedy loop's, in a handful of rounds.

Time is the last axis here: sliding maxima then read memory in order. Scores are confidences, at
least 0; -1 marks a frame that holds no spot.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spotting.notation import Array

NO_SPOT = -1.0
_MOST_COMPARED = 64
DECAYS = ("linear", "quadratic", "gaussian")
"""How soft suppression lowers the scores near a kept one; see `soft_factors`."""


@functools.partial(jax.jit, static_argnames=("radius", "after", "threshold"))
def hard_nms(scores: Array, radius: int, after: int | None = None, threshold: float = 0.0) -> Array:
    """Keeps the greatest scores and removes all within `radius` frames of a kept one.

    Args:
      scores: [..., N], at least 0, or -1 where nothing may be kept (padding); NaN is taken for -1.
      radius: frames on each side, `timing.hard_nms_radius` of the paper's window.
      after: frames removed after a kept one, if not `radius` (`timing.half_open_reach`).
      threshold: least score that is kept.

    Returns:
      [..., N], the kept scores, -1 elsewhere. At threshold 0, zeros are kept too.
    """
    after = radius if after is None else after
    scores = _drop_nan(scores)

    def some_remain(state: tuple[Array, Array]) -> Array:
        return jnp.any(state[0] >= threshold)

    def one_round(state: tuple[Array, Array]) -> tuple[Array, Array]:
        remaining, kept = state
        # The longer side, so that of two frames one of which removes the other, only the greater is
        # taken in a round.
        peak = _is_peak(remaining, max(radius, after)) & (remaining >= threshold)
        kept = jnp.where(peak, remaining, kept)
        near = _sliding_max(peak, radius + after + 1, before=after)
        return jnp.where(near, NO_SPOT, remaining), kept

    nothing = jnp.full_like(scores, NO_SPOT)
    return jax.lax.while_loop(some_remain, one_round, (scores, nothing))[1]


def soft_factors(radius: float, decay: str) -> np.ndarray:
    """What soft suppression multiplies scores with at distances of 0, 1, ... frames.

    With x = distance / radius: "linear" x, "quadratic" x^2, "gaussian" 1 - exp(-x^2 / (2 / 9)), of
    which a standard deviation is a third of the radius.

    Args:
      radius: in frames, greater than 0; may be fractional.
      decay: one of `DECAYS`.

    Returns:
      float64 [floor(radius) + 1], from 0 at distance 0 on; beyond, nothing is lowered.
    """
    x = np.arange(math.floor(radius) + 1) / radius
    if decay == "linear":
        return x
    if decay == "quadratic":
        return x**2
    if decay == "gaussian":
        return 1 - np.exp(-4.5 * x**2)
    raise ValueError(f"unknown decay {decay!r}; one of {', '.join(DECAYS)}")


@functools.partial(jax.jit, static_argnames=("radius", "threshold", "decay"))
def soft_nms(scores: Array, radius: float, threshold: float = 1e-5, decay: str = "linear") -> Array:
    """Lowers the scores near a kept one, the more the nearer they are, instead of removing them.

    A score within the radius is multiplied by its distance's factor of `soft_factors`; the kept
    frame leaves with its score; what has fallen below `threshold` is dropped.

    Args:
      scores: [..., N], as for `hard_nms`.
      radius: frames on each side, `timing.soft_nms_radius` of the window; may be fractional.
      threshold: least score that is kept.
      decay: one of `DECAYS`; "linear" is the authors'.

    Returns:
      [..., N], the scores at which frames were kept, -1 elsewhere.

    Source: soft-NMS (Bodla et al., ICCV 2017), linear as in the authors' SoccerNet 2022 entry
    (Soares, Shah, arXiv 2206.07846).
    """
    reach = math.floor(radius)
    scores = _drop_nan(scores)
    frame = jnp.arange(scores.shape[-1], dtype=jnp.int32)
    far = jnp.int32(scores.shape[-1] + reach)
    # A table, because the compiler would turn a division by the radius into a product with its
    # rounded inverse: one more way to break ties differently.
    factors = np.append(soft_factors(radius, decay), 1.0).astype(scores.dtype)

    def some_remain(state: tuple[Array, Array]) -> Array:
        return jnp.any(state[0] >= threshold)

    def one_round(state: tuple[Array, Array]) -> tuple[Array, Array]:
        remaining, kept = state
        # Twice the radius, so that a frame between two peaks decays in the greedy loop's order: the
        # products round differently in another order, which decides what were ties.
        peak = _is_peak(remaining, 2 * reach) & (remaining >= threshold)
        kept = jnp.where(peak, remaining, kept)
        # No frame is in reach of two peaks, so that the last one in its reach is the only one.
        near = _sliding_max(jnp.where(peak, frame, -far), 2 * reach + 1, before=reach)
        decay = _look_up(factors, jnp.minimum(jnp.abs(frame - near), reach + 1))
        decay = jnp.where(remaining >= 0, decay, 1)
        return jnp.where(peak, NO_SPOT, remaining * decay), kept

    nothing = jnp.full_like(scores, NO_SPOT)
    return jax.lax.while_loop(some_remain, one_round, (scores, nothing))[1]


def _look_up(table: np.ndarray, index: Array) -> Array:
    """The table's values at an array of indexes.

    A short one by comparisons, of which a CPU makes eight at once; a gather takes one by one.
    """
    if len(table) > _MOST_COMPARED:
        return jnp.asarray(table)[index]
    values = jnp.full(index.shape, table[-1])
    for i, value in enumerate(table[:-1]):
        values = jnp.where(index == i, value, values)
    return values


def _drop_nan(scores: Array) -> Array:
    """NaN, which is neither above nor below another score and so would never be decided, to -1."""
    return jnp.where(jnp.isnan(scores), NO_SPOT, scores)


def _is_peak(scores: Array, radius: int) -> Array:
    """Frames above all scores within `radius` before them and not below any within it after."""
    if radius == 0:
        return jnp.ones_like(scores, bool)
    windows = _sliding_max(scores, radius, before=radius, extra=radius + 1)
    num_frames = scores.shape[-1]
    before = windows[..., :num_frames]
    after = windows[..., radius + 1 :]
    return (scores > before) & (scores >= after)


def _sliding_max(values: Array, width: int, before: int, extra: int = 0) -> Array:
    """Maximum over windows of `width` frames, by doubling: log2(width) shifted maxima.

    Returns [..., N + extra] whose element t covers frames t - before to t - before + width - 1.
    """
    lowest: Any = False
    if values.dtype != bool:
        is_float = jnp.issubdtype(values.dtype, jnp.floating)
        lowest = -jnp.inf if is_float else jnp.iinfo(values.dtype).min
    after = width - 1 - before + extra
    pad = [(0, 0)] * (values.ndim - 1) + [(before, max(after, 0))]
    maxima = jnp.pad(values, pad, constant_values=lowest)
    wanted = values.shape[-1] + extra
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        maxima = jnp.maximum(maxima[..., :-step], maxima[..., step:])
        covered += step
    return maxima[..., :wanted]
