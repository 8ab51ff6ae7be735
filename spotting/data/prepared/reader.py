"""Prepared data as training sees it: made where it is not there yet, opened, checked, read.

Only `prepare` needs the folder of the matches. `open_alone` gives a machine that does not have it
all that training, validation and test need: a description of the data, the features and the events
of each half, and the normalisation. None of it need be at a local path.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from spotting import timing
from spotting.base.errors import InputError
from spotting.base.files import parse_json
from spotting.data.annotations import Event
from spotting.data.dataset import FEATURE_SETS, SOCCERNET_V2, Dataset, FeatureSet
from spotting.data.feature_statistics import map_threads
from spotting.data.halves import Half, TimeSource
from spotting.data.prepared.blocks import Layout, make_layout, num_blocks
from spotting.data.prepared.builder import Progress, SoccernetV2, read_splits, tabulate_halves
from spotting.data.prepared.builder_config import SoccerNetConfig
from spotting.data.prepared.storage import StorageStatistics
from spotting.data.prepared.tensorflow_import import tf, tfds
from spotting.data.transforms import (
    Normalization,
    Transform,
    locate_normalization,
    read_normalization,
)


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

    `path` is its shard, which may be far away, and `first_record` where it starts there.
    """

    records: Records
    first_record: int

    def load(self) -> np.ndarray:
        """Features [N, P] as stored."""
        count = num_blocks(self.num_frames, self.records.block_frames)
        dataset = tf.data.TFRecordDataset(str(self.path)).skip(self.first_record).take(count)
        blocks = dataset.map(lambda record: self.records.decode(record)[0])
        with reading_records(os.path.dirname(str(self.path))):
            return np.concatenate(list(blocks.as_numpy_iterator()))[: self.num_frames]

    def list_raw_files(self) -> tuple[Path, ...]:
        """None: features were checked when they were stored."""
        return ()


class Prepared:
    """A prepared data set, opened.

    Attributes:
      builder: the TFDS builder that reads it.
      classes: the K classes.
      frame_rate: frames per second.
      records: T, P, K and the dtype.
      statistics: of all its features.
      time_source: which time of an event its offsets go by, see `make_label_matrix`.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder):
        metadata = builder.info.metadata
        self.builder = builder
        self.classes = tuple(metadata["classes"])
        self.frame_rate = metadata["frame_rate"]
        self.statistics = StorageStatistics(**metadata["statistics"])
        self.time_source: TimeSource = metadata["time_source"]
        self._halves = dict(metadata["halves"])
        features = builder.info.features["features"]
        block_frames, feature_dim = features.shape
        dtype = np.dtype(features.np_dtype)
        self.records = Records(dtype, block_frames, feature_dim, len(self.classes))

    @property
    def transform(self) -> Transform:
        """What was done to the features before they were stored."""
        return _parse_transform(self.builder.info.metadata["transform"])

    @property
    def source(self) -> Dataset:
        """The data set as it was in files, before `transform`; its root is the prepared data's.

        Raises:
          InputError: nothing tells its frame rate and dimension any more.
        """
        metadata = self.builder.info.metadata
        name, features = metadata["dataset"], metadata["features"]
        if "source" in metadata:
            stored = FeatureSet(**metadata["source"])
        elif dataclasses.replace(self.transform, normalize="none") == Transform():
            stored = FeatureSet(self.frame_rate, self.records.feature_dim)
        elif name == SOCCERNET_V2:
            stored = FEATURE_SETS[features]
        else:
            raise InputError(
                f"{self.builder.data_dir}: does not tell the frame rate of {features}, as earlier "
                "versions left it; delete it to have it made again, or set --config.data.root"
            )
        return dataclasses.replace(
            self.dataset, frame_rate=stored.frame_rate, features=features, feature_dim=stored.dim
        )

    @property
    def dataset(self) -> Dataset:
        """The data set as it is stored, after `transform`; its root is the prepared data's.

        Its splits are those that were prepared.
        """
        metadata = self.builder.info.metadata
        return Dataset(
            root=Path(self.builder.data_dir),
            name=metadata["dataset"],
            frame_rate=self.frame_rate,
            features=self.transform.name(metadata["features"]),
            feature_dim=self.records.feature_dim,
            classes=self.classes,
            splits={
                split: tuple(dict.fromkeys(half["game"] for half in table))
                for split, table in self._halves.items()
            },
        )

    def read_normalization(self) -> Normalization | None:
        """The normalisation that was fitted for this data; None if its transform has none.

        Raises:
          InputError: it is not there any more, damaged, or was fitted on other games.
        """
        transform = self.transform
        if transform.normalize == "none":
            return None
        # <prepared_dir>/soccernet_v2/<config>/<version>
        prepared_dir = epath.Path(self.builder.data_dir).parent.parent.parent
        name = self.builder.info.metadata["features"]
        path = locate_normalization(prepared_dir, transform, name)
        found = read_normalization(path, self.halves("train"))
        if found is None:
            raise InputError(
                f"{path}: not there, or fitted on other games than {self.builder.data_dir} holds; "
                "delete that to have both made again"
            )
        return found

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
        """The split's halves with their events, as `read_split` gives those of a folder."""
        layout, shards = self.layout(split), self.shards(split)
        rows = zip(self._table(split), layout.shard, layout.first_block, strict=True)
        return [
            PreparedHalf(
                half["game"],
                half["half"],
                epath.Path(shards[shard]),
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
            if self._halves.get(split) != tabulate_halves(halves):
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


def open_alone(
    prepared_dir: str | os.PathLike,
    transform: Transform,
    storage: str,
    chunk_seconds: float,
    time_source: TimeSource,
    features: str | None = None,
    dataset: str | None = None,
) -> Prepared:
    """Opens what was prepared with some settings, on a machine without the folder of the matches.

    Args:
      prepared_dir: TFDS data directory, local or such as `gs://bucket/folder`.
      transform: of the features before they were stored.
      storage: type in which they are stored.
      chunk_seconds: the length of a block.
      time_source: which time of an event its offsets go by.
      features: name of the feature files; None for whichever they are.
      dataset: name of the data set; None for whichever it is.

    Raises:
      InputError: nothing there was prepared with these settings, or what was is of several data
        sets; or it is damaged.
    """
    folder = epath.Path(prepared_dir) / SoccernetV2.name
    found, others = [], []
    for version in sorted(folder.glob(f"*/{SoccernetV2.VERSION}"), key=str):
        if not (version / "dataset_info.json").exists():
            continue  # Being prepared, or killed.
        with _naming_damage(version):
            metadata = parse_json((version / "metadata.json").read_text(), version)
            frames = timing.whole_frames(chunk_seconds, metadata["frame_rate"])
            if (
                features in (None, metadata["features"])
                and dataset in (None, metadata["dataset"])
                and _parse_transform(metadata["transform"]) == transform
                and metadata["time_source"] == time_source
                and metadata["block_frames"] == frames
                and _read_storage(version) == storage
            ):
                found.append(version)
            else:
                others.append(version.parent.name)
    if not found:
        there = f"only {', '.join(others)}" if others else "nothing"
        raise InputError(
            f"{prepared_dir}: {there} was prepared there, not the data of this config; run "
            "python -m spotting.prepare with it where the matches are, or set --config.data.root"
        )
    if len(found) > 1:
        raise InputError(
            f"{prepared_dir}: {' and '.join(version.parent.name for version in found)} all fit "
            "this config; set --config.data.features or --config.data.root"
        )
    with _naming_damage(found[0]):
        ready = Prepared(tfds.builder_from_directory(found[0]))
    ready.require_whole()
    return ready


def open_prepared(config: SoccerNetConfig, prepared_dir: str | os.PathLike) -> Prepared | None:
    """Opens a prepared data set; None if it is not there, or not finished.

    Raises:
      InputError: what describes its shards is damaged.
    """
    folder = epath.Path(prepared_dir) / SoccernetV2.name / config.name / str(SoccernetV2.VERSION)
    with _naming_damage(folder):
        builder = _make_builder(config, prepared_dir)
        return Prepared(builder) if builder.is_prepared() else None


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


@contextlib.contextmanager
def _naming_damage(folder: str | os.PathLike) -> Iterator[None]:
    """A block that reads what describes shards; InputError where TFDS cannot make sense of it."""
    from google.protobuf import json_format  # TensorFlow brings it.

    try:
        yield
    # What TFDS makes of a description that is no JSON, or one of something else.
    except (
        json_format.ParseError,
        AssertionError,
        FileNotFoundError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else error
        raise _damaged(folder, reason) from error


def _parse_transform(fields: Mapping[str, Any]) -> Transform:
    return Transform(**{**fields, "concatenate": tuple(fields["concatenate"])})


def _read_storage(folder: epath.Path) -> str:
    """Type of the features that are stored in a folder, as TFDS describes them."""
    described = tfds.features.FeaturesDict.from_config(folder)
    return np.dtype(described["features"].np_dtype).name


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
