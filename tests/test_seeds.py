from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_config

from spotting import anchors
from spotting.base import parallel
from spotting.data import resident
from spotting.models.network import build_network
from spotting.runs import feeding, memory
from spotting.runs.folders import group_near
from spotting.runs.memory import Choice
from spotting.runs.setup import make_setup
from spotting.training import step as training
from spotting.training.checkpoints import stack, unstack
from spotting.training.loop import make_run_epoch
from spotting.training.objectives import make_objective

pytestmark = pytest.mark.slow

CHUNK, FEATURES, CLASSES, BATCH, STEPS = 16, 6, 2, 4, 6
METHOD = training.Hyper(learning_rate=1e-3, weight_decay=2e-4, rho=0.5, mixup_alpha=2.0)
ROUNDING = 1e-6  # of float32, in units of the greatest parameter
SETTINGS = training.OptimizerSettings(num_steps=2 * STEPS)


@pytest.fixture(scope="module")
def objective():
    model = build_network("confidence", CLASSES, "unet", 512, (16, 8), levels=1)
    weights = anchors.class_weights(np.full(CLASSES, 40), np.full(CLASSES, 160), 0.03)
    return make_objective(model, radius=3.0, weights=weights)


@pytest.fixture(scope="module")
def split():
    generator = np.random.default_rng(0)
    features = [generator.normal(size=(n, FEATURES)) for n in (100, 70, 10)]
    labels = [generator.random((len(half), CLASSES)) < 0.05 for half in features]
    offsets = [anchors.event_offsets(half.astype(np.uint8)) for half in labels]
    return jax.tree.map(jnp.asarray, resident.concatenate(features, offsets, CHUNK))


def train(objective, split, members, hyper, own=None):
    """Parameters of each seed of `members` after two epochs in one program."""
    tx = training.make_optimizer(hyper, SETTINGS)
    states = [training.init_state(seed, objective, (CHUNK, FEATURES), tx) for seed in members]

    def epoch(state, own, split):
        values = hyper._replace(**own)
        return training.train_epoch(
            state,
            split,
            objective,
            training.make_optimizer(values, SETTINGS),
            values.mixup_alpha,
            num_steps=STEPS,
            batch_size=BATCH,
            chunk_frames=CHUNK,
        )

    run_epoch = make_run_epoch(epoch, len(members), parallel.make_mesh(1, BATCH))
    states, own = stack(states), {name: jnp.float32(v) for name, v in (own or {}).items()}
    for _ in range(2):
        states, _ = run_epoch(states, own, split)
    return [unstack(states.params, index) for index in range(len(members))]


def difference(one, other):
    """Greatest difference of two trees of parameters, relative to the greatest parameter."""
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(other))
    each = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), one, other)
    return max(jax.tree.leaves(each)) / largest


@pytest.fixture(scope="module")
def alone(objective, split):
    """Parameters of seed 1, trained alone with SAM and mixup."""
    return train(objective, split, (1,), METHOD)[0]


def test_a_seed_trains_in_company_as_it_trains_alone(objective, split, alone):
    first, second = train(objective, split, (0, 1), METHOD)
    assert difference(second, alone) < ROUNDING
    # The bound means something: another seed, and the start, are far beyond it.
    tx = training.make_optimizer(METHOD, SETTINGS)
    start = training.init_state(1, objective, (CHUNK, FEATURES), tx).params
    assert min(difference(other, alone) for other in (first, start)) > 5000 * ROUNDING


def test_values_of_a_search_train_in_company_as_they_train_alone(objective, split, alone):
    varied = {"learning_rate": [4e-3, 1e-3], "rho": [0.0, 0.5], "mixup_alpha": [0.0, 2.0]}
    plain, second = train(objective, split, (0, 1), METHOD, varied)
    assert difference(second, alone) < ROUNDING
    # Without SAM and mixup the program of one is another one.
    hyper = METHOD._replace(learning_rate=4e-3, rho=0.0, mixup_alpha=0.0)
    assert difference(plain, train(objective, split, (0,), hyper)[0]) < ROUNDING


def test_equals_train_together():
    started, ahead, fresh = [{32, 64}, {32}], [{32, 64}, {96}], [set(), set()]
    progress = [started, started, fresh, fresh, started, ahead, fresh]
    assert group_near(progress, 2) == [[0, 1], [2, 3], [4], [5], [6]]
    assert group_near(progress, 9) == [[0, 1, 4], [2, 3, 6], [5]]


def test_memory_decides_how_many_train_together(objective):
    shape = CHUNK, FEATURES
    plain = METHOD._replace(rho=0.0, mixup_alpha=0.0)
    needed = memory.program_bytes(memory.compile_step(objective, plain, SETTINGS, BATCH, shape))
    tx = training.make_optimizer(plain, SETTINGS)
    params = training.init_state(0, objective, shape, tx).params
    # Parameters and Adam's two moments at least.
    assert needed > 3 * sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert memory.count_trainings(needed, 30 * needed, free=80 * needed) == 40
    assert memory.count_trainings(needed, 90 * needed, free=80 * needed) == 1


def test_an_accelerator_takes_what_its_memory_holds(tiny_dataset, tmp_path, monkeypatch):
    config = tiny_config(tiny_dataset)
    setup = make_setup(config, tmp_path)
    monkeypatch.setattr(memory, "program_bytes", lambda program: 10_000_000)
    stats = {"bytes_limit": 100_000_000, "bytes_in_use": 10_000_000}
    device = SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    monkeypatch.setattr(feeding, "choose_loader", lambda _: Choice("resident", "it fits"))
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    # 8/10 of what the data, less than a megabyte, leaves free.
    assert feeding.count_trainings_at_once(setup, 9) == 7
    device.platform = "tpu"
    assert feeding.count_trainings_at_once(setup, 9) == 1
    config.seeds_at_once = 3
    assert feeding.count_trainings_at_once(setup, 9) == 3
    monkeypatch.setattr(feeding, "choose_loader", lambda _: Choice("stream", "it does not fit"))
    assert feeding.count_trainings_at_once(setup, 9) == 1
