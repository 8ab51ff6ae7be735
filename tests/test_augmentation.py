"""Augmented features: what may change does, as often as it should, and nothing else."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting.anchors import AnchorTargets
from spotting.data.resident import Batch
from spotting.training import mixup, step
from spotting.training.augmentation import Augmentation, augment
from spotting.training.objectives import Objective

B, T, P = 64, 40, 30
ALL = Augmentation(repeat_frames=0.2, drop_frames=0.3, drop_features=0.25, shift_frames=0.5)


def _chunks(seed=0):
    return jax.random.normal(jax.random.key(seed), (B, T, P))


def _augment(settings, features, valid=None, seed=1):
    valid = jnp.ones(features.shape[:2], bool) if valid is None else valid
    call = jax.jit(functools.partial(augment, settings=settings))
    return np.asarray(call(jax.random.key(seed), features, valid)), np.asarray(features)


def test_off_changes_nothing():
    assert Augmentation().is_off
    assert not ALL.is_off
    after, before = _augment(Augmentation(), _chunks())
    np.testing.assert_array_equal(after, before)


def test_repeated_frames_are_those_before():
    after, before = _augment(Augmentation(repeat_frames=0.2), _chunks())
    same = (after == before).all(axis=-1)
    assert same[:, 0].all()  # No frame is before the first.
    previous = (after[:, 1:] == before[:, :-1]).all(axis=-1)
    np.testing.assert_array_equal(previous, ~same[:, 1:])
    assert abs(previous.mean() - 0.2) < 0.03


def test_dropped_frames_are_the_mean_of_their_chunk():
    after, before = _augment(Augmentation(drop_frames=0.3), _chunks())
    same = (after == before).all(axis=-1)
    mean = np.broadcast_to(before.mean(axis=1, keepdims=True), before.shape)
    np.testing.assert_allclose(after[~same], mean[~same], atol=1e-6)
    assert abs((~same).mean() - 0.3) < 0.03


def test_dropped_features_are_zero_in_a_chunk_and_expectations_stay():
    after, before = _augment(Augmentation(drop_features=0.25), _chunks())
    zero = (after == 0).all(axis=1)
    np.testing.assert_array_equal(zero, (after == 0).any(axis=1))
    assert abs(zero.mean() - 0.25) < 0.04
    kept = ~np.broadcast_to(zero[:, None], after.shape)
    np.testing.assert_allclose(after[kept], before[kept] / 0.75, rtol=1e-6)


def test_a_chunk_is_shifted_as_a_whole_by_less_than_the_most():
    ramp = jnp.broadcast_to(jnp.arange(T, dtype=jnp.float32)[None, :, None], (B, T, P))
    after, before = _augment(Augmentation(shift_frames=0.5), ramp)
    shifts = (after - before)[:, 1:-1]
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :1, :1], shifts.shape), atol=1e-5)
    shifts = shifts[:, 0, 0]
    assert abs(shifts).max() <= 0.5
    assert shifts.min() < -0.35
    assert shifts.max() > 0.35
    # The ends have no neighbour on one side, and give nothing to the other end.
    assert after[:, 0].min() == 0
    assert after[:, -1].max() == T - 1


def test_padding_stays_and_gives_nothing():
    valid = jnp.arange(T) < 25
    features = jnp.where(valid[None, :, None], _chunks(), 1e6)
    after, before = _augment(ALL, features, jnp.broadcast_to(valid, (B, T)))
    np.testing.assert_array_equal(after[:, 25:], before[:, 25:])
    assert abs(after[:, :25]).max() < 100


def test_chunks_are_changed_apart_and_by_the_key():
    same = jnp.broadcast_to(_chunks()[:1], (B, T, P))
    after, _ = _augment(ALL, same)
    assert len(np.unique(after.reshape(B, -1), axis=0)) == B
    again, _ = _augment(ALL, same)
    np.testing.assert_array_equal(after, again)
    assert (_augment(ALL, same, seed=2)[0] != after).any()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_dtype_stays(dtype):
    after = augment(jax.random.key(0), _chunks().astype(dtype), jnp.ones((B, T), bool), ALL)
    assert after.dtype == dtype


@pytest.mark.parametrize(
    "values", [{"drop_frames": 1.0}, {"repeat_frames": -0.1}, {"shift_frames": 1.5}]
)
def test_what_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match="shares are at least 0"):
        Augmentation(**values)


class Probe:
    """A network that gives its features back, so that the loss tells them."""

    reduction = types.SimpleNamespace(dtype=jnp.float32)

    def apply(self, params, features):
        return params["w"] * features


def test_a_step_augments_what_it_mixed_anew_in_each_step():
    features = _chunks()
    batch = Batch(features, jnp.zeros((B, T, 1), jnp.int16), jnp.ones((B, T), bool))
    objective = Objective(
        Probe(),
        lambda offsets: AnchorTargets(jnp.zeros((B, T, 1)), jnp.ones((B, T, 1))),
        lambda outputs, targets, weights: jnp.sum(outputs * _chunks(7)),
        augmentation=ALL,
    )
    tx = step.make_optimizer(step.Hyper(0.1, 0.0, 0.5, 0.0), step.OptimizerSettings(4))
    params = {"w": jnp.ones([])}
    state = step.TrainState(jnp.int32(0), jax.random.key(3), params, tx.init(params))
    pairs = mixup.draw(jax.random.key(4), B, 2.0)
    for _ in range(2):
        _, key = step.step_keys(state.key, state.step)
        mixed = mixup.mix(features, features[pairs.partners], pairs.shares)
        expected = augment(jax.random.fold_in(key, 2), mixed, batch.valid, ALL)
        weight = state.params["w"]
        state, metrics = step.train_step(state, batch, pairs, objective, tx)
        total = jnp.sum(expected * _chunks(7))
        np.testing.assert_allclose(metrics.loss, weight * total, rtol=1e-4)
        # Both of SAM's passes have the same features, whose loss has this gradient.
        np.testing.assert_allclose(metrics.grad_norm, jnp.abs(total), rtol=1e-4)
        np.testing.assert_allclose(
            metrics.perturbed_loss, (weight + 0.5 * jnp.sign(total)) * total, rtol=1e-4
        )
