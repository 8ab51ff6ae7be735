"""Videos become files of features: the same whether interrupted, sharded, streamed or not."""

import dataclasses
import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from video_fixture import write_video

from spotting import video
from spotting.base import files
from spotting.base.errors import InputError
from spotting.video import extraction, folders
from spotting.video.network import FeatureNetwork, NetworkDetails

pytestmark = pytest.mark.slow

FEATURES = "EfficientNetLite0"
DETAILS = NetworkDetails(FEATURES, "a mean", "none", "0" * 64, "", "", "float32", True)


def compute(scale, pictures):
    """Stands for a network: numbers that depend on all of a picture."""
    values = pictures.astype(jnp.float32)[:, :, :, :].mean((1, 3))[:, :160]
    return jnp.tile(values, 8) * scale


def make_network(scale: float = 1.0, **changes) -> FeatureNetwork:
    details = dataclasses.replace(DETAILS, **changes)
    return FeatureNetwork(details, compute, np.float32(scale), pictures_per_device=4)


@pytest.fixture(scope="module")
def match(tmp_path_factory) -> Path:
    """20 s."""
    return write_video(tmp_path_factory.mktemp("video") / "match.mkv", 500)


@pytest.fixture(scope="module")
def whole(match, tmp_path_factory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("features")
    video.extract_video(match, make_network(), folder)
    return np.load(folder / f"1_{FEATURES}.npy")


def test_writes_features_and_a_record(match, whole, tmp_path):
    halves = video.parse_halves("0:00:02-0:00:09,0:00:11-")
    lines: list[str] = []
    states: list[video.Progress] = []
    records = video.extract_video(
        match,
        make_network(),
        tmp_path / "game",
        halves,
        log=lines.append,
        progress=lambda state: states.append(dataclasses.replace(state)),
    )
    assert lines == []
    assert sorted(os.listdir(tmp_path / "game")) == [
        f"1_{FEATURES}.npy",
        f"2_{FEATURES}.npy",
        "extraction.json",
    ]
    first, second = (np.load(tmp_path / "game" / f"{n}_{FEATURES}.npy") for n in (1, 2))
    assert whole.shape == (40, 1280)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(first, whole[4:18])
    np.testing.assert_array_equal(second, whole[22:])
    assert records == video.read_records(tmp_path / "game")
    assert [(r.half, r.start, r.end, r.rows) for r in records] == [
        (1, 2.0, 9.0, 14),
        (2, 11.0, 20.0, 18),
    ]
    assert records[0].seconds(3.5) == 5.5
    assert len(records[0].video_sha256) == 64
    assert records[0].versions["av"]
    assert (states[-1].rows_done, states[-1].rows) == (32, 32)
    assert states[-1].rows_per_second > 0


def test_rules_agree_on_a_constant_rate(match, whole, tmp_path):
    video.extract_video(match, make_network(), tmp_path, options=video.Options(rule="soccernet"))
    np.testing.assert_array_equal(np.load(tmp_path / f"1_{FEATURES}.npy"), whole)


def test_a_difference_of_the_rules_is_said(tmp_path):
    path = write_video(tmp_path / "a.mp4", 100, audio=6.0)
    lines: list[str] = []
    video.extract_video(path, make_network(), tmp_path / "a", log=lines.append)
    assert any("8 rows against" in line and "--rule=timestamps is used" in line for line in lines)
    assert video.read_records(tmp_path / "a")[0].notes == lines


def test_float16(match, whole, tmp_path):
    video.extract_video(match, make_network(), tmp_path, options=video.Options(dtype="float16"))
    rows = np.load(tmp_path / f"1_{FEATURES}.npy")
    assert rows.dtype == np.float16
    np.testing.assert_array_equal(rows, whole.astype(np.float16))


def test_what_is_there_is_kept(match, whole, tmp_path):
    video.extract_video(match, make_network(), tmp_path)
    target = tmp_path / f"1_{FEATURES}.npy"
    before = target.stat().st_mtime_ns
    network = make_network()
    network._function = None  # is not called
    records = video.extract_video(match, network, tmp_path)
    assert target.stat().st_mtime_ns == before
    assert records[0].rows == 40


@pytest.mark.parametrize(
    ("options", "changes"),
    [({"rule": "soccernet"}, {}), ({"dtype": "float16"}, {}), ({}, {"weights_sha256": "1" * 64})],
)
def test_other_options_do_not_replace_what_is_there(match, tmp_path, options, changes):
    video.extract_video(match, make_network(), tmp_path)
    network, target = make_network(2.0, **changes), tmp_path / f"1_{FEATURES}.npy"
    before = np.load(target)
    with pytest.raises(InputError, match="--overwrite replaces it"):
        video.extract_video(match, network, tmp_path, options=video.Options(**options))
    np.testing.assert_array_equal(np.load(target), before)
    video.extract_video(match, network, tmp_path, options=video.Options(**options, overwrite=True))
    assert np.abs(np.load(target)).max() > 1.9 * before.max()
    assert len(video.read_records(tmp_path)) == 1


class Killed(Exception):
    pass


@pytest.mark.parametrize("batches", [1, 5, 9])
def test_resumes_after_it_was_stopped(match, whole, tmp_path, monkeypatch, batches):
    monkeypatch.setattr(folders, "PART_ROWS", 8)
    network = make_network()
    calls = []

    class Stopping:
        details, feature_set, batch_size = network.details, network.feature_set, 4

        def __call__(self, pictures):
            if len(calls) == batches:
                raise Killed
            calls.append(len(pictures))
            return network(pictures)

    with pytest.raises(Killed):
        video.extract_video(match, Stopping(), tmp_path)
    assert not (tmp_path / f"1_{FEATURES}.npy").exists()
    done = []
    rest = video.Progress(1)
    video.extract_video(match, network, tmp_path, progress=done.append)
    rest = done[-1]
    assert rest.rows_computed == 40 - 4 * batches
    np.testing.assert_array_equal(np.load(tmp_path / f"1_{FEATURES}.npy"), whole)
    assert sorted(os.listdir(tmp_path)) == [f"1_{FEATURES}.npy", "extraction.json"]


def test_parts_of_another_video_are_not_resumed(match, whole, tmp_path):
    other = write_video(tmp_path / "other.mkv", 100)
    target = tmp_path / f"1_{FEATURES}.npy"
    parts = folders.PartialRows(target, {"video": "another"}, 1280, "float32")
    parts.add(np.zeros((4, 1280)))
    parts.flush()
    video.extract_video(other, make_network(), tmp_path)
    assert np.load(target).all(1).all()


def test_a_damaged_part_is_made_again(tmp_path):
    target = tmp_path / "1_x.npy"
    for _ in range(2):
        parts = folders.PartialRows(target, {}, 3, "float32")
        parts.add(np.ones((5, 3)))
        parts.flush()
    part = folders.partial_folder(target) / "rows_0000005.npy"
    part.write_bytes(part.read_bytes()[:-4])
    assert folders.PartialRows(target, {}, 3, "float32").kept_rows == 5


def test_many_games_go_on_when_one_fails(match, whole, tmp_path):
    bad = tmp_path / "bad.mkv"
    bad.write_bytes(b"no video" * 99)
    games = [
        video.Game(tmp_path / name, ((path, (video.Half(1),)),))
        for name, path in (("a", match), ("b", bad), ("c", match))
    ]
    results = list(video.extract_games(games, make_network(), video.Options(decoders=2)))
    assert {r.game.folder.name: r.error is None for r in results} == {
        "a": True,
        "b": False,
        "c": True,
    }
    for name in ("a", "c"):
        np.testing.assert_array_equal(np.load(tmp_path / name / f"1_{FEATURES}.npy"), whole)


def test_one_file_per_half(match, whole, tmp_path):
    halves = tuple((match, (video.Half(number),)) for number in (1, 2))
    (result,) = video.extract_games([video.Game(tmp_path, halves)], make_network())
    assert [record.half for record in result.records] == [1, 2]
    for number in (1, 2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{number}_{FEATURES}.npy"), whole)


def test_a_folder_in_use_names_its_holder(match, tmp_path):
    with files.hold_folder(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()}"):
        video.extract_video(match, make_network(), tmp_path)
    video.extract_video(match, make_network(), tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_no_space(match, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(extraction.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="no space: the features need") as error:
        video.extract_video(match, make_network(), tmp_path)
    assert "\n" not in str(error.value)


def test_space_that_ends_in_between_keeps_what_was_computed(match, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "PART_ROWS", 8)
    flush, calls = folders.PartialRows.flush, []

    def fail(self):
        calls.append(0)
        if 3 <= len(calls) <= 5:
            raise OSError(28, "No space left on device")
        flush(self)

    monkeypatch.setattr(folders.PartialRows, "flush", fail)
    with pytest.raises(OSError, match="No space"):
        video.extract_video(match, make_network(), tmp_path)
    monkeypatch.undo()
    states = []
    video.extract_video(match, make_network(), tmp_path, progress=states.append)
    assert states[-1].rows_computed < 40
    np.testing.assert_array_equal(np.load(tmp_path / f"1_{FEATURES}.npy"), whole)


def test_the_end_of_a_file_that_was_cut_is_said_in_seconds(match, whole, tmp_path):
    content = match.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(content[: len(content) // 2])
    lines: list[str] = []
    (record,) = video.extract_video(path, make_network(), tmp_path, log=lines.append)
    rows = np.load(tmp_path / f"1_{FEATURES}.npy")
    np.testing.assert_array_equal(rows, whole[: len(rows)])
    assert 10 < len(rows) < 30
    assert record.lost_seconds == pytest.approx(20 - len(rows) / 2, abs=0.6)
    assert any("ends early" in line and f"{record.lost_seconds:.1f} s" in line for line in lines)


def test_stream_rows_are_those_of_the_file(match, whole):
    network = make_network()
    for batch in (1, 3):
        found = list(video.stream_rows(match, network, batch))
        assert [first for first, _ in found] == list(range(0, 40, batch))
        np.testing.assert_array_equal(np.concatenate([rows for _, rows in found]), whole)


def test_unknown_options():
    for option in ({"rule": "x"}, {"dtype": "int8"}, {"columns": 3}, {"decoders": 0}):
        with pytest.raises(InputError):
            video.Options(**option)


def test_a_damaged_record(match, tmp_path):
    (tmp_path / "extraction.json").write_text('{"version": 1, "halves": [{"half": 1}]}')
    with pytest.raises(InputError, match="incomplete"):
        video.read_records(tmp_path)
