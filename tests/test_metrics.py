import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spotting.data.annotations import (
    SOCCERNET_CLASSES,
    Event,
    make_predictions,
    read_events,
    read_results,
)
from spotting.scoring import metrics
from spotting.scoring.metrics import Spots, Truths

DATA = Path(__file__).parent / "data"
TOLERANCES = {
    "loose": metrics.LOOSE,
    "tight": metrics.TIGHT,
    "at1": [1],
    "at2": [2],
    "at5": [5],
}
SUFFIXES = {"all": "", "visible": "_visible", "unshown": "_unshown"}


def truths(*rows):
    """Of (unit, frame, label, visible) rows."""
    columns = zip(*rows, strict=True) if rows else [()] * 4
    return Truths(*map(np.array, columns, [int, int, int, bool]))


def spots(*rows):
    """Of (unit, frame, label, score) rows."""
    columns = zip(*rows, strict=True) if rows else [()] * 4
    return Spots(*map(np.array, columns, [int, int, int, float]))


def spots_at(*scored_frames):
    """Of one half and class, from (frame, score) pairs."""
    return spots(*((0, frame, 0, score) for frame, score in scored_frames))


def truths_at(*frames):
    return truths(*((0, frame, 0, True) for frame in frames))


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Truths and spots of the official evaluator's test case, and what it makes of them."""
    folder = tmp_path_factory.mktemp("official")
    with zipfile.ZipFile(DATA / "soccernet_eval.zip") as archive:
        archive.extractall(folder)
    expected = json.loads((folder / "expected.json").read_text())
    assert tuple(expected["class_order"]) == SOCCERNET_CLASSES
    halves = list(itertools.product(expected["games"], (1, 2)))
    events = {g: read_events(folder / "gt" / g / "Labels-v2.json") for g in expected["games"]}
    results = {
        g: read_results(folder / "pred" / g / "results_spotting.json") for g in expected["games"]
    }
    return (
        metrics.truths_from_events(
            ([e for e in events[game] if e.half == half] for game, half in halves),
            SOCCERNET_CLASSES,
        ),
        metrics.spots_from_predictions(
            ([p for p in results[game] if p.half == half] for game, half in halves),
            SOCCERNET_CLASSES,
        ),
        expected,
    )


@pytest.mark.parametrize("name", TOLERANCES)
def test_figures_of_the_official_evaluator(official, name):
    actual = metrics.average_map(*official[:2], 17, TOLERANCES[name])
    expected = official[2][f"official_{name}"]
    for kind, suffix in SUFFIXES.items():
        assert actual[kind].map == pytest.approx(expected[f"a_mAP{suffix}"], abs=1e-12)
        np.testing.assert_allclose(
            actual[kind].per_class, expected[f"a_mAP_per_class{suffix}"], rtol=0, atol=1e-12
        )


def test_medium_average_map_and_curve_of_yahoo_spivak(official):
    expected = official[2]["spivak_metric_on_official_vectors"]
    medium = metrics.average_map(*official[:2], 17, metrics.MEDIUM)["all"].map
    assert medium == pytest.approx(expected["average_map"]["medium"], abs=1e-12)
    curve = {float(d): value for d, value in expected["map_per_tolerance_s"].items()}
    assert set(curve) > {*metrics.LOOSE, *metrics.MEDIUM}
    actual = metrics.map_by_tolerance(*official[:2], 17, list(curve))
    np.testing.assert_allclose(actual, list(curve.values()), rtol=0, atol=1e-12)


def plain_average_precision(truth_rows, spot_rows, label, tolerance, kind):
    """The definition, word for word: one class, one tolerance, sets and loops."""
    points, num_truths = [], 0
    for unit in {row[0] for row in [*truth_rows, *spot_rows]}:
        truth = {min(f, 14399): v for u, f, k, v in truth_rows if (u, k) == (unit, label)}
        spot = {min(f, 14399): s for u, f, k, s in spot_rows if (u, k) == (unit, label)}
        spot = {frame: score for frame, score in spot.items() if score >= 0}
        hits = set()
        for frame in sorted(truth):
            in_reach = [g for g in sorted(set(spot) - hits) if abs(g - frame) / 2 <= tolerance / 2]
            if in_reach:
                hits.add(max(in_reach, key=spot.get))
        for frame, score in spot.items():
            nearest = min(truth, default=None)
            for before, after in itertools.pairwise(sorted(truth)):
                nearest = after if frame >= (before + after) // 2 else nearest
            shown = nearest is not None and truth[nearest]
            if kind in ("all", "visible" if shown else "unshown"):
                points.append((score, frame in hits))
        num_truths += sum(kind in ("all", "visible" if v else "unshown") for v in truth.values())
    curve = []
    for threshold in np.linspace(0, 1, 200):
        accepted = [hit for score, hit in points if score >= threshold]
        precision = sum(accepted) / len(accepted) if accepted else 0
        recall = sum(accepted) / num_truths if num_truths else 0
        curve.append((recall, precision))
    return sum(max([p for r, p in curve if r >= j / 10], default=0) for j in range(11)) / 11


UNITS = LABELS = st.integers(0, 1)
FRAMES = st.integers(0, 25) | st.integers(14390, 14410)
SCORES = st.sampled_from([0.0, 0.25, 0.5, 100 / 199, 1.0, 1.5, -1.0, np.nan]) | st.floats(0, 1)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(UNITS, FRAMES, LABELS, st.booleans()), max_size=20),
    st.lists(st.tuples(UNITS, FRAMES, LABELS, SCORES), max_size=40),
)
@example([], [])
@example([(0, 4, 0, True)], [])
@example([], [(0, 4, 0, 0.5)])
def test_equals_its_plain_definition(truth_rows, spot_rows):
    tolerances = [1, 2, 3, 12]
    args = truths(*truth_rows), spots(*spot_rows), 2, tolerances
    plain = np.array(
        [
            [
                [plain_average_precision(truth_rows, spot_rows, k, d, kind) for k in range(2)]
                for d in tolerances
            ]
            for kind in metrics.KINDS
        ]
    )
    np.testing.assert_allclose(metrics.average_precision(*args), plain, rtol=0, atol=1e-12)
    area = (plain[:, 0] / 2 + plain[:, 1] + plain[:, 2] + plain[:, 3] / 2) / 3
    for kind, values in metrics.average_map(*args).items():
        expected = area[metrics.KINDS.index(kind)]
        np.testing.assert_allclose(values.per_class, expected, rtol=0, atol=1e-12)
        scale = 17 / 13 if kind == "unshown" else 1
        assert values.map == pytest.approx(expected.mean() * scale, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(UNITS, st.integers(0, 25)), max_size=10, unique=True),
    st.dictionaries(st.tuples(UNITS, st.integers(0, 25)), SCORES, max_size=30),
)
def test_f1_threshold_is_the_best_of_all(truth_places, spot_scores):
    known = truths(*((*place, 1, True) for place in truth_places))
    rows = [(*place, 1, score) for place, score in spot_scores.items() if score >= 0]
    f1 = {0.0: 0.0}
    for threshold in {row[3] for row in rows}:
        accepted = spots(*(row for row in rows if row[3] >= threshold))
        hits = len(metrics.match(known, accepted, tolerance=4).truth)
        f1[threshold] = 2 * hits / (len(accepted.unit) + len(truth_places))
    thresholds, best = metrics.best_f1_thresholds(known, spots(*rows), 2, tolerance=4)
    assert best.tolist() == [0, max(f1.values())]
    highest = max(threshold for threshold in f1 if f1[threshold] == best[1])
    assert thresholds.tolist() == [1, highest if best[1] else 1]


def test_f1_threshold_is_the_highest_of_equally_good_ones():
    # One right of one, or two right of four: F1 is 2/3 either way.
    predicted = spots_at((10, 0.9), (30, 0.8), (31, 0.7), (50, 0.6))
    thresholds, best = metrics.best_f1_thresholds(truths_at(10, 50), predicted, 1, tolerance=1)
    assert (thresholds.tolist(), best.tolist()) == ([0.9], [2 / 3])


def test_truths_choose_in_order_of_time_the_best_that_is_free():
    found = metrics.match(truths_at(10, 13), spots_at((8, 0.1), (11, 0.9), (12, 0.9), (14, 0.3)), 5)
    # Both want the spot at 11: the first of two of the same score. The later truth gets the other.
    assert found.truth.tolist() == [0, 1]
    assert found.spot.tolist() == [1, 2]
    assert found.error.tolist() == [1, -1]


def test_matches_are_in_the_order_and_indexes_of_the_truths():
    found = metrics.match(
        truths((1, 50, 0, True), (0, 90, 1, False), (0, 20, 0, True), (0, 20, 2, True)),
        spots((0, 21, 0, 0.5), (0, 20, 1, 0.5), (1, 48, 0, 0.5), (0, 22, 0, 0.1)),
        5,
    )
    assert found.truth.tolist() == [0, 2]
    assert found.spot.tolist() == [2, 0]
    assert found.error.tolist() == [-2, 1]


@pytest.mark.parametrize(("distance", "from_tolerance"), [(0, 1), (1, 1), (3, 3), (-7, 7)])
def test_tolerance_is_the_whole_width(distance, from_tolerance):
    # At 2 frames per second, d frames are d/2 seconds.
    curve = metrics.map_by_tolerance(truths_at(100), spots_at((100 + distance, 0.9)), 1)
    assert curve.tolist() == [float(tolerance >= from_tolerance) for tolerance in range(1, 21)]


def test_last_of_several_in_a_frame_counts():
    precision, recall = metrics.precision_recall(
        truths_at(7), spots_at((7, 0.9), (3, 0.4), (7, 0.2)), 1, 1
    )
    assert precision[0, [0, 39, 40, 79, 80]].tolist() == [0.5, 0.5, 0, 0, 0]
    assert recall[0, [0, 39, 40]].tolist() == [1, 1, 0]
    gone = metrics.match(truths_at(7), spots_at((7, 0.9), (7, np.nan)), 1)
    assert gone.truth.size == 0


def test_spot_belongs_to_the_kind_of_its_nearest_truth():
    known = truths((0, 10, 0, True), (0, 15, 0, False))
    # Midway is 12.5; rounded down, frame 12 is the later truth's though it is nearer to the other.
    unshown = metrics.average_precision(known, spots_at((12, 0.5)), 1, [5])
    assert unshown[:, 0, 0].tolist() == pytest.approx([6 / 11, 0, 1])
    visible = metrics.average_precision(known, spots_at((11, 0.5)), 1, [5])
    assert visible[:, 0, 0].tolist() == pytest.approx([6 / 11, 1, 0])


def test_spot_without_a_truth_in_its_half_counts_as_unshown():
    known = truths((0, 10, 0, True), (1, 10, 0, False))
    predicted = spots((0, 10, 0, 0.5), (1, 10, 0, 0.5), (2, 10, 0, 0.7))
    precision = metrics.average_precision(known, predicted, 1, [5])[:, 0, 0]
    assert precision.tolist() == pytest.approx([2 / 3, 1, 1 / 2])


def test_perfect_spots_score_one_and_a_class_without_truths_zero():
    known = truths(*((u, f, k, f % 2) for u in (0, 1) for f in (5, 70, 300) for k in (0, 1)))
    perfect = Spots(*known[:3], np.ones(len(known.unit)))
    assert metrics.average_map(known, perfect, 2, metrics.TIGHT)["all"].map == 1
    three = metrics.average_map(known, perfect, 3, metrics.LOOSE)
    assert three["all"].per_class.tolist() == [1, 1, 0]
    assert three["all"].map == pytest.approx(2 / 3)
    assert three["unshown"].map == pytest.approx(2 / 3 * 17 / 13)
    assert metrics.average_map(known, perfect, 3, [5])["unshown"].map == pytest.approx(2 / 3)


@pytest.mark.parametrize("frame_rate", [1.0, 2.0, 2.5, 12.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_score_map_gives_the_spots_of_its_file(frame_rate, dtype):
    rng = np.random.default_rng(3)
    maps = np.where(rng.random((3, 120, 4)) < 0.3, rng.random((3, 120, 4)), -1).astype(dtype)
    maps[0, 5, 1] = 0
    classes = ("a", "b", "c", "d")
    predictions = [make_predictions(scores, 1, classes, frame_rate) for scores in maps]
    from_maps = metrics.spots_from_score_maps(maps, frame_rate)
    from_files = metrics.spots_from_predictions(predictions, classes)
    assert len(from_maps.unit) == np.sum(maps >= 0)
    for ours, theirs in zip(from_maps, from_files, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_events_are_placed_by_position_rounded_down():
    events = [
        Event(1, "Goal", 1.499, 2.0, True),
        Event(1, "Goal", 1.5, 1.0, False),
        Event(1, "Other", 3.0, 3.0, True),
    ]
    placed = metrics.truths_from_events([[], events], ["Foul", "Goal"])
    assert [column.tolist() for column in placed] == [[1, 1], [2, 3], [1, 1], [True, False]]
