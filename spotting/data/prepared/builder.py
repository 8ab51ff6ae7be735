"""The TFDS data set `soccernet_v2`: halves in blocks of one chunk length, a shard for each game.

    import tensorflow_datasets as tfds
    import spotting.data.prepared.builder  # registers it

    tfds.load(
        "soccernet_v2/ResNET_TF2_PCA512_float16",
        split="train",
        data_dir="prepared",
        download_and_prepare_kwargs={
            "download_config": tfds.download.DownloadConfig(manual_dir="SoccerNet")
        },
    )

A record is a block of T frames of one half, the last one of a half padded with zeros. Records of a
shard are in the order of time.

Once prepared, the data can be loaded without this module:

    tfds.load("soccernet_v2", split="train", data_dir="prepared")

With it imported, or where several configs are prepared, name the config.

A shard appears under its name when it is complete, and `dataset_info.json`, without which nothing
counts as prepared, when all shards are there. Run it again to resume after a kill.
"""

import contextlib
import dataclasses
import functools
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from spotting.base.errors import InputError
from spotting.base.files import hold_folder, naming
from spotting.data.checks import find_missing_files
from spotting.data.dataset import (
    FEATURE_SETS,
    SOCCERNET_V2,
    Dataset,
    describe_dataset,
)
from spotting.data.feature_statistics import map_threads
from spotting.data.halves import Half, TimeSource
from spotting.data.prepared import shards
from spotting.data.prepared.builder_config import SoccerNetConfig, build_config
from spotting.data.prepared.storage import STORAGE_DTYPES, StorageStatistics
from spotting.data.prepared.tensorflow_import import os_errors, tfds
from spotting.data.transforms import (
    Normalization,
    Transform,
    describe_transformed,
    fit_normalization_once,
    list_sources,
    read_transformed_split,
)

Progress = Callable[[int, int, int], None]
"""Called with the number of shards done, of all shards, and of bytes that they hold."""

_DATASET_INFO = "dataset_info.json"
_HOMEPAGE = "https://www.soccer-net.org"
_CITATION = """
@inproceedings{deliege2021soccernetv2,
  title = {SoccerNet-v2: A Dataset and Benchmarks for Holistic Understanding of Broadcast Soccer
           Videos},
  author = {Deli{\\`e}ge, Adrien and Cioppa, Anthony and Giancola, Silvio and others},
  booktitle = {CVPR Workshops},
  year = {2021}
}
"""


def make_config(
    dataset: Dataset,
    transform: Transform | None = None,
    storage: str = "float16",
    chunk_frames: int | None = None,
    time_source: TimeSource = "gameTime",
) -> SoccerNetConfig:
    """The builder config for a dataset, SoccerNet-v2 or any other.

    Args:
      dataset: as it is on disk.
      transform: of its features; None for none.
      storage: "float32", "float16" or "bfloat16".
      chunk_frames: T; by default that of 112 s.
      time_source: see `halves.make_label_matrix`.

    Raises:
      InputError: unknown storage type.
    """
    config = build_config(dataset, transform or Transform(), storage, chunk_frames, time_source)
    # For a config that the builder lists, TFDS accepts that very object only.
    return SoccernetV2.get_builder_config(config.name) or config


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Asks nobody: TFDS's bucket has nothing of this, and each question leaves a folder."""


class SoccernetV2(tfds.core.dataset_builder.FileReaderBuilder):
    """Builder of `soccernet_v2`, see the module."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        build_config(describe_dataset("", features), Transform(), storage)
        for features in FEATURE_SETS
        for storage in ("float16", "bfloat16", "float32")
    ]
    # Nothing is downloaded. TFDS would look for checksums with a package that it does not install.
    url_infos = None
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    manual_dir is the folder with the games of SoccerNet-v2, {_HOMEPAGE}, as
    <league>/<season>/<game>/1_<features>.npy, 2_<features>.npy and Labels-v2.json, or one with a
    dataset.json that describes it. `python -m spotting.prepare --download` fetches SoccerNet-v2.
    """

    def __init__(self, **kwargs: Any):
        self.progress: Progress | None = None
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        block, num_classes = config.block_frames, len(config.classes)
        dtype = STORAGE_DTYPES[config.storage]
        tensor = tfds.features.Tensor
        official = config.dataset == SOCCERNET_V2
        return _Info(
            builder=self,
            description="Features of soccer matches and the actions in them, in blocks of time. "
            f"Data set: {config.dataset}.",
            features=tfds.features.FeaturesDict(
                {
                    # Raw bytes: parsing lists of numbers would be the slowest part of reading.
                    "features": tensor(
                        shape=(block, config.feature_dim), dtype=dtype, encoding="bytes"
                    ),
                    "offsets": tensor(
                        shape=(block, num_classes),
                        dtype=np.int16,
                        encoding="bytes",
                        doc="Frames to the nearest event of each class, 32767 without one.",
                    ),
                    "game": tfds.features.Text(),
                    "half": tfds.features.Scalar(np.int64, doc="1 to 4; 3 and 4 are extra time."),
                    "start": tfds.features.Scalar(np.int64, doc="First frame, in its half."),
                    "num_frames": tfds.features.Scalar(np.int64, doc="Those before the padding."),
                }
            ),
            homepage=_HOMEPAGE if official else None,
            citation=_CITATION if official else None,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def is_prepared(self) -> bool:
        """Whether all shards and the description of them are there."""
        return (self.data_path / _DATASET_INFO).exists()

    def download_and_prepare(
        self,
        *,
        download_dir: str | os.PathLike | None = None,
        download_config: tfds.download.DownloadConfig | None = None,
        **kwargs: Any,
    ) -> None:
        """Prepares the data unless that is done; resumes a preparation that was killed.

        TFDS's own method writes to a folder of a random name, so that nothing of a killed one is
        found again. This one writes to the final folder, its `dataset_info.json` last.

        Args:
          download_dir: without a manual_dir, the games are in `manual` below it.
          download_config: its manual_dir is the folder of the games.
          **kwargs: other arguments of TFDS, without effect.

        Raises:
          InputError: the data is unfit, or another process prepares it.
          OSError: the folder cannot be written; what is finished is kept.
        """
        if self.is_prepared():
            return
        folder = str(self.data_path)
        download_config = download_config or tfds.download.DownloadConfig()
        # A download manager makes folders, and there is nothing to put in them.
        with (
            tempfile.TemporaryDirectory() as unused,
            naming(folder),
            os_errors(folder),
            contextlib.nullcontext() if "://" in folder else hold_folder(Path(folder)),
        ):
            manager = self._make_download_manager(download_dir or unused, download_config)
            self._download_and_prepare(manager, download_config)

    def _download_and_prepare(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig | None = None,
    ) -> None:
        config, root = self.builder_config, dl_manager.manual_dir
        dataset = describe_dataset(root, config.features)
        normalization = fit_normalization_once(dataset, config.transform, self.data_dir_root)
        splits = read_splits(root, config, normalization)
        self._finish(dataset, splits, self._write_shards(splits))

    def _write_shards(self, splits: dict[str, list[Half]]) -> dict[str, list[shards.Report]]:
        """Writes the shards that are not there yet; what each one holds, by split."""
        config, features = self.builder_config, self.info.features
        jobs = [
            shards.Job(split, path, halves)
            for split, of_split in splits.items()
            for path, halves in self._games(split, of_split)
        ]
        self.data_path.mkdir(parents=True, exist_ok=True)
        shards.remove_others(self.data_path, jobs)
        shards.require_space(self.data_path, jobs, config.block_frames, features)
        reports: dict[str, list[shards.Report]] = {split: [] for split in splits}
        written = map_threads(
            functools.partial(shards.write, config=config, features=features), jobs
        )
        num_bytes = 0
        for done, (job, report) in enumerate(zip(jobs, written, strict=True), 1):
            reports[job.split].append(report)
            num_bytes += report.num_bytes
            if self.progress is not None:
                self.progress(done, len(jobs), num_bytes)
        return reports

    def _finish(
        self,
        dataset: Dataset,
        splits: dict[str, list[Half]],
        reports: dict[str, list[shards.Report]],
    ) -> None:
        """Writes what TFDS and a stream must know of the shards, then deletes the reports."""
        infos = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[report.num_records for report in of_split],
                num_bytes=sum(report.num_bytes for report in of_split),
                filename_template=self._get_filename_template(split),
            )
            for split, of_split in reports.items()
        ]
        self.info.set_splits(tfds.core.SplitDict(infos))
        config = self.builder_config
        total = sum((r.statistics for rs in reports.values() for r in rs), StorageStatistics())
        self.info.metadata.update(
            dataset=config.dataset,
            features=config.features,
            source={"frame_rate": dataset.frame_rate, "dim": dataset.feature_dim},
            classes=config.classes,
            frame_rate=config.frame_rate,
            block_frames=config.block_frames,
            transform=dataclasses.asdict(config.transform),
            time_source=config.time_source,
            halves={split: tabulate_halves(halves) for split, halves in splits.items()},
            statistics=dataclasses.asdict(total),
        )
        self._write_info()
        shards.remove_reports(self.data_path)

    def _games(self, split: str, halves: list[Half]) -> list[tuple[epath.Path, list[Half]]]:
        """Path of each shard of a split, and the halves of the game that it holds."""
        games: dict[str, list[Half]] = {}
        for half in halves:
            games.setdefault(half.game, []).append(half)
        paths = self._get_filename_template(split).sharded_filepaths(len(games))
        return list(zip(paths, games.values(), strict=True))

    def _write_info(self) -> None:
        """Writes TFDS's description, `dataset_info.json` last, each file complete or absent.

        What was prepared last is what `tfds.load("soccernet_v2", data_dir=...)` gives.
        """
        default = self.data_path.parent.parent / ".config" / "metadata.json"
        default.parent.mkdir(parents=True, exist_ok=True)
        partial_default = default.parent / f".{default.name}.partial"
        partial_default.write_text(json.dumps({"default_config_name": self.builder_config.name}))
        partial_default.replace(default)
        partial = self.data_path / "partial_info"
        partial.mkdir(exist_ok=True)
        self.info.write_to_directory(partial)
        for path in sorted(partial.iterdir(), key=lambda path: path.name == _DATASET_INFO):
            path.replace(self.data_path / path.name)
        partial.rmtree()


def read_splits(
    root: str | os.PathLike, config: SoccerNetConfig, normalization: Normalization | None = None
) -> dict[str, list[Half]]:
    """The halves of each split of a folder, transformed as a config says.

    The challenge split may be missing, in whole or in part, and is then left out.

    Raises:
      InputError: as `read_split`, or the folder is of another dataset.
    """
    dataset = describe_dataset(root, config.features)
    stored = describe_transformed(dataset, config.transform)
    expected = (config.dataset, config.frame_rate, config.feature_dim, config.classes)
    if expected != (dataset.name, stored.frame_rate, stored.feature_dim, stored.classes):
        raise InputError(f"{root}: holds {dataset.name}, not the data of config {config.name}")
    sources = list_sources(dataset, config.transform)
    return {
        split: read_transformed_split(dataset, split, config.transform, normalization)[0]
        for split in dataset.splits
        if split != "challenge" or not any(find_missing_files(source, split) for source in sources)
    }


def tabulate_halves(halves: Sequence[Half]) -> list[dict[str, Any]]:
    """The halves of a split, without their features, as JSON holds them."""
    return [
        {
            "game": half.game,
            "half": half.number,
            "num_frames": half.num_frames,
            "events": [
                [event.label, event.position, event.game_time, event.visible]
                for event in half.events
            ],
        }
        for half in halves
    ]
