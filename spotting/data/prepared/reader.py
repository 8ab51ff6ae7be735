"""Prepared data as training sees it: made where it is not there yet, opened, checked, read.

Nothing here needs the folder that it was made from, or a local path.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from spotting.base.errors import InputError
from spotting.data.annotations import Event
from spotting.data.feature_statistics import map_threads
from spotting.data.halves import Half
from spotting.data.prepared.blocks import Layout, make_layout, num_blocks
from spotting.data.prepared.builder import Progress, SoccernetV2, halves_table, read_splits
from spotting.data.prepared.builder_config import SoccerNetConfig
from spotting.data.prepared.storage import StorageStatistics
from spotting.data.prepared.tensorflow_import import tf, tfds


@dataclass(frozen=True)
class Records:
    """How to read the records of a prepared data set: their dtype, T, P and K."""

    dtype: np.dtype
    block_frames: int
    feature_dim: int
    num_classes: int

    def decode(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Features [T, P] and offsets int16 [T, K] of a serialized record."""
        raw = tf.io.FixedLenFeature([], tf.string)
        fields = tf.io.parse_single_example(record, {"features": raw, "offsets": raw})
        features = tf.io.decode_raw(fields["features"], tf.as_dtype(self.dtype))
        offsets = tf.io.decode_raw(fields["offsets"], tf.int16)
        return (
            tf.reshape(features, [self.block_frames, self.feature_dim]),
            tf.reshape(offsets, [self.block_frames, self.num_classes]),
        )


@dataclass(frozen=True)
class PreparedHalf(Half):
    """A half of prepared data.

    `path`, a string, is its shard, which may be far away, and `first_record` where it starts there.
    """

    records: Records
    first_record: int

    def load(self) -> np.ndarray:
        """Features [N, P] as stored."""
        count = num_blocks(self.num_frames, self.records.block_frames)
        dataset = tf.data.TFRecordDataset(str(self.path)).skip(self.first_record).take(count)
        blocks = dataset.map(lambda record: self.records.decode(record)[0])
        with reading_records(os.path.dirname(self.path)):
            return np.concatenate(list(blocks.as_numpy_iterator()))[: self.num_frames]


class Prepared:
    """A prepared data set, opened.

    Attributes:
      builder: the TFDS builder that reads it.
      classes: the K classes.
      frame_rate: frames per second.
      records: T, P, K and the dtype.
      statistics: of all its features.
    """

    def __init__(self, builder: SoccernetV2):
        metadata = builder.info.metadata
        self.builder = builder
        self.classes = tuple(metadata["classes"])
        self.frame_rate = metadata["frame_rate"]
        self.statistics = StorageStatistics(**metadata["statistics"])
        self._halves = dict(metadata["halves"])
        features = builder.info.features["features"]
        block_frames, feature_dim = features.shape
        dtype = np.dtype(features.np_dtype)
        self.records = Records(dtype, block_frames, feature_dim, len(self.classes))

    def shards(self, split: str) -> list[str]:
        """Paths of the split's shards."""
        return [str(path) for path in self.builder.info.splits[split].filepaths]

    def layout(self, split: str) -> Layout:
        """Where the split's halves are in its shards."""
        table = self._table(split)
        games = list(dict.fromkeys(half["game"] for half in table))
        shard = [games.index(half["game"]) for half in table]
        return make_layout([half["num_frames"] for half in table], shard, self.records.block_frames)

    def halves(self, split: str) -> list[PreparedHalf]:
        """The split's halves, as `soccernet.read_split` gives those of a folder."""
        layout, shards = self.layout(split), self.shards(split)
        rows = zip(self._table(split), layout.shard, layout.first_block, strict=True)
        return [
            PreparedHalf(
                half["game"],
                half["half"],
                shards[shard],
                half["num_frames"],
                tuple(Event(half["half"], *event) for event in half["events"]),
                records=self.records,
                first_record=int(first),
            )
            for half, shard, first in rows
        ]

    def require_same(self, splits: Mapping[str, Sequence[Half]]) -> None:
        """Raises InputError where a split of the folder is not what was prepared."""
        for split, halves in splits.items():
            if self._halves.get(split) != halves_table(halves):
                raise InputError(
                    f"{self.builder.data_dir}: was made from other games, lengths or labels of the "
                    f"{split} split than the folder has now; delete it to have it made again"
                )

    def require_whole(self) -> None:
        """Raises InputError where a shard is missing, or the shards are not as long as written.

        A shard that ends early between two records reads like a shorter one.
        """
        folder, infos = self.builder.data_dir, self.builder.info.splits
        if infos.keys() != self._halves.keys():
            raise _damaged(folder, f"splits {', '.join(infos)}, not {', '.join(self._halves)}")
        for split in infos:
            try:
                size = sum(map_threads(lambda path: path.stat().length, infos[split].filepaths))
            except FileNotFoundError as error:
                raise _damaged(folder, error) from error
            expected = infos[split].num_bytes
            if size != expected:
                raise _damaged(folder, f"{size:,} bytes of {split} shards, not {expected:,}")

    def _table(self, split: str) -> list[dict[str, Any]]:
        if split not in self._halves:
            raise InputError(f"{self.builder.data_dir}: no {split} split in it")
        return self._halves[split]


@contextlib.contextmanager
def reading_records(folder: str | os.PathLike) -> Iterator[None]:
    """A block that reads shards of a folder; InputError where one of them is damaged or missing."""
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
        # TensorFlow says much of the operation, in brackets.
        raise _damaged(folder, re.sub(r"\{\{.*?\}\}|\[.*", "", error.message).strip()) from error


def open_prepared(config: SoccerNetConfig, prepared_dir: str | os.PathLike) -> Prepared | None:
    """Opens a prepared data set; None if it is not there, or not finished.

    Raises:
      InputError: what describes its shards is damaged.
    """
    from google.protobuf import json_format  # TensorFlow brings it.

    folder = epath.Path(prepared_dir) / SoccernetV2.name / config.name / str(SoccernetV2.VERSION)
    try:
        builder = _make_builder(config, prepared_dir)
        return Prepared(builder) if builder.is_prepared() else None
    # What TFDS makes of a description that is no JSON, or one of something else.
    except (
        json_format.ParseError,
        AssertionError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else error
        raise _damaged(folder, reason) from error


def prepare(
    config: SoccerNetConfig,
    root: str | os.PathLike,
    prepared_dir: str | os.PathLike,
    progress: Progress | None = None,
) -> Prepared:
    """Opens a prepared data set, after making what is missing of it.

    Of several processes one should call this, and the others when it is done.

    Args:
      config: what to store, of `builder.make_config`.
      root: folder of the games.
      prepared_dir: TFDS data directory, local or such as `gs://bucket/folder`.
      progress: told of each shard.

    Raises:
      InputError: the folder is not what `config` says, a file of it cannot be used, or the data
        was prepared when it held other games, lengths or labels, or is damaged.
    """
    ready = open_prepared(config, prepared_dir)
    if ready is not None:
        ready.require_same(read_splits(root, config))
        ready.require_whole()
        return ready
    builder = _make_builder(config, prepared_dir)
    builder.progress = progress
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=os.fspath(root))
    )
    return Prepared(_make_builder(config, prepared_dir))


def _damaged(folder: str | os.PathLike, reason: Exception | str) -> InputError:
    return InputError(f"{folder}: damaged: {reason}; delete it to have it made again")


def _make_builder(config: SoccerNetConfig, prepared_dir: str | os.PathLike) -> SoccernetV2:
    verbosity = logging.get_verbosity()
    # TFDS warns of configs that the builder does not list: those of other datasets.
    logging.set_verbosity(logging.ERROR)
    try:
        return SoccernetV2(config=config, data_dir=prepared_dir)
    finally:
        logging.set_verbosity(verbosity)
