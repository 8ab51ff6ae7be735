"""The matches of an experiment: found and checked."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.base.logs import ProgressLine, log
from spotting.data.dataset import Dataset
from spotting.data.halves import Half, check_features, open_dataset
from spotting.data.transforms import (
    Normalization,
    describe_transformed,
    fit_normalization_once,
    read_transformed_split,
)
from spotting.runs.config import locate_prepared, read_transform
from spotting.runs.layout import SEASON

if TYPE_CHECKING:
    from spotting.data.prepared.reader import Prepared

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Matches:
    """The data of an experiment.

    Attributes:
      source: the data set as it is on disk.
      dataset: the data set as the experiment sees it, after the config's feature transforms.
      splits: the halves of "train", "valid" and "test", of those that are there.
      normalization: that the halves' features have gone through, if any.
      prepared: the prepared data that the halves are read from, on a machine without the folder of
        the matches; None if they are read from that folder.
    """

    source: Dataset
    dataset: Dataset
    splits: Mapping[str, Sequence[Half]]
    normalization: Normalization | None = None
    prepared: "Prepared | None" = None

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
        root = root or workdir / SEASON
        if config.data.simulated_video:
            from spotting.runs.video_season import prepare_season

            parallel.on_process_0(prepare_season, root, config.logging.progress)
        else:
            from spotting.data.simulated.season import write_season

            parallel.on_process_0(write_season, root)
    elif config.data.prepared_dir and not (root and Path(root).is_dir()):
        return _read_prepared(config)
    source = open_dataset(root or None, config.data.features or None)
    transform = read_transform(config)
    # Process 0 fits the normalisation, the others read what it left.
    folder = locate_prepared(config, source)
    parallel.on_process_0(fit_normalization_once, source, transform, folder)
    normalization = fit_normalization_once(source, transform, folder)
    _warn_of_shared_games(config, source)
    splits: dict[str, Sequence[Half]] = {}
    for split, name in _find_splits(config, source).items():
        splits[split], problems = read_transformed_split(source, name, transform, normalization)
        for warning in problems.warnings():
            log(f"warning: {warning}")
    line = ProgressLine(config.logging.progress)
    for split, halves in splits.items():

        def show(done: int, count: int, split: str = split) -> None:
            line.show(f"checking {split}: {done}/{count}", final=done == count)

        check_features(halves, show)
    dataset = describe_transformed(source, transform)
    return Matches(source, dataset, splits, normalization)


def _read_prepared(config: ConfigDict) -> Matches:
    """The matches of prepared data, on a machine that has no folder of them."""
    from spotting.data.prepared.reader import open_alone

    data = config.data
    prepared = open_alone(
        data.prepared_dir,
        read_transform(config),
        data.storage,
        config.anchors.chunk,
        data.event_time,
        data.features or None,
    )
    log(f"data: {prepared.builder.data_dir}, without the folder it was made from")
    names = _find_splits(config, prepared.dataset)
    splits = {split: prepared.halves(name) for split, name in names.items()}
    transform = read_transform(config)
    normalization = fit_normalization_once(prepared.source, transform, data.prepared_dir)
    return Matches(prepared.source, prepared.dataset, splits, normalization, prepared)


def _find_splits(config: ConfigDict, dataset: Dataset) -> dict[str, str]:
    """Names of the splits that are there; InputError if there is none to train on."""
    found = {}
    for split in SPLITS:
        name = config.data[split]
        if name in dataset.splits:
            found[split] = name
        elif split == "train":
            raise InputError(f"{dataset.root}: there is no split {name!r} to train on")
        else:
            log(f"warning: {dataset.root}: no split {name!r}; continuing without")
    return found


def _warn_of_shared_games(config: ConfigDict, source: Dataset) -> None:
    train = set(source.splits.get(config.data.train, ()))
    for split in SPLITS[1:]:
        shared = sorted(train & set(source.splits.get(config.data[split], ())))
        if shared:
            log(
                f"warning: {source.root}: {len(shared)} games of the {split} split, such as "
                f"{shared[0]}, are trained on too: its scores will be too good"
            )
