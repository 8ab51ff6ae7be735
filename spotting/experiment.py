"""The experiment, top to bottom: matches, two models, spots, scores.

    halves -> chunks with targets -> confidence model, then displacement model
    halves + parameters -> confidence, displacement [N, K] -> score map -> spots -> average-mAP

A training of several seeds is one program; each seed leaves a complete run folder of its own.
"""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from spotting.base import parallel
from spotting.base.files import require_free
from spotting.base.logs import log
from spotting.reporting.outcome import present
from spotting.reporting.settings import list_hyper_parameters
from spotting.runs import layout
from spotting.runs.config import check_config
from spotting.runs.feeding import PerRun, count_trainings_at_once, divide_devices, make_epochs
from spotting.runs.folders import (
    SeedRun,
    claim_folders,
    group_runs,
    open_runs,
    read_finished,
    read_scored,
)
from spotting.runs.initial_weights import check_initial_weights, load_initial_weights
from spotting.runs.results import score_and_write, write_metrics
from spotting.runs.setup import Setup, make_setup
from spotting.runs.validation import SplitPredictor, Validation
from spotting.training.checkpoints import count_parameters, stack
from spotting.training.loop import DivergedError, Member, fit, is_finished
from spotting.training.objectives import Objective
from spotting.training.recipes import Recipe
from spotting.training.step import TrainState, init_state


def run(config: ConfigDict, workdir: Path, mode: str = "run") -> dict[int, dict[str, Any]]:
    """Trains and scores what a config describes; resumes where an earlier call stopped.

    Args:
      config: as configs/common.py has it.
      workdir: the run's folder; with several seeds each has a folder seed_<seed> in it.
      mode: "train", "evaluate" (an earlier training, again) or "run" (both).

    Returns:
      What metrics.json holds, for each seed; nothing for mode "train", nor in any process but
      process 0.

    Raises:
      InputError: the config, the data, or the folder's earlier contents are unfit.
      DivergedError: a seed's loss stopped being a number; the other seeds are finished before.
    """
    check_config(config)
    if config.devices.distributed:
        parallel.join_processes()

    # 1. A finished run is shown again, without a look at its data.
    if mode == "run" and (finished := read_finished(config, workdir)):
        log(f"{workdir}: finished; its scores again")
        folders = layout.locate_seeds(workdir, config.seeds)
        parallel.on_process_0(present, config.paper_row, workdir, folders, finished, False)
        return finished

    # 2. Whatever may be wrong is found before a folder is touched.
    for folder in layout.locate_seeds(workdir, config.seeds).values():
        parallel.on_process_0(require_free, folder)
    setup = make_setup(config, workdir)
    results = read_scored(setup.folders) if mode == "run" else {}
    failed: dict[int, str] = {}
    with open_runs(setup, without=results) as runs:
        if mode != "evaluate":
            check_initial_weights(setup, runs)
        claim_folders(setup)
        for run in runs:
            run.log.write_hyper_parameters(
                list_hyper_parameters(config.to_dict()), [f"{kind}/score" for kind in setup.kinds]
            )

        # 3. As many seeds train together as fit. The displacement model comes second, since its
        #    validation needs the confidence model's scores.
        setup = divide_devices(setup, len(runs))
        for group in group_runs(runs, count_trainings_at_once(setup, len(runs))):
            if mode != "evaluate":
                for kind in setup.kinds:
                    lost = train(setup, group, kind)
                    failed |= {group[index].seed: why for index, why in lost.items()}
                    group = [run for run in group if run.seed not in failed]
            # 4. Process 0 spots and scores the validation and test splits.
            if mode != "train":
                results |= parallel.on_process_0(evaluate, setup, group) or {}

    # 5. Tables, a figure, and the report.
    if mode != "train" and len(failed) < len(config.seeds):
        folders = {seed: path for seed, path in setup.folders.items() if seed not in failed}
        parallel.on_process_0(present, config.paper_row, workdir, folders, results)
    if failed:
        raise DivergedError("; ".join(f"seed {seed}: {why}" for seed, why in failed.items()))
    return results


def train(
    setup: Setup,
    runs: Sequence[SeedRun],
    kind: str,
    per_run: PerRun = MappingProxyType({}),
) -> dict[int, str]:
    """Trains one kind of model for all runs together, from where its checkpoints are.

    Args:
      setup: of the experiment.
      runs: which seeds.
      kind: "confidence" or "displacement".
      per_run: hyper-parameters in which the runs differ.

    Returns:
      Of the runs whose loss stopped being a number, by index: when, and what to do.
    """
    if all(is_finished(run.checkpoints[kind], setup.schedule) for run in runs):
        return {}
    objective = setup.make_objective(kind)
    states = stack([initial_state(setup, run, kind, objective) for run in runs])
    parameters = count_parameters(states.params) // len(runs)
    for run in runs:
        run.log.write("model", model=kind, parameters=parameters)
    log(
        f"{kind}: {parameters:,} parameters, {len(runs)} seed(s), {setup.schedule.epochs} epochs "
        f"of {setup.schedule.steps} steps on {parallel.describe_mesh(setup.mesh)}"
    )
    run_epoch = make_epochs(setup, objective, per_run, [run.seed for run in runs])
    validation = None
    if setup.matches.splits.get("valid"):
        validation = Validation(
            setup, kind, lambda index: restore_best(setup, runs[index], "confidence")
        )
    return fit(
        states,
        run_epoch,
        setup.schedule,
        [Member(run.checkpoints[kind], run.log) for run in runs],
        setup.mesh,
        name=kind,
        validation=validation,
        progress=setup.config.logging.progress,
        profile=setup.profile,
        debug_nans=setup.config.training.debug_nans,
    )


def initial_state(
    setup: Setup, run: SeedRun, kind: str, objective: Objective | Recipe
) -> TrainState:
    """How a training begins, unless its checkpoints have more."""
    tx = setup.make_optimizer(kind)
    state = init_state(run.seed, objective, setup.chunk_shape, tx)
    if run.checkpoints[kind].step("latest"):
        return state
    return state._replace(params=load_initial_weights(setup, kind, run.seed, state.params))


def restore_best(setup: Setup, run: SeedRun, kind: str) -> Any:
    """The parameters that the validation split chose."""
    return run.checkpoints[kind].restore("best", setup.variable_shapes(kind))


def evaluate(setup: Setup, runs: Sequence[SeedRun]) -> dict[int, dict[str, Any]]:
    """Spots and scores the validation and test splits of each seed; writes their files.

    Returns:
      What metrics.json holds, for each seed.
    """
    metrics: dict[int, dict[str, Any]] = {}
    for run in runs:
        params = {kind: restore_best(setup, run, kind) for kind in setup.kinds}
        metrics[run.seed] = {}
        for split in ("valid", "test"):
            if halves := setup.matches.splits.get(split):
                predictions = (
                    SplitPredictor(setup, kind, halves, setup.config.inference.border)(params[kind])
                    for kind in setup.kinds
                )
                scores = score_and_write(setup, run.workdir, split, *predictions)
                metrics[run.seed][split] = scores
        write_metrics(run.workdir, run.log, metrics[run.seed])
    return metrics
