"""The run folder of each seed: its log, its checkpoints and its scores."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.base.files import hold_folder, read_object, remove_temporaries
from spotting.base.logs import RunLog, environment
from spotting.data.dataset import write_description
from spotting.data.transforms import keep_normalization
from spotting.runs import layout
from spotting.runs.config import check_workdir, one_seed, save_config
from spotting.runs.setup import Setup
from spotting.training.checkpoints import Checkpoints


@dataclasses.dataclass(frozen=True)
class SeedRun:
    """The training of one seed: where it is, and its open log and checkpoints."""

    seed: int
    workdir: Path
    log: RunLog
    checkpoints: Mapping[str, Checkpoints]

    def close(self) -> None:
        """Closes the log, and the checkpoints when they are written."""
        self.log.close()
        for checkpoints in self.checkpoints.values():
            checkpoints.close()


@contextlib.contextmanager
def open_runs(setup: Setup, without: Collection[int] = ()) -> Iterator[list[SeedRun]]:
    """Opens the log and the checkpoints of each seed, but for those `without`.

    Raises:
      InputError: another run works in one of the folders.
    """
    with contextlib.ExitStack() as stack:
        runs = []
        for seed, folder in setup.folders.items():
            if seed in without:
                continue
            if parallel.is_process_0():
                stack.enter_context(hold_folder(folder))
                remove_temporaries(folder, recursive=True)
            log = RunLog(folder, setup.config.logging.tensorboard)
            log.write("start", seed=seed, **environment())
            checkpoints = {
                kind: Checkpoints(layout.locate_checkpoints(folder, kind)) for kind in setup.kinds
            }
            if parallel.is_process_0():
                for each in checkpoints.values():
                    each.remove_unfinished()
            runs.append(SeedRun(seed, folder, log, checkpoints))
            stack.callback(runs[-1].close)
        yield runs


def claim_folders(setup: Setup) -> None:
    """Writes into each seed's folder whose run it is; it takes no other config from then on."""
    if parallel.is_process_0():
        for seed, folder in setup.folders.items():
            save_config(one_seed(setup.config, seed), folder)
            write_description(setup.matches.source, folder)
            if setup.matches.normalization is not None:
                keep_normalization(folder / layout.NORMALIZATION, setup.matches.normalization)


def group_runs(runs: Sequence[SeedRun], most: int) -> list[list[SeedRun]]:
    """Splits runs into groups that train together; see `group_near`."""
    steps = [[read_steps(each) for each in run.checkpoints.values()] for run in runs]
    return [[runs[index] for index in group] for group in group_near(steps, most)]


def group_near(steps: Sequence[Sequence[set[int]]], most: int) -> list[list[int]]:
    """Splits trainings into groups of at most `most` with equal progress, or nearly.

    One that was killed while it saved has a checkpoint of some seeds that the others lack. They
    still train together, from the newest step that all of them have: a seed alone is another
    program, whose rounding differs.

    Args:
      steps: of each training, the steps of which each of its models has a checkpoint.
      most: in a group.

    Returns:
      The indices of each group.
    """
    groups: list[list[int]] = []
    for index, own in enumerate(steps):
        for group in groups:
            if len(group) < most and _is_near([own, *(steps[other] for other in group)]):
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def read_steps(checkpoints: Checkpoints) -> set[int]:
    """Steps of `latest`, the same in all processes, which ask together."""
    padded = np.array([*checkpoints.steps("latest"), -1, -1])[:2]
    return {int(step) for step in parallel.from_process_0(padded) if step >= 0}


def _is_near(steps: Sequence[Sequence[set[int]]]) -> bool:
    """Whether runs with these checkpoints of each model are at most one save apart."""
    for of_kind in zip(*steps, strict=True):
        if all(of_kind):
            if not set.intersection(*of_kind):
                return False
        elif max(map(len, of_kind)) > 1:  # Of none and one, the one is the first.
            return False
    return True


def read_finished(config: ConfigDict, workdir: Path) -> dict[int, dict[str, Any]]:
    """What metrics.json holds, for each seed, if this config's run is scored; else nothing.

    The same in all processes, which ask together.
    """
    scored: dict[int, dict[str, Any]] = {}
    folders = layout.locate_seeds(workdir, config.seeds)
    try:
        for seed, folder in folders.items():
            check_workdir(one_seed(config, seed), folder)
    except InputError:
        pass  # What is wrong is said when the data has been looked at as well.
    else:
        scored = read_scored(folders)
    return scored if len(scored) == len(config.seeds) else {}


def read_scored(folders: Mapping[int, Path]) -> dict[int, dict[str, Any]]:
    """What metrics.json holds, for each seed that has one.

    The same in all processes, which ask together.

    Raises:
      InputError: one is unsound.
    """
    there = np.array([(folder / layout.METRICS).exists() for folder in folders.values()])
    there = parallel.from_process_0(there)
    return {
        seed: _read_metrics(folder / layout.METRICS) if parallel.is_process_0() else {}
        for (seed, folder), is_there in zip(folders.items(), there, strict=True)
        if is_there
    }


def _read_metrics(path: Path) -> dict[str, Any]:
    splits = read_object(path)
    try:
        for scores in splits.values():
            for variant in ("with_displacement", *scores):
                for values in (scores[variant], *scores[variant].get("per_class", {}).values()):
                    for measure in ("loose", "tight"):
                        values[measure] + 0.0
            scores["with_displacement"]["per_class"]  # of the table that is printed
    except (ArithmeticError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its scores are incomplete; delete it and run again") from error
    return splits
