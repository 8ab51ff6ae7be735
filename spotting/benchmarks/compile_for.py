"""A row's programs, compiled for accelerators that are not here: what they need, and do.

Memory, donation, collectives, loops and the number of kernels are the compiler's, and firm. Times
are estimates: `model_seconds` is the compiler's own model of a TPU, without its gathers; the
roofline is the time below which no device comes. Nothing has run.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
from ml_collections import ConfigDict

from spotting import timing
from spotting.base import parallel
from spotting.base.text_table import text_table
from spotting.benchmarks import row
from spotting.benchmarks.programs import Collective, Compiled, inspect
from spotting.benchmarks.targets import Target
from spotting.benchmarks.work import product_flop
from spotting.data.dataset import Dataset
from spotting.data.resident import Batch, ResidentSplit
from spotting.inference import chunks, on_device, postprocessing
from spotting.runs import memory
from spotting.runs.setup import (
    chunk_frames,
    make_network,
    read_hyper,
    read_optimizer,
    read_suppression,
)
from spotting.training import flattening
from spotting.training.checkpoints import stack
from spotting.training.loop import make_run_epoch
from spotting.training.mixup import Pairs
from spotting.training.objectives import Objective
from spotting.training.step import (
    Hyper,
    StepMetrics,
    TrainState,
    init_state,
    make_optimizer,
    train_epoch,
    train_step,
)

PROGRAMS = (*row.ABLATIONS, "validation", "suppression")
HALVES, VALID_HALVES, HALF_SECONDS = 600, 200, 2700.0  # of SoccerNet-v2, about


class Size(NamedTuple):
    """What a row is compiled for besides the devices.

    Attributes:
      seeds: trainings in one program.
      halves: of 45 minutes, of the training split.
    """

    seeds: int = 1
    halves: int = HALVES


@dataclasses.dataclass(frozen=True)
class Program:
    """A program on one of the devices; a step of it, where it trains.

    Attributes:
      name: "plain", "SAM", "SAM+mixup", "validation" or "suppression".
      compiled: what it needs and does.
      flop: of the matrix products of a step, multiply and add counted as two.
      roofline_seconds: of a step, the longer of its products and its bytes at the device's best. An
        estimate from below.
      model_seconds: of a step, by the compiler's model; None where it has none. An estimate.
      compile_seconds: on this machine.
    """

    name: str
    compiled: Compiled
    flop: float
    roofline_seconds: float
    model_seconds: float | None
    compile_seconds: float


@dataclasses.dataclass(frozen=True)
class Row:
    """A row's programs on a target.

    Attributes:
      paper_row: the row.
      target: the devices.
      devices: how many.
      side_by_side: trainings that have devices of their own.
      device: what each of them is.
      memory_bytes: that each has.
      dtype: of the computation.
      batch_size: B, of all devices together.
      seeds: trainings in one program.
      halves: of the training split.
      loader: that `data.loader=auto` chooses there by the devices' memory, and why.
      seeds_at_once: that `seeds_at_once=0` chooses there; None where no program tells.
      programs: those that were asked for.
    """

    paper_row: str
    target: str
    devices: int
    side_by_side: int
    device: str
    memory_bytes: int
    dtype: str
    batch_size: int
    seeds: int
    halves: int
    loader: memory.Choice
    seeds_at_once: int | None
    programs: tuple[Program, ...]


def compile_row(
    config: ConfigDict, target: Target, size: Size, names: Sequence[str], log: Callable[[str], None]
) -> Row:
    """Compiles the programs of a row's confidence model.

    Args:
      config: of the row; its rho and alpha do not count.
      target: the devices.
      size: of the training.
      names: of `PROGRAMS`.
      log: told what is being compiled.

    Raises:
      InputError: the batch cannot be shared among the devices.
    """
    dataset = row.describe(config)
    devices = config.devices
    # A host's memory is not known, and seldom the smaller one.
    kept = jnp.dtype(config.data.resident_dtype)
    needed = _split_bytes(config, dataset, size.halves, str(kept))
    choice = memory.weigh_loaders(
        needed, {target.chip.name: target.chip.memory_bytes}, kept.itemsize
    )
    # A stream feeds one training, which takes all devices.
    trainings = 1 if choice.loader == "stream" else size.seeds
    mesh = target.make_mesh(
        devices.count, config.training.batch_size, trainings, devices.min_chunks
    )
    programs = []
    for name in names:
        log(name)
        if name in row.ABLATIONS:
            lowered, steps, flop = _lower_training(config, dataset, mesh, size, name, choice)
        elif name == "validation":
            lowered, steps, flop = _lower_validation(config, dataset, target)
        else:
            lowered, steps, flop = _lower_suppression(config, dataset, target)
        programs.append(_compile(name, lowered, steps, flop, target))
    return Row(
        paper_row=config.paper_row,
        target=target.name,
        devices=mesh.size,
        side_by_side=mesh.shape[parallel.SEEDS],
        device=target.chip.name,
        memory_bytes=target.chip.memory_bytes,
        dtype=config.model.dtype,
        batch_size=config.training.batch_size,
        seeds=size.seeds,
        halves=size.halves,
        loader=choice,
        seeds_at_once=_count_seeds(config, dataset, target, mesh, choice, programs, size),
        programs=tuple(programs),
    )


def _compile(
    name: str, lowered: jax.stages.Lowered, steps: int, flop: float, target: Target
) -> Program:
    began = time.perf_counter()
    compiled = inspect(lowered.compile(), steps)
    chip = target.chip
    seconds = flop / chip.matrix_flop_per_s, compiled.moved_bytes / chip.bandwidth_bytes_per_s
    model = None
    if compiled.cycles and chip.clock_hz:
        model = compiled.cycles / chip.clock_hz
    return Program(name, compiled, flop, max(seconds), model, time.perf_counter() - began)


def _lower_training(
    config: ConfigDict,
    dataset: Dataset,
    mesh: jax.sharding.Mesh,
    size: Size,
    name: str,
    choice: memory.Choice,
) -> tuple[jax.stages.Lowered, int, float]:
    """An epoch of a resident split, or a step of a streamed one; its steps, and a step's FLOP."""
    objective = row.make_row_objective(config, dataset)
    rho, alpha = row.ABLATIONS[name]
    hyper = read_hyper(config, "confidence")._replace(rho=rho, mixup_alpha=alpha)
    settings = read_optimizer(config)
    tx = make_optimizer(hyper, settings)
    frames = chunk_frames(config, dataset.frame_rate)
    shape = frames, dataset.feature_dim
    batch_size = config.training.batch_size
    side_by_side, share = mesh.devices.shape
    of_a_device = -(-size.seeds // side_by_side)  # trainings
    states = jax.eval_shape(
        lambda: stack([init_state(0, objective, shape, tx)] * of_a_device * side_by_side)
    )
    everywhere = parallel.replicated(mesh)
    states = _place(states, parallel.by_training(mesh))
    flop = _step_flop(config, dataset, objective, hyper, batch_size // share) * of_a_device
    if choice.loader == "stream":

        def train(
            state: TrainState, own: Any, given: tuple[Batch, Pairs | None]
        ) -> tuple[TrainState, StepMetrics]:
            return train_step(state, *given, objective, tx)

        batch = _place(
            _make_batch(config, dataset, batch_size),
            NamedSharding(mesh, PartitionSpec(parallel.AXIS)),
        )
        pairs = _place(_make_pairs(batch_size) if alpha else None, everywhere)
        lowered = make_run_epoch(train, size.seeds, mesh).lower(states, {}, (batch, pairs))
        return lowered, 1, flop
    steps = config.training.chunks_per_epoch // batch_size
    flat = flattening.suits(mesh)
    train_steps = functools.partial(
        train_epoch,
        objective=objective,
        tx=make_optimizer(hyper, dataclasses.replace(settings, flat=flat)),
        mixup_alpha=alpha,
        num_steps=steps,
        batch_size=batch_size,
        chunk_frames=frames,
        shard=functools.partial(parallel.shard, mesh),
        replicate=functools.partial(parallel.keep_replicated, mesh),
        flat=flat,
    )
    split = _place(_make_split(config, dataset, size.halves), everywhere)
    run_epoch = make_run_epoch(
        lambda state, own, split: train_steps(state, split), size.seeds, mesh
    )
    return run_epoch.lower(states, {}, split), steps, flop


def _step_flop(
    config: ConfigDict, dataset: Dataset, objective: Objective, hyper: Hyper, batch_size: int
) -> float:
    """Of the products of a step on `batch_size` chunks."""
    tx = make_optimizer(hyper, read_optimizer(config))
    shape = chunk_frames(config, dataset.frame_rate), dataset.feature_dim
    state = jax.eval_shape(lambda: init_state(0, objective, shape, tx))
    batch = _make_batch(config, dataset, batch_size)
    step = jax.jit(lambda state, batch: train_step(state, batch, None, objective, tx))
    return product_flop(step.trace(state, batch).jaxpr)


def _lower_validation(
    config: ConfigDict, dataset: Dataset, target: Target
) -> tuple[jax.stages.Lowered, int, float]:
    """The network over as many segments as a device takes at once, from features that it keeps."""
    frames = chunk_frames(config, dataset.frame_rate)
    border = timing.border_frames(
        config.inference.valid_border, config.inference.min_kept, dataset.frame_rate, frames
    )
    half = timing.whole_frames(HALF_SECONDS, dataset.frame_rate)
    count = chunks.balanced_chunks(half, frames, border, config.inference.segment_chunks)
    span = chunks.segment_span(count, frames, border)
    halves = -(-VALID_HALVES // target.devices_of_a_host)
    segments = halves * len(list(chunks.segments(half, frames, border, count)))
    batches = -(-segments // max(1, on_device.CHUNKS_AT_ONCE // count))
    at_once = -(-segments // batches)
    network = make_network(config, "confidence", len(dataset.classes), dataset.frame_rate)
    params = jax.eval_shape(
        lambda: network.init(jax.random.key(0), jnp.zeros((1, frames, dataset.feature_dim)))
    )
    shape = jax.ShapeDtypeStruct
    arguments = (
        params,
        shape((halves * max(half, frames) + span, dataset.feature_dim), config.model.dtype),
        shape((at_once,), jnp.int32),
        shape((at_once, count), jnp.int32),
        shape((at_once, span), jnp.int32),
    )
    one = SingleDeviceSharding(target.devices[0])
    placed = tuple(_place(each, one) for each in arguments)
    flop = product_flop(on_device.spot_rows.trace(network, *arguments, frames).jaxpr)
    return on_device.spot_rows.lower(network, *placed, frames), 1, flop


def _lower_suppression(
    config: ConfigDict, dataset: Dataset, target: Target
) -> tuple[jax.stages.Lowered, int, float]:
    """Votes and suppression of a half."""
    suppression = read_suppression(config, len(dataset.classes))
    rate = suppression.votes.output_rate(dataset.frame_rate)
    frames = timing.whole_frames(HALF_SECONDS, rate)
    reach = math.ceil(timing.frames(config.anchors.displacement_radius, rate))

    def suppress(confidence: jax.Array, displacement: jax.Array) -> jax.Array:
        votes = suppression.votes.in_frames(rate)
        scores = postprocessing.vote(confidence, displacement, frames, reach, *votes)
        return postprocessing.suppress(scores, rate, suppression)

    shape = jax.ShapeDtypeStruct((len(dataset.classes), frames), jnp.float32)
    one = _place(shape, SingleDeviceSharding(target.devices[0]))
    return jax.jit(suppress).lower(one, one), 1, 0.0


def _count_seeds(
    config: ConfigDict,
    dataset: Dataset,
    target: Target,
    mesh: jax.sharding.Mesh,
    choice: memory.Choice,
    programs: Sequence[Program],
    size: Size,
) -> int | None:
    """How many seeds `seeds_at_once=0` would train together."""
    side_by_side = mesh.shape[parallel.SEEDS]
    if target.chip.platform in memory.ONE_AT_A_TIME or choice.loader == "stream":
        return side_by_side
    trainings = [each for each in programs if each.name in row.ABLATIONS]
    if not trainings:
        return None
    split = _split_bytes(config, dataset, size.halves, config.data.resident_dtype)
    valid = _split_bytes(config, dataset, VALID_HALVES, config.model.dtype)
    most = max(each.compiled.peak_bytes for each in trainings)
    each_seed = max(1, (most - split) // -(-size.seeds // side_by_side))
    count = memory.count_trainings(each_seed, split + valid, target.chip.memory_bytes)
    return side_by_side * count


def _split_bytes(config: ConfigDict, dataset: Dataset, halves: int, dtype: str) -> int:
    frames = halves * timing.whole_frames(HALF_SECONDS, dataset.frame_rate)
    return memory.feature_bytes(frames, dataset.feature_dim, len(dataset.classes), dtype)


def _make_split(config: ConfigDict, dataset: Dataset, halves: int) -> ResidentSplit:
    half = timing.whole_frames(HALF_SECONDS, dataset.frame_rate)
    rows = halves * half + chunk_frames(config, dataset.frame_rate)
    shape: Any = jax.ShapeDtypeStruct
    return ResidentSplit(
        shape((rows, dataset.feature_dim), jnp.dtype(config.data.resident_dtype)),
        shape((rows, len(dataset.classes)), jnp.int16),
        shape((halves,), jnp.int32),
        shape((halves,), jnp.int32),
    )


def _make_batch(config: ConfigDict, dataset: Dataset, batch_size: int) -> Batch:
    frames = chunk_frames(config, dataset.frame_rate)
    shape: Any = jax.ShapeDtypeStruct
    return Batch(
        shape((batch_size, frames, dataset.feature_dim), jnp.dtype(config.data.resident_dtype)),
        shape((batch_size, frames, len(dataset.classes)), jnp.int16),
        shape((batch_size, frames), jnp.bool_),
    )


def _make_pairs(batch_size: int) -> Pairs:
    shape: Any = jax.ShapeDtypeStruct
    return Pairs(shape((batch_size,), jnp.float32), shape((batch_size,), jnp.int32))


def _place(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes with the devices on which the arrays are to be."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def describe(found: Row) -> str:
    """What was compiled, as text."""
    lines = [
        f"{found.paper_row or 'network'} compiled for {found.devices} x {found.device} "
        f"({found.target}), {found.dtype}, {found.batch_size} chunks a batch, {found.seeds} "
        f"training(s) in a program, {found.side_by_side} side by side, a split of {found.halves} "
        "halves",
        "",
    ]
    header = (
        *("one device", "GB", f"of {found.memory_bytes / 1e9:.1f}", "donated", "kept MB"),
        *("kernels", "GB moved", "GFLOP", "at least ms", "model ms", "compile s"),
    )
    lines.append(text_table([_cells(each, found.memory_bytes) for each in found.programs], header))
    for each in found.programs:
        lines += [f"{each.name}: {text}" for text in _describe_flow(each)]
    lines.append(
        "Kernels, bytes and FLOP: of a step. At least: the longer of products and bytes at the "
        "device's best; model: the compiler's, without gathers. Both are estimates: nothing ran."
    )
    chosen = f"data.loader=auto: {found.loader.loader}, {found.loader.reason}"
    if found.seeds_at_once is not None:
        chosen += f"; seeds_at_once=0: {found.seeds_at_once} of a study's seeds together"
    return "\n".join([*lines, chosen])


def _cells(program: Program, memory_bytes: int) -> tuple[str, ...]:
    compiled, model = program.compiled, program.model_seconds
    return (
        f"  {program.name}",
        f"{compiled.peak_bytes / 1e9:.2f}",
        f"{100 * compiled.peak_bytes / memory_bytes:.0f} %",
        f"{compiled.donated_bytes / 1e6:,.0f} MB",
        f"{compiled.kept_bytes / 1e6:.2f}",
        f"{compiled.kernels:,}",
        f"{compiled.moved_bytes / 1e9:.2f}",
        f"{program.flop / 1e9:,.1f}",
        f"{1e3 * program.roofline_seconds:.2f}",
        f"{1e3 * model:.2f}" if model else "",
        f"{program.compile_seconds:.0f}",
    )


def _describe_flow(program: Program) -> Iterator[str]:
    compiled = program.compiled
    for text, collectives, loops in (
        ("in a step", compiled.collectives, compiled.loops),
        ("outside of the steps", compiled.other_collectives, compiled.other_loops),
    ):
        parts = [_describe_collective(each) for each in collectives]
        rounds = ["?" if each.trips is None else str(each.trips) for each in loops]
        if loops:
            parts.append(f"{len(loops)} loop(s) of {', '.join(rounds)} rounds")
        if parts:
            yield f"{text} {'; '.join(parts)}"


def _describe_collective(each: Collective) -> str:
    return f"{each.count} {each.kind} of {each.dtype}, {each.bytes / 1e6:.2f} MB"
