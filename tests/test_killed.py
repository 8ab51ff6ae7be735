"""A run that is killed (SIGKILL) at some fixed moments; tests/programs/kill.py has random ones."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny_config

from spotting import experiment

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
PROGRAM = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from helpers import tiny_config
from spotting import experiment

data, workdir, target = sys.argv[3:]

def watch(event, given):
    if event == "os.rename" and os.fsdecode(given[1]).endswith(target):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
experiment.run(tiny_config(Path(data)), Path(workdir))
"""


def read_checksums(folder):
    paths = sorted((folder / "checkpoints").glob("*/*/*/_CHECKPOINT_METADATA"))
    found = {path.relative_to(folder): json.loads(path.read_text()) for path in paths}
    return {path: metadata["custom_metadata"]["checksums"] for path, metadata in found.items()}


@pytest.mark.parametrize(
    "target",
    [
        "displacement/best/2",
        "displacement/latest/2",
        "predictions/test.npz",
        "metrics.json",
        "timeline.png",
        "report.html",
    ],
)
def test_the_same_command_ends_with_the_same_bits(target, tiny_run, tiny_dataset, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    for name in ("predictions", "results", "valid"):
        shutil.rmtree(folder / name)
    for name in ("metrics.json", "timeline.png", "report.html", "report.md"):
        (folder / name).unlink()
    if target.startswith("displacement"):
        shutil.rmtree(folder / "checkpoints" / "displacement")
    command = [sys.executable, "-c", PROGRAM, str(TESTS), str(TESTS.parent)]
    done = subprocess.run([*command, str(tiny_dataset), str(folder), target], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (folder / target).exists()
    experiment.run(tiny_config(tiny_dataset), folder)
    assert read_checksums(folder) == read_checksums(tiny_run)
    for path in tiny_run.rglob("*"):
        same = folder / path.relative_to(tiny_run)
        # The names of events' and of arrays' files are drawn; the arrays are compared above.
        assert same.exists() or {"tensorboard", "checkpoints"} & set(path.parts)
        if path.suffix in (".npz", ".png") or path.name.endswith(("metrics.json", "spotting.json")):
            assert same.read_bytes() == path.read_bytes(), path
    left = [path for path in folder.rglob("*") if "tmp" in path.name or path.name == ".lock"]
    assert not left
