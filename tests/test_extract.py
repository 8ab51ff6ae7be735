"""`python -m spotting.extract`: which games, which shard, exit codes."""

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from video_fixture import write_video

from spotting import extract
from spotting.base.errors import InputError
from spotting.video import Game, Half, Progress, games, read_records


def arguments(**changes) -> Namespace:
    values = {"video": None, "list": None, "name": "*", "output": Path("out"), "game": None}
    return Namespace(**values | {"halves": None} | changes)


def find(given: Namespace) -> list[Game]:
    return games.find_games(
        given.video or (),
        given.output,
        given.name,
        given.halves or "",
        given.game or "",
        given.list,
    )


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(given: Namespace) -> dict[str, list[tuple[str, int]]]:
    return {
        str(game.folder): [
            (path.name, half.number) for path, halves in game.videos for half in halves
        ]
        for game in find(given)
    }


def test_a_match(tmp_path):
    file = str(tree(tmp_path, "final.mkv") / "final.mkv")
    assert found(arguments(video=[file])) == {"out/final": [("final.mkv", 1)]}
    halves = arguments(video=[file], halves="0:01-0:02,0:03-", game="2026/final")
    assert found(halves) == {"out/2026/final": [("final.mkv", 1), ("final.mkv", 2)]}


def test_soccernets_folders(tmp_path):
    names = [f"league/2015/{game}/{half}_224p.mkv" for game in ("a", "b") for half in (1, 2)]
    root = tree(tmp_path, *names, "league/2015/a/1_HQ.mkv", "league/2015/a/Labels-v2.json")
    expected = {
        f"out/league/2015/{game}": [("1_224p.mkv", 1), ("2_224p.mkv", 2)] for game in ("a", "b")
    }
    assert found(arguments(video=[str(root)], name="*_224p.mkv")) == expected
    with pytest.raises(InputError, match=r"half 1 of league/2015/a is in 1_224p\.mkv, too"):
        found(arguments(video=[str(root)]))
    one = str(root / names[0])
    assert found(arguments(video=[one])) == {"out/a": [("1_224p.mkv", 1)]}


def test_a_list(tmp_path):
    tree(tmp_path, "x/one.mkv", "x/two.mkv")
    path = tmp_path / "matches.txt"
    path.write_text("# comment\nx/one.mkv\t0:01-0:02,0:03-\n\nx/two.mkv\t\tcup/two\n")
    by_folder = {game.folder: game for game in find(arguments(list=path))}
    assert by_folder[Path("out/one")].videos == (
        (tmp_path / "x/one.mkv", (Half(1, 1.0, 2.0), Half(2, 3.0))),
    )
    assert by_folder[Path("out/cup/two")].videos == ((tmp_path / "x/two.mkv", (Half(1),)),)
    path.write_text("x/three.mkv\n")
    with pytest.raises(InputError, match=r"line 1: .*no such video"):
        find(arguments(list=path))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "no videos"),
        ({"video": ["missing.mkv"]}, r"missing\.mkv: no such video"),
        ({"video": ["."], "name": "*.none"}, "no videos in it that are named"),
    ],
)
def test_nothing_to_do(changes, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=reason):
        find(arguments(**changes))


def test_halves_of_many_videos(tmp_path):
    root = tree(tmp_path, "a.mkv", "b.mkv")
    with pytest.raises(InputError, match="--halves and --game are for a single video"):
        find(arguments(video=[str(root)], halves="0-1"))
    tree(tmp_path, "more/a.mkv")
    with pytest.raises(InputError, match="another video of the game a"):
        find(arguments(video=[str(root / "a.mkv"), str(root / "more" / "a.mkv")]))


def test_shards_are_a_partition(tmp_path):
    root = tree(tmp_path, *(f"{i}{i}.mkv" for i in range(7)))
    every = find(arguments(video=[str(root)]))
    shards = [extract.take_shard(every, f"{i}/3") for i in range(3)]
    assert sorted(map(len, shards)) == [2, 2, 3]
    assert sorted(game.folder for shard in shards for game in shard) == [g.folder for g in every]
    for text in ("3/3", "-1/3", "1", "a/b", "0/0"):
        with pytest.raises(InputError, match="--shard"):
            extract.take_shard(every, text)


def test_progress():
    state = Progress(3, 1, 2, rows=200, rows_done=60, rows_computed=50, seconds=10.0)
    text = games.describe_progress(state)
    assert "game 2/3, 60/200 rows, 5.0 frames/s" in text
    assert "0:28 left for the 2 games looked at" in text


def run(*options: str, **kwargs) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "spotting.extract", *options]
    return subprocess.run(command, capture_output=True, text=True, **kwargs)


@pytest.mark.slow
def test_from_a_video_to_features(tmp_path):
    path = write_video(tmp_path / "match.mkv", 100)
    done = run(
        f"--video={path}", f"--output={tmp_path}/out", "--halves=0:00-0:02,0:02-", "--batch=4"
    )
    assert done.returncode == 0, done.stderr
    assert "1_EfficientNetLite0.npy: 4 rows of 1280" in done.stdout
    rows = [np.load(tmp_path / f"out/match/{n}_EfficientNetLite0.npy") for n in (1, 2)]
    assert [len(one) for one in rows] == [4, 4]
    assert 0 <= np.min(rows) < np.max(rows) <= 6  # averages of a ReLU6
    assert [record.start for record in read_records(tmp_path / "out/match")] == [0.0, 2.0]

    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    both = run(f"--video={path}", f"--video={bad}", f"--output={tmp_path}/both", "--batch=4")
    assert both.returncode == 1
    assert [line for line in both.stderr.splitlines() if line.startswith("error: ")] != []
    assert (tmp_path / "both/match/1_EfficientNetLite0.npy").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--features=Baidu"], "--features=Baidu: there is ResNET_TF2"),
        (["--features=ResNET_TF2", "--weights=none.h5"], "none.h5: no such file"),
        (["--pca=x.npz"], "--pca belongs to ResNET_TF2_PCA512"),
        (["--halves=0:00-1:00:00"], "half 1 ends at 1:00:00, but the video at 0:00:04"),
        (["--odd-width=3"], "--odd-width=3"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_line(tmp_path, options, reason):
    path = write_video(tmp_path / "match.mkv", 100)
    done = run(f"--video={path}", f"--output={tmp_path}/out", *options)
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path):
    path = write_video(tmp_path / "match.mkv", 30)
    (tmp_path / "out").mkdir(mode=0o500)
    done = run(f"--video={path}", f"--output={tmp_path}/out")
    assert done.returncode == 2
    assert "Permission denied" in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_it_and_the_same_command_resumes(tmp_path, number, status):
    path = write_video(tmp_path / "match.mkv", 2500, size=(160, 90))
    command = [sys.executable, "-m", "spotting.extract", f"--video={path}", f"--output={tmp_path}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("match/.*.parts")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in error
    how = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}[number]
    assert error.splitlines()[-1] == f"{how}; run the same command again to resume"
    assert not (tmp_path / "match/1_EfficientNetLite0.npy").exists()
    parts = list(tmp_path.glob("match/.*.parts/rows_*.npy"))
    assert parts
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "200 rows" in done.stdout
    assert len(np.load(tmp_path / "match/1_EfficientNetLite0.npy")) == 200
