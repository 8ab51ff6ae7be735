import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import tiny_config

from spotting import Spotter, experiment, export
from spotting.base import cli
from spotting.inference import spots

pytestmark = pytest.mark.slow

T, P, K = 32, 16, 3


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "model"
    found = export.export(tiny_run, output)
    assert max(found.outputs) < 1e-5
    assert found.spots > 10
    assert found.moved == 0
    return output


@pytest.fixture(scope="module")
def other(tiny_dataset, tmp_path_factory):
    """A run on resampled, normalised features, with soft suppression of its own for each class."""
    config = tiny_config(tiny_dataset)
    config.data.update(resample=4.0, normalize="standard")
    config.data.prepared_dir = str(tmp_path_factory.mktemp("prepared"))
    config.training.epochs = 1
    decays = ("linear", "gaussian", "quadratic")
    config.postprocessing.update(nms="soft", window=(2.0, 4.5, 3.0), decay=decays)
    config.postprocessing.update(displacement_scale=0.5, vote_spread=0.6, vote_rate=8.0)
    workdir = tmp_path_factory.mktemp("other") / "run"
    experiment.run(config, workdir)
    return workdir


def test_outputs_are_the_run_s(exported, tiny_run):
    model = jax.export.deserialize(bytearray((exported / "model.stablehlo").read_bytes()))
    assert set(model.platforms) == {"cpu", "cuda", "tpu"}
    spotter = Spotter.load(tiny_run)
    chunks = np.random.default_rng(0).normal(size=(5, T, P)).astype(np.float32)
    for batch_size in (1, 2, 5):
        confidence, displacement = model.call(chunks[:batch_size])
        assert confidence.shape == displacement.shape == (batch_size, T, K)
        # A half of T frames is one chunk, all of which is kept.
        np.testing.assert_allclose(
            confidence[-1], spotter._outputs(spotter._run.confidence, chunks[batch_size - 1]), 1e-4
        )
        radius = 6.0  # seconds
        np.testing.assert_allclose(
            displacement[-1] / radius,
            spotter._outputs(spotter._run.displacement, chunks[batch_size - 1]),
            atol=1e-5,
        )
    with pytest.raises(ValueError, match="16"):
        model.call(chunks[..., :15])


def test_signature(exported, tiny_run):
    signature = json.loads((exported / "signature.json").read_text())
    (features,) = signature["inputs"]
    assert (features["name"], features["dtype"]) == ("features", "float32")
    assert features["shape"] == ["batch", T, P]
    assert [output["name"] for output in signature["outputs"]] == ["confidence", "displacement"]
    assert all(output["shape"] == ["batch", T, K] for output in signature["outputs"])
    assert signature["classes"] == ["Goal", "Corner", "Throw-in"]
    assert signature["frame_rate"] == 2
    assert signature["features"] == {
        "name": "toy16",
        "dim": P,
        "frame_rate": 2.0,
        "resampling": "none",
        "normalization": "none",
    }
    assert signature["chunks"] == {"frames": T, "border": 6, "overlap": 12, "padding": 0.0}
    suppression = {"kind": "hard", "windows": [20.0], "soft_threshold": 1e-5, "decays": ["linear"]}
    assert signature["suppression"] == suppression
    assert signature["votes"] == {"frame_rate": 2, "spread": 0, "full": 1}
    assert signature["thresholds"] == json.loads((tiny_run / "thresholds.json").read_text())
    assert (exported / "spots.py").read_text() == Path(spots.__file__).read_text()


def _check_spots(workdir, folder, scale):
    """Whether spots.py around the exported model finds what the run's Spotter finds."""
    model = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    signature = spots.read_signature(folder / "signature.json")
    spotter = Spotter.load(workdir)
    generator = np.random.default_rng(1)
    for num_frames in (1, 20, 32, 33, 150):
        features = scale * generator.normal(size=(num_frames, P)).astype(np.float32)
        for threshold in (0.0, 0.3, "auto"):
            ours = spots.spot_half(features, model.call, signature, threshold, batch_size=2)
            theirs = spotter.spot(features, threshold)
            assert [spot[:2] for spot in ours] == [spot[:2] for spot in theirs]
            confidence = [spot.confidence for spot in theirs]
            np.testing.assert_allclose([spot.confidence for spot in ours], confidence, atol=1e-5)


def test_spots_are_the_run_s(exported, tiny_run):
    _check_spots(tiny_run, exported, 1.0)


def test_takes_what_the_feature_files_hold(other, tmp_path):
    found = export.export(other, tmp_path)
    assert found.moved == 0
    _check_spots(other, tmp_path, 3.0)
    signature = spots.read_signature(tmp_path / "signature.json")
    assert (signature["frame_rate"], signature["features"]["frame_rate"]) == (4, 2)
    assert signature["features"]["normalization"] == "in the model"
    assert len(signature["chunks"]["padding"]) == P
    assert signature["suppression"]["windows"] == [2.0, 4.5, 3.0]


def test_spots_need_numpy_alone(exported):
    program = (
        "import json, sys, numpy as np, spots\n"
        "signature = spots.read_signature('signature.json')\n"
        "rng = np.random.default_rng(0)\n"
        "def model(x): return rng.random((len(x), 32, 3)), rng.normal(size=(len(x), 32, 3))\n"
        "found = spots.spot_half(rng.normal(size=(99, 16)), model, signature, 0.2)\n"
        "assert found and found == sorted(found, key=lambda spot: spot.seconds)\n"
        "assert not {'jax', 'spotting'} & set(sys.modules)\n"
        "try: spots.spot_half(np.zeros((9, 3)), model, signature)\n"
        "except ValueError as error: assert '16' in str(error)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=exported, check=True)


def test_what_spots_differently_is_not_written(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "compare_spots", lambda *_: (100, 0.5))
    with pytest.raises(ArithmeticError, match=r"moved=0\.5"):
        export.export(tiny_run, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_command_line(tiny_run, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        command = ["export", f"--workdir={tiny_run}", f"--output={tmp_path / 'é'}", *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            cli.run(export.main)
        return end.value.code

    # What computes something else is not left behind.
    monkeypatch.setattr(export, "difference", lambda *_: (0.5, 0.0))
    assert run() == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'é'}: not written")
    assert list((tmp_path / "é").iterdir()) == []

    monkeypatch.setattr(export, "difference", lambda *_: (1e-7, 2e-6))
    assert run() == 0
    assert "at most 1.0e-07 (confidence) and 2.0e-06 s" in capsys.readouterr().out
    assert run() == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert run("--overwrite") == 0
    assert run("--batch=3") == 2
    assert capsys.readouterr().err == "error: unrecognized arguments: --batch=3; see --help\n"
