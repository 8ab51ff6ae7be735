import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spotting.training.optimizer import adam_with_decay, linear_decay, scale_by_tf_adam

GRADS = np.random.default_rng(0).normal(size=(5, 4)) * 10.0 ** np.arange(-6, 2, 2)


def test_linear_decay_falls_to_its_end():
    steps = np.array([0, 1, 50, 99, 100])
    np.testing.assert_allclose(
        linear_decay(2.0, 0.01, 100)(steps), 2 * (1 - 0.99 * steps / 100), rtol=1e-6
    )


@pytest.mark.parametrize(("step", "remaining"), [(101, 1 - 101 / 200), (200, 0), (250, 1 / 6)])
def test_linear_decay_beyond_its_end_cycles_as_the_official_one(step, remaining):
    value = linear_decay(2.0, 0.01, 100)(step)
    np.testing.assert_allclose(value, 2 * (0.01 + 0.99 * remaining), rtol=1e-6)


def test_tf_adam_adds_epsilon_outside_the_bias_correction():
    transform, m, v = scale_by_tf_adam(), 0.0, 0.0
    state = transform.init(jnp.zeros(4))
    for t, grad in enumerate(GRADS, 1):
        updates, state = transform.update(jnp.asarray(grad), state)
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        correction = np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        np.testing.assert_allclose(updates, correction * m / (np.sqrt(v) + 1e-7), rtol=1e-4)


def test_tf_adam_is_adam_where_epsilon_does_not_matter():
    ours, theirs = scale_by_tf_adam(eps=0.0), optax.scale_by_adam(eps=0.0)
    state, their_state = ours.init(jnp.zeros(4)), theirs.init(jnp.zeros(4))
    for grad in GRADS:
        updates, state = ours.update(jnp.asarray(grad), state)
        expected, their_state = theirs.update(jnp.asarray(grad), their_state)
        np.testing.assert_allclose(updates, expected, rtol=1e-4)


def test_decay_is_not_multiplied_by_the_learning_rate():
    optimizer = adam_with_decay(learning_rate=1e-3, weight_decay=0.1, num_steps=10)
    weights = jnp.array([1.0, -2.0])
    state = optimizer.init(weights)
    for decay in (0.1, 0.1 * (1 - 0.99 / 10)):
        updates, state = optimizer.update(jnp.zeros(2), state, weights)
        np.testing.assert_allclose(updates, -decay * weights, rtol=1e-6)


def test_first_step_has_the_length_of_the_learning_rate():
    optimizer = adam_with_decay(learning_rate=1e-3, weight_decay=0.0, num_steps=10)
    weights = jnp.zeros(2)
    updates, _ = optimizer.update(jnp.array([3.0, -0.1]), optimizer.init(weights), weights)
    np.testing.assert_allclose(updates, [-1e-3, 1e-3], rtol=1e-4)
