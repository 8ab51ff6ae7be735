"""`predict --video`, `Spotter.spot_video` and `live`: from a video to spots."""

import csv
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPLITS, tiny_config, write_dataset
from video_fixture import write_video

from spotting import Spotter, experiment, live, predict
from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.files import read_object, write_json_atomic
from spotting.data.annotations import read_results
from spotting.video import FEATURES, FeatureNetwork
from spotting.video import network as networks

pytestmark = pytest.mark.slow

FEATURES_NAME = "EfficientNetLite0"


@pytest.fixture(scope="module")
def video_run(tmp_path_factory):
    """A run on 16 features of the name of those that `small_network` makes."""
    folder = tmp_path_factory.mktemp("video_run")
    root = write_dataset(folder / "data", SPLITS)
    for path in root.rglob("*_toy16.npy"):
        path.rename(path.with_name(path.name.replace("toy16", FEATURES_NAME)))
    description = read_object(root / "dataset.json") | {"features": FEATURES_NAME}
    write_json_atomic(root / "dataset.json", description)
    config = tiny_config(root)
    config.training.epochs = 1
    experiment.run(config, folder / "run")
    return folder / "run"


@pytest.fixture
def small_network(monkeypatch):
    """The colours of 16 parts of a picture in place of EfficientNet's features."""
    small = FEATURES[FEATURES_NAME]._replace(dim=16)
    monkeypatch.setitem(networks.FEATURES, FEATURES_NAME, small)

    def load(features, weights=None, pca=None, *, log=None):
        assert features == FEATURES_NAME
        details = networks.NetworkDetails(features, "small", "none", "", "", "", "float32", False)
        return FeatureNetwork(details, compute, {})

    def compute(params, pictures):
        middle = pictures.astype(jnp.float32) / 255
        parts = middle.reshape(len(pictures), 4, 56, 4, 56, 3).mean((2, 4, 5))
        return parts.reshape(len(pictures), 16)

    monkeypatch.setattr("spotting.spotter.load_network", load)
    return load


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    def run(workdir, *arguments):
        output = f"--output={tmp_path / 'out'}"
        command = ["predict", f"--workdir={workdir}", output, *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            cli.run(predict.main)
        return end.value.code, capsys.readouterr().err

    return run


def test_from_a_video_to_spots(video_run, small_network, run, tmp_path):
    path = write_video(tmp_path / "match.mp4", 300)
    arguments = (f"--video={path}", "--halves=0:01-0:05,0:06-0:12", "--export=csv")
    code, errors = run(video_run, *arguments)
    assert code == 0, errors
    output = tmp_path / "out"
    features = [np.load(output / f"features/match/{n}_{FEATURES_NAME}.npy") for n in (1, 2)]
    assert [len(half) for half in features] == [8, 12]
    with open(output / "spots.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["half"] for row in table} == {"1", "2"}
    for row in table:
        start = {"1": 1.0, "2": 6.0}[row["half"]]
        assert float(row["video_seconds"]) == start + float(row["seconds"])
    assert (output / "match" / "events.csv").is_file()

    spotter = Spotter.load(video_run)
    expected = [spotter.spot(half) for half in features]
    found = read_results(output / "match/results_spotting.json")
    assert [(s.half, s.label, s.position, s.confidence) for s in found] == [
        (half, s.label, s.seconds, s.confidence) for half in (1, 2) for s in expected[half - 1]
    ]
    halves = spotter.spot_video(path, "0:01-0:05,0:06-0:12")
    assert list(halves) == [1, 2]
    assert [spot[:3] for spot in halves[2]] == [tuple(spot) for spot in expected[1]]
    assert all(spot.video_seconds == spot.seconds + 6 for spot in halves[2])

    before = {p: p.stat().st_mtime_ns for p in output.rglob("*.npy")}
    code, errors = run(video_run, *arguments)
    assert (code, "1 of 1 games spotted" in errors) == (0, True)
    assert "1 of them before" in errors
    assert before == {p: p.stat().st_mtime_ns for p in output.rglob("*.npy")}


def test_a_video_that_fails_is_named_and_the_others_go_on(video_run, small_network, run, tmp_path):
    good, bad = write_video(tmp_path / "good.mp4", 60), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    code, errors = run(video_run, "--video", good, "--video", bad)
    assert code == 1
    assert "1 of 2 games spotted" in errors
    assert "error: 1 of 2 games failed, see above" in errors
    assert (tmp_path / "out/good/results_spotting.json").is_file()


def test_features_of_another_kind_are_refused_before_any_work(tiny_run, video_run, run, tmp_path):
    path = write_video(tmp_path / "match.mp4", 10)
    code, errors = run(tiny_run, f"--video={path}")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "toy16 cannot be extracted from videos, only ResNET_TF2" in errors
    with pytest.raises(InputError, match="EfficientNetLite0 of 16 values at 2 frames"):
        Spotter.load(video_run).spot_video(path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --features=MATCHES or --video=FILE"),
        (("--features=x", "--video=y"), "give either"),
        (("--features=.", "--halves=0-1"), "--halves belongs to --video"),
        (("--video=none.mp4",), "none.mp4: no such video"),
    ],
)
def test_bad_usage(run, tmp_path, arguments, message):
    code, errors = run(tmp_path, *arguments)
    assert (code, len(errors.splitlines())) == (2, 1)
    assert message in errors


def run_live(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["live", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.run(live.main)
    return end.value.code


def test_live(video_run, small_network, tmp_path, monkeypatch, capsys):
    path = write_video(tmp_path / "match.mp4", 500)
    output = tmp_path / "spots.jsonl"
    command = (f"--workdir={video_run}", f"--video={path}", "--threshold=0.1", f"--output={output}")
    assert run_live(monkeypatch, *command) == 0
    out, err = capsys.readouterr()
    assert output.read_text("utf-8") == out
    entries = [json.loads(line) for line in out.splitlines()]
    expected = Spotter.load(video_run).spot_video(path, threshold=0.1)[1]
    assert {(one["seconds"], one["class"], one["confidence"]) for one in entries} == {
        (spot.seconds, spot.label, round(spot.confidence, 6)) for spot in expected
    }
    assert f"{len(entries)} spots in 00:20.000 of video, " in err
    assert "s of processor time per second of video" in err

    assert run_live(monkeypatch, *command, "--delay=4", "--step=1") == 0
    late = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert late
    assert max(one["known_at"] - one["seconds"] for one in late) <= 4
    assert len(output.read_text("utf-8").splitlines()) == len(entries) + len(late)


def test_live_ends_with_one_line(video_run, small_network, tmp_path, monkeypatch, capsys):
    path = write_video(tmp_path / "match.mp4", 10)

    def rows(*arguments, **options):
        yield 0, np.zeros((4, 16), np.float32)
        raise KeyboardInterrupt

    monkeypatch.setattr("spotting.video.stream_rows", rows)
    assert run_live(monkeypatch, f"--workdir={video_run}", f"--video={path}") == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("interrupted: ")
    assert "of video" in last


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--video=none.mp4",), "none.mp4: no such video"),
        (("--video=-", "--threshold=2"), "--threshold=2: a confidence"),
        (("--video=-", "--delay=1"), "it is at least a step"),
    ],
)
def test_bad_usage_of_live(video_run, monkeypatch, capsys, arguments, message):
    assert run_live(monkeypatch, f"--workdir={video_run}", *arguments) == 2
    errors = capsys.readouterr().err
    assert (message in errors, len(errors.splitlines())) == (True, 1)
