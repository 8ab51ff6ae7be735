"""Which trainings share a program.

Several seeds (or several values of a search) are copies of one computation, so they are batched by
`jax.vmap`: on an accelerator five small networks cost far less than five times one.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp

from spotting import training
from spotting.data.resident import Batch

_SHARE = 0.8  # of the free memory that trainings may take; the estimate is of one step alone

T = TypeVar("T")


def bytes_per_training(
    objective: training.Objective,
    hyper: training.Hyper,
    settings: training.OptimizerSettings,
    batch_size: int,
    chunk_shape: tuple[int, int],
) -> int:
    """Device memory that one training needs besides its data: its state, and a step's work.

    Args:
      objective: what is trained for.
      hyper: hyper-parameters; SAM's second pass and mixup take memory of their own.
      settings: of the optimiser.
      batch_size: B.
      chunk_shape: (T, P).
    """
    shape = jax.ShapeDtypeStruct
    batch_frames = (batch_size, chunk_shape[0])
    batch = Batch(
        shape((batch_size, *chunk_shape), jnp.float32),
        shape((*batch_frames, objective.model.num_classes), jnp.int16),
        shape(batch_frames, jnp.bool_),
    )
    state = jax.eval_shape(lambda: training.init_state(0, objective, chunk_shape))
    key = jax.eval_shape(lambda: jax.random.key(0))

    def step(state: training.TrainState, batch: Batch, key: jax.Array):
        return training.train_step(state, batch, key, objective, hyper, settings)

    memory = jax.jit(step, donate_argnums=0).lower(state, batch, key).compile().memory_analysis()
    sizes = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return sizes + memory.output_size_in_bytes - memory.alias_size_in_bytes


def how_many_fit(needed: int, shared: int, memory: Mapping[str, int]) -> int:
    """How many trainings fit on a device, at least one.

    Args:
      needed: bytes of each, of `bytes_per_training`.
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
