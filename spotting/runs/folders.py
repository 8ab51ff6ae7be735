"""The run folder of each seed: its log, its checkpoints and its figures."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from spotting.training.checkpoints import Checkpoints
from spotting.base.errors import InputError
from spotting.base.logs import RunLog, environment
from spotting.base.files import read_object

KINDS = ("confidence", "displacement")


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed: where it lives, and its open log and checkpoints."""

    seed: int
    workdir: Path
    log: RunLog
    checkpoints: dict[str, Checkpoints]

    def close(self) -> None:
        """Closes the log, and the checkpoints when they are written."""
        self.log.close()
        for keeper in self.checkpoints.values():
            keeper.close()


def folders_of_seeds(config: ConfigDict, workdir: Path) -> dict[int, Path]:
    """The run folder of each seed: `workdir` itself, or seed_<seed> in it where there are more."""
    if len(config.seeds) == 1:
        return {config.seeds[0]: workdir}
    return {seed: workdir / f"seed_{seed}" for seed in config.seeds}


def one_seed(config: ConfigDict, seed: int) -> ConfigDict:
    """The config of a single seed's run."""
    copy = config.copy_and_resolve_references()
    copy.seeds = (seed,)
    return copy


def open_runs(config: ConfigDict, workdir: Path, without: Collection[int] = ()) -> list[Run]:
    """Opens the log and the checkpoints of each seed, but for those `without`."""
    runs = []
    for seed, folder in folders_of_seeds(config, workdir).items():
        if seed in without:
            continue
        log = RunLog(folder, config.logging.tensorboard)
        log.write("start", seed=seed, **environment())
        keepers = {kind: Checkpoints(folder / "checkpoints" / kind) for kind in KINDS}
        runs.append(Run(seed, folder, log, keepers))
    return runs


def scored(folders: Mapping[int, Path]) -> dict[int, dict[str, Any]]:
    """What metrics.json holds, for each seed that has one; InputError if one is unsound."""
    paths = {seed: folder / "metrics.json" for seed, folder in folders.items()}
    return {seed: _figures(path) for seed, path in paths.items() if path.exists()}


def _figures(path: Path) -> dict[str, Any]:
    splits = read_object(path)
    try:
        for figures in splits.values():
            for variant in ("with_displacement", "without_displacement"):
                sum(figures[variant][measure] for measure in ("loose", "tight"))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: its figures are incomplete; delete it and run again") from error
    return splits
