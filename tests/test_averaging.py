import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import descend
from hypothesis import given, settings
from hypothesis import strategies as st

from spotting.base import parallel
from spotting.base.logs import RunLog
from spotting.training.averaging import average_weights, read_average
from spotting.training.checkpoints import Checkpoints, stack
from spotting.training.loop import Member, Schedule, fit, make_run_epoch
from spotting.training.sam import sam
from spotting.training.step import StepMetrics, TrainState

PARAMS = {"a": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array([[0.5], [-0.25]])}


@jax.value_and_grad
def loss_and_grad(params):
    return jnp.sum(params["a"] ** 2) * jnp.sum(params["b"] ** 2) + jnp.sum(params["b"])


def train(tx, num_steps, params=PARAMS):
    """The state after some steps, and the parameters after each of them."""
    return descend(tx, loss_and_grad, params, num_steps)


def assert_equal(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6), a, b)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.floats(0.0, 0.999), st.integers(1, 8))
def test_is_the_weighted_mean_of_the_weights_so_far(decay, num_steps):
    state, path = train(average_weights(sam(optax.sgd(0.01), 0.1), decay), num_steps)
    weights = decay ** np.arange(num_steps)[::-1]
    weights /= weights.sum()
    expected = jax.tree.map(lambda *w: sum(p * x for p, x in zip(weights, w, strict=True)), *path)
    assert_equal(read_average(state, path[-1]), expected)


def test_trains_as_without():
    plain, path = train(sam(optax.sgd(0.01), 0.1), 4)
    state, same = train(average_weights(sam(optax.sgd(0.01), 0.1), 0.9), 4)
    jax.tree.map(np.testing.assert_array_equal, path, same)
    assert state.perturbed_loss == plain.perturbed_loss
    assert state.grad_norm == plain.grad_norm


def test_weights_that_stay_are_their_own_average():
    state, path = train(average_weights(sam(optax.sgd(0.0), 0.0), 0.99), 3)
    assert_equal(read_average(state, path[-1]), PARAMS)


def test_without_an_average_the_newest_weights_are_read():
    plain = sam(optax.sgd(0.01), 0.0)
    assert read_average(plain.init(PARAMS), PARAMS) is PARAMS
    averaged = average_weights(plain, 0.9)
    assert_equal(read_average(averaged.init(PARAMS), PARAMS), PARAMS)  # before the first step


@pytest.mark.slow
def test_seeds_that_train_together_have_averages_of_their_own():
    tx = average_weights(sam(optax.sgd(0.01), 0.0), 0.9)

    def run(scale):
        params = jax.tree.map(lambda w: scale * w, PARAMS)
        state, path = train(tx, 3, params)
        return read_average(state, path[-1])

    together = jax.vmap(run)(jnp.array([1.0, 0.5]))
    for index, scale in enumerate((1.0, 0.5)):
        assert_equal(jax.tree.map(lambda leaf, i=index: leaf[i], together), run(scale))


def test_needs_the_weights():
    tx = average_weights(sam(optax.sgd(0.01), 0.0), 0.9)
    with pytest.raises(ValueError, match="params"):
        tx.update(PARAMS, tx.init(PARAMS))


@pytest.mark.slow
def test_averages_of_two_seeds_are_kept_and_resumed(tmp_path):
    tx = average_weights(sam(optax.sgd(0.01), 0.1), 0.9)

    def train_epoch(state, own, data):
        loss, grads = loss_and_grad(state.params)
        updates, opt_state = tx.update(
            grads, state.opt_state, state.params, grad_fn=loss_and_grad, value=loss
        )
        params = optax.apply_updates(state.params, updates)
        metrics = StepMetrics(loss[None], loss[None], loss[None])
        return TrainState(state.step + 1, state.key, params, opt_state), metrics

    mesh = parallel.make_mesh(1, 1)
    run_epoch = make_run_epoch(train_epoch, 2, mesh)

    def fit_in(folder, stop_before):
        def epoch(states, number):
            if number == stop_before:
                raise KeyboardInterrupt
            return run_epoch(states, {}, None)

        starts = [jax.tree.map(lambda w, s=s: s * w, PARAMS) for s in (1.0, 0.5)]
        key, step = jax.random.key(0), jnp.zeros([], jnp.int32)
        states = stack([TrainState(step, key, start, tx.init(start)) for start in starts])
        keepers = [Checkpoints(folder / str(seed)) for seed in range(2)]
        members = [Member(keeper, RunLog(None)) for keeper in keepers]
        fit(states, epoch, Schedule(4, 1, 1, 1, "last"), members, mesh, name="t", progress=False)
        return [keeper.restore("best", PARAMS) for keeper in keepers]

    with pytest.raises(KeyboardInterrupt):
        fit_in(tmp_path / "stopped", 2)
    resumed, whole = fit_in(tmp_path / "stopped", None), fit_in(tmp_path / "whole", None)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    state, path = train(tx, 4)
    assert_equal(whole[0], read_average(state, path[-1]))
