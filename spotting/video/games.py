"""Which games some videos are, and what is said of their extraction."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from spotting.base.errors import InputError
from spotting.base.inputs import is_below, is_file, read_regular
from spotting.base.logs import duration
from spotting.video.decoding import clock
from spotting.video.extraction import Game, Progress
from spotting.video.halves import Half, half_of_file, parse_halves
from spotting.video.network import FRAME_RATE
from spotting.video.record import HalfRecord

SUFFIXES = (".mkv", ".mp4", ".ts", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".webm", ".mts")
"""Of the files that are videos when a folder is given."""


def find_games(
    paths: Iterable[str],
    output: Path,
    name: str = "*",
    halves: str = "",
    game: str = "",
    listing: Path | None = None,
) -> list[Game]:
    """The games of some videos, in the order of their folders.

    A video named after a half, 1.mkv or 1_HQ.mkv, is that half of the game that its folder is named
    after; any other is a game by itself.

    Args:
      paths: videos, and folders that are searched for them.
      output: folder for the features of all.
      name: pattern of the files that count in a folder.
      halves: places of the halves in a single video, see `halves.parse_halves`.
      game: what to call the game of a single video.
      listing: file with lines VIDEO<tab>HALVES<tab>GAME, of more videos.

    Raises:
      InputError: no videos, some that are not there, or two for the same half.
    """
    entries = [_Entry(path, root) for text in paths for path, root in _expand(text, name)]
    if listing:
        entries += _read_list(listing)
    if not entries:
        raise InputError("no videos: give --video=PATH or --list=FILE; see --help")
    if len(entries) > 1 and (halves or game):
        raise InputError(
            "--halves and --game are for a single video; --list=FILE gives them for many"
        )
    found: dict[str, dict[int, Path]] = {}
    places: dict[str, tuple[Path, tuple[Half, ...]]] = {}
    for path, root, halves_text, title in entries:
        halves_text, title = halves_text or halves, title or game
        if title and not is_below(title):
            raise InputError(f"{path}: {title!r:.80} is no game's name, a path like league/game")
        number = None if halves_text else half_of_file(path)
        if number is None:
            title = title or _relative(path.with_suffix(""), root)
            if title in places or title in found:
                raise InputError(f"{path}: there is another video of the game {title}")
            parsed = parse_halves(halves_text) if halves_text else (Half(1),)
            places[title] = (path, parsed)
            continue
        title = title or _relative(path.resolve().parent, root and root.resolve())
        in_game = found.setdefault(title, {})
        if number in in_game or title in places:
            other = in_game.get(number, path)
            raise InputError(
                f"{path}: half {number} of {title} is in {other.name}, too; choose with "
                "--name='*_224p.mkv'"
            )
        in_game[number] = path
    games_found = [Game(output / title, (entry,)) for title, entry in places.items()]
    for title, files in found.items():
        videos = tuple((path, (Half(number),)) for number, path in sorted(files.items()))
        games_found.append(Game(output / title, videos))
    return sorted(games_found, key=lambda one: one.folder)


def describe_progress(state: Progress) -> str:
    """How far an extraction is, in one line."""
    text = f"extracting: game {min(state.games_done + 1, state.games)}/{state.games}, "
    text += f"{state.rows_done:,}/{state.rows:,} rows"
    if speed := state.rows_per_second:
        text += f", {speed:.1f} frames/s ({speed / FRAME_RATE:.1f} times as fast as played)"
        text += f", {duration((state.rows - state.rows_done) / speed)} left"
        if state.games_planned < state.games:
            text += f" for the {state.games_planned} games looked at"
    return text


def describe_record(folder: Path, record: HalfRecord) -> str:
    """What became of a half, in one line."""
    return (
        f"{folder / record.file}: {record.rows:,} rows of {record.dim}, from {record.video} "
        f"{clock(record.start)} to {clock(record.end)}"
    )


class _Entry(NamedTuple):
    """A video that was asked for, and the folder in which it was found."""

    path: Path
    root: Path | None = None
    halves: str = ""
    game: str = ""


def _expand(text: str, pattern: str) -> list[tuple[Path, Path | None]]:
    """The videos below a folder, with that folder; or the one file."""
    path = Path(text)
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path}: no such video")
        return [(path, None)]
    files = sorted(
        file
        for file in path.rglob(pattern)
        if file.is_file() and file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise InputError(f"{path}: no videos in it that are named {pattern}")
    return [(file, path) for file in files]


def _read_list(path: Path) -> list[_Entry]:
    entries = []
    try:
        lines = read_regular(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) > 3:
            raise InputError(f"{path}: line {number}: more than VIDEO, HALVES and GAME")
        video = path.parent / fields[0]
        if not is_file(video):
            raise InputError(f"{path}: line {number}: {str(video)!r:.200}: no such video")
        fields += [""] * (3 - len(fields))
        entries.append(_Entry(video, None, fields[1], fields[2]))
    return entries


def _relative(path: Path, root: Path | None) -> str:
    """A game's name: its path below the folder that was given, or its own name."""
    if root is not None and path != root and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.name
