"""`predict --export` and `--clips`, placed in the videos that `extract` has seen."""

import json
import shutil
import sys

import pytest
from kloppy import sportscode
from review_fixture import write_video

from spotting import predict
from spotting.base import cli
from spotting.data.annotations import read_results

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny_run, tiny_dataset, tmp_path, monkeypatch, capsys):
    """Runs the command on a game of its own; gives its exit status and what it wrote to stderr."""
    shutil.copytree(tiny_dataset / "league" / "2026" / "m0", tmp_path / "in" / "game")

    def run(*arguments):
        places = (f"--features={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
        command = ["predict", f"--workdir={tiny_run}", *places, *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            cli.run(predict.main)
        return end.value.code, capsys.readouterr().err

    return run


def _write_extraction(folder, video):
    halves = [
        {"half": half, "video": str(video), "start": start, "end": start + 80.0}
        for half, start in ((1, 3.0), (2, 90.0))
    ]
    (folder / "extraction.json").write_text(json.dumps({"version": 1, "halves": halves}))


def test_exports_count_from_the_start_of_the_video(run, tmp_path):
    _write_extraction(tmp_path / "in" / "game", tmp_path / "no longer there.mp4")
    code, errors = run("--export=sportscode,osl,webvtt,csv", "--threshold=0.2")
    assert code == 0, errors
    output = tmp_path / "out" / "game"
    assert {path.name for path in output.iterdir()} == {
        *("results_spotting.json", "extraction.json", "sportscode.xml", "osl.json"),
        *("chapters.vtt", "events.csv"),
    }
    spots = read_results(output / "results_spotting.json")
    assert spots
    expected = sorted({1: 3.0, 2: 90.0}[s.half] + s.position + 5 for s in spots)
    read = sportscode.load(str(output / "sportscode.xml")).records
    ends = [code.end_timestamp.total_seconds() for code in read]
    assert ends == pytest.approx(expected, abs=2e-3)


def test_without_extraction_halves_are_videos_of_their_own(run, tmp_path):
    code, errors = run("--export=webvtt", "--threshold=0.2")
    assert code == 0, errors
    names = {path.name for path in (tmp_path / "out" / "game").iterdir()}
    assert names == {"results_spotting.json", "chapters_1.vtt", "chapters_2.vtt"}


def test_clips_are_cut_around_spots(run, tmp_path):
    video = write_video(tmp_path / "match.mp4", 175)
    _write_extraction(tmp_path / "in" / "game", video)
    code, errors = run("--clips", "--threshold=0.2")
    assert code == 0, errors
    output = tmp_path / "out" / "game"
    spots = read_results(output / "results_spotting.json")
    assert len(list((output / "clips").iterdir())) == len(spots) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--clips",), "--clips needs --threshold"),
        (("--clips", "--threshold=0.5"), "--clips needs a half 1 in extraction.json"),
        (("--export=word",), "argument --export"),
    ],
)
def test_bad_usage(run, tmp_path, arguments, message):
    code, errors = run(*arguments)
    assert code == 2
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "out").exists()
