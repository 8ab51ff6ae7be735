"""TensorFlow's Adam with decoupled weight decay, and the linear schedules of both.

Two things differ from `optax.adamw`: the weight decay is not multiplied by the learning rate, and
Adam's epsilon is added outside the bias correction.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from spotting.notation import Array


def linear_decay(start: float | Array, end_fraction: float, num_steps: int) -> optax.Schedule:
    """Falls linearly from `start` at step 0 to `end_fraction * start` at `num_steps`.

    Beyond, where no training goes, it follows the official schedule: TensorFlow's PolynomialDecay
    with `cycle=True`, which in the n-th cycle falls from `start` at step 0 over n * num_steps.
    """

    def schedule(step: Array | int) -> Array:
        step = jnp.asarray(step, jnp.int32)
        cycle = jnp.maximum(-(-step // num_steps), 1)
        remaining = 1 - step / (cycle * num_steps)
        return start * (end_fraction + (1 - end_fraction) * remaining)

    return schedule


class AdamState(NamedTuple):
    """State of `scale_by_tf_adam`."""

    count: Array  # type: ignore[assignment]  # a tuple's method, as in optax's own states
    mu: optax.Updates
    nu: optax.Updates


def scale_by_tf_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-7
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015) in TensorFlow's form.

    The update is sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps), the paper's "epsilon hat":
    `optax.scale_by_adam` corrects m and v first, which makes epsilon that much larger early on.

    Args:
      b1: decay rate of the first moment.
      b2: decay rate of the second moment.
      eps: added to the square root of the uncorrected second moment.

    Returns:
      A gradient transformation.
    """

    def init(params: optax.Params) -> AdamState:
        # Two trees, not one twice: a buffer can be donated only once.
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return AdamState(jnp.zeros([], jnp.int32), mu, nu)

    def update(
        updates: optax.Updates, state: AdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdamState]:
        del params
        count = optax.safe_increment(state.count)
        step = count.astype(jnp.float32)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.nu, updates)
        correction = jnp.sqrt(1 - b2**step) / (1 - b1**step)
        updates = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + eps), mu, nu)
        return updates, AdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def adam_with_decay(
    learning_rate: float | Array,
    weight_decay: float | Array,
    num_steps: int,
    end_fraction: float = 0.01,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-7,
) -> optax.GradientTransformationExtraArgs:
    """The paper's optimiser: Adam and a decoupled weight decay, both falling linearly.

    One step takes w to w - wd_t * w - lr_t * adam(g), on every parameter. (The official code decays
    before its Adam step; the sum is the same.)

    Args:
      learning_rate: at the first step.
      weight_decay: at the first step; not multiplied by the learning rate.
      num_steps: steps over which both fall.
      end_fraction: of their start value, reached at `num_steps`.
      b1: decay rate of the first moment.
      b2: decay rate of the second moment.
      eps: TensorFlow's epsilon.

    Returns:
      A gradient transformation whose update needs the parameters.
    """
    learning_rates = linear_decay(learning_rate, end_fraction, num_steps)
    decays = linear_decay(-weight_decay, end_fraction, num_steps)
    return optax.chain(
        scale_by_tf_adam(b1, b2, eps),
        optax.scale_by_learning_rate(learning_rates),
        optax.add_decayed_weights(decays),
    )
