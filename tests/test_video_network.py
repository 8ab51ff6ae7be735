"""The networks: the embedded one as it comes, ResNet-152 against numbers of Keras."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

from spotting.base.errors import InputError
from spotting.video import efficientnet, load_network, network, resnet, winograd

DATA = Path(__file__).parent / "data" / "video_resnet.npz"


@pytest.fixture(scope="module")
def lite():
    return network.read_efficientnet()[1]


def pictures(count: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@functools.partial(jax.jit, static_argnums=2)
def apply(params, x, dtype=jnp.float32):
    return efficientnet.EfficientNetLite0(dtype).apply({"params": params}, x)


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 2, 14), (5, 2, 15), (5, 1, 9)])
def test_shifted_products_are_a_depthwise_convolution(kernel, stride, size):
    x = np.random.default_rng(0).normal(size=(2, size, size, 8)).astype(np.float32)
    module = efficientnet.DepthwiseConv(kernel, stride)
    params = module.init(jax.random.key(0), x)
    expected = jax.lax.conv_general_dilated(
        x,
        params["params"]["kernel"],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=8,
    )
    np.testing.assert_allclose(module.apply(params, x), expected, atol=1e-5)


@pytest.mark.slow
def test_efficientnet_knows_what_it_sees(lite):
    """Grace Hopper wears a military uniform, the 652nd of ImageNet's classes."""
    path = efficientnet.find_weights()
    tensors = efficientnet.read_tensors(path.read_bytes(), str(path))
    with cbook.get_sample_data("grace_hopper.jpg") as file, Image.open(file) as image:
        picture = np.asarray(image.convert("RGB").resize((224, 224)))[..., ::-1]
    features = apply(lite, efficientnet.preprocess(picture[None]))
    logits = np.asarray(features) @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    assert np.argmax(logits[0]) == 652


@pytest.mark.slow
def test_bfloat16_is_near(lite):
    x = efficientnet.preprocess(pictures(2))
    exact, near = apply(lite, x), apply(lite, x, jnp.bfloat16)
    assert near.dtype == jnp.float32
    error = np.sqrt(np.mean((near - exact) ** 2) / np.mean(exact**2))
    assert 1e-4 < error < 0.1


@pytest.mark.slow
def test_a_batch_is_its_pictures(lite):
    net = load_network("EfficientNetLite0", pictures_per_device=2)
    assert net.details.published
    given = pictures(2)
    together, alone = np.asarray(net(given)), np.asarray(net(given[:1]))
    assert together.shape == (2, 1280)
    assert alone.shape == (1, 1280)
    np.testing.assert_allclose(alone[0], together[0], atol=1e-5)
    np.testing.assert_allclose(together, apply(lite, efficientnet.preprocess(given)), atol=1e-5)


def test_colours_of_resnets_input():
    picture = np.array([[[[0, 1, 2]]]], np.uint8)  # blue, green, red
    official = resnet.preprocess(picture)
    np.testing.assert_array_equal(
        official[0, 0, 0], np.float32([2, 1, 0]) - np.float32(resnet.MEANS)
    )
    np.testing.assert_array_equal(official[0, 0, 0], np.float32([-101.939, -115.779, -123.68]))
    trained = resnet.preprocess(picture, "imagenet")
    np.testing.assert_array_equal(
        trained[0, 0, 0], np.float32([0, 1, 2]) - np.float32(resnet.MEANS)
    )


@pytest.mark.parametrize("by_winograd", [False, True])
def test_resnet_has_the_layers_that_are_folded(by_winograd):
    kernels = resnet.layer_shapes()
    assert len(kernels) == 155  # 151 of the 152, and the four of the shortcuts
    layers = {
        name: {"kernel": np.zeros(shape, np.float32), "bias": np.zeros(shape[-1:], np.float32)}
        for name, shape in kernels.items()
    }
    params = resnet.make_params(layers, by_winograd)
    model = resnet.ResNet152(winograd=by_winograd)
    pictures = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    wanted = jax.eval_shape(model.init, jax.random.key(0), pictures)["params"]
    assert jax.tree.map(lambda a: a.shape, params) == jax.tree.map(lambda a: a.shape, wanted)


@pytest.mark.parametrize("size", [(4, 4), (7, 7), (5, 6), (1, 3)])
def test_winograd_is_a_convolution(size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, 5)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 5, 7)).astype(np.float32)
    wanted = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    ours = winograd.convolve(x, winograd.transform_kernel(kernel))
    np.testing.assert_allclose(ours, wanted, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("by_winograd", [False, True])
def test_resnet_computes_what_keras_does(by_winograd):
    """Weights from a recipe; features by TensorFlow 2.3 in float64."""
    from parity_extraction import make_weight

    with np.load(DATA) as archive:
        arrays = dict(archive)
    seed, weights = int(arrays["weight_seed0"]), {}
    for layer, named in resnet.weight_shapes().items():
        for name, shape in named.items():
            weights.setdefault(layer, {})[name] = make_weight(layer, name, shape, seed)
            seed += 1
    model = resnet.ResNet152(winograd=by_winograd)
    params = resnet.make_params(resnet.fold(weights), by_winograd)
    features = jax.jit(model.apply)({"params": params}, resnet.preprocess(arrays["frames"]))
    error = np.abs(features - arrays["features"]).max()
    assert error < 2e-6 * np.abs(arrays["features"]).max()


def test_unknown_names():
    for options in ({"features": "C3D"}, {"precision": "float8"}, {"channels": "bgr"}):
        with pytest.raises(InputError, match="there is"):
            load_network(**{"features": "ResNET_TF2"} | options)
