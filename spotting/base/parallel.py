"""Data parallelism: one program on all devices of all processes.

The devices form a mesh of two axes. Along "chunks" a training's batches are spread, and all else is
on every device; `jax.jit` then computes what one device would, so that SAM's norm, mixup's pairs
and the gradient are those of the whole batch. Along "seeds" trainings of several seeds are spread,
which exchange nothing; that axis has length 1 unless there are more devices than one training uses.

Only process 0 validates, writes files, and logs.
"""

import functools
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from spotting.base.errors import InputError
from spotting.base.signals import raise_on_sigterm

AXIS = "chunks"
SEEDS = "seeds"

Result = TypeVar("Result")


def join_processes() -> None:
    """Joins the other processes of the run; must come before anything is computed.

    Who they are is said by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or found
    out by JAX (Slurm, Open MPI, Cloud TPU, GKE).

    Raises:
      InputError: there is nobody to join.
    """
    if jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(
            num_processes=_number("JAX_NUM_PROCESSES"), process_id=_number("JAX_PROCESS_ID")
        )
    except ValueError as error:
        raise InputError(
            f"devices.distributed: {error} Set JAX_COORDINATOR_ADDRESS=HOST:PORT, "
            "JAX_NUM_PROCESSES and JAX_PROCESS_ID, or leave devices.distributed out"
        ) from error
    # JAX has taken SIGTERM for a notice of its own, which nobody here asks for: a stop that any
    # process was asked for, Ctrl-C too, is agreed on after each epoch (`any_process`).
    raise_on_sigterm()
    # What is wrong with the run is then found by each for itself, and none by another's end.
    multihost_utils.sync_global_devices("joined")


def _number(variable: str) -> int | None:
    """A whole number from the environment, None where there is none."""
    text = os.environ.get(variable)
    return int(text) if text else None


def make_mesh(count: int, batch_size: int, trainings: int = 1) -> Mesh:
    """A mesh of `count` devices, or of all if it is 0, all of them for one training at a time.

    Raises:
      InputError: there are fewer, some process would have none, or a batch of `batch_size` chunks
        cannot be spread evenly, and there are no several trainings to spread instead.
    """
    devices = jax.devices()
    if count > len(devices):
        raise InputError(f"devices.count is {count}, but there are {len(devices)} devices")
    if count not in (0, len(devices)) and jax.process_count() > 1:
        raise InputError(
            f"devices.count is {count}; several processes use all their {len(devices)} devices: "
            "set it to 0"
        )
    count = count or len(devices)
    if trainings == 1:
        count_side_by_side(count, batch_size, 1, 1)
    kinds = AxisType.Auto, AxisType.Auto
    return jax.make_mesh((1, count), (SEEDS, AXIS), kinds, devices=devices[:count])


def divide_mesh(mesh: Mesh, trainings: int) -> Mesh:
    """The same devices for as many trainings at a time, neighbours for each."""
    devices = mesh.devices.reshape(trainings, -1)
    return Mesh(devices, (SEEDS, AXIS), axis_types=(AxisType.Auto, AxisType.Auto))


def describe_mesh(mesh: Mesh) -> str:
    """The devices in words, and how many each training has if that is not all."""
    trainings, each = mesh.devices.shape
    share = f", {each} for each training" if trainings > 1 else ""
    return f"{mesh.size} x {mesh.devices.flat[0].device_kind}{share}"


def count_side_by_side(devices: int, batch_size: int, trainings: int, min_chunks: int) -> int:
    """How many trainings should each have a share of the devices, rather than all of them in turn.

    A device is taken to be as fast with any smaller part of a batch as with `min_chunks` chunks.
    Of two ways that then take as long, the one with more trainings sums gradients over fewer
    devices.

    Args:
      devices: in all.
      batch_size: B, of each training.
      trainings: that there are.
      min_chunks: of a batch.

    Raises:
      InputError: no way spreads a batch evenly.
    """
    best, least = 0, math.inf
    for count in range(1, devices + 1 if trainings > 1 else 2):
        share = devices // count
        if devices % count or batch_size % share:
            continue
        time = -(-trainings // count) * max(batch_size // share, min_chunks)
        if time <= least:
            best, least = count, time
    if not best:
        raise InputError(
            f"training.batch_size {batch_size} is not a multiple of the {devices} devices: change "
            "it or set devices.count to one of its divisors"
        )
    return best


def shard(mesh: Mesh, arrays: Any) -> Any:
    """Shards arrays [B, ...] of a training over its devices; within jit."""
    return jax.lax.with_sharding_constraint(arrays, NamedSharding(mesh, PartitionSpec(AXIS)))


def keep_replicated(mesh: Mesh, arrays: Any) -> Any:
    """Has arrays on each device of the mesh; within jit."""
    return jax.lax.with_sharding_constraint(arrays, replicated(mesh))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what each device has all of."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Puts a tree of arrays, the same in all processes, on each device of the mesh."""
    return _put(replicated(mesh), tree)


def spread_trainings(mesh: Mesh, tree: Any) -> Any:
    """Puts arrays [S, ...] of S trainings, the same in all processes, on each training's devices.

    Where the mesh has places for more trainings, copies of the first take them: see `gather`.
    """
    places = mesh.shape[SEEDS]

    def fill(leaf: Any) -> Any:
        missing = -len(leaf) % places
        return jnp.concatenate([leaf] + [leaf[:1]] * missing) if missing else leaf

    return _put(by_training(mesh), jax.tree.map(fill, tree))


def by_training(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays [S, ...] of which a training's devices have what is its own."""
    return NamedSharding(mesh, PartitionSpec(SEEDS)) if mesh.shape[SEEDS] > 1 else replicated(mesh)


def gather(mesh: Mesh, tree: Any, trainings: int) -> Any:
    """Of what `spread_trainings` has spread, the first S, on each device; processes ask together.

    Nothing is copied where the devices have all of it.
    """
    return tree if mesh.shape[SEEDS] == 1 else _gather(mesh, tree, trainings)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _gather(mesh: Mesh, tree: Any, trainings: int) -> Any:
    return keep_replicated(mesh, jax.tree.map(lambda leaf: leaf[:trainings], tree))


def _put(sharding: NamedSharding, tree: Any) -> Any:
    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf)))
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)


def local_copy(tree: Any) -> Any:
    """Of arrays that are everywhere, what this process's first device has; nothing is copied."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def is_process_0() -> bool:
    """Whether this is process 0, or the only process of the run."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether `flag` is true in any process; they ask together."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def from_process_0(tree: Any) -> Any:
    """What process 0 has, in all of them: a tree of numbers and NumPy arrays."""
    return multihost_utils.broadcast_one_to_all(tree) if jax.process_count() > 1 else tree


def on_process_0(work: Callable[..., Result], *arguments: Any) -> Result | None:
    """Calls `work` in process 0, while the others wait for its end.

    Raises:
      ConnectionAbortedError: in the others, if it failed; process 0 raises what it raised.
    """
    result, error = None, None
    if is_process_0():
        try:
            result = work(*arguments)
        except Exception as reason:
            error = reason
    failed = from_process_0(np.asarray(error is not None))
    if error is not None:
        raise error
    if failed:
        raise ConnectionAbortedError("process 0 failed; what it printed says why")
    return result
