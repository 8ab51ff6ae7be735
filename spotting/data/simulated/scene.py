"""What a camera and a microphone make of a simulated half: from actions to features.

Three layers. A *scene* is what could be seen and heard: a few named signals, drawn by the cues of
`CUES` around each action, and the ball. A *broadcast* shows part of it: close-ups hide the pitch,
replays show it a second time at half speed. A *film* of the broadcast is what a network gets: a
fixed random projection of the signals, through a look that differs from half to half.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from spotting.data.simulated.play import Action, Play

FRAME_RATE = 2.0
FEATURE_DIM = 64

SIGNALS: Mapping[str, float] = {
    # On the pitch: hidden by close-ups, shown again in replays.
    "ball x": 0.5,
    "ball y": 0.5,
    "ball speed": 0.3,
    "motion": 0.4,  # how much the players run, compared with open play
    "crowding": 0.3,  # players around the ball
    "box": 0.4,  # players in the penalty area
    "line-up": 0.3,  # players in a wall, or each team in its own half
    # The camera and the referee's picture.
    "close-up": 0.4,
    "replay": 0.4,
    "referee": 0.3,
    # Heard at any time.
    "crowd": 0.4,
    "whistle": 0.3,
}
"""The signals of a scene, and the size that each typically has, by which the film divides it."""

PITCH = ("ball x", "ball y", "ball speed", "motion", "crowding", "box", "line-up")


class Cue(NamedTuple):
    """One thing that an action does to one signal.

    The signal rises from 0 at `begin` to `height` at `peak`, stays there for `hold`, and is back at
    0 at `end`; all in seconds, relative to the action. It happens with probability `chance`, moved
    by `jitter` (a standard deviation in seconds), at a height that varies by `HEIGHT_SPREAD`.
    """

    signal: str
    begin: float
    peak: float
    end: float
    height: float
    hold: float = 0.0
    chance: float = 1.0
    jitter: float = 0.0


CUES: Mapping[str, Sequence[Cue]] = {
    "Kick-off": (
        Cue("line-up", -13, -4, 2, 0.8, jitter=1.0),
        Cue("whistle", -0.6, 0, 0.8, 0.8, chance=0.8),
        Cue("motion", 0, 2, 9, 0.7),
    ),
    "Goal": (
        Cue("crowd", 0.5, 4, 16, 1.6, jitter=0.6),
        Cue("close-up", 3, 4, 9.5, 1, hold=5, jitter=1.0),
        Cue("whistle", 0.5, 1.2, 2, 0.7, chance=0.5),
        Cue("motion", -1, 2, 22, -0.7),
    ),
    "Shots off target": (
        Cue("crowd", 0.2, 2, 6, 0.8, jitter=0.4),
        Cue("close-up", 3, 3.5, 6.5, 1, hold=2.5, chance=0.6, jitter=1.0),
        Cue("motion", 1, 4, 16, -0.6),
    ),
    "Ball out of play": (
        Cue("motion", 0, 3, 8, -0.7),
        Cue("close-up", 2, 2.5, 6, 1, hold=3, chance=0.35, jitter=1.0),
    ),
    "Throw-in": (
        Cue("crowding", -5, -1, 1.5, 0.8, jitter=0.5),
        Cue("motion", 0, 1.5, 6, 0.4),
    ),
    "Corner": (
        Cue("box", -12, -2, 3, 1.0, jitter=1.0),
        Cue("crowd", -5, 1, 4, 0.6, jitter=0.8),
    ),
    "Foul": (
        Cue("crowding", -3, 0.3, 5, 0.8, jitter=0.4),
        Cue("whistle", 0, 0.8, 1.6, 1.0, jitter=0.3),
        Cue("motion", 0.5, 3, 14, -0.8),
        Cue("referee", 3, 5, 9, 0.9, chance=0.8, jitter=1.0),
        Cue("close-up", 4, 4.5, 9, 1, hold=4, chance=0.4, jitter=1.0),
        Cue("crowd", 0.5, 2, 7, 0.4),
    ),
    "Direct free-kick": (
        Cue("line-up", -12, -2, 1, 0.8, jitter=0.6),
        Cue("whistle", -3, -2.2, -1.4, 0.9, chance=0.7, jitter=0.4),
    ),
    "Offside": (
        Cue("whistle", 0.5, 1.4, 2.2, 1.0, jitter=0.4),
        Cue("motion", 1, 3, 9, -0.7),
        Cue("close-up", 3, 3.5, 6.5, 1, hold=2.5, chance=0.35, jitter=0.8),
    ),
    "Indirect free-kick": (
        Cue("motion", -6, -2, 0, -0.5),
        Cue("motion", 0, 2, 8, 0.6),
    ),
    # What nobody annotates: it looks like something that is.
    "attack": (
        Cue("box", -9, 0, 4, 0.9, jitter=0.8),
        Cue("crowd", -6, 0, 1, 0.4),
    ),
    "save": (
        Cue("crowd", 0.2, 2, 6, 0.8, jitter=0.4),
        Cue("close-up", 3, 3.5, 6, 1, hold=2, chance=0.2, jitter=1.0),
    ),
    "goal kick": (Cue("motion", 0, 1.5, 6, 0.4),),
    "treatment": (
        Cue("motion", 0, 2, 20, -0.9),
        Cue("referee", 1, 4, 10, 0.9),
        Cue("whistle", 0, 0.8, 1.6, 1.0, chance=0.6),
        Cue("close-up", 3, 4, 10, 1, hold=5, chance=0.8),
    ),
    "final whistle": (
        Cue("whistle", 0, 0.5, 1.5, 1.2),
        Cue("motion", 0, 3, 30, -0.8),
    ),
    "chant": (Cue("crowd", -6, 0, 7, 0.9, jitter=1.0),),
    "stray whistle": (Cue("whistle", -0.8, 0, 0.8, 0.8),),
    "cutaway": (Cue("close-up", 0, 0.5, 4, 1, hold=3),),
    "duel": (Cue("crowding", -2, 0, 2, 0.8),),
}
"""The temporal signature of each class, and of what can be taken for it."""

HEIGHT_SPREAD = 0.25
"""Standard deviation of the logarithm of a cue's height."""

DISTRACTORS: Mapping[str, float] = {
    "chant": 0.35,
    "stray whistle": 0.3,
    "cutaway": 0.4,
    "duel": 0.5,
}
"""Actions at any time, whatever is being played: how many in a minute."""

REPLAYS: Mapping[str, float] = {"Goal": 1.0, "Shots off target": 0.4, "save": 0.2, "Foul": 0.3}
"""Probability that an action is replayed."""

REPLAY_DELAY = (8.0, 14.0)
"""Seconds from the action to its replay, at least and at most."""

REPLAY_SPAN = (-4.0, 2.0)
"""What a replay shows, at half speed, in seconds from the action."""

# The look of a half: what differs from half to half, or from frame to frame, and means nothing.
# Standard deviations; signals and features have a size of about 1.
GAIN = 0.3  # of the logarithm of each signal's strength
MIX = 0.15  # of what leaks from each signal into each other
OFFSET = 0.4  # of each signal's level
DRIFT = 0.25  # of a level that wanders within a minute
FLICKER = 0.25  # of noise that lasts a second
CAST = 0.4  # of each feature's level, like a colour cast
GRAIN = 0.3  # of noise in each feature of each frame


class Broadcast(NamedTuple):
    """What was shown of a half: signals [N, len(SIGNALS)], and whether each frame is live [N]."""

    signals: np.ndarray
    live: np.ndarray


def broadcast(play: Play, rng: np.random.Generator) -> Broadcast:
    """Shows a half that has been played."""
    num_frames = int(play.time * FRAME_RATE)
    seconds = np.arange(num_frames) / FRAME_RATE
    signals = _signals([*play.actions, *_distractors(play.time, rng)], seconds, rng)
    time, x, y = np.array(play.path).T
    signals["ball x"] = np.interp(seconds, time, x)
    signals["ball y"] = np.interp(seconds, time, y)
    # A pitch is about 1.5 times as long as wide; the fastest balls look equally fast.
    along, across = 1.5 * np.gradient(signals["ball x"]), np.gradient(signals["ball y"])
    signals["ball speed"] = np.tanh(2 * np.hypot(along, across))

    shown_time, replay = _replays(play.actions, seconds, rng)
    close_up = np.clip(signals["close-up"], 0, 1) * ~replay
    for name in PITCH:
        signals[name] = np.interp(shown_time, seconds, signals[name]) * (1 - close_up)
    signals["close-up"] = close_up
    signals["replay"] = 0.7 * replay
    return Broadcast(np.stack(list(signals.values()), axis=1), ~replay & (close_up < 0.5))


def _distractors(duration: float, rng: np.random.Generator) -> list[Action]:
    return [
        Action(time, kind, 0)
        for kind, per_minute in DISTRACTORS.items()
        for time in rng.uniform(0, duration, rng.poisson(per_minute * duration / 60))
    ]


def _signals(
    actions: Sequence[Action], seconds: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    signals = {name: np.zeros_like(seconds) for name in SIGNALS}
    for action in actions:
        for cue in CUES[action.kind]:
            if rng.random() >= cue.chance:
                continue
            time = action.time + rng.normal(0, cue.jitter)
            height = cue.height * np.exp(rng.normal(0, HEIGHT_SPREAD))
            corners = time + np.array([cue.begin, cue.peak, cue.peak + cue.hold, cue.end])
            signals[cue.signal] += height * np.interp(seconds, corners, [0, 1, 1, 0])
    return signals


def _replays(
    actions: Sequence[Action], seconds: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """For each frame, the time that it shows, and whether it is a replay; both [N]."""
    shown, replay = seconds.copy(), np.zeros(len(seconds), bool)
    first, last = REPLAY_SPAN
    for action in actions:
        if rng.random() < REPLAYS.get(action.kind, 0):
            since = seconds - (action.time + rng.uniform(*REPLAY_DELAY))
            during = (since >= 0) & (since < 2 * (last - first))
            shown[during] = action.time + first + since[during] / 2
            replay |= during
    return shown, replay


def film(signals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features, float16 [N, FEATURE_DIM], of signals [N, len(SIGNALS)], in a look of their own."""
    num_frames, size = signals.shape
    seconds = np.arange(num_frames) / FRAME_RATE
    look = np.exp(rng.normal(0, GAIN, size))[:, None] * (
        np.eye(size) + rng.normal(0, MIX, (size, size))
    )
    seen = signals / np.array(list(SIGNALS.values())) @ look
    seen += rng.normal(0, OFFSET, size)
    seen += DRIFT * _wander(seconds, 60.0, size, rng) + FLICKER * _wander(seconds, 1.0, size, rng)
    features = _project(seen)
    features += rng.normal(0, CAST, FEATURE_DIM) + rng.normal(0, GRAIN, features.shape)
    return features.astype(np.float16)


def _wander(seconds: np.ndarray, spacing: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise [N, size] of unit size, drawn every `spacing` seconds and straight in between."""
    knots = np.arange(0, seconds[-1] + 2 * spacing, spacing)
    values = rng.normal(size=(size, len(knots)))
    return np.stack([np.interp(seconds, knots, row) for row in values], axis=1)


def _project(signals: np.ndarray) -> np.ndarray:
    """The network that "extracted" the features: two random layers, the same for every match."""
    rng = np.random.default_rng(2022)
    size, hidden = signals.shape[1], 4 * signals.shape[1]
    first = rng.normal(0, np.sqrt(2 / size), (size, hidden))
    bias = rng.normal(0, 0.5, hidden)
    second = rng.normal(0, 1.6 / np.sqrt(hidden), (hidden, FEATURE_DIM))
    return np.tanh(signals @ first + bias) @ second
