"""The prepared data of an experiment: made where it is missing, and what it is, in words."""

import time
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from spotting import timing
from spotting.base import parallel
from spotting.base.logs import ProgressLine, duration, log
from spotting.data.dataset import Dataset
from spotting.runs.config import locate_prepared, read_transform

if TYPE_CHECKING:
    from spotting.data.prepared.reader import Prepared


def open_or_prepare(config: ConfigDict, dataset: Dataset) -> "Prepared":
    """The prepared data of a config, made by process 0 where it is not there.

    Args:
      config: of the experiment.
      dataset: as it is on disk.

    Raises:
      InputError: as `data.prepared.reader.prepare`.
    """
    parallel.on_process_0(prepare, config, dataset)
    return prepare(config, dataset, show=False)


def prepare(config: ConfigDict, dataset: Dataset, show: bool = True) -> "Prepared":
    """Makes what is missing of the prepared data and opens it.

    Args:
      config: of the experiment.
      dataset: as it is on disk.
      show: whether to show progress.
    """
    from spotting.data.prepared import builder, reader

    rate = config.data.resample or dataset.frame_rate
    target = builder.make_config(
        dataset,
        read_transform(config),
        config.data.storage,
        timing.whole_frames(config.anchors.chunk, rate),
        config.data.event_time,
    )
    line = ProgressLine(show and config.logging.progress)
    start = time.monotonic()

    def progress(done: int, shards: int, num_bytes: int) -> None:
        left = (time.monotonic() - start) / done * (shards - done)
        filled = 30 * done // shards
        line.show(
            f"preparing [{'#' * filled}{'-' * (30 - filled)}] game {done}/{shards}  "
            f"{num_bytes / 1e9:.1f} GB  {duration(left)} left",
            final=done == shards,
        )
        if done == shards:
            log("prepared data is complete")

    return reader.prepare(target, dataset.root, locate_prepared(config, dataset), progress)


def describe_prepared(prepared: "Prepared") -> str:
    """Size and statistics of prepared data, and what storing its features changed."""
    found = prepared.statistics
    size = prepared.builder.info.dataset_size
    return (
        f"features: mean {found.mean:.4f}, standard deviation {found.std:.4f}, over "
        f"{found.frames:,} frames\n"
        f"stored as {prepared.records.dtype}: {size / 1e9:.2f} GB ({4 * found.values / 1e9:.2f} GB "
        f"of float32), which changes them by {100 * found.relative_error:.3g} % (root mean "
        f"square), {found.max_error:.3g} at most\n"
        f"{prepared.builder.data_dir}"
    )
