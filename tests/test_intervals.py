"""Bootstrap over games: the intervals beside each average-mAP."""

import json

import numpy as np
import pytest

from spotting.reporting.runs import ReportedRun
from spotting.runs.folders import read_scored
from spotting.scoring import figures, intervals, metrics

K = 3


def draw_split(generator, num_games, quality=0.5):
    """Truths, spots and each half's game, of some games of two halves."""
    games = np.repeat(np.arange(num_games), 2)
    unit = np.repeat(np.arange(len(games)), 12)
    frame = np.concatenate([generator.choice(2000, 12, replace=False) for _ in games])
    label = generator.integers(0, K, len(unit))
    truth = metrics.Truths(unit, frame, label, np.ones(len(unit), bool))
    found = generator.random(len(unit)) < quality
    wrong = generator.integers(0, 2000, len(unit))
    place = np.where(found, frame + generator.integers(-3, 4, len(unit)), wrong)
    score = generator.random(len(unit)) * np.where(found, 1.0, 0.7)
    return truth, metrics.Spots(unit, np.clip(place, 0, None), label, score), games


@pytest.mark.parametrize("tolerances", [metrics.LOOSE, metrics.TIGHT, (5,)])
def test_every_game_once_is_the_average_map(tolerances):
    truth, spots, games = draw_split(np.random.default_rng(1), 7)
    counts = metrics.count_by_game(truth, spots, games, K, tolerances)
    once = intervals.score_draws(counts, np.ones((1, 7), int))
    expected = metrics.average_map(truth, spots, K, tolerances)["all"].map
    assert once[0] == pytest.approx(expected, abs=1e-12)
    # A class that nothing is of counts 0, here as there.
    counts = metrics.count_by_game(truth, spots, games, K + 1, tolerances)
    once = intervals.score_draws(counts, np.ones((1, 7), int))
    assert once[0] == pytest.approx(expected * K / (K + 1), abs=1e-12)


def test_a_draw_scores_as_its_games_do():
    truth, spots, games = draw_split(np.random.default_rng(2), 4)
    counts = metrics.count_by_game(truth, spots, games, K, metrics.TIGHT)
    draw = np.array([[2, 0, 1, 1]])
    units = [0, 1, 0, 1, 4, 5, 6, 7]

    def repeat(table):
        parts = [table.unit == unit for unit in units]
        columns = [np.concatenate([column[part] for part in parts]) for column in table]
        unit = np.concatenate([np.full(part.sum(), i) for i, part in enumerate(parts)])
        return type(table)(unit, *columns[1:])

    expected = metrics.average_map(repeat(truth), repeat(spots), K, metrics.TIGHT)["all"].map
    assert intervals.score_draws(counts, draw)[0] == pytest.approx(expected, abs=1e-12)


def test_a_class_that_a_draw_lacks_is_left_out_of_its_mean():
    counts = metrics.Counts(
        hits=np.array([[[[2.0] * 200, [1.0] * 200]], [[[0.0] * 200, [3.0] * 200]]]),
        predicted=np.array([[[2] * 200, [1] * 200], [[0] * 200, [3] * 200]]),
        existing=np.array([[[2], [1]], [[0], [3]]]),
    )
    assert intervals.score_draws(counts, np.array([[0, 2], [1, 1], [2, 0]])).tolist() == [1, 1, 1]


def test_more_games_are_a_narrower_interval():
    widths = []
    for num_games in (4, 64):
        split = draw_split(np.random.default_rng(3), num_games)
        low, high = intervals.bootstrap_interval(*split, K, metrics.LOOSE)
        assert 0 < low < high < 1
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    again = intervals.bootstrap_interval(*split, K, metrics.LOOSE)
    assert again == (low, high)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Of samples of 20 games, most intervals hold the average-mAP of 400."""
    truth, spots, games = draw_split(np.random.default_rng(4), 400)
    counts = metrics.count_by_game(truth, spots, games, K, (5,))
    whole = intervals.score_draws(counts, np.ones((1, 400), int))[0]
    generator = np.random.default_rng(5)
    held = []
    for _ in range(40):
        of = generator.integers(0, 400, 20)
        sample = metrics.Counts(*(column[of] for column in counts))
        draws = generator.multinomial(20, np.full(20, 1 / 20), 200)
        low, high = np.percentile(intervals.score_draws(sample, draws), [2.5, 97.5])
        held.append(low <= whole <= high)
    assert np.mean(held) > 0.8


def test_one_game_has_no_interval():
    truth, spots, games = draw_split(np.random.default_rng(6), 1)
    assert intervals.bootstrap_interval(truth, spots, games, K, metrics.LOOSE) is None
    scores = figures.score_spots(truth, spots, "abc", games)
    assert scores["interval"] == {"loose": None, "tight": None}
    assert "interval" not in figures.score_spots(truth, spots, "abc")


def test_scores_hold_both_intervals_in_percent(tmp_path):
    truth, spots, games = draw_split(np.random.default_rng(7), 5)
    scores = figures.score_spots(truth, spots, "abc", games)
    for name in ("loose", "tight"):
        low, high = scores["interval"][name]
        assert 1 < low < high < 100
        run = ReportedRun(tmp_path, {}, {"test": {"with_displacement": scores}})
        assert run.interval("with_displacement", name) == (low, high)


def test_metrics_of_earlier_versions_are_read(tmp_path):
    old = {"loose": 50.0, "tight": 40.0, "per_class": {"Goal": {"loose": 50.0, "tight": 40.0}}}
    (tmp_path / "metrics.json").write_text(json.dumps({"test": {"with_displacement": old}}))
    scores = read_scored({0: tmp_path})[0]
    assert ReportedRun(tmp_path, {}, scores).interval("with_displacement", "loose") is None
    assert figures.summarize(scores["test"]) == {"with_displacement": {"loose": 50, "tight": 40}}
    assert "oracle" not in figures.format_scores(scores["test"], "test")
