"""Checks a folder of matches, says what is in it, and prepares its features for streaming.

Example:

    python -m spotting.prepare --config=configs/unet_combination.py --config.data.root=DIR

prints which files are missing or broken and what the folder adds up to, for SoccerNet-v2 beside
its published counts, and writes the TFDS data set `soccernet_v2` into DIR/prepared, or into
--config.data.prepared_dir, which may be a gs:// path. Run the same command again to
resume.

With --download it first fetches SoccerNet-v2's features and labels (550 games; Combination is
92 GB). Nothing of that needs a password; only the videos, which are not needed here, need an NDA.
"""

import argparse
import sys

from ml_collections import ConfigDict

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.logs import ProgressLine, log
from spotting.base.text_table import printable, printable_lines
from spotting.data.checks import MissingData
from spotting.data.dataset import LABELLED_SPLITS, Dataset, describe_dataset
from spotting.data.halves import open_dataset
from spotting.data.survey import describe_events, describe_problems, describe_splits, survey_split
from spotting.data.transforms import Transform, list_sources
from spotting.runs import config_files, preparation
from spotting.runs.config import check_config, read_transform
from spotting.runs.preparation import describe_prepared


def main() -> int:
    """Reads the command line."""
    parser = cli.Parser("python -m spotting.prepare", __doc__)
    parser.add_config("the experiment whose data to prepare")
    parser.add_argument(
        "--download",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="fetch SoccerNet-v2 from Hugging Face first",
    )
    arguments = parser.parse_args()
    config = config_files.load(arguments.config)
    try:
        return prepare(config, arguments.download)
    except MissingData as error:
        print(printable_lines(error.details), file=sys.stderr)
        raise


def prepare(config: ConfigDict, download: bool = False) -> int:
    """Checks and prepares the data of a config; returns the exit status."""
    check_config(config)
    root, features = config.data.root or None, config.data.features or None
    transform = read_transform(config)
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
    print(describe_prepared(preparation.prepare(config, dataset)))
    return 0


def check(dataset: Dataset, transform: Transform, show_progress: bool) -> bool:
    """Prints what the folder holds; whether all that is needed is there and sound.

    The challenge split may be absent, or there in part, and is then left out.
    """
    sources = list_sources(dataset, transform)
    line = ProgressLine(show_progress)
    surveys = {}
    for split in dataset.splits:

        def show(done: int, count: int, split: str = split) -> None:
            line.show(f"looking at {split}: game {done}/{count}")

        surveys[split] = survey_split(sources, split, show)
    line.show("looked at all games", final=True)
    name = printable(f"{dataset.root}: {dataset.name}, {transform.name(dataset.features)}")
    print(f"{name}\n\n{describe_splits(surveys)}\n")
    for lines in (describe_problems(surveys), describe_events(dataset, surveys)):
        if lines:
            print("\n".join(map(printable, lines)) + "\n")
    needed = [found for split, found in surveys.items() if split in LABELLED_SPLITS]
    files = sum(len(found.missing) + len(found.broken) for found in needed)
    if files:
        log(f"error: {dataset.root}: {files} files missing or broken, nothing was prepared")
    return not files


if __name__ == "__main__":
    cli.run(main)
