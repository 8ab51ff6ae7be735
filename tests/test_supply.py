"""What is installed with the program, and formats that run nothing when they are read."""

import ast
import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted((ROOT / "launch/locks").glob("*.txt"))


def read_setup() -> dict[str, list[Requirement]]:
    """What setup.cfg requires, by extra; "" for what every installation has."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    texts = {"": parser["options"]["install_requires"], **parser["options.extras_require"]}
    return {
        extra: [Requirement(line) for line in text.splitlines() if line and line[0] != "#"]
        for extra, text in texts.items()
    }


def is_bounded(requirement: Requirement) -> bool:
    return any(each.operator in ("<", "==", "~=", "<=") for each in requirement.specifier)


def test_every_version_has_an_upper_bound():
    required = read_setup()
    always = {each.name for each in required[""] if is_bounded(each)}
    unbounded = [
        str(each)
        for requirements in required.values()
        for each in requirements
        # jax[tpu] is bounded where jax is, spotting[video] where its own extra is.
        if not is_bounded(each) and not (each.extras and each.name in {*always, "spotting"})
    ]
    assert unbounded == []
    build = re.search(r"requires = \[(.*)\]", (ROOT / "pyproject.toml").read_text())[1]
    assert all(is_bounded(Requirement(text.strip(' "'))) for text in build.split('", "'))


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_locks_have_hashes_and_fit_the_bounds(path):
    entries = path.read_text().replace("\\\n", " ").splitlines()
    locked = {}
    for entry in entries:
        text, *hashes = entry.split("--hash=")
        name, version = Requirement(text.strip()).name, re.search(r"==(\S+)", text)[1]
        assert hashes, f"{name} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", each) for each in hashes)
        locked[name] = version
    required = read_setup()
    wanted = [each for extra in ("", *path.stem.split(",")) for each in required[extra]]
    for each in wanted:
        if each.marker is None or each.marker.evaluate({"platform_system": "Linux"}):
            version = locked[each.name.lower().replace("_", "-")]
            assert each.specifier.contains(version), f"{each} but {version} in {path.name}"
    assert {"setuptools", "wheel"} & locked.keys()


def test_launchers_install_what_is_locked():
    for name in ("Dockerfile", "skypilot.yaml", "tpu_vm.sh"):
        text = (ROOT / "launch" / name).read_text()
        assert "--require-hashes" in text, name
        for line in re.findall(r"pip install.*", text):
            assert "launch/locks/" in line or "--no-deps" in line or "--user uv" in line, line
    stems = {path.stem for path in LOCKS}
    assert {"cuda13", "tpu", "cuda13,video"} <= stems
    script = (ROOT / "launch/lock.sh").read_text()
    assert set(re.findall(r"^lock (\S+) ", script, re.MULTILINE)) == stems


RUNS_CODE = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "torch",
    "yaml",
}
"""Modules whose readers may run what is in a file."""

ALLOWED = {"video/restricted_pickle.py": {"pickle"}}
"""It knows a few names and refuses all others."""


def test_no_format_that_runs_code_is_read():
    package = ROOT / "spotting"
    for path in package.rglob("*.py"):
        where = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found = {name.split(".")[0] for name in names} & RUNS_CODE
            assert found <= ALLOWED.get(where, set()), f"{where} imports {found}"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", f"{where}:{node.value.lineno}"
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "pickle.load", "pickle.loads"), where
