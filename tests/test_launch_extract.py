"""The files of launch/ that extract features in shards, against a stand-in of `python`."""

import os
import string
import subprocess
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).resolve().parents[1] / "launch"
OPTIONS = ["--video=My Videos", "--output=features"]


@pytest.fixture
def python(tmp_path) -> Path:
    """An executable that prints its arguments, one a line, and exits with 3."""
    path = tmp_path / "bin" / "python"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    path.chmod(0o755)
    return path


def test_slurm_gives_each_task_its_shard(python, tmp_path):
    script = [str(LAUNCH / "extract_slurm.sh"), *OPTIONS]
    array = {f"SLURM_ARRAY_TASK_{key}": value for key, value in (("MIN", "5"), ("COUNT", "4"))}
    for number in range(4):
        task = array | {"SLURM_ARRAY_TASK_ID": str(5 + number), "VENV": str(tmp_path)}
        done = subprocess.run(
            script, env=os.environ | task, capture_output=True, text=True, check=False
        )
        assert done.returncode == 3
        program = ["-m", "spotting.extract", f"--shard={number}/4"]
        assert done.stdout.splitlines() == [*program, *OPTIONS]
    alone = subprocess.run(script, capture_output=True, text=True, check=False)
    assert alone.returncode == 2
    assert "--array" in alone.stderr


def jobset() -> dict:
    text = (LAUNCH / "extract_gke.yaml").read_text()
    values = {"NAME": "x", "SHARDS": "8", "ARGS": "--dtype=float16", "IMAGE": "i", "CLAIM": "c"}
    return yaml.safe_load(string.Template(text).safe_substitute(values))


def test_jobset_gives_each_pod_its_shard(python):
    job = jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]
    container = job["template"]["spec"]["containers"][0]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*container["command"], *container["args"]],
        env=os.environ | {"PATH": path, "JOB_COMPLETION_INDEX": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout.split() == [
        *("-m", "spotting.extract", "--shard=7/8"),
        *("--video=/mnt/spotting/videos", "--output=/mnt/spotting/features", "--dtype=float16"),
    ]


def test_jobset_is_sound():
    document = jobset()
    assert (document["apiVersion"], document["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    job = document["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    assert job["parallelism"] == job["completions"] == 8
    # Kubernetes accepts a podFailurePolicy with this restartPolicy only, and limits and the action
    # FailIndex by index with this completionMode only.
    assert (pod["restartPolicy"], job["completionMode"]) == ("Never", "Indexed")
    assert {rule["onExitCodes"]["containerName"] for rule in job["podFailurePolicy"]["rules"]} == {
        pod["containers"][0]["name"]
    }
    mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}
