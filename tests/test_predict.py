import csv
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
import zipfile

import numpy as np
import pytest

from spotting import Spotter, evaluate, predict
from spotting.base import cli
from spotting.base.errors import InputError
from spotting.data.annotations import (
    Prediction,
    iterate_results,
    read_events,
    read_results,
    write_results,
)
from spotting.data.dataset import read_official_splits
from spotting.data.unlabelled import Game, list_games, warn_of_lengths
from spotting.reporting.spot_files import CSV_HEADER, write_overview
from spotting.runs.prediction_record import SpottedGame

GAME = "league/2026/2026-05-02 - 18-30 Málaga 1 - 0 Köln"
GAMES = [f"league/2026/m{i}" for i in range(4)] + [GAME]
RESULTS = "results_spotting.json"


@pytest.fixture
def run(tiny_run, tmp_path, monkeypatch, capsys):
    """Runs the command; gives its exit status and what it wrote to stdout and stderr."""

    def run(*arguments, workdir=tiny_run):
        output = f"--output={tmp_path / 'out'}"
        command = ["predict", f"--workdir={workdir}", output, *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            cli.run(predict.main)
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def game(tiny_dataset, tmp_path):
    """A folder of one game that may be changed."""
    return shutil.copytree(tiny_dataset / GAME, tmp_path / "in" / "a game")


def _table(output):
    with open(output / "spots.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_all_that_is_written(run, tiny_run, tiny_dataset, tmp_path):
    code, out, err = run(f"--features={tiny_dataset}", "--zip")
    assert code == 0
    assert "5 of 5 games spotted in " in err
    assert "warning" not in err
    output = tmp_path / "out"
    files = ("spots.csv", "timeline.html", "submission.zip")
    assert out == "".join(f"{output / name}\n" for name in files)
    written = [f"{name}/{RESULTS}" for name in GAMES]
    tables = ["predict.json", "spots.csv", "submission.zip", "timeline.html"]
    assert _files(output) == sorted([*written, *tables])

    table = _table(output)
    assert list(table[0]) == list(CSV_HEADER)
    assert list(dict.fromkeys(row["game"] for row in table)) == sorted(GAMES)
    rows = [row for row in table if row["game"] == GAME]
    spots = read_results(output / GAME / RESULTS)
    for row, spot in zip(rows, spots, strict=True):
        minutes, seconds = row["time"].split(":")
        assert 60 * int(minutes) + float(seconds) == float(row["seconds"]) == spot.position
        assert (int(row["half"]), row["class"]) == (spot.half, spot.label)
        assert row["minute"] == str({1: 1, 2: 46}[spot.half] + int(minutes))
        assert float(row["confidence"]) == pytest.approx(spot.confidence, abs=1e-6)

    with zipfile.ZipFile(output / "submission.zip") as archive:
        assert sorted(archive.namelist()) == sorted(written)
        entry = json.loads(archive.read(f"{GAME}/{RESULTS}"))
    assert entry["UrlLocal"] == GAME
    assert set(entry["predictions"][0]) == {"gameTime", "half", "position", "label", "confidence"}

    # Scored as it is, the zip gets what the run's own evaluation got.
    found = dict(iterate_results(output / "submission.zip"))
    events = {GAME: read_events(tiny_dataset / GAME / "Labels-v2.json")}
    games = evaluate.Games(events, {GAME: found[GAME]})
    scores = evaluate.score(games, Spotter.load(tiny_run).classes)
    expected = json.loads((tiny_run / "metrics.json").read_text())["test"]["with_displacement"]
    for name in ("loose", "tight"):
        assert 100 * scores[name]["all"].map == pytest.approx(expected[name], abs=1e-3)
    page = (output / "timeline.html").read_text("utf-8")
    assert GAME in page or json.dumps(GAME) in page


@pytest.mark.slow
def test_threshold_offset_and_window(run, game, tmp_path, tiny_run):
    def spots(*arguments):
        code, _, err = run("--features", game, "--overwrite", *arguments)
        assert code == 0
        return read_results(tmp_path / "out" / "a game" / RESULTS), err

    everything, _ = spots()
    level = round(float(np.median([spot.confidence for spot in everything])), 3)
    above, _ = spots(f"--threshold={level}")
    assert above == [spot for spot in everything if spot.confidence >= level]
    floors = json.loads((tiny_run / "thresholds.json").read_text())
    own, _ = spots("--threshold=auto")
    assert own == [spot for spot in everything if spot.confidence >= floors[spot.label]]

    later, _ = spots("--offset=90.25")
    assert [spot.position for spot in later] == [spot.position + 90.25 for spot in everything]
    earlier, err = spots("--offset=-20")
    kept = [spot.position - 20 for spot in everything if spot.position >= 20]
    assert [spot.position for spot in earlier] == kept
    assert f"moved {len(everything) - len(kept)} spots to before the start" in err

    assert len(spots("--window=4")[0]) > len(everything) > len(spots("--window=40,40,40")[0])
    assert len(spots("--nms=soft")[0]) > len(everything)


def test_minutes_of_the_match_in_the_table_and_on_the_page(tmp_path):
    spots = [Prediction(1, "Goal", 2765.5, 0.9), Prediction(2, "Goal", 30.0, 0.8)]
    games = [
        SpottedGame("halves", {1: 2900.0, 2: 2800.0}),
        SpottedGame("whole match", {1: 6000.0}),
    ]
    for game in games:
        of_game = [spot for spot in spots if spot.half in game.seconds]
        write_results(tmp_path / game.name / RESULTS, game.name, of_game)
    write_overview(tmp_path, games, "ours", ["Goal"], None)
    found = [(row["time"], row["minute"]) for row in _table(tmp_path)]
    assert found == [("46:05.500", "45+2"), ("00:30.000", "46"), ("46:05.500", "")]
    page = (tmp_path / "timeline.html").read_text("utf-8")
    assert re.findall(r'"period":(\[.*?\]|null)', page) == ["[0,45]", "[45,45]", "null"]


@pytest.mark.slow
def test_what_is_there_is_kept(run, game, tmp_path):
    table = tmp_path / "out" / "spots.csv"
    table.parent.mkdir()
    table.write_text("mine")
    code, _, err = run(f"--features={game}")
    assert (code, table.read_text()) == (2, "mine")
    assert err == f"error: {table}: there already; --overwrite replaces it\n"
    assert _files(table.parent) == ["spots.csv"]
    assert run(f"--features={game}", "--overwrite")[0] == 0
    assert table.read_text() != "mine"
    # Results that this program has no record of are nobody's to replace.
    (table.parent / "predict.json").unlink()
    assert "spots.csv and 2 more: there" in run(f"--features={game}")[2].replace(
        f"a game/{RESULTS} and", "spots.csv and"
    )


def _count_spots(monkeypatch):
    """A list that grows by one with each half that is spotted."""
    spot, calls = Spotter.spot, []
    monkeypatch.setattr(Spotter, "spot", lambda *given: calls.append(given) or spot(*given))
    return calls


@pytest.mark.slow
def test_the_same_command_resumes(run, tiny_dataset, tmp_path, monkeypatch):
    output = tmp_path / "out"
    arguments = (f"--features={tiny_dataset}", "--threshold=auto", "--offset=1:5,2:-3")
    assert run(*arguments)[0] == 0
    whole = {name: (output / name).read_bytes() for name in _files(output)}
    calls = _count_spots(monkeypatch)
    code, _, err = run(*arguments)
    assert (code, calls) == (0, [])
    assert "5 of 5 games spotted in 0:00, 5 of them before" in err
    # One was interrupted, the features of another are new.
    (output / GAMES[1] / RESULTS).unlink()
    file = tiny_dataset / GAMES[2] / "1_toy16.npy"
    copy = shutil.copytree(tiny_dataset, tmp_path / "copy")
    os.utime(file)
    assert run(*arguments)[0] == 0
    assert len(calls) == 4
    changed = {name for name in whole if (output / name).read_bytes() != whole[name]}
    assert changed == {"predict.json"}
    # More games may follow, and join the others in the tables.
    more = shutil.copytree(copy / GAMES[0], tmp_path / "more" / "m9")
    assert run(f"--features={more.parent}", *arguments[1:])[0] == 0
    assert {row["game"] for row in _table(output)} == {*GAMES, "m9"}


@pytest.mark.slow
def test_results_of_another_run_or_other_options_are_kept(run, game, tiny_run, tmp_path):
    assert run(f"--features={game}")[0] == 0
    whole = (tmp_path / "out" / "spots.csv").read_bytes()
    changed = shutil.copytree(tiny_run, tmp_path / "changed")
    for arguments, workdir, what in (
        (["--threshold=0.1"], tiny_run, "threshold"),
        (["--nms=soft", "--window=3"], tiny_run, "nms, window"),
        (["--offset=1:1"], tiny_run, "offset"),
        ([], changed, "run"),
    ):
        (changed / "thresholds.json").write_text('{"Goal": 0.1, "Corner": 0.1, "Throw-in": 0.1}')
        code, _, err = run(f"--features={game}", *arguments, workdir=workdir)
        assert (code, err.count("\n")) == (2, 1)
        assert f"holds results of another {what}; choose another --output" in err
        assert (tmp_path / "out" / "spots.csv").read_bytes() == whole
    # A copy of the run is the same run.
    copy = shutil.copytree(tiny_run, tmp_path / "copy")
    assert "1 of them before" in run(f"--features={game}", workdir=copy)[2]
    (tmp_path / "out" / "predict.json").write_text("{}")
    assert "not a record of predictions" in run(f"--features={game}")[2]
    assert run(f"--features={game}", "--overwrite")[0] == 0


def test_an_offset_for_each_half(run, game, tmp_path):
    assert run(f"--features={game}")[0] == 0
    plain = read_results(tmp_path / "out" / "a game" / RESULTS)
    assert run(f"--features={game}", "--offset=1:312.5,2:4020", "--overwrite")[0] == 0
    moved = read_results(tmp_path / "out" / "a game" / RESULTS)
    offsets = {1: 312.5, 2: 4020.0}
    assert [s.position for s in moved] == [s.position + offsets[s.half] for s in plain]
    assert run(f"--features={game}", "--offset=2:7", "--overwrite")[0] == 0
    moved = read_results(tmp_path / "out" / "a game" / RESULTS)
    assert [s.position for s in moved] == [s.position + 7 * (s.half == 2) for s in plain]


def test_features_are_looked_for_before_the_models_are_read(run, monkeypatch):
    monkeypatch.setattr(Spotter, "load", None)
    assert "nowhere: no such file or folder" in run("--features=nowhere")[2]


def test_a_game_that_fails_is_named_and_the_others_go_on(run, tiny_dataset, game, tmp_path):
    root = game.parent
    features = np.load(game / "2_toy16.npy")
    for name, change in {
        "nan": lambda x: np.where((np.arange(len(x)) == 77)[:, None], np.nan, x),
        "wide": lambda x: np.concatenate([x, x], axis=1),
        "integers": lambda x: x.astype(np.int32),
    }.items():
        shutil.copytree(tiny_dataset / GAME, root / name)
        np.save(root / name / "2_toy16.npy", change(features))
    shutil.copytree(tiny_dataset / GAME, root / "truncated")
    whole = (root / "truncated" / "1_toy16.npy").read_bytes()
    (root / "truncated" / "1_toy16.npy").write_bytes(whole[:-100])

    code, out, err = run(f"--features={root}", "--zip")
    assert code == 1
    assert out.startswith(f"{tmp_path / 'out' / 'spots.csv'}\n")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    for name, half, what in (
        ("integers", 2, "int32"),
        ("nan", 2, "frame 77, column 0 (from 0) is nan"),
        ("truncated", 1, "truncated"),
        ("wide", 2, "32 values a frame"),
    ):
        (line,) = [line for line in errors if line.startswith(f"error: {name}: ")]
        assert f"{root / name / f'{half}_toy16.npy'}: " in line
        assert what in line
    assert errors[-1] == "error: 4 of 5 games failed, see above"
    assert {row["game"] for row in _table(tmp_path / "out")} == {"a game"}
    tables = ["predict.json", "spots.csv", "submission.zip", "timeline.html"]
    files = [f"a game/{RESULTS}", *tables]
    assert _files(tmp_path / "out") == files


def test_missing_thresholds_are_said_once(run, game, tiny_run, tmp_path):
    workdir = shutil.copytree(tiny_run, tmp_path / "run")
    (workdir / "thresholds.json").unlink()
    code, _, err = run(f"--features={game}", "--threshold=auto", workdir=workdir)
    assert (code, err.count("\n")) == (2, 1)
    assert "no thresholds.json" in err


def test_nothing_is_written_when_all_fail(run, game, tmp_path):
    np.save(game / "1_toy16.npy", np.zeros((9, 3), np.float16))
    assert run(f"--features={game}")[0] == 1
    assert not (tmp_path / "out").exists()


def test_single_files_of_any_name_and_length(run, game, tmp_path):
    np.save(tmp_path / "clip.npy", np.zeros((3, 16), np.float32))
    assert run(f"--features={tmp_path / 'clip.npy'}", game / "2_toy16.npy")[0] == 0
    halves = {(row["game"], row["half"]) for row in _table(tmp_path / "out")}
    assert halves == {(tmp_path.name, "1"), ("a game", "2")}
    clip = read_results(tmp_path / "out" / tmp_path.name / RESULTS)
    assert {spot.label for spot in clip} == {"Goal", "Corner", "Throw-in"}
    assert max(spot.position for spot in clip) <= 1


def test_an_interruption_leaves_whole_files(run, tiny_dataset, tmp_path, monkeypatch):
    spot, calls = Spotter.spot, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return spot(*arguments)

    monkeypatch.setattr(Spotter, "spot", interrupted)
    code, _, err = run(f"--features={tiny_dataset}")
    last = f"interrupted; 1 of 5 games have their {RESULTS}; run the same command again to resume"
    assert (code, err.splitlines()[-1]) == (130, last)
    only, record = _files(tmp_path / "out")
    assert read_results(tmp_path / "out" / only)
    assert record == "predict.json"
    monkeypatch.setattr(Spotter, "spot", spot)
    found = run(f"--features={tiny_dataset}")[2]
    assert re.search(r"5 of 5 games spotted in \d:\d\d, 1 of them before", found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features=nowhere"], "nowhere: no such file or folder of features"),
        (["--features=empty"], "empty: no 1_toy16.npy or 2_toy16.npy at any depth"),
        (["--features=in", "in/a game/1_toy16.npy"], "two files for half 1 of game 'a game'"),
        (["--features", "in/x.npy", "in/y.npy"], "in/x.npy and in/y.npy; a file's half is the"),
        (["--features=in", "--output=a file/out"], "a file/out: nothing can be written there"),
        (["--features=in", "--threshold=high"], "argument --threshold: invalid threshold value"),
        (
            ["--features=in", "--threshold=2"],
            "2: a threshold is a confidence, from 0 to 1",
        ),
        (["--features=in", "--threshold=-0.1"], "a threshold is a confidence"),
        (["--features=in", "--offset=1:2,1:3"], "1:3 is not HALF:SECONDS of one half, "),
        (["--features=in", "--offset=5:2"], "5:2 is not HALF:SECONDS"),
        (["--features=in", "--window=4,"], "argument --window: invalid window value"),
        (["--features=in", "--window=1,2"], "2 NMS windows for the 3 classes"),
        (["--features=in", "--offset=nan"], "argument --offset: invalid offset value"),
        (["--features=in", "--workdir=in"], "in: not a run folder"),
        ([], "give either --features=MATCHES or --video=FILE"),
    ],
)
def test_bad_usage(run, game, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").write_text("")
    for name in ("x", "y"):
        if f"in/{name}.npy" in arguments:
            shutil.copy(game / "1_toy16.npy", tmp_path / "in" / f"{name}.npy")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_find(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é 1")
    for name in ("a/b c/1_x.npy", "a/b c/2_x.npy", "a/b c/1_other.npy", f"{decomposed}/x.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = tmp_path / "a" / "b c"
    whole = {1: folder / "1_x.npy", 2: folder / "2_x.npy"}
    assert list_games([tmp_path], "x") == [
        Game("a/b c", whole),
        Game("é 1", {1: tmp_path / decomposed / "x.npy"}),
    ]
    assert list_games([tmp_path / "a"], "x") == [Game("b c", whole)]
    assert list_games([folder], "x") == [Game("b c", whole)]
    assert list_games([folder / "2_x.npy"], "x") == [Game("b c", {2: whole[2]})]
    np.save(tmp_path / "2026_final.npy", np.zeros((3, 2), np.float32))
    assert list_games([tmp_path / "2026_final.npy"], "x")[0].halves.keys() == {1}
    for number in (3, 4):
        (folder / f"{number}_x.npy").touch()
        assert list_games([folder / f"{number}_x.npy"], "x")[0].halves.keys() == {number}
    (extra_time,) = list_games([folder], "x")
    assert list(extra_time.halves) == [1, 2, 3, 4]
    (tmp_path / "a" / "5_x.npy").touch()
    for path in (tmp_path / "a", tmp_path / "a" / "5_x.npy"):
        with pytest.raises(InputError, match=r"5_x\.npy: half 5 is not one of 1, 2, 3"):
            list_games([path], "x")
    with pytest.raises(InputError, match="two files for half 2"):
        list_games([folder, folder / "2_x.npy"], "x")
    for games in read_official_splits().values():  # Composed accents are what the servers look for.
        assert all(unicodedata.is_normalized("NFC", game) for game in games)


def test_lengths_of_another_rate(tmp_path):
    def warnings(minutes, rate, soccer=True):
        halves = {}
        for number, length in enumerate(minutes, 1):
            halves[number] = tmp_path / f"{number}_{length}.npy"
            np.save(halves[number], np.zeros((round(60 * rate * length), 1), np.float16))
        return warn_of_lengths([Game("g", halves)], rate, soccer)

    assert warnings([45, 52], 2.0) == []
    (line,) = warnings([22, 23.4], 2.0)  # 45-minute halves at 1 per second
    assert "1 of 1 games, such as 'g', have halves of 23 minutes at the model's 2 frames" in line
    assert warnings([112, 117], 2.0) != []  # at 5
    assert warnings([22, 23], 2.0, soccer=False) == []
    assert warnings([22], 2.0) == []  # a clip
    assert warnings([300], 2.0, soccer=False) != []


@pytest.mark.slow
def test_compiled_programs_are_kept_for_the_next_start(tiny_run, tmp_path):
    np.save(tmp_path / "clip.npy", np.zeros((9, 16), np.float32))
    command = [sys.executable, "-m", "spotting.predict", f"--workdir={tiny_run}"]
    command += [f"--features={tmp_path / 'clip.npy'}", f"--output={tmp_path / 'out'}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = subprocess.run(
        command, env=environment, check=True, timeout=300, capture_output=True, text=True
    )
    # Not a word from XLA.
    assert re.fullmatch(r"game 1/1: \S+\n1 of 1 games spotted in \d:\d\d\n", done.stderr)
    kept = [path.name for path in (tmp_path / "cache" / "spotting" / "jax").iterdir()]
    assert sum(name.startswith("jit_spot_segments-") for name in kept) == 2


def test_help_does_not_wait_for_jax():
    code = (
        "import sys; sys.argv = ['predict', '--help']\n"
        "from spotting import predict\n"
        "from spotting.base import cli\n"
        "try: cli.run(predict.main)\n"
        "except SystemExit: assert 'jax' not in sys.modules"
    )
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout
    assert "python -m spotting.predict --workdir=runs/unet_resnet_pca --features=" in out
