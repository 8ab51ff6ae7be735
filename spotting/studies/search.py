"""Coordinate search of the hyper-parameters on the validation split, in rounds of trials.

A trial is a training with one value changed; it lives in a folder named by its values, so what has
been tried, in this round, an earlier one or before an interruption, is not tried again.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from spotting import experiment
from spotting.base.errors import InputError
from spotting.base.files import (
    hold_folder,
    read_object,
    remove_temporaries,
    write_json_atomic,
    write_text_atomic,
)
from spotting.base.logs import RunLog, environment, log
from spotting.inference.postprocessing import Votes
from spotting.reporting.runs import read_log
from spotting.runs.config import check_config, one_seed, save_config
from spotting.runs.feeding import count_trainings_at_once, divide_devices
from spotting.runs.folders import SeedRun, group_near, read_steps
from spotting.runs.layout import LOG, locate_checkpoints
from spotting.runs.setup import Setup, list_kinds, make_setup, read_votes
from spotting.runs.validation import Predictions, SplitPredictor
from spotting.scoring import figures, windows
from spotting.studies import search_report
from spotting.studies.search_report import Round
from spotting.training.checkpoints import Checkpoints

ORDER = ("learning_rate", "rho", "weight_decay", "mixup_alpha")
RADIUS = "radius"  # of the targets, `anchors.<kind>_radius`; it is tried last
_MEASURED = {"confidence": "loose average-mAP", "displacement": "average-mAP over 1 to 10 s"}


class TrialRun(NamedTuple):
    """One seed of a trial: the config with the trial's values, and where it trains."""

    config: ConfigDict
    seed: int
    folder: Path


def run(config: ConfigDict, workdir: Path) -> ConfigDict:
    """Searches, and writes trials.csv, search.png and tuned.py.

    Args:
      config: of an experiment; `config.tune` holds the candidates.
      workdir: the search's folder.

    Returns:
      The config with the values chosen.

    Raises:
      InputError: the config or the data is unfit, or there is no validation split.
      ArithmeticError: not one value of a round could be trained with.
    """
    check_config(config)
    if config.devices.distributed:
        raise InputError("a search runs in one process: leave config.devices.distributed out")
    for kind in list_kinds(config):
        for name, candidates in config.tune[kind].items():
            for value in candidates:
                check_config(_change(config, kind, name, value))
    setup = make_setup(config, workdir)
    if not setup.matches.splits.get("valid"):
        raise InputError(f"{setup.matches.dataset.root}: a search needs a validation split")
    with hold_folder(workdir):
        remove_temporaries(workdir, recursive=True)
        return _search(setup, workdir)


def _search(setup: Setup, workdir: Path) -> ConfigDict:
    config = setup.config
    save_config(config, workdir)
    chosen = config.copy_and_resolve_references()
    rounds: list[Round] = []
    for kind in setup.kinds:
        names = [name for name in (*ORDER, RADIUS) if config.tune[kind].get(name)]
        for name in names:
            values = sorted({*config.tune[kind][name], _read_value(chosen, kind, name)})
            log(f"\nround {len(rounds) + 1}: {name} of the {kind} model, {values}")
            trials = [_change(chosen, kind, name, value) for value in values]
            scores = _score_trials(setup, kind, trials)
            done = Round(kind, name, _MEASURED[kind], values, config.seeds, scores)
            _finish(rounds, done, workdir)
            chosen = _change(chosen, kind, name, rounds[-1].best)
        if not names:
            # What comes after needs the model all the same.
            _score_trials(setup, kind, [chosen])
    if config.tune.window:
        _choose_suppression(_use(setup, chosen), chosen, rounds)
    write_text_atomic(workdir / "tuned.py", search_report.config_file(chosen, workdir))
    log(f"the values chosen: {workdir / 'tuned.py'}")
    return chosen


def _change(config: ConfigDict, kind: str, name: str, value: float) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    if name == RADIUS:
        changed.anchors[f"{kind}_radius"] = value
    else:
        changed[kind][name] = value
    return changed


def _read_value(config: ConfigDict, kind: str, name: str) -> float:
    value: float = config.anchors[f"{kind}_radius"] if name == RADIUS else config[kind][name]
    return value


def _choose_suppression(setup: Setup, chosen: ConfigDict, rounds: list[Round]) -> None:
    """Scores the candidates, a round for each decay, and puts the best into `chosen`."""
    config = setup.config
    tune, now = config.tune, config.postprocessing
    predictions = _predict_chosen(setup)
    measured = f"{tune.measure} average-mAP"
    given = now.displacement_scale
    common = [windows.Candidate(now.window[0], now.decay[0])]

    def score(
        candidates: Sequence[windows.Candidate], vote_spread: float, displacement_scale: float
    ) -> np.ndarray:
        scaled = predictions
        if displacement_scale != given:
            scaled = _scale(predictions, displacement_scale / given)
        votes = dataclasses.replace(read_votes(config), spread=vote_spread)
        return _score(setup, scaled, candidates, votes)

    best_votes = {name: now[name] for name in ("vote_spread", "displacement_scale")}
    for name in best_votes if predictions[0].displacement is not None else ():
        if tune[name]:
            values = sorted({*tune[name], now[name]})
            means = [score(common, **best_votes | {name: each})[0].mean(axis=1) for each in values]
            done = Round("suppression", name, measured, values, config.seeds, np.array(means))
            _finish(rounds, done, setup.workdir)
            best_votes[name] = done.best
    chosen.postprocessing.update(best_votes)
    values = sorted({*tune.window, *(now.window if len(now.window) == 1 else ())})
    decays = tuple(tune.decay) or tuple(now.decay[:1])
    tried = windows.list_candidates(now.nms, values, decays)
    scores = score(tried, **best_votes)
    for decay in dict.fromkeys(candidate.decay for candidate in tried):
        part = [index for index, candidate in enumerate(tried) if candidate.decay == decay]
        name = f"window_{decay}" if len(tried) > len(values) else "window"
        means = scores[part].mean(axis=2)
        done = Round("suppression", name, measured, values, config.seeds, means)
        _finish(rounds, done, setup.workdir)
    of_classes = scores.mean(axis=1)
    best: Sequence[windows.Candidate] = [windows.choose_common(of_classes, tried)]
    if tune.per_class:
        classes = setup.matches.classes
        truth = figures.make_truths(setup.matches.splits["valid"], classes)
        events = windows.count_events(truth, len(classes))
        best = windows.choose_per_class(of_classes, tried, events, tune.pseudo_events)
        for label, candidate in zip(classes, best, strict=True):
            log(f"{label}: window {candidate.window:g} s, {candidate.decay}")
    suppression = windows.make_suppression(now.nms, best)
    chosen.postprocessing.update(window=suppression.windows, decay=suppression.decays)


def _finish(rounds: list[Round], done: Round, workdir: Path) -> None:
    """Shows a round and writes all there have been."""
    if not np.isfinite(done.means).any():
        raise ArithmeticError(
            f"the {done.model} model diverged with every {done.parameter}: "
            f"start from a lower learning_rate in a new --workdir"
        )
    rounds.append(done)
    print(search_report.table(done))
    write_text_atomic(workdir / "trials.csv", search_report.csv_text(rounds))
    search_report.plot(rounds, workdir / "search.png")


def _use(setup: Setup, config: ConfigDict) -> Setup:
    """The setup with a trial's hyper-parameters."""
    return dataclasses.replace(setup, config=config)


def _score_trials(setup: Setup, kind: str, trials: Sequence[ConfigDict]) -> np.ndarray:
    """Validation scores [trials, seeds], trained where need be; NaN where the loss diverged."""
    members = [
        TrialRun(trial, seed, _locate(trial, setup.workdir, kind, seed))
        for trial in trials
        for seed in trial.seeds
    ]
    pending = [member for member in members if not _score_file(member).exists()]
    # Targets are part of a program: trainings with other radii are other programs.
    for radius in sorted({_read_value(member.config, kind, RADIUS) for member in pending}):
        alike = [m for m in pending if _read_value(m.config, kind, RADIUS) == radius]
        setup = divide_devices(_use(setup, alike[0].config), len(alike))
        most = count_trainings_at_once(setup, len(alike))
        steps = [[_read_steps(member, kind)] for member in alike]
        for group in group_near(steps, most):
            _train(setup, kind, [alike[index] for index in group])
    scores = [read_object(_score_file(member))["score"] for member in members]
    return np.array(scores, float).reshape(len(trials), -1)


def _locate(trial: ConfigDict, workdir: Path, kind: str, seed: int) -> Path:
    """Where a trial's seed trains; displacement is trained for a certain confidence model."""
    names = [_name(trial, each) for each in _kinds_up_to(trial, kind)]
    return workdir / "trials" / Path(*names) / f"seed_{seed}"


def _name(config: ConfigDict, kind: str) -> str:
    names = [name for name in ORDER if name in config[kind]]
    if config.tune[kind].get(RADIUS):
        names.append(RADIUS)
    return "_".join([kind, *(f"{name}={_read_value(config, kind, name):g}" for name in names)])


def _kinds_up_to(config: ConfigDict, kind: str) -> list[str]:
    kinds = list(list_kinds(config))
    return kinds[: kinds.index(kind) + 1]


def _score_file(member: TrialRun) -> Path:
    return member.folder / "score.json"


def _read_steps(member: TrialRun, kind: str) -> set[int]:
    checkpoints = Checkpoints(locate_checkpoints(member.folder, kind))
    with contextlib.closing(checkpoints):
        return read_steps(checkpoints)


def _train(setup: Setup, kind: str, members: Sequence[TrialRun]) -> None:
    """Trains members in one program and writes their scores, None for those that diverged."""
    names = sorted({member.folder.parent.name for member in members})
    log(f"training {', '.join(names)}")
    values = {
        name: [member.config[kind][name] for member in members]
        for name in ORDER
        if name in members[0].config[kind]
    }
    # What is 0 for all, as rho without SAM, stays out of the program.
    per_run = {name: each for name, each in values.items() if any(each)}
    with contextlib.ExitStack() as stack:
        runs = [_open(member, setup.workdir, kind) for member in members]
        for run in runs:
            stack.callback(run.close)
        failed = experiment.train(_use(setup, members[0].config), runs, kind, per_run)
    for index, member in enumerate(members):
        if index in failed:
            log(f"diverged: {member.folder}")
        score = None if index in failed else _read_score(member, kind)
        write_json_atomic(_score_file(member), {"score": score})
        # The state that training would resume from is the greater part of a trial's files.
        latest = locate_checkpoints(member.folder, kind) / "latest"
        shutil.rmtree(latest, ignore_errors=True)


def _open(member: TrialRun, workdir: Path, kind: str) -> SeedRun:
    config, seed = member.config, member.seed
    save_config(one_seed(config, seed), member.folder)
    run_log = RunLog(member.folder, config.logging.tensorboard)
    run_log.write("start", seed=seed, **environment())
    checkpoints = _open_checkpoints(config, workdir, seed, kind)
    checkpoints[kind].remove_unfinished()
    return SeedRun(seed, member.folder, run_log, checkpoints)


def _open_checkpoints(
    config: ConfigDict, workdir: Path, seed: int, kind: str
) -> dict[str, Checkpoints]:
    """The checkpoints of a trial's models up to a kind."""
    return {
        each: Checkpoints(locate_checkpoints(_locate(config, workdir, each, seed), each))
        for each in _kinds_up_to(config, kind)
    }


def _read_score(member: TrialRun, kind: str) -> float:
    """The validation score of the parameters that were kept."""
    scores = [
        entry["score"]
        for entry in read_log(member.folder / LOG)
        if (entry["kind"], entry.get("model")) == ("valid", kind)
    ]
    return max(scores) if member.config.training.select == "best" else scores[-1]


def _predict_chosen(setup: Setup) -> list[Predictions]:
    """Of the chosen models of each seed, for the validation split."""
    config, halves = setup.config, setup.matches.splits["valid"]
    predictions = []
    for seed in config.seeds:
        last = setup.kinds[-1]
        checkpoints = _open_checkpoints(config, setup.workdir, seed, last)
        folder = _locate(config, setup.workdir, last, seed)
        with contextlib.closing(SeedRun(seed, folder, RunLog(None), checkpoints)) as run:
            params = {kind: experiment.restore_best(setup, run, kind) for kind in setup.kinds}
        outputs = {
            kind: SplitPredictor(setup, kind, halves, config.inference.border)(params[kind])
            for kind in setup.kinds
        }
        predictions.append(Predictions(outputs["confidence"], outputs.get("displacement")))
    return predictions


def _scale(predictions: Sequence[Predictions], factor: float) -> list[Predictions]:
    """Predictions with other displacements."""
    return [
        Predictions(each.confidence, [factor * half for half in each.displacement or ()])
        for each in predictions
    ]


def _score(
    setup: Setup,
    predictions: Sequence[Predictions],
    candidates: Sequence[windows.Candidate],
    votes: Votes,
) -> np.ndarray:
    """Average AP [candidates, seeds, K] of each seed's predictions for the validation split."""
    config, classes = setup.config, setup.matches.classes
    truth = figures.make_truths(setup.matches.splits["valid"], classes)
    scores = [
        windows.score_candidates(
            each.confidence,
            each.displacement,
            truth,
            setup.matches.dataset.frame_rate,
            config.postprocessing.nms,
            candidates,
            config.tune.measure,
            votes,
        )
        for each in predictions
    ]
    return np.stack(scores, axis=1)
