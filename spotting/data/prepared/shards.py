"""Writes one shard of prepared data, the blocks of one game, completely or not at all."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from spotting.base.errors import InputError
from spotting.data.halves import Half
from spotting.data.prepared.blocks import num_blocks
from spotting.data.prepared.builder_config import SoccerNetConfig
from spotting.data.prepared.storage import STORAGE_DTYPES, StorageStatistics, iterate_blocks
from spotting.data.prepared.tensorflow_import import tf, tfds

_PARTIAL = ".partial"
_REPORT = ".report.json"


class Job(NamedTuple):
    """A shard to write: its split, its path and the halves that it holds."""

    split: str
    path: epath.Path
    halves: list[Half]


class Report(NamedTuple):
    """What a written shard holds."""

    num_records: int
    num_bytes: int
    statistics: StorageStatistics


def write(job: Job, config: SoccerNetConfig, features: tfds.features.FeaturesDict) -> Report:
    """Writes a shard, unless an earlier run did so from the same files.

    Its records go to a file of another name. Once that is renamed, a report beside it tells what it
    holds; the report is what a later run goes by.

    Args:
      job: which shard.
      config: what is stored, and how.
      features: of a record.

    Raises:
      InputError: features that cannot be stored.
    """
    report_path = _beside(job.path, _REPORT)
    source = _fingerprint(job.halves, config)
    report = _finished(job.path, report_path, source)
    if report is not None:
        return report
    serializer = tfds.core.ExampleSerializer(features.get_serialized_info())
    partial = _beside(job.path, _PARTIAL)
    num_records, total = 0, StorageStatistics()
    dtype = STORAGE_DTYPES[config.storage]
    try:
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for half in job.halves:
                for record, statistics in iterate_blocks(
                    half,
                    config.classes,
                    config.frame_rate,
                    config.time_source,
                    config.block_frames,
                    dtype,
                ):
                    writer.write(serializer.serialize_example(features.encode_example(record)))
                    num_records += 1
                    total += statistics
        partial.replace(job.path)
    finally:
        partial.unlink(missing_ok=True)
    report = Report(num_records, job.path.stat().length, total)
    content = {
        "source": source,
        "num_records": num_records,
        "num_bytes": report.num_bytes,
        "statistics": dataclasses.asdict(total),
    }
    partial_report = _beside(report_path, _PARTIAL)
    partial_report.write_text(json.dumps(content))
    partial_report.replace(report_path)
    return report


def remove_others(folder: epath.Path, jobs: Sequence[Job]) -> None:
    """Deletes partial files, and shards of games that are no longer in the data set."""
    keep = {job.path.name for job in jobs}
    for path in folder.iterdir():
        if ".tfrecord-" in path.name and path.name.removesuffix(_REPORT) not in keep:
            path.unlink()


def remove_reports(folder: epath.Path) -> None:
    """Deletes the reports, which a finished preparation no longer needs."""
    for path in folder.iterdir():
        if path.name.endswith(_REPORT):
            path.unlink()


def require_space(
    folder: epath.Path,
    jobs: Sequence[Job],
    block_frames: int,
    features: tfds.features.FeaturesDict,
) -> None:
    """Raises InputError where the shards that are not there yet will not fit on the disk."""
    blocks = sum(
        num_blocks(half.num_frames, block_frames)
        for job in jobs
        if not job.path.exists()
        for half in job.halves
    )
    tensors = [features[name] for name in ("features", "offsets")]
    record_bytes = sum(math.prod(t.shape) * np.dtype(t.np_dtype).itemsize for t in tensors)
    if not tfds.core.utils.has_sufficient_disk_space(blocks * record_bytes, str(folder)):
        raise InputError(
            f"{folder}: no room for {blocks * record_bytes / 1e9:.1f} GB of prepared data; set "
            "--config.data.prepared_dir to another disk, or --config.data.storage=float16"
        )


def _beside(path: epath.Path, suffix: str) -> epath.Path:
    return path.parent / (path.name + suffix)


def _finished(path: epath.Path, report_path: epath.Path, source: str) -> Report | None:
    """The report of a shard that needs no writing."""
    if not (report_path.exists() and path.exists()):
        return None
    try:
        report = json.loads(report_path.read_text())
        if report["source"] != source or report["num_bytes"] != path.stat().length:
            return None
        statistics = StorageStatistics(**report["statistics"])
        return Report(report["num_records"], report["num_bytes"], statistics)
    except (ValueError, KeyError, TypeError):  # A damaged report tells nothing.
        return None


def _fingerprint(halves: list[Half], config: SoccerNetConfig) -> str:
    """Changes with the feature files, the events and everything that is done to them."""
    files = [path for half in halves for path in half.list_raw_files()]
    parts: list[Any] = [
        [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files],
        [(half.number, half.num_frames, [str(event) for event in half.events]) for half in halves],
        [config.classes, config.frame_rate, config.time_source, config.block_frames],
    ]
    digest = hashlib.sha256(json.dumps(parts).encode())
    normalization = getattr(halves[0], "normalization", None)
    if normalization is not None:
        digest.update(normalization.offset.tobytes() + normalization.scale.tobytes())
    return digest.hexdigest()
