"""Epochs of training, fed from the device's own memory or by a stream from disk."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from spotting.base import parallel
from spotting.base.logs import log
from spotting.data import resident
from spotting.data.resident import Batch
from spotting.runs import memory
from spotting.runs.memory import Choice
from spotting.runs.preparation import open_or_prepare
from spotting.runs.setup import Setup, label_split, read_hyper, read_offsets, read_optimizer
from spotting.runs.systems import find_system, make_descent, read_values
from spotting.training import flattening, recipes
from spotting.training.checkpoints import unstack
from spotting.training.loop import RunEpoch, make_run_epoch
from spotting.training.mixup import Pairs
from spotting.training.objectives import Objective
from spotting.training.recipes import EpochMetrics, Recipe, Source
from spotting.training.step import (
    Hyper,
    StepMetrics,
    TrainState,
    draw_pairs,
    make_optimizer,
    train_epoch,
    train_step,
)

_STEPS_AHEAD = 2  # of a stream, given to the devices before the first of them is done

PerRun = Mapping[str, Sequence[float]]
"""Fields of `Hyper` in which the trainings of one program differ, a value for each training."""


def choose_loader(setup: Setup) -> Choice:
    """The loader that the config asks for, or that suits the memory; the same in all processes."""
    dataset = setup.matches.dataset
    choice = memory.choose_loader(
        setup.config.data.loader,
        sum(half.num_frames for half in setup.matches.splits["train"]),
        dataset.feature_dim,
        len(dataset.classes),
        setup.config.data.resident_dtype,
    )
    streams = parallel.from_process_0(np.asarray(choice.loader == "stream"))
    return choice._replace(loader="stream" if streams else "resident")


def count_trainings_at_once(setup: Setup, wanted: int) -> int:
    """How many trainings to run in one program: what the config says, or what the memory holds.

    Each has devices of its own if there are more than one training uses. Besides, copies of one
    computation are batched by `jax.vmap`: on a GPU five small networks are launched as one.

    Args:
      setup: of the experiment.
      wanted: trainings in all.
    """
    config, dataset = setup.config, setup.matches.dataset
    side_by_side = setup.mesh.shape[parallel.SEEDS]
    device = jax.local_devices()[0]
    if find_system(config):
        alone = device.platform == "cpu"
        return config.seeds_at_once or (side_by_side if alone else wanted)
    if choose_loader(setup).loader == "stream":
        return 1  # Each training has a stream of its own.
    if config.seeds_at_once:
        return config.seeds_at_once
    if wanted == 1 or device.platform in memory.ONE_AT_A_TIME:
        return side_by_side
    objective = setup.make_objective("confidence")
    assert isinstance(objective, Objective)  # There is no other system, see above.
    step = memory.compile_step(
        objective,
        Hyper(*[1.0] * 4),  # the method that needs most
        read_optimizer(config),
        batch_size=config.training.batch_size // setup.mesh.shape[parallel.AXIS],
        chunk_shape=setup.chunk_shape,
        dtype=jnp.dtype(config.data.resident_dtype),
    )
    classes = len(dataset.classes)
    shared = 0
    for split, dtype in (("train", config.data.resident_dtype), ("valid", config.model.dtype)):
        frames = sum(half.num_frames for half in setup.matches.splits.get(split, ()))
        shared += memory.feature_bytes(frames, dataset.feature_dim, classes, dtype)
    count = memory.count_trainings(memory.program_bytes(step), shared, memory.free_memory(device))
    return side_by_side * int(parallel.from_process_0(np.asarray(count)))


def divide_devices(setup: Setup, trainings: int) -> Setup:
    """The setup with devices of its own for each of several trainings, where that is faster.

    A stream feeds one training, which takes all devices.

    Args:
      setup: of an experiment.
      trainings: that are to run, in one program or more.

    Raises:
      InputError: a batch cannot be spread evenly.
    """
    config = setup.config
    several = trainings > 1 and config.seeds_at_once != 1
    if several and setup.mesh.size > 1 and not find_system(config):
        several = choose_loader(setup).loader != "stream"
    count = parallel.count_side_by_side(
        setup.mesh.size,
        config.training.batch_size,
        trainings if several else 1,
        config.devices.min_chunks,
    )
    return dataclasses.replace(setup, mesh=parallel.divide_mesh(setup.mesh, count))


def make_epochs(
    setup: Setup, objective: Objective | Recipe, per_run: PerRun, seeds: Sequence[int]
) -> RunEpoch:
    """What trains an epoch of some seeds together, with the loader that suits.

    Args:
      setup: of the experiment.
      objective: what is trained for.
      per_run: hyper-parameters in which the trainings differ.
      seeds: of the trainings; a stream serves one.
    """
    if isinstance(objective, Recipe):
        return _make_drawn_epochs(setup, objective, per_run, len(seeds))
    choice = choose_loader(setup)
    log(f"loader: {choice.loader} ({choice.reason})")
    if choice.loader == "resident":
        return _make_resident_epochs(setup, objective, per_run, len(seeds))
    (seed,) = seeds
    return _make_streamed_epochs(setup, objective, per_run, seed)


def _make_resident_epochs(
    setup: Setup, objective: Objective, per_run: PerRun, num_seeds: int
) -> RunEpoch:
    """Epochs over a split that is kept on each device, each one compiled program."""
    config = setup.config
    split = resident.concatenate(
        [half.load() for half in setup.matches.splits["train"]],
        setup.offsets,
        setup.chunk_frames,
        jnp.dtype(config.data.resident_dtype),
    )
    split = parallel.replicate(setup.mesh, split)
    hyper = read_hyper(config, objective.network.kind)
    flat = flattening.suits(setup.mesh)
    settings = dataclasses.replace(read_optimizer(config), flat=flat)

    def run(
        state: TrainState, own: dict[str, jax.Array], split: resident.ResidentSplit
    ) -> tuple[TrainState, StepMetrics]:
        values = hyper._replace(**own)
        return train_epoch(
            state,
            split,
            objective,
            make_optimizer(values, settings),
            values.mixup_alpha,
            num_steps=setup.schedule.steps,
            batch_size=setup.schedule.batch_size,
            chunk_frames=setup.chunk_frames,
            shard=functools.partial(parallel.shard, setup.mesh),
            replicate=functools.partial(parallel.keep_replicated, setup.mesh),
            flat=flat,
        )

    compiled = make_run_epoch(run, num_seeds, setup.mesh)
    own = _spread(setup, per_run)
    return lambda states, epoch: compiled(states, own, split)


def _make_drawn_epochs(setup: Setup, recipe: Recipe, per_run: PerRun, num_seeds: int) -> RunEpoch:
    """Epochs of a system that draws its own examples, from splits that are kept on each device."""
    config, schedule = setup.config, setup.schedule
    hyper = read_hyper(config, "confidence")
    valid_steps = 0
    sources: dict[str, Source | None] = {"valid": None}
    for split in ("train", "valid"):
        halves = setup.matches.splits.get(split)
        if not halves or (split == "valid" and config.training.schedule != "plateau"):
            continue
        is_train = split == "train"
        dataset = setup.matches.dataset
        offsets = setup.offsets if is_train else read_offsets(config, dataset, halves)
        labels, table, count = label_split(setup, offsets)
        if count is None:
            values = read_values(config)
            count = config.training.chunks_per_epoch if is_train else values.valid_chunks
        if not is_train:
            valid_steps = recipes.count_steps(count, schedule.batch_size)
        features = [half.load() for half in halves]
        dtype = jnp.dtype(config.data.resident_dtype)
        resident_split = resident.concatenate(features, labels, setup.chunk_frames, dtype)
        sources[split] = Source(resident_split, table, np.int32(count))
    replicated = parallel.replicate(setup.mesh, sources)

    def run(
        state: TrainState, own: dict[str, jax.Array], sources: dict[str, Source]
    ) -> tuple[TrainState, EpochMetrics]:
        values = hyper._replace(**own)
        return recipes.train_epoch(
            state,
            sources["train"],
            sources["valid"],
            recipe,
            make_descent(config, schedule.steps, values.weight_decay),
            values.learning_rate,
            num_steps=schedule.steps,
            valid_steps=valid_steps,
            batch_size=schedule.batch_size,
            shard=functools.partial(parallel.shard, setup.mesh),
        )

    compiled = make_run_epoch(run, num_seeds, setup.mesh)
    own = _spread(setup, per_run)
    return lambda states, epoch: compiled(states, own, replicated)


def _make_streamed_epochs(
    setup: Setup, objective: Objective, per_run: PerRun, seed: int
) -> RunEpoch:
    """Epochs of one training over a stream of prepared data, which is prepared first if need be.

    The stream continues across epochs; an epoch other than the one after the last opens it there.
    """
    from spotting.data.prepared import stream

    config, schedule = setup.config, setup.schedule
    num_processes = jax.process_count()
    # Preparing may take hours.
    stream.count_parts(schedule.batch_size, num_processes, config.data.stream_parts)
    kind = objective.network.kind
    source = stream.Stream(
        setup.matches.prepared or open_or_prepare(config, setup.matches.source),
        config.data.train,
        schedule.batch_size,
        seed=2 * seed + (kind == "displacement"),  # The two models see different chunks.
        process=jax.process_index(),
        num_processes=num_processes,
        least_parts=config.data.stream_parts,
    )
    log(f"reading {source.blocks_per_chunk():.2f} blocks of bytes for each chunk")
    sharding = NamedSharding(setup.mesh, PartitionSpec(parallel.AXIS))
    hyper = read_hyper(config, kind)

    def draw(states: TrainState, own: dict[str, jax.Array]) -> Pairs | None:
        state, values = unstack(states, 0), hyper._replace(**unstack(own, 0))
        return draw_pairs(state, schedule.steps, schedule.batch_size, values.mixup_alpha)

    def run(
        state: TrainState, own: dict[str, jax.Array], given: tuple[Batch, Pairs | None]
    ) -> tuple[TrainState, StepMetrics]:
        batch, drawn = given
        pairs = jax.tree.map(lambda steps: steps[state.step % schedule.steps], drawn)
        tx = make_optimizer(hyper._replace(**own), read_optimizer(config))
        return train_step(state, batch, pairs, objective, tx)

    drawn_for_epoch = jax.jit(draw, out_shardings=parallel.replicated(setup.mesh))
    compiled = make_run_epoch(run, 1, setup.mesh)
    own = _spread(setup, per_run)
    position = -1
    batches: Iterator[Batch] = iter(())

    def run_epoch(states: TrainState, epoch: int) -> tuple[TrainState, StepMetrics]:
        nonlocal position, batches
        if position != epoch:
            batches = stream.put_on_device(source.batches(epoch * schedule.steps), sharding)
        drawn = drawn_for_epoch(states, own)
        metrics: list[StepMetrics] = []
        for step in range(schedule.steps):
            states, each = compiled(states, own, (next(batches), drawn))
            metrics.append(each)
            if step >= _STEPS_AHEAD:
                # Batches of steps that wait for the device take its memory.
                jax.block_until_ready(metrics[step - _STEPS_AHEAD])
        position = epoch + 1
        return states, jax.tree.map(lambda *values: jnp.stack(values, axis=-1), *metrics)

    return run_epoch


def _spread(setup: Setup, per_run: PerRun) -> Any:
    arrays = {name: np.asarray(values, np.float32) for name, values in per_run.items()}
    return parallel.spread_trainings(setup.mesh, arrays)
