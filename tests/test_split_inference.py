import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting.inference import chunks as inference
from spotting.inference import on_device as split_inference
from spotting.models.network import build_network

T, P, BORDER, CHUNKS = 16, 5, 5, 3


@pytest.mark.slow
def test_a_split_is_spotted_as_its_halves_are(monkeypatch):
    monkeypatch.setattr(split_inference, "CHUNKS_AT_ONCE", 2 * CHUNKS)
    model = build_network("confidence", 3, trunk="unet", projection=512, reduction=(8, 4), levels=2)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, T, P)))
    rng = np.random.default_rng(0)
    halves = [rng.standard_normal((frames, P)).astype(np.float16) for frames in (70, 3, 55, 16, 41)]
    # Two shares on one device; two devices would take one each.
    devices = jax.devices()[:1] * 2
    shares = split_inference.place(halves, T, BORDER, CHUNKS, jnp.float32, devices)
    results = split_inference.spot_split(model, params, shares, T)
    assert len(results) == len(halves)
    for result, half in zip(results, halves, strict=True):
        expected = inference.spot_half(model, params, half, T, BORDER, CHUNKS)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
