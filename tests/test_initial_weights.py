"""Trainings that start from weights which are there already."""

import json
import re

import jax
import numpy as np
import pytest
from helpers import CLASSES, tiny_config

from spotting import experiment
from spotting.base.errors import InputError
from spotting.models.keras_names import to_keras
from spotting.runs.initial_weights import read_initial_weights
from spotting.runs.setup import make_network
from spotting.runs.trained import load_run
from spotting.training.objectives import KINDS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tiny_run):
    return load_run(tiny_run)


@pytest.fixture
def standing_still(tiny_dataset):
    """A training that leaves weights as they are."""
    config = tiny_config(tiny_dataset)
    for kind in KINDS:
        config[kind].update(learning_rate=0.0, weight_decay=0.0)
    config.training.update(epochs=1, chunks_per_epoch=8, select="last")
    return config


def fresh(run, kind="confidence", classes=CLASSES):
    """Drawn variables, of the run's network but for the classes."""
    network = make_network(run.config, kind, len(classes))
    features = np.zeros((1, run.chunk_frames, run.dataset.feature_dim), np.float32)
    return jax.jit(network.init)(jax.random.key(5), features)


def write_h5(path, params, kind):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in to_keras(params, kind).items():
            file[f"{name.split('/')[0]}/{name}"] = array


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_run_and_an_official_model_to_start_from(run, standing_still, tmp_path):
    write_h5(tmp_path / "displacement_7.h5", run.displacement.params, "displacement")
    standing_still.seeds = (7,)
    standing_still.confidence.initial_weights = str(run.workdir)
    standing_still.displacement.initial_weights = str(tmp_path / "displacement_{seed}.h5")
    experiment.run(standing_still, tmp_path / "run", "train")
    end = load_run(tmp_path / "run")
    assert_equal(end.confidence.params, run.confidence.params)
    assert_equal(end.displacement.params, run.displacement.params)


def test_a_training_under_way_needs_them_no_more(run, standing_still, tmp_path):
    source = tmp_path / "source.h5"
    write_h5(source, run.confidence.params, "confidence")
    standing_still.confidence.initial_weights = str(source)
    experiment.run(standing_still, tmp_path / "run", "train")
    source.unlink()
    experiment.run(standing_still, tmp_path / "run", "train")


def test_known_classes_keep_their_head(run, capsys):
    classes = ("Goal", "Foul", "Throw-in", "Offside")
    drawn = fresh(run, classes=classes)
    params = read_initial_weights(run.workdir, "confidence", drawn, classes)
    assert_equal(params["params"]["trunk"], run.confidence.params["params"]["trunk"])
    new, own, old = (
        tree["params"]["head"]["kernel"] for tree in (params, drawn, run.confidence.params)
    )
    expected = np.stack([old[..., 0], own[..., 1], old[..., 2], own[..., 3]], axis=-1)
    np.testing.assert_array_equal(new, expected)
    assert "but for 2 new classes" in capsys.readouterr().err


def test_an_official_model_of_other_classes_gives_no_head(run, tmp_path):
    write_h5(tmp_path / "model.h5", run.confidence.params, "confidence")
    drawn = fresh(run, classes=("Goal", "Corner"))
    params = read_initial_weights(tmp_path / "model.h5", "confidence", drawn, ("Goal", "Corner"))
    assert_equal(params["params"]["head"], drawn["params"]["head"])
    assert_equal(params["params"]["reduction"], run.confidence.params["params"]["reduction"])


def test_what_does_not_fit_is_told_before_training(run, standing_still, tmp_path):
    config, workdir = standing_still, tmp_path / "run"
    config.displacement.initial_weights = str(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"nothing: no such file, folder or checkpoint"):
        experiment.run(config, workdir)
    write_h5(tmp_path / "model.h5", run.confidence.params, "confidence")
    config.displacement.initial_weights = str(tmp_path / "model.h5")
    with pytest.raises(InputError, match=r"model.h5: a confidence model, and not a displacement"):
        experiment.run(config, tmp_path / "run2")
    config.displacement.initial_weights = ""
    config.model.reduction = (16, 12)
    config.confidence.initial_weights = str(run.workdir)
    wrong = re.escape("reduction/layer1/bias is (8,) but the model has (12,)")
    with pytest.raises(InputError, match=wrong):
        experiment.run(config, tmp_path / "run3")
    for folder in (workdir, tmp_path / "run2", tmp_path / "run3"):
        kinds = [json.loads(line)["kind"] for line in (folder / "log.jsonl").open()]
        assert "train" not in kinds
