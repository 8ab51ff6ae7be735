"""The course of a simulated half: what happens when, and where the ball is.

A half is a semi-Markov process: a spell of open play, then a chapter drawn with the odds of
`CHAPTERS`, and so on, each of random length. What must follow, follows: a kick-off after a goal, a
throw-in or a corner after the ball went out, a free-kick after a foul or an offside. How long that
takes varies too much to tell the second time from the first.

Times are seconds from the start of the half. Positions are in half pitches from the centre spot,
x along the pitch and y across it: |x| = 1 is a goal line and |y| = 1 a touch line.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Action(NamedTuple):
    """Something that happened: an event of a class, or something that nobody annotates."""

    time: float
    kind: str  # a class, with a capital; in lower case, what looks like one
    team: int  # 0 home, 1 away


class Play:
    """A half being played: the clock only runs forward, and what happens is noted.

    `team` is the side in possession; the teams change ends between the halves. Pauses and spells of
    open play last `idle` times as long as usual.
    """

    def __init__(self, rng: np.random.Generator, half: int, idle: float = 1.0) -> None:
        self.rng = rng
        self.idle = idle
        self.time = 0.0
        self.half = half
        self.team = half - 1
        self.actions: list[Action] = []
        self.path: list[tuple[float, float, float]] = []  # seconds, x, y

    def wait(self, low: float, high: float) -> None:
        """Lets a random time pass, in seconds."""
        self.time += self.rng.uniform(low, high)

    def pause(self, low: float, high: float) -> None:
        """Lets a random time pass in which the ball is out of play; in seconds if `idle` is 1."""
        self.wait(self.idle * low, self.idle * high)

    def note(self, kind: str) -> None:
        """Something happens now."""
        self.actions.append(Action(self.time, kind, self.team))

    def ball(self, x: float, y: float) -> None:
        """The ball is at (x, y) now, seen by the team that has it: it attacks the goal at x = 1.

        From one noted place to the next the ball moves straight and evenly.
        """
        ends = 1 if (self.team + self.half) % 2 else -1
        self.path.append((self.time, ends * x, ends * y))

    def turn_over(self) -> None:
        """The other team has the ball."""
        self.team = 1 - self.team

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def side(self) -> int:
        """Left or right, -1 or 1."""
        return 1 if self.chance(0.5) else -1


def play_half(rng: np.random.Generator, half: int, duration: float, idle: float = 1.0) -> Play:
    """Plays a half, 1 or 2, of at least `duration` seconds.

    The chapter that has begun by then is played out, so that no event lacks what follows it.

    Args:
      rng: all randomness; the same state gives the same half.
      half: 1 or 2.
      duration: in seconds.
      idle: how long pauses and open play last; less than 1 gives more events a minute.
    """
    play = Play(rng, half, idle)
    play.ball(0, 0)
    play.wait(2, 8)
    _kick_off(play)
    chapters = list(CHAPTERS)
    odds = np.array([CHAPTERS[chapter] for chapter in chapters])
    while play.time < duration:
        _open_play(play)
        chapters[rng.choice(len(chapters), p=odds / odds.sum())](play)
    play.wait(4, 8)
    play.note("final whistle")
    play.wait(4, 8)
    return play


def _open_play(play: Play) -> None:
    end = play.time + play.idle * (4 + play.rng.gamma(2.0, 4.0))
    x, y = 0.0, 0.0
    while play.time < end:
        play.wait(1.5, 4)
        # Now and then the ball runs along a line without crossing it.
        x = np.clip(0.7 * x + play.rng.normal(0, 0.3), -0.96, 0.96)
        y = np.clip(0.6 * y + play.rng.normal(0, 0.45), -0.96, 0.96)
        play.ball(x, y)
        if play.chance(0.25):
            play.turn_over()


def _kick_off(play: Play) -> None:
    play.ball(0, 0)
    play.note("Kick-off")
    play.wait(0.8, 1.4)
    play.ball(-0.2, play.side() * 0.1)


def _attack(play: Play) -> None:
    """The build-up that every shot has, and that often comes to nothing."""
    for x in (0.3, 0.55, 0.75):
        play.wait(2, 4)
        play.ball(x, play.rng.uniform(-0.6, 0.6))
    play.wait(1, 2)
    play.ball(0.85, play.rng.uniform(-0.3, 0.3))
    play.note("attack")
    if play.chance(0.6):
        _shot(play)
    else:
        play.wait(1, 2)
        play.ball(0.3, play.rng.uniform(-0.7, 0.7))
        play.turn_over()


def _shot(play: Play) -> None:
    """Goal, miss and save look alike until the crowd, and then the next half minute, tell."""
    fate = play.rng.random()
    if fate < 0.4:
        play.wait(0.5, 0.9)
        play.ball(1.04, play.rng.uniform(-0.08, 0.08))
        play.note("Goal")
        play.wait(1, 2)
        play.ball(1.0, 0)
        play.pause(18, 32)
        play.turn_over()
        play.ball(0, 0)
        play.pause(5, 10)
        _kick_off(play)
    elif fate < 0.76:
        play.note("Shots off target")
        play.wait(0.5, 0.9)
        play.ball(1.04, play.side() * play.rng.uniform(0.12, 0.3))
        play.wait(1, 2)
        play.turn_over()
        play.ball(-0.92, 0)
        play.pause(7, 16)
        play.ball(-0.92, 0)
        play.note("goal kick")
        play.wait(1.5, 2.5)
        play.ball(0, play.rng.uniform(-0.5, 0.5))
    else:
        play.note("save")
        play.wait(0.5, 0.9)
        play.ball(0.97, play.rng.uniform(-0.1, 0.1))
        play.wait(1, 2)
        play.turn_over()
        play.ball(-0.8, play.rng.uniform(-0.4, 0.4))


def _out_at_the_side(play: Play) -> None:
    x, side = play.rng.uniform(-0.6, 0.8), play.side()
    play.wait(1, 2)
    play.ball(x, side * 1.02)
    play.note("Ball out of play")
    play.turn_over()
    play.wait(1, 2)
    play.ball(-x, -side * 1.08)
    play.pause(4, 14)
    play.ball(-x, -side * 1.04)
    play.note("Throw-in")
    play.wait(0.7, 1.3)
    play.ball(-x, -side * 0.7)


def _out_behind_the_goal(play: Play) -> None:
    side = play.side()
    play.wait(2, 4)
    play.ball(0.7, side * 0.6)
    play.wait(1, 2)
    play.ball(1.02, side * 0.5)
    play.note("Ball out of play")
    play.wait(4, 6)
    play.ball(1, side)
    play.pause(6, 18)
    play.ball(1, side)
    play.note("Corner")
    play.wait(1, 1.6)
    play.ball(0.88, play.rng.uniform(-0.2, 0.2))
    if play.chance(0.3):
        _shot(play)
    else:
        play.wait(1, 2)
        play.ball(0.4, side * 0.4)
        play.turn_over()


def _foul(play: Play) -> None:
    x, y = play.rng.uniform(-0.3, 0.75), play.rng.uniform(-0.7, 0.7)
    play.wait(1, 3)
    play.ball(x, y)
    play.note("Foul")
    play.wait(2, 3)
    play.ball(x, y)
    play.pause(8, 26)
    play.ball(x, y)
    play.note("Direct free-kick")
    play.wait(0.6, 1)
    if x > 0.5 and play.chance(0.6):
        play.ball(0.85, 0)
        _shot(play)
    else:
        play.ball(x + 0.2, play.rng.uniform(-0.6, 0.6))


def _offside(play: Play) -> None:
    y = play.rng.uniform(-0.6, 0.6)
    play.wait(2, 3)
    play.ball(0.35, y)
    play.wait(0.8, 1.2)
    play.ball(0.7, y)
    play.note("Offside")
    play.turn_over()
    play.wait(2, 4)
    play.ball(-0.7, -y)
    play.pause(4, 12)
    play.ball(-0.7, -y)
    play.note("Indirect free-kick")
    play.wait(1, 1.6)
    play.ball(-0.3, play.rng.uniform(-0.6, 0.6))


def _treatment(play: Play) -> None:
    """Play stops for an injured player: whistle and pause, of no class."""
    x, y = play.rng.uniform(-0.6, 0.6), play.rng.uniform(-0.7, 0.7)
    play.wait(1, 3)
    play.ball(x, y)
    play.note("treatment")
    play.pause(12, 22)
    play.ball(x, y)


CHAPTERS: dict[Callable[[Play], None], float] = {
    _attack: 0.34,
    _out_at_the_side: 0.24,
    _foul: 0.18,
    _offside: 0.1,
    _out_behind_the_goal: 0.1,
    _treatment: 0.04,
}
"""What ends a spell of open play, and its odds."""
