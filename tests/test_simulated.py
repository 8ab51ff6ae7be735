"""The simulated season: the same every time, readable as any data set, and a game of football."""

import hashlib
import json

import numpy as np
import pytest

from spotting import timing
from spotting.base.errors import InputError
from spotting.data.halves import check_finite, make_label_matrix, open_dataset, read_split
from spotting.data.simulated import scene as simulated_scene
from spotting.data.simulated import season as simulated
from spotting.data.simulated.play import CHAPTERS, play_half

FOLLOWS = {
    # Event: what must come next among these classes, and after how many seconds at most.
    "Goal": (("Kick-off",), 45),
    "Ball out of play": (("Throw-in", "Corner"), 30),
    "Foul": (("Direct free-kick",), 35),
    "Offside": (("Indirect free-kick",), 20),
}


def digest(match):
    content = hashlib.sha256()
    for features in match.features:
        content.update(features.tobytes())
    content.update(json.dumps(match.annotations).encode())
    return content.hexdigest()


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    root = tmp_path_factory.mktemp("season")
    simulated.write_season(root, seed=3, games=(3, 1, 2))
    return root


def test_the_same_seed_plays_the_same_match_and_another_seed_another_one():
    first, again, other = (
        digest(simulated.simulate_match(np.random.default_rng(seed), 60)) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_the_season_reads_without_a_warning(season):
    dataset = open_dataset(season)
    assert dataset.name == "simulated_season"
    assert dataset.classes == simulated.CLASSES
    assert [len(dataset.games(split)) for split in ("train", "valid", "test")] == [3, 1, 2]
    for split in dataset.splits:
        halves, problems = read_split(dataset, split)
        assert not problems.unknown_labels
        assert not problems.beyond_end
        check_finite(halves)
        for half in halves:
            features = half.load()
            assert features.dtype == np.float16
            assert features.shape == (half.num_frames, dataset.feature_dim)
            assert 600 < half.num_frames / dataset.frame_rate < 720


def test_features_are_standardised(season):
    halves, _ = read_split(open_dataset(season), "train")
    features = np.concatenate([half.load() for half in halves]).astype(np.float32)
    assert abs(features.mean()) < 0.2
    assert 0.7 < features.std() < 1.5
    assert features.std(axis=0).min() > 0.5


def test_every_class_happens_and_no_two_events_of_one_fall_together(season):
    dataset = open_dataset(season)
    halves, _ = read_split(dataset, "train")
    labels = [make_label_matrix(half, dataset.classes, 2.0, "position")[0] for half in halves]
    assert (sum(matrix.sum(axis=0) for matrix in labels) >= 3).all()
    assert sum(matrix.sum() for matrix in labels) == sum(len(half.events) for half in halves)


def test_game_time_and_position_are_the_same_moment(season):
    halves, _ = read_split(open_dataset(season), "valid")
    for half in halves:
        for event in half.events:
            assert event.game_time == round(event.position)
            assert timing.event_frame(event.position, 2.0, half.num_frames) < half.num_frames


def test_events_follow_one_another_as_in_football(season):
    dataset = open_dataset(season)
    seen = set()
    for split in dataset.splits:
        for half in read_split(dataset, split)[0]:
            events = sorted(half.events, key=lambda event: event.position)
            assert events[0].label == "Kick-off"
            for event, following in zip(events, [*events[1:], None], strict=True):
                if event.label in FOLLOWS:
                    labels, seconds = FOLLOWS[event.label]
                    assert following is not None
                    assert following.label in labels
                    assert 0 < following.position - event.position < seconds
                    seen.add(event.label)
    assert seen == set(FOLLOWS)


def test_the_score_in_a_games_name_counts_its_goals(season):
    for game in open_dataset(season).games("train"):
        annotations = json.loads((season / game / "Labels-v2.json").read_text())["annotations"]
        goals = [entry["team"] for entry in annotations if entry["label"] == "Goal"]
        assert f" {goals.count('home')} - {goals.count('away')} " in game


def test_some_events_are_not_shown(season):
    events = [
        event for half in read_split(open_dataset(season), "train")[0] for event in half.events
    ]
    hidden = sum(not event.visible for event in events) / len(events)
    assert 0.01 < hidden < 0.3


def test_every_action_has_cues_and_every_cue_a_signal():
    actions = {
        action.kind
        for seed in range(8)
        for action in play_half(np.random.default_rng(seed), 1, 600).actions
    }
    actions |= set(simulated_scene.DISTRACTORS)
    assert actions == set(simulated_scene.CUES)
    assert set(simulated.CLASSES) < actions
    for cues in simulated_scene.CUES.values():
        for cue in cues:
            assert cue.signal in simulated_scene.SIGNALS
            assert cue.begin <= cue.peak <= cue.peak + cue.hold <= cue.end
    assert sum(CHAPTERS.values()) == pytest.approx(1)


def test_close_ups_hide_the_pitch_and_replays_show_it_again():
    rng = np.random.default_rng(0)
    play = play_half(rng, 1, 600)
    signals, live = simulated_scene.broadcast(play, rng)
    named = dict(zip(simulated_scene.SIGNALS, signals.T, strict=True))
    close_up = named["close-up"] == 1
    assert close_up.any()
    assert not live[close_up].any()
    assert all((named[name][close_up] == 0).all() for name in simulated_scene.PITCH)

    start = np.flatnonzero(named["replay"])[0]
    slow = named["ball x"][start : start + 10]
    # Ten frames of a replay show what five frames of the match did, shortly before.
    before = [
        np.interp(np.arange(10) / 2, np.arange(5), named["ball x"][t : t + 5]) for t in range(start)
    ]
    assert min(np.abs(slow - path).max() for path in before) < 0.1


def test_each_half_has_a_look_of_its_own():
    rng = np.random.default_rng(0)
    signals = np.zeros((100, len(simulated_scene.SIGNALS)))
    one, other = (simulated_scene.film(signals, rng).astype(float) for _ in range(2))
    within = np.abs(one[:50].mean(axis=0) - one[50:].mean(axis=0)).mean()
    between = np.abs(one.mean(axis=0) - other.mean(axis=0)).mean()
    assert between > 2 * within


def test_a_complete_season_is_left_as_it_is_and_an_unfinished_one_is_redone(tmp_path):
    arguments = {"seed": 1, "games": (1, 1, 1), "duration": 30}
    simulated.write_season(tmp_path, **arguments)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == 1 + 3 * 3

    feature_file = next(path for path in files if path.suffix == ".npy")
    feature_file.write_bytes(b"")
    simulated.write_season(tmp_path, **arguments)
    assert feature_file.read_bytes() == b""

    (tmp_path / "dataset.json").unlink()
    simulated.write_season(tmp_path, **arguments)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_a_folder_of_other_matches_is_refused(tmp_path):
    simulated.write_season(tmp_path, games=(1, 0, 0), duration=30)
    with pytest.raises(InputError, match="delete the folder"):
        simulated.write_season(tmp_path, games=(1, 0, 0), duration=31)
    for content in ("{", "[]", '{"name": "mine"}'):
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(InputError, match="choose another folder"):
            simulated.write_season(tmp_path)
