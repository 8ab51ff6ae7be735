import csv
import json
import shutil

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from helpers import tiny_config
from hypothesis import given
from hypothesis import strategies as st

from spotting import experiment, fuse
from spotting.base.errors import InputError
from spotting.runs import config as runs_config
from spotting.runs.config_files import load_config
from spotting.runs.layout import locate_predictions
from spotting.runs.predictions import load_predictions
from spotting.runs.setup import make_setup
from spotting.runs.validation import Predictions
from spotting.scoring import windows
from spotting.scoring.windows import Candidate
from spotting.studies import fusion, search, search_report
from spotting.studies.search_report import Round
from spotting.training import loop as fit

pytestmark = pytest.mark.slow


def interrupt_displacement(config, workdir, monkeypatch):
    """Begins a search and stops it after an epoch of its two displacement models."""
    original, saved = fit.Checkpoints.save, []

    def save(self, which, step, tree):
        original(self, which, step, tree)
        if (which, self.directory.name) == ("latest", "displacement"):
            saved.append(step)
            if len(saved) == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit.Checkpoints, "save", save)
        with pytest.raises(KeyboardInterrupt):
            search.run(config, workdir)


def test_a_search_chooses_writes_and_resumes(tiny_dataset, tmp_path, monkeypatch, capsys):
    config = tiny_config(tiny_dataset)
    config.seeds_at_once = 2
    for kind in ("confidence", "displacement"):  # SAM and mixup take longer to compile.
        config[kind].update(dict.fromkeys({"rho", "mixup_alpha"} & {*config[kind]}, 0.0))
    config.tune.confidence.update(
        learning_rate=(1e-3, 1e30), rho=(), weight_decay=(1e-4,), mixup_alpha=()
    )
    config.tune.displacement.update(learning_rate=(1e-3,), rho=(), weight_decay=())
    config.tune.window = (2.0, 20.0)
    interrupt_displacement(config, tmp_path, monkeypatch)
    assert len(capsys.readouterr().out.split("<- chosen")) == 3

    chosen = search.run(config, tmp_path)
    printed = capsys.readouterr()
    assert printed.err.count("training ") == 1  # What was finished is not trained again.
    for folder in tmp_path.glob("trials/*/displacement=*/seed_0"):
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        epochs = [line["epoch"] for line in log if line["kind"] == "train"]
        assert epochs == [1, 2]  # What was begun went on.
    assert "1e+30  diverged" in printed.out
    assert printed.out.count("<- chosen") == 4
    with (tmp_path / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert [(trial["parameter"], trial["value"]) for trial in trials] == [
        ("learning_rate", "0.001"),
        ("learning_rate", "1e+30"),
        ("weight_decay", "0.0001"),
        ("weight_decay", "0.0002"),
        ("learning_rate", "0.001"),
        ("learning_rate", "0.002"),
        ("window", "2.0"),
        ("window", "20.0"),
    ]
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")

    # Each choice is the best of its round, and the config that spotting.main takes says so.
    rounds = {}
    for trial in trials:
        rounds.setdefault((trial["model"], trial["parameter"]), []).append(trial)
    best = {
        name: float(max(tried, key=lambda one: np.nan_to_num(float(one["score"]), nan=-1))["value"])
        for name, tried in rounds.items()
    }
    tuned = load_config(str(tmp_path / "tuned.py"))
    runs_config.check_config(tuned)
    assert best["confidence", "learning_rate"] == 1e-3
    for (model, name), value in best.items():
        assert tuned.get(model, tuned.postprocessing)[name] in (value, (value,))
    expected = runs_config.flatten(chosen.to_dict())
    different = {
        name
        for name, value in runs_config.flatten(tuned.to_dict()).items()
        if value != expected[name]
    }
    assert all(name.startswith("tune.") for name in different)

    # The same again trains nothing; the window is one more number of the same predictions.
    monkeypatch.setattr(experiment, "train", lambda *rest: pytest.fail("trained again"))
    config.tune.window = (2.0, 8.0, 20.0)
    again = search.run(config, tmp_path)
    assert again.confidence.to_dict() == chosen.confidence.to_dict()
    assert "  8" in capsys.readouterr().out


def test_a_search_without_validation_split_or_with_a_bad_candidate(tiny_dataset, tmp_path):
    config = tiny_config(tiny_dataset)
    config.data.valid = "none"
    with pytest.raises(InputError, match="needs a validation split"):
        search.run(config, tmp_path)
    config.tune.displacement.rho = (-1.0,)
    with pytest.raises(InputError, match=r"displacement\.rho is -1"):
        search.run(config, tmp_path)


def test_a_radius_is_tried_in_a_folder_of_its_own(tiny_dataset):
    config = tiny_config(tiny_dataset)
    assert "radius" not in search._name(config, "displacement")
    config.tune.displacement.radius = (3.0,)
    changed = search._change(config, "displacement", "radius", 3.0)
    assert (config.anchors.displacement_radius, changed.anchors.displacement_radius) == (6, 3)
    assert search._read_value(changed, "displacement", "radius") == 3
    assert search._name(changed, "displacement").endswith("_radius=3")
    assert search._name(changed, "confidence") == search._name(config, "confidence")


def test_window_and_decay_of_each_class_are_chosen_together(tiny_dataset, tmp_path, monkeypatch):
    config = tiny_config(tiny_dataset)
    config.seeds = (0, 1)
    config.postprocessing.update(nms="soft", window=(4.0,))
    config.tune.update(window=(2.0,), decay=("linear", "gaussian"), per_class=True)
    config.tune.update(pseudo_events=0.0, displacement_scale=(0.0, 0.5), vote_spread=(0.5, 1.0))
    tried = [Candidate(w, d) for d in ("linear", "gaussian") for w in (2.0, 4.0)]
    best = [tried[3], tried[0], tried[3]]

    def score(setup, predictions, candidates, votes):
        if candidates != tried:  # Of the scale: the displacements as they are, 2, halved are best.
            (half,) = predictions[0].displacement
            return np.full((1, 2, 3), 1 - abs(half.item() - 1) - abs(votes.spread - 0.5))
        assert votes.spread == config.postprocessing.vote_spread
        assert [each.displacement[0].item() for each in predictions] == [1, 1]
        of_classes = np.array([[float(each == one) for one in best] for each in candidates])
        return np.stack([of_classes, of_classes / 2], axis=1)

    outputs = [Predictions([np.ones((1, 1))], [np.full((1, 1), 2.0)])] * 2
    monkeypatch.setattr(search, "_predict_chosen", lambda setup: outputs)
    monkeypatch.setattr(search, "_score", score)
    rounds = []
    search._choose_suppression(make_setup(config, tmp_path), config, rounds)
    assert [(done.parameter, done.best) for done in rounds] == [
        ("vote_spread", 0.5),
        ("displacement_scale", 0.5),
        ("window_linear", 2.0),
        ("window_gaussian", 4.0),
    ]
    assert config.postprocessing.window == (4.0, 2.0, 4.0)
    assert config.postprocessing.decay == ("gaussian", "linear", "gaussian")
    assert config.postprocessing.displacement_scale == 0.5
    assert config.postprocessing.vote_spread == 0.5
    config.tune.update(per_class=False, displacement_scale=(), vote_spread=())
    outputs = [Predictions([np.ones((1, 1))], [np.ones((1, 1))])] * 2
    config.postprocessing.window = (4.0,)
    search._choose_suppression(make_setup(config, tmp_path), config, [])
    assert config.postprocessing.window == (4.0,)
    assert config.postprocessing.decay == ("gaussian",)


def test_report_of_a_round():
    scores = np.array([[0.5, 0.6], [np.nan, 0.9], [0.7, 0.7]])
    done = Round("confidence", "mixup_alpha", "loose average-mAP", [0.0, 0.5, 2.0], (0, 1), scores)
    assert done.best == 2.0
    assert search_report.table(done).splitlines()[-3:] == [
        "  0    55.00 ± 7.07",
        "  0.5  diverged",
        "  2    70.00 ± 0.00  <- chosen: no value beyond it was tried",
    ]


@pytest.mark.parametrize(
    ("values", "best", "is_open"),
    [
        ([1.0, 2.0, 3.0], 1, False),
        ([1.0, 2.0, 3.0], 0, True),
        ([1.0, 2.0, 3.0], 2, True),
        ([0.0, 2.0, 3.0], 0, False),  # There is nothing below 0.
        ([2.0], 0, False),
    ],
)
def test_the_best_at_an_end_of_the_list_is_pointed_out(values, best, is_open):
    scores = np.eye(len(values))[[best]].T
    done = Round("confidence", "rho", "loose average-mAP", values, (0,), scores)
    assert done.is_open == is_open
    assert ("no value beyond" in search_report.table(done)) == is_open


def test_windows_per_class():
    scores = np.array([[0.5, 0.1, 0.0], [0.4, 0.9, 0.0], [0.7, 0.3, 0.0]])
    tried = [Candidate(window) for window in (5.0, 10.0, 20.0)]
    assert windows.choose_common(scores, tried) == tried[1]
    assert windows.choose_per_class(scores, tried) == (tried[2], tried[1], tried[1])
    # 20 s cost the second class more than the first gains: on few events it stays with the rest.
    few, many = np.array([2, 50, 0]), np.array([500, 50, 0])
    assert windows.choose_per_class(scores, tried, few, 30.0) == (tried[1],) * 3
    assert windows.choose_per_class(scores, tried, many, 30.0) == (tried[2], tried[1], tried[1])


@given(
    arrays.arrays(np.float64, (4, 3), elements=st.integers(0, 5).map(float)),
    st.lists(st.integers(0, 100), min_size=3, max_size=3),
    st.sampled_from([0.0, 1.0, 30.0]),
)
def test_no_class_is_given_what_suits_it_less_than_the_common_choice(scores, events, pseudo):
    tried = windows.list_candidates("soft", (1.0, 2.0), ("linear", "gaussian"))
    common = tried.index(windows.choose_common(scores, tried))
    chosen = windows.choose_per_class(scores, tried, np.array(events), pseudo)
    own = scores[[tried.index(each) for each in chosen], range(3)]
    assert np.all(own >= scores[common])


def test_candidates():
    pair = windows.list_candidates("hard", (3.0, 20.0), ("linear", "gaussian"))
    assert pair == [Candidate(3.0), Candidate(20.0)]
    per_class = [Candidate(3.0), Candidate(4.0, "gaussian")]
    suppression = windows.make_suppression("soft", per_class, 1e-4)
    assert [suppression.of_class(k) for k in range(2)] == per_class
    assert windows.make_suppression("soft", [Candidate(4.0)]).decays == ("linear",)


def test_predictions_at_a_finer_rate():
    slow = np.array([[0.0], [2.0], [4.0]])
    fine = fusion.at_rate(slow, 1.0, 2.0, 7)
    np.testing.assert_allclose(fine[:, 0], [0, 1, 2, 3, 4, 4, 4])
    assert fusion.at_rate(slow, 1.0, 1.0, 2)[:, 0].tolist() == [0, 2]


def test_logits_and_back():
    confidence = np.array([0.0, 1e-6, 0.25, 1.0], np.float32)
    back = fusion.confidences(fusion.logits(confidence))
    np.testing.assert_allclose(back, confidence, atol=2e-7)


def test_what_no_system_names_stays_no_spot():
    nothing, spot = np.float32(-1), np.float32(0.4)
    systems = [np.array([[nothing, spot, nothing]]), np.array([[nothing, nothing, 0.0]])]
    members = [[fusion.logits(system)] for system in systems]
    fused = fusion.confidences(fusion.average(members, (0.05, 0.95))[0])[0]
    assert fused[0] == nothing
    assert 0 < fused[1] < 1e-6
    assert 0 < fused[2] < 1e-6  # a confidence of 0 is a spot, if a poor one


def test_weights_find_the_combination():
    generator = np.random.default_rng(0)
    members = [[generator.normal(size=(20, 2)) for _ in range(3)] for _ in range(3)]
    wanted = fusion.average(members, (0.25, 0.75, 0.0))

    def score(halves):
        return -sum(float(np.square(a - b).sum()) for a, b in zip(halves, wanted, strict=True))

    np.testing.assert_allclose(fusion.find_weights(members, score), (0.25, 0.75, 0.0))
    assert fusion.find_weights(members[:1], score) == [1]


@pytest.fixture
def second_run(tiny_run, tmp_path):
    """A run of 1 frame per second, as if it had coarser features: the first one's with noise."""
    folder = tmp_path / "coarse"
    shutil.copytree(tiny_run, folder, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
    config = runs_config.load_config(folder)
    config.data.resample = 1.0
    runs_config.save_config(config, folder)
    generator = np.random.default_rng(0)
    for split in ("valid", "test"):
        arrays = dict(np.load(locate_predictions(folder, split)))
        for name, values in arrays.items():
            noise = generator.normal(scale=0.2, size=values[::2].shape)
            is_confidence = name.endswith("confidence")
            arrays[name] = np.clip(values[::2] + noise, 0, 1) if is_confidence else values[::2] / 2
        np.savez(locate_predictions(folder, split), **arrays)
    return folder


def test_fusing_a_run_with_itself_changes_nothing(tiny_run, tmp_path):
    config = runs_config.load_config(tiny_run)
    result = fuse.fuse([tiny_run, tiny_run], tmp_path / "fused", "hard", "keep", "loose")
    alone = json.loads((tiny_run / "metrics.json").read_text())
    for split in ("valid", "test"):
        assert result[split]["guessing"] == alone[split]["guessing"]
        for variant in ("with_displacement", "without_displacement"):
            for measure in ("loose", "tight"):
                ours, its = result[split][variant][measure], alone[split][variant][measure]
                assert ours == pytest.approx(its, abs=0.05)
    assert (
        config.postprocessing.window
        == runs_config.load_config(tmp_path / "fused").postprocessing.window
    )


def test_fusing_two_rates_and_tuning_windows(tiny_run, second_run, tmp_path, monkeypatch, capsys):
    output = tmp_path / "fused"
    arguments = ["fuse", str(second_run), str(tiny_run), f"--workdir={output}", "--nms=soft"]
    arguments += ["--windows=per_class", "--measure=loose", "--candidates", "2", "4", "8"]
    arguments += ["--decays", "linear", "quadratic", "--pseudo-events=5"]
    arguments += ["--displacement-scales", "0.25", "0.5", "--vote-spreads", "0", "0.5"]
    monkeypatch.setattr("sys.argv", arguments)
    fuse.main()
    printed = capsys.readouterr().out
    config = runs_config.load_config(output)
    assert config.postprocessing.nms == "soft"
    assert len(config.postprocessing.window) == 3
    assert set(config.postprocessing.window) <= {2, 4, 8}
    assert config.postprocessing.displacement_scale in (0.25, 0.5)
    adds = config.postprocessing.vote_spread == 0.5
    assert adds == ("votes are added up, spread by 0.5 s" in printed)
    assert set(config.postprocessing.decay) <= {"linear", "quadratic"}
    assert sum(config.fusion.weights) == pytest.approx(1)
    assert config.data.resample == 0  # it is of the finer run
    fine, fused = (load_predictions(run, "test") for run in (tiny_run, output))
    assert {half: one.confidence.shape for half, one in fine.items()} == {
        half: one.confidence.shape for half, one in fused.items()
    }
    # Windows were chosen for the validation split: there they cannot be worse than the common 4 s.
    scores = json.loads((output / "metrics.json").read_text())
    kept = fuse.fuse([second_run, tiny_run], tmp_path / "kept", "soft", "keep", "loose")
    name = "with_displacement"
    assert scores["valid"][name]["loose"] >= kept["valid"][name]["loose"] - 1e-9
    assert f"{scores['test'][name]['tight']:.1f}" in printed.splitlines()[3]
    assert (output / "results").is_dir()
    assert (output / "thresholds.json").exists()


def test_what_cannot_be_fused(tiny_run, tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        fuse.fuse([tmp_path], tmp_path / "out")
    with pytest.raises(InputError, match="pseudo-events is -1; it must be 0 or more"):
        fuse.fuse([tiny_run], tmp_path / "out", pseudo_events=-1)
    with pytest.raises(InputError, match="--vote-spreads must be between 0 and 60"):
        fuse.fuse([tiny_run], tmp_path / "out", spreads=(0.5, 61.0))
    with pytest.raises(InputError, match="holds a trained run"):
        fuse.fuse([tiny_run], tiny_run)
    other = shutil.copytree(tiny_run, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"system": "calf"}))
    with pytest.raises(InputError, match="its system has no votes; leave --vote-spreads out"):
        fuse.fuse([other], tmp_path / "out", spreads=(0.5,))
    (tmp_path / "bare").mkdir()
    shutil.copy(tiny_run / "config.json", tmp_path / "bare")
    with pytest.raises(InputError, match=r"metrics\.json is missing"):
        fuse.fuse([tmp_path / "bare"], tmp_path / "out")
    shutil.copy(tiny_run / "metrics.json", tmp_path / "bare")
    with pytest.raises(InputError, match=r"valid\.npz: not there"):
        fuse.fuse([tmp_path / "bare"], tmp_path / "out")


def test_fusing_is_never_worse_than_the_best_run(tiny_run, second_run, tmp_path, capsys):
    """Nothing that is tried, here one window that merges everything, is better than a run."""
    output = tmp_path / "fused"
    result = fuse.fuse([second_run, tiny_run], output, "hard", "common", "loose", [1000.0])
    assert "nothing helped: on the validation split" in capsys.readouterr().err
    alone = json.loads((tiny_run / "metrics.json").read_text())["valid"]["with_displacement"]
    assert result["valid"]["with_displacement"]["loose"] >= alone["loose"] - 0.05
    config = runs_config.load_config(output)
    assert sorted(config.fusion.weights) == [0.0, 1.0]
    assert tuple(config.postprocessing.window) == (20.0,)
