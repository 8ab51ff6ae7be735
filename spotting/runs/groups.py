"""Which trainings share a program.

Several seeds (or several values of a search) are copies of one computation, so they are batched by
`jax.vmap`: on an accelerator five small networks cost far less than five times one.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from spotting.runs import feeding, settings
from spotting.base import parallel
from spotting.training import step as training
from spotting.data.dataset import Dataset
from spotting.data.resident import Batch
from spotting.data.halves import Half
from spotting.runs.matches import Matches

_SHARE = 0.8  # of the free memory that trainings may take; the estimate is of one step alone

T = TypeVar("T")


def at_once(
    config: ConfigDict,
    matches: Matches,
    wanted: int,
    num_devices: int,
    make_objective: Callable[[], training.Objective],
) -> int:
    """How many trainings to run in one program: what the config says, or what the memory holds.

    Args:
      config: of the experiment.
      matches: the data.
      wanted: trainings in all.
      num_devices: that share a batch.
      make_objective: of the confidence model, which needs more memory than the displacement model.
    """
    if feeding.choose(config, matches).loader == "stream":
        return 1  # Each training has a stream of its own.
    if config.seeds_at_once:
        return config.seeds_at_once
    device = jax.local_devices()[0]
    if wanted == 1 or device.platform == "cpu":
        # A CPU gains no speed from several at once, and its first result would come last.
        return 1
    dataset = matches.dataset
    step = compile_step(
        make_objective(),
        training.Hyper(*[1.0] * 4),
        settings.optimizer(config),
        batch_size=config.training.batch_size // num_devices,
        chunk_shape=(settings.check_chunk(config, dataset.frame_rate), dataset.feature_dim),
        dtype=jnp.dtype(config.data.resident_dtype),
    )
    data = resident_bytes(matches.splits["train"], dataset, config.data.resident_dtype)
    data += resident_bytes(matches.splits.get("valid", ()), dataset, config.model.dtype)
    fitting = how_many_fit(memory_bytes(step), data, device.memory_stats())
    return int(parallel.from_process_0(np.asarray(fitting)))


def resident_bytes(halves: Sequence[Half], dataset: Dataset, dtype: str) -> int:
    """What the features and event offsets of halves take on a device."""
    width = dataset.feature_dim * jnp.dtype(dtype).itemsize + 2 * len(dataset.classes)
    return width * sum(half.num_frames for half in halves)


def compile_step(
    objective: training.Objective,
    hyper: training.Hyper,
    optimizer: training.OptimizerSettings,
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
    shape = jax.ShapeDtypeStruct
    batch_frames = (batch_size, chunk_shape[0])
    batch = Batch(
        shape((batch_size, *chunk_shape), dtype),
        shape((*batch_frames, objective.model.num_classes), jnp.int16),
        shape(batch_frames, jnp.bool_),
    )
    state = jax.eval_shape(lambda: training.init_state(0, objective, chunk_shape))
    key = jax.eval_shape(lambda: jax.random.key(0))

    def step(state: training.TrainState, batch: Batch, key: jax.Array):
        return training.train_step(state, batch, key, objective, hyper, optimizer)

    return jax.jit(step, donate_argnums=0).lower(state, batch, key).compile()


def memory_bytes(program: jax.stages.Compiled) -> int:
    """Device memory that a program needs, its arguments and results included."""
    memory = program.memory_analysis()
    sizes = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return sizes + memory.output_size_in_bytes - memory.alias_size_in_bytes


def how_many_fit(needed: int, shared: int, memory: Mapping[str, int]) -> int:
    """How many trainings fit on a device, at least one.

    Args:
      needed: bytes of each besides its data, of `memory_bytes`.
      shared: bytes of the data that they share, not yet on the device.
      memory: `jax.Device.memory_stats()`.
    """
    free = memory["bytes_limit"] - memory["bytes_in_use"] - shared
    return max(1, int(_SHARE * free / needed))


def in_groups(members: Sequence[T], progress: Sequence[Hashable], most: int) -> list[list[T]]:
    """Groups of at most `most` that are equally far, in the order of their first members.

    Trainings that go on together go on from where the slowest is, so only equals are joined.
    """
    by_progress: dict[Hashable, list[T]] = {}
    for member, far in zip(members, progress, strict=True):
        by_progress.setdefault(far, []).append(member)
    return [
        equals[first : first + most]
        for equals in by_progress.values()
        for first in range(0, len(equals), most)
    ]
