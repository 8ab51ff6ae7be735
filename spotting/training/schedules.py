"""Learning rates of the systems that the paper compares with.

NetVLAD++ and CALF lower theirs when the validation loss stays where it is, which the host decides
after each epoch; RMS-Net's follows the step.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import optax

from spotting.notation import Array


class Plateau(NamedTuple):
    """Where a training on a plateau schedule is; numbers, or arrays in a compiled epoch.

    Attributes:
      learning_rate: of the next epoch.
      best: validation loss from which the next must fall.
      bad: epochs since it fell.
      finished: whether the training ends here.
      least: validation loss so far; `best` may be a little more.
    """

    learning_rate: float | Array
    best: float | Array = math.inf
    bad: int | Array = 0
    finished: bool | Array = False
    least: float | Array = math.inf


def step_plateau(
    state: Plateau,
    loss: float | Array,
    patience: int,
    factor: float = 0.1,
    least_fall: float = 1e-4,
    least_change: float = 1e-8,
    last_rate: float = 2e-8,
) -> Plateau:
    """The schedule after an epoch.

    After more than `patience` epochs without a fall of the loss the rate is multiplied by `factor`.
    The training ends once that no longer changes it: when the rate was under `last_rate` already,
    and `patience` epochs have passed.

    Args:
      state: before the epoch.
      loss: on the validation split, after it.
      patience: epochs.
      factor: of the learning rate.
      least_fall: of the loss, as a fraction of the best, that counts as one.
      least_change: the rate stays if it would change by no more.
      last_rate: see above.

    Source: PyTorch's ReduceLROnPlateau, and the end of training of SoccerNet/sn-spotting.
    """
    rate = jnp.asarray(state.learning_rate)
    falls = loss < state.best * (1 - least_fall)
    bad = jnp.where(falls, 0, state.bad + 1)
    lower = (bad > patience) & (rate - factor * rate > least_change)
    bad = jnp.where(bad > patience, 0, bad)
    return Plateau(
        jnp.where(lower, factor * rate, rate),
        jnp.where(falls, loss, state.best),
        bad,
        (rate < last_rate) & (bad >= patience),
        jnp.minimum(state.least, loss),
    )


def warmup_cosine(num_steps: int, warmup_steps: int) -> optax.Schedule:
    """RMS-Net's factor: from 0 in even steps, then half a cosine that began with the training.

    The cosine counts its steps from the start of the training too, so that it does not begin at 1.

    Args:
      num_steps: in the training, at whose end the factor is 0.
      warmup_steps: in the first epoch, over which it rises.
    """

    def schedule(step: Array | int) -> Array:
        step = jnp.asarray(step, jnp.float32)
        cosine = 0.5 * (jnp.cos(jnp.pi * step / num_steps) + 1)
        return jnp.where(step < warmup_steps, step / warmup_steps, cosine)

    return schedule


def decayed_sgd(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.9, weight_decay: float = 1e-4
) -> optax.GradientTransformation:
    """PyTorch's SGD: the decay is part of the gradient, and so of the momentum."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum))
