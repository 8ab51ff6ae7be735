"""The truth as a perfect model outputs it: what it scores, and which mistakes it shows."""

import json

import numpy as np
import pytest
from helpers import CLASSES, SPLITS, tiny_config, write_dataset

from spotting import anchors, evaluate, timing
from spotting.base.errors import InputError
from spotting.data.annotations import LABELS_FILE
from spotting.data.dataset import DESCRIPTION_FILE
from spotting.inference import chunks, oracle
from spotting.inference.oracle import OracleSettings, predict_truth
from spotting.runs import setup


def run(monkeypatch, capsys, labels, *options):
    monkeypatch.setattr("sys.argv", ["evaluate", f"--labels={labels}", "--oracle", *options])
    evaluate.main()
    lines = capsys.readouterr().out.splitlines()
    scores = next(line.split() for line in lines if line.startswith("all "))
    return lines, dict(zip(("loose", "tight"), map(float, scores[1:3]), strict=True))


@pytest.fixture
def score(monkeypatch, capsys, tiny_dataset):
    return lambda *options, labels=tiny_dataset: run(monkeypatch, capsys, labels, *options)


# The data set's events are 12 s apart or more, so that a window of 20 s loses some.
SHORT = "--window=6"


@pytest.mark.slow
def test_the_ceiling_is_high(score):
    lines, scores = score(SHORT)
    assert lines[0] == (
        "the truth as perfect models output it: 2 frames per second, hard NMS of 6 s"
    )
    assert scores["loose"] > 99
    assert scores["tight"] > 90
    # Frames of 2 s cannot tell what a tolerance of 1 s asks for.
    assert score(SHORT, "--frame-rate=0.5")[1]["tight"] < scores["tight"] - 4
    assert score("--window=20")[1]["loose"] < scores["loose"] - 2


@pytest.mark.slow
def test_without_features_halves_last_as_long_as_their_labels(score, tiny_dataset, tmp_path):
    for path in tiny_dataset.rglob(LABELS_FILE):
        target = tmp_path / path.relative_to(tiny_dataset)
        target.parent.mkdir(parents=True)
        target.write_bytes(path.read_bytes())
    (tmp_path / DESCRIPTION_FILE).write_bytes((tiny_dataset / DESCRIPTION_FILE).read_bytes())
    assert score(SHORT, labels=tmp_path)[1]["loose"] > 99
    options = ("--config=common", "--config.data.event_time=position", "--frame-rate=5")
    assert score(SHORT, *options, labels=tmp_path)[1]["tight"] > 99
    (tmp_path / DESCRIPTION_FILE).unlink()  # SoccerNet's classes, two of them here
    assert score(SHORT, labels=tmp_path)[1]["loose"] > 10


# Mistakes in the data


@pytest.fixture
def damaged(tmp_path):
    return write_dataset(tmp_path / "data", SPLITS)


def rewrite_labels(root, change):
    for path in root.rglob(LABELS_FILE):
        labels = json.loads(path.read_text())
        for entry in labels["annotations"]:
            half, _, _ = entry["gameTime"].partition(" - ")
            position = change(int(entry["position"]))
            entry |= {
                "position": str(position),
                "gameTime": timing.game_time(int(half), position),
            }
        path.write_text(json.dumps(labels))


def test_a_wrong_frame_rate_is_found(score, damaged):
    good = score(SHORT, labels=damaged)[1]
    # The features are of 2 frames per second, the description says 4.
    path = damaged / DESCRIPTION_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"frame_rate": 4.0}))
    lines, scores = score(SHORT, labels=damaged)
    assert scores["loose"] < good["loose"] - 20
    assert any("events after the end of their half" in line for line in lines)
    assert score(SHORT, "--frame-rate=2", labels=damaged)[1] == good


def test_an_offset_is_found(score, damaged):
    # Times of the whole match instead of the half.
    rewrite_labels(damaged, lambda position: position + 45_000)
    lines, scores = score(SHORT, labels=damaged)
    assert scores["loose"] < 80
    assert any("events after the end of their half" in line for line in lines)


def test_a_gap_is_found(score, damaged):
    # Half of each recording is missing.
    for path in damaged.rglob("*.npy"):
        np.save(path, np.load(path)[:75])
    assert score(SHORT, labels=damaged)[1]["loose"] < 80


# Mistakes in the code


@pytest.mark.parametrize("factor", [1.02, 2.0])
def test_a_wrong_frame_rate_in_the_code_is_found(score, monkeypatch, factor):
    original = timing.position_ms
    wrong = lambda frame, rate: original(frame, factor * rate)  # noqa: E731
    monkeypatch.setattr(timing, "position_ms", wrong)
    assert score(SHORT)[1]["tight"] < 90


@pytest.mark.parametrize("frames", [-4, 4])
def test_an_offset_in_the_code_is_found(score, monkeypatch, frames):
    original = timing.event_frame
    monkeypatch.setattr(timing, "event_frame", lambda *a: max(0, original(*a) + frames))
    assert score(SHORT)[1]["tight"] < 80


def test_displacements_of_the_wrong_sign_are_found(score, monkeypatch):
    original = oracle.encode_displacement
    monkeypatch.setattr(
        oracle,
        "encode_displacement",
        lambda *a: anchors.AnchorTargets(-original(*a).targets, None),
    )
    chunks.spot_segments.clear_cache()
    assert score(SHORT)[1]["tight"] < 50
    chunks.spot_segments.clear_cache()


def test_a_gap_between_chunks_is_found(score, monkeypatch):
    original = chunks.stitching
    options = ("--config=common", "--config.anchors.chunk=16", "--config.inference.border=4")
    options += ("--config.model.unet.levels=2",)
    assert score(SHORT, *options)[1]["loose"] > 99
    monkeypatch.setattr(
        chunks,
        "stitching",
        lambda *a: [row._replace(chunk_start=max(0, row.chunk_start - 6)) for row in original(*a)],
    )
    assert score(SHORT, *options)[1]["tight"] < 80


# The command line, and a training's oracle


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --predictions=DIR_OR_ZIP or --oracle"),
        (["--oracle", "--predictions=x"], "give either"),
        (["--predictions=x", "--window=3"], "--window belongs to --oracle"),
        (["--oracle", "--frame-rate=0"], "number above 0"),
    ],
)
def test_options_that_do_not_go_together(monkeypatch, tiny_dataset, options, message):
    monkeypatch.setattr("sys.argv", ["evaluate", f"--labels={tiny_dataset}", *options])
    with pytest.raises(InputError, match=message):
        evaluate.main()


def test_outputs_are_the_targets():
    labels = np.zeros((40, 2))
    labels[[3, 30], 0] = labels[11, 1] = 1
    offsets = [anchors.event_offsets(labels)]
    confidence, displacement = predict_truth(offsets, OracleSettings(2.0, 4.0, 16, 4, 2))
    assert np.flatnonzero(confidence[0][:, 1]).tolist() == [9, 10, 11, 12, 13]
    np.testing.assert_allclose(displacement[0][:9, 0], [3, 2, 1, 0, -1, -2, -3, -4, 0], atol=1e-6)
    assert predict_truth(offsets, OracleSettings(0.0, None, 16, 4)).displacement is None
    shaped, half_way = predict_truth(
        offsets,
        OracleSettings(2.0, 4.0, 16, 4, 2, confidence_shape="gaussian", displacement_scale=0.5),
    )
    assert np.argmax(shaped[0][:, 1]) == 11
    assert 0 < shaped[0][9, 1] < shaped[0][10, 1] < shaped[0][11, 1] == 1
    np.testing.assert_allclose(half_way[0], np.asarray(displacement[0]) / 2, atol=1e-6)


def test_a_training_has_the_ceiling_beside_its_scores(tiny_run, tiny_dataset):
    scores = json.loads((tiny_run / "metrics.json").read_text())["test"]
    assert scores["oracle"]["loose"] > scores["with_displacement"]["loose"]
    assert set(scores["oracle"]["per_class"]) == set(CLASSES)
    config = tiny_config(tiny_dataset)
    settings = setup.read_oracle(config, 2.0)
    assert settings.confidence_radius == 6
    assert settings.displacement_radius == 12
    assert (settings.confidence_shape, settings.displacement_scale) == ("box", 1.0)
    config.anchors.confidence_shape = "gaussian"
    config.postprocessing.displacement_scale = 0.5
    settings = setup.read_oracle(config, 2.0)
    assert (settings.confidence_shape, settings.displacement_scale) == ("gaussian", 0.5)
