"""A wheel of this repository, installed in an environment of its own, does without the clone."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder of the programs of an environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    for name in ("spotting", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*pip, *build, f"--wheel-dir={folder}", str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    scripts = environment / "bin"
    subprocess.run(
        [*pip, f"--python={scripts / 'python'}", "install", "--no-deps", "--no-index", str(wheel)],
        check=True,
    )
    # The dependencies are those of this environment. Its own .pth files, of an editable install
    # among them, are not read.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return scripts


@pytest.fixture
def spotting(installed, tmp_path):
    """Runs `spotting` of the wheel, far from any clone; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments, status=0):
        done = subprocess.run(
            [str(installed / "spotting"), *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return run


def test_is_not_the_clone(installed, tmp_path):
    program = (
        "import spotting; from spotting.runs import config_files;"
        "print(spotting.__file__); print(config_files.find_config('demo'))"
    )
    done = subprocess.run(
        [str(installed / "python"), "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        assert Path(line).is_relative_to(installed.parent)
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    assert (packages / "spotting" / "py.typed").is_file()


def test_predicts_evaluates_reports_and_exports(spotting, tiny_run, tiny_dataset, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    assert "predict" in spotting()
    spotting("predict", f"--workdir={run}", f"--features={tiny_dataset}", "--output=out")
    assert (tmp_path / "out" / "spots.csv").stat().st_size > 100
    assert "</script>" in (tmp_path / "out" / "timeline.html").read_text("utf-8")
    files = [f"--labels={tiny_dataset}", "--predictions=out", "--split=test", "--json=scores.json"]
    spotting("evaluate", *files)
    assert json.loads((tmp_path / "scores.json").read_text())["all"]["loose"]
    spotting("report", run, "--output=report")
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    spotting("export", f"--workdir={run}", "--output=served")
    assert (tmp_path / "served" / "model.stablehlo").exists()


def test_trains_with_configs_that_ship_and_with_the_users_own(spotting, tiny_dataset, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from configs import common\n"
        "def get_config():\n"
        "    config = common.get_config()\n"
        "    config.data.features = ''\n"
        "    config.model.reduction = (16, 8)\n"
        "    config.model.unet.levels = 2\n"
        "    config.anchors.chunk = 16.0\n"
        "    config.training.update(batch_size=8, chunks_per_epoch=16, epochs=1)\n"
        "    return config\n"
    )
    data = f"--config.data.root={tiny_dataset}"
    spotting("main", "--config=mine", data, "--mode=train")
    assert (tmp_path / "runs" / "mine" / "checkpoints").is_dir()
    nowhere = "--config.data.root=nowhere"
    assert "no such folder" in spotting("main", "--config=unet_combination", nowhere, status=2)
