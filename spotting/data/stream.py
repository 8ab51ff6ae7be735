"""Chunks streamed from prepared data by tf.data, for splits that fit in no memory.

`blocks` says which chunks there are and what must be read for them; this module reads, cuts,
shuffles and batches. What it gives is a function of the seed, the process, the number of processes
and the position alone. Any number of processes cuts the same chunks in a pass, but which of them
meet in a batch depends on it: a streamed training is the same one on any number of devices, and
another draw of the same law on another number of processes.
"""

import collections
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from spotting.data import blocks
from spotting.data.prepared import Prepared, reading_records
from spotting.data.resident import Batch
from spotting.data.tensorflow_import import tf

_LANES = 32  # Of all processes together: so many matches meet in a global batch.
_LEAST_LANES = 4  # Of one process.
_READ_BYTES = 4 << 20  # What is asked of the file system at a time; each lane has such a buffer.


@dataclass(frozen=True)
class Stream:
    """An endless stream of chunks of one split, the part of one process.

    Attributes:
      prepared: where from.
      split: which split.
      batch_size: chunks in a batch of this process.
      seed: of the draws; give each model that is trained one of its own.
      process: which of the processes this is.
      num_processes: they get disjoint parts of the chunks drawn.
      shuffle_bytes: features that are shuffled together, and so are in memory.
    """

    prepared: Prepared
    split: str
    batch_size: int
    seed: int
    process: int = 0
    num_processes: int = 1
    shuffle_bytes: int = 512 << 20

    @property
    def num_lanes(self) -> int:
        """Sequential reads that take turns in this process.

        A lane starts in the middle of a shard and reads that from its beginning, so lanes are few
        enough to go over two shards each.
        """
        shards = len(self.prepared.shards(self.split))
        wanted = max(_LEAST_LANES, _LANES // self.num_processes)
        return max(1, min(wanted, shards // (2 * self.num_processes)))

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
        layout = self.prepared.layout(self.split)
        shards = tf.constant(self.prepared.shards(self.split))
        lanes, window = self.num_lanes, self.shuffle_chunks
        pass_chunks = lanes * blocks.turns_per_pass(layout, self.num_processes, lanes)
        first_pass, position = divmod(start * self.batch_size, pass_chunks)
        first_window, leave_out = divmod(position, window)
        windows_per_pass = -(-pass_chunks // window)

        def plan(index: np.int64) -> list[np.ndarray]:
            half, first_frame = self._chunks(layout, int(index))
            turns = first_window * window // lanes if index == first_pass else 0
            reads = blocks.plan_reads(layout, half[:, turns:], first_frame[:, turns:])
            # The draws of the pass have the seed (seed, index), which is (seed, index, 0) to NumPy.
            rng = np.random.default_rng((self.seed, index, 1 + self.process))
            seeds = rng.integers(np.iinfo(np.int64).max, size=windows_per_pass)
            return [*reads, seeds[first_window if index == first_pass else 0 :]]

        def shuffled(chunks: tuple[tf.data.Dataset, ...], seed: tf.Tensor) -> tf.data.Dataset:
            chunks = tf.data.Dataset.zip(*chunks)
            return chunks.shuffle(window, seed=seed, reshuffle_each_iteration=False)

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
        stream = stream.skip(leave_out).batch(self.batch_size, drop_remainder=True).prefetch(2)
        options = tf.data.Options()
        options.autotune.enabled = False
        options.deterministic = True
        return stream.with_options(options)

    def _chunks(self, layout: blocks.Layout, index: int) -> tuple[np.ndarray, np.ndarray]:
        return blocks.plan_pass(
            layout, self.seed, index, self.process, self.num_processes, self.num_lanes
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

        def join(previous, block):
            number, record = block
            current = records.decode(record)
            return current, (number, previous, current)

        def cut(number, previous, current):
            def one(chunk):
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
            return chunks.map(one)

        return read.scan(nothing, join).flat_map(cut)


def to_device(
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
