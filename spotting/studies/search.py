"""Coordinate search of the hyper-parameters on the validation split, in rounds of trials.

A trial is a training with one value changed; it lives in a folder named by its values, so what has
been tried, in this round, an earlier one or before an interruption, is not tried again.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from spotting import experiment
from spotting.base.errors import InputError
from spotting.base.files import read_object, write_json_atomic, write_text_atomic
from spotting.base.logs import RunLog, environment, log
from spotting.reporting.runs import read_log
from spotting.runs import config as ranges
from spotting.runs import groups as seeds
from spotting.runs import settings
from spotting.runs.folders import KINDS, Run, one_seed
from spotting.runs.matches import Matches, read_matches
from spotting.runs.validation import make_spotting
from spotting.scoring import figures as evaluation
from spotting.scoring import windows
from spotting.studies import search_report
from spotting.studies.search_report import Round
from spotting.training.checkpoints import Checkpoints
from spotting.training.loop import DivergedError

ORDER = ("learning_rate", "rho", "weight_decay", "mixup_alpha")
_MEASURED = {"confidence": "loose average-mAP", "displacement": "average-mAP over 1 to 10 s"}


class Member(NamedTuple):
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
    ranges.check(config)
    if config.devices.distributed:
        raise InputError("a search runs in one process: leave config.devices.distributed out")
    for kind in KINDS:
        for name, candidates in config.tune[kind].items():
            for value in candidates:
                ranges.check(_with(config, kind, name, value))
    settings.check_workdir(config, workdir)
    matches = read_matches(config, workdir)
    if not matches.splits.get("valid"):
        raise InputError(f"{matches.dataset.root}: a search needs a validation split")
    settings.save(config, workdir)

    chosen = config.copy_and_resolve_references()
    rounds: list[Round] = []
    for kind in KINDS:
        names = [name for name in ORDER if config.tune[kind].get(name)]
        for name in names:
            values = sorted({*config.tune[kind][name], chosen[kind][name]})
            log(f"\nround {len(rounds) + 1}: {name} of the {kind} model, {values}")
            trials = [_with(chosen, kind, name, value) for value in values]
            scores = _scores(matches, workdir, kind, trials)
            done = Round(kind, name, _MEASURED[kind], values, config.seeds, scores)
            _finish(rounds, done, workdir)
            chosen[kind][name] = rounds[-1].best
        if not names:
            # What comes after needs the model all the same.
            _scores(matches, workdir, kind, [chosen])
    if config.tune.window:
        values = sorted({*config.tune.window, *_common_window(config)})
        scores = _window_scores(chosen, matches, workdir, values)
        measured = f"{config.tune.measure} average-mAP"
        done = Round("suppression", "window", measured, values, config.seeds, scores)
        _finish(rounds, done, workdir)
        chosen.postprocessing.window = (rounds[-1].best,)
    write_text_atomic(workdir / "tuned.py", search_report.config_file(chosen, workdir))
    log(f"the values chosen: {workdir / 'tuned.py'}")
    return chosen


def _with(config: ConfigDict, kind: str, name: str, value: float) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    changed[kind][name] = value
    return changed


def _common_window(config: ConfigDict) -> tuple[float, ...]:
    window = tuple(config.postprocessing.window)
    return window if len(window) == 1 else ()


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


def _scores(matches: Matches, workdir: Path, kind: str, trials: Sequence[ConfigDict]) -> np.ndarray:
    """Validation scores [trials, seeds], trained where need be; NaN where the loss diverged."""
    members = [
        Member(trial, seed, _folder(trial, workdir, kind, seed))
        for trial in trials
        for seed in trial.seeds
    ]
    pending = [member for member in members if not _score_file(member).exists()]
    if pending:
        config = pending[0].config
        most = experiment.trainings_at_once(config, matches, len(pending))
        progress = [_latest_step(member, kind) for member in pending]
        for group in seeds.in_groups(pending, progress, most):
            _train(matches, workdir, kind, group)
    scores = [read_object(_score_file(member))["score"] for member in members]
    return np.array(scores, float).reshape(len(trials), -1)


def _folder(trial: ConfigDict, workdir: Path, kind: str, seed: int) -> Path:
    """Where a trial's seed trains; displacement is trained for a certain confidence model."""
    kinds = KINDS[: KINDS.index(kind) + 1]
    names = [_name(each, trial[each]) for each in kinds]
    return workdir / "trials" / Path(*names) / f"seed_{seed}"


def _name(kind: str, values: ConfigDict) -> str:
    return "_".join([kind, *(f"{name}={values[name]:g}" for name in ORDER if name in values)])


def _score_file(member: Member) -> Path:
    return member.folder / "score.json"


def _latest_step(member: Member, kind: str) -> int | None:
    keeper = Checkpoints(member.folder / "checkpoints" / kind)
    step = keeper.step("latest")
    keeper.close()
    return step


def _train(matches: Matches, workdir: Path, kind: str, members: Sequence[Member]) -> None:
    """Trains members in one program and notes their scores; the diverged do not stop the others."""
    while members:
        names = sorted({member.folder.parent.name for member in members})
        log(f"training {', '.join(names)}")
        runs = [_open(member, workdir, kind) for member in members]
        values = {
            name: [member.config[kind][name] for member in members]
            for name in ORDER
            if name in members[0].config[kind]
        }
        # What is 0 for all, as rho without SAM, stays out of the program.
        varied = {name: each for name, each in values.items() if any(each)}
        try:
            experiment.train(members[0].config, matches, runs, kind, varied)
            diverged: tuple[int, ...] = ()
        except DivergedError as error:
            diverged = error.members
            for index in diverged:
                log(f"diverged: {members[index].folder}")
        finally:
            for one in runs:
                one.close()
        done = diverged or range(len(members))
        for index in done:
            score = None if diverged else _logged_score(members[index], kind)
            write_json_atomic(_score_file(members[index]), {"score": score})
            # The state that training would go on from is the greater part of a trial's files.
            shutil.rmtree(
                members[index].folder / "checkpoints" / kind / "latest", ignore_errors=True
            )
        members = [member for index, member in enumerate(members) if index not in done]


def _open(member: Member, workdir: Path, kind: str) -> Run:
    config, seed = member.config, member.seed
    settings.save(one_seed(config, seed), member.folder)
    run_log = RunLog(member.folder, config.logging.tensorboard)
    run_log.write("start", seed=seed, **environment())
    return Run(seed, member.folder, run_log, _keepers(config, workdir, seed, kind))


def _keepers(config: ConfigDict, workdir: Path, seed: int, kind: str) -> dict[str, Checkpoints]:
    """The checkpoints of a trial's models up to a kind."""
    return {
        each: Checkpoints(_folder(config, workdir, each, seed) / "checkpoints" / each)
        for each in KINDS[: KINDS.index(kind) + 1]
    }


def _logged_score(member: Member, kind: str) -> float:
    """The validation score of the parameters that were kept."""
    scores = [
        entry["score"]
        for entry in read_log(member.folder / "log.jsonl")
        if (entry["kind"], entry.get("model")) == ("valid", kind)
    ]
    return max(scores) if member.config.training.select == "best" else scores[-1]


def _window_scores(
    config: ConfigDict, matches: Matches, workdir: Path, candidates: Sequence[float]
) -> np.ndarray:
    """Average-mAP [windows, seeds] of the chosen models on the validation split."""
    halves = matches.splits["valid"]
    truth = evaluation.truths(halves, matches.classes)
    scores = []
    for seed in config.seeds:
        folder = _folder(config, workdir, "displacement", seed)
        keepers = _keepers(config, workdir, seed, "displacement")
        one = Run(seed, folder, RunLog(None), keepers)
        outputs = []
        for kind in KINDS:
            params = experiment.restore_best(config, matches, one, kind)
            spot = make_spotting(config, matches, kind, halves, config.inference.border)
            outputs.append(spot(params))
        one.close()
        of_classes = windows.class_scores(
            *outputs,
            truth,
            matches.dataset.frame_rate,
            config.postprocessing.nms,
            candidates,
            config.tune.measure,
        )
        scores.append(of_classes.mean(axis=1))
    return np.stack(scores, axis=1)
