"""The loop around the epochs of one model, for one or several seeds: validate, keep, resume.

Devices train on while the host scores a validation and writes checkpoints.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from spotting.base import parallel
from spotting.base.logs import ProgressLine, RunLog, duration
from spotting.training.checkpoints import Checkpoints, stack, unstack
from spotting.training.step import StepMetrics, TrainState

_SAVE_SECONDS = 120.0


class DivergedError(ArithmeticError):
    """A loss stopped being a number; `members` are the indices of those whose did."""

    def __init__(self, message: str, members: Sequence[int]):
        super().__init__(message)
        self.members = tuple(members)


class Saved(NamedTuple):
    """What a checkpoint of `latest` holds: the state, and the best validation score so far."""

    state: TrainState
    best: float


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train and when to look.

    Attributes:
      epochs: how many in all.
      steps: in an epoch.
      batch_size: B, for the speed that is shown.
      validate_every: epochs between validations; the last epoch is always validated.
      select: "best" keeps the parameters of the best validation, "last" the final ones.
    """

    epochs: int
    steps: int
    batch_size: int
    validate_every: int
    select: str


Validate: TypeAlias = Callable[[list[Any]], Callable[[], list[float]]]
"""Parameters of each seed to a function that gives the score of each, greater is better.

The call itself is the devices' part of the work, the function the host's.
"""


class _Keeper:
    """Validates states and saves the latest and the best, in a thread beside the training."""

    def __init__(
        self,
        name: str,
        validate: Validate | None,
        schedule: Schedule,
        checkpoints: Sequence[Checkpoints],
        logs: Sequence[RunLog],
        best: list[float],
    ):
        self.best = best
        self.scores = [math.nan] * len(best)
        self._name, self._validate, self._schedule = name, validate, schedule
        self._checkpoints, self._logs = checkpoints, logs
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._work: concurrent.futures.Future | None = None

    def keep(self, epoch: int, members: list[TrainState], look: bool) -> None:
        """Saves the states of all seeds after an epoch, if told so with a look at them."""
        self.wait()
        score = None
        if look and self._validate is not None:
            score = self._validate([member.params for member in members])
        self._work = self._thread.submit(self._score_and_save, epoch, members, score)

    def wait(self) -> None:
        """Returns when all is saved."""
        if self._work is not None:
            self._work.result()

    def close(self) -> None:
        """Waits, and ends the thread."""
        self._thread.shutdown()
        self.wait()

    def _score_and_save(
        self, epoch: int, members: list[TrainState], score: Callable[[], list[float]] | None
    ) -> None:
        if score is not None:
            self.scores = score()
            for run_log, value in zip(self._logs, self.scores, strict=True):
                run_log.curve("valid", self._name, epoch, score=value)
        by_score = self._schedule.select == "best" and self._validate is not None
        is_last = epoch == self._schedule.epochs
        for seed, (member, keeper) in enumerate(zip(members, self._checkpoints, strict=True)):
            is_better = score is not None and self.scores[seed] > self.best[seed]
            if is_better if by_score else is_last:
                self.best[seed] = self.scores[seed]
                keeper.save("best", int(member.step), member.params)
            keeper.save("latest", int(member.step), Saved(member, self.best[seed]))


def fit(
    name: str,
    states: TrainState,
    run_epoch: Callable[[TrainState, int], tuple[TrainState, StepMetrics]],
    validate: Validate | None,
    schedule: Schedule,
    checkpoints: Sequence[Checkpoints],
    logs: Sequence[RunLog],
    mesh: jax.sharding.Mesh,
    progress: bool = True,
) -> None:
    """Trains S seeds together, from where their checkpoints are, and leaves the best in them.

    Several processes call it together. All train; the first one validates and saves.

    Args:
      name: of the model, for messages.
      states: fresh states of all seeds, stacked; they also give the shapes for restoring.
      run_epoch: (states, epoch) to states and metrics [S, steps].
      validate: None without a validation split.
      schedule: how long.
      checkpoints: where, for each seed.
      logs: for each seed.
      mesh: the devices, each of which has all of the states.
      progress: whether to show a progress line.

    Raises:
      DivergedError: a loss is not finite; the last checkpoint is from before that.
    """
    seeds = len(checkpoints)
    states, best = _resume(states, checkpoints)
    first = int(states.step[0]) // schedule.steps
    states = parallel.replicate(mesh, states)
    line = ProgressLine(progress)
    keeper = _Keeper(name, validate, schedule, checkpoints, logs, best)
    last_save = time.monotonic()
    began = math.nan  # when the first epoch, which compiles, was over
    with contextlib.closing(keeper):
        for epoch in range(first + 1, schedule.epochs + 1):
            start = time.monotonic()
            states, metrics = run_epoch(states, epoch - 1)
            metrics = jax.tree.map(np.asarray, metrics)
            loss = metrics.loss.mean(axis=-1)
            diverged = np.flatnonzero(~np.isfinite(loss))
            if len(diverged):
                raise DivergedError(
                    f"the {name} loss is {loss[diverged[0]]} in epoch {epoch}: lower its "
                    "learning_rate or rho and start in a new --workdir",
                    diverged.tolist(),
                )
            speed = seeds * schedule.steps * schedule.batch_size / (time.monotonic() - start)
            for seed, run_log in enumerate(logs):
                more = {
                    key: float(np.mean(value[seed])) for key, value in metrics._asdict().items()
                }
                run_log.curve("train", name, epoch, chunks_per_s=speed, **more)

            is_last = epoch == schedule.epochs
            look = is_last or epoch % schedule.validate_every == 0
            if parallel.is_process_0() and (look or time.monotonic() - last_save > _SAVE_SECONDS):
                here = parallel.local_copy(states)
                members = [unstack(here, seed) for seed in range(seeds)]
                keeper.keep(epoch, members, look)
                last_save = time.monotonic()
            if is_last:
                keeper.wait()

            if epoch == first + 1:
                began = time.monotonic()
            done = max(epoch - first - 1, 1)
            left = (time.monotonic() - began) / done * (schedule.epochs - epoch)
            line.show(
                f"{name}: epoch {epoch}/{schedule.epochs}  loss {_join(loss, 4)}  "
                f"validation {_join(keeper.scores, 1, 100)} (best {_join(keeper.best, 1, 100)})  "
                f"{speed:,.0f} chunks/s  {duration(left) if epoch > first + 1 else '-'} left",
                final=is_last,
            )


def _resume(
    states: TrainState, checkpoints: Sequence[Checkpoints]
) -> tuple[TrainState, list[float]]:
    """The newest states that all seeds have, or the fresh ones."""
    steps = [keeper.step("latest") for keeper in checkpoints]
    if None in steps:
        return states, [-math.inf] * len(steps)
    shared = min(steps)
    saved = [
        keeper.restore("latest", Saved(unstack(states, seed), 0.0), shared)
        for seed, keeper in enumerate(checkpoints)
    ]
    return stack([one.state for one in saved]), [one.best for one in saved]


def is_finished(keeper: Checkpoints, schedule: Schedule) -> bool:
    """Whether a training has nothing left to do; an imported model has not."""
    last = keeper.step("latest")
    # An imported model has no state to go on from, and its best is that of the schedule's end.
    return (keeper.step("best") if last is None else last) == schedule.epochs * schedule.steps


def make_run_epoch(
    train_epoch: Callable[[TrainState, Any, Any], tuple[TrainState, StepMetrics]],
    seeds: int,
    mesh: jax.sharding.Mesh,
) -> Callable[[TrainState, Any, Any], tuple[TrainState, StepMetrics]]:
    """Compiles an epoch of one seed into one of S stacked seeds; the old states are given away.

    Args:
      train_epoch: of a seed's state, what else is its own, and the data that all share.
      seeds: S. One seed is not batched over an axis of one: backends have slower paths for batched
        products.
      mesh: the devices; what comes out is on each of them.
    """
    compiled = functools.partial(jax.jit, donate_argnums=0, out_shardings=parallel.everywhere(mesh))
    if seeds > 1:
        return compiled(jax.vmap(train_epoch, in_axes=(0, 0, None)))

    def single(states: TrainState, own: Any, data: Any) -> tuple[TrainState, StepMetrics]:
        out = train_epoch(unstack(states, 0), unstack(own, 0), data)
        return jax.tree.map(lambda leaf: leaf[None], out)

    return compiled(single)


def _join(values: Sequence[float], digits: int, scale: float = 1.0) -> str:
    shown = [f"{scale * v:.{digits}f}" if math.isfinite(v) else "-" for v in values]
    return "/".join(shown)
