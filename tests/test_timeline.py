"""The page's timeline: what it keeps, where its slider begins, and that it finds hits as we do."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from spotting.base.errors import InputError
from spotting.data.annotations import SOCCERNET_CLASSES, Event, Prediction, write_results
from spotting.reporting import page, timeline
from spotting.reporting.external import read_external_games
from spotting.reporting.timeline import TimelineGame, TimelineHalf, write_timeline_page
from spotting.scoring import metrics


def half(events=(), spots=()):
    return TimelineHalf(1, 100.0, {"ours": list(spots)}, events)


def test_timeline_data():
    events = [Event(1, "Foul", 12.34, 12.0, False), Event(1, "Red card", 1.0, 1.0, True)]
    spots = [Prediction(1, "Foul", 12.5, 0.8), Prediction(1, "Goal", 3.0, 0.004)]
    game = TimelineGame("a game", [half(events, spots), half(None)])
    data, floor = timeline.make_timeline_data([game], ("Goal", "Foul"), {"ours": {"Foul": 0.3}})
    first, second = data["games"][0]["halves"]
    assert first["truth"] == [1, 12340, 0]
    assert first["spots"] == [[1, 12500, 8000]]
    assert second["truth"] is None
    assert data["systems"] == [{"name": "ours", "thresholds": [1.0, 0.3]}]
    assert floor == 0.01


def test_timeline_of_many_spots_keeps_the_most_confident(monkeypatch):
    monkeypatch.setattr(timeline, "MAX_SPOTS", 10)
    spots = [Prediction(1, "Goal", float(i), i / 100) for i in range(100)]
    data, floor = timeline.make_timeline_data(
        [TimelineGame("a", [half(None, spots)])], ("Goal",), {}
    )
    kept = data["games"][0]["halves"][0]["spots"][0][2::3]
    assert floor == pytest.approx(0.9)
    assert kept == [100 * i for i in range(90, 100)]


def crowded_game():
    """Systems with high, low and no thresholds, each with 100 spots of two classes."""
    generator = np.random.default_rng(0)
    systems = ("high", "low", "unknown")
    spots = {
        system: [
            Prediction(1, label, float(i), round(confidence, 6))
            for i, confidence in enumerate(generator.uniform(0, 1, 50).tolist())
            for label in ("Goal", "Foul")
        ]
        for system in systems
    }
    # Thresholds are confidences of spots. Four decimals of the first round up, of the last down.
    spots["high"][0] = Prediction(1, "Goal", 0.0, 0.812367)
    spots["low"][0] = Prediction(1, "Goal", 0.0, 0.004)
    spots["low"][1] = Prediction(1, "Foul", 0.0, 0.212342)
    thresholds = {"high": {"Goal": 0.812367}, "low": {"Goal": 0.004, "Foul": 0.212342}}
    return TimelineGame("a game", [TimelineHalf(1, 100.0, spots, [])]), thresholds


@pytest.mark.parametrize("budget", [0, 130, 160, 200])
def test_over_full_timeline_keeps_what_counts_and_cuts_the_rest(monkeypatch, budget):
    monkeypatch.setattr(timeline, "MAX_SPOTS", budget)
    game, thresholds = crowded_game()
    classes = ("Goal", "Foul")
    data, floor = timeline.make_timeline_data([game], classes, thresholds)
    total, spared = 0, 0
    for k, (system, spots) in enumerate(game.halves[0].spots.items()):
        limits = thresholds.get(system)
        over = [bool(limits) and spot.confidence >= limits.get(spot.label, 1) for spot in spots]
        expected = [
            (classes.index(spot.label), 1000 * spot.position, round(10000 * spot.confidence))
            for spot, always in zip(spots, over, strict=True)
            if always or spot.confidence >= floor
        ]
        flat = data["games"][0]["halves"][0]["spots"][k]
        found = list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
        assert found == expected
        total, spared = total + len(found), spared + sum(over)
        if limits:
            shown = data["systems"][k]["thresholds"]
            assert sum(value / 10000 >= shown[c] for c, _, value in found) == sum(over)
    assert 0.01 < floor <= 1
    assert max(spared, budget - 10) <= total <= max(spared, budget)
    assert floor == round(floor, 2)


def test_timeline_slider_begins_at_the_floor(monkeypatch):
    game, thresholds = crowded_game()
    for budget, spared in ((1000, {}), (200, thresholds), (20, {})):
        monkeypatch.setattr(timeline, "MAX_SPOTS", budget)
        _, floor = timeline.make_timeline_data([game], ("Goal", "Foul"), spared)
        assert (floor == 0.01) == (budget == 1000)
        section = timeline.make_timeline([game], ("Goal", "Foul"), spared)
        slider = re.search(
            r'data-part="threshold" min="(.*?)" max="1".*?value="(.*?)"', section, re.S
        )
        assert [float(value) for value in slider.groups()] == [floor, max(floor, 0.5)]
        assert f"spots of confidence under {floor:.2f} are left out" in section
        assert ("but for those at or over" in section) == bool(spared)


def test_timeline_page_without_truth(tmp_path):
    name = "</script><b>É & co"
    spots = [Prediction(1, "Goal", 1.0, 0.5)]
    path = tmp_path / "new folder" / "page.html"
    write_timeline_page(path, [TimelineGame(name, [half(None, spots)])], ("Goal",), {"Goal": 0.2})
    text = path.read_text(encoding="utf-8")
    assert "</script><b>" not in text
    embedded = re.search(r'id="timeline-data">(.*?)</script>', text, re.S)[1]
    assert json.loads(embedded)["games"][0]["name"] == name
    assert "miss" not in re.search(r'class="key-list">(.*?)</p>', text)[1]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the page's script")
def test_timeline_matches_as_the_metric_does(tmp_path):
    generator = np.random.default_rng(3)
    classes = SOCCERNET_CLASSES[:3]

    # One truth and one spot of a class per evaluation frame: the metric merges more of them.
    def moments(count):
        frames = generator.choice(400, count, replace=False)
        return 0.5 * frames + generator.uniform(0, 0.499, count).round(3)

    events = [Event(1, str(generator.choice(classes)), t, t, True) for t in moments(60)]
    levels = [round(0.1 * i, 1) for i in range(11)]  # with ties
    spots = [
        Prediction(1, str(generator.choice(classes)), t, generator.choice(levels))
        for t in moments(150)
    ]
    events.sort(key=lambda event: event.position)
    spots.sort(key=lambda spot: spot.position)
    data, _ = timeline.make_timeline_data([TimelineGame("a", [half(events, spots)])], classes, {})
    flat = data["games"][0]["halves"][0]
    script = f"""
{page.asset("matching.js")}
const result = matching.evaluate({flat["truth"]}, {flat["spots"][0]}, [0, 0, 0], TOLERANCE);
console.log(JSON.stringify(result.truths.map((t) => t.partner ? t.partner.ms : null)));"""
    visible = [spot for spot in spots if spot.confidence >= 0.01]
    for tolerance in (1, 3, 5, 30):
        command = ["node", "-e", script.replace("TOLERANCE", str(tolerance))]
        partners = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        matches = metrics.match(
            metrics.truths_from_events([events], classes),
            metrics.spots_from_predictions([visible], classes),
            tolerance,
        )
        expected = [None] * len(events)
        for truth, spot in zip(matches.truth, matches.spot, strict=True):
            expected[truth] = round(1000 * visible[spot].position)
        assert partners == expected


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the page's script")
def test_minutes_of_the_match_and_names_as_the_page_shows_them():
    script = f"""
{page.asset("matching.js")}
const minute = (seconds, period) => matching.minute(1000 * seconds, period);
console.log(JSON.stringify([minute(0, [0, 45]), minute(2699, [0, 45]), minute(2700, [0, 45]),
  minute(46.5 * 60, [0, 45]), minute(46 * 60 + 1, [45, 45]), minute(60, [90, 15]),
  minute(16 * 60, [105, 15]), minute(60, null), matching.escape("<a'\\n\\u202e")]));"""
    found = json.loads(subprocess.run(["node", "-e", script], capture_output=True).stdout)
    assert found[:8] == ["1", "45", "45+1", "45+2", "90+2", "92", "120+2", ""]
    assert found[8] == "&#60;a&#39;\\u000a\\u202e"


def test_timeline_has_the_minutes_of_halves_that_the_clock_knows():
    lone = TimelineHalf(1, 100.0, {}, None, False)
    halves = [TimelineHalf(number, 100.0, {}) for number in (1, 2, 3, 4)]
    data, _ = timeline.make_timeline_data([TimelineGame("a", [lone, *halves])], (), {})
    periods = [half["period"] for half in data["games"][0]["halves"]]
    assert periods == [None, (0, 45), (45, 45), (90, 15), (105, 15)]


def write_external(root, games):
    for game, spots in games.items():
        write_results(root / game / "results_spotting.json", game, spots)
    return root


def test_page_of_anyones_predictions(tmp_path):
    games = {
        "league/a": [Prediction(1, "Goal", 3.0, 0.9), Prediction(2, "Dive", 5.0, 0.8)],
        "league/b": [Prediction(1, "Corner", 80 * 60.0, 0.9)],
    }
    found, classes = read_external_games(write_external(tmp_path / "p", games))
    assert [game.name for game in found] == ["league/a", "league/b"]
    assert classes == ("Goal", "Corner", "Dive")  # SoccerNet-v2's order, then others
    assert [half.number for half in found[0].halves] == [1, 2]
    assert all(half.events is None for game in found for half in game.halves)
    assert not found[1].halves[0].starts_match_clock  # 80 minutes are no half
    output = tmp_path / "new" / "page.html"
    command = [sys.executable, "-m", "spotting.timeline", f"--predictions={tmp_path / 'p'}"]
    done = subprocess.run([*command, f"--output={output}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}: 2 games, 3 halves\n"
    assert "league/b" in output.read_text()


def test_page_of_predictions_beside_labels(tmp_path):
    spots = [Prediction(1, "Goal", 3.0, 0.9)]
    predictions = write_external(tmp_path / "p", {"x/league/a": spots, "x/league/b": spots})
    labels = tmp_path / "labels" / "league" / "a" / "Labels-v2.json"
    labels.parent.mkdir(parents=True)
    entry = {"gameTime": "2 - 0:4", "label": "Goal", "position": "4000", "visibility": "visible"}
    labels.write_text(json.dumps({"annotations": [entry]}))
    games, classes = read_external_games(predictions, tmp_path / "labels")
    assert [game.name for game in games] == ["x/league/a"]
    assert [len(half.events) for half in games[0].halves] == [0, 1]
    assert classes == ("Goal",)
    with pytest.raises(InputError, match="no such folder of labels"):
        read_external_games(predictions, tmp_path / "nothing")
    labels.parent.rename(labels.parent.parent / "c")
    with pytest.raises(InputError, match="no labels of any game with predictions"):
        read_external_games(predictions, tmp_path / "labels")
