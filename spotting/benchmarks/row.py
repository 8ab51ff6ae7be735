"""A row of the paper's tables on this device: its inference and its training epochs.

Features are random. Where `Epoch.steps` is less than an epoch has, the rest is extrapolated.
"""

import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from spotting import timing
from spotting.anchors import ClassWeights, event_offsets
from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.benchmarks.device import Probe, matmul_probe, median_seconds, memory_probe
from spotting.benchmarks.work import Work, count
from spotting.data import resident
from spotting.data.annotations import SOCCERNET_CLASSES
from spotting.data.dataset import FEATURE_SETS, SOCCERNET_V2, Dataset, describe_dataset
from spotting.data.halves import Half
from spotting.data.transforms import describe_transformed
from spotting.runs.config import read_transform
from spotting.runs.matches import Matches
from spotting.runs.memory import compile_step, program_bytes
from spotting.runs.setup import (
    Setup,
    chunk_frames,
    make_network,
    read_hyper,
    read_objective,
    read_optimizer,
    read_schedule,
)
from spotting.runs.validation import SplitPredictor
from spotting.training import flattening
from spotting.training.checkpoints import count_parameters, stack
from spotting.training.loop import make_run_epoch
from spotting.training.objectives import Objective
from spotting.training.step import StepMetrics, TrainState, init_state, make_optimizer, train_epoch

ABLATIONS: Mapping[str, tuple[float, float]] = {
    "plain": (0.0, 0.0),
    "SAM": (0.5, 0.0),
    "SAM+mixup": (0.5, 2.0),
}
"""rho and alpha of the paper's three ways to train."""

_CPU_CHUNKS = 32  # at most, in a batch
_CPU_WORK = 5e11  # floating point operations of the steps that are timed at once, about
_HALVES, _HALF_SECONDS = 16, 2700.0  # of the random split
_VALID_HALVES = 200  # of SoccerNet-v2's validation split


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast chunks go through a program.

    Attributes:
      chunks_per_s: in training over all devices, in inference on one.
      matmul_share: of the rate that a plain matrix product reached in turn with it.
      bandwidth_share: of the memory bandwidth measured in turn with it, by XLA's count of bytes.
    """

    chunks_per_s: float
    matmul_share: float
    bandwidth_share: float


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A way to train.

    Attributes:
      seconds: of an epoch of `training.chunks_per_epoch` chunks of every seed.
      step_seconds: of a step.
      steps: that were timed at once.
      speed: of the training, the chunks of all seeds counted.
      compile_seconds: without a cache.
      memory_bytes: that the program needs on each device, its data included.
    """

    seconds: float
    step_seconds: float
    steps: int
    speed: Speed
    compile_seconds: float
    memory_bytes: int


@dataclasses.dataclass(frozen=True)
class Validation:
    """The network of every seed over a validation split of 100 games, with validation's border.

    Attributes:
      seconds: reading the features included; suppression and scoring are not.
      halves: that were timed; the rest of the 200 is extrapolated.
      shares: of the time of the epochs between two validations, by the way to train.
    """

    seconds: float
    halves: int
    shares: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Row:
    """All that was measured of a row's confidence model; rates are those of one device."""

    paper_row: str
    device: str
    devices: int
    dtype: str
    parameters: int
    chunk_frames: int
    feature_dim: int
    batch_size: int
    seeds: int
    matmul_flop_per_s: float
    bandwidth_bytes_per_s: float
    work: Work
    inference: Speed
    epochs: dict[str, Epoch]
    validation: Validation


def describe(config: ConfigDict) -> Dataset:
    """What the config's data is like, of its folder if it names one, else of SoccerNet-v2."""
    features: str = config.data.features
    if config.data.root:
        dataset = describe_dataset(Path(config.data.root), features or None)
    elif features in FEATURE_SETS:
        rate, width = FEATURE_SETS[features]
        dataset = Dataset(Path(), SOCCERNET_V2, rate, features, width, SOCCERNET_CLASSES, {})
    else:
        raise InputError("the config's features are a folder's own: set --config.data.root=DIR")
    return describe_transformed(dataset, read_transform(config))


def measure(
    config: ConfigDict,
    seeds: int,
    log: Callable[[str], None],
    ways: Sequence[str] | None = None,
) -> Row:
    """Measures a row's confidence model, trained in each of the three ways.

    Args:
      config: of the row; its rho and alpha do not count.
      seeds: trainings in one program.
      log: told what is being measured.
      ways: of `ABLATIONS`, if not all of them.
    """
    dataset = describe(config)
    chunk_shape = chunk_frames(config, dataset.frame_rate), dataset.feature_dim
    batch_size = config.training.batch_size
    if _on_cpu():
        batch_size = min(batch_size, _CPU_CHUNKS)
    objective = make_row_objective(config, dataset)
    params = jax.jit(objective.network.init)(jax.random.key(0), jnp.zeros((1, *chunk_shape)))
    dtype = objective.network.reduction.dtype
    chunks = jax.random.normal(jax.random.key(1), (batch_size, *chunk_shape), dtype)
    work = count(objective, params, chunks)
    probes = matmul_probe(dtype), memory_probe()

    log("inference")
    forward = jax.jit(objective.network.apply)
    taken, *rates = _timed(lambda: forward(params, chunks), probes)
    inference = _speed(batch_size / taken, work.forward_flop, work.forward_bytes, rates)

    mesh = parallel.make_mesh(config.devices.count, batch_size)
    split = parallel.replicate(mesh, _random_split(config, dataset, chunk_shape[0]))
    optimizer = read_optimizer(config)
    kept_dtype = jnp.dtype(config.data.resident_dtype)
    epochs = {}
    for name in ABLATIONS if ways is None else ways:
        rho, alpha = ABLATIONS[name]
        log(f"training, {name}")
        hyper = read_hyper(config, "confidence")._replace(rho=rho, mixup_alpha=alpha)
        step_flop = (2 if rho else 1) * work.gradient_flop
        # Of a step on its own: in an epoch XLA counts the whole split as read by every gather.
        step = compile_step(objective, hyper, optimizer, batch_size, chunk_shape, kept_dtype)
        cost_analysis: Any = step.cost_analysis()
        step_bytes = cost_analysis["bytes accessed"] / batch_size
        tx = make_optimizer(hyper, optimizer)
        flat = flattening.suits(mesh)
        train = functools.partial(
            train_epoch,
            objective=objective,
            tx=make_optimizer(hyper, dataclasses.replace(optimizer, flat=flat)),
            mixup_alpha=hyper.mixup_alpha,
            batch_size=batch_size,
            chunk_frames=chunk_shape[0],
            shard=functools.partial(parallel.shard, mesh),
            replicate=functools.partial(parallel.keep_replicated, mesh),
            flat=flat,
        )
        states = stack([init_state(seed, objective, chunk_shape, tx) for seed in range(seeds)])
        steps = config.training.chunks_per_epoch // batch_size
        cost = step_flop, step_bytes
        epochs[name] = _epoch(train, states, split, mesh, batch_size, steps, cost, probes)

    log("validation")
    seconds = seeds * _validation_seconds(config, dataset, params)
    every = config.training.validate_every
    shares = {name: seconds / (every * epoch.seconds) for name, epoch in epochs.items()}
    return Row(
        paper_row=config.paper_row,
        device=jax.devices()[0].device_kind,
        devices=mesh.size,
        dtype=str(jnp.dtype(dtype)),
        parameters=count_parameters(params),
        chunk_frames=chunk_shape[0],
        feature_dim=chunk_shape[1],
        batch_size=batch_size,
        seeds=seeds,
        matmul_flop_per_s=rates[0],
        bandwidth_bytes_per_s=rates[1],
        work=work,
        inference=inference,
        epochs=epochs,
        validation=Validation(seconds, _timed_halves(), shares),
    )


def _epoch(
    train: Callable[..., tuple[TrainState, StepMetrics]],
    states: TrainState,
    split: resident.ResidentSplit,
    mesh: jax.sharding.Mesh,
    batch_size: int,
    epoch_steps: int,
    cost: tuple[float, float],
    probes: Sequence[Probe],
) -> Epoch:
    """Times an epoch; `cost` is the operations and the bytes of a chunk's share of a step."""
    seeds = states.step.shape[0]
    steps = epoch_steps
    if _on_cpu():
        steps = min(steps, max(2, int(_CPU_WORK / (cost[0] * batch_size * seeds))))
    states = parallel.replicate(mesh, states)
    run_epoch = make_run_epoch(
        lambda state, own, split: train(state, split, num_steps=steps), seeds, mesh
    )
    began = time.perf_counter()
    program = run_epoch.lower(states, {}, split).compile()
    compile_seconds = time.perf_counter() - began

    def run() -> StepMetrics:
        nonlocal states
        states, metrics = program(states, {}, split)
        return metrics

    taken, *rates = _timed(run, probes)
    chunks_per_s = seeds * steps * batch_size / taken
    return Epoch(
        seconds=taken * epoch_steps / steps,
        step_seconds=taken / steps,
        steps=steps,
        speed=_speed(chunks_per_s, *cost, rates, mesh.size),
        compile_seconds=compile_seconds,
        memory_bytes=program_bytes(program),
    )


def _validation_seconds(config: ConfigDict, dataset: Dataset, params: Any) -> float:
    """Time of the network over 100 games, extrapolated from some halves."""
    count = _timed_halves()
    frames = timing.whole_frames(_HALF_SECONDS, dataset.frame_rate)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        np.save(path, np.zeros((frames, dataset.feature_dim), np.float16))
        halves = [Half("game", 1, path, frames, ())] * count
        setup = Setup(
            config,
            Path(folder),
            Matches(dataset, dataset, {}),
            parallel.make_mesh(1, config.training.batch_size),
            chunk_frames(config, dataset.frame_rate),
            read_schedule(config),
            (),
        )
        spot = SplitPredictor(setup, "confidence", halves, config.inference.valid_border)
        (taken,) = median_seconds(lambda: spot(params))
    return taken * _VALID_HALVES / count


def _timed_halves() -> int:
    return 2 if _on_cpu() else _HALVES


def _timed(run: Callable[[], object], probes: Sequence[Probe]) -> list[float]:
    """Seconds of `run`, and the rate of each probe in turn with it."""
    taken, *others = median_seconds(run, *(probe.run for probe in probes))
    return [taken, *(probe.amount / each for probe, each in zip(probes, others, strict=True))]


def _speed(
    chunks_per_s: float,
    chunk_flop: float,
    chunk_bytes: float,
    rates: Sequence[float],
    devices: int = 1,
) -> Speed:
    each = chunks_per_s / devices
    return Speed(chunks_per_s, each * chunk_flop / rates[0], each * chunk_bytes / rates[1])


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def make_row_objective(config: ConfigDict, dataset: Dataset) -> Objective:
    """The confidence model's, with weights of 1."""
    model = make_network(config, "confidence", len(dataset.classes))
    ones = np.ones(len(dataset.classes), np.float32)
    return read_objective(config, model, dataset.frame_rate, ClassWeights(ones, ones))


def _random_split(
    config: ConfigDict, dataset: Dataset, chunk_frames: int
) -> resident.ResidentSplit:
    """A training split whose halves are of 45 minutes, with an event a minute."""
    rng = np.random.default_rng(0)
    frames = timing.whole_frames(_HALF_SECONDS, dataset.frame_rate)
    features = rng.standard_normal((frames, dataset.feature_dim), np.float32)
    classes = len(dataset.classes)
    events = rng.random((frames, classes)) < 1 / (60 * dataset.frame_rate * classes)
    return resident.concatenate(
        [features] * _HALVES,
        [event_offsets(events.astype(np.uint8))] * _HALVES,
        chunk_frames,
        jnp.dtype(config.data.resident_dtype),
    )
