"""Where everybody stands in a simulated half: 22 players, the officials and the ball.

`play` says what happens when and where the ball is; this module puts people around it. In open play
each team keeps a formation that shifts with the ball, and its nearest players go for the ball. Each
action of the play then gathers those whom it concerns: two teams in their own halves for a
kick-off, a full box for a corner, a wall for a free-kick, a heap of scorers after a goal. It is
these gatherings, and what people do with their arms, that tell one class from another.

Positions are in metres from the centre spot: x along the pitch, y away from the main stand, z up.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from spotting.data.simulated.play import Action, Play

RATE = 10.0
"""Steps per second of the motion; in between it is even."""

LENGTH, WIDTH = 105.0, 68.0
HALF_PITCH = np.array([LENGTH / 2, WIDTH / 2])
GOAL_WIDTH, GOAL_HEIGHT = 7.32, 2.44

TEAM_SIZE = 11
REFEREE = 2 * TEAM_SIZE
ASSISTANTS = (REFEREE + 1, REFEREE + 2)  # on the far touch line, and on the near one
PHYSIOS = (REFEREE + 3, REFEREE + 4)
NUM_PEOPLE = REFEREE + 5
"""People are numbered: 0 to 10 the home team, 11 to 21 the away team, each led by its keeper."""

# Poses.
UPRIGHT, ARMS_UP, HANDS_ON_HEAD, LYING, ONE_ARM_UP, HOLDS_BALL, FLAG_UP, KNEELING = range(8)

FORMATION = np.array(
    [
        *[(-50, 0)],
        *[(-32, -22), (-36, -8), (-36, 8), (-32, 22)],
        *[(-12, -24), (-16, -8), (-16, 8), (-12, 24)],
        *[(6, -8), (6, 8)],
    ],
    float,
)
"""Of a team that attacks the goal at +x, with the ball in the middle."""

STOPS = ("Goal", "Shots off target", "Ball out of play", "Foul", "Offside", "treatment")
RESTARTS = (
    "Kick-off",
    "Throw-in",
    "Corner",
    "Direct free-kick",
    "Indirect free-kick",
    "goal kick",
)


class Motion(NamedTuple):
    """What moves in a half, `RATE` steps per second.

    Attributes:
      ball: [N, 3].
      people: [N, NUM_PEOPLE, 2]; their feet.
      velocity: [N, NUM_PEOPLE, 2] in m/s, of the people.
      pose: int8 [N, NUM_PEOPLE], one of the constants above.
      excitement: [N]; of the crowd, 0 to 1.
      stopped: bool [N]; the ball is out of play.
      key: for each action of the play, the person that a camera would show: scorer, taker, ...
    """

    ball: np.ndarray
    people: np.ndarray
    velocity: np.ndarray
    pose: np.ndarray
    excitement: np.ndarray
    stopped: np.ndarray
    key: list[int]


class Gathering(NamedTuple):
    """Where an action wants people, and when.

    They set out at `begin`, are there from `there` to `leave`, and back in formation at `end`; all
    in seconds from the action. `places` has a row (x, y) for each of them, NaN for the others.
    """

    begin: float
    there: float
    leave: float
    end: float
    places: np.ndarray


def attack_sign(team: int, half: int) -> int:
    """1 if the team attacks the goal at +x in this half, else -1."""
    return 1 if (team + half) % 2 else -1


def move_players(play: Play, rng: np.random.Generator) -> Motion:
    """Puts people around the ball of a half that has been played."""
    num_steps = int(play.time * RATE)
    seconds = np.arange(num_steps) / RATE
    ball = _place_ball(play, seconds)
    stopped = _find_stops(play, seconds)
    people = _keep_formation(play, ball, stopped, rng)
    pose = np.full((num_steps, NUM_PEOPLE), UPRIGHT, np.int8)
    excitement = np.zeros(num_steps)
    keys = []
    last_stop = -np.inf
    for action in play.actions:
        at = min(int(action.time * RATE), num_steps - 1)
        scene = _Scene(action, play.half, ball[at, :2], people[at], rng)
        if action.kind in STOPS:
            last_stop = action.time
        for gathering in GATHERINGS.get(action.kind, _nobody)(scene):
            begin, there = gathering.begin, gathering.there
            if action.kind in RESTARTS:  # nobody leaves before play has stopped
                begin = max(begin, last_stop + 1.0 - action.time)
                there = max(there, min(begin + 1.5, 0.0))
            gathering = gathering._replace(begin=begin, there=there)
            _gather(people, seconds - action.time, gathering)
        keys.append(scene.key)
        for who, what, begin, end in scene.poses:
            pose[_span(action.time + begin, action.time + end, num_steps), who] = what
        if action.kind in EXCITEMENT:
            height, peak, end = EXCITEMENT[action.kind]
            height *= rng.uniform(0.6, 1.2)
            rise = np.interp(seconds - action.time, [-1.5, peak, end], [0, height, 0], 0, 0)
            excitement = np.maximum(excitement, rise)
    people = smooth(people, 0.35)
    velocity = np.gradient(people, 1 / RATE, axis=0)
    excitement = np.clip(excitement + _make_crowd_noise(seconds, rng), 0, 1)
    return Motion(ball, people, velocity, pose, excitement, stopped, keys)


def _place_ball(play: Play, seconds: np.ndarray) -> np.ndarray:
    time, x, y = np.array(play.path).T
    ground = np.stack([np.interp(seconds, time, axis) for axis in (x, y)], axis=1) * HALF_PITCH
    height = np.zeros_like(seconds)
    spots = np.stack([x, y], axis=1) * HALF_PITCH
    for begin, end, length in zip(
        time, time[1:], np.linalg.norm(np.diff(spots, axis=0), axis=1), strict=False
    ):
        if end > begin and length / (end - begin) > 13:  # a long ball flies
            share = np.clip((seconds - begin) / (end - begin), 0, 1)
            height += 0.5 * min(length, 30) / 3 * 4 * share * (1 - share) / 2
    # The thrower holds the ball above the head.
    for action in play.actions:
        if action.kind == "Throw-in":
            since = seconds - action.time
            height[(since > -2.5) & (since < 0)] = 2.1
            falling = (since >= 0) & (since < 0.6)
            height[falling] = 2.1 * (1 - since[falling] / 0.6)
    return np.concatenate([ground, height[:, None]], axis=1)


def _find_stops(play: Play, seconds: np.ndarray) -> np.ndarray:
    stopped = np.zeros(len(seconds), bool)
    first = next(action.time for action in play.actions if action.kind == "Kick-off")
    stopped[seconds < first] = True
    for action in play.actions:
        if action.kind in STOPS:
            stopped |= (seconds > action.time + 0.7) & (seconds < find_restart(play, action))
        if action.kind == "final whistle":
            stopped[seconds > action.time] = True
    return stopped


def find_restart(play: Play, action: Action) -> float:
    """When play goes on after an action that stops it; infinity if it does not."""
    for following in play.actions:
        if following.time > action.time and following.kind in RESTARTS:
            return following.time
        if following.time > action.time and following.kind == "final whistle":
            break
    for time, _, _ in play.path:
        if action.kind == "treatment" and time > action.time + 4:
            return time
    return np.inf


def _keep_formation(
    play: Play, ball: np.ndarray, stopped: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Everybody [N, NUM_PEOPLE, 2] as in open play, in formation or chasing the ball."""
    num_steps = len(ball)
    slow = smooth(ball[:, :2], 2.0)
    people = np.zeros((num_steps, NUM_PEOPLE, 2))
    drift = make_drift(num_steps, 2 * TEAM_SIZE, rng) * np.where(stopped, 0.8, 2.5)[:, None, None]
    for team in (0, 1):
        sign = attack_sign(team, play.half)
        places = np.empty((num_steps, TEAM_SIZE, 2))
        places[..., 0] = 0.75 * FORMATION[:, 0] + 0.62 * sign * slow[:, :1] + 4
        places[..., 1] = 0.8 * FORMATION[:, 1] + 0.4 * sign * slow[:, 1:]
        places[:, 0] = np.stack([-49 + 0.06 * sign * slow[:, 0], 0.1 * sign * slow[:, 1]], axis=1)
        members = slice(team * TEAM_SIZE, (team + 1) * TEAM_SIZE)
        people[:, members] = sign * places + drift[:, members]
    people[:, :REFEREE] = np.clip(people[:, :REFEREE], -HALF_PITCH + 1, HALF_PITCH - 1)
    # The nearest of each team go for the ball while it is in play.
    away = ball[:, None, :2] - people[:, :REFEREE]
    distance = np.linalg.norm(away, axis=2).reshape(num_steps, 2, TEAM_SIZE)
    nearness = np.exp(-((distance / 16) ** 2) - (distance - distance.min(2, keepdims=True)) / 2)
    nearness = nearness.reshape(num_steps, REFEREE) * ~stopped[:, None]
    nearness[:, [0, TEAM_SIZE]] *= 0.3
    beside = rng.uniform(-1.2, 1.2, (REFEREE, 2))
    people[:, :REFEREE] += nearness[..., None] * (away + beside)

    people[:, REFEREE] = 0.85 * slow + [0, -7]
    for assistant, y, half_sign in zip(ASSISTANTS, (35.0, -35.0), (1, -1), strict=True):
        # Level with the last defenders of one half of the pitch.
        people[:, assistant, 0] = half_sign * np.clip(half_sign * slow[:, 0] + 8, 0, 50)
        people[:, assistant, 1] = y
    people[:, PHYSIOS] = [(-4, -37), (4, -37)]
    return smooth(people, 0.8)


def _gather(people: np.ndarray, since: np.ndarray, gathering: Gathering) -> None:
    begin, there, leave, end, places = gathering
    weight = np.interp(since, [begin, there, leave, end], [0, 1, 1, 0])
    weight = (weight * weight * (3 - 2 * weight))[:, None, None]
    who = np.flatnonzero(np.isfinite(places[:, 0]))
    people[:, who] += weight * (places[who] - people[:, who])


class _Scene:
    """An action at its moment, for those that arrange people around it."""

    def __init__(
        self,
        action: Action,
        half: int,
        ball: np.ndarray,
        people: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self.team, self.ball, self.rng = action.team, ball, rng
        self.sign = attack_sign(action.team, half)
        self.people = people
        self.poses: list[tuple[int, int, float, float]] = []  # person, pose, begin, end
        near = np.linalg.norm(people[:REFEREE] - ball, axis=1)
        near[[0, TEAM_SIZE]] += 30
        order = np.argsort(near)
        self.own = [int(i) for i in order if i // TEAM_SIZE == self.team and i % TEAM_SIZE]
        self.others = [int(i) for i in order if i // TEAM_SIZE != self.team and i % TEAM_SIZE]
        self.key = self.own[0]

    def beside(self, dx: float, dy: float) -> np.ndarray:
        """The place [2] so many metres from the ball."""
        return self.ball + np.array([dx, dy])

    def keeper(self, team: int) -> int:
        """The goalkeeper of a team."""
        return team * TEAM_SIZE

    def nowhere(self) -> np.ndarray:
        """Places [NUM_PEOPLE, 2] for nobody yet."""
        return np.full((NUM_PEOPLE, 2), np.nan)

    def scatter(
        self, count: int, centre: tuple[float, float], spread: tuple[float, float]
    ) -> np.ndarray:
        """Places [count, 2] around one that the acting team sees at `centre`."""
        places = np.array(centre) + self.rng.uniform(-1, 1, (count, 2)) * spread
        return self.sign * places

    def pose(self, who: int, what: int, begin: float, end: float) -> None:
        """A person takes a pose, from and to so many seconds after the action."""
        self.poses.append((who, what, begin, end))


def _nobody(scene: _Scene) -> list[Gathering]:
    return []


def _line_up(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    for team in (0, 1):
        sign = scene.sign if team == scene.team else -scene.sign
        own = FORMATION * [0.9, 0.85] + [-4, 0]
        own[-2:] = (-9.5, -7), (-9.5, 7)
        members = slice(team * TEAM_SIZE, (team + 1) * TEAM_SIZE)
        places[members] = sign * own + scene.rng.normal(0, 0.5, (TEAM_SIZE, 2))
    takers = scene.team * TEAM_SIZE + 9, scene.team * TEAM_SIZE + 10
    places[takers[0]], places[takers[1]] = (-0.6 * scene.sign, 0.2), (-0.8 * scene.sign, -2.5)
    places[REFEREE] = 1.5, -5.5
    scene.key = takers[0]
    return [Gathering(-9, -2.5, 0.2, 5, places)]


def _celebrate(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    corner = np.array([44.0 * scene.sign, 27.0 * scene.rng.choice([-1, 1])])
    heap = scene.own[:8]
    places[heap] = corner + scene.rng.normal(0, 1.3, (len(heap), 2))
    for who in heap:
        scene.pose(who, ARMS_UP, 1.0 + scene.rng.uniform(0, 1), 9)
    for who in scene.others[:4]:
        scene.pose(who, HANDS_ON_HEAD, 1.2, 5)
    scene.pose(scene.keeper(1 - scene.team), LYING, 0.1, 3.5)
    return [_dive(scene), Gathering(0.6, 4, 8.5, 13, places)]


def _dive(scene: _Scene) -> Gathering:
    places = scene.nowhere()
    y = np.clip(scene.ball[1], -3.5, 3.5) if abs(scene.ball[1]) < 12 else 0.0
    places[scene.keeper(1 - scene.team)] = scene.sign * 51.5, y
    return Gathering(-1.5, 0, 3, 5, places)


def _fill_box(scene: _Scene, begin: float, there: float, leave: float, end: float) -> Gathering:
    places = scene.nowhere()
    attackers, defenders = scene.own[1:6], scene.others[:7]
    places[attackers] = scene.scatter(len(attackers), (43, 0), (5, 11))
    places[defenders] = scene.scatter(len(defenders), (45, 0), (4, 11))
    return Gathering(begin, there, leave, end, places)


def _attack(scene: _Scene) -> list[Gathering]:
    return [_fill_box(scene, -8, -1, 1.5, 7)]


def _miss(scene: _Scene) -> list[Gathering]:
    shooter = scene.own[0]
    for who in scene.own[:3]:
        scene.pose(who, HANDS_ON_HEAD, 1.3, 5.5)
    scene.pose(scene.keeper(1 - scene.team), LYING, 0.5, 2.5)
    places = scene.nowhere()
    places[shooter] = scene.people[shooter]
    return [_dive(scene), Gathering(0, 0.5, 4, 7, places)]


def _save(scene: _Scene) -> list[Gathering]:
    scene.key = scene.keeper(1 - scene.team)
    scene.pose(scene.key, LYING, 0.4, 1.8)
    return [_dive(scene)]


def _goal_kick(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    keeper = scene.keeper(scene.team)
    places[keeper] = scene.ball - [1.0 * scene.sign, 0.3]
    others = scene.own + scene.others
    places[others] = scene.scatter(len(others), (6, 0), (14, 24))
    scene.key = keeper
    return [Gathering(-9, -2, 0.2, 5, places)]


def _throw_in(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    thrower, line = scene.own[0], np.sign(scene.ball[1]) * 34.6
    places[thrower] = scene.ball[0], line
    near = scene.own[1:4] + scene.others[:4]
    places[near] = scene.ball + np.stack(
        [
            scene.rng.uniform(-11, 11, len(near)),
            -np.sign(line) * scene.rng.uniform(4, 14, len(near)),
        ],
        axis=1,
    )
    scene.pose(thrower, HOLDS_BALL, -2.5, 0.3)
    scene.key = thrower
    return [Gathering(-7, -2.6, 0.4, 4, places)]


def _corner(scene: _Scene) -> list[Gathering]:
    taker = scene.own[0]
    places = scene.nowhere()
    places[taker] = scene.beside(0.4 * scene.sign, 0.7 * np.sign(scene.ball[1]))
    scene.pose(taker, ONE_ARM_UP, -2.5, -1.0)
    box = scene.nowhere()
    box[scene.own[1:8]] = scene.scatter(7, (45, 0), (4.5, 9))
    box[scene.others[:9]] = scene.scatter(9, (47, 0), (4, 8))
    box[REFEREE] = scene.sign * 38, 10
    return [Gathering(-8, -2.5, 0.3, 5, places), Gathering(-9, -2.5, 1.6, 7, box)]


def _foul(scene: _Scene) -> list[Gathering]:
    victim, culprit = scene.own[0], scene.others[0]
    down = scene.nowhere()
    down[victim] = scene.beside(0.8, 0)
    down[culprit] = scene.beside(-0.9, 0.8)
    scene.pose(victim, LYING, 0.2, 6)
    around = scene.nowhere()
    near = scene.own[1:4] + scene.others[1:4]
    around[near] = scene.ball + scene.rng.normal(0, 3.5, (len(near), 2))
    around[REFEREE] = scene.beside(2.5, -2.0)
    scene.pose(REFEREE, ONE_ARM_UP, 1.2, 6)
    scene.key = victim if scene.rng.random() < 0.6 else REFEREE
    return [Gathering(-1.5, 0, 6, 8, down), Gathering(-1, 3.5, 6.5, 10, around)]


def _free_kick(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    goal = np.array([scene.sign * 52.5, 0.0])
    toward = (goal - scene.ball) / max(np.linalg.norm(goal - scene.ball), 1.0)
    across = np.array([-toward[1], toward[0]])
    wall = scene.others[:4]
    for place, who in enumerate(wall):
        places[who] = scene.ball + 9.15 * toward + across * (place - 1.5) * 0.75
    places[scene.own[0]] = scene.ball - 1.2 * toward
    places[scene.own[1]] = scene.ball - 1.5 * toward + 2 * across
    places[REFEREE] = scene.ball + 6 * across + 3 * toward
    rest = scene.own[2:7] + scene.others[4:9]
    line = min(44.0, max(20.0, scene.sign * scene.ball[0] + 16))
    places[rest] = scene.scatter(len(rest), (line, 0), (3, 16))
    return [Gathering(-8, -2.5, 0.3, 5, places)]


def _offside(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    places[scene.own[0]] = scene.beside(0.5 * scene.sign, 0)
    # The defenders' line is behind the ball and the runner, who is alone in front of it.
    line = scene.others[:4]
    places[line] = np.stack(
        [np.full(4, scene.ball[0] - 7 * scene.sign), [-18.0, -6.0, 6.0, 18.0]], axis=1
    )
    flag = ASSISTANTS[0] if scene.sign > 0 else ASSISTANTS[1]
    places[flag] = scene.ball[0], np.sign(scene.people[flag, 1]) * 35.0
    for who in ASSISTANTS:
        scene.pose(who, FLAG_UP, 0.6, 5)
    scene.pose(REFEREE, ONE_ARM_UP, 1.4, 5)
    for who in line:
        scene.pose(who, ONE_ARM_UP, 0.2, 2.5)
    scene.key = flag
    return [Gathering(-2, 0, 2.5, 6, places)]


def _indirect_free_kick(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    taker = scene.keeper(scene.team)
    places[taker] = scene.ball - [1.2 * scene.sign, 0.2]
    rest = scene.own[:8] + scene.others[:8]
    places[rest] = scene.scatter(len(rest), (8, 0), (16, 22))
    places[REFEREE] = scene.beside(14 * scene.sign, -3)
    scene.pose(REFEREE, ONE_ARM_UP, -5, 1.5)
    scene.key = taker
    return [Gathering(-7, -2.5, 0.2, 5, places)]


def _out(scene: _Scene) -> list[Gathering]:
    if abs(scene.ball[1]) > 33:
        for who in ASSISTANTS:
            if np.sign(scene.people[who, 1]) == np.sign(scene.ball[1]):
                scene.pose(who, FLAG_UP, 0.3, 2.5)
    return []


def _treat(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    places[scene.key] = scene.beside(1.0, 0)
    scene.pose(scene.key, LYING, 0.3, 13)
    help_ = scene.nowhere()
    help_[list(PHYSIOS)] = scene.beside(1.0, 0.9), scene.beside(2.0, -0.6)
    help_[REFEREE] = scene.beside(3, 1)
    for who in PHYSIOS:
        scene.pose(who, KNEELING, 6, 13)
    return [Gathering(-1, 0, 12, 14, places), Gathering(1, 6, 12, 17, help_)]


def _crowd_ball(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    near = scene.own[:3] + scene.others[:3]
    places[near] = scene.ball + scene.rng.normal(0, 2, (len(near), 2))
    return [Gathering(-2, 0, 0.5, 2.5, places)]


def _go_off(scene: _Scene) -> list[Gathering]:
    places = scene.nowhere()
    places[: REFEREE + 1] = scene.rng.normal(0, 6, (REFEREE + 1, 2)) + np.array([0, -12])
    scene.pose(REFEREE, ONE_ARM_UP, -0.2, 2)
    scene.key = REFEREE
    return [Gathering(0.5, 10, 60, 61, places)]


GATHERINGS: Mapping[str, Callable[[_Scene], list[Gathering]]] = {
    "Kick-off": _line_up,
    "Goal": _celebrate,
    "Shots off target": _miss,
    "Ball out of play": _out,
    "Throw-in": _throw_in,
    "Corner": _corner,
    "Foul": _foul,
    "Direct free-kick": _free_kick,
    "Offside": _offside,
    "Indirect free-kick": _indirect_free_kick,
    # What nobody annotates: it looks like something that is.
    "attack": _attack,
    "save": _save,
    "goal kick": _goal_kick,
    "treatment": _treat,
    "final whistle": _go_off,
    "duel": _crowd_ball,
}
"""How each action arranges people."""

EXCITEMENT: Mapping[str, tuple[float, float, float]] = {
    "Goal": (1.0, 1.5, 14.0),
    "Shots off target": (0.6, 0.8, 4.0),
    "save": (0.6, 0.8, 4.0),
    "Corner": (0.5, 0.5, 3.0),
    "attack": (0.4, 0.0, 2.0),
    "Foul": (0.3, 1.5, 5.0),
    "final whistle": (0.7, 2.0, 12.0),
    "chant": (0.8, 0.0, 7.0),
}
"""What makes the crowd rise: how much, when most, until when (seconds from the action)."""


def _make_crowd_noise(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    knots = np.arange(0, seconds[-1] + 10, 5.0)
    return np.interp(seconds, knots, np.abs(rng.normal(0, 0.08, len(knots))))


def make_drift(num_steps: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise [N, count, 2] of unit size, drawn every 4 s and straight in between."""
    knots = np.arange(0, num_steps + 40, 40)
    values = rng.normal(size=(count, 2, len(knots)))
    steps = np.arange(num_steps)
    return np.stack(
        [[np.interp(steps, knots, row) for row in person] for person in values]
    ).transpose(2, 0, 1)


def smooth(values: np.ndarray, spread: float) -> np.ndarray:
    """A Gaussian mean over time of values [N, ...], `spread` in seconds; the ends are repeated."""
    reach = int(3 * spread * RATE)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (spread * RATE)) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate([values[:1].repeat(reach, 0), values, values[-1:].repeat(reach, 0)])
    flat = padded.reshape(len(padded), -1)
    sums = [np.convolve(column, kernel, mode="valid") for column in flat.T]
    return np.stack(sums, axis=1).reshape(values.shape)


def _span(begin: float, end: float, num_steps: int) -> slice:
    return slice(max(0, int(begin * RATE)), min(num_steps, max(0, int(end * RATE))))
