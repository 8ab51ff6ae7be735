"""Which pictures become rows; the figures are those of SoccerNet's own code."""

import numpy as np
import pytest

from spotting.video.choice import (
    Timeline,
    choose,
    choose_by_count,
    choose_by_time,
    describe_difference,
)


def constant(count: int, rate: float, duration: float | None = None) -> Timeline:
    return Timeline(np.arange(count) / rate, rate, count / rate if duration is None else duration)


@pytest.mark.parametrize(
    ("rate", "first"),
    [
        (25.0, [12, 24, 37, 49, 62, 74]),
        (30000 / 1001, [14, 29, 44, 59]),
        (50.0, [24, 49, 74]),
        (60.0, [29, 59]),
        (24000 / 1001, [11, 23, 35]),
        (10.0, [4, 9, 14, 19, 24, 29]),
    ],
)
@pytest.mark.parametrize("rule", ["timestamps", "soccernet"])
def test_constant_rates(rate: float, first: list[int], rule: str):
    assert choose(constant(400, rate), rule, 2.0)[: len(first)].tolist() == first


def test_a_half_has_5400_rows():
    timeline = constant(45 * 60 * 25, 25.0)
    for rule in ("timestamps", "soccernet"):
        assert len(choose(timeline, rule, 2.0)) == 5400
    assert describe_difference(timeline, 2.0, 0.0, None) == ""


def test_row_k_shows_the_last_picture_before_its_limit():
    times = np.sort(np.random.default_rng(0).uniform(0, 60, 900))
    timeline = Timeline(times - times[0], 15.0, 60.0)
    rows = choose_by_time(timeline, 2.0)
    for k, row in enumerate(rows):
        before = np.flatnonzero(timeline.times < (k + 1) / 2 - 0.0005)
        assert row == (before[-1] if len(before) else 0)
    assert len(rows) == int(2 * (timeline.times[-1] + 1 / 15 + 0.0005))


def test_sound_that_lasts_longer_spreads_the_counted_rows():
    indices, used = choose_by_count(150, 25.0, 8.0, 2.0)
    assert used == 18.875
    assert indices[:6].tolist() == [9, 18, 28, 37, 47, 56]
    assert len(indices) == 15
    timeline = constant(150, 25.0, 8.0)
    assert choose(timeline, "timestamps", 2.0)[:3].tolist() == [12, 24, 37]
    assert "12 rows against 15" in describe_difference(timeline, 2.0, 0.0, None)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (1.0, 2.5, [24, 37, 49, 62, 74]),
        (0.4, 1.3, [12, 24, 37]),
        (1.5, None, [37, 49, 62, 74, 87, 99]),
    ],
)
def test_a_start_does_not_restart_the_count(start, length, expected):
    indices, _ = choose_by_count(263, 25.0, 10.52, 2.0, start, length)
    assert indices[:6].tolist() == expected


@pytest.mark.parametrize("rule", ["timestamps", "soccernet"])
def test_a_half_gets_the_rows_of_a_file_that_was_cut_there(rule: str):
    whole, cut = constant(1000, 25.0), constant(400, 25.0)
    inside = choose(whole, rule, 2.0, 8.0, 24.0)
    assert (inside - 200).tolist() == choose(cut, rule, 2.0).tolist()


def test_few_pictures_are_repeated():
    assert choose_by_time(constant(4, 1.0), 2.0).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_rounded_time_stamps_change_nothing():
    exact = constant(3000, 30000 / 1001)
    rounded = Timeline(np.round(exact.times, 3), exact.picture_rate, exact.duration)
    assert choose_by_time(rounded, 2.0).tolist() == choose_by_time(exact, 2.0).tolist()
