"""Parameters as one vector, for what a training step does to each of them on a GPU.

A network has a hundred and more small parameters. Norms, moments and updates of each, its cast and
the sums of its gradient are kernels of their own, which take a GPU longer to launch than to run; of
one vector they are few. What the network reads are arrays of their own all the same, which XLA
writes several at a time.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
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


def value_and_grad(
    loss: Callable[[optax.Params], Array], num_chunks: int, casts: bool
) -> Callable[[optax.Params], tuple[Array, optax.Updates]]:
    """`jax.value_and_grad` of the loss of a network made of `models.layers`.

    The gradient of a bias is a sum over all frames of all chunks, two kernels of XLA's for each
    bias. Here each chunk is given a bias of its own, whose gradient is the sum over its frames; the
    sums over chunks are then taken for all biases at once. They add up in another order.

    Args:
      loss: of float32 parameters.
      num_chunks: B.
      casts: whether the network computes in another dtype. It is then given parts of one vector,
        since XLA casts parts of one array several at a time.
    """

    @jax.value_and_grad
    def of_leaves(params: optax.Params) -> Array:
        leaves = flatten_dict(params)
        # Those of the layers; a normalisation's are no rows of chunks.
        biases = [p for p in leaves if p[-1] == "bias" and (*p[:-1], "kernel") in leaves]
        given = _give_each_chunk([leaves[path] for path in biases], num_chunks)
        return loss(unflatten_dict(leaves | dict(zip(biases, given, strict=True))))

    def of_params(params: optax.Params) -> tuple[Array, optax.Updates]:
        if not casts:
            return of_leaves(params)
        leaves = flatten_dict(params)
        vector, unravel = ravel({path: leaf for path, leaf in leaves.items() if jnp.ndim(leaf) > 1})
        return of_leaves(unflatten_dict(leaves | unravel(vector)))

    return of_params


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _give_each_chunk(biases: Sequence[Array], num_chunks: int) -> list[Array]:
    """Each [C] as [B, 1, C]."""
    return [jnp.broadcast_to(bias, (num_chunks, 1, len(bias))) for bias in biases]


def _give_forward(biases: Sequence[Array], num_chunks: int) -> Any:
    return _give_each_chunk(biases, num_chunks), [len(bias) for bias in biases]


def _give_backward(num_chunks: int, widths: list[int], grads: list[Array]) -> tuple[list[Array]]:
    of_chunks = jnp.concatenate([grad[:, 0] for grad in grads], axis=-1)
    # Without the barrier XLA makes it one sum for each bias again.
    total = jnp.sum(jax.lax.optimization_barrier(of_chunks), axis=0)
    return (jnp.split(total, list(itertools.accumulate(widths))[:-1]),)


_give_each_chunk.defvjp(_give_forward, _give_backward)


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
