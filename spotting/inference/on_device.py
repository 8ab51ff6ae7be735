"""Predictions for a whole split again and again, from features that stay on the devices.

A validation split that has to be uploaded each time takes an accelerator longer than its spotting.
Here its halves lie end to end on the devices, and many segments go through the network at once.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spotting.inference.chunks import segment_span, segments, spot_segments
from spotting.models.network import Network
from spotting.notation import Array

CHUNKS_AT_ONCE = 1024


class Kept(NamedTuple):
    """What a segment decides: frames `low` to `high` of a half, from frame `skip` of its own on."""

    half: int
    low: int
    high: int
    skip: int


class Share(NamedTuple):
    """One device's part of a split: some of its halves, and the G segments that cover them.

    Attributes:
      features: [rows, P] on the device, its halves end to end, each at least T frames long.
      rows: int32 [G], where each segment starts.
      offsets: int32 [G, C], of `inference.Segment`.
      source: int32 [G, span], likewise.
      kept: of each segment.
    """

    features: Array
    rows: np.ndarray
    offsets: np.ndarray
    source: np.ndarray
    kept: tuple[Kept, ...]


def place(
    halves: Sequence[np.ndarray],
    chunk_frames: int,
    border: int,
    chunks: int,
    dtype: jnp.dtype,
    devices: Sequence[jax.Device],
) -> list[Share]:
    """Shares halves out among devices.

    Args:
      halves: features [N, P] of each half.
      chunk_frames: T.
      border: frames, of `timing.border_frames`.
      chunks: C, chunks per segment.
      dtype: in which features are kept, that of the computation.
      devices: at most as many as there are halves.
    """
    span = segment_span(chunks, chunk_frames, border)
    shares = []
    for number, device in enumerate(devices):
        mine = range(number, len(halves), len(devices))
        lengths = [max(len(halves[index]), chunk_frames) for index in mine]
        features = np.zeros((sum(lengths) + span, halves[0].shape[1]), dtype)
        found, kept, first = [], [], 0
        for index, length in zip(mine, lengths, strict=True):
            num_frames = len(halves[index])
            features[first : first + num_frames] = halves[index]
            for one in segments(num_frames, chunk_frames, border, chunks):
                found.append((first + one.start, one.offsets, one.source))
                kept.append(Kept(index, one.low, one.high, one.low - one.start))
            first += length
        rows, offsets, source = (np.asarray(each, np.int32) for each in zip(*found, strict=True))
        features = jax.device_put(features, device)
        shares.append(Share(features, rows, offsets, source, tuple(kept)))
    return shares


def spot_split(
    model: Network, params: Any, shares: Sequence[Share], chunk_frames: int
) -> list[np.ndarray]:
    """Predictions of each half, as `inference.spot_half` gives them.

    Args:
      model: the network.
      params: its variables.
      shares: of `place`.
      chunk_frames: T.
    """
    # All devices are given their work before any result is waited for.
    outputs = [list(_spot_share(model, params, share, chunk_frames)) for share in shares]
    num_frames: dict[int, int] = {}
    for share in shares:
        for one in share.kept:
            num_frames[one.half] = max(num_frames.get(one.half, 0), one.high)
    results = [
        np.zeros((num_frames[half], model.num_classes), np.float32) for half in sorted(num_frames)
    ]
    for share, batches in zip(shares, outputs, strict=True):
        found = np.concatenate([np.asarray(batch) for batch in batches])
        for one, frames in zip(share.kept, found, strict=False):
            kept = frames[one.skip : one.skip + one.high - one.low]
            results[one.half][one.low : one.high] = kept
    return results


def _spot_share(model: Network, params: Any, share: Share, chunk_frames: int) -> Iterator[Array]:
    """Outputs [G', span, K] of equally many segments at a time; the last one is repeated."""
    params = jax.device_put(params, share.features.device)
    count, chunks = share.offsets.shape
    batches = -(-count // max(1, CHUNKS_AT_ONCE // chunks))
    at_once = -(-count // batches)
    for batch in range(batches):
        index = np.minimum(np.arange(batch * at_once, (batch + 1) * at_once), count - 1)
        yield spot_rows(
            model,
            params,
            share.features,
            share.rows[index],
            share.offsets[index],
            share.source[index],
            chunk_frames,
        )


@functools.partial(jax.jit, static_argnames=("model", "chunk_frames"))
def spot_rows(
    model: Network,
    params: Any,
    features: Array,
    rows: Array,
    offsets: Array,
    source: Array,
    chunk_frames: int,
) -> Array:
    """Predictions [G, span, K] of some of a `Share`'s segments, whose arguments these are."""
    # By the index of every row: see `data.resident.cut`.
    frames = rows[:, None] + jnp.arange(source.shape[1])
    blocks = features.at[frames].get(mode="promise_in_bounds")
    return spot_segments(model, params, blocks, offsets, source, chunk_frames)
