"""The season that draws itself: the same pictures every time, in which every event can be seen."""

import dataclasses
import json
from itertools import islice

import numpy as np
import pytest

from spotting.base.errors import InputError
from spotting.data.dataset import describe_dataset
from spotting.data.simulated import drawing, season_video
from spotting.data.simulated.broadcast import (
    FRAME_RATE,
    REPLAY_LEAD,
    REPLAY_SPEED,
    WIPE,
    plan_broadcast,
)
from spotting.data.simulated.drawing import PICTURE_HEIGHT, PICTURE_WIDTH, Camera, build_stadium
from spotting.data.simulated.play import play_half
from spotting.data.simulated.players import (
    ARMS_UP,
    ASSISTANTS,
    FLAG_UP,
    HALF_PITCH,
    HOLDS_BALL,
    LYING,
    NUM_PEOPLE,
    ONE_ARM_UP,
    REFEREE,
    TEAM_SIZE,
    attack_sign,
)
from spotting.data.simulated.season import CLASSES

SEEN_BY_EXTRACTORS = 224  # columns in the middle


@pytest.fixture(scope="module")
def halves():
    """Sixteen halves: (half, what happens, broadcast)."""
    return [
        (half, *season_video.plan_half(7, match, half, 120.0))
        for match in range(8)
        for half in (1, 2)
    ]


@pytest.fixture(scope="module")
def stadium():
    return build_stadium(np.random.default_rng(0))


def events(halves, kind):
    for half, actions, broadcast in halves:
        for action in actions:
            if action.kind == kind:
                yield half, action, broadcast


def at(broadcast, time):
    """Index of the step at a time."""
    return min(int(time * FRAME_RATE), broadcast.num_frames - 1)


def main_camera(broadcast, step):
    return Camera(broadcast.position, broadcast.target[step], float(broadcast.focal[step]))


def team_of(person):
    return person // TEAM_SIZE


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others():
    def pictures(seed):
        rng = np.random.default_rng(seed)
        broadcast = plan_broadcast(play_half(rng, 1, 5.0, 0.5), rng)
        stadium = build_stadium(rng)
        return np.stack([broadcast.picture(stadium, frame) for frame in (0, 40, 90)])

    first = pictures(5)
    np.testing.assert_array_equal(first, pictures(5))
    assert (first != pictures(6)).mean() > 0.5


def test_labels_are_what_was_played_and_say_what_was_shown(halves):
    hidden = total = 0
    for half, actions, broadcast in halves:
        planned = season_video.VideoHalf(actions, broadcast)
        labels = season_video.annotate_half(half, planned)
        played = [action for action in actions if action.kind in CLASSES]
        assert [entry["label"] for entry in labels] == [action.kind for action in played]
        for entry, action in zip(labels, played, strict=True):
            assert abs(int(entry["position"]) / 1000 - action.time) < 0.001
            assert (entry["visibility"] == "visible") == broadcast.is_live(action.time)
            hidden += entry["visibility"] == "not shown"
            total += 1
    assert 0 < hidden / total < 0.2
    assert {action.kind for _, actions, _ in halves for action in actions} >= set(CLASSES)


def test_the_main_camera_has_every_event_in_the_columns_that_extractors_see(halves):
    for kind in CLASSES:
        seen = []
        for _, action, broadcast in events(halves, kind):
            step = at(broadcast, action.time)
            column, row, _ = main_camera(broadcast, step).project(broadcast.motion.ball[step])
            aside = abs(column - PICTURE_WIDTH / 2)
            seen.append(aside < SEEN_BY_EXTRACTORS / 2 and 0 < row < PICTURE_HEIGHT)
        assert np.mean(seen) >= 0.75, kind


def test_every_class_has_a_scene_of_its_own(halves):
    """What a person would tell each class by, in the motion that is drawn."""

    def own_half(half, action, motion, step):
        sign = np.array([attack_sign(team_of(i), half) for i in range(REFEREE)])
        return (sign * motion.people[step, :REFEREE, 0] < 1.0).mean() > 0.85

    def ball_in_net(half, action, motion, step):
        x, y, _ = motion.ball[min(step + 1, len(motion.ball) - 1)]
        arms = (motion.pose[min(step + 30, len(motion.ball) - 1)] == ARMS_UP).sum()
        return abs(x) > HALF_PITCH[0] - 1 and abs(y) < 3.7 and arms >= 5

    def ball_beside_net(half, action, motion, step):
        track = motion.ball[step : step + 12]
        return (np.abs(track[:, 0]) > HALF_PITCH[0]).any() and np.abs(track[:, 1]).max() > 3.7

    def ball_over_a_line(half, action, motion, step):
        track = np.abs(motion.ball[step : step + 5, :2]).max(axis=0)
        return (track > HALF_PITCH).any()

    def ball_in_hands(half, action, motion, step):
        thrower = np.flatnonzero(motion.pose[step - 5] == HOLDS_BALL)
        away = motion.people[step - 5, thrower] - motion.ball[step - 5, :2]
        return len(thrower) == 1 and np.linalg.norm(away) < 2

    def full_box(half, action, motion, step):
        people = motion.people[step, :REFEREE]
        in_box = (np.abs(people[:, 0]) > 36) & (np.abs(people[:, 1]) < 21)
        return in_box.sum() >= 10 and (np.abs(motion.ball[step, :2]) > HALF_PITCH - 1).all()

    def player_down(half, action, motion, step):
        lying = np.flatnonzero(motion.pose[min(step + 10, len(motion.pose) - 1)] == LYING)
        away = motion.people[step, lying] - motion.ball[step, :2]
        return len(lying) and np.linalg.norm(away, axis=1).min() < 3

    def wall(half, action, motion, step):
        away = np.linalg.norm(motion.people[step, :REFEREE] - motion.ball[step, :2], axis=1)
        others = np.array([team_of(i) != action.team for i in range(REFEREE)])
        return (others & (np.abs(away - 9.2) < 0.8)).sum() >= 4

    def flag(half, action, motion, step):
        later = min(step + 10, len(motion.pose) - 1)
        return (motion.pose[later, list(ASSISTANTS)] == FLAG_UP).any()

    def referees_arm(half, action, motion, step):
        return motion.pose[step - 5, REFEREE] == ONE_ARM_UP and abs(motion.ball[step, 0]) > 25

    scenes = {
        "Kick-off": own_half,
        "Goal": ball_in_net,
        "Shots off target": ball_beside_net,
        "Ball out of play": ball_over_a_line,
        "Throw-in": ball_in_hands,
        "Corner": full_box,
        "Foul": player_down,
        "Direct free-kick": wall,
        "Offside": flag,
        "Indirect free-kick": referees_arm,
    }
    assert set(scenes) == set(CLASSES)
    for kind, scene in scenes.items():
        found = [
            bool(scene(half, action, broadcast.motion, at(broadcast, action.time)))
            for half, action, broadcast in events(halves, kind)
        ]
        assert len(found) >= 2
        assert np.mean(found) > 0.85, kind


def test_a_picture_shows_what_the_camera_projects(stadium):
    camera = Camera(np.array([3.0, -68.0, 18.0]), np.array([4.0, -2.0, 0.0]), 600.0)
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(
        camera.project(camera.target)[:2], (PICTURE_WIDTH / 2, PICTURE_HEIGHT / 2)
    )
    empty = drawing.Moment(
        ball=np.array([0.0, -200.0, 0.0]),
        people=np.full((NUM_PEOPLE, 2), -300.0),
        velocity=np.zeros((NUM_PEOPLE, 2)),
        pose=np.zeros(NUM_PEOPLE, int),
        excitement=0.0,
        time=0.0,
    )
    ground = drawing.draw(stadium, camera, empty)
    people = empty.people.copy()
    people[3] = -8.0, 12.0
    changed = ground != drawing.draw(stadium, camera, empty._replace(people=people))
    rows, columns = np.nonzero(changed)
    column, row, depth = camera.project(np.array([-8.0, 12.0, 0.0]))
    tall = camera.focal * 1.85 / depth
    assert abs(np.median(columns) - column) < tall
    assert row - 1.2 * tall < rows.min() < row - 0.8 * tall

    # The centre line's and the far touch line's pixels are the brightest of those around them.
    luma = drawing.unpack(ground)[..., :3].astype(float).sum(axis=2)
    for y in (-15.0, 5.0, 25.0):
        column, row, _ = camera.project(np.array([0.0, y, 0.0]))
        around = luma[int(row), int(column) - 12 : int(column) + 13]
        assert abs(int(np.argmax(around)) - 12) <= 1
    column, row, _ = camera.project(np.array([9.0, HALF_PITCH[1], 0.0]))
    around = luma[int(row) - 5 : int(row) + 6, int(column)]
    assert abs(int(np.argmax(around)) - 5) <= 1


def test_there_is_nothing_in_a_picture_but_the_match(halves, stadium):
    """No caption, clock or score: away from wipes a picture is what a camera sees."""
    _, _, broadcast = halves[0]
    cuts = [t for s in broadcast.shots if s.view == "replay" for t in (s.begin, s.end)]
    for frame in range(3, broadcast.num_frames, 151):
        time = frame / FRAME_RATE
        if broadcast.shot_at(time) or any(abs(time - cut) < WIPE for cut in cuts):
            continue
        motion = broadcast.motion
        moment = drawing.Moment(
            motion.ball[frame],
            motion.people[frame],
            motion.velocity[frame],
            motion.pose[frame],
            float(motion.excitement[frame]),
            time,
        )
        drawn = drawing.draw(stadium, main_camera(broadcast, frame), moment)
        np.testing.assert_array_equal(broadcast.picture(stadium, frame), drawn)
    # And all that is drawn of an action is where people and the ball are, and how they stand.
    assert set(drawing.Moment._fields) == {
        *("ball", "people", "velocity", "pose", "excitement", "time")
    }


def test_cuts_follow_one_another_and_replays_show_the_action_again_slowly(halves, stadium):
    views = set()
    for _, actions, broadcast in halves:
        for shot, following in zip(broadcast.shots, broadcast.shots[1:], strict=False):
            assert shot.begin < shot.end <= following.begin
        for shot in broadcast.shots:
            views.add(shot.view)
            if shot.view != "replay":
                assert shot.shown_time(shot.end) == pytest.approx(shot.end)
                continue
            again = [a for a in actions if abs(a.time - REPLAY_LEAD - shot.source) < 1e-6]
            assert again
            shows = shot.begin + REPLAY_LEAD / REPLAY_SPEED
            assert shot.shown_time(shows) == pytest.approx(again[0].time)
    assert views >= {"close-up", "pitch side", "replay"}

    # A wipe covers the picture at both ends of a replay.
    broadcast = next(b for _, _, b in halves if any(s.view == "replay" for s in b.shots))
    replay = next(shot for shot in broadcast.shots if shot.view == "replay")
    moved = dataclasses.replace(
        broadcast, shots=(replay._replace(begin=30.0, end=36.0, source=20.0),)
    )
    for frame in (300, 360):
        assert len(np.unique(moved.picture(stadium, frame))) == 2
    assert len(np.unique(moved.picture(stadium, 330))) > 100


@pytest.mark.slow
def test_the_files_hold_the_pictures_and_an_interrupted_season_is_finished(tmp_path, monkeypatch):
    av = pytest.importorskip("av")
    draw_half = season_video.draw_half
    monkeypatch.setattr(season_video, "draw_half", lambda *half: islice(draw_half(*half), 60))

    def write(**changed):
        arguments = {"seed": 2, "games": (1, 0, 0), "duration": 1.0, "workers": 1, **changed}
        return season_video.write_season_videos(tmp_path, "lite0", 2.0, 1280, **arguments)

    def read(path):
        with av.open(str(path)) as container:
            assert container.streams.video[0].average_rate == FRAME_RATE
            assert len(container.streams) == 1
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

    calls = []
    files = write(progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
    dataset = describe_dataset(tmp_path)
    assert (dataset.features, dataset.feature_dim, dataset.frame_rate) == ("lite0", 1280, 2.0)
    assert dataset.classes == CLASSES
    assert list(files) == list(dataset.games("train"))
    game, (first, second) = next(iter(files.items()))
    assert (first.name, second.name) == ("1.mp4", "2.mp4")
    labels = json.loads((tmp_path / game / "Labels-v2.json").read_text())["annotations"]
    assert labels[0]["label"] == "Kick-off"

    pictures = read(second)
    planned = season_video.plan_half(2, 0, 2, 1.0)
    assert len(pictures) == 60 < planned.broadcast.num_frames
    stadium = build_stadium(np.random.default_rng([2, 0]))
    for frame in (5, len(pictures) - 1):
        drawn = drawing.unpack(planned.broadcast.picture(stadium, frame))[..., :3]
        assert np.abs(drawn.astype(int) - pictures[frame]).mean() < 8

    kept = first.stat().st_mtime_ns
    second.unlink()
    write()
    assert first.stat().st_mtime_ns == kept
    np.testing.assert_array_equal(read(second)[40], pictures[40])
    with pytest.raises(InputError, match="delete the folder"):
        write(seed=3)
