import doctest
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import spotting
from spotting import Spot, Spotter
from spotting import spotter as api
from spotting.base.errors import InputError
from spotting.data import transforms
from spotting.data.annotations import make_predictions, read_results
from spotting.data.dataset import describe_dataset
from spotting.inference import chunks as inference
from spotting.inference import postprocessing
from spotting.inference.postprocessing import score_map
from spotting.runs.setup import read_suppression


@pytest.fixture(scope="module")
def spotter(tiny_run):
    return Spotter.load(tiny_run)


@pytest.fixture
def copied_run(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


def _features(num_frames, seed=0):
    return np.random.default_rng(seed).normal(size=(num_frames, 16)).astype(np.float32)


def test_spots_are_those_of_the_evaluation(spotter, tiny_run, tiny_dataset):
    (results,) = (tiny_run / "results").rglob("results_spotting.json")
    game = results.parent.relative_to(tiny_run / "results")
    for half in (1, 2):
        theirs = [spot for spot in read_results(results) if spot.half == half]
        ours = spotter.spot(np.load(tiny_dataset / game / f"{half}_toy16.npy", mmap_mode="r"))
        assert [(s.seconds, s.label) for s in ours] == [(s.position, s.label) for s in theirs]
        np.testing.assert_allclose(
            [spot.confidence for spot in ours], [spot.confidence for spot in theirs], atol=1e-6
        )
    assert isinstance(ours[0], Spot)


def test_one_program_serves_halves_of_any_length(spotter):
    spotter.spot(_features(500))
    programs = inference.spot_segments._cache_size(), postprocessing.vote._cache_size()
    for num_frames in (1, 3, 31, 32, 33, 111, 700, 1024):
        spots = spotter.spot(_features(num_frames))
        assert {spot.label for spot in spots} == set(spotter.classes)
        assert max(spot.seconds for spot in spots) <= (num_frames - 1) / 2
    assert programs == (
        inference.spot_segments._cache_size(),
        postprocessing.vote._cache_size(),
    )


def test_threads_may_share_one(spotter):
    halves = [_features(150 + 7 * seed, seed) for seed in range(12)]
    serial = spotter.spot_many(halves)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(spotter.spot, halves)) == serial
    assert serial[0] != serial[1]


def test_any_float_type(spotter):
    features = _features(40).astype(np.float16)
    assert spotter.spot(features.astype(np.float64).tolist()) == spotter.spot(features)


def test_thresholds(spotter, copied_run):
    features = _features(150)
    everything = spotter.spot(features)
    level = float(np.median([spot.confidence for spot in everything]))
    assert spotter.spot(features, level) == [s for s in everything if s.confidence >= level]

    (copied_run / "thresholds.json").write_text(
        json.dumps({"Goal": level, "Corner": 1.0, "Throw-in": 0})
    )
    own = Spotter.load(copied_run).spot(features, "auto")
    floors = {"Goal": level, "Corner": 1.0, "Throw-in": 0.0}
    assert own == [spot for spot in everything if spot.confidence >= floors[spot.label]]

    (copied_run / "thresholds.json").unlink()
    with pytest.raises(InputError, match=r"no thresholds\.json"):
        Spotter.load(copied_run).spot(features, "auto")


@pytest.mark.slow
def test_suppression(spotter, tiny_run):
    features = _features(150)

    def gaps(window):
        found = Spotter.load(tiny_run, window=window).spot(features)
        times = [[s.seconds for s in found if s.label == name] for name in spotter.classes]
        return [np.diff(seconds).min() for seconds in times]

    assert min(gaps(10)) > 5
    by_class = gaps((2.0, 10.0, 20.0))
    assert by_class[0] <= 2
    assert by_class[1] > 5
    assert by_class[2] > 10
    # Soft suppression keeps neighbours, with less confidence.
    soft = Spotter.load(tiny_run, nms="soft").spot(features)
    assert len(soft) > len(spotter.spot(features))
    with pytest.raises(InputError, match="2 NMS windows for the 3 classes"):
        Spotter.load(tiny_run, window=(1, 2))
    with pytest.raises(InputError, match="'hard', 'half_open' or 'soft'"):
        Spotter.load(tiny_run, nms="medium")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :15], r"15 values a frame, where .* take the 16 of toy16"),
        (lambda x: x[0], r"shape \(16,\), not"),
        (lambda x: x[:0], r"shape \(0, 16\), not"),
        (lambda x: np.where(np.arange(16) == 3, np.nan, x), "frame 0, column 3 .* is nan"),
        (
            lambda x: x * np.where(np.arange(40) == 7, np.inf, 1)[:, None],
            "frame 7, column 0 .* -?inf",
        ),
    ],
)
def test_unfit_features(spotter, change, message):
    with pytest.raises(InputError, match=message):
        spotter.spot(change(_features(40)))


def test_displacements_are_scaled_wherever_they_are_used(spotter, copied_run):
    config = json.loads((copied_run / "config.json").read_text())
    config["postprocessing"]["displacement_scale"] = 0.5
    (copied_run / "config.json").write_text(json.dumps(config))
    scaled, features = Spotter.load(copied_run), _features(150)
    run, rate = spotter._run, spotter.frame_rate
    confidence, displacement = (
        spotter._outputs(model, features) for model in (run.confidence, run.displacement)
    )
    suppression = read_suppression(run.config, len(spotter.classes))
    scores = score_map(confidence, 0.5 * 6.0 * rate * displacement, rate, suppression)
    expected = make_predictions(scores, 1, spotter.classes, rate)
    found = scaled.spot(features)
    assert [spot.seconds for spot in found] == [spot.position for spot in expected]
    assert found != spotter.spot(features)
    stream = scaled.stream()
    streamed = stream.push(features) + stream.finish()
    assert {spot[:2] for spot in streamed} == {spot[:2] for spot in found}


def test_votes_of_a_finer_rate_give_times_between_frames(spotter, copied_run):
    config = json.loads((copied_run / "config.json").read_text())
    config["postprocessing"] |= {"vote_spread": 0.5, "vote_rate": 8.0}
    (copied_run / "config.json").write_text(json.dumps(config))
    found = Spotter.load(copied_run).spot(_features(150))
    times = np.array([spot.seconds for spot in found])
    assert spotter.frame_rate == 2
    assert (8 * times % 1 == 0).all()
    assert (2 * times % 1 != 0).any()
    assert times.max() < 150 / 2


def test_feature_transforms_of_the_config(spotter, copied_run, tiny_dataset, tmp_path):
    """The networks are the same at any rate, so a run may be given transforms afterwards."""

    def load(**data):
        config = json.loads((copied_run / "config.json").read_text())
        config["data"] |= {"prepared_dir": str(tmp_path / "prepared"), **data}
        (copied_run / "config.json").write_text(json.dumps(config))
        return Spotter.load(copied_run)

    features = _features(150)
    resampling = load(resample=4.0)
    assert resampling.frame_rate == 2
    description = json.loads((tiny_dataset / "dataset.json").read_text())
    (copied_run / "dataset.json").write_text(json.dumps(description | {"frame_rate": 4.0}))
    native = load(resample=0.0)
    spots = resampling.spot(features)
    assert spots == native.spot(transforms.resample(features, 2.0, 4.0))
    assert any(spot.seconds % 0.5 == 0.25 for spot in spots)

    (copied_run / "dataset.json").unlink()
    normalization = transforms.fit_normalization(
        describe_dataset(tiny_dataset), transforms.Transform(normalize="standard")
    )
    assert load(normalize="standard").spot(features) == spotter.spot(normalization(features))
    # What the run was trained with counts, whatever the data is by now.
    other = transforms.Normalization(normalization.offset + 1, normalization.scale)
    transforms.keep_normalization(copied_run / "normalization.npz", other)
    assert load(normalize="standard").spot(features) == spotter.spot(other(features))
    with pytest.raises(InputError, match="other training features, normalised otherwise"):
        transforms.keep_normalization(copied_run / "normalization.npz", normalization)


@pytest.mark.slow
def test_unfit_folders(copied_run, tiny_dataset, tmp_path):
    with pytest.raises(InputError, match=r"config\.json is missing"):
        Spotter.load(tmp_path / "nothing")
    (tmp_path / "seeds").mkdir()
    shutil.copytree(copied_run, tmp_path / "seeds" / "seed_3")
    with pytest.raises(InputError, match="several trainings; name one: seed_3"):
        Spotter.load(tmp_path / "seeds")
    shutil.copytree(copied_run, tmp_path / "study" / "row" / "seed_1")
    (tmp_path / "study" / "other").mkdir()
    shutil.copy(copied_run / "config.json", tmp_path / "study" / "other")
    runs = f"{tmp_path}/study/other, {tmp_path}/study/row/seed_1"
    with pytest.raises(InputError, match=f"study: a folder of 2 runs; name one of them: {runs}"):
        Spotter.load(tmp_path / "study")

    config = json.loads((copied_run / "config.json").read_text())
    config["data"]["concatenate"] = ["more"]
    (copied_run / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="several feature sets"):
        Spotter.load(copied_run)
    config["data"] |= {"concatenate": [], "root": str(tmp_path / "gone")}
    (copied_run / "config.json").write_text(json.dumps(config))
    # The data may go: the run knows what it said of itself.
    assert Spotter.load(copied_run).frame_rate == 2
    (copied_run / "dataset.json").unlink()
    with pytest.raises(InputError, match=r"put its dataset\.json into"):
        Spotter.load(copied_run)
    shutil.copy(tiny_dataset / "dataset.json", copied_run)

    shutil.rmtree(copied_run / "checkpoints" / "displacement" / "best")
    with pytest.raises(InputError, match="displacement/best: no checkpoint"):
        Spotter.load(copied_run)


def test_the_example(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "matches").symlink_to(tiny_run)
    np.save("1_features.npy", _features(150))
    runner = doctest.DocTestRunner()
    (example,) = doctest.DocTestFinder(recurse=False).find(api.Spotter, globs={})
    runner.run(example)
    assert runner.summarize(verbose=False) == (0, len(example.examples))


@pytest.mark.slow
def test_the_package_is_light():
    code = "import sys, spotting; assert 'jax' not in sys.modules; spotting.Spotter"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    with pytest.raises(AttributeError, match="no attribute 'Spoter'"):
        spotting.Spoter  # noqa: B018


@pytest.mark.parametrize("text", ["[]", '{"Goal": "x"}', "{"])
def test_damaged_thresholds_are_named(copied_run, text):
    (copied_run / "thresholds.json").write_text(text)
    with pytest.raises(InputError, match=r"thresholds\.json: not"):
        Spotter.load(copied_run)


def test_a_run_s_own_windows_must_fit_its_classes(tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    values = json.loads((folder / "config.json").read_text())
    values["postprocessing"]["window"] = [1.0, 2.0]
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="2 NMS windows for the 3 classes"):
        Spotter.load(folder)


@pytest.mark.parametrize("threshold", [2, -0.1, float("nan"), "best", None])
def test_a_threshold_that_is_none_is_named(spotter, threshold):
    with pytest.raises(InputError, match="a confidence from 0 to 1, or 'auto'"):
        spotter.spot(_features(40), threshold)


def test_a_file_s_name_is_no_array(spotter):
    with pytest.raises(InputError, match="not numbers; give the array"):
        spotter.spot("foo.npy")


def test_scores_of_every_frame(spotter):
    scores = spotter.score(_features(40))
    assert scores.shape == (40, len(spotter.classes))
    assert 0 <= scores.min() <= scores.max() <= 1
    spots = spotter.spot(_features(40))
    assert max(spot.confidence for spot in spots) == pytest.approx(scores.max(), abs=1e-6)


def test_says_what_it_is(spotter):
    assert repr(spotter).startswith(f"<Spotter of {spotter.workdir}: 3 classes of tiny, from toy16")
    assert {"Spot", "Spotter"} <= {*dir(spotting)}
    assert spotter.spot(_features(40))[0]._asdict().keys() == {"seconds", "label", "confidence"}
