"""Some seconds of tests/programs/fuzz.py, and what it found when it ran for longer."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "programs"))

import fuzz
from helpers import tiny_config

from spotting import predict
from spotting.base import inputs
from spotting.base.errors import InputError
from spotting.base.files import parse_json
from spotting.data import exports
from spotting.data.dataset import describe_dataset
from spotting.reporting.review.store import _find_problem
from spotting.reporting.runs import read_number
from spotting.runs import config_files
from spotting.runs.folders import read_scored
from spotting.runs.prediction_record import PredictionRecord
from spotting.video import games, record

pytestmark = pytest.mark.slow

SLOW = "dataset.json", "run folder", "results.zip", "predictions.npz"
HERE = [name for name, target in fuzz.TARGETS.items() if not target.in_child]


@pytest.mark.parametrize("name", HERE)
def test_bad_input_is_refused(name, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ["XDG_CACHE_HOME"])
    count = 12 if name in SLOW else 60
    found = fuzz.fuzz_here(name, 0, 0, count, time.monotonic() + 60)
    assert found.problems == ()
    assert found.inputs == count
    assert found.refused > 0


def test_the_fuzzer_sees_what_it_watches_for(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ["XDG_CACHE_HOME"])
    outside = tmp_path.parent / "fuzz-folder"
    harmful = {
        "open": lambda folder: (folder.parent.parent / "fuzz-outside").open("w").close(),
        "os.mkdir": lambda folder: outside.mkdir(exist_ok=True),
        "pickle.find_class": lambda folder: __import__("pickle").loads(b"cos\nsystem\n."),
        "ZeroDivisionError": lambda folder: 1 / 0,
        "MB of memory": lambda folder: bytearray(b"1" * (400 << 20)),
    }
    for words, read in harmful.items():
        target = fuzz.Target(lambda rng, folder: None, read)
        monkeypatch.setitem(fuzz.TARGETS, "harmful", target)
        _, problem = fuzz.try_input("harmful", 0, 0, tmp_path, fuzz._watch())
        assert words in problem
    (tmp_path.parent / "fuzz-outside").unlink()
    outside.rmdir()


@pytest.mark.parametrize(
    "name",
    ["..", "../x", "a/../../x", "/x", "", ".", "a\0b", "x" * 300, "a/" * 2000],
)
def test_names_that_lead_elsewhere(tmp_path, name):
    assert not inputs.is_below(name)
    values = fuzz.DESCRIPTION | {"splits": {"test": [name]}}
    (tmp_path / "dataset.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="is not a path below the folder"):
        describe_dataset(tmp_path)
    if name.strip("."):
        video = tmp_path / "a.mkv"
        video.touch()
        with pytest.raises(InputError, match="is no game's name"):
            games.find_games([str(video)], tmp_path / "out", game=name)


@pytest.mark.parametrize("name", ["a", "league/2026/a - b", "..a", "Málaga 1 - 0 Köln"])
def test_names_below_a_folder(name):
    assert inputs.is_below(name)
    assert not inputs.is_below(f"{name}\ud800")


@pytest.mark.parametrize(
    "content", [b"a.mkv\t\t\xff", b"x" * 3000, b"a\0b.mkv", b"a.mkv\t0:00:01-0:00:09\t../x"]
)
def test_lists_of_videos(tmp_path, content):
    (tmp_path / "a.mkv").touch()
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(InputError):
        games.find_games([], tmp_path / "out", listing=tmp_path / "list")


@pytest.mark.parametrize(
    "change",
    [
        {"start": float("inf")},
        {"start": float("nan")},
        {"end": 10**400},
        {"end": -1e300},
        {"video": 3},
        {"half": 5},
        {"half": []},
    ],
)
def test_times_of_halves(tmp_path, change):
    half = {"half": 1, "start": 0.0, "end": 9.0, "video": "a.mkv"} | change
    (tmp_path / "extraction.json").write_text(json.dumps({"halves": [half]}))
    with pytest.raises(InputError, match="no times of halves in it"):
        exports.read_places(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"file": "../x.npy"}, {"file": "\0"}, {"half": "1"}, {"start": None}, {"dim": 10**30}],
)
def test_records_of_extraction(tmp_path, change):
    half = dict.fromkeys(("features", "file", "dtype", "video", "video_sha256", "rule"), "x")
    half |= dict.fromkeys(("half", "rows", "dim", "columns"), 1)
    half |= dict.fromkeys(("frame_rate", "start", "end", "lost_seconds"), 1.0)
    half |= {"requested_end": None, "network": {}, "notes": [], "versions": {}}

    def write(values):
        text = json.dumps({"version": record.VERSION, "halves": [values]})
        (tmp_path / "extraction.json").write_text(text)

    write(half)
    assert record.read_records(tmp_path)[0].rows == 1
    write(half | change)
    with pytest.raises(InputError, match="delete it and extract again"):
        record.read_records(tmp_path)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("../../x", {"files": {}, "seconds": {"1": 9.0}}),
        ("a", []),
        ("a", {"files": {}}),
        ("a", {"files": {}, "seconds": {"1": "9"}}),
        ("a", {"files": {}, "seconds": {"7": 9.0}}),
        ("a", {"files": {}, "seconds": {"1": float("inf")}}),
    ],
)
def test_records_of_predict(tmp_path, name, entry):
    text = json.dumps({"made_by": {}, "games": {name: entry}})
    (tmp_path / predict.RECORD_FILE).write_text(text)
    with pytest.raises(InputError, match="--overwrite replaces it"):
        PredictionRecord(tmp_path, {})


@pytest.mark.parametrize(
    "change", [{"labels": 3}, {"labels": [3]}, {"document": []}, {"source": None}, {"items": {}}]
)
def test_states_of_a_review(change):
    state = {"format": 1, "game": "g", "revision": 1, "items": []}
    assert _find_problem(state) == ""
    assert _find_problem(state | change).startswith("damaged")


@pytest.mark.parametrize(
    ("name", "text"),
    [("training.epochs", "None"), ("logging.progress", "None"), ("training.epochs", "9" * 5000)],
)
def test_flags_without_a_value(tmp_path, name, text):
    with pytest.raises(InputError, match="the field takes"):
        config_files.override(tiny_config(tmp_path), name, text)


def test_confidences_of_any_size_are_exported():
    moments = [exports.Moment(1, "Goal", 1.0, confidence) for confidence in (1e308, -1e308)]
    text = exports.make_exports(("sportscode",), "g", moments, {}, ())["sportscode.xml"].decode()
    assert "90-100" in text
    assert "<text>0-10</text>" in text


def test_videos_that_name_other_files(tmp_path):
    pytest.importorskip("av")
    from spotting.video import decoding

    for number, text in enumerate(
        ("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "ffconcat version 1.0\nfile /etc/passwd\n")
    ):
        path = tmp_path / f"{number}.mkv"
        path.write_text(text)
        with pytest.raises(InputError, match="not a video"):
            decoding.scan(path)
    with pytest.raises(FileNotFoundError):
        decoding.scan(tmp_path / "none.mkv")


def test_names_of_weights_are_those_of_the_arrays(tmp_path):
    """HDF5 may never come back from reading damaged names in an attribute."""
    h5py = pytest.importorskip("h5py")
    from spotting.video.weights import read_keras_weights

    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.create_dataset("dense/kernel:0", data=[[1.0]])
    found = read_keras_weights(path, {"dense": {"kernel": (1, 1)}})
    assert found["dense"]["kernel"].tolist() == [[1.0]]


@pytest.mark.parametrize(
    "scores",
    [
        {"loose": "1", "tight": 1.0, "per_class": {}},
        [],
        {"loose": 1.0, "tight": 1.0},
        {"loose": 10**400, "tight": 1.0, "per_class": {}},
    ],
)
def test_scores_that_cannot_be_printed(tmp_path, scores):
    (tmp_path / "metrics.json").write_text(json.dumps({"test": {"with_displacement": scores}}))
    with pytest.raises(InputError, match="its scores are incomplete"):
        read_scored({0: tmp_path})


@pytest.mark.parametrize("content", [b'{"a": "\\ud800"}', b'{"\\uDC00": 1}', b'"\xed\xa0\x80"'])
def test_json_with_half_of_a_surrogate_pair(content):
    with pytest.raises(InputError, match="not JSON"):
        parse_json(content, "a.json")


def test_json_of_any_characters():
    text = '{"a": "\\ud83d\\ude00 \\u00e9 \\\\ud800"}'
    expected = {"a": "\U0001f600 \xe9 \\ud800"}
    for content in (text, text.encode(), text.encode("utf-16"), text.encode("utf-8-sig")):
        assert parse_json(content, "a.json") == expected


def test_numbers_of_any_size_in_a_log():
    assert read_number({"loss": 10**400}, "loss") == 1e100
    assert read_number({"loss": -(10**400)}, "loss") == -1e100
