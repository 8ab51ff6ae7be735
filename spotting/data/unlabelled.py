"""Games that nobody has labelled: feature files in folders, or one by one."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from spotting.base.errors import InputError
from spotting.data.annotations import HALF_LIST, HALF_NUMBERS
from spotting.data.checks import read_header
from spotting.data.halves import FeatureFile, find_games

# A half of a match at another frame rate than its own would last as long as none does.
_SOCCER_MINUTES = (30, 80)
_LONGEST_HOURS = 3


class Game(NamedTuple):
    """A game to spot: its name and the feature file of each half."""

    name: str
    halves: Mapping[int, Path]


def list_games(paths: Sequence[Path], features: str) -> list[Game]:
    """The games in some folders and files, in the order given.

    Args:
      paths: folders, searched for files of the given features, and feature files.
      features: name of the feature files, without the half and .npy.

    Raises:
      InputError: a path does not exist or has no such file, or two files are one half of one game.
    """
    games: dict[str, dict[int, Path]] = {}
    for path in paths:
        check_path(path)
        for game, half, file in find_games(path, features) if path.is_dir() else [_single(path)]:
            # A folder without a name of its own lends its files the one that it has outside; and
            # SoccerNet composes accents, which macOS takes apart.
            name = unicodedata.normalize("NFC", path.resolve().name if game == "." else game)
            halves = games.setdefault(name, {})
            if half in halves:
                raise InputError(
                    f"two files for half {half} of game {name!r}: {halves[half]} and {file}; a "
                    "file's half is the leading 1_ to 4_ of its name, else 1, and its folder is "
                    "the game: rename one, or move it to a folder of its own"
                )
            halves[half] = file
    return [Game(name, halves) for name, halves in games.items()]


def warn_of_lengths(games: Sequence[Game], frame_rate: float, soccer: bool) -> list[str]:
    """Warnings of halves that last as if their features had another frame rate.

    Args:
      games: see `list_games`.
      frame_rate: that their features should have.
      soccer: whether a first and a second half together are known to be a match of soccer.
    """
    odd = []
    for game in games:
        try:
            minutes = [read_header(p)[0] / frame_rate / 60 for p in game.halves.values()]
        except (InputError, OSError):
            continue  # The game's own turn tells.
        short, long = max(minutes) < _SOCCER_MINUTES[0], min(minutes) > _SOCCER_MINUTES[1]
        whole_match = soccer and len(minutes) == 2
        if (whole_match and (short or long)) or max(minutes) > 60 * _LONGEST_HOURS:
            odd.append((game.name, max(minutes)))
    if not odd:
        return []
    name, longest = odd[0]
    return [
        f"{len(odd)} of {len(games)} games, such as {name!r}, have halves of {longest:.0f} minutes "
        f"at the model's {frame_rate:g} frames per second; were they extracted at another rate?"
    ]


def check_path(path: Path) -> None:
    """Raises InputError where there is no such file or folder."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder of features")


def _single(path: Path) -> FeatureFile:
    half = re.match(r"(\d)_", path.name)
    number = half[1] if half else "1"
    if number not in map(str, HALF_NUMBERS):
        raise InputError(f"{path}: half {number} is not one of {HALF_LIST}; rename the file")
    return FeatureFile(path.resolve().parent.name, int(number), path)
