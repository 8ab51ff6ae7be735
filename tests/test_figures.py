import json
from pathlib import Path

import numpy as np
import pytest

from spotting import evaluate
from spotting.data.annotations import Event, iterate_results
from spotting.data.halves import Half
from spotting.inference.postprocessing import Suppression, score_map
from spotting.runs import results
from spotting.scoring import figures, metrics, windows

CLASSES = ("Goal", "Foul")
RATE = 2.0
HARD = Suppression("hard", (6.0,))


def make_half(game, number, events):
    events = tuple(Event(number, label, at, float(int(at)), True) for label, at in events)
    return Half(game, number, Path("unread.npy"), 240, events)


@pytest.fixture
def halves():
    """Three halves, one of extra time."""
    return [
        make_half("a/b", 1, [("Goal", 20.0), ("Foul", 60.5)]),
        make_half("a/b", 3, [("Goal", 31.0)]),
        make_half("c", 1, [("Foul", 90.0), ("Foul", 110.0)]),
    ]


@pytest.fixture
def predictions(halves):
    """Confidence peaks 4 frames before each event; displacement puts them right."""
    rng = np.random.default_rng(3)
    confidence = [0.2 * rng.random((240, 2), np.float32) for _ in halves]
    displacement = [np.zeros((240, 2), np.float32) for _ in halves]
    for half, scores, shifts in zip(halves, confidence, displacement, strict=True):
        for event in half.events:
            anchor = round(RATE * event.position) - 4, CLASSES.index(event.label)
            scores[anchor], shifts[anchor] = 0.9, 4.0
    return confidence, displacement


def test_displacement_is_scored_and_left_out(halves, predictions):
    scored = figures.score_variants(halves, CLASSES, RATE, *predictions, HARD)
    with_it, without, guessing = (
        scored.scores[name] for name in ("with_displacement", "without_displacement", "guessing")
    )
    assert with_it["loose"] == with_it["tight"] == pytest.approx(100)
    assert with_it["per_class"]["Foul"] == {"loose": 100.0, "tight": 100.0}
    # 2 s off: a tolerance of 4 s accepts it, which are the last two of the tight ones.
    assert without["loose"] == pytest.approx(100)
    assert 20 < without["tight"] < 60
    assert guessing["loose"] < 60
    table = figures.format_scores(scored.scores, "test").splitlines()
    assert table[0].split() == ["average-mAP,", "test", "split", "loose", "tight"]
    assert table[1].split() == ["with", "displacement", "100.0", "100.0"]
    assert table[-1].split() == ["Foul", "100.0", "100.0"]


def test_predictions_have_one_way_to_their_score(halves, predictions):
    truth = figures.make_truths(halves, CLASSES)
    for shifts in (predictions[1], None):
        spotted = figures.spot_split(predictions[0], shifts, RATE, HARD)
        for i, scores in enumerate(spotted.score_maps):
            expected = score_map(predictions[0][i], shifts and shifts[i], RATE, HARD)
            np.testing.assert_array_equal(scores, expected)
        for tolerances in (metrics.LOOSE, metrics.TIGHT, metrics.MEDIUM):
            found = figures.score_predictions(truth, predictions[0], shifts, RATE, HARD, tolerances)
            expected = metrics.average_map(truth, spotted.spots, 2, tolerances)["all"]
            assert found.map == expected.map
            np.testing.assert_array_equal(found.per_class, expected.per_class)
        in_percent = figures.score_spots(truth, spotted.spots, CLASSES)
        tight = figures.score_predictions(
            truth, predictions[0], shifts, RATE, HARD, windows.TOLERANCES["tight"]
        )
        assert in_percent["tight"] == 100 * tight.map


def test_files_score_what_was_scored(halves, predictions, tmp_path):
    scored = figures.score_variants(halves, CLASSES, RATE, *predictions, HARD)
    results.write_variants(tmp_path, halves, scored, CLASSES)
    events = {game: [] for game in ("a/b", "c")}
    for half in halves:
        events[half.game] += half.events
    for folder, variant in (
        ("results", "with_displacement"),
        ("results_without_displacement", "without_displacement"),
    ):
        found = dict(iterate_results(tmp_path / folder))
        assert {spot.half for spot in found["a/b"]} == {1, 3}
        scores = evaluate.score(evaluate.Games(events, found), CLASSES)
        for measure in ("loose", "tight"):
            expected = scored.scores[variant][measure]
            assert 100 * scores[measure]["all"].map == pytest.approx(expected, abs=1e-12)


def test_thresholds_part_right_from_wrong(halves, predictions, tmp_path):
    truth = figures.make_truths(halves, CLASSES)
    spots = figures.spot_split(*predictions, RATE, HARD).spots
    results.write_thresholds(tmp_path, truth, spots, CLASSES, 5.0)
    thresholds = json.loads((tmp_path / "thresholds.json").read_text())
    assert list(thresholds) == list(CLASSES)
    assert all(value == pytest.approx(0.9) for value in thresholds.values())


def test_windows_are_chosen_by_class(halves, predictions):
    truth = figures.make_truths(halves, CLASSES)
    # The two fouls of the last half are 20 s apart: 50 s loses one of them.
    candidates = windows.list_candidates("hard", (50.0, 6.0), ("linear",))
    scores = windows.score_candidates(*predictions, truth, RATE, "hard", candidates, "tight")
    assert scores.shape == (2, 2)
    assert scores[1, 1] > scores[0, 1]
    assert windows.choose_common(scores, candidates).window == 6.0
    assert windows.choose_per_class(scores, candidates)[1].window == 6.0
