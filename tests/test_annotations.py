import contextlib
import json
import re
import unicodedata
import zipfile

import numpy as np
import pytest

from spotting.base.errors import InputError
from spotting.data.annotations import (
    SOCCERNET_CLASSES,
    Event,
    Prediction,
    iterate_results,
    make_predictions,
    read_events,
    read_results,
    write_results,
)

GAME = "europe_uefa-champions-league/2015-2016/2015-11-03 - 22-45 Málaga 1 - 0 Beşiktaş"
PREDICTION = {
    "gameTime": "1 - 0:8",
    "half": "1",
    "position": "8250",
    "label": "Goal",
    "confidence": "0.7847628593444824",
}


@pytest.fixture
def read(tmp_path):
    """Reads one entry of a file that holds just that."""

    def read_entry(reader, **entry):
        key = "annotations" if reader is read_events else "predictions"
        path = tmp_path / "file.json"
        path.write_text(json.dumps({key: [entry]}), encoding="utf-8")
        return reader(path)[0]

    return read_entry


def results(game=GAME, *entries):
    return json.dumps({"UrlLocal": game, "predictions": list(entries)}, ensure_ascii=False)


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_event(read):
    event = read(
        read_events,
        gameTime="2 - 12:34",
        label="Yellow->red card",
        position="754123",
        team="home",
        visibility="not shown",
    )
    assert event == Event(2, "Yellow->red card", 754.123, 754.0, False)


@pytest.mark.parametrize("game_time", ["1 - 0:7", "1 - 00:07", "1-0:07", " 1 - 0:7 "])
def test_game_time_need_not_be_padded(read, game_time):
    assert read(read_events, gameTime=game_time, label="x").game_time == 7


@pytest.mark.parametrize(
    ("position", "seconds"),
    [("1500", 1.5), (1500, 1.5), (1500.0, 1.5), ("1500.9", 1.5), ("0", 0), (None, 125)],
)
def test_position_decides_and_game_time_stands_in(read, position, seconds):
    entry = {"gameTime": "1 - 02:05", "label": "x", "position": position}
    assert read(read_events, **entry).position == seconds
    assert read(read_results, **entry, confidence="1").position == seconds


def test_label_without_position_or_visibility(read):
    event = read(read_events, gameTime="1 - 120:05", label="Anything")
    assert event == Event(1, "Anything", 7205.0, 7205.0, True)


def test_prediction(read):
    assert read(read_results, **PREDICTION) == Prediction(1, "Goal", 8.25, 0.7847628593444824)


@pytest.mark.parametrize("half", [1, 2, 3, 4])
def test_halves_of_extra_time_too(read, half):
    game_time = f"{half} - 00:08"
    assert read(read_events, gameTime=game_time, label="Goal").half == half
    prediction = {**PREDICTION, "half": str(half), "gameTime": game_time}
    assert read(read_results, **prediction).half == half


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"half": 2}, 2),
        ({"half": "2", "gameTime": "1 - 0:8"}, 2),
        ({"half": "2", "gameTime": "no time"}, 2),
        ({"half": None, "gameTime": "2 - 0:8"}, 2),
    ],
)
def test_half_is_its_own_field_or_in_the_game_time(read, change, expected):
    prediction = read(read_results, **{**PREDICTION, **change})
    assert (prediction.half, prediction.position) == (expected, 8.25)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gameTime": "5 - 00:01"}, "half 5 is not one of 1, 2, 3"),
        ({"gameTime": "0 - 00:01"}, "half 0"),
        ({"gameTime": "12:34"}, "'12:34'"),
        ({"gameTime": "1 - 12.34"}, "half - minutes:seconds"),
        ({"gameTime": 7}, "expected string"),
        ({"position": "soon"}, "'soon'"),
        ({"position": "nan"}, "'nan'"),
        ({"position": "1e999"}, "'1e999'"),
        ({"position": 1e300}, "no time in a half"),
        ({"position": 1 << 61}, "no time in a half"),
        ({"gameTime": f"1 - {'9' * 400}:00"}, "no time in a half"),
        ({"position": -500}, "before the start"),
        ({"label": None}, "label None is not a string"),
        ({"label": 7}, "label 7 is not a string"),
        ({"label": ["Goal"]}, "label ['Goal'] is not a string"),
        ({"label": {}}, "label {} is not a string"),
    ],
)
def test_annotation_that_cannot_be_one(read, change, reason):
    with pytest.raises(InputError, match=r"file\.json: annotations\[0\]: ") as caught:
        read(read_events, **{"gameTime": "1 - 00:01", "label": "Goal", **change})
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"half": "5"}, "half '5' is not one of 1, 2, 3"),
        ({"half": "²"}, "half '²'"),
        ({"half": None, "gameTime": "5 - 0:1"}, "half 5"),
        ({"confidence": "high"}, "high"),
        ({"confidence": None}, "float"),
        ({"confidence": "-inf"}, "confidence '-inf' is infinite"),
        ({"confidence": float("inf")}, "infinite"),
        ({"confidence": 10**400}, "too large"),
        ({"position": "1e300"}, "no time in a half"),
        ({"label": ["Goal"]}, "label ['Goal'] is not a string"),
    ],
)
def test_prediction_that_cannot_be_one(read, change, reason):
    with pytest.raises(InputError, match=r"file\.json: predictions\[0\]: ") as caught:
        read(read_results, **{**PREDICTION, **change})
    assert reason in str(caught.value)


@pytest.mark.parametrize("field", ["label", "confidence"])
def test_missing_field_is_named(read, field):
    entry = {name: value for name, value in PREDICTION.items() if name != field}
    with pytest.raises(InputError, match=f"no '{field}'"):
        read(read_results, **entry)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        (b"\xff\xfe\x00\x01", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", 'no list "annotations"'),
        ('{"predictions": []}', 'no list "annotations"'),
        ('{"annotations": {}}', 'no list "annotations"'),
        ('{"annotations": ["Goal"]}', r"annotations\[0\]"),
    ],
)
def test_file_that_is_none(tmp_path, content, reason):
    path = tmp_path / "Labels-v2.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"Labels-v2\.json: .*" + reason):
        read_events(path)


def test_file_with_byte_order_mark(tmp_path):
    path = tmp_path / "Labels-v2.json"
    path.write_text('{"annotations": []}', encoding="utf-8-sig")
    assert read_events(path) == []


def test_writes_what_the_official_code_writes(tmp_path):
    # Score map, 2 frames per second, and file as yahoo/spivak has them.
    scores = np.full((250, 17), -1.0)
    for frame, label, score in [
        (0, 0, 0.5),
        (1, 2, 0.25),
        (3, 2, 0),
        (119, 3, 0.75),
        (121, 3, 0.9),
        (199, 16, 1),
    ]:
        scores[frame, label] = score
    path = tmp_path / "new folder" / "results_spotting.json"
    write_results(path, GAME, make_predictions(scores, 1, SOCCERNET_CLASSES, 2.0))
    rows = [
        ("1 - 0:00", "0", "Penalty", "0.5"),
        ("1 - 0:00", "500", "Goal", "0.25"),
        ("1 - 0:02", "1500", "Goal", "0.0"),
        ("1 - 1:00", "59500", "Substitution", "0.75"),
        ("1 - 1:00", "60500", "Substitution", "0.9"),
        ("1 - 1:40", "99500", "Yellow->red card", "1.0"),
    ]
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "UrlLocal": GAME,
        "predictions": [
            {"gameTime": time, "half": "1", "position": at, "label": label, "confidence": score}
            for time, at, label, score in rows
        ],
    }


def test_reads_back_what_it_wrote(tmp_path):
    rng = np.random.default_rng(1)
    predictions = [
        Prediction(int(half), label, int(milliseconds) / 1000, float(confidence))
        for half, label, milliseconds, confidence in zip(
            rng.integers(1, 5, 500),
            rng.choice(SOCCERNET_CLASSES, 500),
            rng.integers(0, 4_000_000, 500),
            rng.random(500, np.float32),
            strict=True,
        )
    ]
    path = tmp_path / GAME / "results_spotting.json"
    write_results(path, GAME, predictions)
    assert read_results(path) == predictions
    assert list(iterate_results(tmp_path)) == [(GAME, predictions)]


def test_folder_and_zip_of_many_games(tmp_path):
    folder = tmp_path / "folder"
    content = {f"liga/2026/g {k}": results(f"liga/2026/g {k}", PREDICTION) for k in (2, 0, 1)}
    for game, text in content.items():
        (folder / game).mkdir(parents=True)
        (folder / game / "results_spotting.json").write_text(text)
        (folder / game / "notes.json").write_text("not ours")
    members = {f"{game}/results_spotting.json": text for game, text in content.items()}
    archive = write_zip(tmp_path / "results.zip", members)
    expected = [
        (f"liga/2026/g {k}", [Prediction(1, "Goal", 8.25, 0.7847628593444824)]) for k in range(3)
    ]
    assert list(iterate_results(folder)) == expected
    assert list(iterate_results(archive)) == expected


def test_folder_of_linked_games(tmp_path):
    (tmp_path / "elsewhere" / "game").mkdir(parents=True)
    (tmp_path / "elsewhere" / "game" / "results_spotting.json").write_text(results("liga/game"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "liga").symlink_to(tmp_path / "elsewhere")
    assert [game for game, _ in iterate_results(tmp_path / "folder")] == ["liga/game"]


@pytest.mark.parametrize("url_local", [GAME, f"{GAME}/"])
def test_folders_on_top_are_not_part_of_the_name(tmp_path, url_local):
    text = results(url_local, PREDICTION)
    archive = write_zip(tmp_path / "a.zip", {f"my results/test/{GAME}/results_spotting.json": text})
    assert [game for game, _ in iterate_results(archive)] == [GAME]


def test_game_of_a_lone_file_is_what_it_says(tmp_path):
    (tmp_path / "results_spotting.json").write_text(results(), encoding="utf-8")
    assert [game for game, _ in iterate_results(tmp_path)] == [GAME]


@pytest.mark.parametrize("url_local", ["", "something else"])
def test_else_the_game_is_the_folder(tmp_path, url_local):
    archive = write_zip(tmp_path / "a.zip", {"a/b/results_spotting.json": results(url_local)})
    assert [game for game, _ in iterate_results(archive)] == ["a/b"]


def test_zip_from_a_mac(tmp_path):
    # Accents apart from their letters, names in UTF-8 that do not say so, and shadow files.
    name = unicodedata.normalize("NFD", f"{GAME}/results_spotting.json")
    path = write_zip(tmp_path / "a.zip", {name: results(), f"__MACOSX/{name}": b"\0\5\x16\7"})
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for header in re.finditer(signature, bytes(content)):
            content[header.start() + flags + 1] &= ~0x08  # bit 11, names are UTF-8
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert name not in archive.namelist()
    assert [game for game, _ in iterate_results(path)] == [GAME]


def test_zip_from_windows(tmp_path):
    name = f"{GAME}/results_spotting.json".replace("/", "\\")
    archive = write_zip(tmp_path / "a.zip", {name: results()})
    assert [game for game, _ in iterate_results(archive)] == [GAME]


def test_two_results_for_one_game(tmp_path):
    members = {f"{top}/{GAME}/results_spotting.json": results() for top in ("run 1", "run 2")}
    with pytest.raises(InputError, match=r"two results for one game: .*run 1.*run 2"):
        list(iterate_results(write_zip(tmp_path / "a.zip", members)))


def test_zip_with_a_broken_file_names_it(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a/b/results_spotting.json": "{"})
    with pytest.raises(InputError, match=r"a\.zip: a/b/results_spotting\.json: not JSON"):
        list(iterate_results(archive))


# Where a member's header in the directory of a zip file has its flags and its compression.
_FLAGS, _COMPRESSION = 8, 10


def _compressed(path, *names):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, results(name.rpartition("/")[0], PREDICTION))
    return bytearray(path.read_bytes())


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content, _: content.__setitem__(slice(70, 80), b"\xff" * 10), "decompressing"),
        (lambda content, at: content.__setitem__(at + _FLAGS, 1), "encrypted"),
        (lambda content, at: content.__setitem__(at + _COMPRESSION, 99), "not supported"),
    ],
)
def test_zip_with_a_member_that_cannot_be_unpacked(tmp_path, damage, reason):
    content = _compressed(tmp_path / "a.zip", "a/b/results_spotting.json")
    damage(content, content.rindex(b"PK\1\2"))
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip: a/b/results_spotting\.json.*" + reason):
        list(iterate_results(tmp_path / "a.zip"))


def test_any_flipped_byte_of_a_zip_is_no_crash(tmp_path):
    path = tmp_path / "a.zip"
    sound = bytes(_compressed(path, "a/b/results_spotting.json"))
    assert list(iterate_results(path)) == [
        ("a/b", [Prediction(1, "Goal", 8.25, 0.7847628593444824)])
    ]
    read = 0
    for position in range(len(sound)):
        content = bytearray(sound)
        content[position] ^= 0x01 if position % 2 else 0xFF
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            ((_, predictions),) = iterate_results(path)
            assert predictions == [Prediction(1, "Goal", 8.25, 0.7847628593444824)]
            read += 1
    # Bytes that say when and by what a file was made do not matter; most others do.
    assert 0 < read < len(sound) / 2


def test_nothing_to_read(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(InputError, match="no <game>/results_spotting"):
        list(iterate_results(tmp_path / "empty"))
    with pytest.raises(InputError, match="no <game>/results_spotting"):
        list(iterate_results(write_zip(tmp_path / "a.zip", {"readme.txt": ""})))
    with pytest.raises(InputError, match="neither a folder nor a sound zip"):
        list(iterate_results(tmp_path / "text.zip"))
    with pytest.raises(InputError, match="absent: no such folder or zip file"):
        list(iterate_results(tmp_path / "absent"))
