"""What trains and spots is also made for GPUs and TPUs, as far as that can be told without one.

JAX lowers programs for platforms that are not there, and refuses what one of them cannot do.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting import anchors
from spotting.data import resident
from spotting.inference import nms
from spotting.models.network import build_network
from spotting.training import step as training
from spotting.training.objectives import make_objective

pytestmark = pytest.mark.slow

PLATFORMS = ("cuda", "tpu")
TRUNKS = {
    "unet": {"levels": 2},
    "transformer": {"layers": 1, "width": 16, "num_heads": 2, "mlp_dim": 16},
}


def export(function, *arguments):
    return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)


@pytest.mark.parametrize(("trunk", "dtype"), [("unet", jnp.bfloat16), ("transformer", jnp.float32)])
def test_an_epoch_of_sam_and_mixup(trunk, dtype):
    network = build_network("confidence", 3, trunk, 16, (8, 8), dtype=dtype, **TRUNKS[trunk])
    ones = np.ones(3, np.float32)
    objective = make_objective(network, 6.0, anchors.ClassWeights(ones, ones))
    hyper = training.Hyper(1e-3, 1e-4, 0.5, 2.0)
    tx = training.make_optimizer(hyper, training.OptimizerSettings(10))
    state = jax.eval_shape(lambda: training.init_state(0, objective, (32, 16), tx))
    halves = [np.zeros((100, 16), np.float32)], [np.zeros((100, 3), np.int16)]
    split = jax.tree.map(jnp.asarray, resident.concatenate(*halves, 32, dtype))

    def epoch(step, key, params, opt_state, split):
        # Keys have no form outside a program.
        state = training.TrainState(step, jax.random.wrap_key_data(key), params, opt_state)
        state, metrics = training.train_epoch(
            state,
            split,
            objective,
            tx,
            hyper.mixup_alpha,
            num_steps=2,
            batch_size=4,
            chunk_frames=32,
        )
        return state.params, metrics

    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    exported = export(epoch, state.step, key, state.params, state.opt_state, split)
    assert exported.platforms == PLATFORMS


@pytest.mark.parametrize("suppress", [nms.hard_nms, nms.soft_nms])
def test_votes_and_suppression(suppress):
    def spots(confidence, displacement):
        return suppress(anchors.decode(confidence, displacement, 90, 12), 6)

    scores = jax.ShapeDtypeStruct((2, 3, 100), jnp.float32)
    assert export(spots, scores, scores).platforms == PLATFORMS


def test_added_votes():
    def add(confidence, displacement):
        return anchors.decode_sum(confidence, displacement, 90, 12, 1.5, 13.0)

    scores = jax.ShapeDtypeStruct((2, 3, 100), jnp.float32)
    assert export(add, scores, scores).platforms == PLATFORMS
