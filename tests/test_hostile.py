"""Files and arguments that somebody made to do harm, or that an accident made so."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import tiny_config
from matplotlib.figure import Figure

from spotting import predict
from spotting.base import cli, inputs
from spotting.base.errors import InputError
from spotting.base.files import read_npz, read_object
from spotting.data import checks, exports
from spotting.data.annotations import (
    LABELS_FILE,
    RESULTS_FILE,
    Prediction,
    iterate_results,
    read_events,
    read_results,
    write_results,
)
from spotting.data.dataset import describe_dataset
from spotting.data.halves import find_games
from spotting.models import keras_files
from spotting.reporting import snapshot
from spotting.runs import setup
from spotting.runs.config import check_config
from spotting.runs.matches import Matches
from spotting.video import restricted_pickle


@contextlib.contextmanager
def soon(seconds=5):
    """A block that fails where it would wait for ever."""

    def fail(*_):
        raise TimeoutError(f"not done in {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def write_game(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "1_toy.npy", np.zeros((4, 2), np.float32))
    (folder / LABELS_FILE).write_text('{"annotations": []}')
    (folder / RESULTS_FILE).write_text('{"predictions": []}')


# Folders


def test_links_in_circles_end(tmp_path):
    for name in ("a", "b"):
        write_game(tmp_path / "matches" / name)
        for other in ("here", "there"):
            (tmp_path / "matches" / name / other).symlink_to(".")
        (tmp_path / "matches" / name / "up").symlink_to("..")
    with soon():
        games = find_games(tmp_path / "matches", "toy")
        results = list(iterate_results(tmp_path / "matches"))
    assert [game.game for game in games] == ["a", "b"]
    assert [game for game, _ in results] == ["a", "b"]


def test_folders_that_all_link_to_each_other_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_MOST_BELOW_LINKS", 1000)
    folders = [tmp_path / str(number) for number in range(9)]
    for folder in folders:
        folder.mkdir()
        for other in folders:
            (folder / f"to{other.name}").symlink_to(other)
    with soon(), pytest.raises(InputError, match="links lead to more than 1,000 folders"):
        find_games(tmp_path, "toy")


def test_one_folder_may_be_linked_twice(tmp_path):
    write_game(tmp_path / "store/game")
    (tmp_path / "matches").mkdir()
    for name in ("train", "all"):
        (tmp_path / "matches" / name).symlink_to(tmp_path / "store")
    assert [each.game for each in find_games(tmp_path / "matches", "toy")] == [
        "all/game",
        "train/game",
    ]


def test_folder_names_that_are_no_text_are_refused(tmp_path):
    try:
        write_game(tmp_path / os.fsdecode(b"matches/M\xe1laga"))
    except OSError:
        pytest.skip("file names are UTF-8 here")
    with pytest.raises(InputError, match="is not UTF-8; rename it"):
        find_games(tmp_path, "toy")
    with pytest.raises(InputError, match="is not UTF-8; rename it"):
        list(iterate_results(tmp_path))


@pytest.mark.parametrize(
    "read",
    [
        read_events,
        read_results,
        read_object,
        checks.read_header,
        lambda path: list(iterate_results(path)),
        lambda path: read_npz(path, path, "again"),
    ],
)
def test_named_pipes_are_not_waited_for(tmp_path, read):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with soon(), pytest.raises(InputError, match="pipe: a named pipe, not a file"):
        read(path)


# Files that promise more than they hold


def test_a_zip_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    path = tmp_path / "results.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for game in range(3):
            archive.writestr(f"{game}/{RESULTS_FILE}", b" " * (20 << 20))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"bytes that unpack to 62,914,560, which no sound file"):
        list(iterate_results(path))


def test_a_zip_may_be_packed_tenfold(tmp_path):
    path = tmp_path / "results.zip"
    spots = [Prediction(1, "Goal", 0.5 * number, 0.5) for number in range(1000)]
    write_results(tmp_path / RESULTS_FILE, "a", spots)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / RESULTS_FILE, f"a/{RESULTS_FILE}")
    assert (tmp_path / RESULTS_FILE).stat().st_size > 10 * path.stat().st_size
    assert dict(iterate_results(path)) == {"a": spots}


def test_a_member_longer_than_it_says_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "results.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"a/{RESULTS_FILE}", b" " * (8 << 20))
    size = (8 << 20).to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (100).to_bytes(4, "little")))
    taken = []
    original = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, "read", lambda self, n=-1: taken.append(n) or original(self, n)
    )
    with pytest.raises(InputError, match="cannot be unpacked"):
        list(iterate_results(path))
    assert 0 < max(taken) <= 1 << 16
    assert min(taken) > 0


def make_npy(descr: str, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 62, 4), (3, 1 << 20)])
def test_arrays_whose_header_lies_take_no_memory(tmp_path, shape, monkeypatch):
    path = tmp_path / "test.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", make_npy("<f4", shape, b"1234"))
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(InputError, match=r"its header promises an array .*; again"):
        read_npz(path, path, "again")
    (tmp_path / "1_toy.npy").write_bytes(make_npy("<f4", shape, b"1234"))
    with pytest.raises(InputError, match=r"truncated|has shape"):
        checks.read_header(tmp_path / "1_toy.npy")


def test_npz_bombs_are_not_unpacked(tmp_path):
    path = tmp_path / "test.npz"
    np.savez_compressed(path, a=np.zeros(10 << 20, np.float32))
    with pytest.raises(InputError, match=r"that unpack to .*; again"):
        read_npz(path, path, "again")


def make_h5(path: Path) -> h5py.File:
    file = h5py.File(path, "w")
    file.create_dataset("dense/dense/kernel:0", data=np.ones((3, 2), np.float32))
    return file


def test_an_h5_file_is_read(tmp_path):
    make_h5(tmp_path / "a.h5").close()
    weights = keras_files.read_weights(tmp_path / "a.h5")
    assert list(weights) == ["dense/kernel:0"]
    np.testing.assert_array_equal(weights["dense/kernel:0"], np.ones((3, 2)))


def test_h5_arrays_that_are_not_in_the_file_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(24)))
    layout = h5py.VirtualLayout((2, 3), np.float32)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (2, 3), np.float32)
    cases = {
        "promises 4,000,000,000,000 bytes": lambda file: file.create_dataset(
            "a/b", (1_000_000, 1_000_000), np.float32, chunks=(1000, 1000)
        ),
        "kept in another file": lambda file: file.create_dataset(
            "a/b", (2, 3), np.float32, external=[(str(secret), 0, 24)]
        ),
        "is kept in another": lambda file: file.create_virtual_dataset("a/b", layout),
        "not numbers": lambda file: file.create_dataset("a/b", data=["text"]),
    }
    for number, (message, write) in enumerate(cases.items()):
        path = tmp_path / f"{number}.h5"
        with make_h5(path) as file:
            write(file)
        with pytest.raises(InputError, match=message):
            keras_files.read_weights(path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_h5_files_are_named(tmp_path, seed):
    make_h5(tmp_path / "a.h5").close()
    content = (tmp_path / "a.h5").read_bytes()
    generator = np.random.default_rng(seed)
    path = tmp_path / "damaged.h5"
    for _ in range(40):
        damaged = bytearray(content)
        for place in generator.integers(0, len(content), 8):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            keras_files.read_weights(path)


def test_a_pickle_may_not_ask_for_gigabytes_to_remember_in():
    content = b"\x80\x02K\x01r\xff\xff\xff\x0f."  # remembers 1 as number 268,435,455
    with pytest.raises(InputError, match="damaged: it remembers"):
        restricted_pickle.RestrictedUnpickler(io.BytesIO(content), "a.pkl", {}).read()


# Names and numbers


@pytest.mark.parametrize("field", ["name", "classes", "features", "splits"])
def test_halves_of_surrogate_pairs_are_no_names(tmp_path, field):
    values = {"name": "a", "frame_rate": 2, "features": "toy", "feature_dim": 2}
    values |= {"classes": ["Goal"], "splits": {"test": ["a"]}}
    bad = "M\ud800"
    values[field] = {"classes": [bad], "splits": {"test": [bad]}}.get(field, bad)
    (tmp_path / "dataset.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"not JSON: .* stands alone"):
        describe_dataset(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model.unet.levels", 1_000_000),
        ("model.transformer.layers", 1_000_000),
        ("anchors.chunk", 1e30),
        ("anchors.displacement_radius", 1e30),
        ("postprocessing.window", (1e30,)),
        ("inference.border", 1e30),
        ("training.epochs", 10**40),
        ("training.chunks_per_epoch", 2**62),
        ("training.batch_size", 10**18),
    ],
)
def test_numbers_beyond_all_sense_are_refused(tmp_path, field, value):
    config = tiny_config(tmp_path)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=f"config.{field} is .* or less"):
        check_config(config)


def test_a_network_larger_than_the_machine_is_refused(tiny_dataset, tmp_path, monkeypatch):
    config = tiny_config(tiny_dataset)
    config.model.reduction = (99999999, 99999999)
    dataset = describe_dataset(tiny_dataset)
    monkeypatch.setattr(setup, "read_matches", lambda *_: Matches(dataset, dataset, {}))
    with pytest.raises(InputError, match=r"a model of [\d,]+ parameters takes .* config.model"):
        setup.make_setup(config, tmp_path)


@pytest.mark.parametrize(
    ("value", "dtype", "fits"),
    [
        (1e30, np.float32, False),
        (-1e16, np.float32, False),
        (1e14, np.float32, True),
        (60000, np.float16, True),
        (np.inf, np.float16, False),
    ],
)
def test_features_that_no_network_can_take_are_found(value, dtype, fits):
    features = np.ones((5, 3), dtype)
    features[3, 1] = value
    assert checks.find_nonfinite(features) == (None if fits else (3, 1))


HOSTILE = '=1+1\n<b>"x"</b>\x1b[2J'


def test_tables_hold_no_formulas_and_no_control_characters(tmp_path):
    assert exports.make_cell(HOSTILE) == '\'=1+1\\n<b>"x"</b>\\x1b[2J'
    assert exports.make_cell("Goal") == "Goal"
    game = "@SUM(A1)"
    write_results(tmp_path / game / RESULTS_FILE, game, [Prediction(1, HOSTILE, 1.0, 0.5)])
    games = [predict.SpottedGame(game, {1: 9.0})]
    predict.write_overview(tmp_path, games, "run", ["Goal"], None)
    _, *lines = (tmp_path / "spots.csv").read_text().splitlines()
    assert lines == ['\'@SUM(A1),1,00:01.000,1.000,"\'=1+1\\n<b>""x""</b>\\x1b[2J",0.500000,,1']


@pytest.mark.parametrize("hours", [7, 20, 400])
def test_a_half_of_many_hours_is_drawn(hours):
    axes = Figure().add_subplot()
    snapshot._draw_lanes(axes, 3600.0 * hours, ["Goal", "$x_{2$"])
    assert 5 <= len(axes.get_xticks()) <= 14


# The command line


def test_errors_are_one_line_of_bounded_length():
    line = cli.as_line(InputError("a\n\x1b[31m" + 100_000 * "x" + " do this"))
    assert line.startswith("a \\x1b[31mx")
    assert line.endswith("x do this")
    assert len(line) < 1100
    assert cli.as_line(InputError("short\nerror")) == "short error"


def test_arguments_that_are_no_text_are_refused(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff"
    done = subprocess.run(
        [sys.executable, "-m", "spotting.evaluate", b"--labels=" + folder, b"--predictions=x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --labels=")
    assert "not UTF-8" in done.stderr
    assert done.stderr.count("\n") == 1
