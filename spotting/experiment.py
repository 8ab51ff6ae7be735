"""The experiment, top to bottom: matches, two models, spots, figures.

    halves -> chunks with targets -> confidence model, then displacement model
    halves + parameters -> confidence, displacement [N, K] -> score map -> spots -> average-mAP

A training of several seeds is one program; each seed leaves a complete run folder of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from spotting import anchors, timing
from spotting.base import parallel
from spotting.base.files import write_json_atomic
from spotting.base.logs import log
from spotting.data.dataset import Dataset, write_description
from spotting.reporting import outcome
from spotting.runs import config as ranges
from spotting.runs import feeding, initial_weights, predictions, settings
from spotting.runs import groups as seeds
from spotting.runs.folders import KINDS, Run, folders_of_seeds, one_seed, open_runs, scored
from spotting.runs.matches import Matches, read_matches, split_offsets
from spotting.runs.validation import make_spotting, make_validation
from spotting.scoring import figures as evaluation
from spotting.training import step as training
from spotting.training.checkpoints import num_parameters, stack
from spotting.training.loop import DivergedError, Schedule, fit, is_finished


def run(config: ConfigDict, workdir: Path, mode: str = "run") -> dict[int, dict[str, Any]]:
    """Trains and scores what a config describes; goes on where an earlier call stopped.

    Args:
      config: as configs/common.py has it.
      workdir: the run's folder; with several seeds each has a folder seed_<seed> in it.
      mode: "train", "evaluate" (an earlier training, again) or "run" (both).

    Returns:
      What metrics.json holds, for each seed; nothing for mode "train", nor in any but the first of
      several processes.

    Raises:
      InputError: the config, the data, or the folder's earlier contents are unfit.
      DivergedError: a seed's loss stopped being a number; the other seeds are finished before.
    """
    ranges.check(config)
    if config.devices.distributed:
        parallel.join_processes()
    make_mesh(config)
    folders = folders_of_seeds(config, workdir)
    for seed, folder in folders.items():
        settings.check_workdir(one_seed(config, seed), folder)
    results = scored(folders) if mode == "run" else {}
    is_scored = parallel.from_process_0(np.array([seed in results for seed in config.seeds]))
    if all(is_scored):
        log(f"{workdir}: finished; its figures again")
        parallel.on_process_0(outcome.present, config.paper_row, workdir, folders, results, False)
        return results

    matches = read_matches(config, workdir)
    ranges.check_window(config, len(matches.classes))
    finished = [seed for seed, done in zip(config.seeds, is_scored, strict=True) if done]
    runs = open_runs(config, workdir, without=finished)
    diverged: dict[int, str] = {}
    try:
        if mode != "evaluate":
            _check_start(config, matches, runs)
        if parallel.is_process_0():
            # Not before: a folder with a config takes no other.
            for seed, folder in folders.items():
                settings.save(one_seed(config, seed), folder)
                write_description(matches.source, folder)
        for group in make_groups(config, matches, runs):
            if mode != "evaluate":
                diverged |= _train_both(config, matches, group)
                group = [one for one in group if one.seed not in diverged]
            if mode != "train" and group:
                results |= parallel.on_process_0(evaluate_all, config, matches, group) or {}
    finally:
        for one in runs:
            one.close()
    converged = {seed: folder for seed, folder in folders.items() if seed not in diverged}
    if mode != "train" and converged:
        parallel.on_process_0(outcome.present, config.paper_row, workdir, converged, results)
    if diverged:
        members = [config.seeds.index(seed) for seed in diverged]
        raise DivergedError("; ".join(diverged.values()), members)
    return results


def _train_both(config: ConfigDict, matches: Matches, group: Sequence[Run]) -> dict[int, str]:
    """Trains both models of all runs; a seed that diverges is left out, and why is returned."""
    diverged: dict[int, str] = {}
    for kind in KINDS:
        left = [one for one in group if one.seed not in diverged]
        while left:
            try:
                train(config, matches, left, kind)
                break
            except DivergedError as error:
                lost = [left[index].seed for index in error.members]
                diverged |= {seed: f"seed {seed}: {error}" for seed in lost}
                left = [one for one in left if one.seed not in lost]
                if left:
                    log(f"without seed {', '.join(map(str, lost))}, whose {kind} loss diverged:")
    return diverged


def make_groups(config: ConfigDict, matches: Matches, runs: Sequence[Run]) -> list[list[Run]]:
    """The seeds that train together: as many as the config says, or as the memory holds."""
    most = trainings_at_once(config, matches, len(runs))
    progress = [tuple(one.checkpoints[kind].step("latest") for kind in KINDS) for one in runs]
    return seeds.in_groups(runs, progress, most)


def trainings_at_once(config: ConfigDict, matches: Matches, wanted: int) -> int:
    """How many trainings to run in one program: what the config says, or what the memory holds."""

    def objective() -> training.Objective:
        offsets = split_offsets(config, matches.dataset, matches.splits["train"])
        return make_objective(config, matches.dataset, "confidence", offsets)

    return seeds.at_once(config, matches, wanted, make_mesh(config).size, objective)


def make_mesh(config: ConfigDict) -> jax.sharding.Mesh:
    """The devices that a config asks for; InputError if they cannot share its batches."""
    return parallel.make_mesh(config.devices.count, config.training.batch_size)


def train(
    config: ConfigDict,
    matches: Matches,
    runs: Sequence[Run],
    kind: str,
    varied: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> None:
    """Trains one kind of model for all runs together, from where its checkpoints are.

    Args:
      config: of the experiment.
      matches: the data.
      runs: which seeds.
      kind: "confidence" or "displacement".
      varied: fields of `training.Hyper` in which the runs differ, a value for each run.
    """
    keepers = [one.checkpoints[kind] for one in runs]
    steps = settings.steps_per_epoch(config)
    schedule = Schedule(
        config.training.epochs,
        steps,
        config.training.batch_size,
        config.training.validate_every,
        config.training.select,
    )
    if all(is_finished(keeper, schedule) for keeper in keepers):
        return

    mesh = make_mesh(config)
    dataset = matches.dataset
    offsets = split_offsets(config, dataset, matches.splits["train"])
    objective = make_objective(config, dataset, kind, offsets)
    states = stack([_initial_state(config, matches, one, objective) for one in runs])
    parameters = num_parameters(states.params) // len(runs)
    log(
        f"{kind}: {parameters:,} parameters, {len(runs)} seed(s), "
        f"{schedule.epochs} epochs of {steps} steps on {mesh.size} x {jax.devices()[0].device_kind}"
    )
    choice = feeding.choose(config, matches)
    log(f"loader: {choice.loader} ({choice.reason})")
    if choice.loader == "stream":
        (one,) = runs
        run_epoch = feeding.streamed_epochs(config, matches, objective, varied, one.seed, mesh)
    else:
        run_epoch = feeding.resident_epochs(
            config, matches, offsets, objective, varied, len(runs), mesh
        )
    fit(
        kind,
        states,
        run_epoch,
        make_validation(
            config,
            matches,
            kind,
            lambda index: restore_best(config, matches, runs[index], "confidence"),
        ),
        schedule,
        keepers,
        [one.log for one in runs],
        mesh,
        config.logging.progress,
    )


def _initial_state(
    config: ConfigDict, matches: Matches, one: Run, objective: training.Objective
) -> training.TrainState:
    """How a training begins, unless its checkpoints have more."""
    kind, dataset = objective.model.kind, matches.dataset
    chunk = (settings.check_chunk(config, dataset.frame_rate), dataset.feature_dim)
    state = training.init_state(one.seed, objective, chunk)
    if one.checkpoints[kind].step("latest"):
        return state
    params = initial_weights.choose(config, kind, one.seed, state.params, matches.classes)
    return state._replace(params=params)


def _check_start(config: ConfigDict, matches: Matches, runs: Sequence[Run]) -> None:
    """Reads what trainings are to start from: the second model's turn may be hours away."""
    for kind in KINDS:
        shapes = settings.variable_shapes(config, matches.dataset, kind)
        for one in runs:
            if not one.checkpoints[kind].step("latest"):
                initial_weights.choose(config, kind, one.seed, shapes, matches.classes)


def make_objective(
    config: ConfigDict, dataset: Dataset, kind: str, offsets: Sequence[np.ndarray]
) -> training.Objective:
    """What one kind of model is trained for, its class weights from the training split."""
    setting = config.anchors
    radius = timing.frames(setting[f"{kind}_radius"], dataset.frame_rate)
    near = sum(np.asarray(anchors.is_near(half, radius)).sum(axis=0) for half in offsets)
    frames = sum(len(half) for half in offsets)
    share = setting.positive_share if kind == "confidence" else 1.0
    weights = anchors.class_weights(near, frames - near, share)
    model = settings.network(config, kind, len(dataset.classes))
    return training.make_objective(model, radius, weights, setting.huber_threshold)


def restore_best(config: ConfigDict, matches: Matches, one: Run, kind: str) -> Any:
    """The parameters that the validation split chose."""
    shapes = settings.variable_shapes(config, matches.dataset, kind)
    return one.checkpoints[kind].restore("best", shapes)


def evaluate_all(
    config: ConfigDict, matches: Matches, runs: Sequence[Run]
) -> dict[int, dict[str, Any]]:
    """What metrics.json holds, for each seed."""
    return {one.seed: evaluate(config, matches, one) for one in runs}


def evaluate(config: ConfigDict, matches: Matches, one: Run) -> dict[str, Any]:
    """Spots and scores the validation and test splits of one seed's run; writes its files.

    Returns:
      What metrics.json holds.
    """
    params = {kind: restore_best(config, matches, one, kind) for kind in KINDS}
    classes = matches.classes
    result: dict[str, Any] = {}
    for split in ("valid", "test"):
        halves = matches.splits.get(split)
        if not halves:
            continue
        outputs = [
            make_spotting(config, matches, kind, halves, config.inference.border)(params[kind])
            for kind in KINDS
        ]
        if config.inference.save_predictions:
            predictions.save(one.workdir, split, halves, *outputs)
        result[split], spots = evaluation.score_split(
            one.workdir if split == "test" else one.workdir / split,
            halves,
            classes,
            matches.dataset.frame_rate,
            *outputs,
            settings.suppression(config),
        )
        if split == "valid":
            truth = evaluation.truths(halves, classes)
            tolerance = config.postprocessing.f1_tolerance
            evaluation.write_thresholds(one.workdir, truth, spots, classes, tolerance)
    write_json_atomic(one.workdir / "metrics.json", result)
    one.log.write("test", **{split: _summary(value) for split, value in result.items()})
    return result


def _summary(result: dict[str, Any]) -> dict[str, Any]:
    return {name: {key: value[key] for key in ("loose", "tight")} for name, value in result.items()}
