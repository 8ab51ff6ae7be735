"""Sharpness-aware minimisation as a two-pass gradient transformation.

Source: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization",
ICLR 2021.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from spotting.notation import Array
from spotting.training.flattening import ravel

GradFn = Callable[[optax.Params], tuple[Array, optax.Updates]]


class SAMState(NamedTuple):
    """State of `sam`: the inner optimiser's, and what the last update saw."""

    inner: optax.OptState
    perturbed_loss: Array
    grad_norm: Array


def sam(
    optimizer: optax.GradientTransformation,
    rho: float | Array,
    eps: float = 1e-12,
    flat: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Gives `optimizer` the gradient at the worst point near the parameters.

    With g the gradient at w, the second gradient is taken at w + rho * g / (||g|| + eps), the norm
    running over all parameters, on the same batch and with the same randomness; the optimiser's
    step starts at w.

    Example:

      tx = sam(optax.sgd(0.1), rho=0.5)
      state = tx.init(params)
      value_and_grad = lambda params: jax.value_and_grad(loss)(params, batch)
      value, grads = value_and_grad(params)
      updates, state = tx.update(grads, state, params, grad_fn=value_and_grad)
      params = optax.apply_updates(params, updates)

    Args:
      optimizer: what turns the second gradient into an update.
      rho: distance of the second pass; 0 leaves `optimizer` as it is, in one pass. It may be a
        traced scalar, which then always takes two.
      eps: keeps a zero gradient from giving NaN, which `optax.contrib.sam` has nothing against.
      flat: whether to take the norm and the perturbation of one vector of all parameters; the norm
        then adds up in another order.

    Returns:
      A gradient transformation whose update needs `params` and, unless rho is 0, `grad_fn`: a
      function from parameters to (loss, gradient).
    """
    optimizer = optax.with_extra_args_support(optimizer)
    two_passes = not (isinstance(rho, int | float) and rho == 0)

    def init(params: optax.Params) -> SAMState:
        return SAMState(optimizer.init(params), jnp.zeros([]), jnp.zeros([]))

    def update(
        updates: optax.Updates,
        state: SAMState,
        params: optax.Params | None = None,
        *,
        grad_fn: GradFn | None = None,
        value: Array | None = None,
        **extra: object,
    ) -> tuple[optax.Updates, SAMState]:
        vector, unravel = ravel(updates) if flat else (updates, lambda tree: tree)
        norm = optax.tree.norm(vector)
        loss = jnp.zeros([]) if value is None else value
        if two_passes:
            if params is None or grad_fn is None:
                raise ValueError("sam needs `params` and `grad_fn` for its second pass")
            scale = rho / (norm + eps)
            perturbation = unravel(jax.tree.map(lambda g: scale * g, vector))
            loss, updates = grad_fn(optax.apply_updates(params, perturbation))
        updates, inner = optimizer.update(updates, state.inner, params, **extra)
        return updates, SAMState(inner, loss, norm)

    return optax.GradientTransformationExtraArgs(init, update)
