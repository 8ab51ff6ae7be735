"""Several devices and several processes train what one device trains."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from helpers import tiny_config, write_dataset

from spotting import experiment
from spotting.runs.trained import load_run
from spotting.training.checkpoints import Checkpoints
from spotting.training.objectives import KINDS

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SECONDS = 300  # after which a program counts as hanging
# Adam's step is of the learning rate's size, 1e-3, however small a gradient; so is what rounding
# makes of it.
ROUNDING = 1e-5


def start(*command: str, devices: int = 1, **environment: str) -> subprocess.Popen:
    # Level 0 takes two thirds of the time to compile.
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=HERE.parent,
        env={
            **os.environ,
            **{"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"},
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen) -> list[tuple[int, str, str]]:
    """Status, stdout and stderr of each."""
    try:
        outputs = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (process.returncode, *output) for process, output in zip(processes, outputs, strict=True)
    ]


def start_two(*command: str, devices: int = 1) -> list[subprocess.Popen]:
    """Two processes that train together, each with as many devices."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    return [
        start(*command, devices=devices, **environment, JAX_PROCESS_ID=str(number))
        for number in (0, 1)
    ]


@pytest.fixture(scope="module")
def config_file(tiny_dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(
        f"import sys\nfrom pathlib import Path\nsys.path.append({str(HERE)!r})\n"
        "from helpers import tiny_config\n"
        f"def get_config(): return tiny_config(Path({str(tiny_dataset)!r}))\n"
    )
    return path


@pytest.fixture
def unfinished(tiny_run, tmp_path):
    """A run of one device, stopped before the displacement model's training."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    (folder / "metrics.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "displacement")
    return folder


def assert_same_models(folder, other):
    ours, theirs = load_run(folder), load_run(other)
    for kind in KINDS:
        pairs = (getattr(run, kind).params for run in (ours, theirs))
        differences = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), *pairs)
        assert max(jax.tree.leaves(differences)) < ROUNDING


def assert_same_figures(folder, other):
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (folder, other)]
    figures = [each["test"]["with_displacement"] for each in metrics]
    assert figures[0]["loose"] == pytest.approx(figures[1]["loose"], abs=0.1)


def test_eight_devices_share_the_work_of_one():
    ((status, output, errors),) = finish(start("tests/programs/multi_device.py", devices=8))
    assert status == 0, errors
    report = json.loads(output)
    assert report["devices"] == 8
    assert report["difference"] < ROUNDING
    assert report["difference_flat"] < ROUNDING
    assert report["exchanged"] == ["all-reduce"]
    # The optimiser's part is not shared.
    assert 1 / 8 < report["share_of_work"] < 1 / 5
    batch, count = report["refusals"]
    assert "batch_size 12 is not a multiple of the 8 devices" in batch
    assert "devices.count is 9" in count


def test_a_run_on_one_device_goes_on_on_eight(config_file, unfinished, tiny_run):
    # It was stopped even earlier, after the confidence model's first epoch.
    confidence = unfinished / "checkpoints" / "confidence"
    shutil.rmtree(confidence / "best")
    shutil.rmtree(confidence / "latest" / str(Checkpoints(confidence).step("latest")))
    command = ("-m", "spotting.main", f"--config={config_file}", f"--workdir={unfinished}")
    ((status, _, errors),) = finish(start(*command, "--mode=train", devices=8))
    assert status == 0, errors
    assert "on 8 x cpu" in errors
    assert_same_models(unfinished, tiny_run)


def test_two_processes_train_together_and_one_writes(config_file, unfinished, tiny_run):
    lines_before = len((unfinished / "log.jsonl").read_text().splitlines())
    command = ("-m", "spotting.main", f"--config={config_file}", f"--workdir={unfinished}")
    first, second = finish(*start_two(*command, "--config.devices.distributed=True"))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "on 2 x cpu" in first[2]
    assert "average-mAP" in first[1]
    assert "average-mAP" not in second[1]
    assert_same_models(unfinished, tiny_run)
    assert_same_figures(unfinished, tiny_run)
    log = [json.loads(line) for line in (unfinished / "log.jsonl").read_text().splitlines()]
    epochs = [line["epoch"] for line in log[lines_before:] if line["kind"] == "train"]
    assert epochs == [1, 2]


@pytest.fixture(scope="module")
def three_seeds(config_file, tmp_path_factory):
    """A command that trains three seeds, and their folder when one device has trained them."""
    folder = tmp_path_factory.mktemp("seeds") / "one"
    command = (
        *("-m", "spotting.main", f"--config={config_file}", "--mode=train"),
        *("--config.seeds=0,1,2", "--config.training.epochs=1", "--config.devices.min_chunks=4"),
        "--config.model.unet.levels=1",
    )
    ((status, _, errors),) = finish(start(*command, f"--workdir={folder}"))
    assert status == 0, errors
    return command, folder


def test_seeds_train_side_by_side_on_devices_of_their_own(three_seeds, tmp_path):
    command, alone = three_seeds
    ((status, _, errors),) = finish(start(*command, f"--workdir={tmp_path}", devices=4))
    assert status == 0, errors
    assert "3 seed(s), 1 epochs of 2 steps on 4 x cpu, 1 for each training" in errors
    for seed in range(3):
        assert_same_models(tmp_path / f"seed_{seed}", alone / f"seed_{seed}")


def test_seeds_train_side_by_side_on_two_processes(three_seeds, tmp_path):
    command, alone = three_seeds
    distributed = ("--config.devices.distributed=True", f"--workdir={tmp_path}")
    first, second = finish(*start_two(*command, *distributed, devices=2))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "on 4 x cpu, 1 for each training" in first[2]
    for seed in range(3):
        assert_same_models(tmp_path / f"seed_{seed}", alone / f"seed_{seed}")


def test_two_processes_stream_what_one_streams(config_file, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    root = write_dataset(tmp_path / "data", {"train": ["a", "b", "c", "d"]})
    config = tiny_config(root)
    config.data.update(loader="stream", stream_parts=2)
    config.training.epochs = config.model.unet.levels = 1
    experiment.run(config, tmp_path / "one", "train")
    command = ("-m", "spotting.main", f"--config={config_file}", f"--workdir={tmp_path / 'two'}")
    same = (f"--config.data.root={root}", "--config.data.loader=stream", "--mode=train")
    more = (
        "--config.data.stream_parts=2",
        "--config.training.epochs=1",
        "--config.model.unet.levels=1",
        "--config.devices.distributed=True",
    )
    for status, _, errors in finish(*start_two(*command, *same, *more)):
        assert status == 0, errors
    assert_same_models(tmp_path / "one", tmp_path / "two")


def test_a_signal_to_one_process_stops_all_after_the_same_epoch(config_file, tmp_path):
    command = ("-m", "spotting.main", f"--config={config_file}", f"--workdir={tmp_path / 'run'}")
    more = ("--config.training.epochs=100000", "--config.devices.distributed=True")
    processes = start_two(*command, *more, "--config.confidence.rho=0.0")
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + SECONDS
    while not (log.exists() and '"train"' in log.read_text()):
        assert time.monotonic() < deadline
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGTERM)
    first, second = finish(*processes)
    assert (first[0], second[0]) == (143, 143), first[2] + second[2]
    assert "Traceback" not in first[2] + second[2]
    last = "of the confidence model is saved; run the same command again to resume"
    assert first[2].splitlines()[-1].endswith(last)
    epochs = [line["epoch"] for line in map(json.loads, log.open()) if line["kind"] == "train"]
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints" / "confidence")
    assert checkpoints.step("latest") == 2 * epochs[-1]


def test_bad_input_ends_all_processes_with_its_status(config_file, tmp_path):
    command = ("-m", "spotting.main", f"--config={config_file}", f"--workdir={tmp_path / 'run'}")
    more = ("--config.devices.distributed=True", "--config.training.batch_size=1")
    outcomes = finish(*start_two(*command, *more))
    assert [status for status, _, _ in outcomes] == [2, 2]
    assert "training.batch_size 1 is not a multiple of the 2 devices" in outcomes[0][2]


def test_no_process_waits_for_one_that_failed(config_file, tmp_path):
    (tmp_path / "file").touch()
    command = ("-m", "spotting.main", f"--config={config_file}", f"--workdir={tmp_path / 'run'}")
    season = ("--config.data.simulated=True", f"--config.data.root={tmp_path / 'file' / 'season'}")
    first, second = finish(*start_two(*command, *season, "--config.devices.distributed=True"))
    assert (first[0], second[0]) == (2, 2)
    assert "Not a directory" in first[2]
    assert "process 0 failed" in second[2]


def test_distributed_needs_to_know_the_others(config_file, tmp_path):
    config = f"--config={config_file}"
    command = ("-m", "spotting.main", config, "--config.devices.distributed=True")
    ((status, _, errors),) = finish(start(*command, f"--workdir={tmp_path / 'run'}"))
    assert status == 2
    assert "JAX_COORDINATOR_ADDRESS" in errors
