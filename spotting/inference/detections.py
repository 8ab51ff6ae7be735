"""CALF over a half: the detections of overlapping chunks, put at their frames.

Source: SoccerNet/sn-spotting.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spotting.data.context_chunks import border_frames
from spotting.inference.chunks import ChunkRow, stitching
from spotting.inference.nms import NO_SPOT
from spotting.models.calf import Calf
from spotting.notation import Array


def cover_half(
    num_frames: int, chunk_frames: int, receptive_frames: int, misplaced_last: bool = False
) -> list[ChunkRow]:
    """Covers a half with chunks that each keep all but half the receptive field on either side.

    Args:
      num_frames: N.
      chunk_frames: T.
      receptive_frames: R.
      misplaced_last: as published. The last chunk should end with the half. There, what is put at
        its place is what another one says, wherever the number of chunks that are read is one more
        than the number of those that are kept: one that starts up to R / 2 frames later and reaches
        beyond the half, where its last frame is repeated.

    Returns:
      One row per chunk, in the order in which results are written.

    Raises:
      ValueError: `misplaced_last` of a half shorter than a chunk, which is an error there too.
    """
    border = border_frames(receptive_frames)
    if not misplaced_last:
        return stitching(num_frames, chunk_frames, border)
    if num_frames < chunk_frames:
        raise ValueError(f"a half of {num_frames} frames is shorter than a chunk of {chunk_frames}")
    stride = chunk_frames - receptive_frames
    last = num_frames - chunk_frames
    read = published_starts(num_frames, chunk_frames, receptive_frames)
    first = ChunkRow(0, chunk_frames, 0, chunk_frames - border, 0, chunk_frames - border)
    rows = [first]
    for number, start in enumerate(read[1:], 1):
        place = min(number * stride, last)
        high = chunk_frames if place == last else chunk_frames - border
        row = ChunkRow(start, chunk_frames, border, high, place + border, place + high)
        # A half of exactly one chunk never gets to its end.
        rows.append(row if place > 0 else first)
        if place == last:
            break
    return rows


def published_starts(num_frames: int, chunk_frames: int, receptive_frames: int) -> list[int]:
    """Where the chunks begin that the published code reads; the last one ends with the half."""
    starts = [*range(0, num_frames - 1, chunk_frames - receptive_frames)]
    return [*starts[:-1], num_frames - chunk_frames]


def put_at_frames(detections: Array, chunk_frames: int) -> Array:
    """The confidence of each detection at its frame and class.

    Args:
      detections: [B, D, 2 + K].
      chunk_frames: T.

    Returns:
      float32 [B, T, K], -1 where there is no detection; of several at one frame and class the last.
    """
    batch, count, columns = detections.shape
    num_classes = columns - 2
    frame = jnp.floor(detections[..., 1] * (chunk_frames - 1)).astype(jnp.int32)
    cell = frame * num_classes + jnp.argmax(detections[..., 2:], axis=-1)
    index = jnp.arange(count)
    is_later = index[:, None] < index
    hidden = jnp.any((cell[:, :, None] == cell[:, None, :]) & is_later, axis=2)
    cell = jnp.where(hidden, chunk_frames * num_classes, cell)
    scores = jnp.full((batch, chunk_frames * num_classes), NO_SPOT, jnp.float32)
    scores = jax.vmap(lambda row, at, value: row.at[at].set(value, mode="drop"))(
        scores, cell, detections[..., 0]
    )
    return scores.reshape(batch, chunk_frames, num_classes)


def stitch(chunks: np.ndarray, rows: list[ChunkRow], num_frames: int, empty: float) -> np.ndarray:
    """Puts what each chunk keeps in its place.

    Args:
      chunks: [len(rows), T, K].
      rows: of `cover_half`.
      num_frames: N.
      empty: where no chunk has anything.

    Returns:
      [N, K].
    """
    result = np.full((num_frames, chunks.shape[-1]), empty, chunks.dtype)
    for chunk, row in zip(chunks, rows, strict=True):
        result[row.result_start : row.result_end] = chunk[row.output_start : row.output_end]
    return result


@functools.partial(jax.jit, static_argnames="model")
def detect(model: Calf, params: Any, features: Array) -> Array:
    """Confidences of the detections in chunks, at their frames.

    Args:
      model: the network.
      params: its variables.
      features: [B, T, P].

    Returns:
      float32 [B, T, K], -1 where there is no detection.
    """
    outputs: Any = model.apply(params, features)
    return put_at_frames(outputs.detections, features.shape[1])


def spot_half(
    model: Calf,
    params: Any,
    features: np.ndarray,
    chunk_frames: int,
    misplaced_last: bool = False,
    at_once: int = 32,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Scores for every frame of one half of any length.

    Args:
      model: the network.
      params: its variables.
      features: [N, P], any float type.
      chunk_frames: T. Where a chunk reaches beyond the half, its last frame is repeated.
      misplaced_last: see `cover_half`.
      at_once: chunks that go through the network together.
      progress: called with the number of frames done so far.

    Returns:
      float32 [N, K], the confidence of each detection, -1 elsewhere.
    """
    num_frames = len(features)
    rows = cover_half(num_frames, chunk_frames, model.receptive_frames, misplaced_last)
    found = []
    for first in range(0, len(rows), at_once):
        group = rows[first : first + at_once]
        start = np.array([row.chunk_start for row in group])
        start = np.pad(start, (0, at_once - len(group)), mode="edge")
        frames = np.minimum(start[:, None] + np.arange(chunk_frames), num_frames - 1)
        scores = detect(model, params, np.asarray(features[frames], np.float32))
        found.append(np.asarray(scores)[: len(group)])
        if progress:
            progress(group[-1].result_end)
    return stitch(np.concatenate(found), rows, num_frames, NO_SPOT)
