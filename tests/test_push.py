"""A run that is given away: its folder, what a hub makes of it, and folders that do not fit."""

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hub_fixture import TOKEN, serve_hub

from spotting import Spotter, push
from spotting.base import cli
from spotting.base.errors import InputError
from spotting.data import transforms
from spotting.data.dataset import describe_dataset
from spotting.runs import hub
from spotting.runs.initial_weights import read_initial_weights
from spotting.runs.prediction_record import identify_run

pytestmark = pytest.mark.slow

safetensors = pytest.importorskip("safetensors.numpy")
FILES = {
    *("README.md", "config.json", "dataset.json", "metrics.json", "model.safetensors"),
    "thresholds.json",
}


@pytest.fixture(scope="module")
def pushed(tiny_run, tmp_path_factory):
    """What `push --output` makes of the tiny run. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("pushed") / "run"
    push.pack(tiny_run, folder)
    return folder


@pytest.fixture
def changed(pushed, tmp_path):
    return shutil.copytree(pushed, tmp_path / "run")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command; gives its exit status and what it wrote to stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["push", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.run(push.main)
        return end.value.code, *capsys.readouterr()

    return run


def _features(num_frames=150):
    return np.random.default_rng(0).normal(size=(num_frames, 16)).astype(np.float32)


def test_what_is_pushed_spots_as_the_run(pushed, tiny_run, tiny_dataset):
    assert {path.name for path in pushed.iterdir()} == FILES
    ours, theirs = Spotter.load(tiny_run), Spotter.load(pushed)
    assert theirs.spot(_features()) == ours.spot(_features())
    assert theirs.spot(_features(), "auto") == ours.spot(_features(), "auto")
    np.testing.assert_array_equal(theirs.score(_features(40)), ours.score(_features(40)))
    assert (theirs.classes, theirs.data, theirs.features) == (ours.classes, "tiny", "toy16")
    # Nothing of the machine that trained.
    for path in pushed.iterdir():
        assert str(tiny_dataset.parents[1]).encode() not in path.read_bytes()
    assert identify_run(pushed) != identify_run(tiny_run)


def test_a_training_starts_from_what_was_pushed(pushed, tiny_run):
    fresh = Spotter.load(tiny_run)._run.confidence.params
    again = read_initial_weights(pushed, "confidence", fresh, ("Goal", "Corner", "Throw-in"))
    np.testing.assert_array_equal(again["params"]["head"]["bias"], fresh["params"]["head"]["bias"])


def test_normalisation_goes_with_the_weights(tiny_run, tiny_dataset, tmp_path):
    workdir = shutil.copytree(tiny_run, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    prepared = tmp_path / "prepared"
    config["data"] |= {"prepared_dir": str(prepared), "normalize": "standard", "resample": 4.0}
    config["confidence"]["initial_weights"] = "/home/me/runs/start"
    (workdir / "config.json").write_text(json.dumps(config))
    ours = Spotter.load(workdir)
    push.pack(workdir, tmp_path / "pushed")
    shutil.rmtree(prepared)
    written = json.loads((tmp_path / "pushed" / "config.json").read_text())
    assert written["confidence"]["initial_weights"] == "start"
    assert Spotter.load(tmp_path / "pushed").spot(_features()) == ours.spot(_features())
    arrays = safetensors.load_file(tmp_path / "pushed" / "model.safetensors")
    fitted = transforms.fit_normalization(
        describe_dataset(tiny_dataset), transforms.Transform(normalize="standard")
    )
    np.testing.assert_array_equal(arrays["normalization/offset"], fitted.offset)

    arrays["normalization/scale"] = arrays["normalization/scale"][:3]
    safetensors.save_file(arrays, tmp_path / "pushed" / "model.safetensors")
    with pytest.raises(InputError, match=r"normalization/scale is float32 \(3,\), but float32"):
        Spotter.load(tmp_path / "pushed")


def _change_array(change):
    def apply(folder):
        path = folder / "model.safetensors"
        arrays = safetensors.load_file(path)
        safetensors.save_file(change(arrays, "confidence/params/head/bias"), path)

    return apply


def _change_config(change):
    def apply(folder):
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _change_array(lambda a, n: {k: v for k, v in a.items() if k != n}),
            "no array 'confidence/params/head/bias'",
        ),
        (_change_array(lambda a, n: a | {"more": a[n]}), "an unknown array 'more'"),
        (_change_array(lambda a, n: a | {n: a[n][:2]}), r"bias is float32 \(2,\), but float32"),
        (_change_array(lambda a, n: a | {n: a[n].astype(np.float64)}), "bias is float64"),
        (_change_array(lambda a, n: a | {n: a[n] * np.nan}), "head/bias has NaN or infinity"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "not a sound safetensors file"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64),
            "not a sound safetensors file",
        ),
        (
            lambda f: os.truncate(f / "model.safetensors", 5000),
            "not a sound safetensors file",
        ),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: not a JSON object"),
        (lambda f: (f / "config.json").write_text('{"data": 3}'), "config.json: no config"),
        (lambda f: (f / "dataset.json").write_text("{}"), 'dataset.json: no "name" in it'),
        (_change_config(lambda c: c["model"].pop("unet")), "config.json: no network can be made"),
        (_change_config(lambda c: c["model"].update(reduction=[16, 9])), "is float32 .* by the"),
        (
            _change_config(lambda c: c["anchors"].update(chunk=1e300)),
            "anchors.chunk is 1e[+]300",
        ),
    ],
)
def test_folders_that_do_not_fit_are_one_line(changed, change, message):
    change(changed)
    with pytest.raises(InputError, match=message) as error:
        Spotter.load(changed)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_the_command_writes_a_folder(run, tiny_run, tmp_path):
    output = tmp_path / "given away"
    assert run(f"--workdir={tiny_run}", f"--output={output}") == (0, f"{output}\n", "")
    assert {path.name for path in output.iterdir()} == FILES
    code, out, err = run(f"--workdir={tiny_run}", f"--output={output}")
    assert (code, out) == (2, "")
    assert err == f"error: {output}: there already; choose a new folder\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --repo=owner/name to upload the run, --output=DIR to write it"),
        (["--repo=name"], "name: a repository is called owner/name"),
        (["--output=out", "--private"], "--private belongs to --repo"),
    ],
)
def test_usage(run, tiny_run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(f"--workdir={tiny_run}", *arguments)
    assert (code, out, err) == (2, "", f"error: {message}\n")


def test_an_unfinished_run_is_not_pushed(run, tiny_run, tmp_path):
    workdir = shutil.copytree(tiny_run, tmp_path / "run")
    (workdir / "metrics.json").unlink()
    code, _, err = run(f"--workdir={workdir}", f"--output={tmp_path / 'out'}")
    assert (code, err) == (2, f"error: {workdir}: no metrics.json; finish the run first\n")


def test_without_the_packages(run, pushed, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(InputError, match="pip install safetensors"):
        Spotter.load(pushed)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _, err = run(f"--workdir={tiny_run}", "--repo=owner/name")
    assert code == 2
    assert err == (
        "error: Hugging Face's hub needs two packages: pip install huggingface_hub safetensors\n"
    )
    with pytest.raises(InputError, match="pip install huggingface_hub safetensors"):
        Spotter.load("hf://owner/name")


@pytest.mark.parametrize("text", ["hf://name", "hf://a/b/c", "hf://", "hf://a/b@", "hf://../x"])
def test_names_that_are_none(text):
    with pytest.raises(InputError, match="not of the form hf://owner/name"):
        hub.find_run(text)


def test_a_path_may_name_a_run_of_the_hub(pushed, monkeypatch):
    """Commands make paths of what they are given, which takes a slash away."""
    asked = []

    def download(repository, revision, allow_patterns):
        asked.append((repository, revision, sorted(allow_patterns)))
        return str(pushed)

    package = types.SimpleNamespace(snapshot_download=download)
    monkeypatch.setattr(hub, "import_hub", lambda: package)
    assert hub.find_run(Path("hf://owner/name@refs/pr/1")) == pushed
    assert hub.find_run("hf://owner/na.me") == pushed
    assert asked == [
        ("owner/name", "refs/pr/1", sorted(FILES)),
        ("owner/na.me", None, sorted(FILES)),
    ]
    assert hub.find_run(pushed) == pushed


PROGRAM = """
import json, sys
import numpy as np
from spotting import Spotter, predict, push
from spotting.base.errors import InputError

workdir, features, output = sys.argv[1:]
def call(main, *arguments):
    sys.argv[1:] = arguments
    assert not main()

call(push.main, f"--workdir={workdir}", "--repo=owner/run", "--private")
found = Spotter.load("hf://owner/run").spot(np.load(features))
call(predict.main, "--workdir=hf://owner/run", f"--features={features}", f"--output={output}")
errors = []
for name in ("hf://owner/run@nowhere", "hf://owner/none", "hf://owner/other"):
    try:
        Spotter.load(name)
    except InputError as error:
        errors.append(str(error))
print(json.dumps({"spots": found, "errors": errors}))
"""


def test_to_a_hub_and_back(tiny_run, tmp_path):
    pytest.importorskip("huggingface_hub")
    np.save(tmp_path / "1_toy16.npy", _features())
    with serve_hub() as server:
        server.commits["owner/other"] = {"1" * 40: {"model.bin": b"x", "config.json": b"{}"}}
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
            **{"HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "home")},
            **{"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_TELEMETRY": "1"},
        }
        arguments = (tiny_run, tmp_path / "1_toy16.npy", tmp_path / "out")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        environment["HF_TOKEN"] = "wrong"
        refused = subprocess.run(
            [*(sys.executable, "-m", "spotting.push"), f"--workdir={tiny_run}", "--repo=owner/b"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert server.private == {"owner/run": True}
    files = list(server.commits["owner/run"].values())[-1]
    assert files.keys() == FILES
    assert b'Spotter.load("hf://owner/run")' in files["README.md"]
    found = json.loads(done.stdout.splitlines()[-1])
    assert [tuple(spot) for spot in found["spots"]] == Spotter.load(tiny_run).spot(_features())
    assert done.stdout.splitlines()[0] == f"{server.endpoint}/owner/run"
    page = (tmp_path / "out" / "timeline.html").read_text("utf-8")
    assert '"name":"hf://owner/run"' in page
    nowhere, none, other = found["errors"]
    assert nowhere.startswith("hf://owner/run@nowhere: could not download it: ")
    assert none.startswith("hf://owner/none: could not download it: ")
    assert "hf://owner/other: no dataset.json in it" in other
    assert all("\n" not in error for error in found["errors"])
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines()[-1].startswith("error: owner/b: could not upload it: ")
