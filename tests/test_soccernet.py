import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from spotting import timing
from spotting.base.errors import InputError
from spotting.data import checks
from spotting.data import dataset as description
from spotting.data import halves as soccernet
from spotting.data.annotations import SOCCERNET_CLASSES, Event, read_events

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent / "data"
DIM = 6
CLASSES = ["Goal", "Foul", "Corner"]
SPLITS = {"train": ["liga/2026/Ávila 1 - 0 São José", "cup/final"], "test": ["cup/semi final"]}


def annotation(game_time, label, position, **more):
    return {"gameTime": game_time, "label": label, "position": str(position), **more}


ANNOTATIONS = [
    annotation("1 - 00:02", "Goal", 2400),
    annotation("1 - 00:02", "Goal", 2000, visibility="not shown"),
    annotation("2 - 00:03", "Foul", 3499),
]


def write_json(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")


def write_labels(game, annotations):
    write_json(game / "Labels-v2.json", {"UrlLocal": game.name, "annotations": annotations})


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "all matches"
    for game in (game for games in SPLITS.values() for game in games):
        (root / game).mkdir(parents=True)
        np.save(root / game / "1_tiny.npy", np.full((10, DIM), 1.0, np.float16))
        np.save(root / game / "2_tiny.npy", np.full((8, DIM), 2.0, np.float32))
        write_labels(root / game, ANNOTATIONS)
    fields = {"name": "tiny matches", "frame_rate": 2, "features": "tiny", "feature_dim": DIM}
    write_json(root / "dataset.json", {**fields, "classes": CLASSES, "splits": SPLITS})
    return root


def first_game(root):
    return root / SPLITS["train"][0]


def assert_input_error(call, *parts):
    """`call` raises an InputError of one line that holds each of `parts`."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def assert_split_refused(root, *parts, split="train"):
    assert_input_error(lambda: soccernet.read_split(soccernet.open_dataset(root), split), *parts)


# What is in a dataset


def test_a_described_folder_is_a_dataset_of_its_own(root):
    dataset = soccernet.open_dataset(root)
    assert (dataset.name, dataset.features, dataset.feature_dim) == ("tiny matches", "tiny", DIM)
    assert dataset.frame_rate == 2.0
    assert dataset.classes == tuple(CLASSES)
    assert dataset.games("train") == tuple(SPLITS["train"])
    assert soccernet.open_dataset(root, "tiny") == dataset


def test_halves_hold_features_and_events(root):
    halves, _ = soccernet.read_split(soccernet.open_dataset(root), "train")
    assert [(half.game, half.number) for half in halves] == [
        (game, number) for game in SPLITS["train"] for number in (1, 2)
    ]
    first, second = halves[:2]
    assert (first.num_frames, second.num_frames) == (10, 8)
    assert [event.label for event in first.events] == ["Goal", "Goal"]
    assert [event.label for event in second.events] == ["Foul"]
    features = second.load()
    assert isinstance(features, np.memmap)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, np.full((8, DIM), 2.0))


def test_soccernet_v2_has_its_official_splits():
    splits = description.read_official_splits()
    assert {split: len(games) for split, games in splits.items()} == {
        "train": 300,
        "valid": 100,
        "test": 100,
        "challenge": 50,
    }
    games = [game for split in splits.values() for game in split]
    assert len(set(games)) == 550
    assert all(game.count("/") == 2 for game in games)
    assert splits["test"][0] == (
        "england_epl/2014-2015/2015-05-17 - 18-00 Manchester United 1 - 1 Arsenal"
    )


@pytest.mark.parametrize("features", description.FEATURE_SETS)
def test_an_undescribed_folder_is_soccernet_v2(tmp_path, features):
    game = tmp_path / description.read_official_splits()["challenge"][3]
    game.mkdir(parents=True)
    frame_rate, dim = description.FEATURE_SETS[features]
    for number in (1, 2):
        np.save(game / f"{number}_{features}.npy", np.zeros((2, dim), np.float32))
    dataset = soccernet.open_dataset(tmp_path, features)
    assert (dataset.frame_rate, dataset.feature_dim) == (frame_rate, dim)
    assert dataset.classes == SOCCERNET_CLASSES
    one_game = dataclasses.replace(dataset, splits={"challenge": dataset.games("challenge")[3:4]})
    halves, problems = soccernet.read_split(one_game, "challenge")
    assert [half.events for half in halves] == [(), ()]
    assert problems.warnings() == []


def test_labels_can_be_left_alone(root):
    for game in SPLITS["test"]:
        (root / game / "Labels-v2.json").unlink()
    halves, problems = soccernet.read_split(soccernet.open_dataset(root), "test", labels=False)
    assert len(halves) == 2
    assert problems.warnings() == []


def test_games_are_found_in_a_folder(root):
    np.save(root / "cup" / "tiny.npy", np.zeros((3, DIM), np.float32))
    found = soccernet.find_games(root, "tiny")
    assert [(file.game, file.half) for file in found] == [
        ("cup", 1),
        ("cup/final", 1),
        ("cup/final", 2),
        ("cup/semi final", 1),
        ("cup/semi final", 2),
        (SPLITS["train"][0], 1),
        (SPLITS["train"][0], 2),
    ]
    assert found[1].path == root / "cup" / "final" / "1_tiny.npy"
    assert_input_error(lambda: soccernet.find_games(root, "other"), str(root), "1_other.npy")
    assert_input_error(lambda: soccernet.find_games(root / "none", "tiny"), "not a folder")


# Extra time, and matches that are one recording


def test_extra_time_is_read(root):
    game = root / "cup" / "final"
    for number in (3, 4):
        np.save(game / f"{number}_tiny.npy", np.full((3, DIM), number, np.float32))
    write_labels(game, [*ANNOTATIONS, annotation("4 - 00:01", "Corner", 1000)])
    halves, _ = soccernet.read_split(soccernet.open_dataset(root), "train")
    in_final = [half for half in halves if half.game == "cup/final"]
    assert [half.number for half in in_final] == [1, 2, 3, 4]
    assert [half.num_frames for half in in_final] == [10, 8, 3, 3]
    assert [[event.label for event in half.events] for half in in_final[2:]] == [[], ["Corner"]]
    np.testing.assert_array_equal(in_final[3].load(), np.full((3, DIM), 4))
    found = [file.half for file in soccernet.find_games(root, "tiny") if file.game == "cup/final"]
    assert found == [1, 2, 3, 4]
    assert all(half.number < 3 for half in halves if half.game != "cup/final")


@pytest.mark.parametrize("name", ["1_tiny.npy", "tiny.npy"])
def test_one_recording_is_a_game(root, name):
    game = root / "cup" / "semi final"
    for path in game.glob("*.npy"):
        path.unlink()
    np.save(game / name, np.zeros((20, DIM), np.float16))
    write_labels(game, ANNOTATIONS[:2])
    halves, _ = soccernet.read_split(soccernet.open_dataset(root), "test")
    assert [(half.number, half.num_frames, half.path.name) for half in halves] == [(1, 20, name)]


def test_labels_of_a_half_that_is_not_there(root):
    write_labels(first_game(root), [*ANNOTATIONS, annotation("3 - 00:01", "Goal", 1000)])
    assert_split_refused(root, "1 file of the train split missing", "3_tiny.npy")


def test_other_numbers_are_refused(root):
    for name in ("5_tiny.npy", "0_tiny.npy", "01_tiny.npy", "12_tiny.npy"):
        path = root / "cup" / "final" / name
        np.save(path, np.zeros((3, DIM), np.float32))
        half = f"{name}: half {name.partition('_')[0]} is not one of 1, 2, 3"
        assert_split_refused(root, half)
        assert_input_error(lambda: soccernet.find_games(root, "tiny"), half)
        path.unlink()
    soccernet.find_games(root, "tiny")
    # Of another feature set, and of none.
    for name in ("5_other.npy", "5_tiny.npz", "5_tiny"):
        (root / "cup" / "final" / name).write_bytes(b"")
    assert len(soccernet.read_split(soccernet.open_dataset(root), "train")[0]) == 4


def test_two_files_of_one_half(root):
    np.save(first_game(root) / "tiny.npy", np.zeros((3, DIM), np.float32))
    assert_split_refused(root, "two files for half 1 of game 'Ávila 1 - 0 São José'", "1_tiny.npy")


def test_soccernet_v2_stays_two_halves(tmp_path):
    dataset = description.describe_dataset(tmp_path, "ResNET_TF2_PCA512")
    game = dataset.games("test")[0]
    (tmp_path / game).mkdir(parents=True)
    one_game = dataclasses.replace(dataset, splits={"test": (game,)})
    for number in (1, 3):
        np.save(tmp_path / game / f"{number}_ResNET_TF2_PCA512.npy", np.zeros((2, 512), "f2"))
    write_labels(tmp_path / game, [])
    assert_input_error(
        lambda: soccernet.read_split(one_game, "test"), "1 file", f"{game}/2_ResNET_TF2_PCA512.npy"
    )
    np.save(tmp_path / game / "2_ResNET_TF2_PCA512.npy", np.zeros((2, 512), "f2"))
    halves, _ = soccernet.read_split(one_game, "test")
    assert [half.number for half in halves] == [1, 2]
    write_labels(tmp_path / game, [annotation("3 - 00:01", "Goal", 1000)])
    assert_input_error(
        lambda: soccernet.read_split(one_game, "test"), "Labels-v2.json: an event in half 3"
    )


# Label matrices


def official_label_matrices():
    with np.load(DATA / "labels.npz") as arrays:
        for key in arrays:
            frame_rate, half = key.removeprefix("fr").split("_half")
            yield pytest.param(float(frame_rate), int(half), arrays[key], id=key)


@pytest.mark.parametrize(("frame_rate", "number", "expected"), official_label_matrices())
def test_label_matrix_is_the_official_code_s(frame_rate, number, expected):
    events = tuple(
        event
        for event in read_events(DATA / "labels_example_Labels-v2.json")
        if event.half == number and event.label in SOCCERNET_CLASSES
    )
    half = soccernet.Half("game", number, Path("unread.npy"), len(expected), events)
    matrix, _ = soccernet.make_label_matrix(half, SOCCERNET_CLASSES, frame_rate, "gameTime")
    assert matrix.dtype == np.uint8
    np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize(
    ("source", "frames"),
    [
        ("gameTime", {(4, 0), (6, 1), (8, 2), (9, 2)}),
        ("position", {(4, 0), (5, 0), (8, 1), (9, 2)}),
        ("evaluation", {(4, 0), (8, 1), (8, 2), (9, 2)}),
    ],
)
def test_label_matrix_goes_by_either_time(source, frames):
    events = (
        Event(1, "Goal", position=2.0, game_time=2.0, visible=True),
        Event(1, "Goal", position=2.4, game_time=2.0, visible=False),
        Event(1, "Foul", position=4.1, game_time=3.0, visible=True),
        Event(1, "Corner", position=4.4, game_time=4.0, visible=True),
        Event(1, "Corner", position=5.0, game_time=5.0, visible=True),  # frame 10 of 0..9
    )
    half = soccernet.Half("game", 1, Path("unread.npy"), 10, events)
    matrix, clamped = soccernet.make_label_matrix(half, CLASSES, 2.0, source)
    assert {(frame, k) for frame, k in np.argwhere(matrix).tolist()} == frames
    assert clamped == 1


@pytest.mark.parametrize("milliseconds", [0, 1, 499, 500, 999, 290, 1001, 754123, 2699999])
def test_an_event_can_be_placed_where_the_evaluator_has_it(milliseconds):
    frame = timing.frame_at(milliseconds / 1000, 2.0, 10_000)
    assert frame == timing.evaluation_frame(milliseconds)
    assert timing.frame_at(milliseconds / 1000, 1000.0, 10_000_000) == milliseconds
    assert timing.frame_at(milliseconds / 1000, 2.0, 1) == 0


# Odd labels: counted, told once, and no obstacle


def test_odd_labels_are_counted(root):
    late = [annotation("2 - 01:00", "Goal", 60000), annotation("1 - 00:05", "Goal", 5001)]
    unknown = [annotation("1 - 00:01", label, 1000) for label in ("Header", "Dive", "Header")]
    write_labels(first_game(root), late + unknown)
    halves, problems = soccernet.read_split(soccernet.open_dataset(root), "train")
    assert problems.unknown_labels == {"Header": 2, "Dive": 1}
    assert problems.beyond_end == 2
    assert problems.empty_classes == ("Corner",)
    warnings = problems.warnings()
    assert len(warnings) == 3
    assert all(line.startswith("train split: ") for line in warnings)
    assert "3 annotations" in warnings[0]
    assert "Header (2), Dive (1)" in warnings[0]
    assert "2 events after the end" in warnings[1]
    assert "no events of Corner" in warnings[2]
    assert [len(half.events) for half in halves[:2]] == [1, 1]


def test_sound_labels_give_no_warning(root):
    annotations = [annotation("1 - 00:05", label, 5000) for label in CLASSES]
    for game in SPLITS["train"]:
        write_labels(root / game, annotations)
    _, problems = soccernet.read_split(soccernet.open_dataset(root), "train")
    assert problems.warnings() == []


# No data, or not all of it


def test_no_data_is_explained(tmp_path):
    for root, reason in [
        (None, "--config.data.root=DIR"),
        (tmp_path / "none", "no such folder"),
        (tmp_path, "no game of SoccerNet-v2"),
    ]:
        assert_input_error(lambda root=root: soccernet.open_dataset(root), reason)
        with pytest.raises(checks.MissingData) as caught:
            soccernet.open_dataset(root, "ResNET_TF2")
        for part in (
            f"  {root or 'DIR'}/\n",
            "england_epl/2014-2015/2015-02-21 - 18-00 Chelsea 1 - 1 Burnley/\n",
            "1_ResNET_TF2.npy   float16 or float32, (frames, 2048), 2 per second\n",
            "train 300, valid 100, test 100, challenge 50",
            "train: 900 of 900 files",
            "soccer-net.org",
            "python -m spotting.prepare --download",
            "python -m spotting.main --config=configs/demo.py",
        ):
            assert part in caught.value.details


def test_a_file_is_no_folder(root):
    assert_input_error(lambda: soccernet.open_dataset(root / "dataset.json"), "not a folder")


def test_described_games_all_absent(root):
    for top in ("liga", "cup"):
        shutil.rmtree(root / top)
    assert_input_error(lambda: soccernet.open_dataset(root), "no game of tiny matches", "1_tiny")


def test_absent_files_are_summarised(root):
    (first_game(root) / "2_tiny.npy").unlink()
    for name in ("1_tiny.npy", "2_tiny.npy", "Labels-v2.json"):
        (root / "cup" / "final" / name).unlink()
    assert_split_refused(
        root,
        "4 files of the train split missing",
        "2 of its 2 games",
        f"{SPLITS['train'][0]}/2_tiny.npy, cup/final/1_tiny.npy, cup/final/2_tiny.npy, ...",
        "dataset.json",
    )
    dataset = soccernet.open_dataset(root)
    with pytest.raises(checks.MissingData) as caught:
        soccernet.read_split(dataset, "train")
    assert "train: 4 of 6 files\n" in caught.value.details
    assert "test:" not in caught.value.details
    assert len(checks.find_missing_files(dataset, "train", labels=False)) == 3


def test_labels_missing(root):
    (first_game(root) / "Labels-v2.json").unlink()
    assert_split_refused(root, "1 file", f"{SPLITS['train'][0]}/Labels-v2.json")


def test_absent_split(root):
    assert_split_refused(root, "no split 'valid'", "train, test", split="valid")


# Unusable feature files


@pytest.mark.parametrize("dtype", [np.float64, np.int32, ">f4", np.complex64, object])
def test_not_float(root, dtype):
    path = first_game(root) / "1_tiny.npy"
    np.save(path, np.ones((10, DIM), dtype))
    assert_split_refused(root, str(path), repr(np.dtype(dtype)), "astype(np.float32)")


@pytest.mark.parametrize("shape", [(10,), (10, DIM, 1), (0, DIM), (10, 0)])
def test_wrong_shape(root, shape):
    path = first_game(root) / "1_tiny.npy"
    np.save(path, np.ones(shape, np.float32))
    assert_split_refused(root, str(path), f"shape {shape}")


def test_negative_shape(root):
    path = first_game(root) / "1_tiny.npy"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -6)}"
    path.write_bytes(npy(header) + bytes(24))
    assert_split_refused(root, str(path), "shape (-1, -6)")


def test_wrong_width(root):
    for number in (1, 2):
        np.save(first_game(root) / f"{number}_tiny.npy", np.ones((10, DIM + 1), np.float32))
    assert_split_refused(root, "1_tiny.npy: 7 values a frame", "has 6")


def test_two_widths(root):
    np.save(first_game(root) / "2_tiny.npy", np.ones((10, DIM + 1), np.float32))
    assert_split_refused(root, str(first_game(root)), "differ in width, 6 and 7")


@pytest.mark.parametrize(
    ("change", "reason"), [(-1, "truncated: 247 bytes"), (1, "longer than it should be: 249 bytes")]
)
def test_size_is_not_the_header_s(root, change, reason):
    path = first_game(root) / "1_tiny.npy"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"\0")
    assert_split_refused(root, str(path), reason, "its header promises 248")


def npy(header):
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header


# Python's parser has each of its own errors for the headers.
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs",
        b"\x93NUMPY\x01\x00v\x00{'de",
        npy(b"{'descr': '<f2', 'shape': (4, 6"),
        npy(b"{'descr': '<02', 'fortran_order': False, 'shape': (4, 6)}"),
        npy(b"{'descr': '<f2', b'fortran_order': False, 'shape': (4, 6)}"),
        npy(b"{['descr']: '<f2'}"),
        npy(b"-" * 9000 + b"1"),
    ],
)
def test_not_npy(root, content):
    path = first_game(root) / "1_tiny.npy"
    path.write_bytes(content)
    assert_split_refused(root, str(path), "not a NumPy .npy file")


def test_all_bad_games_are_counted(root):
    for game in SPLITS["train"]:
        (root / game / "1_tiny.npy").write_bytes(b"nothing")
    assert_split_refused(
        root, str(first_game(root)), "(other games of the train split that cannot be read: 1)"
    )


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_not_finite(root, bad, dtype, monkeypatch):
    monkeypatch.setattr(checks, "_SCAN_BYTES", 3 * DIM * np.dtype(dtype).itemsize)
    features = np.full((10, DIM), min(float(np.finfo(dtype).max), 0.99 * checks.LARGEST), dtype)
    features[::2] *= -1
    halves, _ = soccernet.read_split(soccernet.open_dataset(root), "train")
    np.save(halves[0].path, features)
    seen = []
    soccernet.check_finite(halves, lambda *counts: seen.append(counts))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    features[7, 4] = features[7, 5] = features[9, 0] = bad
    np.save(halves[0].path, features)
    parts = [str(halves[0].path), "frame 7, column 4", str(abs(bad))]
    assert_input_error(lambda: soccernet.check_finite(halves), *parts)
    shutil.copy(halves[0].path, halves[2].path)
    assert_input_error(
        lambda: soccernet.check_finite(halves), *parts, "(other files with NaN or infinity: 1)"
    )


def test_files_that_passed_are_not_read_again(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    record = tmp_path / "cache" / "spotting" / "checked_features.json"
    halves, _ = soccernet.read_split(soccernet.open_dataset(root), "train")
    read = []
    original = soccernet.find_nonfinite
    monkeypatch.setattr(
        soccernet,
        "find_nonfinite",
        lambda features: read.append(Path(features.filename)) or original(features),
    )

    def check():
        read.clear()
        soccernet.check_features(halves)
        return sorted(read)

    paths = sorted(half.path for half in halves)
    assert check() == paths
    assert sorted(json.loads(record.read_text())) == sorted(map(str, paths))
    assert check() == []
    # A file that was changed is read again, one that fails is read every time.
    features = np.full((10, DIM), 3.0, np.float16)
    np.save(paths[1], features)
    os.utime(paths[1], ns=(1, 1))
    assert check() == [paths[1]]
    features[4, 2] = np.nan
    np.save(paths[1], features)
    os.utime(paths[1], ns=(2, 2))
    for _ in range(2):
        assert_input_error(check, str(paths[1]), "frame 4, column 2")
        assert read == [paths[1]]
    np.save(paths[1], np.zeros((10, DIM), np.float16))
    # Without a sound record everything is read; without a place for one, too.
    for content in ("{", "[]", json.dumps({str(paths[0]): 7})):
        record.write_text(content)
        assert check() == paths
        assert check() == []
    shutil.rmtree(record.parent)
    record.parent.write_text("a file where the folder should be")
    assert check() == check() == paths


# Unusable label files


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "annotations"),
        (
            json.dumps({"annotations": [annotation("5 - 00:01", "Goal", 1000)]}),
            "half 5 is not one of 1",
        ),
        (json.dumps({"annotations": [annotation("00:01", "Goal", 1000)]}), "gameTime"),
        (json.dumps({"annotations": [annotation("1 - 00:01", "Goal", "soon")]}), "position"),
    ],
)
def test_labels_unusable(root, content, reason):
    path = first_game(root) / "Labels-v2.json"
    path.write_text(content)
    assert_split_refused(root, str(path), reason)


# Unusable descriptions


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("frame_rate", 0),
        ("frame_rate", "2"),
        ("frame_rate", True),
        ("frame_rate", float("inf")),
        ("features", "folder/tiny"),
        ("feature_dim", 6.0),
        ("feature_dim", 0),
        ("classes", []),
        ("classes", ["Goal", "Goal"]),
        ("classes", "Goal"),
        ("splits", {}),
        ("splits", {"val": ["cup/final"]}),
        ("splits", {"train": "cup/final"}),
        ("splits", {"train": []}),
        ("splits", {"train": ["cup/final", "cup/final"]}),
        ("splits", {"train": ["/cup/final"]}),
        ("splits", {"train": ["../final"]}),
        ("splits", {"train": [7]}),
    ],
)
def test_description_field(root, field, value):
    path = root / "dataset.json"
    fields = json.loads(path.read_text("utf-8"))
    write_json(path, {**fields, field: value})
    assert_input_error(lambda: soccernet.open_dataset(root), str(path), f'"{field}"')
    del fields[field]
    write_json(path, fields)
    assert_input_error(lambda: soccernet.open_dataset(root), str(path), f'no "{field}" in it')


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "not JSON"), ("[" * 100_000, "not JSON"), ("[]", "JSON object")]
)
def test_description_unusable(root, text, reason):
    (root / "dataset.json").write_text(text)
    assert_input_error(lambda: soccernet.open_dataset(root), "dataset.json", reason)


def test_features_that_the_dataset_does_not_have(root, tmp_path):
    assert_input_error(lambda: soccernet.open_dataset(root, "ResNET_TF2"), "'tiny'", "'ResNET_TF2'")
    assert_input_error(lambda: soccernet.open_dataset(tmp_path, "tiny"), "'tiny'", "ResNET_TF2")
