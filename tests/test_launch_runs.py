"""What the files of launch/ run, against stand-ins.

`srun`, `scontrol`, `gcloud` and `python` are small scripts that record how they were called.
"""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_launch import JOBSETS, LAUNCH, jobset, skypilot

END = "end of call"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Makes an executable, first on PATH, that runs `body`; returns its calls."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    monkeypatch.setenv("PATH", f"{bin_dir}{os.pathsep}{os.environ['PATH']}")

    def write(name: str, body: str = "", path: Path | None = None):
        path = path or bin_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        log = tmp_path / f"{name}.log"
        path.write_text(f"#!/bin/bash\nprintf '%s\\0' \"$@\" '{END}' >> {log}\n{body}\n")
        path.chmod(0o755)

        def calls() -> list[list[str]]:
            text = log.read_text() if log.exists() else ""
            return [call.split("\0")[:-1] for call in text.split(f"{END}\0")[:-1]]

        return calls

    return write


@pytest.mark.parametrize("path", JOBSETS, ids=lambda path: path.stem)
def test_jobset_runs_the_program(path, stand_in):
    python = stand_in("python", "exit 3")
    job = jobset(path)["spec"]["replicatedJobs"][0]["template"]["spec"]
    container = job["template"]["spec"]["containers"][0]
    run = subprocess.run([*container["command"], *container["args"]], check=False)
    assert run.returncode == 3
    assert python() == [
        [
            *("-m", "spotting.main", "--config=configs/demo.py:sam"),
            *("--workdir=/mnt/spotting/runs/demo", "--config.devices.distributed=True"),
            *("--config.seeds=1", "--mode=train"),
        ]
    ]


def test_skypilot_runs_the_program(tmp_path, stand_in):
    body = 'echo "$JAX_COORDINATOR_ADDRESS $JAX_NUM_PROCESSES $JAX_PROCESS_ID"; exit 3'
    python = stand_in("python", body, tmp_path / ".venv/bin/python")
    task = skypilot()
    node = {
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_RANK": "1",
    }
    env = os.environ | task["envs"] | node | {"BUCKET": "gs://x", "ARGS": "--mode=train --debug"}
    command = ["bash", "-c", task["run"]]
    run = subprocess.run(
        command, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, check=False
    )
    assert (run.returncode, run.stdout) == (3, "10.0.0.1:8476 2 1\n")
    assert python() == [
        [
            *("-m", "spotting.main", "--config=configs/demo.py"),
            *("--workdir=/mnt/spotting/runs/demo", "--config.devices.distributed=True"),
            *("--mode=train", "--debug"),
        ]
    ]


@pytest.mark.parametrize("status", [0, 2])
def test_slurm_runs_the_program(status, stand_in):
    srun = stand_in("srun", f"exit {status}")
    scontrol = stand_in("scontrol")
    arguments = ["--config=configs/demo.py", "--config.data.root=/data/two words"]
    env = os.environ | {"SLURM_JOB_ID": "7", "VENV": "venv"}
    run = subprocess.run(["bash", LAUNCH / "slurm.sh", *arguments], env=env, check=False)
    assert run.returncode == status
    (call,) = srun()
    assert call[-6:] == [
        *("venv/bin/python", "-m", "spotting.main", "--config.devices.distributed=True"),
        *arguments,
    ]
    assert scontrol() == []


def test_slurm_requeues_before_its_time_limit(tmp_path, stand_in):
    step = tmp_path / "step"
    stand_in("srun", f"echo $$ > {step}.tmp; mv {step}.tmp {step}; exec sleep 10")
    # A requeue ends the job's steps, and so does this one.
    scontrol = stand_in("scontrol", f"kill $(cat {step})")
    env = os.environ | {"SLURM_JOB_ID": "7"}
    with subprocess.Popen(["bash", LAUNCH / "slurm.sh"], env=env) as job:
        while not step.exists():
            time.sleep(0.01)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=5) == 128 + signal.SIGTERM
    assert scontrol() == [["requeue", "7"]]


GCLOUD = """
state=$(cat state 2> /dev/null)
case "$*" in
  *"queued-resources list"*) echo "$state" ;;
  *"queued-resources create"*) echo ACTIVE > state ;;
  *"queued-resources delete"*) rm state ;;
  *"-m spotting.main"*)
    read -r status < statuses
    sed -i 1d statuses
    if [[ $status == preempted ]]; then echo SUSPENDED > state; exit 255; fi
    exit "$status"
    ;;
esac
"""


@pytest.mark.parametrize(
    ("statuses", "status", "slices"),
    [
        pytest.param(["preempted", "0"], 0, 2, id="preempted"),
        pytest.param(["1", "0"], 0, 1, id="a failure that passes"),
        pytest.param(["1"] * 6, 1, 1, id="a failure that stays"),
        pytest.param(["2"], 2, 1, id="bad input"),
    ],
)
def test_tpu_vm(statuses, status, slices, tmp_path, stand_in):
    gcloud = stand_in("gcloud", f"cd {tmp_path}\n{GCLOUD}")
    (tmp_path / "statuses").write_text("\n".join(statuses) + "\n")
    arguments = ["--config=configs/demo.py", "--config.data.root=/mnt/spotting/two words"]
    env = os.environ | {"ZONE": "a-zone", "NFS": "filer:/share", "POLL_SECONDS": "0"}
    command = ["bash", LAUNCH / "tpu_vm.sh", "demo", *arguments]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == status, run.stderr
    assert not (tmp_path / "state").exists(), "the slice was not given back"
    calls = gcloud()
    assert sum("create" in call for call in calls) == slices
    assert sum("delete" in call for call in calls) == slices
    assert all("--zone=a-zone" in call for call in calls)

    remote = [a.removeprefix("--command=") for c in calls for a in c if a.startswith("--command=")]
    install, program = remote[0], remote[1]
    assert remote == [install, program] * len(statuses)
    assert subprocess.run(["bash", "-n"], input=install, text=True, check=False).returncode == 0
    assert "sudo mount -t nfs -o hard filer:/share /mnt/spotting" in install
    assert shlex.split(program) == [
        *("cd", "spotting", "&&", "sudo", ".venv/bin/python", "-m", "spotting.main"),
        *("--workdir=/mnt/spotting/runs/demo", "--config.devices.distributed=True"),
        *arguments,
    ]


def test_tpu_vm_says_what_is_missing(stand_in):
    gcloud = stand_in("gcloud")
    env = {key: value for key, value in os.environ.items() if key not in {"ZONE", "NFS"}}
    command = ["bash", LAUNCH / "tpu_vm.sh", "demo", "--config=configs/demo.py"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("usage: ZONE=")
    assert run.stderr.count("\n") == 1
    assert gcloud() == []
