"""bfloat16 computation: what is float32 all the same, and how near the outcome is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting.anchors import ClassWeights
from spotting.data.resident import Batch
from spotting.models.layers import Dense
from spotting.models.network import build_network
from spotting.models.transformer import EncoderLayer, attention, gelu
from spotting.training import mixup
from spotting.training.objectives import make_objective
from spotting.training.step import Hyper, OptimizerSettings, init_state, make_optimizer, train_step

pytestmark = pytest.mark.slow

ROUGH = jnp.bfloat16
STEP = 2.0**-8  # the greatest relative error of one rounding to bfloat16
UNET = {"trunk": "unet", "projection": 512, "reduction": (32, 16), "levels": 2}
TRANSFORMER = {
    **{"trunk": "transformer", "projection": 8, "reduction": (32, 16)},
    **{"layers": 1, "width": 32, "num_heads": 4, "mlp_dim": 64},
}


def _random(seed: int, *shape: int, dtype: jnp.dtype = jnp.float32) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def _flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def _assert_near(ours, exact, bound):
    """Each array within `bound` of the norm of its counterpart."""
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(exact), strict=True):
        norm = np.linalg.norm(other)
        assert np.linalg.norm(np.asarray(one, np.float32) - other) <= bound * norm + 1e-6


def test_gradients_of_biases_are_summed_in_float32():
    layer = Dense(2, ROUGH)
    frames = jnp.ones((4, 250, 3), ROUGH)
    variables = layer.init(jax.random.key(0), frames)
    grads = jax.grad(lambda variables: layer.apply(variables, frames).sum())(variables)
    # 256 + 1 = 256 in bfloat16.
    np.testing.assert_array_equal(grads["params"]["bias"], [1000, 1000])


def test_gradients_of_kernels_are_float32_too():
    layer = Dense(2, ROUGH)
    frames = jnp.ones((17, 59, 3), ROUGH)
    variables = layer.init(jax.random.key(0), frames)
    grads = jax.grad(lambda variables: layer.apply(variables, frames).sum())(variables)
    # 1003 is 1004 in bfloat16.
    np.testing.assert_array_equal(grads["params"]["kernel"], 1003)


@pytest.mark.parametrize("sizes", ["unet", "transformer"])
def test_precision_reaches_all_products(sizes):
    sizes = {"unet": UNET, "transformer": TRANSFORMER}[sizes]
    chunks = jnp.zeros((2, 16, 12))

    def count(precision):
        network = build_network("confidence", 3, **sizes, precision=precision)
        variables = jax.eval_shape(network.init, jax.random.key(0), chunks)
        gradient = jax.grad(lambda variables: network.apply(variables, chunks).sum())
        text = jax.jit(gradient).trace(variables).lower(lowering_platforms=("tpu",)).as_text()
        lines = [
            line for line in text.splitlines() if "dot_general" in line or "convolution(" in line
        ]
        return len(lines), sum("HIGHEST" in line for line in lines)

    products, highest = count("highest")
    assert products == highest > 10
    assert count(None) == (products, 0)


@pytest.mark.parametrize("form", ["divide_last", "divide_first", "keys_first"])
def test_softmax_sums_in_float32(form):
    values = jnp.ones((1, 1000, 1, 4), ROUGH)
    keys = _random(0, *values.shape, dtype=ROUGH)
    outputs = attention(jnp.zeros_like(values), keys, values, form)
    assert outputs.dtype == ROUGH
    np.testing.assert_array_equal(outputs, values)


def test_layer_norm_s_statistics_are_float32():
    x = (300 + _random(0, 1, 3, 8)).astype(ROUGH)

    def norm(dtype: jnp.dtype) -> jax.Array:
        layer = EncoderLayer(num_heads=1, mlp_dim=4, dtype=dtype)
        variables = layer.init(jax.random.key(0), x)
        _, state = layer.apply(variables, x, capture_intermediates=True)
        return state["intermediates"]["attention_norm"]["__call__"][0]

    assert norm(ROUGH).dtype == ROUGH
    _assert_near(norm(ROUGH), norm(jnp.float32), STEP)


def test_mixup_shares_are_float32():
    values = jnp.full((2, 50), 255, ROUGH)
    mixed = mixup.mix(values, values, jnp.array([0.3001, 0.7]))
    np.testing.assert_array_equal(mixed, values)


FORMS = ("auto", "divide_last", "divide_first", "keys_first")


@pytest.mark.parametrize("form", FORMS)
def test_attention_is_jax_s(form):
    inputs = [_random(seed, 2, 7, 3, 4) for seed in range(3)]
    upstream = _random(3, 2, 7, 3, 4)

    def run(function):
        outputs, back = jax.vjp(function, *inputs)
        return outputs, back(upstream)

    ours = run(functools.partial(attention, form=form))
    theirs = run(jax.nn.dot_product_attention)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)


@pytest.mark.parametrize("form", FORMS)
def test_attention_takes_large_logits(form):
    query = jnp.full((1, 2, 1, 1), 1e4)
    key, value = jnp.array([1.0, -1.0]).reshape(1, 2, 1, 1), jnp.arange(2.0).reshape(1, 2, 1, 1)
    outputs = attention(query, key, value, form)
    np.testing.assert_array_equal(outputs, jnp.zeros((1, 2, 1, 1)))


def test_gelu_is_the_exact_one():
    x = jnp.linspace(-9, 9, 301)
    np.testing.assert_allclose(gelu(x), jax.nn.gelu(x, approximate=False), atol=1e-6)


@pytest.mark.parametrize("sizes", [UNET, TRANSFORMER], ids=["unet", "transformer"])
def test_a_bfloat16_step_is_near_a_float32_step(sizes):
    chunks, frames, width, classes = 8, 16, 12, 3
    generator = np.random.default_rng(0)
    batch = Batch(
        _random(1, chunks, frames, width),
        jnp.asarray(generator.integers(-9, 10, (chunks, frames, classes)), jnp.int16),
        jnp.ones((chunks, frames), bool),
    )
    weights = ClassWeights(np.ones(classes, np.float32), np.ones(classes, np.float32))
    hyper = Hyper(1e-3, 1e-4, 0.0, 1.0)
    tx = make_optimizer(hyper, OptimizerSettings(10))

    def step(dtype: jnp.dtype):
        objective = make_objective(
            build_network("confidence", classes, **sizes, dtype=dtype), 3.0, weights
        )
        state = init_state(0, objective, (frames, width), tx)
        pairs = mixup.draw(jax.random.key(2), chunks, hyper.mixup_alpha)
        run = functools.partial(train_step, objective=objective, tx=tx)
        return jax.jit(run)(state, batch, pairs)

    (rough, rough_metrics), (exact, metrics) = step(ROUGH), step(jnp.float32)
    state = (rough.params, rough.opt_state, rough_metrics)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state)} == {"float32", "int32"}
    _assert_near(rough_metrics, metrics, 0.01)
    # Adam's first moment is a tenth of the gradient.
    _assert_near(*(_flat(one.opt_state.inner[0].mu) for one in (rough, exact)), bound=0.05)
