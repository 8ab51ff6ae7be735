"""Which chunks a stream cuts and which blocks it reads for them: integers only, no features.

On disk a half is a row of *blocks* of T frames, the last one zero-padded, and a *shard* is the
blocks of one game. A chunk of T frames lies in two adjacent blocks, so a shard read from its first
block to its last gives every chunk of its halves while remembering a single block.

A stream is a row of *passes*. In a pass every frame is read about once, and as many chunks are cut
as there are blocks, so that a chunk costs about one block's bytes. The chunks of a pass are drawn
independently from the sampling law (a half in proportion to its length, a uniform start), for all
parts of the stream together; only then are they put in the order of a sequential read. That order
starts at a chunk drawn uniformly, so that any position in any part follows the law as well.

What a part cuts in a pass is cut into *lanes* of equally many chunks, each a sequential read. The
lanes take turns, which mixes games, and where a stream stands follows from its number of chunks
alone.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

_Frames = TypeVar("_Frames", int, np.ndarray)


class Layout(NamedTuple):
    """Where the halves of a split are in its shards.

    Attributes:
      num_frames: [H], N of each half, in the order of the shards.
      shard: [H], the shard that holds it.
      first_block: [H], position of its first block in the shard.
      block_frames: T.
    """

    num_frames: np.ndarray
    shard: np.ndarray
    first_block: np.ndarray
    block_frames: int


class Reads(NamedTuple):
    """What the lanes of a pass read and cut.

    A lane reads *segments*, each consecutive blocks of one shard. All blocks of all segments in
    lane order are numbered 0..R-1, all chunks 0..C-1. A chunk is cut when its last block is read:
    it is the frames cut..cut + T - 1 of the block before and that block, joined.

    Attributes:
      lane_segments: [L + 1], lane l has the segments lane_segments[l]..lane_segments[l + 1] - 1.
      shard: [G], of each segment.
      first_block: [G], where in its shard a segment starts.
      segment_blocks: [G + 1], number of each segment's first block.
      block_chunks: [R + 1], number of the first chunk to cut when a block is read.
      cut: [C], 1..T.
      valid: [C], frames before the padding of a half shorter than T.
    """

    lane_segments: np.ndarray
    shard: np.ndarray
    first_block: np.ndarray
    segment_blocks: np.ndarray
    block_chunks: np.ndarray
    cut: np.ndarray
    valid: np.ndarray


def num_blocks(num_frames: _Frames, block_frames: int) -> _Frames:
    """Blocks of a half of `num_frames` frames, the last one padded."""
    return -(-num_frames // block_frames)


def make_layout(num_frames: Sequence[int], shard: Sequence[int], block_frames: int) -> Layout:
    """Lays halves out one after the other; `shard` [H] never falls."""
    lengths, shards = np.asarray(num_frames, np.int64), np.asarray(shard, np.int64)
    ends = np.cumsum(num_blocks(lengths, block_frames))
    firsts = np.concatenate([[0], ends[:-1]])
    first_of_shard = firsts[np.searchsorted(shards, shards, side="left")]
    return Layout(lengths, shards, firsts - first_of_shard, block_frames)


def draw_chunks(
    num_frames: np.ndarray, chunk_frames: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws chunks with replacement: the sampling law.

    Args:
      num_frames: [H], N of each half.
      chunk_frames: T.
      count: how many.
      rng: source of randomness.

    Returns:
      The half of each, with probability N / sum N, and its first frame, uniform over
      0..max(N - T, 0); both int64 [count].
    """
    ends = np.cumsum(num_frames)
    # The half of a frame drawn from all frames is a half drawn by length.
    half = np.searchsorted(ends, rng.integers(ends[-1], size=count), side="right")
    return half, rng.integers(np.maximum(num_frames[half] - chunk_frames, 0) + 1)


def turns_per_pass(layout: Layout, num_parts: int, lanes: int) -> int:
    """Chunks that each lane of each part gives in a pass; all together, one a block."""
    blocks = int(num_blocks(layout.num_frames, layout.block_frames).sum())
    return max(1, round(blocks / (num_parts * lanes)))


def plan_pass(
    layout: Layout, seed: int, index: int, part: int, num_parts: int, lanes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The chunks of one part in one pass.

    Args:
      layout: of the split.
      seed: of the stream.
      index: number of the pass.
      part: which of the parts.
      num_parts: between them they cut every chunk that was drawn for the pass exactly once.
      lanes: L.

    Returns:
      Half and first frame of each chunk, int64 [L, turns], each lane in the order of its reads.
    """
    turns = turns_per_pass(layout, num_parts, lanes)
    count = num_parts * lanes * turns
    rng = np.random.default_rng((seed, index))
    half, start = draw_chunks(layout.num_frames, layout.block_frames, count, rng)
    shard_rank = rng.permutation(layout.shard[-1] + 1)
    order = np.lexsort((_last_block(layout, half, start), shard_rank[layout.shard[half]]))
    order = np.roll(order, rng.integers(count))
    mine = order.reshape(num_parts, lanes, turns)[part]
    return half[mine], start[mine]


def plan_reads(layout: Layout, half: np.ndarray, start: np.ndarray) -> Reads:
    """What to read for the chunks `half` and `start` [L, turns] of `plan_pass`, or part of them."""
    num_lanes, turns = half.shape
    half, start = half.ravel(), start.ravel()
    block_frames = layout.block_frames
    shard, last = layout.shard[half], _last_block(layout, half, start)
    # A chunk that starts with a block does not need the one before.
    first = last - (start % block_frames != 0)

    lane = np.repeat(np.arange(num_lanes), turns)
    goes_on = (np.diff(lane) == 0) & (np.diff(shard) == 0) & (np.diff(last) >= 0)
    segment_of_chunk = np.concatenate([[0], np.cumsum(~goes_on)])
    chunk_firsts = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    first_block = np.minimum.reduceat(first, chunk_firsts)
    sizes = np.maximum.reduceat(last, chunk_firsts) + 1 - first_block
    segment_blocks = np.concatenate([[0], np.cumsum(sizes)])

    block_of_chunk = (segment_blocks[:-1] - first_block)[segment_of_chunk] + last
    return Reads(
        lane_segments=np.searchsorted(lane[chunk_firsts], np.arange(num_lanes + 1)),
        shard=shard[chunk_firsts],
        first_block=first_block,
        segment_blocks=segment_blocks,
        block_chunks=np.searchsorted(block_of_chunk, np.arange(segment_blocks[-1] + 1)),
        cut=(start - 1) % block_frames + 1,
        valid=np.minimum(layout.num_frames[half] - start, block_frames),
    )


def blocks_per_chunk(reads: Reads) -> float:
    """Blocks' bytes that a chunk costs, those included that are read to get to a segment's first.

    TFRecord files are read from their beginning.
    """
    return float((reads.first_block + np.diff(reads.segment_blocks)).sum() / len(reads.cut))


def _last_block(layout: Layout, half: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Position in its shard of the last block that a chunk needs."""
    return layout.first_block[half] + num_blocks(start, layout.block_frames)
