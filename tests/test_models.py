import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import te_base_resnet_pca, te_small_resnet_pca, unet_combination, unet_resnet_pca
from spotting.models import layers
from spotting.models.layers import Conv3, Dense, Upsample2, max_pool2
from spotting.models.network import build_network
from spotting.runs.setup import make_network
from spotting.training.checkpoints import count_parameters

TINY_UNET = {"trunk": "unet", "projection": 512, "reduction": (16, 8), "levels": 2}
TINY_TRANSFORMER = {
    **{"trunk": "transformer", "projection": 8, "reduction": (16, 8)},
    **{"layers": 1, "width": 16, "num_heads": 4, "mlp_dim": 32},
}
CHUNKS = jax.random.normal(jax.random.key(0), (2, 8, 12))  # B, T, P


@pytest.mark.parametrize(
    ("config", "chunk_shape", "count"),
    [
        (unet_resnet_pca, (224, 512), 17_465_297),
        (unet_combination, (112, 8576), 8_868_305),
        (te_small_resnet_pca, (224, 512), 970_321),
        (te_base_resnet_pca, (224, 512), 9_669_457),
    ],
)
def test_full_size_models_have_the_paper_s_parameters(config, chunk_shape, count):
    model = make_network(config.get_config(), "confidence", 17)
    chunks = jnp.zeros((1, *chunk_shape))
    params = jax.eval_shape(model.init, jax.random.key(0), chunks)
    assert count_parameters(params) == count
    assert jax.eval_shape(model.apply, params, chunks).shape == (1, chunk_shape[0], 17)


@pytest.mark.parametrize("ours", [Dense(5), Conv3(5), Upsample2(5)], ids=lambda m: type(m).__name__)
def test_matrix_form_is_the_convolution(ours):
    variables = ours.init(jax.random.key(1), CHUNKS)
    kernel, bias = variables["params"]["kernel"], jnp.arange(5.0)
    if isinstance(ours, Dense):
        theirs, their_kernel = nn.Conv(5, (1,)), kernel[None]
    elif isinstance(ours, Conv3):
        theirs, their_kernel = nn.Conv(5, (3,), padding="SAME"), kernel
    else:
        # Flax turns the kernel of a transposed convolution round.
        theirs, their_kernel = nn.ConvTranspose(5, (2,), (2,)), kernel.transpose(1, 0, 2)[::-1]

    def run(module, kernel, x):
        return module.apply({"params": {"kernel": kernel, "bias": bias}}, x)

    outputs, expected = run(ours, kernel, CHUNKS), run(theirs, their_kernel, CHUNKS)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("forms", "kernel_shape"),
    [(layers.CONVOLVE3, (3, 12, 5)), (layers.UPSAMPLE2, (12, 2, 5))],
    ids=["convolve3", "upsample2"],
)
def test_forms_of_a_layer_compute_the_same(forms, kernel_shape):
    kernel = jax.random.normal(jax.random.key(1), kernel_shape)

    def run(form):
        y = form.apply(CHUNKS, kernel, None)
        upstream = jnp.cos(jnp.arange(y.size)).reshape(y.shape)
        return y, form.differentiate(CHUNKS, kernel, None, upstream)

    first, second = (jax.jit(lambda form=form: run(form))() for form in forms.values())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), first, second)
    # A kernel's gradient is float32 whatever the computation is.
    rough = CHUNKS.astype(jnp.bfloat16)
    for form in forms.values():
        y = form.apply(rough, kernel, None)
        grads = form.differentiate(rough, kernel, None, y)
        assert [y.dtype, *(grad.dtype for grad in grads)] == ["bfloat16", "bfloat16", "float32"]


@pytest.mark.parametrize(("layer", "platform_s_own"), [(Conv3, "convolution"), (Upsample2, "dot_")])
def test_a_tpu_gets_a_form_of_its_own(layer, platform_s_own):
    module = layer(5)
    variables = jax.eval_shape(module.init, jax.random.key(0), CHUNKS)

    step = jax.grad(lambda variables, x: module.apply(variables, x).sum(), argnums=(0, 1))
    traced = jax.jit(step).trace(variables, CHUNKS)
    lowered = {
        platform: traced.lower(lowering_platforms=(platform,))
        for platform in ("cpu", "cuda", "tpu")
    }
    texts = {platform: each.as_text() for platform, each in lowered.items()}
    assert texts["cpu"] != texts["tpu"] != texts["cuda"]
    operations = {name: re.findall(r"stablehlo\.(\w+)", text) for name, text in texts.items()}
    # A CPU has one kernel's gradient computed as its transpose.
    kept = [each for each in operations["cpu"] if each != "optimization_barrier"]
    assert kept == operations["cuda"]
    assert platform_s_own in texts["tpu"]
    assert "convolution" not in texts["cpu"] + texts["cuda"]
    # Nothing is left to decide when it runs.
    assert "conditional" not in lowered["cpu"].compile().as_text()


@pytest.mark.parametrize("shape", [(96, 24, 8), (96, 8, 24), (4, 24, 8)], ids=str)
def test_a_cpu_s_gradient_of_a_matrix_is_that_of_others(shape):
    rows, channels, features = shape
    x = jax.random.normal(jax.random.key(0), (rows, channels))
    y = jax.random.normal(jax.random.key(1), (rows, features))
    forms = [
        jax.jit(functools.partial(layers._differentiate_matrix, precision=None, narrow_first=cpu))
        for cpu in (False, True)
    ]
    expected = np.asarray(x).T @ np.asarray(y)
    for form in forms:
        np.testing.assert_allclose(form(x, y), expected, rtol=1e-5, atol=1e-5)
    is_transposed = "optimization_barrier" in str(jax.make_jaxpr(forms[1])(x, y))
    assert is_transposed == (shape == (96, 24, 8))


def test_max_pool_is_flax_s():
    np.testing.assert_array_equal(max_pool2(CHUNKS), nn.max_pool(CHUNKS, (2,), (2,)))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [TINY_UNET, TINY_TRANSFORMER], ids=["unet", "transformer"])
def test_a_spotter_is_its_reduction_and_its_spotting(sizes):
    confidence, displacement = (
        build_network(kind, 3, **sizes) for kind in ("confidence", "displacement")
    )
    params = jax.jit(confidence.init)(jax.random.key(1), CHUNKS)
    logits = jax.jit(confidence.apply)(params, CHUNKS)
    reduced = confidence.apply(params, CHUNKS, method="reduce")
    spot = jax.jit(lambda params, reduced: confidence.apply(params, reduced, method="spot"))
    np.testing.assert_allclose(spot(params, reduced), logits, rtol=1e-5, atol=1e-6)
    # The reduction sees one frame at a time.
    alone = confidence.apply(params, CHUNKS[:, 3:4], method="reduce")
    np.testing.assert_allclose(alone, reduced[:, 3:4], rtol=1e-5, atol=1e-6)
    # The two kinds differ in the last step alone.
    shifts = jax.jit(displacement.apply)(params, CHUNKS)
    np.testing.assert_allclose(shifts, jnp.tanh(logits), rtol=1e-5, atol=1e-6)


def test_wide_features_are_projected_first():
    wide, narrow = (
        build_network("confidence", 3, **TINY_UNET | {"projection": p}) for p in (8, 12)
    )
    key, shapes = jax.random.key(0), {}
    for name, model in (("wide", wide), ("narrow", narrow)):
        variables = jax.eval_shape(model.init, key, CHUNKS)["params"]["reduction"]
        shapes[name] = {layer: leaf["kernel"].shape for layer, leaf in variables.items()}
    rest = {"layer1": (16, 8)}
    assert shapes["wide"] == {"projection": (12, 8), "layer0": (8, 16), **rest}
    assert shapes["narrow"] == {"layer0": (12, 16), **rest}


def test_a_unet_s_chunk_must_halve():
    with pytest.raises(TypeError):
        jax.eval_shape(
            build_network("confidence", 3, **TINY_UNET).init, jax.random.key(0), CHUNKS[:, :5]
        )


def test_unknown_trunk():
    with pytest.raises(ValueError, match="'resnet'"):
        build_network("confidence", 3, **TINY_UNET | {"trunk": "resnet"})
