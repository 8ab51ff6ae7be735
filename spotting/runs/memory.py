"""What fits in a device's memory: the three choices that depend on it.

    choose_loader       is the training split kept on the device, or streamed?
    count_trainings     how many seeds train in one program?
    fits_on_devices     do a split's features stay on the devices between validations?

Each takes a share of the memory that is free when it is asked.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from spotting.base.errors import InputError
from spotting.data.resident import Batch
from spotting.training.mixup import Pairs
from spotting.training.objectives import Objective
from spotting.training.step import (
    Hyper,
    OptimizerSettings,
    StepMetrics,
    TrainState,
    init_state,
    make_optimizer,
    train_step,
)

Loader = Literal["resident", "stream"]

_RESIDENT_SHARE = 0.5  # for the training split; training needs the rest
_TRAININGS_SHARE = 0.8  # for trainings in one program; the estimate is of one step alone
_FEATURES_SHARE = 0.5  # for the features of a split that is validated again and again

ONE_AT_A_TIME = ("cpu", "tpu")
"""Platforms that train a seed at a time, unless a config says otherwise.

A CPU gains no speed from several at once, and its first result would come last. For a TPU v5e the
compiler estimates that five large networks take 1.9 times as long in one program as one after the
other; that is not measured yet.
"""


class Choice(NamedTuple):
    """A loader, and in one line why."""

    loader: Loader
    reason: str


def free_memory(device: jax.Device) -> int:
    """Bytes that can still be allocated on a device; for a CPU those of the machine."""
    if device.platform == "cpu":
        return _free_host_memory()
    stats = device.memory_stats()
    return stats["bytes_limit"] - stats["bytes_in_use"]


def feature_bytes(num_frames: int, feature_dim: int, num_classes: int, dtype: str) -> int:
    """What the features of some frames, and the event offsets of K classes, take on a device."""
    return num_frames * (feature_dim * jnp.dtype(dtype).itemsize + 2 * num_classes)


def choose_loader(
    requested: str,
    num_frames: int,
    feature_dim: int,
    num_classes: int,
    dtype: str,
    device: jax.Device | None = None,
) -> Choice:
    """Chooses how to load a training split.

    Args:
      requested: "resident", "stream", or "auto": resident where the split takes at most half of
        the memory that is free, on the device and on the host that fills it.
      num_frames: of the split.
      feature_dim: P.
      num_classes: K.
      dtype: of the features of a resident split.
      device: where training takes place, by default the first.

    Raises:
      InputError: `requested` is none of these.
    """
    if requested == "resident":
        return Choice("resident", "as the config asks")
    if requested == "stream":
        return Choice("stream", "as the config asks")
    if requested != "auto":
        raise InputError(f"data.loader is {requested!r}; it can be auto, resident or stream")
    device = device or jax.local_devices()[0]
    needed = feature_bytes(num_frames, feature_dim, num_classes, dtype)
    free = {"this machine": _free_host_memory()}
    if device.platform == "cpu":
        needed *= 2  # JAX copies the array that it is given.
    else:
        free[device.device_kind] = free_memory(device)
    return weigh_loaders(needed, free, jnp.dtype(dtype).itemsize)


def weigh_loaders(needed: int, free: Mapping[str, int], item: int) -> Choice:
    """What `choose_loader` chooses where it is to choose.

    Args:
      needed: bytes of the split.
      free: bytes that can be allocated, by where.
      item: bytes of one of its features.
    """
    where, least = min(free.items(), key=lambda item: item[1])
    sizes = f"the split takes {needed / 1e9:.1f} GB, {least / 1e9:.1f} GB are free on {where}"
    if needed <= _RESIDENT_SHARE * least:
        return Choice("resident", sizes)
    if item > 2 and needed * 2 / item <= _RESIDENT_SHARE * least:
        sizes += "; with --config.data.resident_dtype=bfloat16 it would be resident"
    return Choice("stream", sizes)


def count_trainings(needed: int, shared: int, free: int) -> int:
    """How many trainings fit on a device, at least one.

    Args:
      needed: bytes of each besides its data, of `program_bytes`.
      shared: bytes of the data that they share, not yet on the device.
      free: of `free_memory`.
    """
    return max(1, int(_TRAININGS_SHARE * (free - shared) / needed))


def fits_on_devices(
    num_frames: int, feature_dim: int, dtype: str, devices: Sequence[jax.Device]
) -> bool:
    """Whether a split's features are to be kept on the devices; a CPU reads them where they are."""
    if devices[0].platform == "cpu":
        return False
    needed = feature_bytes(num_frames, feature_dim, 0, dtype) / len(devices)
    return needed < _FEATURES_SHARE * free_memory(devices[0])


def compile_step(
    objective: Objective,
    hyper: Hyper,
    optimizer: OptimizerSettings,
    batch_size: int,
    chunk_shape: tuple[int, int],
    dtype: jnp.dtype = jnp.float32,
) -> jax.stages.Compiled:
    """One training's step on a batch that is given, for what XLA says of it.

    Args:
      objective: what is trained for.
      hyper: hyper-parameters; SAM's second pass and mixup are work of their own.
      optimizer: its settings.
      batch_size: B.
      chunk_shape: (T, P).
      dtype: of the batch's features.
    """
    shape: Any = jax.ShapeDtypeStruct
    batch_frames = (batch_size, chunk_shape[0])
    batch = Batch(
        shape((batch_size, *chunk_shape), dtype),
        shape((*batch_frames, objective.network.num_classes), jnp.int16),
        shape(batch_frames, jnp.bool_),
    )
    tx = make_optimizer(hyper, optimizer)
    state = jax.eval_shape(lambda: init_state(0, objective, chunk_shape, tx))
    pairs = None
    if hyper.mixup_alpha:
        pairs = Pairs(shape((batch_size,), jnp.float32), shape((batch_size,), jnp.int32))

    def step(state: TrainState, batch: Batch, pairs: Any) -> tuple[TrainState, StepMetrics]:
        return train_step(state, batch, pairs, objective, tx)

    return jax.jit(step, donate_argnums=0).lower(state, batch, pairs).compile()


def program_bytes(program: jax.stages.Compiled) -> int:
    """Device memory that a program needs, its arguments and results included."""
    memory: Any = program.memory_analysis()
    sizes = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return sizes + memory.output_size_in_bytes - memory.alias_size_in_bytes


def _free_host_memory() -> int:
    """Bytes that can still be allocated; where that is unknown, those of the whole machine."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":") for line in lines)
        return 1024 * int(fields["MemAvailable"].split()[0])
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
