"""Epochs of training, fed from the device's own memory or by a stream from disk."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from spotting.base import parallel
from spotting.runs import settings
from spotting.training import step as training
from spotting.data import resident
from spotting.runs.memory import Choice, choose_loader
from spotting.training.loop import make_run_epoch
from spotting.base.logs import log
from spotting.runs.matches import Matches
from spotting.training.step import Objective, StepMetrics, TrainState

RunEpoch = Callable[[TrainState, int], tuple[TrainState, StepMetrics]]


def choose(config: ConfigDict, matches: Matches) -> Choice:
    """The loader that the config asks for, or that suits the memory; the same in all processes."""
    choice = choose_loader(
        config.data.loader,
        sum(half.num_frames for half in matches.splits["train"]),
        matches.dataset.feature_dim,
        len(matches.classes),
        jnp.dtype(config.data.resident_dtype),
    )
    streams = parallel.from_process_0(np.asarray(choice.loader == "stream"))
    return choice._replace(loader="stream" if streams else "resident")


def resident_epochs(
    config: ConfigDict,
    matches: Matches,
    offsets: Sequence[np.ndarray],
    objective: Objective,
    varied: Mapping[str, Sequence[float]],
    seeds: int,
    mesh: Mesh,
) -> RunEpoch:
    """Epochs over a split that is kept on each device, each one compiled program.

    Args:
      config: of the experiment.
      matches: the data.
      offsets: int16 [N, K] of each half of the training split.
      objective: what is trained for.
      varied: fields of `training.Hyper` in which the S trainings differ.
      seeds: S.
      mesh: the devices.
    """
    chunk_frames = settings.check_chunk(config, matches.dataset.frame_rate)
    split = resident.concatenate(
        [half.load() for half in matches.splits["train"]],
        offsets,
        chunk_frames,
        jnp.dtype(config.data.resident_dtype),
    )
    split = parallel.replicate(mesh, split)
    hyper = settings.hyper(config, objective.model.kind)
    own = _own(varied, mesh)

    def train_epoch(state, own, split):
        return training.train_epoch(
            state,
            split,
            hyper=hyper._replace(**own),
            objective=objective,
            settings=settings.optimizer(config),
            num_steps=settings.steps_per_epoch(config),
            batch_size=config.training.batch_size,
            chunk_frames=chunk_frames,
            spread=functools.partial(parallel.spread, mesh),
        )

    run_epoch = make_run_epoch(train_epoch, seeds, mesh)
    return lambda states, epoch: run_epoch(states, own, split)


def streamed_epochs(
    config: ConfigDict,
    matches: Matches,
    objective: Objective,
    varied: Mapping[str, Sequence[float]],
    seed: int,
    mesh: Mesh,
) -> RunEpoch:
    """Epochs of one training over a stream of prepared data, which is prepared first if need be.

    The stream goes on across epochs; an epoch other than the one after the last opens it there.

    Args:
      config: of the experiment.
      matches: the data.
      objective: what is trained for.
      varied: fields of `training.Hyper` that are the training's own.
      seed: of the training; the two models of one seed see different chunks.
      mesh: the devices.
    """
    from spotting import prepare
    from spotting.data.prepared import stream

    batch_size, num_processes = config.training.batch_size, jax.process_count()
    # Preparing may take hours.
    stream.count_parts(batch_size, num_processes, config.data.stream_parts)
    # The first process prepares, the others open what it left.
    ready = parallel.on_process_0(prepare.build, config, matches.source)
    ready = ready or prepare.build(config, matches.source)
    kind, steps = objective.model.kind, settings.steps_per_epoch(config)
    source = stream.Stream(
        ready,
        config.data.train,
        batch_size,
        seed=2 * seed + (kind == "displacement"),
        process=jax.process_index(),
        num_processes=num_processes,
        least_parts=config.data.stream_parts,
    )
    log(f"reading {source.blocks_per_chunk():.2f} blocks of bytes for each chunk")
    sharding = NamedSharding(mesh, PartitionSpec(parallel.AXIS))
    hyper, optimizer = settings.hyper(config, kind), settings.optimizer(config)
    own = _own(varied, mesh)

    def step(state, own, batch):
        _, mixup_key = training.step_keys(state)
        mine = hyper._replace(**own)
        return training.train_step(state, batch, mixup_key, objective, mine, optimizer)

    run_step = make_run_epoch(step, 1, mesh)
    position, batches = -1, None

    def run_epoch(states: TrainState, epoch: int) -> tuple[TrainState, StepMetrics]:
        nonlocal position, batches
        if position != epoch:
            batches = stream.to_device(source.batches(epoch * steps), sharding)
        metrics = []
        for _ in range(steps):
            states, one = run_step(states, own, next(batches))
            metrics.append(one)
        position = epoch + 1
        return states, jax.tree.map(lambda *values: jnp.stack(values, axis=-1), *metrics)

    return run_epoch


def _own(varied: Mapping[str, Sequence[float]], mesh: Mesh) -> dict[str, jax.Array]:
    arrays = {name: np.asarray(values, np.float32) for name, values in varied.items()}
    return parallel.replicate(mesh, arrays)
