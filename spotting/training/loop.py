"""The loop over the epochs of one model, for one or several seeds: step, log, validate, save.

Devices train on while the host scores a validation and writes checkpoints.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from spotting.base import parallel
from spotting.base.logs import ProgressLine, RunLog, duration, log
from spotting.base.signals import Terminated, defer_stop
from spotting.training.averaging import read_average
from spotting.training.checkpoints import Checkpoints, stack, unstack
from spotting.training.step import StepMetrics, TrainState

_SAVE_SECONDS = 120.0

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
) -> dict[int, str]:
    """Trains S seeds together, from where their checkpoints are, and leaves the best in them.

    Several processes call it together. All train; process 0 validates and saves. A seed whose loss
    stops being a number keeps its checkpoints from before; the others train on. SIGTERM or Ctrl-C,
    to any of the processes, ends all of them after the epoch, which is saved.

    Args:
      states: fresh states of all seeds, stacked; they also give the shapes for restoring.
      run_epoch: trains an epoch.
      schedule: how long.
      members: checkpoints and log of each seed.
      mesh: the devices, each of which has all of the states.
      name: of the model, for messages.
      validation: None without a validation split.
      progress: whether to show a progress line.
      profile: what to trace, if anything.

    Returns:
      Of each seed that diverged, by its index: when, and what to do.

    Raises:
      KeyboardInterrupt, Terminated: asked to stop.
    """
    states, best = _resume(states, [member.checkpoints for member in members])
    first = int(states.step[0]) // schedule.steps
    states = parallel.replicate(mesh, states)
    saver = _Saver(name, validation, schedule, members, best)
    line = _Progress(name, schedule, first, ProgressLine(progress))
    failed: dict[int, str] = {}
    last_save = time.monotonic()
    with (
        contextlib.closing(saver),
        _Profiler(profile, schedule.steps) as profiler,
        defer_stop() as stop,
    ):
        for epoch in range(first, schedule.epochs):
            with profiler.trace(epoch):
                started = time.monotonic()
                states, metrics = run_epoch(states, epoch)
                metrics = jax.tree.map(np.asarray, metrics)
                seconds = time.monotonic() - started

            failed |= _find_diverged(name, epoch, metrics, failed)
            if len(failed) == len(members):
                break
            speed = len(members) * schedule.steps * schedule.batch_size / seconds
            for index in range(len(members)):
                _log_epoch(members[index].log, name, epoch, index, metrics, speed)

            # A training may end before its time; what it leaves is then as if it had not.
            ended = bool(np.all(getattr(metrics, "finished", False)))
            is_last = ended or epoch + 1 == schedule.epochs
            validate = is_last or (epoch + 1) % schedule.validate_every == 0
            stops = parallel.any_process(bool(stop))
            is_due = validate or stops or time.monotonic() - last_save > _SAVE_SECONDS
            if is_due and parallel.is_process_0():
                saver.save(epoch + 1, states, validate, failed, is_last)
                last_save = time.monotonic()
            if is_last or stops:
                saver.wait()
            line.show(epoch, metrics.loss.mean(axis=-1), saver, speed, is_last)
            if ended:
                break
            if stops and not is_last:
                log(f"{name}: epoch {epoch + 1} of {schedule.epochs} is saved")
                stop.raise_if_made()
                raise Terminated  # Another process was asked.
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
      mesh: the devices; what comes out is on each of them.

    Returns:
      The jitted function of the stacked states, the stacked hyper-parameters and the data.
    """
    compiled = functools.partial(jax.jit, donate_argnums=0, out_shardings=parallel.replicated(mesh))
    if seeds > 1:
        return compiled(jax.vmap(train_epoch, in_axes=(0, 0, None)))

    def single(states: TrainState, hyper: Any, data: Any) -> tuple[TrainState, StepMetrics]:
        out = train_epoch(unstack(states, 0), unstack(hyper, 0), data)
        return jax.tree.map(lambda leaf: leaf[None], out)

    return compiled(single)


def _resume(
    states: TrainState, checkpoints: Sequence[Checkpoints]
) -> tuple[TrainState, list[float]]:
    """The newest states that all seeds have, or the fresh ones, and the best scores so far."""
    steps = [each.step("latest") for each in checkpoints]
    known = [step for step in steps if step is not None]
    if len(known) < len(steps):
        return states, [-math.inf] * len(steps)
    shared = min(known)
    saved = [
        each.restore("latest", Saved(unstack(states, seed), 0.0), shared)
        for seed, each in enumerate(checkpoints)
    ]
    return stack([each.state for each in saved]), [each.best for each in saved]


def _find_diverged(
    name: str, epoch: int, metrics: StepMetrics, known: dict[int, str]
) -> dict[int, str]:
    """Of the seeds whose loss is not finite, and was in the epochs before: where, and a remedy."""
    found = {}
    for index, losses in enumerate(metrics.loss):
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad) and index not in known:
            found[index] = (
                f"the {name} loss is {losses[bad[0]]} in epoch {epoch + 1}, step {bad[0] + 1} of "
                f"it: lower its learning_rate or rho and start in a new --workdir"
            )
    return found


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
