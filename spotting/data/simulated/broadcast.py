"""A simulated half as television shows it: which camera is on when, and where it points.

The main camera, high in the main stand, follows the ball with a lag and zooms with the play. While
the ball is out of play the director cuts to close-ups of whom the action was about, to the crowd,
and to slow-motion replays from a lower camera, between two wipes. Most cuts are back before play
goes on; some are not, and hide what happens then.

Everything is drawn from what `players` moves: there is no caption, no score and no clock.
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from spotting.data.simulated import drawing
from spotting.data.simulated.drawing import PICTURE_HEIGHT, PICTURE_WIDTH, Camera, Moment, Stadium
from spotting.data.simulated.play import Action, Play
from spotting.data.simulated.players import (
    LYING,
    RATE,
    STOPS,
    Motion,
    find_restart,
    make_drift,
    move_players,
    smooth,
)

FRAME_RATE = RATE
"""Of the video: a picture for each step of the motion. Features take 2 a second of them; 10 are
enough for people to see what happens, and cost two fifths of what 25 would."""

View = Literal["close-up", "pitch side", "crowd", "replay"]


class Cut(NamedTuple):
    """What the director may cut to after an action, and with what probability.

    `delay` from the action and `length` of the shot are in seconds, at least and at most.
    """

    view: View
    chance: float
    delay: tuple[float, float]
    length: tuple[float, float]


CUTS: Mapping[str, Sequence[Cut]] = {
    "Goal": (
        Cut("close-up", 1.0, (2.2, 3.2), (2.5, 4)),
        Cut("replay", 1.0, (6.5, 8), (8, 10)),
    ),
    "Shots off target": (
        Cut("close-up", 0.6, (1.8, 3), (2, 3)),
        Cut("replay", 0.4, (5, 6), (6, 8)),
    ),
    "save": (Cut("close-up", 0.2, (2.5, 3.5), (2, 3)),),
    "Ball out of play": (Cut("close-up", 0.3, (1.8, 2.8), (2, 3)),),
    "Foul": (
        Cut("close-up", 0.6, (2, 3.5), (2.5, 4)),
        Cut("replay", 0.3, (6.5, 8), (6, 8)),
    ),
    "Offside": (Cut("close-up", 0.5, (1.6, 2.4), (2, 3)),),
    "treatment": (
        Cut("close-up", 0.8, (3, 4.5), (4, 6)),
        Cut("replay", 0.3, (8, 9), (6, 8)),
    ),
    "final whistle": (Cut("close-up", 0.5, (2, 3), (3, 4)),),
    # Before a restart, to whom everybody waits for.
    "Kick-off": (Cut("close-up", 0.3, (-7, -6), (2, 3)),),
    "Throw-in": (Cut("close-up", 0.15, (-3.5, -3), (1.6, 2.2)),),
    "Corner": (Cut("pitch side", 0.7, (-5.5, -4.5), (2.5, 3.5)),),
    "Direct free-kick": (Cut("pitch side", 0.6, (-5.5, -4.5), (2.5, 3.5)),),
    "Indirect free-kick": (Cut("close-up", 0.3, (-4.5, -4), (2, 2.6)),),
    "goal kick": (Cut("close-up", 0.4, (-5, -4), (2, 3)),),
    "cutaway": (Cut("close-up", 0.7, (0, 0), (2, 3.5)), Cut("crowd", 1.0, (0, 0), (2, 3.5))),
}
"""What the director may show after each action, the likelier of two that overlap first."""

DISTRACTORS: Mapping[str, float] = {"chant": 0.35, "cutaway": 0.25, "duel": 0.5}
"""Actions at any time, whatever is being played: how many in a minute."""

ZOOM: Mapping[str, tuple[float, float, float]] = {
    "Kick-off": (46, -6, 2.5),
    "Throw-in": (22, -4, 0.8),
    "Corner": (30, -4, 2),
    "Direct free-kick": (26, -5, 0.8),
    "Indirect free-kick": (28, -4, 0.8),
    "Foul": (22, 1, 4),
}
"""How wide the main camera's picture is around some actions: metres, and from when to when."""

BACK_IN_TIME = 0.85
"""Probability that the director is back before play goes on, and does not miss it."""

REPLAY_SPEED = 0.5
REPLAY_LEAD = 3.5
"""A replay begins this many seconds before its action."""

WIPE = 0.3
"""Seconds from the start of a wipe to the moment when it covers the picture."""


class Shot(NamedTuple):
    """A time when the main camera is not on.

    Attributes:
      begin, end: in seconds of the half.
      view: what is shown instead.
      source: the time that is shown at `begin`, later than which only a replay's differs.
      who: the person of a close-up.
      bearing: of the camera, between -1 and 1.
      size: of what the picture shows: metres in height of a close-up, in width of the others.
    """

    begin: float
    end: float
    view: View
    source: float
    who: int
    bearing: float
    size: float

    def shown_time(self, time: float) -> float:
        """The time of the half that is shown at a time of the half."""
        speed = REPLAY_SPEED if self.view == "replay" else 1.0
        return self.source + speed * (time - self.begin)


@dataclasses.dataclass(frozen=True)
class Broadcast:
    """A half as it is shown: everything that its pictures depend on, before they are drawn.

    Attributes:
      motion: who is where when.
      shots: when the main camera is not on; in order, none overlaps another.
      position: [3], of the main camera.
      target: [N, 3], where it points, and
      focal: [N], its focal length in pixels, in each frame.
      wipe: two colours, uint32, of the wipes.
    """

    motion: Motion
    shots: tuple[Shot, ...]
    position: np.ndarray
    target: np.ndarray
    focal: np.ndarray
    wipe: np.ndarray

    @property
    def num_frames(self) -> int:
        """Pictures in the half, at FRAME_RATE."""
        return len(self.focal)

    def shot_at(self, time: float) -> Shot | None:
        """The shot on air, or None while the main camera is."""
        return next((shot for shot in self.shots if shot.begin <= time < shot.end), None)

    def is_live(self, time: float) -> bool:
        """Whether a camera with a view of the pitch shows what happens at this time."""
        shot = self.shot_at(time)
        return shot is None or shot.view == "pitch side"

    def pictures(self, stadium: Stadium) -> Iterator[np.ndarray]:
        """Draws the half, frame after frame, as packed pixels (see `drawing`)."""
        for frame in range(self.num_frames):
            yield self.picture(stadium, frame)

    def picture(self, stadium: Stadium, frame: int) -> np.ndarray:
        """Draws one frame."""
        time = frame / FRAME_RATE
        shot = self.shot_at(time)
        shown = time if shot is None else shot.shown_time(time)
        moment = _make_moment(self.motion, shown)
        picture = drawing.draw(stadium, self._camera(shot, time, moment), moment)
        for other in self.shots:
            if other.view == "replay":
                for cut in (other.begin, other.end):
                    if abs(time - cut) < WIPE:
                        _draw_wipe(picture, (time - cut) / WIPE, self.wipe)
        return picture

    def _camera(self, shot: Shot | None, time: float, moment: Moment) -> Camera:
        frame = min(int(moment.time * FRAME_RATE), self.num_frames - 1)
        if shot is None:
            return Camera(self.position, self.target[frame], float(self.focal[frame]))
        since = time - shot.begin
        if shot.view == "close-up":
            lying = moment.pose[shot.who] == LYING
            person = np.append(moment.people[shot.who], 0.5 if lying else 1.3)
            # Held by hand.
            person[[0, 2]] += 0.03 * np.sin(1.7 * since), 0.02 * np.sin(2.3 * since)
            size = max(shot.size, 2.4) if lying else shot.size
            place = person + np.array([6 * shot.bearing, -13, 0.6])
            return _aim(place, person, size * PICTURE_WIDTH / PICTURE_HEIGHT, close=True)
        if shot.view == "crowd":
            seats = np.array([40 * shot.bearing + 1.5 * since, drawing.STAND_Y, 6.0])
            return _aim(self.position, seats, shot.size)
        target = 0.4 * self.target[frame] + 0.6 * np.append(moment.ball[:2], 0.8)
        place = np.array([np.sign(target[0]) * 34, -46.0, 7.0])
        if shot.view == "pitch side":
            box = np.array([np.sign(target[0]) * 42, 0, 0]) - target
            target += box * min(4 / np.linalg.norm(box), 1)
            place[2] = 3.0
        elif shot.bearing < 0:
            place = self.position
        return _aim(place, target, shot.size)


def plan_broadcast(play: Play, rng: np.random.Generator) -> Broadcast:
    """Directs the broadcast of a half that has been played; draws nothing yet."""
    shown = copy.copy(play)
    shown.actions = sorted([*play.actions, *_draw_distractors(play.time, rng)])
    motion = move_players(shown, rng)
    position = np.array([rng.uniform(-2, 2), -rng.uniform(66, 72), rng.uniform(17, 21)])
    target, focal = _follow(motion, shown, position, rng)
    colours = drawing.pack(rng.uniform(30, 230, (2, 3)))
    return Broadcast(motion, _direct(shown, motion, rng), position, target, focal, colours)


def _draw_distractors(duration: float, rng: np.random.Generator) -> list[Action]:
    return [
        Action(time, kind, int(rng.integers(2)))
        for kind, per_minute in DISTRACTORS.items()
        for time in rng.uniform(0, duration, rng.poisson(per_minute * duration / 60))
    ]


def _direct(play: Play, motion: Motion, rng: np.random.Generator) -> tuple[Shot, ...]:
    """The shots of a half."""
    shots: list[Shot] = []
    for action, who in zip(play.actions, motion.key, strict=True):
        for cut in CUTS.get(action.kind, ()):
            begin = action.time + rng.uniform(*cut.delay)
            end = begin + rng.uniform(*cut.length)
            bearing = rng.uniform(-1, 1)
            size = {
                "close-up": rng.uniform(1.3, 2.5),
                "replay": rng.uniform(18, 24),
                "pitch side": rng.uniform(13, 18),
                "crowd": rng.uniform(22, 32),
            }[cut.view]
            back, chosen = rng.random() < BACK_IN_TIME, rng.random() < cut.chance
            if action.kind in STOPS:
                restart, early = find_restart(play, action), rng.uniform(0.8, 2.5)
                if back:
                    end = min(end, restart - early)
                elif begin + 8 > restart > end:
                    end = restart + 0.5 * early
            free = all(end <= shot.begin or begin >= shot.end for shot in shots)
            if chosen and free and begin > 0 and end - begin > 1.5 and end < play.time:
                source = action.time - REPLAY_LEAD if cut.view == "replay" else begin
                shots.append(Shot(begin, end, cut.view, max(source, 0), who, bearing, size))
    return tuple(sorted(shots))


def _follow(
    motion: Motion, play: Play, position: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Target [N, 3] and focal length [N] of the main camera in each frame."""
    num_frames = len(motion.ball)
    seconds = np.arange(num_frames) / FRAME_RATE
    lag = rng.integers(0, 3)
    ball = smooth(motion.ball[np.maximum(np.arange(num_frames) - lag, 0)], 0.5)
    target = np.zeros((num_frames, 3))
    target[:, 0] = np.clip(ball[:, 0], -51, 51)
    target[:, 1] = 0.8 * ball[:, 1] - 1
    shake = make_drift(num_frames, 2, rng)
    target[:, :2] += 0.8 * shake[:, 0]
    width = 38 - 5 * (np.abs(ball[:, 0]) > 33) - 7.0 * motion.stopped
    for action in play.actions:
        if action.kind in ZOOM:
            size, begin, end = ZOOM[action.kind]
            width[(seconds > action.time + begin) & (seconds < action.time + end)] = size
    width = smooth(width, 0.8) + 1.5 * shake[:, 1, 0]
    focal = PICTURE_WIDTH * np.linalg.norm(target - position, axis=1) / np.maximum(width, 16)
    return target, focal


def _aim(position: np.ndarray, target: np.ndarray, width: float, close: bool = False) -> Camera:
    """A camera whose picture is `width` metres wide at the target."""
    distance = float(np.linalg.norm(np.asarray(target) - position))
    return Camera(position, target, PICTURE_WIDTH * distance / width, close)


def _make_moment(motion: Motion, time: float) -> Moment:
    step = np.clip(time * RATE, 0, len(motion.ball) - 1)
    before, share = int(step), step - int(step)
    after = min(before + 1, len(motion.ball) - 1)
    nearest = after if share >= 0.5 else before
    return Moment(
        (1 - share) * motion.ball[before] + share * motion.ball[after],
        (1 - share) * motion.people[before] + share * motion.people[after],
        motion.velocity[nearest],
        motion.pose[nearest],
        float(motion.excitement[nearest]),
        float(step / RATE),
    )


def _draw_wipe(picture: np.ndarray, phase: float, colours: np.ndarray) -> None:
    """A slanting curtain that crosses the picture; at phase 0, of -1 to 1, it covers it."""
    column = np.arange(PICTURE_WIDTH) + 0.35 * np.arange(PICTURE_HEIGHT)[:, None]
    column -= phase * 1.4 * PICTURE_WIDTH + 0.35 * PICTURE_HEIGHT / 2
    covered = (column > -0.2 * PICTURE_WIDTH) & (column < 1.2 * PICTURE_WIDTH)
    stripes = colours[(column // 40).astype(int) % 2]
    np.copyto(picture, stripes, where=covered)
