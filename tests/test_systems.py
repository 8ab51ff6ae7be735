"""The systems that the paper compares with, through the commands that its own models go through."""

import contextlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import CLASSES, FEATURE_DIM

from configs import common_systems
from spotting import Spotter, experiment, export
from spotting.base.errors import InputError
from spotting.data import resident, windows
from spotting.models.netvlad import NetVLAD
from spotting.runs.setup import make_setup
from spotting.training.checkpoints import Checkpoints
from spotting.training.recipes import Descent, Example, Source, make_netvlad_recipe, train_epoch
from spotting.training.step import init_state

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)


def tiny(name, root):
    """Each system at its smallest."""
    if name == "netvlad":
        config = common_systems.netvlad("max++")
        config.netvlad.window = 4.0
        config.training.update(batch_size=32, epochs=4, validate_every=2)
    elif name == "calf":
        config = common_systems.calf()
        config.calf.update(chunk=24.0, receptive_field=8.0, capsules=2, detections=5)
        config.calf.valid_chunks = 8
        config.training.update(batch_size=8, chunks_per_epoch=20, epochs=4, validate_every=2)
    else:
        config = common_systems.rmsnet_head()
        config.rmsnet.update(clip=4.0, widths=(8, 8, 8), taps=3, clips_per_class=20)
        config.training.update(batch_size=16, epochs=4, validate_every=2)
        config.confidence.learning_rate = 0.05
    config.data.update(root=str(root), features="")
    config.logging.update(progress=False, tensorboard=False)
    return config


KINDS = (
    "netvlad",
    pytest.param("calf", marks=pytest.mark.slow),
    pytest.param("rmsnet", marks=pytest.mark.slow),
)


@pytest.fixture(scope="module", params=KINDS)
def system_run(request, tiny_dataset, tmp_path_factory):
    config = tiny(request.param, tiny_dataset)
    workdir = tmp_path_factory.mktemp(request.param) / "run"
    metrics = experiment.run(config, workdir)
    return config, workdir, metrics[0]


def test_a_run_folder_is_complete(system_run):
    _, workdir, metrics = system_run
    assert metrics == json.loads((workdir / "metrics.json").read_text())
    for split in ("valid", "test"):
        assert set(metrics[split]["with_displacement"]["per_class"]) == set(CLASSES)
        assert "without_displacement" not in metrics[split]
    assert len(list(workdir.glob("results/**/results_spotting.json"))) == 1
    assert not (workdir / "results_without_displacement").exists()
    for name in ("config.json", "thresholds.json", "predictions/test.npz", "report.html"):
        assert (workdir / name).exists(), name


def test_a_finished_run_is_not_trained_again(system_run):
    config, workdir, metrics = system_run
    before = (workdir / "log.jsonl").read_text()
    assert experiment.run(config, workdir)[0] == metrics
    assert (workdir / "log.jsonl").read_text() == before


def test_spotter_spots_what_the_run_did(system_run, tiny_dataset):
    config, workdir, _ = system_run
    setup = make_setup(config, workdir)
    half = setup.matches.splits["test"][0]
    spotted = Spotter.load(workdir).spot(np.array(half.load(), np.float32))
    results = json.loads((workdir / "results" / half.game / "results_spotting.json").read_text())
    written = [e for e in results["predictions"] if int(e["half"]) == half.number]
    assert [spot.label for spot in spotted] == [e["label"] for e in written]
    ours = [spot.confidence for spot in spotted]
    np.testing.assert_allclose(ours, [float(e["confidence"]) for e in written], atol=1e-5)


def test_export_holds_the_network(system_run, tmp_path):
    _, workdir, _ = system_run
    assert max(export.export(workdir, tmp_path / "served").outputs) < 1e-5
    outputs = json.loads((tmp_path / "served" / "signature.json").read_text())["outputs"]
    assert outputs[0]["shape"][0] == "batch"


@pytest.mark.parametrize("name", KINDS)
def test_an_interrupted_training_resumes(name, tiny_dataset, tmp_path):
    config = tiny(name, tiny_dataset)
    config.training.select = "loss" if name == "netvlad" else "last"
    experiment.run(config, tmp_path, "train")
    setup = make_setup(config, tmp_path)
    folder = tmp_path / "checkpoints" / "confidence"

    def restore_best():
        with contextlib.closing(Checkpoints(folder)) as checkpoints:
            return checkpoints.restore("best", setup.variable_shapes("confidence"))

    whole = restore_best()
    # What a training that was killed after its second epoch leaves.
    steps = sorted(int(p.name) for p in (folder / "latest").iterdir() if p.name.isdigit())
    assert steps == [2 * setup.schedule.steps, 4 * setup.schedule.steps]
    shutil.rmtree(folder / "latest" / str(steps[-1]))
    shutil.rmtree(folder / "best")
    experiment.run(config, tmp_path, "train")
    same = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-6), whole, restore_best())
    assert all(jax.tree.leaves(same))


def test_published_peculiarities_are_fields(tiny_dataset, tmp_path):
    config = common_systems.publish(tiny("calf", tiny_dataset), "published")
    assert config.calf.overwrite_labels
    assert config.calf.misplaced_last
    assert config.postprocessing.nms == "half_open"
    config.training.update(epochs=1)
    metrics = experiment.run(config, tmp_path / "published")[0]
    assert np.isfinite(metrics["test"]["with_displacement"]["loose"])


def test_several_seeds_train_as_one_does(tiny_dataset, tmp_path):
    config = tiny("netvlad", tiny_dataset)
    config.seeds = (0, 1)
    config.seeds_at_once = 2
    both = experiment.run(config, tmp_path / "both")
    config.seeds = (1,)
    alone = experiment.run(config, tmp_path / "alone")
    ours, theirs = (each[1]["test"]["with_displacement"]["loose"] for each in (both, alone))
    assert ours == pytest.approx(theirs, abs=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(system="spotter"), "config.system is 'spotter'"),
        (lambda c: c.netvlad.update(pool="median"), "config.netvlad.pool is 'median'"),
        (lambda c: c.netvlad.update(window=0.2), "config.netvlad.window of 0.2 s has 0 frames"),
        (lambda c: c.data.update(loader="stream"), "draws from the resident split only"),
    ],
)
def test_what_a_system_cannot_take_is_refused(tiny_dataset, tmp_path, change, message):
    config = tiny("netvlad", tiny_dataset)
    change(config)
    with pytest.raises(InputError, match=message):
        make_setup(config, tmp_path)


def tiny_epoch(part=None, patience=None, keeps_best=False, num_examples=13, epochs=1, rate=0.01):
    frames, labels = 60, RNG.random((60, 2)) < 0.1
    features = np.random.default_rng(1).normal(size=(frames, FEATURE_DIM))
    offsets = np.where(labels, 0, 9).astype(np.int16)
    split = jax.tree.map(jnp.asarray, resident.concatenate([features], [offsets], 4))
    half = np.zeros(num_examples, np.int32)
    start = np.arange(num_examples, dtype=np.int32) * 4
    source = Source(split, (jnp.asarray(half), jnp.asarray(start)), num_examples)
    network = NetVLAD(2, "avg", dropout_rate=0.0)
    recipe = make_netvlad_recipe(network, 4, part)
    descent = Descent(optax.scale_by_adam(), optax.constant_schedule(1.0), patience, keeps_best)
    state = init_state(0, recipe, (4, FEATURE_DIM), descent)
    history = []
    for _ in range(epochs):
        state, metrics = train_epoch(
            state, source, source, recipe, descent, rate, num_steps=2, valid_steps=2, batch_size=8
        )
        history.append((state, metrics))
    return source, recipe, history


def test_a_batch_in_parts_has_the_gradient_of_the_whole():
    state = np.random.default_rng(0).bit_generator.state
    RNG.bit_generator.state = state
    whole = tiny_epoch(part=None)[2][-1]
    RNG.bit_generator.state = state
    parts = tiny_epoch(part=2)[2][-1]
    np.testing.assert_allclose(whole[1].loss, parts[1].loss, rtol=1e-5)
    leaves = (jax.tree.leaves(each[0].params) for each in (whole, parts))
    for ours, theirs in zip(*leaves, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_validation_loss_is_the_mean_over_all_windows():
    source, recipe, history = tiny_epoch()
    state, metrics = history[-1]
    batch = windows.cut_windows(source.split, *source.table, 4)
    example = Example(batch.features, windows.encode_windows(batch.offsets), jnp.ones(13))
    assert float(metrics.valid_loss) == pytest.approx(
        float(recipe.loss(state.params, example, None)[0]), rel=1e-5
    )


def test_the_least_validation_loss_is_kept_and_a_finished_training_stays():
    *_, history = tiny_epoch(patience=1, keeps_best=True, epochs=25, rate=1e-3)
    losses = [float(metrics.valid_loss) for _, metrics in history]
    state, _ = history[-1]
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(state.opt_state.plateau.least, min(losses), rtol=1e-6)
    *_, history = tiny_epoch(patience=0, keeps_best=True, epochs=12, rate=1e-8)
    finished = [bool(metrics.finished) for _, metrics in history]
    assert finished[-1]
    first = finished.index(True)
    frozen = jax.tree.map(np.array_equal, history[first][0].params, history[-1][0].params)
    assert all(jax.tree.leaves(frozen))
