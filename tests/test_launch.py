"""The files of launch/: their syntax, their fields, and what they refer to."""

import configparser
import os
import re
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
JOBSETS = sorted(LAUNCH.glob("gke_*.yaml"))
PLACEHOLDERS = {
    "NAME": "demo",
    "CONFIG": "configs/demo.py:sam",
    "ARGS": "--config.seeds=1 --mode=train",
    "IMAGE": "registry/spotting:tag",
    "CLAIM": "claim",
    "NODES": "2",
}

CONTAINER = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "env": [{"name": str, "value": str, "valueFrom": {"fieldRef": {"fieldPath": str}}}],
    "resources": {"limits": {"google.com/tpu": int, "nvidia.com/gpu": int}},
    "volumeMounts": [{"name": str, "mountPath": str}],
}
POD = {
    "restartPolicy": str,
    "nodeSelector": {
        "cloud.google.com/gke-tpu-accelerator": str,
        "cloud.google.com/gke-tpu-topology": str,
        "cloud.google.com/gke-accelerator": str,
        "cloud.google.com/gke-spot": str,
    },
    "containers": [CONTAINER],
    "volumes": [
        {
            "name": str,
            "persistentVolumeClaim": {"claimName": str},
            "emptyDir": {"medium": str},
        }
    ],
}
JOB = {
    "parallelism": int,
    "completions": int,
    "backoffLimit": int,
    "podFailurePolicy": {
        "rules": [
            {
                "action": str,
                "onExitCodes": {"containerName": str, "operator": str, "values": [int]},
            }
        ]
    },
    "template": {"spec": POD},
}
JOBSET = {
    "apiVersion": str,
    "kind": str,
    "metadata": {
        "name": str,
        "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": str},
    },
    "spec": {
        "failurePolicy": {
            "maxRestarts": int,
            "restartStrategy": str,
            "rules": [{"name": str, "action": str, "onJobFailureReasons": [str]}],
        },
        "replicatedJobs": [{"name": str, "replicas": int, "template": {"spec": JOB}}],
    },
}
SKYPILOT = {
    "name": str,
    "workdir": str,
    "num_nodes": int,
    "resources": {
        "accelerators": str,
        "use_spot": bool,
        "job_recovery": {"max_restarts_on_errors": int},
    },
    "envs": {"BUCKET": type(None), "NAME": str, "CONFIG": str, "ARGS": str, "EXTRA": str},
    "file_mounts": {"/mnt/spotting": {"source": str, "mode": str}},
    "setup": str,
    "run": str,
}
SBATCH = {
    *("job-name", "output", "open-mode", "nodes", "ntasks-per-node", "gpus-per-node"),
    *("cpus-per-task", "time", "requeue", "signal"),
}


def misfits(value, schema, path: str = "") -> list[str]:
    """The places where `value` has a field that `schema` does not know, or one of another type."""
    if isinstance(schema, dict) and isinstance(value, dict):
        inside = [(v, schema.get(key), f"{path}.{key}") for key, v in value.items()]
    elif isinstance(schema, list) and isinstance(value, list):
        inside = [(v, schema[0], f"{path}[{i}]") for i, v in enumerate(value)]
    else:
        return [] if type(value) is schema else [f"{path}: {value!r}"]
    return [misfit for arguments in inside for misfit in misfits(*arguments)]


def jobset(path: Path) -> dict:
    return yaml.safe_load(string.Template(path.read_text()).substitute(PLACEHOLDERS))


def skypilot() -> dict:
    return yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())


def commands_of_readme() -> list[str]:
    text = (LAUNCH / "README.md").read_text()
    return [c.replace(r"\|", "|") for c in re.findall(r"`([^`]+)`", text) if "configs/demo.py" in c]


def shell_sources() -> dict[str, str]:
    sources = {path.name: path.read_text() for path in SCRIPTS}
    sources |= {f"skypilot.yaml {key}": skypilot()[key] for key in ("setup", "run")}
    return sources | {command: command for command in commands_of_readme()}


@pytest.mark.parametrize("name", shell_sources())
def test_shell_syntax(name):
    check = subprocess.run(["bash", "-n"], input=shell_sources()[name], text=True, check=False)
    assert check.returncode == 0


def test_shellcheck():
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shellcheck = shutil.which("shellcheck", path=path)
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    for name, source in shell_sources().items():
        command = [shellcheck, "--shell=bash", "-"]
        check = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
        assert check.returncode == 0, f"{name}\n{check.stdout}"


@pytest.mark.parametrize("path", JOBSETS, ids=lambda path: path.stem)
def test_jobset(path):
    document = jobset(path)
    assert misfits(document, JOBSET) == []
    assert (document["apiVersion"], document["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (replicated,) = document["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert job["parallelism"] == job["completions"]
    # Kubernetes accepts a podFailurePolicy with this restartPolicy only.
    assert pod["restartPolicy"] == "Never"
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}

    topology = pod["nodeSelector"].get("cloud.google.com/gke-tpu-topology")
    if topology:
        rows, columns = map(int, topology.split("x"))
        chips = container["resources"]["limits"]["google.com/tpu"]
        assert rows * columns == job["completions"] * chips
    else:
        env = {e["name"]: e.get("value") for e in container["env"]}
        first_pod = f"{document['metadata']['name']}-{replicated['name']}-0-0"
        assert env["JAX_COORDINATOR_ADDRESS"].startswith(f"{first_pod}.demo:")
        assert env["JAX_NUM_PROCESSES"] == str(job["completions"])
        assert "JAX_PROCESS_ID" in env


def test_skypilot():
    assert misfits(skypilot(), SKYPILOT) == []


def test_the_field_check_finds_a_wrong_name_and_a_wrong_type():
    document = jobset(LAUNCH / "gke_gpu.yaml")
    document["spec"]["failurePolicy"]["maxRestart"] = 3
    document["spec"]["replicatedJobs"][0]["template"]["spec"]["backoffLimit"] = "0"
    assert misfits(document, JOBSET) == [
        ".spec.failurePolicy.maxRestart: 3",
        ".spec.replicatedJobs[0].template.spec.backoffLimit: '0'",
    ]


def test_sbatch_options():
    lines = (LAUNCH / "slurm.sh").read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    options = [line.split()[1] for line in lines if line.startswith("#SBATCH")]
    # sbatch reads no option after the first command.
    assert options == [x.split()[1] for x in lines[:first_command] if x.startswith("#SBATCH")]
    assert {re.fullmatch(r"--([a-z-]+)(=\S+)?", option)[1] for option in options} == SBATCH
    assert {"--requeue", "--open-mode=append"} < set(options)


def test_dockerfile():
    text = re.sub(r"\\\n", " ", (LAUNCH / "Dockerfile").read_text())
    instructions = [line.split() for line in text.splitlines() if line and line[0] != "#"]
    assert [i for i in instructions if i[0] == "FROM"] == [["FROM", "python:${PYTHON}-slim"]]
    version = next(i[1] for i in instructions if i[:1] == ["ARG"]).removeprefix("PYTHON=")
    assert tuple(map(int, version.split("."))) >= (3, 11)
    sources = [name for i in instructions if i[0] == "COPY" for name in i[1:-1]]
    assert {"setup.py", "setup.cfg", "spotting", "configs"} < set(sources)
    assert [name for name in sources if not (ROOT / name).exists()] == []
    assert instructions[-1] == ["ENTRYPOINT", '["python",', '"-m",', '"spotting.main"]']


def test_references():
    """Extras, files and placeholders that the files name exist, and none is left unnamed."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    texts = {path.name: path.read_text() for path in LAUNCH.iterdir() if path.is_file()}
    extras = set(re.findall(r"EXTRA(?:=|: )(\w+)", " ".join(texts.values())))
    assert extras == {"cuda13", "tpu"}
    assert extras <= set(setup["options.extras_require"])

    readme = texts["README.md"]
    assert [name for name in texts if name != "README.md" and name not in readme] == []
    for name in re.findall(r"launch/[\w.]+|configs/\w+\.py", " ".join(texts.values())):
        assert (ROOT / name).exists(), name

    for path in JOBSETS:
        used = set(re.findall(r"\$\{(\w+)\}", texts[path.name]))
        (command,) = [c for c in commands_of_readme() if path.name in c]
        assert used == set(re.findall(r"(\w+)=", command.split("envsubst")[0]))
