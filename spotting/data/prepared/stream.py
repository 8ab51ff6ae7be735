"""Chunks streamed from prepared data by tf.data, for splits that fit in no memory.

`blocks` says which chunks there are and what must be read for them; this module reads, cuts,
shuffles and batches. A batch may consist of several *parts*, which read and shuffle apart from each
other; a process has some of them, at least one. The batches are a function of the seed, the number
of parts and the position alone: where there are as many parts, they are the same on one process as
on several. More parts read more slowly, so one a process is the rule.
"""

import collections
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from spotting.base.errors import InputError
from spotting.data.prepared import blocks
from spotting.data.prepared.reader import Prepared, reading_records
from spotting.data.prepared.tensorflow_import import tf
from spotting.data.resident import Batch

Block = tuple[tf.Tensor, tf.Tensor]
"""Features [T, P] and offsets int16 [T, K] of a record."""

_LANES = 32  # Of all parts together: so many matches meet in a batch.
_LEAST_LANES = 4  # Of one part.
_READ_BYTES = 4 << 20  # What is asked of the file system at a time; each lane has such a buffer.


def count_parts(batch_size: int, num_processes: int, least_parts: int) -> int:
    """Parts of a batch, all processes together.

    Args:
      batch_size: chunks in a batch, of all processes together.
      num_processes: each has equally many parts.
      least_parts: of a batch; at least one for each process.

    Raises:
      InputError: the processes, or the batch, cannot be cut so.
    """
    num_parts = max(least_parts, num_processes)
    if num_parts % num_processes or batch_size % num_parts:
        raise InputError(
            f"{num_parts} parts of a batch of {batch_size} on {num_processes} processes: "
            "data.stream_parts must be a multiple of the processes and divide training.batch_size"
        )
    return num_parts


@dataclass(frozen=True)
class Stream:
    """An endless stream of batches of one split, or one process's rows of them.

    Attributes:
      prepared: where from.
      split: which split.
      batch_size: chunks in a batch, of all processes together.
      seed: of the draws; give each model that is trained one of its own.
      process: which of the processes this is.
      num_processes: they get consecutive rows of each batch.
      least_parts: of a batch; at least one for each process.
      shuffle_bytes: features that are shuffled together and so are in memory, in all processes.
    """

    prepared: Prepared
    split: str
    batch_size: int
    seed: int
    process: int = 0
    num_processes: int = 1
    least_parts: int = 1
    shuffle_bytes: int = 512 << 20

    @property
    def num_parts(self) -> int:
        """Parts of a batch, all processes together; see `count_parts`."""
        return count_parts(self.batch_size, self.num_processes, self.least_parts)

    @property
    def parts(self) -> list["Part"]:
        """The parts of this process."""
        count = self.num_parts // self.num_processes
        return [
            Part(
                self.prepared,
                self.split,
                self.seed,
                index,
                self.num_parts,
                self.shuffle_bytes // self.num_parts,
            )
            for index in range(self.process * count, (self.process + 1) * count)
        ]

    def blocks_per_chunk(self, index: int = 0) -> float:
        """Blocks' bytes read for each chunk of a pass."""
        return float(np.mean([part.blocks_per_chunk(index) for part in self.parts]))

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batches of NumPy arrays, from batch number `start` on.

        To start late costs no more than to read and drop the chunks that would have been shuffled
        together, and one shard for each lane.

        Raises:
          InputError: a shard is damaged or missing.
        """
        with reading_records(self.prepared.builder.data_dir):
            for fields in self.dataset(start).as_numpy_iterator():
                yield Batch(*fields)

    def dataset(self, start: int = 0) -> tf.data.Dataset:
        """The stream as a tf.data.Dataset: features, offsets and valid of `Batch`."""
        share = self.batch_size // self.num_parts
        parts = [part.chunks(start * share) for part in self.parts]
        chunks = parts[0]
        if len(parts) > 1:
            turns = tf.data.Dataset.range(len(parts)).repeat()
            turns = turns.flat_map(lambda part: tf.data.Dataset.from_tensors(part).repeat(share))
            # They read ahead beside each other.
            parts = [part.prefetch(share) for part in parts]
            chunks = tf.data.Dataset.choose_from_datasets(parts, turns)
        stream = chunks.batch(share * len(parts), drop_remainder=True).prefetch(2)
        options = tf.data.Options()
        options.autotune.enabled = False
        options.deterministic = True
        return stream.with_options(options)


@dataclass(frozen=True)
class Part:
    """An endless stream of chunks: of each batch of a `Stream` its part.

    Attributes:
      prepared: where from.
      split: which split.
      seed: of the draws.
      index: which of the parts this is.
      num_parts: they get disjoint parts of the chunks drawn.
      shuffle_bytes: features that are shuffled together.
    """

    prepared: Prepared
    split: str
    seed: int
    index: int = 0
    num_parts: int = 1
    shuffle_bytes: int = 512 << 20

    @property
    def num_lanes(self) -> int:
        """Sequential reads that take turns in this part.

        A lane starts in the middle of a shard and reads that from its beginning, so lanes are few
        enough to go over two shards each.
        """
        shards = len(self.prepared.shards(self.split))
        wanted = max(_LEAST_LANES, _LANES // self.num_parts)
        return max(1, min(wanted, shards // (2 * self.num_parts)))

    @property
    def shuffle_chunks(self) -> int:
        """How many chunks are shuffled together."""
        records = self.prepared.records
        chunk_bytes = records.block_frames * records.feature_dim * records.dtype.itemsize
        # Whole turns, so that a resumed stream can leave whole turns out.
        return max(1, self.shuffle_bytes // (chunk_bytes * self.num_lanes)) * self.num_lanes

    def blocks_per_chunk(self, index: int = 0) -> float:
        """Blocks' bytes read for each chunk of a pass."""
        layout = self.prepared.layout(self.split)
        return blocks.blocks_per_chunk(blocks.plan_reads(layout, *self._chunks(layout, index)))

    def chunks(self, start: int = 0) -> tf.data.Dataset:
        """Features, offsets and valid of a chunk of `Batch`, from chunk number `start` on."""
        layout = self.prepared.layout(self.split)
        shards = tf.constant(self.prepared.shards(self.split))
        lanes, window = self.num_lanes, self.shuffle_chunks
        pass_chunks = lanes * blocks.turns_per_pass(layout, self.num_parts, lanes)
        first_pass, position = divmod(start, pass_chunks)
        first_window, leave_out = divmod(position, window)
        windows_per_pass = -(-pass_chunks // window)

        def plan(index: np.int64) -> list[np.ndarray]:
            half, first_frame = self._chunks(layout, int(index))
            turns = first_window * window // lanes if index == first_pass else 0
            reads = blocks.plan_reads(layout, half[:, turns:], first_frame[:, turns:])
            # The draws of the pass have the seed (seed, index), which is (seed, index, 0) to NumPy.
            rng = np.random.default_rng((self.seed, int(index), 1 + self.index))
            seeds = rng.integers(np.iinfo(np.int64).max, size=windows_per_pass)
            return [*reads, seeds[first_window if index == first_pass else 0 :]]

        def shuffled(chunks: tuple[tf.data.Dataset, ...], seed: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.zip(*chunks).shuffle(
                window, seed=seed, reshuffle_each_iteration=False
            )

        def one_pass(index: tf.Tensor) -> tf.data.Dataset:
            types = [tf.int64] * (len(blocks.Reads._fields) + 1)
            *reads, seeds = tf.numpy_function(plan, [index], types)
            reads = blocks.Reads(*reads)
            chunks = tf.data.Dataset.range(lanes).interleave(
                lambda lane: self._lane(lane, reads, shards),
                cycle_length=lanes,
                block_length=1,
                num_parallel_calls=min(lanes, 2 * (os.cpu_count() or 1)),
                deterministic=True,
            )
            windows = tf.data.Dataset.zip(
                chunks.window(window), tf.data.Dataset.from_tensor_slices(seeds)
            )
            return windows.flat_map(shuffled)

        stream = tf.data.Dataset.range(first_pass, np.iinfo(np.int64).max).flat_map(one_pass)
        return stream.skip(leave_out)

    def _chunks(self, layout: blocks.Layout, index: int) -> tuple[np.ndarray, np.ndarray]:
        return blocks.plan_pass(
            layout, self.seed, index, self.index, self.num_parts, self.num_lanes
        )

    def _lane(self, lane: tf.Tensor, reads: blocks.Reads, shards: tf.Tensor) -> tf.data.Dataset:
        """The chunks of one lane of a pass, in the order of its reads."""
        segments = tf.data.Dataset.range(reads.lane_segments[lane], reads.lane_segments[lane + 1])
        return segments.flat_map(lambda segment: self._segment(segment, reads, shards))

    def _segment(
        self, segment: tf.Tensor, reads: blocks.Reads, shards: tf.Tensor
    ) -> tf.data.Dataset:
        """Reads consecutive blocks of one shard and cuts chunks as they come."""
        records = self.prepared.records
        numbers = tf.data.Dataset.range(
            reads.segment_blocks[segment], reads.segment_blocks[segment + 1]
        )
        serialized = tf.data.TFRecordDataset(shards[reads.shard[segment]], buffer_size=_READ_BYTES)
        read = tf.data.Dataset.zip(numbers, serialized.skip(reads.first_block[segment]))
        nothing = (
            tf.zeros([records.block_frames, records.feature_dim], tf.as_dtype(records.dtype)),
            tf.zeros([records.block_frames, records.num_classes], tf.int16),
        )

        def join(previous: Block, block: tuple[tf.Tensor, tf.Tensor]) -> tuple[Block, Any]:
            number, record = block
            current = records.decode(record)
            return current, (number, previous, current)

        def cut(number: tf.Tensor, previous: Block, current: Block) -> tf.data.Dataset:
            def cut_one(chunk: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
                first = reads.cut[chunk]
                features, offsets = (
                    tf.concat([before[first:], after[:first]], axis=0)
                    for before, after in zip(previous, current, strict=True)
                )
                return (
                    features,
                    offsets,
                    tf.range(records.block_frames, dtype=tf.int64) < reads.valid[chunk],
                )

            chunks = tf.data.Dataset.range(
                reads.block_chunks[number], reads.block_chunks[number + 1]
            )
            return chunks.map(cut_one)

        return read.scan(nothing, join).flat_map(cut)


def put_on_device(
    batches: Iterable[Batch], sharding: jax.sharding.Sharding | None = None, ahead: int = 2
) -> Iterator[Batch]:
    """Puts batches on the device, `ahead` of them before they are asked for.

    Args:
      batches: of this process.
      sharding: of the batch over all devices and processes; None for the default device.
      ahead: batches that wait on the device.
    """

    def put(array: np.ndarray) -> jax.Array:
        if sharding is None:
            return jax.device_put(array)
        return jax.make_array_from_process_local_data(sharding, array)

    waiting: collections.deque[Batch] = collections.deque()
    for batch in batches:
        waiting.append(jax.tree.map(put, batch))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting
