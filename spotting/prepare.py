"""Checks a folder of matches, says what is in it, and prepares its features for streaming.

Example:

    python -m spotting.prepare --config=configs/unet_combination.py --config.data.root=DIR

prints which files are missing or broken and what the folder adds up to, for SoccerNet-v2 beside
its published counts, and writes the TFDS data set `soccernet_v2` into DIR/prepared, or into
--config.data.prepared_dir, which may be a gs:// path. The same command goes on where it was
stopped.

With --download it first fetches SoccerNet-v2's features and labels (550 games; Combination is
92 GB). Nothing of that needs a password; only the videos, which are not needed here, need an NDA.
"""

import sys
import time
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict

from spotting import timing
from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.logs import ProgressLine, duration, log
from spotting.data.checks import MissingData
from spotting.data.dataset import LABELLED_SPLITS, Dataset, describe_dataset
from spotting.data.halves import open_dataset
from spotting.data.survey import describe_events, describe_problems, describe_splits, survey_split
from spotting.data.transforms import Transform, source_datasets
from spotting.runs import config as ranges
from spotting.runs import settings

if TYPE_CHECKING:
    from spotting.data.prepared.reader import Prepared

_FLAGS = cli.new_flags("The experiment whose data to prepare: a file of configs/.")
flags.DEFINE_bool(
    "download", False, "Fetch SoccerNet-v2 from Hugging Face first.", flag_values=_FLAGS
)


def main() -> int:
    """Runs what the flags say."""
    config = cli.required_config(_FLAGS)
    try:
        return prepare(config, _FLAGS.download)
    except MissingData as error:
        print(error.details, file=sys.stderr)
        raise


def prepare(config: ConfigDict, download: bool = False) -> int:
    """Checks and prepares the data of a config; returns the exit status."""
    ranges.check(config)
    root, features = config.data.root or None, config.data.features or None
    transform = settings.transform(config)
    if download:
        from spotting.data import download as hub

        if root is None:
            raise InputError("--download needs a folder: set --config.data.root=DIR")
        dataset = describe_dataset(root, features)
        log(hub.LICENCE_NOTE)
        hub.download(dataset, (dataset.features, *transform.concatenate), tuple(dataset.splits))
    dataset = open_dataset(root, features)
    if not check(dataset, transform, config.logging.progress):
        return 1
    build(config, dataset)
    return 0


def check(dataset: Dataset, transform: Transform, show_progress: bool) -> bool:
    """Prints what the folder holds; whether all that is needed is there and sound.

    The challenge split may be absent, or there in part, and is then left out.
    """
    sources = source_datasets(dataset, transform)
    line = ProgressLine(show_progress)
    surveys = {}
    for split in dataset.splits:
        surveys[split] = survey_split(
            sources, split, lambda i, n, s=split: line.show(f"looking at {s}: game {i}/{n}")
        )
    line.show("looked at all games", final=True)
    print(f"{dataset.root}: {dataset.name}, {transform.name(dataset.features)}\n")
    print("\n".join(describe_splits(surveys)) + "\n")
    problems = describe_problems(surveys)
    if problems:
        print("\n".join(problems) + "\n")
    print("\n".join(describe_events(dataset, surveys)) + "\n")
    needed = [found for split, found in surveys.items() if split in LABELLED_SPLITS]
    files = sum(len(found.missing) + len(found.broken) for found in needed)
    if files:
        log(f"error: {dataset.root}: {files} files missing or broken, nothing was prepared")
    return not files


def build(config: ConfigDict, dataset: Dataset) -> "Prepared":
    """Makes what is missing of the prepared data, says what it is, and opens it."""
    from spotting.data.prepared import builder
    from spotting.data.prepared import reader as prepared

    transform = settings.transform(config)
    rate = config.data.resample or dataset.frame_rate
    target = builder.make_config(
        dataset,
        transform,
        config.data.storage,
        timing.whole_frames(config.anchors.chunk, rate),
        config.data.event_time,
    )
    line = ProgressLine(config.logging.progress)
    start = time.monotonic()

    def progress(done: int, shards: int, num_bytes: int) -> None:
        left = (time.monotonic() - start) / done * (shards - done)
        filled = 30 * done // shards
        line.show(
            f"preparing [{'#' * filled}{'-' * (30 - filled)}] game {done}/{shards}  "
            f"{num_bytes / 1e9:.1f} GB  {duration(left)} left",
            final=done == shards,
        )

    folder = settings.prepared_dir(config, dataset)
    result = prepared.prepare(target, dataset.root, folder, progress)
    found = result.statistics
    size = result.builder.info.dataset_size
    print(
        f"features: mean {found.mean:.4f}, standard deviation {found.std:.4f}, over "
        f"{found.frames:,} frames\n"
        f"stored as {config.data.storage}: {size / 1e9:.2f} GB ({4 * found.values / 1e9:.2f} GB of "
        f"float32), which changes them by {100 * found.relative_error:.3g} % (root mean square), "
        f"{found.max_error:.3g} at most\n"
        f"{result.builder.data_dir}"
    )
    return result


if __name__ == "__main__":
    cli.run_flags(main, _FLAGS)
