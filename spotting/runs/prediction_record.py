"""What `predict` has done in a folder: which run and options made the results there."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spotting.base.errors import InputError
from spotting.base.files import read_object, remove_temporaries, write_json_atomic
from spotting.base.inputs import is_below
from spotting.data.annotations import HALF_NUMBERS, RESULTS_FILE
from spotting.data.unlabelled import Game
from spotting.runs import layout

RECORD_FILE = "predict.json"


class SpottedGame(NamedTuple):
    """A game whose results are written, and how many seconds each half lasts."""

    name: str
    seconds: Mapping[int, float]


class PredictionRecord:
    """predict.json: which run and options made the results of a folder, game by game.

    With it the same command resumes: a game is finished if it is in the record with the same
    feature files and its results are there.
    """

    def __init__(self, output: Path, made_by: Mapping[str, Any]):
        """Reads what an earlier command left, if it was the same one.

        Args:
          output: the folder of results.
          made_by: of this command: the run and the options.

        Raises:
          InputError: the folder holds results of another run or of other options.
        """
        self._output, self._path, self._made_by = output, output / RECORD_FILE, dict(made_by)
        self._games: dict[str, Any] = {}
        if not self._path.is_file():
            return
        earlier = read_object(self._path)
        theirs, games = earlier.get("made_by"), earlier.get("games")
        if not isinstance(theirs, dict) or not isinstance(games, dict):
            raise InputError(f"{self._path}: not a record of predictions; --overwrite replaces it")
        differing = [name for name in self._made_by if theirs.get(name) != self._made_by[name]]
        if differing:
            raise InputError(
                f"{output}: holds results of another {', '.join(differing)}; choose another "
                "--output, or replace them with --overwrite"
            )
        for name, entry in games.items():
            if not _is_entry(name, entry):
                raise InputError(
                    f"{self._path}: damaged, what it says of game {name!r:.80}; --overwrite "
                    "replaces it"
                )
        self._games = games

    def finished(self, game: Game) -> SpottedGame | None:
        """A game as an earlier command left it; None if it is to be spotted."""
        entry = self._games.get(game.name)
        if entry is None or entry["files"] != _describe_files(game):
            return None
        return self._read(game.name)

    def others(self, games: Sequence[Game]) -> list[SpottedGame]:
        """Games of earlier commands, by the same run and options, that are not among these."""
        names = {game.name for game in games}
        found = (self._read(name) for name in self._games if name not in names)
        return [game for game in found if game]

    def _read(self, name: str) -> SpottedGame | None:
        if not (self._output / name / RESULTS_FILE).is_file():
            return None
        seconds = {int(half): float(value) for half, value in self._games[name]["seconds"].items()}
        return SpottedGame(name, seconds)

    def add(self, game: Game, spotted: SpottedGame) -> None:
        """Notes a game whose results are then to be written; older ones are deleted first.

        So there is no moment at which a killed process leaves results that nobody owns, or older
        ones that pass for these.
        """
        (self._output / game.name / RESULTS_FILE).unlink(missing_ok=True)
        remove_temporaries(self._output / game.name)
        seconds = {str(half): value for half, value in spotted.seconds.items()}
        self._games[game.name] = {"files": _describe_files(game), "seconds": seconds}
        write_json_atomic(self._path, {"made_by": self._made_by, "games": self._games})

    def __contains__(self, game: object) -> bool:
        return game in self._games


def _is_entry(name: str, entry: Any) -> bool:
    """Whether a game's entry in predict.json is as `PredictionRecord.add` writes it."""
    if not is_below(name) or not isinstance(entry, dict):
        return False
    seconds = entry.get("seconds")
    return (
        isinstance(entry.get("files"), dict)
        and isinstance(seconds, dict)
        and seconds.keys() <= set(map(str, HALF_NUMBERS))
        and all(type(value) in (int, float) and abs(value) < 1e9 for value in seconds.values())
    )


def _describe_files(game: Game) -> dict[str, list[Any]]:
    """Path, size and time of change of each half's file: enough to notice another one."""
    found = {}
    for half, path in game.halves.items():
        status = path.stat()
        found[str(half)] = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    return found


def identify_run(workdir: Path) -> str:
    """A hash of what a run's predictions follow from: its config, thresholds and best weights."""
    digest = hashlib.sha256()
    files = [workdir / name for name in (layout.CONFIG, layout.THRESHOLDS, layout.WEIGHTS)]
    for kind in ("confidence", "displacement"):
        files += sorted((layout.locate_checkpoints(workdir, kind) / "best").rglob("*"))
    for path in files:
        if path.is_file():
            digest.update(path.relative_to(workdir).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
