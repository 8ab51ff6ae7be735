"""One experiment, worked out and checked before any long work: `Setup`.

Below this room nothing knows of configs; the functions here turn a config's fields into the plain
values that the other rooms take.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from spotting import timing
from spotting.anchors import ClassWeights
from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.data.dataset import Dataset
from spotting.data.halves import Half, compute_offsets
from spotting.inference.oracle import OracleSettings
from spotting.inference.postprocessing import Suppression, Votes
from spotting.models.network import TRUNKS, Network, build_network
from spotting.notation import Offsets
from spotting.runs.config import (
    check_config,
    check_window,
    check_workdir,
    one_seed,
    parse_profile,
)
from spotting.runs.layout import PROFILE, locate_seeds
from spotting.runs.matches import Matches, read_matches
from spotting.runs.memory import free_memory
from spotting.runs.systems import (
    check_system,
    find_slices,
    find_system,
    make_descent,
    read_values,
)
from spotting.training.augmentation import Augmentation
from spotting.training.loop import Profile, Schedule
from spotting.training.objectives import KINDS, Objective, balance_classes, make_objective
from spotting.training.recipes import Recipe, count_steps
from spotting.training.step import Hyper, OptimizerSettings, make_optimizer

_BYTES_PER_PARAMETER = 16  # in float32: the parameter, its gradient, and Adam's two moments


@dataclasses.dataclass(frozen=True)
class Setup:
    """An experiment, ready to run.

    Attributes:
      config: as configs/common.py has it.
      workdir: the run's folder, which may be new.
      matches: the data.
      mesh: the devices; all of them share a batch, unless `feeding.divide_devices` divided them.
      chunk_frames: T.
      schedule: how long to train.
      offsets: int16 [N, K] of each half of the training split.
      slices: CALF's slicing parameters in frames, for that system.
    """

    config: ConfigDict
    workdir: Path
    matches: Matches
    mesh: jax.sharding.Mesh
    chunk_frames: int
    schedule: Schedule
    offsets: Sequence[Offsets]
    slices: np.ndarray | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of model that the system has, in the order in which they are trained."""
        return list_kinds(self.config)

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """(T, P)."""
        return self.chunk_frames, self.matches.dataset.feature_dim

    @property
    def folders(self) -> dict[int, Path]:
        """The run folder of each seed."""
        return locate_seeds(self.workdir, self.config.seeds)

    @property
    def profile(self) -> Profile | None:
        """Which steps to trace, if any."""
        steps = parse_profile(self.config.logging.profile)
        return Profile(self.workdir / PROFILE, *steps) if steps else None

    def make_network(self, kind: str) -> Any:
        """The network of a kind of model."""
        dataset = self.matches.dataset
        return make_network(self.config, kind, len(dataset.classes), dataset.frame_rate)

    def variable_shapes(self, kind: str) -> Any:
        """Shapes and dtypes of a network's variables."""
        return variable_shapes(self.config, self.matches.dataset, kind)

    def make_objective(self, kind: str) -> Objective | Recipe:
        """What a kind of model is trained for, its class weights from the training split."""
        rate = self.matches.dataset.frame_rate
        if system := find_system(self.config):
            values = read_values(self.config)
            return system.recipe(values, self.make_network(kind), rate, self.slices)
        values = self.config.anchors
        radius = target_radius(self.config, kind, rate)
        shape = values.confidence_shape
        weights = balance_classes(kind, self.offsets, radius, values.positive_share, shape)
        return read_objective(self.config, self.make_network(kind), rate, weights)

    def make_optimizer(self, kind: str) -> Any:
        """What makes the optimiser's first state for a kind of model."""
        hyper = read_hyper(self.config, kind)
        if find_system(self.config):
            return make_descent(self.config, self.schedule.steps, hyper.weight_decay)
        return make_optimizer(hyper, read_optimizer(self.config))

    def border_frames(self, seconds: float) -> int:
        """Frames dropped on each side of a chunk's predictions for a border in seconds."""
        rate, least = self.matches.dataset.frame_rate, self.config.inference.min_kept
        return timing.border_frames(seconds, least, rate, self.chunk_frames)


def make_setup(config: ConfigDict, workdir: Path) -> Setup:
    """Works out and checks an experiment; touches no run folder.

    Raises:
      InputError: the config or the data is unfit, or the folder holds another config's run.
    """
    check_config(config)
    check_system(config)
    _check_attention(config)
    trainings = len(config.seeds) if config.seeds_at_once != 1 else 1
    mesh = parallel.make_mesh(config.devices.count, config.training.batch_size, trainings)
    # Before the folder's own config: where both are wrong, the data is what was mistyped.
    matches = read_matches(config, workdir)
    check_window(config, len(matches.classes))
    read_votes(config).output_rate(matches.dataset.frame_rate)
    frames = chunk_frames(config, matches.dataset.frame_rate)
    for seed, folder in locate_seeds(workdir, config.seeds).items():
        check_workdir(one_seed(config, seed), folder)
    check_memory(config, matches.dataset)
    offsets = read_offsets(config, matches.dataset, matches.splits["train"])
    setup = Setup(config, workdir, matches, mesh, frames, read_schedule(config), offsets)
    return _fit_system(setup) if find_system(config) else setup


def _check_attention(config: ConfigDict) -> None:
    """Raises InputError where cuDNN's attention cannot be used."""
    if config.model.trunk != "transformer" or config.model.transformer.attention != "cudnn":
        return
    if jax.default_backend() != "gpu":
        raise InputError("model.transformer.attention is 'cudnn', but there is no GPU: use auto")
    if config.model.dtype != "bfloat16":
        raise InputError("model.transformer.attention is 'cudnn': it needs model.dtype bfloat16")


def list_kinds(config: ConfigDict) -> tuple[str, ...]:
    """The kinds of model that a config's system has."""
    return ("confidence",) if find_system(config) else tuple(KINDS)


def _fit_system(setup: Setup) -> Setup:
    """The setup with what a system of one model takes from the training split."""
    config, dataset = setup.config, setup.matches.dataset
    values, rate = read_values(config), dataset.frame_rate
    slices = None
    if config.system == "calf":
        slices = find_slices(values, setup.offsets, dataset.classes, rate)
    setup = dataclasses.replace(setup, slices=slices)
    setup.make_network("confidence")  # for what it cannot be
    _, _, count = label_split(setup, setup.offsets)
    steps = count_steps(count or config.training.chunks_per_epoch, config.training.batch_size)
    return dataclasses.replace(setup, schedule=dataclasses.replace(setup.schedule, steps=steps))


def label_split(
    setup: Setup, offsets: Sequence[Offsets]
) -> tuple[list[np.ndarray], Any, int | None]:
    """What a system draws from a split, by its event offsets.

    Returns:
      What a resident split holds in the place of offsets; what can be drawn; and how many examples
      an epoch has, or None where the config says that.
    """
    system = find_system(setup.config)
    assert system is not None
    values, dataset = read_values(setup.config), setup.matches.dataset
    labels = system.label(values, offsets, setup.slices)
    given = dataset.classes if setup.slices is None else setup.slices
    table, count = system.list(values, labels, given, dataset.frame_rate)
    return labels, table, count


def read_offsets(config: ConfigDict, dataset: Dataset, halves: Sequence[Half]) -> list[Offsets]:
    """The event offsets, int16 [N, K], of each half."""
    offsets, _ = compute_offsets(
        halves, dataset.classes, dataset.frame_rate, config.data.event_time
    )
    return offsets


def chunk_frames(config: ConfigDict, frame_rate: float) -> int:
    """T, the frames of a chunk; InputError if the trunk cannot take it."""
    if system := find_system(config):
        return system.count_frames(read_values(config), frame_rate)
    frames = timing.whole_frames(config.anchors.chunk, frame_rate)
    trunk = config.model.trunk
    TRUNKS[trunk].check(frames, **config.model[trunk])
    return frames


def target_radius(config: ConfigDict, kind: str, frame_rate: float) -> float:
    """Radius of a kind of model's targets, in frames."""
    return timing.frames(config.anchors[f"{kind}_radius"], frame_rate)


def output_unit(config: ConfigDict, kind: str, frame_rate: float) -> float:
    """What an output of 1 of a kind of model stands for: in frames, where it is a displacement."""
    unit = KINDS[kind].unit(target_radius(config, kind, frame_rate))
    return unit * config.postprocessing.displacement_scale if kind == "displacement" else unit


def make_network(config: ConfigDict, kind: str, num_classes: int, frame_rate: float = 2.0) -> Any:
    """The network that a config describes, for one kind of output.

    The frame rate counts for systems whose layers depend on it.
    """
    if system := find_system(config):
        return system.build(read_values(config), frame_rate, num_classes)
    model = config.model
    return build_network(
        kind,
        num_classes,
        model.trunk,
        model.projection,
        tuple(model.reduction),
        jnp.dtype(model.dtype),
        None if model.precision == "default" else model.precision,
        **model[model.trunk],
    )


def read_objective(
    config: ConfigDict, network: Network, frame_rate: float, weights: ClassWeights
) -> Objective:
    """What a config has a network of the paper's system trained for."""
    own = config[network.kind]
    return make_objective(
        network,
        target_radius(config, network.kind, frame_rate),
        weights,
        config.anchors.huber_threshold,
        config.anchors.confidence_shape,
        Augmentation(**own.get("augmentation", {})),
    )


def variable_shapes(config: ConfigDict, dataset: Dataset, kind: str) -> Any:
    """Shapes and dtypes of a network's variables.

    Args:
      config: of the experiment.
      dataset: as the models see it, after the config's feature transforms.
      kind: "confidence" or "displacement".
    """
    network = make_network(config, kind, len(dataset.classes), dataset.frame_rate)
    chunk = (1, chunk_frames(config, dataset.frame_rate), dataset.feature_dim)
    return jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros(chunk)))


def read_oracle(config: ConfigDict, frame_rate: float) -> OracleSettings:
    """How perfect models of a config would be run at a frame rate.

    Those of another system than the paper's are right in the events' own frames alone.
    """
    if find_system(config):
        return OracleSettings(0.0, None, chunk_frames(config, frame_rate), 0)
    # No trunk has to be able to halve them.
    frames = max(1, timing.whole_frames(config.anchors.chunk, frame_rate))
    inference = config.inference
    border = timing.border_frames(inference.border, inference.min_kept, frame_rate, frames)
    return OracleSettings(
        target_radius(config, "confidence", frame_rate),
        target_radius(config, "displacement", frame_rate),
        frames,
        border,
        inference.segment_chunks,
        config.anchors.confidence_shape,
        config.postprocessing.displacement_scale,
    )


def check_memory(config: ConfigDict, dataset: Dataset) -> None:
    """Raises InputError where a model's parameters alone do not fit into the device's memory.

    Args:
      config: of the experiment.
      dataset: as the models see it, after the config's feature transforms.
    """
    shapes = variable_shapes(config, dataset, list_kinds(config)[0])
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    device = jax.local_devices()[0]
    needed, free = _BYTES_PER_PARAMETER * count, free_memory(device)
    if needed > free:
        raise InputError(
            f"a model of {count:,} parameters takes {needed / 1e9:,.1f} GB to train, of which "
            f"{free / 1e9:.1f} GB are free on {device.device_kind}; choose smaller sizes in "
            "config.model"
        )


def read_hyper(config: ConfigDict, kind: str) -> Hyper:
    """Learning rate, weight decay, rho and alpha of a kind of model."""
    values = config[kind]
    return Hyper(
        values.learning_rate, values.weight_decay, values.rho, values.get("mixup_alpha", 0.0)
    )


def read_optimizer(config: ConfigDict) -> OptimizerSettings:
    """What the optimiser needs besides `read_hyper`."""
    training = config.training
    return OptimizerSettings(
        num_steps=training.epochs * steps_per_epoch(config),
        end_fraction=training.end_fraction,
        b1=training.adam_b1,
        b2=training.adam_b2,
        eps=training.adam_eps,
        sam_eps=training.sam_eps,
        average_decay=training.average_decay,
    )


def read_schedule(config: ConfigDict) -> Schedule:
    """How long to train, and when to validate."""
    training = config.training
    return Schedule(
        training.epochs,
        steps_per_epoch(config),
        training.batch_size,
        training.validate_every,
        training.select,
    )


def steps_per_epoch(config: ConfigDict) -> int:
    """Optimiser steps in an epoch."""
    return config.training.chunks_per_epoch // config.training.batch_size


def read_suppression(config: ConfigDict, num_classes: int) -> Suppression:
    """The final NMS; InputError if it has windows for another number of classes."""
    check_window(config, num_classes)
    values = config.postprocessing
    return Suppression(
        values.nms,
        tuple(values.window),
        values.soft_threshold,
        tuple(values.decay),
        read_votes(config),
    )


def read_votes(config: ConfigDict) -> Votes:
    """What becomes of the votes of a config's models."""
    anchors = config.anchors
    values = config.postprocessing
    return Votes(
        values.vote_spread, anchors.confidence_radius, anchors.confidence_shape, values.vote_rate
    )
