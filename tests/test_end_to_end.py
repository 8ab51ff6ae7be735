"""The whole path on a tiny data set: what a run leaves, and that a stopped one loses nothing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import CLASSES, SPLITS, tiny_config

from spotting import evaluate, experiment
from spotting.base.errors import InputError
from spotting.base.files import hold_folder
from spotting.data.annotations import read_results
from spotting.reporting import outcome
from spotting.runs import setup as runs_setup
from spotting.runs.folders import open_runs
from spotting.runs.matches import read_matches
from spotting.runs.setup import make_setup
from spotting.runs.trained import load_run
from spotting.training import loop as fit
from spotting.training.checkpoints import Checkpoints
from spotting.training.objectives import KINDS


def _best(config, workdir, kind):
    setup = make_setup(config, workdir)
    with open_runs(setup) as (run,):
        return experiment.restore_best(setup, run, kind)


def test_a_run_leaves_everything(tiny_run, tiny_dataset):
    names = {path.name for path in tiny_run.iterdir()}
    assert names >= {
        "checkpoints",
        "config.json",
        "log.jsonl",
        "metrics.json",
        "results",
        "results_without_displacement",
        "tensorboard",
        "thresholds.json",
    }
    for kind in KINDS:
        for which in ("best", "latest"):
            assert any((tiny_run / "checkpoints" / kind / which).iterdir())
    metrics = json.loads((tiny_run / "metrics.json").read_text("utf-8"))
    for split in ("valid", "test"):
        for name in ("with_displacement", "without_displacement", "guessing"):
            figures = metrics[split][name]
            assert set(figures["per_class"]) == set(CLASSES)
            assert 0 <= figures["tight"] <= figures["loose"] <= 100
    lines = [json.loads(line) for line in (tiny_run / "log.jsonl").open(encoding="utf-8")]
    assert {line["kind"] for line in lines} >= {"start", "train", "valid", "test"}
    assert lines[0]["versions"]["jax"] == jax.__version__
    counts = {line["model"]: line["parameters"] for line in lines if line["kind"] == "model"}
    assert set(counts) == set(KINDS)
    report = (tiny_run / "report.md").read_text("utf-8")
    for kind, count in counts.items():
        assert f"| parameters, {kind} | {count:,} |" in report
    assert f"| jax | {jax.__version__} |" in report
    assert re.search(r"\| time \| [1-9]\d* (s|min)", report)
    assert re.search(r"\| device \| \d+ x \w+ \|", report)
    assert "| confidence.rho | 0.2 |" in report
    card = (tiny_run / "README.md").read_text("utf-8")
    assert card.startswith("---\nlicense: ")
    assert f"| parameters of the confidence network | {counts['confidence']}" in card
    assert re.search(r"\| with displacement \| [\d.]+ \| [\d.]+ \|", card)
    (game,) = SPLITS["test"]
    spots = read_results(tiny_run / "results" / game / "results_spotting.json")
    assert {spot.half for spot in spots} == {1, 2}
    assert set(json.loads((tiny_run / "thresholds.json").read_text("utf-8"))) == set(CLASSES)


def test_hyper_parameters_are_in_tensorboard(tiny_run):
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    (path,) = (tiny_run / "tensorboard").iterdir()
    values = {}
    for event in loader.EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.tag.startswith("_hparams_/"):
                content = value.metadata.plugin_data.content
                values[value.tag] = plugin.HParamsPluginData.FromString(content)
    given = values["_hparams_/session_start_info"].session_start_info.hparams
    assert given["confidence.rho"].number_value == 0.2
    assert given["model.reduction"].string_value == "16, 8"
    assert given["training.select"].string_value == "best"
    experiment = values["_hparams_/experiment"].experiment
    tags = [info.name.tag for info in experiment.metric_infos]
    assert tags == ["confidence/score", "displacement/score"]


def test_the_evaluator_agrees_with_metrics_json(tiny_run, tiny_dataset, tmp_path, monkeypatch):
    arguments = f"evaluate --split=test --json={tmp_path / 'scores.json'}".split()
    arguments += [f"--labels={tiny_dataset}", f"--predictions={tiny_run / 'results'}"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert not evaluate.main()
    scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))["all"]
    metrics = json.loads((tiny_run / "metrics.json").read_text("utf-8"))
    for name in ("loose", "tight"):
        ours = metrics["test"]["with_displacement"][name]
        assert 100 * scores[name]["map"] == pytest.approx(ours, abs=1e-9)


def test_a_finished_run_is_not_done_again(tiny_run, tiny_dataset, monkeypatch, capsys):
    def never(*args, **kwargs):
        raise AssertionError("work done twice")

    monkeypatch.setattr(runs_setup, "read_matches", never)
    experiment.run(tiny_config(tiny_dataset), tiny_run)
    assert "without displacement" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_parameters(
    tiny_run, tiny_dataset, tmp_path, monkeypatch
):
    config = tiny_config(tiny_dataset)
    original, calls = fit.Checkpoints.save, []

    def stop_after_the_first_epoch(self, which, step, tree):
        original(self, which, step, tree)
        calls.append(which)
        if which == "latest":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit.Checkpoints, "save", stop_after_the_first_epoch)
        with pytest.raises(KeyboardInterrupt):
            experiment.run(config, tmp_path)
    assert calls[-1] == "latest"
    assert not (tmp_path / "metrics.json").exists()

    experiment.run(config, tmp_path)
    for kind in KINDS:
        expected = _best(config, tiny_run, kind)
        jax.tree.map(np.testing.assert_array_equal, _best(config, tmp_path, kind), expected)
    both = [json.loads((path / "metrics.json").read_text()) for path in (tmp_path, tiny_run)]
    assert both[0] == both[1]


def test_evaluate_scores_again(tiny_run, tiny_dataset, tmp_path):
    config = tiny_config(tiny_dataset)
    before = json.loads((tiny_run / "metrics.json").read_text("utf-8"))
    copy = tmp_path / "copy"
    shutil.copytree(tiny_run, copy)
    assert experiment.run(config, copy, "evaluate")[0] == before


def test_what_is_missing_of_a_finished_run_is_made(tiny_run, tiny_dataset, tmp_path, monkeypatch):
    """So is what a run without a test split, here one that had it, shows of its validation."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    values = json.loads((folder / "config.json").read_text())
    values["data"]["test"] = "none"
    (folder / "config.json").write_text(json.dumps(values))
    for name in ("metrics.json", "report.html", "timeline.png"):
        (folder / name).unlink()
    shutil.rmtree(folder / "results")
    config = tiny_config(tiny_dataset)
    config.data.test = "none"
    experiment.run(config, folder)
    assert (folder / "timeline.png").exists()
    report = (folder / "report.md").read_text()
    valid = json.loads((folder / "metrics.json").read_text())["valid"]["with_displacement"]
    assert f"{valid['tight']:.1f}" in report
    assert "valid split: 2 halves" in report
    assert "the one that chose the models" in report

    monkeypatch.setattr(runs_setup, "read_matches", lambda *_: pytest.fail("work done twice"))
    card = (folder / "README.md").read_text()
    assert 'split: "valid"' in card
    for name in ("report.html", "README.md"):
        (folder / name).unlink()
    before = (folder / "timeline.png").stat().st_mtime_ns
    experiment.run(config, folder)
    assert (folder / "report.html").exists()
    assert (folder / "README.md").read_text() == card
    assert (folder / "timeline.png").stat().st_mtime_ns == before


def test_a_figure_that_a_killed_process_began_goes(tiny_run, tmp_path):
    folder = tmp_path / "seed_0"
    shutil.copytree(tiny_run, folder)
    (folder / "timeline.png").rename(folder / ".timeline.png.abc.spotting-tmp")
    metrics = json.loads((folder / "metrics.json").read_text())
    outcome.present("", tmp_path, {0: folder}, {0: metrics}, is_new=False)
    assert (folder / "timeline.png").exists()
    assert not list(tmp_path.rglob("*.spotting-tmp"))


def test_a_folder_is_free_until_all_is_checked(tiny_dataset, tmp_path):
    config = tiny_config(tiny_dataset)
    config.confidence.initial_weights = "nowhere"
    with pytest.raises(InputError, match="nowhere: no such"):
        experiment.run(config, tmp_path)
    config.postprocessing.window = (1.0, 2.0)
    with pytest.raises(InputError, match="one for each of the 3 classes"):
        experiment.run(config, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_games_that_are_trained_on_and_tested_are_pointed_out(tiny_dataset, tmp_path, capsys):
    config = tiny_config(tiny_dataset)
    config.data.test = "train"
    read_matches(config, tmp_path)
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert "3 games of the test split, such as league/2026/m0, are trained on too" in warning


@pytest.mark.parametrize("text", ["null", "3", '{"test": {}}', '{"test": 3}'])
def test_damaged_figures_are_named(tiny_run, tiny_dataset, tmp_path, text):
    shutil.copy(tiny_run / "config.json", tmp_path)
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json: "):
        experiment.run(tiny_config(tiny_dataset), tmp_path)


def test_evaluate_needs_a_training(tiny_dataset, tmp_path):
    with pytest.raises(InputError, match="no checkpoint there; train first"):
        experiment.run(tiny_config(tiny_dataset), tmp_path, "evaluate")


def test_another_config_is_refused_before_any_work(tiny_run, tiny_dataset):
    config = tiny_config(tiny_dataset)
    config.anchors.confidence_radius = 4.0
    with pytest.raises(InputError, match=r"differs in anchors\.confidence_radius"):
        experiment.run(config, tiny_run)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run(tiny_dataset, tmp_path):
    config = tiny_config(tiny_dataset)
    config.confidence.learning_rate = 1e30
    config.training.epochs = 4
    with pytest.raises(fit.DivergedError, match="lower its learning_rate"):
        experiment.run(config, tmp_path)


@pytest.mark.slow
def test_the_operation_is_named_that_gives_no_number(tiny_dataset, tmp_path):
    config = tiny_config(tiny_dataset)
    config.model.unet.levels = 1  # Operation by operation, each is compiled by itself.
    config.confidence.update(learning_rate=1e30, rho=0.0, mixup_alpha=0.0)
    config.training.debug_nans = True
    with pytest.raises(FloatingPointError, match=r"in \w+, at spotting/[\w/]+\.py:\d+: ") as error:
        experiment.run(config, tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.slow
def test_a_seed_that_diverges_leaves_the_others_alone(
    tiny_run, tiny_dataset, tmp_path, monkeypatch, capsys
):
    config = tiny_config(tiny_dataset)
    config.seeds, config.seeds_at_once = (0, 1), 2
    original = experiment.init_state

    def second_is_no_number(seed, *rest):
        state = original(seed, *rest)
        worst = jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)
        return state._replace(params=worst) if seed == 1 else state

    monkeypatch.setattr(experiment, "init_state", second_is_no_number)
    for _ in range(2):  # The same command again tries the second seed alone.
        with pytest.raises(fit.DivergedError, match="seed 1: the confidence loss is nan"):
            experiment.run(config, tmp_path)
        printed = capsys.readouterr()
        assert "seed 0: " in printed.out
        assert "seed 1: " not in printed.out
    assert "2 seed(s)" not in printed.err
    metrics = [path / "metrics.json" for path in (tmp_path / "seed_0", tiny_run)]
    assert metrics[0].read_text() == metrics[1].read_text()
    assert not (tmp_path / "seed_1" / "metrics.json").exists()


@pytest.mark.slow
def test_without_a_validation_split_the_last_parameters_count(tiny_dataset, tmp_path, capsys):
    config = tiny_config(tiny_dataset)
    config.data.valid = "none"
    config.training.epochs = 1
    experiment.run(config, tmp_path, "train")
    assert "no split 'none'" in capsys.readouterr().err
    with open_runs(make_setup(config, tmp_path)) as (run,):
        assert run.checkpoints["confidence"].step("best") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config=configs/NAME.py is missing"),
        (["--config=configs/nothing.py"], "no such file"),
        (["--config=configs/unet_resnet_pca.py:nothing"], "unknown config argument 'nothing'"),
        (
            ["--config=configs/unet_resnet_pca.py", "--config.data.rot=x"],
            "no such field: data.rot; did you mean data.root?",
        ),
        (["--config=configs/unet_resnet_pca.py", "--config.data.root=nowhere"], "no such folder"),
        (
            ["--config=configs/unet_resnet_pca.py", "--nothing=1"],
            "unrecognized arguments: --nothing=1",
        ),
    ],
)
def test_bad_usage_is_one_line_and_status_2(arguments, message, tmp_path):
    root = Path(__file__).parents[1]
    arguments = [argument.replace("=configs/", f"={root}/configs/") for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "spotting.main", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line == done.stderr.splitlines()[-1]
    assert message in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_trains_from_a_stream_of_transformed_features(tiny_dataset, tmp_path, capsys):
    pytest.importorskip("tensorflow_datasets")
    config = tiny_config(tiny_dataset)
    config.data.update(loader="stream", resample=4.0, normalize="standard")
    config.data.prepared_dir = str(tmp_path / "prepared")
    config.training.epochs = 1
    experiment.run(config, tmp_path / "run")
    assert "loader: stream" in capsys.readouterr().err
    (game,) = SPLITS["test"]
    spots = read_results(tmp_path / "run" / "results" / game / "results_spotting.json")
    assert {round(1000 * spot.position) % 250 for spot in spots} == {0}
    assert any(round(1000 * spot.position) % 500 for spot in spots)
    # What it was trained with is its own, and does not follow the data.
    shutil.rmtree(tmp_path / "prepared")
    assert load_run(tmp_path / "run").normalization.scale.shape == (16,)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.slow
def test_runs_from_prepared_data_alone(tiny_dataset, tmp_path, capsys):
    """Training, validation and test, on a machine that has no folder of matches."""
    pytest.importorskip("tensorflow_datasets")
    root = tmp_path / "data"
    shutil.copytree(tiny_dataset, root)
    config = tiny_config(root)
    config.data.update(loader="stream", prepared_dir=str(tmp_path / "prepared"))
    config.training.epochs = 1
    with_folder = experiment.run(config, tmp_path / "with_folder")
    assert capsys.readouterr().err.count("blocks of bytes") == len(KINDS)
    shutil.rmtree(root)
    without = experiment.run(config, tmp_path / "without")
    assert "without the folder" in capsys.readouterr().err
    assert without == with_folder


@pytest.mark.slow
def test_a_profile_of_some_steps(tiny_dataset, tmp_path, capsys):
    config = tiny_config(tiny_dataset)
    config.training.epochs = 1
    config.logging.profile = "1:2"
    experiment.run(config, tmp_path, "train")
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert f"profile: {tmp_path / 'profile'}" in capsys.readouterr().err


def test_a_wrong_data_folder_is_named_before_a_differing_config(tiny_run, tiny_dataset):
    config = tiny_config(tiny_dataset)
    config.data.root = "nowhere"
    config.anchors.confidence_radius = 4.0
    with pytest.raises(InputError, match="nowhere: no such folder"):
        experiment.run(config, tiny_run)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop_it_saves_and_resumes(tiny_run, tiny_dataset, tmp_path, number, status):
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from helpers import tiny_config\n"
        "from spotting import experiment\n"
        "from spotting.base import cli\n"
        "config = tiny_config(Path(sys.argv.pop(1)))\n"
        "config.training.epochs = 100_000\n"
        "cli.run(lambda: experiment.run(config, Path('run')) and 0)\n"
    )
    tests = Path(__file__).parent
    command = [sys.executable, "-c", program, str(tiny_dataset), str(tests), str(tests.parent)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and '"train"' in log.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == status
    last = "100000 of the confidence model is saved; run the same command again to resume"
    assert errors[-1].endswith(last)
    assert not [line for line in errors if "Traceback" in line]
    epochs = [line["epoch"] for line in map(json.loads, log.open()) if line["kind"] == "train"]
    saved = Checkpoints(tmp_path / "run" / "checkpoints" / "confidence").step("latest")
    assert saved == 2 * epochs[-1]


def test_a_folder_in_use_is_left_alone_before_the_data_is_read(tiny_dataset, tmp_path, monkeypatch):
    config = tiny_config(tiny_dataset)
    monkeypatch.setattr(experiment, "make_setup", None)
    with hold_folder(tmp_path), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        experiment.run(config, tmp_path)
    assert not (tmp_path / "config.json").exists()
