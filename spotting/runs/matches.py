"""The matches of an experiment: found and checked."""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.base.logs import ProgressLine, log
from spotting.data.dataset import Dataset
from spotting.data.halves import Half, check_finite, open_dataset
from spotting.data.transforms import fit_once, read_transformed_split, transformed
from spotting.runs.config import locate_prepared, read_transform
from spotting.runs.layout import SEASON

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Matches:
    """The data of an experiment.

    Attributes:
      source: the data set as it is on disk.
      dataset: the data set as the experiment sees it, after the config's feature transforms.
      splits: the halves of "train", "valid" and "test", of those that are there.
    """

    source: Dataset
    dataset: Dataset
    splits: dict[str, list[Half]]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return self.dataset.classes


def read_matches(config: ConfigDict, workdir: Path) -> Matches:
    """Finds and checks all that the experiment will read, before any long work.

    Raises:
      InputError: something is missing or unfit; it says what.
    """
    root = config.data.root
    if config.data.simulated:
        from spotting.data.simulated.season import write_season

        root = root or workdir / SEASON
        parallel.on_process_0(write_season, root)
    source = open_dataset(root or None, config.data.features or None)
    transform = read_transform(config)
    # Process 0 fits the normalisation, the others read what it left.
    folder = locate_prepared(config, source)
    parallel.on_process_0(fit_once, source, transform, folder)
    normalization = fit_once(source, transform, folder)
    _warn_of_shared_games(config, source)
    splits = {}
    for split in SPLITS:
        name = config.data[split]
        if name not in source.splits:
            if split == "train":
                raise InputError(f"{source.root}: there is no split {name!r} to train on")
            log(f"warning: {source.root}: no split {name!r}; continuing without")
            continue
        splits[split], problems = read_transformed_split(source, name, transform, normalization)
        for warning in problems.warnings():
            log(f"warning: {warning}")
    line = ProgressLine(config.logging.progress)
    for split, halves in splits.items():
        check_finite(halves, lambda i, n, split=split: line.show(f"checking {split}: {i}/{n}"))
    return Matches(source, transformed(source, transform), splits)


def _warn_of_shared_games(config: ConfigDict, source: Dataset) -> None:
    train = set(source.splits.get(config.data.train, ()))
    for split in SPLITS[1:]:
        shared = sorted(train & set(source.splits.get(config.data[split], ())))
        if shared:
            log(
                f"warning: {source.root}: {len(shared)} games of the {split} split, such as "
                f"{shared[0]}, are trained on too: its scores will be too good"
            )
