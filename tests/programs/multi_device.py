"""Trains two seeds of a small transformer on 1 and on 8 of 8 devices, and prints how they compare.

test_multi_device.py starts it in a process of its own, since a process has its devices for life.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

from spotting.anchors import ClassWeights
from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.benchmarks.programs import inspect
from spotting.data import resident
from spotting.models.network import build_network
from spotting.training import step as training
from spotting.training.augmentation import Augmentation
from spotting.training.checkpoints import stack
from spotting.training.loop import make_run_epoch
from spotting.training.objectives import make_objective

SEEDS, BATCH, CHUNK, FEATURES, CLASSES = 2, 16, 8, 16, 3
HYPER = training.Hyper(learning_rate=1e-3, weight_decay=1e-4, rho=0.2, mixup_alpha=1.0)
AUGMENTATION = Augmentation(0.2, 0.2, 0.2, 0.5)


def compile_and_run(
    devices: int, flat: bool = False
) -> tuple[training.TrainState, float, list[str]]:
    """The states after an epoch of three steps, each device's share of the work in FLOP, and what
    devices exchange in a step.
    """
    model = build_network(
        "confidence",
        CLASSES,
        "transformer",
        32,
        (16, 8),
        layers=1,
        width=16,
        num_heads=4,
        mlp_dim=32,
    )
    weights = ClassWeights(np.ones(CLASSES, np.float32), np.ones(CLASSES, np.float32))
    objective = make_objective(model, 3.0, weights, augmentation=AUGMENTATION)
    settings = training.OptimizerSettings(num_steps=10)
    tx = training.make_optimizer(HYPER, dataclasses.replace(settings, flat=flat))
    rng = np.random.default_rng(0)
    split = resident.concatenate(
        [rng.standard_normal((length, FEATURES)) for length in (40, 60, 5)],
        [rng.integers(-9, 10, (length, CLASSES)) for length in (40, 60, 5)],
        CHUNK,
    )
    mesh = parallel.make_mesh(devices, BATCH)

    def train_epoch(state, own, split):
        return training.train_epoch(
            state,
            split,
            objective,
            tx,
            HYPER.mixup_alpha,
            num_steps=3,
            batch_size=BATCH,
            chunk_frames=CHUNK,
            shard=functools.partial(parallel.shard, mesh),
            replicate=functools.partial(parallel.keep_replicated, mesh),
            flat=flat,
        )

    start = training.make_optimizer(HYPER, settings)
    states = [
        training.init_state(seed, objective, (CHUNK, FEATURES), start) for seed in range(SEEDS)
    ]
    arguments = parallel.replicate(mesh, (stack(states), {}, split))
    compiled = make_run_epoch(train_epoch, SEEDS, mesh).lower(*arguments).compile()
    states, metrics = compiled(*arguments)
    assert jnp.all(jnp.isfinite(metrics.loss))
    exchanged = sorted({each.kind for each in inspect(compiled, 3).collectives})
    return parallel.local_copy(states), compiled.cost_analysis()["flops"], exchanged


def differ(states: training.TrainState, others: training.TrainState) -> float:
    """The greatest difference of a parameter."""
    pairs = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), states.params, others.params)
    return max(jax.tree.leaves(pairs))


def refusals() -> list[str]:
    """What is said of a batch that eight devices cannot share, and of a ninth device."""
    messages = []
    for count, batch_size in ((0, 12), (9, 18)):
        try:
            parallel.make_mesh(count, batch_size)
        except InputError as error:
            messages.append(str(error))
    return messages


if __name__ == "__main__":
    alone, flops_alone, _ = compile_and_run(1)
    shared, flops_shared, exchanged = compile_and_run(8)
    flat, _, _ = compile_and_run(8, flat=True)
    report = {
        "devices": jax.device_count(),
        "difference": differ(alone, shared),
        "difference_flat": differ(alone, flat),
        "share_of_work": flops_shared / flops_alone,
        "exchanged": exchanged,
        "refusals": refusals(),
    }
    print(json.dumps(report))
