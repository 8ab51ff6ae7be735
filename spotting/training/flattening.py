"""Parameters as one vector, for what an optimiser does to them on a GPU.

A network has a hundred and more small parameters. Norms, moments and updates of each are kernels of
their own, which take a GPU longer to launch than to run; of one vector they are few. What the
network reads are arrays of their own all the same, which XLA writes several at a time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from spotting.notation import Array


def suits(mesh: Mesh) -> bool:
    """Whether the devices of a mesh spend their time on launches."""
    return mesh.devices.flat[0].platform in ("gpu", "cuda", "rocm")


def ravel(tree: Any) -> tuple[Array, Callable[[Array], Any]]:
    """The leaves of a tree as one vector, and what makes such a tree of a vector."""
    vector, unravel = ravel_pytree(tree)
    # Without the barrier XLA concatenates anew in each kernel that reads a part.
    return jax.lax.optimization_barrier(vector), unravel


def flatten(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Does as `optimizer` does, in a state of vectors.

    It is `optax.flatten` with `ravel`; each value is computed as in its own array, to the bit.

    Args:
      optimizer: whose update is elementwise and takes the parameters.
    """

    def init(params: optax.Params) -> Any:
        return optimizer.init(ravel(params)[0])

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, Any]:
        vector, unravel = ravel(updates)
        vector, state = optimizer.update(vector, state, ravel(params)[0])
        return unravel(vector), state

    return optax.GradientTransformation(init, update)


def flatten_state(state: Any, params: optax.Params) -> Any:
    """A state with a vector in the place of every tree in it that is shaped like `params`."""
    is_like = _is_like(params)
    return jax.tree.map(
        lambda node: ravel(node)[0] if is_like(node) else node, state, is_leaf=is_like
    )


def restore_state(flat: Any, state: Any, params: optax.Params) -> Any:
    """The inverse of `flatten_state`; `state` is what that was given, or another such."""
    is_like, unravel = _is_like(params), ravel_pytree(params)[1]
    return jax.tree.map(
        lambda node, new: unravel(new) if is_like(node) else new, state, flat, is_leaf=is_like
    )


def _is_like(params: optax.Params) -> Callable[[Any], bool]:
    def describe(tree: Any) -> Any:
        return jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]

    expected = describe(params)
    return lambda tree: describe(tree) == expected
