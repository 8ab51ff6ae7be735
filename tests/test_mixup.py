import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting.training import mixup, step


@pytest.mark.parametrize("alpha", [0.2, 2.0])
def test_shares_are_beta_distributed(alpha):
    shares, _ = mixup.draw(jax.random.key(0), 20_000, alpha)
    assert jnp.all((shares >= 0) & (shares <= 1))
    assert abs(shares.mean() - 0.5) < 0.01
    assert abs(shares.var() * 4 * (2 * alpha + 1) - 1) < 0.05


def test_partners_are_a_permutation_that_follows_the_key():
    draws = [mixup.draw(jax.random.key(seed), 8, 2.0) for seed in (0, 0, 1)]
    for _, partners in draws:
        np.testing.assert_array_equal(np.sort(partners), np.arange(8))
    np.testing.assert_array_equal(draws[0][1], draws[1][1])
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    assert np.any(draws[0][1] != draws[2][1])


def test_an_epoch_s_pairs_are_those_of_its_steps():
    state = step.TrainState(jnp.int32(6), jax.random.key(3), (), ())
    drawn = jax.jit(lambda state: step.draw_pairs(state, 4, 8, 0.5))(state)
    for index in range(4):
        _, key = step.step_keys(state.key, state.step + index)
        alone = mixup.draw(key, 8, 0.5)
        np.testing.assert_array_equal(drawn.shares[index], alone.shares)
        np.testing.assert_array_equal(drawn.partners[index], alone.partners)
    assert step.draw_pairs(state, 4, 8, 0.0) is None


def test_alpha_0_does_not_mix():
    shares, partners = mixup.draw(jax.random.key(0), 8, jnp.float32(0))
    values = jnp.arange(24.0).reshape(8, 3)
    np.testing.assert_array_equal(mixup.mix(values, values[partners], shares), values)


def test_mix_takes_each_example_its_share():
    values = jnp.arange(6.0).reshape(3, 1, 2)
    others = values[jnp.array([1, 2, 0])]
    mixed = mixup.mix(values, others, jnp.array([1.0, 0.0, 0.25]))
    np.testing.assert_array_equal(mixed[:, 0], [[0, 1], [4, 5], [1, 2]])


def test_mix_keeps_the_dtype():
    values = jnp.ones((2, 3), jnp.bfloat16)
    assert mixup.mix(values, values[::-1], jnp.array([0.3, 0.7])).dtype == jnp.bfloat16
