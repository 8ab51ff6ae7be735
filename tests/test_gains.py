import shutil

import numpy as np
import pytest

from spotting import compare
from spotting.base.errors import InputError
from spotting.reporting import comparison
from spotting.reporting.runs import read_rows
from spotting.scoring import gains, intervals, metrics
from spotting.scoring.metrics import Spots, Truths

CLASSES, GAMES = 3, 5
HALVES = np.repeat(np.arange(GAMES), 2)  # the game of each


def make_season(seed, noise):
    """Truths, and spots that are `noise` frames off or nothing at all."""
    generator = np.random.default_rng(seed)
    unit = np.repeat(np.arange(2 * GAMES), 12)
    frame = generator.integers(0, 5000, len(unit))
    label = generator.integers(0, CLASSES, len(unit))
    truths = Truths(unit, frame, label, np.ones(len(unit), bool))
    off = np.rint(generator.normal(scale=noise, size=len(unit))).astype(int)
    wrong = generator.integers(0, 5000, len(unit))
    spots = Spots(
        np.concatenate([unit, unit]),
        np.concatenate([np.clip(frame + off, 0, 5000), wrong]),
        np.concatenate([label, label]),
        np.concatenate(
            [generator.uniform(0.3, 1, len(unit)), generator.uniform(0, 0.7, len(unit))]
        ),
    )
    return truths, spots


def count(truths, spots, tolerances):
    return metrics.count_by_game(truths, spots, HALVES, CLASSES, tolerances)


@pytest.mark.parametrize("tolerances", [metrics.LOOSE, metrics.TIGHT, (5,)])
def test_all_games_once_are_the_evaluators_score(tolerances):
    truths, spots = make_season(0, 4)
    expected = metrics.average_map(truths, spots, CLASSES, tolerances)["all"].map
    (score,) = intervals.score_draws(count(truths, spots, tolerances), np.ones((1, GAMES), int))
    assert 0.1 < expected < 0.95
    assert score == pytest.approx(expected, abs=1e-12)


def test_a_game_drawn_twice_counts_as_two_games():
    truths, spots = make_season(1, 4)
    of_first = np.isin(truths.unit, (0, 1)), np.isin(spots.unit, (0, 1))

    def repeat(table, rows):
        """The table with the first game's halves once more, as halves of their own."""
        more = [np.concatenate([column, column[rows]]) for column in table]
        more[0][len(rows) :] += 2 * GAMES
        return type(table)(*more)

    twice = [repeat(t, rows) for t, rows in zip((truths, spots), of_first, strict=True)]
    expected = metrics.average_map(*twice, CLASSES, metrics.TIGHT)["all"].map
    (score,) = intervals.score_draws(
        count(truths, spots, metrics.TIGHT), np.array([[2, 1, 1, 1, 1]])
    )
    assert score == pytest.approx(expected, abs=1e-12)


def test_a_clear_gain_is_beyond_doubt_and_none_is_none():
    truths, sharp = make_season(2, 1)
    _, blurred = make_season(2, 6)
    better, worse = (count(truths, spots, metrics.TIGHT) for spots in (sharp, blurred))

    def measure(base, other, draws=20):
        return gains.measure_gain(*(gains.draw_scores(each, draws) for each in (base, other)))

    gain = measure([worse], [better], draws=200)
    assert gain.low > 0
    assert gain.low < gain.mean < gain.high
    assert np.isnan(gain.spread)
    nothing = measure([worse, better], [worse, better])
    assert nothing == (0, 0, 0, 0)
    mixed = measure([worse, worse], [worse, better])
    assert mixed.mean == pytest.approx(gain.mean / 2)
    assert mixed.spread == pytest.approx(gain.mean / np.sqrt(2))


@pytest.mark.slow
def test_runs_are_compared(tiny_run, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
    for file in other.glob("**/results_spotting.json"):
        file.write_text(file.read_text().replace('"confidence": "0.', '"confidence": "0.0'))
    rows = read_rows([tiny_run, other])
    for split in ("test", "valid"):
        (same, changed) = comparison.compare(rows[0], rows, split)
        assert same.gains["tight"][0] == 0
        assert changed.seeds == 1
    monkeypatch.setattr("sys.argv", ["compare", str(tiny_run), str(other), "--split=valid"])
    compare.main()
    assert "[+0.0, +0.0]" not in capsys.readouterr().out.splitlines()[0]
    shutil.rmtree(other / "results")
    with pytest.raises(InputError, match="results for the test split are not there"):
        comparison.compare(rows[0], rows[1:], "test")
