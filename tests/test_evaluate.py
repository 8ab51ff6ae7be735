import json
import shutil
import zipfile
from pathlib import Path

import pytest

from spotting import evaluate
from spotting.base import cli
from spotting.data.annotations import SOCCERNET_CLASSES

DATA = Path(__file__).parent / "data"
METRICS = ("loose", "tight", "at1", "at2", "at5")
SUFFIXES = {"all": "", "visible": "_visible", "unshown": "_unshown"}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line; gives its exit status, output and errors."""

    def run_command(**flags):
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        monkeypatch.setattr("sys.argv", ["evaluate", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.run(evaluate.main)
        return exit_.value.code, *capsys.readouterr()

    return run_command


@pytest.fixture
def unpack(tmp_path):
    """Unpacks a case that the official evaluator was run on; gives its folder and figures.

    soccernet_eval.zip has SoccerNet's classes, soccernet_eval_other_classes.zip four others, few
    scores with many ties, NaNs and negatives, several predictions in a frame, times after two hours
    and labels that are no classes.
    """

    def unpack_case(name):
        with zipfile.ZipFile(DATA / name) as archive:
            archive.extractall(tmp_path)
        return tmp_path, json.loads((tmp_path / "expected.json").read_text())

    return unpack_case


def write_labels(folder, game, *annotations):
    path = folder / game / "Labels-v2.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"annotations": annotations}))


def write_predictions(folder, game, *predictions):
    path = folder / game / "results_spotting.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"UrlLocal": game, "predictions": predictions}))


def annotation(label, seconds, half=1, visibility="visible"):
    return {
        "gameTime": f"{half} - {seconds // 60:02d}:{seconds % 60:02d}",
        "label": label,
        "position": str(1000 * seconds),
        "visibility": visibility,
    }


def prediction(label, seconds, confidence, half=1):
    time = f"{half} - {seconds // 60}:{seconds % 60}"
    return {
        "gameTime": time,
        "half": str(half),
        "position": str(1000 * seconds),
        "label": label,
        "confidence": str(confidence),
    }


@pytest.fixture
def folders(tmp_path):
    """Labels and predictions of two games, not all of them right."""
    labels, predictions = tmp_path / "the labels", tmp_path / "the predictions"
    for game in ("liga/2026/Ávila 1 - 0 São José", "liga/2026/b"):
        write_labels(labels, game, annotation("Goal", 100), annotation("Foul", 300, 2))
        write_predictions(
            predictions, game, prediction("Goal", 101, 0.9), prediction("Foul", 300, 0.8)
        )
    return labels, predictions


@pytest.mark.parametrize("name", ["soccernet_eval.zip", "soccernet_eval_other_classes.zip"])
def test_figures_of_the_official_evaluator(run, unpack, name):
    folder, expected = unpack(name)
    result = folder / "scores" / "all.json"
    status, _, _ = run(labels=folder / "gt", predictions=folder / "pred", json=result)
    assert status == 0
    scores = json.loads(result.read_text())
    assert set(scores) == set(SUFFIXES)
    for kind, suffix in SUFFIXES.items():
        assert tuple(scores[kind]) == METRICS
        for metric in METRICS:
            actual, official = scores[kind][metric], expected[f"official_{metric}"]
            assert actual["map"] == pytest.approx(official[f"a_mAP{suffix}"], abs=1e-12)
            per_class = list(actual["per_class"].values())
            assert per_class == pytest.approx(official[f"a_mAP_per_class{suffix}"], abs=1e-12)
    classes = SOCCERNET_CLASSES if "other" not in name else ("c0", "c1", "c2", "c3")
    assert tuple(scores["all"]["loose"]["per_class"]) == classes


def test_zip_scores_like_its_folder(run, unpack):
    folder, _ = unpack("soccernet_eval.zip")
    (folder / "outer").mkdir()
    shutil.move(folder / "pred", folder / "outer" / "my results")
    archive = shutil.make_archive(folder / "results", "zip", folder / "outer")
    from_zip = run(labels=folder / "gt", predictions=archive)
    from_folder = run(labels=folder / "gt", predictions=folder / "outer")
    assert from_zip == from_folder
    assert from_zip[0] == 0


def test_table(run, folders):
    labels, predictions = folders
    status, output, errors = run(labels=labels, predictions=predictions)
    lines = [line.split() for line in output.splitlines()]
    assert (status, errors) == (0, "")
    assert output.startswith("average-mAP in percent; games: 2, actions: 4\n")
    # 1 s is two frames: right from a tolerance of 2 s on; the fouls are in the wrong half.
    assert ["Goal", "100.00", "87.50", "0.00", "100.00", "100.00", "2"] in lines
    assert ["Foul", "0.00", "0.00", "0.00", "0.00", "0.00", "2"] in lines
    assert ["all", "5.88", "5.15", "0.00", "5.88", "5.88"] in lines
    assert "17/13" in output


def test_extra_time_is_scored_like_any_half(run, folders):
    """An action of extra time is found in its own half alone; the others' scores stay."""
    labels, predictions = folders
    before = run(labels=labels, predictions=predictions)[1].splitlines()
    write_labels(
        labels,
        "liga/2026/b",
        annotation("Goal", 100),
        annotation("Foul", 300, 2),
        annotation("Corner", 60, 3),
        annotation("Penalty", 60, 4),
    )
    write_predictions(
        predictions,
        "liga/2026/b",
        prediction("Goal", 101, 0.9),
        prediction("Foul", 300, 0.8),
        prediction("Corner", 60, 0.7, half=3),
        prediction("Penalty", 60, 0.7, half=3),
    )
    status, output, errors = run(labels=labels, predictions=predictions)
    assert (status, errors) == (0, "")
    lines = [line.split() for line in output.splitlines()]
    assert ["Corner", *["100.00"] * 5, "1"] in lines
    assert ["Penalty", *["0.00"] * 5, "1"] in lines
    for label in ("Goal", "Foul", "Substitution"):
        (row,) = (line for line in before if line.startswith(label))
        assert row.split() in lines


def test_classes_and_splits_of_a_description(run, folders):
    labels, predictions = folders
    description = {
        "name": "two",
        "frame_rate": 1,
        "features": "any",
        "feature_dim": 8,
        "classes": ["Foul", "Goal"],
        "splits": {"test": ["liga/2026/b"], "valid": ["liga/2026/b", "liga/2026/absent"]},
    }
    (labels / "dataset.json").write_text(json.dumps(description))
    status, output, errors = run(labels=labels, predictions=predictions, split="test")
    assert status == 0
    assert output.startswith("average-mAP in percent; games: 1, actions: 2\n")
    assert ["all", "50.00", "43.75", "0.00", "50.00", "50.00"] in [
        line.split() for line in output.splitlines()
    ]
    assert errors.splitlines() == [
        "warning: predictions for games that are not scored (1): liga/2026/Ávila 1 - 0 São José"
    ]
    status, _, errors = run(labels=labels, predictions=predictions, split="valid")
    assert status == 2
    assert "1 of the 2 games of the valid split" in errors
    assert "liga/2026/absent" in errors
    status, _, errors = run(labels=labels, predictions=predictions, split="train")
    assert status == 2
    assert "no split 'train'" in errors


def test_official_splits_without_a_description(run, folders):
    status, _, errors = run(labels=folders[0], predictions=folders[1], split="test")
    assert status == 2
    assert "100 of the 100 games of the test split" in errors


def test_game_without_predictions_counts_as_empty(run, folders):
    labels, predictions = folders
    shutil.rmtree(predictions / "liga/2026/b")
    status, output, errors = run(labels=labels, predictions=predictions)
    assert status == 0
    assert ["Goal", "54.55", "47.73", "0.00", "54.55", "54.55", "2"] in [
        line.split() for line in output.splitlines()
    ]
    assert errors == (
        "warning: games without results_spotting.json, which count as without predictions "
        "(1 of 2): liga/2026/b\n"
    )


def test_other_labels_are_counted(run, folders):
    labels, predictions = folders
    write_labels(labels, "liga/2026/b", annotation("Goal", 5), annotation("Nap", 9))
    other = [prediction("Nap", 9, 1), prediction("Nap", 19, 1), prediction("Rain", 9, 1)]
    write_predictions(predictions, "liga/2026/b", *other)
    status, _, errors = run(labels=labels, predictions=predictions)
    assert status == 0
    assert errors.splitlines() == [
        "warning: annotations of other classes, left out (1): Nap 1",
        "warning: predictions of other classes, left out (3): Nap 2, Rain 1",
    ]


def test_predictions_of_nan_are_none_and_counted(run, folders):
    labels, predictions = folders
    expected = run(labels=labels, predictions=predictions)
    write_predictions(
        predictions,
        "liga/2026/b",
        prediction("Goal", 101, 0.9),
        prediction("Foul", 300, 0.8),
        prediction("Foul", 300, float("nan"), half=2),
    )
    status, output, errors = run(labels=labels, predictions=predictions)
    assert (status, output) == expected[:2]
    assert errors == "warning: predictions whose confidence is NaN, which count as none (1)\n"


def test_accents_may_be_composed_or_not(run, tmp_path):
    write_labels(tmp_path / "labels", "Ma\u0301laga", annotation("Goal", 5))
    write_predictions(tmp_path / "predictions", "M\u00e1laga", prediction("Goal", 5, 1))
    status, output, errors = run(labels=tmp_path / "labels", predictions=tmp_path / "predictions")
    assert (status, errors) == (0, "")
    assert ["Goal", *["100.00"] * 5, "1"] in [line.split() for line in output.splitlines()]


def test_labels_may_be_links(run, folders, tmp_path):
    labels, predictions = folders
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "liga").symlink_to(labels / "liga")
    linked = run(labels=tmp_path / "linked", predictions=predictions)
    assert linked == run(labels=labels, predictions=predictions)
    assert linked[0] == 0


def refused(result, *words):
    status, output, errors = result
    assert (status, output) == (2, "")
    assert errors.count("\n") == 1
    assert errors.startswith("error: ")
    for word in words:
        assert word in errors


def test_input_that_cannot_be_scored(run, folders, tmp_path):
    labels, predictions = folders
    (tmp_path / "empty").mkdir()
    refused(run(labels=tmp_path / "absent", predictions=predictions), "absent", "no such folder")
    refused(run(labels=tmp_path / "empty", predictions=predictions), "empty", "Labels-v2.json")
    refused(run(labels=labels, predictions=tmp_path / "empty"), "empty", "results_spotting.json")
    refused(run(labels=labels, predictions=tmp_path / "absent"), "absent: no such folder or zip")
    write_predictions(tmp_path / "study/run/results", "liga/2026/b")
    (tmp_path / "study/run/config.json").write_text("{}")
    refused(
        run(labels=labels, predictions=tmp_path / "study/run"),
        f"study/run: a run's folder, with results of several kinds in it; name one of them, such "
        f"as {tmp_path}/study/run/results",
    )
    refused(
        run(labels=labels, predictions=tmp_path / "study"),
        f"study: a folder of 1 runs; name the results of one, such as {tmp_path}/study/run/results",
    )
    write_predictions(tmp_path / "others", "cup/final", prediction("Goal", 100, 1))
    refused(run(labels=labels, predictions=tmp_path / "others"), "cup/final", "liga/2026/b")
    for top in ("run 1", "run 2"):
        write_predictions(tmp_path / "twice" / top, "liga/2026/b")
    (tmp_path / "twice/run 1/liga/2026/b/results_spotting.json").write_text('{"predictions": []}')
    refused(run(labels=labels, predictions=tmp_path / "twice"), "two results for liga/2026/b")
    write_labels(tmp_path / "no events", "liga/2026/b", annotation("Nap", 3))
    status, _, errors = run(labels=tmp_path / "no events", predictions=predictions)
    assert status == 2
    assert "no annotation of any of the 17 classes" in errors
    (labels / "liga/2026/b/Labels-v2.json").write_text("{")
    refused(run(labels=labels, predictions=predictions), "liga/2026/b/Labels-v2.json", "not JSON")
    (labels / "dataset.json").write_text("[" * 100_000)
    refused(run(labels=labels, predictions=predictions), "dataset.json", "not JSON")
    (labels / "dataset.json").write_text("[]")
    refused(run(labels=labels, predictions=predictions), "dataset.json", "classes")
    (labels / "dataset.json").write_text("{")
    refused(run(labels=labels, predictions=predictions), "dataset.json", "not JSON")


def test_bad_command_line(run, folders):
    refused(run(labels=folders[0]), "--predictions", "--help")
    refused(run(labels=folders[0], predictions=folders[1], speed=9), "--speed=9", "--help")
