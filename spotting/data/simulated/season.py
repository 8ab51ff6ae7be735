"""A season of simulated matches: a data set that needs the method and is there at once.

Nobody has to download anything to see the whole path work. The matches are played by
`simulated_play` and filmed by `simulated_scene`; this module writes them in SoccerNet-v2's layout.
They are no substitute for real matches, and a score on them says nothing about a score on those.

What each class looks and sounds like; "at" is within half a second of the event:

    class               before                       at               after
    Kick-off            teams line up, ball on spot  whistle          players run
    Goal                attack fills the box         ball goes in     roar (peak at 4 s), close-up,
                                                                      replay, kick-off
    Shots off target    attack fills the box         ball goes by     groan (peak at 2 s), pause
    Ball out of play                                 ball crosses a   players stop, throw-in or
                                                     line             corner
    Throw-in            ball beyond the touch line   ball comes in    players run
    Corner              ball in the corner, box full ball comes in    cheers (peak at 1 s)
    Foul                players around the ball      ball stops       whistle (0.8 s), players stop,
                                                                      referee (5 s), free-kick
    Direct free-kick    wall, whistle (-2 s)         ball leaves
    Offside             fast ball forward                             whistle (1.4 s), players stop,
                                                                      free-kick
    Indirect free-kick  ball deep, players wait      ball leaves      players run

What makes it hard, and what helps:

    A moment does not tell the class: one whistle serves five kinds of stop, one shot has four
    outcomes, a wall of players and two teams lined up look the same. What came before and what
    follows do: context, up to half a minute of it.
    The class shows best where the event is not (crowd, referee, wall), and the time shows best in
    signals that tell no class (ball, whistle): confidence peaks beside the event, and displacement
    puts it right.
    Attacks that come to nothing, saves, injuries, chants, whistles from the stands and replays of
    goals look like events; close-ups and replays hide some events altogether ("not shown").
    Every half has a look of its own, and drifts: a network that learns the few training halves by
    heart knows them by it. SAM and mixup are against that.
"""

import datetime
import itertools
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spotting import timing
from spotting.base.errors import InputError
from spotting.base.files import atomic_file, read_object, write_json_atomic
from spotting.data.annotations import LABELS_FILE
from spotting.data.dataset import DESCRIPTION_FILE, HALVES
from spotting.data.simulated.play import Action, play_half
from spotting.data.simulated.scene import FEATURE_DIM, FRAME_RATE, broadcast, film

CLASSES = (
    "Kick-off",
    "Goal",
    "Shots off target",
    "Ball out of play",
    "Throw-in",
    "Corner",
    "Foul",
    "Direct free-kick",
    "Offside",
    "Indirect free-kick",
)

FEATURES = "simulated64"

VERSION = 1
"""Of the simulation: another one plays other matches from the same seed."""

CLUBS = (
    "Ashcombe",
    "Brackwater",
    "Calderport",
    "Dunmere",
    "Eastvale",
    "Fenwick Rovers",
    "Glenhaven",
    "Harrowgate Athletic",
    "Kingsmoor",
    "Northport",
    "Stonebridge United",
    "Westerley",
)


class Match(NamedTuple):
    """A simulated match.

    Attributes:
      features: of each half, float16 [N, 64], 2 frames per second.
      annotations: of both halves, as the entries of SoccerNet's `Labels-v2.json`.
      score: goals of the home and of the away team.
    """

    features: tuple[np.ndarray, ...]
    annotations: list[dict[str, str]]
    score: tuple[int, int]


def simulate_match(rng: np.random.Generator, duration: float = 600.0) -> Match:
    """Plays and films one match.

    Args:
      rng: all randomness; the same state gives the same match.
      duration: least length of a half in seconds; a half ends when what has begun is over.
    """
    features, annotations, goals = [], [], [0, 0]
    for half in HALVES:
        play = play_half(rng, half, duration)
        shown = broadcast(play, rng)
        features.append(film(shown.signals, rng))
        for action in play.actions:
            if action.kind in CLASSES:
                live = shown.live[int(action.time * FRAME_RATE)]
                annotations.append(make_annotation(half, action, live))
            if action.kind == "Goal":
                goals[action.team] += 1
    return Match(tuple(features), annotations, (goals[0], goals[1]))


def write_season(
    root: str | os.PathLike,
    seed: int = 0,
    games: tuple[int, int, int] = (20, 4, 8),
    duration: float = 600.0,
) -> None:
    """Writes a season in SoccerNet-v2's layout, with a `dataset.json`; takes about a second.

    `dataset.json` comes last: a folder without it is written again, one that has it is complete and
    is left as it is.

    Args:
      root: the folder, made if it is not there.
      seed: of the season.
      games: how many matches are for training, validation and test.
      duration: see `simulate_match`.

    Raises:
      InputError: the folder holds another data set, or another season.
    """
    root = Path(root)
    season = {"version": VERSION, "seed": seed, "games": list(games), "duration": duration}
    if is_described(root / DESCRIPTION_FILE, season):
        return
    names = []
    for index in range(sum(games)):
        match = simulate_match(np.random.default_rng([seed, index]), duration)
        names.append(name_game(seed, index, match.score))
        folder = root / names[-1]
        folder.mkdir(parents=True, exist_ok=True)
        for half, features in zip(HALVES, match.features, strict=True):
            with atomic_file(folder / f"{half}_{FEATURES}.npy") as file:
                np.save(file, features)
        write_labels(folder, names[-1], match.annotations)
    description = describe_season(
        "simulated_season", FEATURES, FRAME_RATE, FEATURE_DIM, names, games
    )
    write_json_atomic(root / DESCRIPTION_FILE, {**description, "season": season})


def name_game(seed: int, index: int, score: tuple[int, int]) -> str:
    """Path of match `index` of a season, with a date, two clubs and the goals of each."""
    pairs = np.random.default_rng(seed).permutation(list(itertools.permutations(CLUBS, 2)))
    home, away = pairs[index % len(pairs)]
    date = datetime.date(2026, 8, 1) + datetime.timedelta(days=index)
    return f"simulated/2026-2027/{date} {home} {score[0]} - {score[1]} {away}"


def write_labels(folder: Path, name: str, annotations: list[dict[str, str]]) -> None:
    """Writes a match's `Labels-v2.json` into its folder."""
    write_json_atomic(folder / LABELS_FILE, {"UrlLocal": name, "annotations": annotations})


def describe_season(
    name: str,
    features: str,
    frame_rate: float,
    feature_dim: int,
    games: list[str],
    counts: tuple[int, int, int],
) -> dict[str, Any]:
    """What `dataset.json` says of games, the first `counts[0]` of which are for training."""
    rest = iter(games)
    splits = zip(("train", "valid", "test"), counts, strict=True)
    return {
        "name": name,
        "frame_rate": frame_rate,
        "features": features,
        "feature_dim": feature_dim,
        "classes": CLASSES,
        "splits": {split: list(itertools.islice(rest, count)) for split, count in splits if count},
    }


def is_described(path: Path, season: dict[str, Any]) -> bool:
    """Whether `dataset.json` is there and of this season.

    Raises:
      InputError: it is of another season or of other matches.
    """
    if not path.exists():
        return False
    try:
        found = read_object(path)["season"]
    except (InputError, KeyError) as error:
        raise InputError(f"{path}: not of simulated matches; choose another folder") from error
    if found != season:
        raise InputError(f"{path}: of the season {found}, not {season}; delete the folder")
    return True


def make_annotation(half: int, action: Action, live: bool) -> dict[str, str]:
    """An action as an entry of SoccerNet's `Labels-v2.json`; "visible" if it was shown live."""
    position = round(1000 * action.time)
    return {
        "gameTime": timing.game_time(half, position),
        "label": action.kind,
        "position": str(position),
        "team": ("home", "away")[action.team],
        "visibility": "visible" if live else "not shown",
    }
