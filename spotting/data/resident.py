"""The training split on the device, chunks cut there by a gather.

Most splits fit in an accelerator's memory (3 GB for ResNet+PCA in bfloat16). The host then has
nothing to do during an epoch, which is one compiled scan.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spotting.notation import Array


class Batch(NamedTuple):
    """Chunks as every loader gives them.

    Attributes:
      features: [B, T, P].
      offsets: int16 [B, T, K], of `anchors.event_offsets` on the whole half.
      valid: bool [B, T], false in the padding of a half shorter than a chunk.
    """

    features: Array
    offsets: Array
    valid: Array


class ResidentSplit(NamedTuple):
    """All halves of a split end to end.

    Attributes:
      features: [sum N + T, P]; the last T rows are zero, so that a chunk never reads beyond.
      offsets: int16 [sum N + T, K].
      starts: int32 [H], row of each half's first frame.
      lengths: int32 [H], N of each half.
    """

    features: Array | np.ndarray
    offsets: Array | np.ndarray
    starts: Array | np.ndarray
    lengths: Array | np.ndarray


def concatenate(
    features: Sequence[np.ndarray],
    offsets: Sequence[np.ndarray],
    chunk_frames: int,
    dtype: jnp.dtype = jnp.float32,
) -> ResidentSplit:
    """Puts halves end to end, on the host.

    Args:
      features: [N, P] of each half.
      offsets: int16 [N, K] of each half.
      chunk_frames: T.
      dtype: in which features are kept.
    """
    lengths = np.array([len(half) for half in features], np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32)
    rows = int(lengths.sum()) + chunk_frames
    all_features = np.zeros((rows, features[0].shape[1]), jnp.dtype(dtype))
    all_offsets = np.zeros((rows, offsets[0].shape[1]), np.int16)
    for start, half, half_offsets in zip(starts, features, offsets, strict=True):
        all_features[start : start + len(half)] = half
        all_offsets[start : start + len(half)] = half_offsets
    return ResidentSplit(all_features, all_offsets, starts, lengths)


def sample_positions(
    key: Array, lengths: Array | np.ndarray, count: int, chunk_frames: int
) -> tuple[Array, Array]:
    """Draws chunks: a half in proportion to its length, then a start uniform over 0..max(N - T, 0).

    Args:
      key: random key.
      lengths: int32 [H].
      count: how many, drawn with replacement.
      chunk_frames: T.

    Returns:
      Index of the half and first frame within it, both int32 [count].
    """
    half_key, start_key = jax.random.split(key)
    ends = jnp.cumsum(lengths)
    # The half of a frame drawn from all frames is a half drawn by length.
    frame = jax.random.randint(half_key, (count,), 0, ends[-1])
    half = jnp.searchsorted(ends, frame, side="right").astype(jnp.int32)
    choices = jnp.maximum(lengths[half] - chunk_frames, 0) + 1
    return half, jax.random.randint(start_key, (count,), 0, choices)


def cut(split: ResidentSplit, half: Array, start: Array, chunk_frames: int) -> Batch:
    """Cuts chunks out of a resident split.

    Args:
      split: the split.
      half: int32 [B].
      start: int32 [B], first frame within the half.
      chunk_frames: T.

    Returns:
      The batch. Where a half is shorter than T, the rest is zero and not valid.
    """
    frame = jnp.arange(chunk_frames)
    valid = start[:, None] + frame < split.lengths[half][:, None]
    # By the index of every row: slices of a batch, each with a start of its own, are a loop over
    # the batch on TPUs.
    rows = (split.starts[half] + start)[:, None] + frame

    def take(array: Array | np.ndarray) -> Array:
        return jnp.asarray(array).at[rows].get(mode="promise_in_bounds")

    features = jnp.where(valid[..., None], take(split.features), 0)
    return Batch(features, take(split.offsets), valid)
