import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting.training.losses import confidence_loss, displacement_loss

SHAPE = (2, 3, 4)  # B, T, K


def test_confidence_loss_is_weighted_cross_entropy():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal(SHAPE, np.float32)
    weights = generator.random(SHAPE, np.float32)
    targets = generator.random(SHAPE, np.float32)  # soft, as after mixup
    p = 1 / (1 + np.exp(-logits))
    expected = -np.mean(weights * (targets * np.log(p) + (1 - targets) * np.log(1 - p)))
    np.testing.assert_allclose(confidence_loss(logits, targets, weights), expected, rtol=1e-5)


def test_confidence_loss_is_finite_at_any_logit():
    logits = jnp.array([[[-1e4, 1e4]]])
    loss, grad = jax.value_and_grad(confidence_loss)(logits, 1 - (logits > 0), jnp.ones((1, 1, 2)))
    np.testing.assert_allclose(loss, 1e4)
    np.testing.assert_allclose(grad, [[[-0.5, 0.5]]])


@pytest.mark.parametrize("threshold", [0.25, 0.5, 1.0])
def test_displacement_loss_turns_linear_with_slope_1(threshold):
    inside, outside = threshold / 2, threshold + 0.5
    for error, expected in (
        (inside, inside**2 / (2 * threshold)),
        (outside, outside - threshold / 2),
    ):
        prediction = jnp.full(SHAPE, -error)
        loss = displacement_loss(prediction, jnp.zeros(SHAPE), jnp.ones(SHAPE), threshold)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_anchors_without_weight_do_not_count():
    weights = jnp.zeros(SHAPE).at[0].set(1)
    for loss in (confidence_loss, displacement_loss):
        grad = jax.grad(loss)(jnp.ones(SHAPE), jnp.zeros(SHAPE), weights)
        assert jnp.all(grad[0] != 0)
        assert jnp.all(grad[1] == 0)
