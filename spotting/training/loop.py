"""The loop over the epochs of one model, for one or several seeds: step, log, validate, save.

Devices train on while the host scores a validation and writes checkpoints.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.base.logs import ProgressLine, RunLog, duration, log
from spotting.base.signals import Terminated, defer_stop
from spotting.training.averaging import read_average
from spotting.training.checkpoints import Checkpoints, DamagedCheckpointError, stack, unstack
from spotting.training.step import StepMetrics, TrainState

_PACKAGE = Path(__file__).parents[1]
_SAVE_SECONDS = 120.0
_WATCHED = {
    "loss": "loss",
    "grad_norm": "gradient's norm",
    "perturbed_loss": "loss in SAM's second pass",
}
_REMEDY = (
    "lower its learning_rate or rho and start in a new --workdir; with "
    "--config.training.debug_nans=True the same command resumes before it and names the operation"
)
_AHEAD_SECONDS = 10.0  # Epochs that take longer are not launched before the one before is over.

RunEpoch = Callable[[TrainState, int], tuple[TrainState, Any]]
"""(states, epoch from 0) to the states after it and metrics [S, steps]; the old states are gone."""


class DivergedError(ArithmeticError):
    """The loss of every training stopped being a number, or of those that the message names."""


class Saved(NamedTuple):
    """What a checkpoint of `latest` holds: the state, and the best validation score so far."""

    state: TrainState
    best: float


class Member(NamedTuple):
    """Where one of the trainings that run together keeps its checkpoints and its log."""

    checkpoints: Checkpoints
    log: RunLog


class Validation(Protocol):
    """Scores parameters on the validation split; greater is better."""

    def predict(self, params: Mapping[int, Any]) -> Mapping[int, Any]:
        """The devices' part: predictions with the parameters of each training, by its index."""

    def score(self, predictions: Mapping[int, Any]) -> Mapping[int, float]:
        """The host's part: the score of each training's predictions."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train, and when to validate.

    Attributes:
      epochs: how many in all.
      steps: in an epoch.
      batch_size: B, for the speed that is shown.
      validate_every: epochs between validations; the last epoch is always validated.
      select: "best" keeps the parameters of the best validation, "last" the final ones, and "loss"
        those of the least validation loss, which the state holds.
    """

    epochs: int
    steps: int
    batch_size: int
    validate_every: int
    select: str


@dataclasses.dataclass(frozen=True)
class Profile:
    """A trace of the epochs that hold steps `first` to `last`, for TensorBoard or Perfetto."""

    folder: Path
    first: int
    last: int


def fit(
    states: TrainState,
    run_epoch: RunEpoch,
    schedule: Schedule,
    members: Sequence[Member],
    mesh: jax.sharding.Mesh,
    *,
    name: str,
    validation: Validation | None = None,
    progress: bool = True,
    profile: Profile | None = None,
    debug_nans: bool = False,
) -> dict[int, str]:
    """Trains S seeds together, from where their checkpoints are, and leaves the best in them.

    Several processes call it together. All train; process 0 validates and saves. A seed whose loss
    stops being a number keeps its checkpoints from before; the others train on. SIGTERM or Ctrl-C,
    to any of the processes, ends all of them after the epoch, which is saved. Where epochs are
    short, an accelerator is given the next one before this one's metrics are read, and both ends
    come one epoch later; what is saved has been read first.

    Args:
      states: fresh states of all seeds, stacked; they also give the shapes for restoring.
      run_epoch: trains an epoch.
      schedule: how long.
      members: checkpoints and log of each seed.
      mesh: the devices; see `parallel` for which has what of the states.
      name: of the model, for messages.
      validation: None without a validation split.
      progress: whether to show a progress line.
      profile: what to trace, if anything.
      debug_nans: whether to find the operation that gives the first value that is not finite.

    Returns:
      Of each seed that diverged, by its index: when, and what to do.

    Raises:
      KeyboardInterrupt, Terminated: asked to stop.
      FloatingPointError: names that operation.
    """
    states, best = _resume(states, [member.checkpoints for member in members])
    first = int(states.step[0]) // schedule.steps
    states = parallel.spread_trainings(mesh, states)
    saver = _Saver(name, validation, schedule, members, best)
    line = _Progress(name, schedule, first, ProgressLine(progress))
    failed: dict[int, str] = {}
    last_save = time.monotonic()
    with (
        contextlib.closing(saver),
        _Profiler(profile, schedule.steps) as profiler,
        defer_stop() as stop,
    ):
        running: collections.deque[_Running] = collections.deque()
        seconds = math.inf  # that the epoch took which was read last
        for epoch in range(first, schedule.epochs):
            with profiler.trace(epoch):
                started = time.monotonic()
                # The old states are gone afterwards.
                before = jax.tree.map(jnp.copy, states) if debug_nans else None
                states, metrics = run_epoch(states, epoch)
                metrics = parallel.gather(mesh, metrics, len(members))
                running.append(_Running(epoch, started, metrics))
                is_last = epoch + 1 == schedule.epochs
                validate = is_last or (epoch + 1) % schedule.validate_every == 0
                # The devices would idle while the host reads what an epoch reports: the next one is
                # launched before. Long epochs would gain nothing, and a signal waits for them.
                quick = seconds < _AHEAD_SECONDS and profile is None and not debug_nans
                ahead = quick and not validate and _may_run_ahead(metrics)
                done = _read(running, but=1 if ahead else 0)

            # A training may end before its time; what it leaves is then as if it had not.
            ended = any(bool(np.all(getattr(each.metrics, "finished", False))) for each in done)
            is_last, validate = is_last or ended, validate or ended
            stops = parallel.any_process(bool(stop))
            is_due = validate or stops or time.monotonic() - last_save > _SAVE_SECONDS
            if is_due:
                done += _read(running)  # What is saved is known to be sound.
            for each in done:
                failed |= (diverged := _find_diverged(name, each.epoch, each.metrics, failed))
                if diverged and before is not None:
                    _find_operation(run_epoch, before, each.epoch)
            if len(failed) == len(members):
                break
            for each in done:
                seconds = each.seconds
                speed = len(members) * schedule.steps * schedule.batch_size / seconds
                for index in range(len(members)):
                    _log_epoch(members[index].log, name, each.epoch, index, each.metrics, speed)

            if is_due:
                kept = parallel.gather(mesh, states, len(members))
                failed |= _find_unsound(name, epoch, kept.params, failed)
                if parallel.is_process_0():
                    saver.save(epoch + 1, kept, validate, failed, is_last)
                    last_save = time.monotonic()
            if is_last or stops:
                saver.wait()
            if done:
                losses = done[-1].metrics.loss.mean(axis=-1)
                line.show(done[-1].epoch, losses, saver, speed, is_last)
            if ended:
                break
            if stops and not is_last:
                saved = f"epoch {epoch + 1} of {schedule.epochs} of the {name} model is saved"
                stop.raise_if_made(saved)
                raise Terminated(saved)  # Another process was asked.
    return failed


def is_finished(checkpoints: Checkpoints, schedule: Schedule) -> bool:
    """Whether a training has nothing left to do; an imported model has not."""
    last = checkpoints.step("latest")
    # An imported model has no state to resume from, and its best is that of the schedule's end.
    return (checkpoints.step("best") if last is None else last) == schedule.epochs * schedule.steps


def make_run_epoch(
    train_epoch: Callable[..., tuple[TrainState, Any]],
    seeds: int,
    mesh: jax.sharding.Mesh,
) -> Any:
    """Compiles an epoch of one seed into one of S stacked seeds; the old states are donated.

    Args:
      train_epoch: of a seed's state, its own hyper-parameters, and the data that all share.
      seeds: S. One seed is not batched over an axis of one: backends have slower paths for batched
        products.
      mesh: the devices; if several trainings are spread over them, each computes its own.

    Returns:
      The jitted function of the stacked states, the stacked hyper-parameters and the data.
    """
    compiled = functools.partial(
        jax.jit, donate_argnums=0, out_shardings=parallel.by_training(mesh)
    )
    if mesh.shape[parallel.SEEDS] > 1:
        return compiled(jax.vmap(train_epoch, in_axes=(0, 0, None), spmd_axis_name=parallel.SEEDS))
    if seeds > 1:
        return compiled(jax.vmap(train_epoch, in_axes=(0, 0, None)))

    def single(states: TrainState, hyper: Any, data: Any) -> tuple[TrainState, StepMetrics]:
        out = train_epoch(unstack(states, 0), unstack(hyper, 0), data)
        return jax.tree.map(lambda leaf: leaf[None], out)

    return compiled(single)


def _resume(
    states: TrainState, checkpoints: Sequence[Checkpoints]
) -> tuple[TrainState, list[float]]:
    """The newest sound states that all seeds have, or the fresh ones, and the best scores so far.

    Raises:
      InputError: there are checkpoints, but of no step those of all seeds can be read.
    """
    if any(each.step("latest") is None for each in checkpoints):
        return states, [-math.inf] * len(checkpoints)
    templates = [Saved(unstack(states, seed), 0.0) for seed in range(len(checkpoints))]
    found = parallel.on_process_0(_restore_newest, checkpoints, templates)
    step = int(parallel.from_process_0(np.asarray(found[0] if found else 0)))
    saved = found[1] if found else _restore_all(checkpoints, templates, step)
    return stack([each.state for each in saved]), [each.best for each in saved]


def _restore_newest(
    checkpoints: Sequence[Checkpoints], templates: Sequence[Saved]
) -> tuple[int, list[Saved]]:
    """The newest step of which all checkpoints are sound, and what they hold."""
    shared = set.intersection(*(set(each.steps("latest")) for each in checkpoints))
    errors: list[DamagedCheckpointError] = []
    for step in sorted(shared, reverse=True):
        try:
            saved = _restore_all(checkpoints, templates, step)
        except DamagedCheckpointError as error:
            errors.append(error)
            continue
        for damage in errors:
            log(f"warning: {damage.problem}; the one before it is used, of step {step}")
        return step, saved
    if errors:
        raise errors[0]
    folders = ", ".join(str(each.directory) for each in checkpoints)
    raise InputError(f"{folders}: no step that all of them have; train the seeds one at a time")


def _restore_all(
    checkpoints: Sequence[Checkpoints], templates: Sequence[Saved], step: int
) -> list[Saved]:
    return [
        each.restore("latest", template, step)
        for each, template in zip(checkpoints, templates, strict=True)
    ]


class _Running(NamedTuple):
    """An epoch, counted from 0, that devices were given at `started`."""

    epoch: int
    started: float
    metrics: Any


class _Done(NamedTuple):
    """An epoch, counted from 0, the seconds it took, and what it reports, on the host."""

    epoch: int
    seconds: float
    metrics: Any


def _may_run_ahead(metrics: Any) -> bool:
    """Whether an epoch may be launched before that with these metrics is over.

    Not where an epoch may be the last by what it reports. Nor where several processes ask each
    other after each epoch whether to stop, which waits for the devices anyway.
    """
    return not hasattr(metrics, "finished") and jax.process_count() == 1


def _read(running: collections.deque[_Running], but: int = 0) -> list[_Done]:
    """Waits for epochs, the earliest first, all but the `but` newest, and takes them out."""
    done = []
    while len(running) > but:
        epoch, started, metrics = running.popleft()
        metrics = jax.tree.map(np.asarray, metrics)
        now = time.monotonic()
        done.append(_Done(epoch, now - started, metrics))
        if running:
            # It began when the one before it was over.
            running[0] = running[0]._replace(started=now)
    return done


def _find_diverged(
    name: str, epoch: int, metrics: StepMetrics, known: Mapping[int, str]
) -> dict[int, str]:
    """Of the seeds whose loss or gradient is not finite, and was before: where, and a remedy."""
    found = {}
    for index in range(len(metrics.loss)):
        wrong = [
            (int(step), what, values[index][step])
            for field, what in _WATCHED.items()
            if (values := getattr(metrics, field, None)) is not None
            for step in np.flatnonzero(~np.isfinite(values[index]))[:1]
        ]
        if wrong and index not in known:
            step, what, value = min(wrong, key=lambda each: each[0])
            place = f"in epoch {epoch + 1}, step {step + 1} of it"
            found[index] = f"the {name} {what} is {value} {place}: {_REMEDY}"
    return found


def _find_operation(run_epoch: RunEpoch, states: TrainState, epoch: int) -> None:
    """Runs an epoch operation by operation.

    Raises:
      FloatingPointError: names the first operation that gives NaN, or an infinite value if none
        gives NaN, and where it is.
    """
    log("running the epoch again, operation by operation")
    for is_wanted in (jax.debug_nans, jax.debug_infs):
        try:
            with is_wanted(True), jax.disable_jit():
                run_epoch(states, epoch)
        except FloatingPointError as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
            place = f"{Path(ours[-1].filename).relative_to(_PACKAGE.parent)}:{ours[-1].lineno}"
            text = str(error).splitlines()[0].partition(". ")[0]
            raise FloatingPointError(f"{text}, at {place}: {ours[-1].line}") from error


def _find_unsound(name: str, epoch: int, params: Any, known: Mapping[int, str]) -> dict[int, str]:
    """Of the seeds whose parameters are not finite after an epoch: so, and a remedy."""
    leaves = map(np.asarray, jax.tree.leaves(parallel.local_copy(params)))
    finite = np.all([np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in leaves], 0)
    return {
        int(index): f"a parameter of the {name} model is not finite after epoch {epoch + 1}: "
        f"{_REMEDY}"
        for index in np.flatnonzero(~finite)
        if index not in known
    }


def _log_epoch(
    run_log: RunLog, name: str, epoch: int, index: int, metrics: StepMetrics, speed: float
) -> None:
    means = {key: float(np.mean(value[index])) for key, value in metrics._asdict().items()}
    run_log.curve("train", name, epoch + 1, chunks_per_s=speed, **means)


class _Saver:
    """Validates states and saves the latest and the best, in a thread beside the training."""

    def __init__(
        self,
        name: str,
        validation: Validation | None,
        schedule: Schedule,
        members: Sequence[Member],
        best: list[float],
    ):
        self.best = best
        self.scores = [math.nan] * len(best)
        self._name, self._validation, self._schedule = name, validation, schedule
        self._members = members
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._work: concurrent.futures.Future[None] | None = None

    def save(
        self,
        epochs: int,
        states: TrainState,
        validate: bool,
        failed: dict[int, str],
        is_last: bool,
    ) -> None:
        """Saves the states of the seeds that have not failed; validates them before if told so.

        Args:
          epochs: that have been trained.
          states: of all seeds, on the devices.
          validate: whether to.
          failed: indices of seeds whose checkpoints stay as they are.
          is_last: whether the training ends here.
        """
        self.wait()
        here = parallel.local_copy(states)
        kept = {
            seed: unstack(here, seed) for seed in range(len(self._members)) if seed not in failed
        }
        predictions = None
        if validate and self._validation is not None:
            predictions = self._validation.predict({s: _read_params(kept[s]) for s in kept})
        self._work = self._thread.submit(self._score_and_save, epochs, kept, predictions, is_last)

    def wait(self) -> None:
        """Returns when all is saved."""
        if self._work is not None:
            self._work.result()

    def close(self) -> None:
        """Waits, and ends the thread."""
        self._thread.shutdown()
        self.wait()

    def _score_and_save(
        self,
        epochs: int,
        states: Mapping[int, TrainState],
        predictions: Mapping[int, Any] | None,
        is_last: bool,
    ) -> None:
        if predictions is not None and self._validation is not None:
            for seed, score in self._validation.score(predictions).items():
                self.scores[seed] = score
                self._members[seed].log.curve("valid", self._name, epochs, score=score)
        by_score = self._schedule.select == "best" and self._validation is not None
        by_loss = self._schedule.select == "loss"
        for seed, state in states.items():
            checkpoints, step = self._members[seed].checkpoints, int(state.step)
            if is_last:
                step = self._schedule.epochs * self._schedule.steps
                state = state._replace(step=jnp.full_like(state.step, step))
            is_better = predictions is not None and self.scores[seed] > self.best[seed]
            if by_loss or (is_better if by_score else is_last):
                self.best[seed] = self.scores[seed]
                kept = state.opt_state.best if by_loss else _read_params(state)
                checkpoints.save("best", step, kept)
            checkpoints.save("latest", step, Saved(state, self.best[seed]))


def _read_params(state: TrainState) -> Any:
    """The parameters that are validated and kept: averaged ones where there are any."""
    return read_average(state.opt_state, state.params)


class _Progress:
    """The progress line: time left first, since a narrow terminal cuts the end off."""

    def __init__(self, name: str, schedule: Schedule, first: int, line: ProgressLine):
        self._name, self._schedule, self._first, self._line = name, schedule, first, line
        self._compiled = math.nan  # when the first epoch, which compiles, was over

    def show(
        self, epoch: int, losses: np.ndarray, saver: _Saver, speed: float, is_last: bool
    ) -> None:
        """Shows the state after an epoch, counted from 0."""
        now, epochs = time.monotonic(), self._schedule.epochs
        if epoch == self._first:
            self._compiled = now
            left = "-"
        else:
            each = (now - self._compiled) / (epoch - self._first)
            left = duration(each * (epochs - epoch - 1))
        parts = [
            f"{self._name} {epoch + 1}/{epochs}",
            f"{left} left",
            f"loss {_join(losses, 4)}",
        ]
        if any(map(math.isfinite, saver.scores)):
            validation = f"validation {_join(saver.scores, 1, 100)}"
            if self._schedule.select == "best":
                validation += f" (best {_join(saver.best, 1, 100)})"
            parts.append(validation)
        parts.append(f"{speed:,.0f} chunks/s")
        self._line.show("  ".join(parts), final=is_last)


class _Profiler:
    """Traces the epochs of a `Profile`; does nothing without one."""

    def __init__(self, profile: Profile | None, steps: int):
        self._profile, self._steps, self._is_on = profile, steps, False

    def __enter__(self) -> "_Profiler":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    @contextlib.contextmanager
    def trace(self, epoch: int) -> Iterator[None]:
        """Runs a block that trains an epoch, counted from 0."""
        profile = self._profile
        if profile is None or not parallel.is_process_0():
            yield
            return
        steps = range(epoch * self._steps + 1, (epoch + 1) * self._steps + 1)
        if steps[0] <= profile.last and profile.first <= steps[-1] and not self._is_on:
            jax.profiler.start_trace(str(profile.folder))
            self._is_on = True
        with jax.profiler.StepTraceAnnotation("epoch", step_num=epoch):
            yield
        if steps[-1] >= profile.last:
            self._stop()

    def _stop(self) -> None:
        if self._is_on:
            jax.profiler.stop_trace()
            self._is_on = False
            assert self._profile is not None
            log(f"profile: {self._profile.folder}")


def _join(values: Iterable[float], digits: int, scale: float = 1.0) -> str:
    shown = [f"{scale * v:.{digits}f}" if math.isfinite(v) else "-" for v in values]
    return "/".join(shown)
