"""A disk that is full, or that may not be written, at each place where a run writes.

The disk is a small one in memory, which only the system's administrator may make.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_config

from spotting import experiment, predict
from spotting.base import cli
from spotting.base.files import atomic_file, hold_folder, remove_temporaries
from spotting.base.logs import RunLog
from spotting.reporting import report, snapshot
from spotting.runs import preparation, results
from spotting.runs.setup import make_setup
from spotting.training.checkpoints import Checkpoints

MEGABYTES = 24


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only the administrator of a Linux system may make a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk):
    """Leaves not a byte."""
    try:
        with open(disk / "filler", "ab", buffering=0) as file:
            for size in (1 << 20, 1):
                while file.write(bytes(size)) == size:
                    pass
    except OSError:
        pass


def fill_before(monkeypatch, disk, owner, name):
    """Fills the disk before a function's first call."""
    original = getattr(owner, name)

    def filled(*arguments, **options):
        fill(disk)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, filled)


def command(work, capsys):
    """Exit status and last lines of a command that does `work`."""
    capsys.readouterr()
    status = cli._guarded(work, debug=False)
    lines = capsys.readouterr().err.splitlines()
    return status, [line for line in lines if line.startswith("error: ")], lines


@pytest.fixture
def unfinished(disk, tiny_run):
    """A run that is trained, and still has to be scored."""
    folder = disk / "run"
    shutil.copytree(tiny_run, folder)
    for name in ("results", "valid", "predictions"):
        shutil.rmtree(folder / name)
    for name in ("metrics.json", "timeline.png", "report.html", "report.md"):
        (folder / name).unlink()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "function", "named"),
    [
        pytest.param(Checkpoints, "save", "checkpoints/displacement/best/2", id="checkpoint"),
        pytest.param(results, "save_predictions", "predictions/valid.npz", id="predictions"),
        pytest.param(results, "write_split", "valid/results/", id="results"),
        pytest.param(experiment, "write_metrics", "metrics.json", id="metrics"),
        pytest.param(snapshot, "write_snapshot", "timeline.png", id="figure"),
        pytest.param(report, "write_report", "report.md", id="report"),
    ],
)
def test_a_full_disk_is_one_line_and_the_same_command_resumes(
    owner, function, named, unfinished, disk, tiny_run, tiny_dataset, monkeypatch, capsys
):
    def run():
        experiment.run(tiny_config(tiny_dataset), unfinished)

    if owner is Checkpoints:
        shutil.rmtree(unfinished / "checkpoints" / "displacement")
    with monkeypatch.context() as patch:
        fill_before(patch, disk, owner, function)
        status, errors, lines = command(run, capsys)
    assert status == 2
    assert errors == lines[-1:]
    assert errors[0].startswith("error: [Errno 28] No space left on device: ")
    assert str(unfinished / named) in errors[0]
    assert not [line for line in lines if "Traceback" in line]
    assert not list(unfinished.rglob("*.spotting-tmp"))
    assert not list(unfinished.rglob("*.orbax-checkpoint-tmp"))
    # The disk is still full.
    assert command(run, capsys)[0] == 2
    (disk / "filler").unlink()
    run()
    for name in ("metrics.json", "thresholds.json"):
        assert (unfinished / name).read_bytes() == (tiny_run / name).read_bytes()
    for name in ("timeline.png", "report.html", "report.md"):
        assert (unfinished / name).stat().st_size > 0


@pytest.mark.slow
def test_a_folder_that_may_not_be_written(unfinished, disk, tiny_dataset, capsys):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    work = lambda: experiment.run(tiny_config(tiny_dataset), unfinished)  # noqa: E731
    status, errors, lines = command(work, capsys)
    assert (status, errors) == (2, lines[-1:])
    assert errors[0].startswith(f"error: [Errno 30] Read-only file system: '{unfinished}")


@pytest.mark.slow
def test_a_finished_run_needs_no_writing(disk, tiny_run, tiny_dataset, capsys):
    shutil.copytree(tiny_run, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    scored = experiment.run(tiny_config(tiny_dataset), disk / "run")
    assert scored[0]["test"]["with_displacement"]["loose"] >= 0
    assert "finished; its scores again" in capsys.readouterr().err


@pytest.mark.slow
def test_preparing_on_a_full_disk(disk, tiny_dataset, monkeypatch, capsys):
    pytest.importorskip("tensorflow_datasets")
    from spotting.data.prepared import shards

    config = tiny_config(tiny_dataset)
    config.data.prepared_dir = str(disk / "prepared")
    dataset = make_setup(config, disk / "run").matches.source
    with monkeypatch.context() as patch:
        fill_before(patch, disk, shards, "_finished")
        status, errors, lines = command(lambda: preparation.prepare(config, dataset), capsys)
    assert (status, errors) == (2, lines[-1:])
    assert str(disk / "prepared") in errors[0]
    assert "space" in errors[0]
    (disk / "filler").unlink()
    assert preparation.prepare(config, dataset).statistics.frames > 0


@pytest.mark.slow
def test_predicting_on_a_full_disk(disk, tiny_run, tiny_dataset, monkeypatch, capsys):
    arguments = ["predict", f"--workdir={tiny_run}", f"--features={tiny_dataset}"]
    monkeypatch.setattr(sys, "argv", [*arguments, f"--output={disk / 'spots'}"])
    with monkeypatch.context() as patch:
        fill_before(patch, disk, predict, "write_results")
        status, errors, lines = command(predict.main, capsys)
    assert (status, errors) == (2, lines[-1:])
    assert f"No space left on device: '{disk / 'spots' / 'league'}" in errors[0]
    (disk / "filler").unlink()
    assert command(predict.main, capsys)[0] == 0
    assert len(list((disk / "spots").rglob("results_spotting.json"))) == 5


def test_a_log_that_cannot_be_written(tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    run_log = RunLog(tmp_path, tensorboard=False)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / 'log.jsonl'}'"):
        run_log.write("start")
    run_log.close()


def test_an_array_that_the_disk_has_no_room_for(disk):
    with (
        pytest.raises(OSError, match=rf"{disk / 'x.npy'}(: could not be written|')"),
        atomic_file(disk / "x.npy") as file,
    ):
        np.save(file, np.zeros(MEGABYTES << 20, np.uint8))
    assert not list(disk.iterdir())


def test_a_log_whose_last_line_was_cut_goes_on_with_a_new_one(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"kind": "tra')
    run_log = RunLog(tmp_path, tensorboard=False)
    run_log.write("start")
    run_log.close()
    first, second = (tmp_path / "log.jsonl").read_text().splitlines()
    assert first == '{"kind": "tra'
    assert second.endswith('"kind": "start"}')


def test_what_killed_writes_left_is_deleted_by_the_next_holder(tmp_path):
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from spotting.base.files import atomic_file\n"
        "with atomic_file(sys.argv[1]) as file:\n"
        "    file.write(b'part')\n    file.flush()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for path in (tmp_path / "metrics.json", tmp_path / "game" / "results.json"):
        root = Path(__file__).parents[1]
        subprocess.run(
            [sys.executable, "-c", program, path],
            env={**os.environ, "PYTHONPATH": str(root)},
            check=False,
        )
    (tmp_path / ".mine.tmp").touch()
    assert len(list(tmp_path.rglob(".*"))) == 3
    with hold_folder(tmp_path):
        assert len(list(tmp_path.rglob(".*.spotting-tmp"))) == 1
        remove_temporaries(tmp_path, recursive=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".mine.tmp", "game"]


def test_holding_leaves_no_empty_folder(tmp_path):
    with hold_folder(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert list(tmp_path.iterdir()) == []
