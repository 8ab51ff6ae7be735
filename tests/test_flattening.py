import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import descend

from spotting import anchors
from spotting.base import parallel
from spotting.data import resident
from spotting.models.network import build_network
from spotting.training import flattening
from spotting.training import step as training
from spotting.training.checkpoints import stack
from spotting.training.loop import make_run_epoch
from spotting.training.objectives import make_objective
from spotting.training.optimizer import adam_with_decay
from spotting.training.sam import sam

PARAMS = {"a": jnp.array([1.0, -2.0, 3.0]), "b": {"c": jnp.array([[0.5], [-0.25]])}}


@jax.value_and_grad
def loss_and_grad(params):
    return jnp.sum(params["a"] ** 2) * jnp.sum(params["b"]["c"] ** 2) + jnp.sum(params["b"]["c"])


def train(tx, num_steps):
    return descend(tx, loss_and_grad, PARAMS, num_steps)


def make_adam():
    return adam_with_decay(1e-2, 1e-3, 10)


def test_adam_of_a_vector_takes_the_same_bits():
    trees = train(sam(make_adam(), 0.0), 5)[1]
    vectors = train(sam(flattening.flatten(make_adam()), 0.0, flat=True), 5)[1]
    jax.tree.map(np.testing.assert_array_equal, trees, vectors)


def test_sam_of_a_vector_differs_by_the_rounding_of_its_norm():
    trees = train(sam(make_adam(), 0.1), 5)[1]
    vectors = train(sam(flattening.flatten(make_adam()), 0.1, flat=True), 5)[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), trees, vectors)


def test_a_state_is_flattened_and_restored():
    state = train(sam(make_adam(), 0.1), 2)[0]
    flat = flattening.flatten_state(state, PARAMS)
    assert jax.tree.map(jnp.shape, flat.inner[0]) == ((), (5,), (5,))
    np.testing.assert_array_equal(flat.inner[0].mu[3:], state.inner[0].mu["b"]["c"][:, 0])
    restored = flattening.restore_state(flat, state, PARAMS)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_a_state_of_a_single_number_has_no_vectors():
    params = jnp.ones([2])
    state = sam(make_adam(), 0.1).init(params)
    flat = flattening.flatten_state(state, params)
    assert jax.tree.map(jnp.shape, flat) == jax.tree.map(jnp.shape, state)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("trunk", "sizes"),
    [("unet", {"levels": 2}), ("transformer", {"layers": 1, "num_heads": 2, "mlp_dim": 8})],
)
def test_gradients_are_those_of_jax(trunk, sizes, dtype):
    sizes = sizes | ({"width": 8, "attention": "auto"} if trunk == "transformer" else {})
    network = build_network("confidence", 3, trunk, 8, (8,), jnp.dtype(dtype), **sizes)
    features = jax.random.normal(jax.random.key(0), (4, 16, 8)).astype(dtype)
    params = network.init(jax.random.key(1), features)
    # Fresh biases are zeros, which hide a bias in the wrong place.
    params = jax.tree.map(lambda w: w + 0.1 * jnp.cos(jnp.arange(w.size).reshape(w.shape)), params)

    def loss(params):
        return jnp.sum(jnp.sin(network.apply(params, features)))

    ours = flattening.value_and_grad(loss, len(features), casts=dtype != "float32")
    (value, grads), (expected, wanted) = (
        jax.jit(f)(params) for f in (ours, jax.value_and_grad(loss))
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), grads, wanted)


def test_a_bias_of_another_width_is_refused():
    network = build_network("confidence", 3, "unet", 8, (8,), levels=2)
    features = jnp.zeros((1, 16, 8))
    params = network.init(jax.random.key(0), features)
    params["params"]["head"]["bias"] = jnp.zeros(1)
    with pytest.raises(ValueError, match=r"head: a bias of \(1,\) for 3 features"):
        network.apply(params, features)


@pytest.mark.slow
def test_an_epoch_of_two_seeds():
    """What a flat epoch is given and gives has the form that checkpoints have."""
    network = build_network("confidence", 3, "unet", 8, (8,), levels=2)
    ones = np.ones(3, np.float32)
    objective = make_objective(network, 6.0, anchors.ClassWeights(ones, ones))
    hyper = training.Hyper(1e-3, 1e-4, 0.5, 2.0)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((100, 8)).astype(np.float32)
    offsets = anchors.event_offsets((rng.random((100, 3)) < 0.05).astype(np.uint8))
    split = jax.tree.map(jnp.asarray, resident.concatenate([features], [offsets], 32, jnp.float32))
    mesh = parallel.make_mesh(1, 4)

    def train_flat(flat):
        made = functools.partial(training.OptimizerSettings, 10, average_decay=0.9)
        starts = training.make_optimizer(hyper, made())
        tx = training.make_optimizer(hyper, made(flat=flat))

        def epoch(state, own, split):
            how = {"num_steps": 3, "batch_size": 4, "chunk_frames": 32, "flat": flat}
            return training.train_epoch(state, split, objective, tx, 2.0, **how)

        states = stack([training.init_state(s, objective, (32, 8), starts) for s in range(2)])
        run_epoch = make_run_epoch(epoch, 2, mesh)
        for _ in range(2):
            states, _ = run_epoch(states, {}, split)
        return states._replace(key=jax.random.key_data(states.key))

    trees, vectors = train_flat(False), train_flat(True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), trees, vectors
    )
