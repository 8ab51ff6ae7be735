"""Live spotting: the offline spots with the delay that it takes, within the delay with less."""

import functools
import json
import shutil

import numpy as np
import pytest

from spotting import Spotter, timing
from spotting.base.errors import InputError
from spotting.data import transforms
from spotting.inference import live
from spotting.inference.chunks import stitching
from spotting.inference.live import LiveSettings, LiveSpotter
from spotting.inference.nms import NO_SPOT, hard_nms, soft_nms
from spotting.inference.postprocessing import Suppression, Votes, score_map

T, BORDER, CLASSES, RADIUS = 24, 8, 3, 5.0
SUPPRESSIONS = [
    Suppression("hard", (6.0,)),
    Suppression("hard", (4.0, 6.0, 9.0)),
    Suppression("half_open", (7.0,)),
    Suppression("soft", (2.5,), 1e-3),
    Suppression("soft", (2.5, 4.0, 2.5), 1e-3, ("quadratic", "linear", "gaussian")),
    Suppression("hard", (6.0,), votes=Votes(0.9, 1.5, "gaussian")),
    Suppression("soft", (2.5,), 1e-3, votes=Votes(0.3, 1.5)),
    Suppression("hard", (6.0,), votes=Votes(rate=4.0)),
    Suppression("soft", (2.5,), 1e-3, votes=Votes(0.9, 1.5, "gaussian", 4.0)),
    Suppression("soft", (2.5,), 1e-3, votes=Votes(0.3, 1.5, rate=5.0)),
]


def name(suppression):
    votes = suppression.votes
    return f"{suppression.kind}{len(suppression.windows)}votes{votes.spread:g}at{votes.rate:g}"


def check_equal(found, expected, suppression):
    """The same spots; sums of votes round differently in arrays of another length."""
    if suppression.votes.spread:
        np.testing.assert_array_equal(found == NO_SPOT, expected == NO_SPOT)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    else:
        np.testing.assert_array_equal(found, expected)


def confidence(chunk):
    """Depends on where in the chunk a frame is, as a network's outputs near borders do."""
    mixed = np.roll(chunk, 1, axis=0) + 0.1 * np.arange(len(chunk))[:, None] + chunk.sum()
    return (np.sin(97 * mixed) / 2 + 0.5).astype(np.float32)


def displacement(chunk):
    return np.cos(31 * (chunk + np.roll(chunk, 2, axis=0) + chunk.sum())).astype(np.float32)


def offline(features, suppression, displaced=True):
    """The offline result, by `stitching` and `score_map`."""
    outputs = [np.zeros((len(features), CLASSES), np.float32) for _ in range(2)]
    padded = np.pad(features, ((0, max(0, T - len(features))), (0, 0)))
    for row in stitching(len(features), T, BORDER):
        chunk = padded[row.chunk_start : row.chunk_start + T]
        for result, model in zip(outputs, (confidence, displacement), strict=True):
            kept = model(chunk)[row.output_start : row.output_end]
            result[row.result_start : row.result_end] = kept
    moves = RADIUS * outputs[1] if displaced else None
    return score_map(outputs[0], moves, 2.0, suppression)


def make(suppression, delay=None, floor=0.0, step=3, displaced=True):
    floors = np.full(CLASSES, floor, np.float32)
    radius = RADIUS if displaced else 0.0
    settings = LiveSettings(T, BORDER, 2.0, radius, suppression, floors, delay, step)
    return LiveSpotter(settings, confidence, displacement if displaced else None), settings


def stream(spotter, features, size):
    found, when = [], []
    for start in range(0, len(features), size):
        spots = spotter.push(features[start : start + size])
        found += spots
        when += [spotter.num_frames] * len(spots)
    rest = spotter.finish()
    return found + rest, when + [spotter.num_frames] * len(rest)


def as_map(spots, count):
    scores = np.full((count, CLASSES), NO_SPOT, np.float32)
    for frame, label, value in spots:
        assert scores[frame, label] == NO_SPOT
        scores[frame, label] = value
    return scores


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, CLASSES)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("suppression", SUPPRESSIONS, ids=name)
@pytest.mark.parametrize("count", [1, 7, T - 1, T, T + 1, 2 * T - 3, 150])
def test_offline_is_stream(suppression, count):
    features = noise(count)
    expected = offline(features, suppression)
    for size in (1, 4, count):
        found, _ = stream(make(suppression)[0], features, size)
        check_equal(as_map(found, len(expected)), expected, suppression)


def test_offline_is_stream_without_displacement_and_above_a_threshold():
    features = noise(200)
    expected = offline(features, SUPPRESSIONS[0], displaced=False)
    found, _ = stream(make(SUPPRESSIONS[0], displaced=False)[0], features, 5)
    np.testing.assert_array_equal(as_map(found, 200), expected)
    for suppression in SUPPRESSIONS:
        expected = offline(features, suppression)
        expected = np.where(expected >= 0.7, expected, NO_SPOT)
        found, _ = stream(make(suppression, floor=0.7)[0], features, 5)
        check_equal(as_map(found, len(expected)), expected, suppression)


@pytest.mark.parametrize("suppression", SUPPRESSIONS, ids=name)
@pytest.mark.parametrize("delay", [4, 12, 25])
def test_a_spot_is_given_within_the_delay(suppression, delay):
    features = noise(150)
    spotter, settings = make(suppression, delay)
    assert not settings.is_exact
    found, when = stream(spotter, features, 1)
    assert found
    rate = settings.vote_rate
    waits = [now - 2.0 * spot.frame / rate for spot, now in zip(found, when, strict=True)]
    assert max(waits) <= delay
    again, _ = stream(make(suppression, delay)[0], features, 11)
    assert sorted(again) == sorted(found)
    as_map(found, round(75 * rate))  # none twice
    if suppression.kind == "hard":
        for label, (window, _) in enumerate(settings.windows):
            frames = sorted(spot.frame for spot in found if spot.label == label)
            radius = timing.hard_nms_radius(window, rate)
            assert min(np.diff(frames), default=radius + 1) > radius


@pytest.mark.parametrize("suppression", SUPPRESSIONS, ids=name)
def test_an_exact_spot_comes_within_the_exact_delay(suppression):
    """Without chains: events lie farther apart than anything reaches."""
    settings = make(suppression, floor=0.2)[1]
    features = np.zeros((400, CLASSES), np.float32)
    events = np.arange(3, 400, 43)
    features[events] = 1
    shift = np.full((T, CLASSES), 0.3, np.float32)
    spotter = LiveSpotter(settings, np.asarray, lambda chunk: shift)
    found, when = stream(spotter, features, 1)
    waits = [now - 2.0 * s.frame / settings.vote_rate for s, now in zip(found, when, strict=True)]
    assert len(found) >= CLASSES * len(events)
    assert max(waits) <= settings.exact_delay


def test_memory_is_bounded():
    spotter, settings = make(SUPPRESSIONS[0])
    most = 0
    for seed in range(40):
        spotter.push(noise(50, seed))
        most = max(most, spotter.num_kept)
    assert most < 4 * (T + settings.exact_delay)


def test_settle_is_nms():
    scores = np.random.default_rng(1).random((400, 3)).round(2).astype(np.float32)
    settings = functools.partial(
        LiveSettings, T, BORDER, 2.0, RADIUS, floor=np.zeros(3, np.float32)
    )
    hard, _ = live.settle(scores, settings(suppression=SUPPRESSIONS[0]), is_open=False)
    np.testing.assert_array_equal(hard.T, hard_nms(scores.T, 6))
    soft, _ = live.settle(scores, settings(suppression=SUPPRESSIONS[3]), is_open=False)
    np.testing.assert_array_equal(soft.T, soft_nms(scores.T, 5.0, 1e-3))
    shaped, _ = live.settle(scores, settings(suppression=SUPPRESSIONS[4]), is_open=False)
    expected = soft_nms(scores.T[:1], 5.0, 1e-3, "quadratic")
    np.testing.assert_array_equal(shaped.T[:1], expected)


def test_a_chain_waits_for_its_end():
    settings = make(SUPPRESSIONS[0])[1]
    climb = np.repeat(np.linspace(0.1, 0.9, 100, dtype=np.float32)[:, None], 3, axis=1)
    kept, remaining = live.settle(climb, settings, is_open=True)
    assert (kept == NO_SPOT).all()
    np.testing.assert_array_equal(remaining, climb)


@pytest.mark.slow
def test_the_spotters_stream(tiny_run):
    spotter = Spotter.load(tiny_run)
    features = np.random.default_rng(2).normal(size=(170, 16)).astype(np.float32)
    expected = spotter.spot(features, 0.1)
    for size in (1, 30, 170):
        opened = spotter.stream(threshold=0.1)
        found = [s for i in range(0, 170, size) for s in opened.push(features[i : i + size])]
        found = sorted(found + opened.finish(), key=lambda s: s.seconds)
        order = {name: k for k, name in enumerate(spotter.classes)}
        found.sort(key=lambda s: (s.seconds, order[s.label]))
        assert [spot[:2] for spot in found] == [spot[:2] for spot in expected]
        # One chunk at a time or many: the compiler's kernels round the last bits otherwise.
        ours, theirs = ([spot.confidence for spot in spots] for spots in (found, expected))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert opened.seconds == 85
    assert opened.push(features[:0]) == []
    with pytest.raises(InputError, match="delay of 1 s with steps"):
        spotter.stream(delay=1)
    with pytest.raises(InputError, match="15 values a frame"):
        spotter.stream().push(features[:, 1:])


@pytest.mark.slow
def test_a_stream_between_frames(tiny_run, tmp_path):
    copied_run = shutil.copytree(tiny_run, tmp_path / "run")
    config = json.loads((copied_run / "config.json").read_text())
    config["postprocessing"] |= {"vote_rate": 4.0, "vote_spread": 0.75}
    (copied_run / "config.json").write_text(json.dumps(config))
    spotter = Spotter.load(copied_run)
    features = np.random.default_rng(5).normal(size=(171, 16)).astype(np.float32)
    expected = {spot[:2]: spot.confidence for spot in spotter.spot(features, 0.1)}
    assert any(seconds % 0.5 for seconds, _ in expected)
    opened = spotter.stream(threshold=0.1)
    spots = opened.push(features[:100]) + opened.push(features[100:]) + opened.finish()
    found = {spot[:2]: spot.confidence for spot in spots}
    assert found.keys() == expected.keys()
    assert len(spots) == len(found)
    np.testing.assert_allclose([found[key] for key in expected], [*expected.values()], atol=1e-5)


@pytest.mark.slow
def test_a_stream_of_a_run_that_normalises(tiny_run, tmp_path):
    copied_run = shutil.copytree(tiny_run, tmp_path / "run")
    config = json.loads((copied_run / "config.json").read_text())
    config["data"]["normalize"] = "standard"
    (copied_run / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(3)
    fitted = transforms.Normalization(*rng.normal(size=(2, 16)).astype(np.float32))
    transforms.keep_normalization(copied_run / "normalization.npz", fitted)
    spotter = Spotter.load(copied_run)
    features = rng.normal(size=(100, 16)).astype(np.float32)
    opened = spotter.stream()
    found = [spot for row in features for spot in opened.push(row[None])] + opened.finish()
    expected = spotter.spot(features)
    assert sorted(spot[:2] for spot in found) == sorted(spot[:2] for spot in expected)

    config["data"] |= {"normalize": "none", "resample": 4.0}
    (copied_run / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="joined or resampled features"):
        Spotter.load(copied_run).stream()
