import json
import sys

import jax
import numpy as np
import pytest

from spotting import Spotter, export
from spotting.base import cli

T, P, K = 32, 16, 3


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "model"
    errors = export.export(tiny_run, output)
    assert max(errors) < 1e-5
    return output


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


def test_signature(exported):
    signature = json.loads((exported / "signature.json").read_text())
    (features,) = signature["inputs"]
    assert (features["name"], features["dtype"]) == ("features", "float32")
    assert features["shape"] == ["batch", T, P]
    assert [output["name"] for output in signature["outputs"]] == ["confidence", "displacement"]
    assert all(output["shape"] == ["batch", T, K] for output in signature["outputs"])
    assert signature["classes"] == ["Goal", "Corner", "Throw-in"]
    assert signature["frame_rate"] == 2


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
