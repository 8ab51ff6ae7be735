"""A moving average of the weights, beside any optimiser.

The averaged weights are never trained on: they are what is validated, saved and predicted with.
They lag behind by about 1 / (1 - decay) steps, and the noise of single steps goes out of them.

Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, with
exponential weights; bias correction as in Kingma and Ba, "Adam", ICLR 2015.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from spotting.notation import Array
from spotting.training.flattening import ravel


class AveragingState(NamedTuple):
    """State of `average_weights`.

    Attributes:
      inner: the optimiser's.
      sums: (1 - decay) * the sum of the weights after each step, an earlier one counting decay
        times as much as the next.
      share: float32 [], 1 - decay^n after n steps, what the sum's own weights add up to.
    """

    inner: Any
    sums: optax.Params
    share: Array

    @property
    def perturbed_loss(self) -> Array:
        """Of the inner state, as `train_step` reads it."""
        return self.inner.perturbed_loss

    @property
    def grad_norm(self) -> Array:
        """Of the inner state, as `train_step` reads it."""
        return self.inner.grad_norm


def average_weights(
    optimizer: optax.GradientTransformationExtraArgs, decay: float, flat: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Keeps a moving average of the weights that `optimizer` comes by.

    Its updates are the optimiser's. `read_average` gives the average.

    Example:

      tx = average_weights(sam(optax.sgd(0.1), rho=0.5), decay=0.999)
      state = tx.init(params)
      ...
      averaged = read_average(state, params)

    Args:
      optimizer: whose state has what `train_step` reports.
      decay: at least 0 and less than 1; 0 keeps the newest weights.
      flat: whether the sums of the state are one vector, as `flattening.flatten_state` makes them.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: optax.Params) -> AveragingState:
        sums = jax.tree.map(jnp.zeros_like, params)
        return AveragingState(optimizer.init(params), sums, jnp.zeros([]))

    def update(
        updates: optax.Updates,
        state: AveragingState,
        params: optax.Params | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, AveragingState]:
        if params is None:
            raise ValueError("average_weights needs `params`")
        updates, inner = optimizer.update(updates, state.inner, params, **extra)
        new = optax.apply_updates(params, updates)
        new = ravel(new)[0] if flat else new
        sums = jax.tree.map(lambda a, w: decay * a + (1 - decay) * w, state.sums, new)
        share = decay * state.share + (1 - decay)
        return updates, AveragingState(inner, sums, share)

    return optax.GradientTransformationExtraArgs(init, update)


def read_average(opt_state: Any, params: optax.Params) -> optax.Params:
    """The weights to predict with: the average if `opt_state` keeps one, else `params`.

    Args:
      opt_state: of an optimiser, with or without `average_weights`.
      params: the newest weights, which also stand for an average before the first step.
    """
    if not isinstance(opt_state, AveragingState):
        return params
    # Before the first step there is nothing to divide.
    share = jnp.where(opt_state.share > 0, opt_state.share, 1)

    def read(total: Array, newest: Array) -> Array:
        return jnp.where(opt_state.share > 0, total / share, newest)

    return jax.tree.map(read, opt_state.sums, params)
