import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting.base.errors import InputError
from spotting.models.keras_names import from_keras, keras_weights, to_keras
from spotting.models.network import build_network

SIZES = {"projection": 512, "reduction": (16, 8)}
UNET = build_network("displacement", 3, "unet", **SIZES, levels=2)
TRANSFORMER = build_network(
    "confidence", 3, "transformer", **SIZES, layers=1, width=8, num_heads=2, mlp_dim=16
)


def random_params(model, features=12):
    chunk = jnp.zeros((1, 8, features))
    shapes = jax.eval_shape(model.init, jax.random.key(0), chunk)
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, np.float32), shapes)


@pytest.mark.parametrize("model", [UNET, TRANSFORMER], ids=["unet", "transformer"])
def test_there_and_back(model):
    params = random_params(model)
    weights = to_keras(params, model.kind)
    counterparts = keras_weights(params, model.kind)
    assert {name: array.shape for name, array in weights.items()} == {
        f"{name}:0": shape for name, shape in counterparts.values()
    }
    assert len(weights) == len(jax.tree.leaves(params))
    back = from_keras(weights, params, model.kind)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_a_transposed_convolution_holds_its_outputs_first():
    params = random_params(UNET)
    kernel = params["params"]["trunk"]["up0"]["kernel"]  # [C, 2, C']
    official = to_keras(params, UNET.kind)["td_layer0_transpose/kernel:0"]
    assert official.shape == (2, 1, 8, 16)
    np.testing.assert_array_equal(official[1, 0, 3], kernel[:, 1, 3])


def test_the_first_reduction_layer_spans_the_features():
    shapes = {w.name: w.shape for w in keras_weights(random_params(UNET, 600), UNET.kind).values()}
    assert shapes["optional_projection/kernel"] == (1, 600, 1, 512)
    assert shapes["input_reduction_1/kernel"] == (1, 1, 512, 16)
    assert shapes["input_reduction_out/kernel"] == (1, 1, 16, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"td_layer0_transpose/bias:0": np.zeros(5)},
            r"td_layer0_transpose/bias is \(5,\) but .*\(8,\)",
        ),
        ({"other/kernel:0": np.zeros((2, 3))}, r"other/kernel \(2, 3\) is unknown"),
        ({"delta_convolution/bias:0": None}, r"no delta_convolution/bias \(3,\)"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    params = random_params(UNET)
    weights = {**to_keras(params, UNET.kind), **change}
    weights = {name: array for name, array in weights.items() if array is not None}
    with pytest.raises(InputError, match=message):
        from_keras(weights, params, UNET.kind)


def test_another_model_s_weights_are_refused_in_one_line():
    weights = to_keras(random_params(TRANSFORMER), TRANSFORMER.kind)
    with pytest.raises(InputError, match=r"and \d+ more$"):
        from_keras(weights, random_params(UNET), UNET.kind)
