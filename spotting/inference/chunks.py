"""From a half's features to one prediction per frame and class, through overlapping chunks.

Chunks overlap so much (a stride of 24 of 224 frames at the paper's border of 50 s) that most of the
work would be repeated. The reduction sees one frame at a time, so it runs once per frame; only the
trunk runs once per chunk. Chunks are grouped into *segments*, a fixed number of consecutive chunks:
one compiled program then serves halves of any length in bounded memory.

Source: yahoo/spivak; the paper says only that chunks overlap.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spotting.models.network import Network
from spotting.notation import Array


class ChunkRow(NamedTuple):
    """Where one chunk of a half is read, which part of its output is kept, and where it goes."""

    chunk_start: int
    valid_chunk_size: int
    output_start: int
    output_end: int
    result_start: int
    result_end: int


def stitching(num_frames: int, chunk_frames: int, border: int) -> list[ChunkRow]:
    """Covers a half with chunks, each keeping all but a border on either side.

    The first chunk keeps its left border, the last its right one. The last is moved back to end
    with the half, and what it keeps overwrites the chunk before it.

    Args:
      num_frames: N.
      chunk_frames: T.
      border: frames, less than T / 2.

    Returns:
      One row per chunk, in the order in which results are written.
    """
    if num_frames <= chunk_frames:
        return [ChunkRow(0, num_frames, 0, num_frames, 0, num_frames)]
    last = num_frames - chunk_frames
    starts = [*range(0, last, chunk_frames - 2 * border), last]
    rows = []
    for start in starts:
        low = 0 if start == 0 else border
        high = chunk_frames if start == last else chunk_frames - border
        rows.append(ChunkRow(start, chunk_frames, low, high, start + low, start + high))
    return rows


class Segment(NamedTuple):
    """A run of consecutive chunks of one half.

    Attributes:
      start: first frame.
      low: first frame of the half that this segment decides.
      high: the one after the last.
      offsets: int32 [C], where each chunk starts, relative to `start`; the last is repeated to C.
      source: int32 [span], for each frame of the segment the flat index, chunk * T + frame, of the
        output that decides it.
    """

    start: int
    low: int
    high: int
    offsets: np.ndarray
    source: np.ndarray


def segment_span(chunks: int, chunk_frames: int, border: int) -> int:
    """Frames that a segment of consecutive chunks covers."""
    return (chunks - 1) * (chunk_frames - 2 * border) + chunk_frames


def segments(num_frames: int, chunk_frames: int, border: int, chunks: int) -> Iterator[Segment]:
    """Groups the chunks of `stitching` into segments of `chunks` chunks."""
    rows = stitching(num_frames, chunk_frames, border)
    span = segment_span(chunks, chunk_frames, border)
    for first in range(0, len(rows), chunks):
        group = rows[first : first + chunks]
        start = group[0].chunk_start
        offsets = np.full(chunks, group[-1].chunk_start - start, np.int32)
        source = np.zeros(span, np.int32)
        for index, row in enumerate(group):
            offsets[index] = row.chunk_start - start
            kept = slice(row.result_start - start, row.result_end - start)
            source[kept] = index * chunk_frames + np.arange(row.output_start, row.output_end)
        # What the moved-back last chunk overwrites may be in the segment before: later ones win.
        yield Segment(start, group[0].result_start, group[-1].result_end, offsets, source)


def balanced_chunks(num_frames: int, chunk_frames: int, border: int, most: int) -> int:
    """Chunks per segment, at most `most`, that leave the last segment of such a half full."""
    rows = len(stitching(num_frames, chunk_frames, border))
    return -(-rows // -(-rows // most))


def shared_chunks(num_frames: int, chunk_frames: int, border: int, most: int) -> int:
    """Chunks per segment where few programs are to serve halves of any length.

    A half that one segment covers gets a power of two, from 8 on; all others get `most`.
    """
    rows = len(stitching(num_frames, chunk_frames, border))
    return min(most, max(8, 1 << (rows - 1).bit_length()))


@functools.partial(jax.jit, static_argnames=("model", "chunk_frames"))
def spot_segments(
    model: Network,
    params: dict,
    features: Array,
    offsets: Array,
    source: Array,
    chunk_frames: int,
) -> Array:
    """Runs the model over G segments.

    Args:
      model: the network.
      params: its variables.
      features: [G, span, P].
      offsets: int32 [G, C].
      source: int32 [G, span].
      chunk_frames: T.

    Returns:
      float32 [G, span, K]: confidences (after a sigmoid) or displacements, decided per frame.
    """
    reduced = model.apply(params, features, method="reduce")
    at = offsets[..., None] + jnp.arange(chunk_frames)
    chunks = jax.vmap(lambda frames, index: frames[index])(reduced, at)
    groups, count = offsets.shape
    outputs: Any = model.apply(
        params, chunks.reshape(groups * count, chunk_frames, -1), method="predict"
    )
    outputs = outputs.reshape(groups, count * chunk_frames, -1)
    return jax.vmap(lambda frames, index: frames[index])(outputs, source)


def spot_half(
    model: Network,
    params: dict,
    features: np.ndarray,
    chunk_frames: int,
    border: int,
    chunks: int = 32,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Predictions for every frame of one half of any length.

    Args:
      model: the network.
      params: its variables.
      features: [N, P], any float type; it may be memory-mapped: it is read by segments.
      chunk_frames: T.
      border: frames, of `timing.border_frames`.
      chunks: chunks per segment; the memory needed grows with it.
      progress: called with the number of frames done so far.

    Returns:
      float32 [N, K]: confidences in [0, 1], or displacements in units of their radius.
    """
    num_frames = features.shape[0]
    span = segment_span(chunks, chunk_frames, border)
    result = np.zeros((num_frames, model.num_classes), np.float32)
    # The network converts float16, on all cores and with half the bytes to copy before.
    dtype = np.float16 if features.dtype == np.float16 else np.float32
    for segment in segments(num_frames, chunk_frames, border, chunks):
        block = np.asarray(features[segment.start : segment.start + span], dtype)
        if len(block) < span:
            block = np.pad(block, ((0, span - len(block)), (0, 0)))
        outputs = spot_segments(
            model, params, block[None], segment.offsets[None], segment.source[None], chunk_frames
        )
        kept = slice(segment.low - segment.start, segment.high - segment.start)
        result[segment.low : segment.high] = np.asarray(outputs[0, kept])
        if progress:
            progress(segment.high)
    return result
