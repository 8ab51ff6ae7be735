"""The latest and the best state of a training, with Orbax.

`latest` is what an interrupted run resumes from, `best` what the validation split chose. They are
two managers, because one that keeps the best may delete the newest.

Arrays are stored whole, so a run may resume on another number of devices or processes. Orbax is
told of a single process: of several the first one writes, and each reads for itself.
"""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from spotting.base import parallel
from spotting.base.errors import InputError


class Checkpoints:
    """Checkpoints of one model in one folder: `latest/<step>` and `best/<step>`.

    Trees may hold arrays (random keys included), each on one device, and numbers. Writing is
    atomic; a killed write leaves what was there before.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = Path(directory).absolute()
        self._managers: dict[str, ocp.CheckpointManager] = {}

    def save(self, which: str, step: int, tree: Any) -> None:
        """Writes `tree` as the "latest" or "best" of `step`; an older one goes."""
        (self.directory / which).mkdir(parents=True, exist_ok=True)
        manager = self._manager(which)
        if step in manager.all_steps():
            # A run killed between its two writes comes by this step again, with the same state.
            return
        manager.save(step, args=ocp.args.StandardSave(_plain(tree)))
        manager.wait_until_finished()

    def step(self, which: str) -> int | None:
        """The step of the newest checkpoint, if any; several processes ask together."""
        own = self._newest(which)
        step = int(parallel.from_process_0(np.asarray(-1 if own is None else own)))
        return None if step < 0 else step

    def restore(self, which: str, template: Any, step: int | None = None) -> Any:
        """Reads a checkpoint.

        Args:
          which: "latest" or "best".
          template: a tree of the same structure; of its arrays, shape and dtype count.
          step: which one; default: the newest.

        Raises:
          InputError: there is none, or its arrays are not the template's.
        """
        step = self._newest(which) if step is None else step
        if step is None:
            raise InputError(f"{self.directory / which}: no checkpoint there; train first")
        try:
            wanted = jax.tree.map(_abstract, _plain(template))
            tree = self._manager(which).restore(step, args=ocp.args.StandardRestore(wanted))
            jax.tree_util.tree_map_with_path(_require_shape, wanted, tree)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.directory / which}: not a checkpoint of this model: {error}"
            ) from error
        return jax.tree.map(_like, template, tree)

    def close(self) -> None:
        """Ends the managers' threads."""
        for manager in self._managers.values():
            manager.close()
        self._managers.clear()

    def _newest(self, which: str) -> int | None:
        return self._manager(which).latest_step() if (self.directory / which).is_dir() else None

    def _manager(self, which: str) -> ocp.CheckpointManager:
        if which not in self._managers:
            alone = jax.process_index()
            # Two of `latest`: seeds that train together resume from the newest step they share.
            options = ocp.CheckpointManagerOptions(
                max_to_keep=2 if which == "latest" else 1,
                enable_async_checkpointing=False,
                create=False,
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=alone,
                    active_processes={alone},
                    barrier_sync_key_prefix=f"process{alone}",
                ),
            )
            self._managers[which] = ocp.CheckpointManager(self.directory / which, options=options)
        return self._managers[which]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(tree: Any) -> Any:
    """The tree with its arrays as NumPy's, which Orbax ties to no device."""

    def plain(leaf: Any) -> Any:
        if _is_key(leaf):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf

    return jax.tree.map(plain, tree)


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, int | float):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _require_shape(path: tuple, wanted: Any, leaf: Any) -> None:
    if np.shape(leaf) != np.shape(wanted):
        name = jax.tree_util.keystr(path)
        raise ValueError(f"{name} is {np.shape(leaf)} there, {np.shape(wanted)} in the model")


def _like(template: Any, leaf: Any) -> Any:
    if _is_key(template):
        return jax.random.wrap_key_data(leaf)
    return type(template)(leaf) if isinstance(template, int | float) else jnp.asarray(leaf)


def unstack(tree: Any, index: int) -> Any:
    """One seed's part of a tree whose arrays have a leading axis S."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def stack(trees: list[Any]) -> Any:
    """The reverse of `unstack` over all seeds."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def count_parameters(params: Any) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
