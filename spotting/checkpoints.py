"""The latest and the best state of a training, with Orbax.

`latest` is what an interrupted run goes on from, `best` what the validation split chose. They are
two managers, because one that keeps the best may delete the newest.
"""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from spotting.errors import InputError


class Checkpoints:
    """Checkpoints of one model in one folder: `latest/<step>` and `best/<step>`.

    Trees may hold arrays (random keys included) and numbers. Writing is atomic; a killed write
    leaves what was there before.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = Path(directory).absolute()
        self._managers: dict[str, ocp.CheckpointManager] = {}

    def save(self, which: str, step: int, tree: Any) -> None:
        """Writes `tree` as the "latest" or "best" of `step`; an older one goes."""
        manager = self._manager(which)
        if step in manager.all_steps():
            # A run killed between its two writes comes by this step again, with the same state.
            return
        manager.save(step, args=ocp.args.StandardSave(_plain(tree)))
        manager.wait_until_finished()

    def step(self, which: str) -> int | None:
        """The step of the newest checkpoint, if any."""
        if not (self.directory / which).is_dir():
            return None
        return self._manager(which).latest_step()

    def restore(self, which: str, template: Any, step: int | None = None) -> Any:
        """Reads a checkpoint.

        Args:
          which: "latest" or "best".
          template: a tree of the same structure; of its arrays, shape, dtype and sharding count.
          step: which one; default: the newest.

        Raises:
          InputError: there is none, or its arrays are not the template's.
        """
        step = self.step(which) if step is None else step
        if step is None:
            raise InputError(f"{self.directory / which}: no checkpoint there; train first")
        try:
            args = ocp.args.StandardRestore(jax.tree.map(_abstract, _plain(template)))
            tree = self._manager(which).restore(step, args=args)
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

    def _manager(self, which: str) -> ocp.CheckpointManager:
        if which not in self._managers:
            # Two of `latest`: seeds that train together resume from the newest step they share.
            options = ocp.CheckpointManagerOptions(
                max_to_keep=2 if which == "latest" else 1,
                enable_async_checkpointing=False,
                create=True,
            )
            self._managers[which] = ocp.CheckpointManager(self.directory / which, options=options)
        return self._managers[which]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _abstract(leaf: Any) -> Any:
    return ocp.utils.to_shape_dtype_struct(leaf)


def _like(template: Any, leaf: Any) -> Any:
    if _is_key(template):
        return jax.random.wrap_key_data(leaf)
    return type(template)(leaf) if isinstance(template, int | float) else leaf


def unstack(tree: Any, index: int) -> Any:
    """One seed's part of a tree whose arrays have a leading axis S."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def stack(trees: list[Any]) -> Any:
    """The reverse of `unstack` over all seeds."""
    return jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *trees)


def num_parameters(params: Any) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
