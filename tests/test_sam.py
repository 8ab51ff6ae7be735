import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spotting.training.sam import sam

PARAMS = {"a": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array([[0.5], [-0.25]])}


@jax.value_and_grad
def loss_and_grad(params):
    return jnp.sum(jnp.cosh(params["a"])) * jnp.sum(params["b"] ** 2) + jnp.sum(params["b"])


def train(optimizer, num_steps, **extra):
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(num_steps):
        loss, grads = loss_and_grad(params)
        updates, state = optimizer.update(grads, state, params, **{"value": loss, **extra})
        params = optax.apply_updates(params, updates)
    return params, state


def assert_equal(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def test_equals_optax_with_sgd():
    rho, learning_rate = 0.1, 0.01
    reference = optax.contrib.sam(
        optax.sgd(learning_rate),
        optax.chain(optax.contrib.normalize(), optax.sgd(rho)),
        opaque_mode=True,
    )
    params, state = PARAMS, reference.init(PARAMS)
    for _ in range(3):
        grads = loss_and_grad(params)[1]
        updates, state = reference.update(
            grads, state, params, grad_fn=lambda p, _: loss_and_grad(p)[1]
        )
        params = optax.apply_updates(params, updates)
    ours, _ = train(sam(optax.sgd(learning_rate), rho), 3, grad_fn=loss_and_grad)
    assert_equal(ours, params)


def test_reports_the_norm_and_the_second_loss():
    grads = loss_and_grad(PARAMS)[1]
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in grads.values()))
    worst = {name: PARAMS[name] + 0.1 * grads[name] / norm for name in PARAMS}
    _, state = train(sam(optax.sgd(0.01), 0.1), 1, grad_fn=loss_and_grad)
    np.testing.assert_allclose(state.grad_norm, norm, rtol=1e-6)
    np.testing.assert_allclose(state.perturbed_loss, loss_and_grad(worst)[0], rtol=1e-6)


def test_rho_0_is_the_optimizer_alone_in_one_pass():
    plain, _ = train(optax.sgd(0.01), 2)
    alone, state = train(sam(optax.sgd(0.01), 0.0), 2)  # without grad_fn: it cannot pass twice
    assert_equal(alone, plain)
    assert state.perturbed_loss > 0
    traced, _ = train(sam(optax.sgd(0.01), jnp.float32(0)), 2, grad_fn=loss_and_grad)
    assert_equal(traced, plain)


def test_a_zero_gradient_moves_nothing():
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    optimizer = sam(optax.sgd(0.01), 0.5)
    updates, state = optimizer.update(
        zero, optimizer.init(PARAMS), PARAMS, grad_fn=lambda p: (jnp.float32(0), zero)
    )
    assert_equal(updates, zero)
    assert state.grad_norm == 0


def test_needs_its_second_pass():
    with pytest.raises(ValueError, match="grad_fn"):
        train(sam(optax.sgd(0.01), 0.5), 1)


def test_goes_into_a_chain_with_the_transforms_around_it():
    chained = optax.chain(sam(optax.identity(), 0.1), optax.scale(-0.01))
    expected, _ = train(sam(optax.sgd(0.01), 0.1), 2, grad_fn=loss_and_grad)
    assert_equal(train(chained, 2, grad_fn=loss_and_grad)[0], expected)
