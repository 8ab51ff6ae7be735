"""SoccerNet's two JSON formats, both ways: the labels of a game and the predictions for it.

`Labels-v2.json` holds what happened, `results_spotting.json` what a model spotted. Both give a
time twice: `position`, in milliseconds from the start of the half, and `gameTime`,
"half - minutes:seconds".
"""

import contextlib
import functools
import json
import math
import os
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from spotting import timing
from spotting.base.errors import InputError
from spotting.base.files import parse_json, unzipping, write_text_atomic
from spotting.base.inputs import (
    check_unpacked,
    is_text,
    name_below,
    open_regular,
    read_regular,
    unpack,
    walk_folders,
)

LABELS_FILE = "Labels-v2.json"
RESULTS_FILE = "results_spotting.json"

HALF_NUMBERS = (1, 2, 3, 4)
"""Numbers that a half may have; 3 and 4 are extra time. A lone recording is a half 1."""

_HALF_NAMES = {str(number): number for number in HALF_NUMBERS}

HALF_LIST = "1, 2, 3 (extra time) and 4"
"""`HALF_NUMBERS` as messages give them."""

SOCCERNET_CLASSES = (
    "Penalty",
    "Kick-off",
    "Goal",
    "Substitution",
    "Offside",
    "Shots on target",
    "Shots off target",
    "Clearance",
    "Ball out of play",
    "Throw-in",
    "Foul",
    "Indirect free-kick",
    "Direct free-kick",
    "Corner",
    "Yellow card",
    "Red card",
    "Yellow->red card",
)
"""The 17 classes of SoccerNet-v2, in the order of SoccerNet's evaluator."""

_GAME_TIME = re.compile(r"\s*(\d+)\s*-\s*(\d+):(\d+)\s*")

_encode = json.JSONEncoder(ensure_ascii=False).encode
_MOST_MS = 1 << 53
"""Up to here floats tell milliseconds apart, and int64 holds what is computed from them."""


@dataclass(frozen=True, slots=True)
class Event:
    """One annotation: an action that happened.

    `position` is in seconds from the start of the half, to the millisecond; `game_time` is the same
    moment in whole seconds, as `gameTime` gives it (the two may be rounded differently).
    """

    half: int
    label: str
    position: float
    game_time: float
    visible: bool


class Prediction(NamedTuple):
    """One predicted action; `position` in seconds from the start of the half, as in `Event`."""

    half: int
    label: str
    position: float
    confidence: float


def read_events(path: str | os.PathLike) -> list[Event]:
    """Reads every annotation of a `Labels-v2.json`, whatever its label, in the file's order.

    Raises:
      InputError: the file is not such JSON, or a half or a time in it cannot be one.
    """
    return _parse(read_regular(path), path, "annotations", _event)[1]


def read_results(path: str | os.PathLike) -> list[Prediction]:
    """Reads every prediction of a `results_spotting.json`, in the file's order.

    Raises:
      InputError: the file is not such JSON, or a half, a time or a confidence in it cannot be one.
    """
    return _parse(read_regular(path), path, "predictions", _prediction)[1]


def iterate_results(path: str | os.PathLike) -> Iterator[tuple[str, list[Prediction]]]:
    """Reads the predictions of many games from a folder or a zip file, game by game.

    Yields `(game, predictions)` in the order of the games' names. The game is the folder of its
    `results_spotting.json`, without the folders in front of what the file's own `UrlLocal` says, so
    that a zip with one more folder on top reads like one without.

    Raises:
      InputError: `path` is neither a folder nor a zip, holds no such file, or one cannot be read.
    """
    seen: dict[str, str] = {}
    for folder, source, content in _result_files(Path(path)):
        url_local, predictions = _parse(content, source, "predictions", _prediction)
        game = _game_name(folder, url_local)
        if game in seen:
            raise InputError(f"{path}: two results for one game: {seen[game]} and {source}")
        seen[game] = source
        yield game, predictions
    if not seen:
        raise InputError(f"{path}: no <game>/{RESULTS_FILE} in it")


def make_predictions(
    scores: np.ndarray, half: int, classes: Sequence[str], frame_rate: float
) -> list[Prediction]:
    """The predictions that a score map [N, K] of one half holds: its entries of 0 and more.

    They come by frame, then class, as yahoo/spivak writes them. Scores keep their exact value, so
    that a file scores what the map did.
    """
    rows = list_scores(scores, frame_rate)
    return [Prediction(half, classes[k], seconds, score) for seconds, k, score in rows]


def list_scores(scores: np.ndarray, frame_rate: float) -> Iterator[tuple[float, int, float]]:
    """Seconds, index of the class and score of each entry of 0 and more of a score map [N, K]."""
    frame, label = np.nonzero(scores >= 0)
    position = timing.position_ms(frame, frame_rate) / 1000
    return zip(position.tolist(), label.tolist(), scores[frame, label].tolist(), strict=True)


def write_results(path: str | os.PathLike, game: str, predictions: Iterable[Prediction]) -> None:
    """Writes one game's `results_spotting.json` to `path`, atomically, in the given order."""
    write_text_atomic(path, make_results(game, predictions))


def make_results(game: str, predictions: Iterable[Prediction]) -> str:
    """What one game's `results_spotting.json` says, a line for each prediction.

    Only names need json's encoder, which takes longer than all else.
    """
    encode_label = functools.cache(_encode)
    entries = []
    for half, label, seconds, confidence in predictions:
        position = round(1000 * seconds)
        entries.append(
            f'{{"gameTime": "{timing.game_time(half, position)}", "half": "{half}", '
            f'"position": "{position}", "label": {encode_label(label)}, '
            f'"confidence": "{float(confidence)}"}}'
        )
    lines = ",\n  ".join(entries)
    listed = f"[\n  {lines}\n ]" if entries else "[]"
    return f'{{\n "UrlLocal": {_encode(game)},\n "predictions": {listed}\n}}\n'


def _parse(
    content: bytes,
    source: str | os.PathLike,
    key: str,
    parse_entry: Callable[[dict], Event | Prediction],
) -> tuple[str, list]:
    """`UrlLocal` and the parsed list under `key`; `source` names the file in errors."""
    document = parse_json(content, source)
    if not isinstance(document, dict) or not isinstance(document.get(key), list):
        raise InputError(f'{source}: no list "{key}" in it')
    parsed = []
    for entry in document[key]:
        try:
            parsed.append(parse_entry(entry))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise InputError(f"{source}: {key}[{len(parsed)}]: {reason}") from error
    url_local = str(document.get("UrlLocal", ""))
    if not is_text(url_local):
        raise InputError(f'{source}: "UrlLocal" {url_local!r:.80} is no text')
    return url_local, parsed


def _event(entry: dict) -> Event:
    half, game_time = _split_game_time(entry["gameTime"])
    position = _position(entry, game_time)
    visible = entry.get("visibility") != "not shown"
    return Event(_checked_half(half), _label(entry), position, game_time, visible)


def _prediction(entry: dict) -> Prediction:
    half, game_time = entry.get("half"), None
    if half is None or entry.get("position") is None:
        game_half, game_time = _split_game_time(entry["gameTime"])
        half = game_half if half is None else half
    position = _position(entry, game_time)
    confidence = float(entry["confidence"])
    # NaN is for the evaluator to judge: the official one reads it.
    if math.isinf(confidence):
        raise ValueError(f"confidence {entry['confidence']!r} is infinite")
    return Prediction(_checked_half(half), _label(entry), position, confidence)


def _label(entry: dict) -> str:
    label = entry["label"]
    if not isinstance(label, str):
        raise ValueError(f"label {label!r:.80} is not a string")
    if not is_text(label):
        raise ValueError(f"label {label!r:.80} has half of a pair of surrogates in it")
    return label


def _split_game_time(text: str) -> tuple[int, float]:
    match = _GAME_TIME.fullmatch(text)
    if match is None:
        raise ValueError(f'gameTime {text!r} is not "half - minutes:seconds"')
    half, minutes, seconds = map(int, match.groups())
    if 1000 * (60 * minutes + seconds) > _MOST_MS:
        raise ValueError(f"gameTime {text!r:.80} is no time in a half")
    return half, float(60 * minutes + seconds)


def _checked_half(half: Any) -> int:
    number = _HALF_NAMES.get(str(half))
    if number is None:
        raise ValueError(f"half {half!r} is not one of {HALF_LIST}")
    return number


def _position(entry: dict, game_time: float | None) -> float:
    """Seconds of `position`, cut to whole milliseconds; where it is missing, of `gameTime`."""
    position = entry.get("position")
    if position is None:
        if game_time is None:
            raise KeyError("position")
        return game_time
    try:
        milliseconds = int(float(position))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"position {position!r} is not a number of milliseconds") from error
    if milliseconds < 0:
        raise ValueError(f"position {position!r} is before the start of the half")
    if milliseconds > _MOST_MS:
        raise ValueError(f"position {position!r:.80} is no time in a half")
    return milliseconds / 1000


def _result_files(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """(folder, name for messages, content) of each results file under a folder or in a zip."""
    if path.is_dir():
        folders = sorted(folder for folder, names in walk_folders(path) if RESULTS_FILE in names)
        for folder in folders:
            source = folder / RESULTS_FILE
            yield name_below(path, folder), str(source), read_regular(source)
        return
    if not path.exists():
        raise InputError(f"{path}: no such folder or zip file")
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_regular(path))
        with unzipping(f"{path}: neither a folder nor a sound zip file"):
            archive = stack.enter_context(zipfile.ZipFile(file))
        members = {_member_name(info): info for info in archive.infolist()}
        wanted = {name: info for name, info in sorted(members.items()) if _is_results(name)}
        check_unpacked(wanted.values(), path, os.fstat(file.fileno()).st_size)
        for name, info in wanted.items():
            with unzipping(f"{path}: {name} cannot be unpacked, pack the zip file again"):
                content = unpack(archive, info)
            yield PurePosixPath(name).parent.as_posix(), f"{path}: {name}", content


def _is_results(name: str) -> bool:
    member = PurePosixPath(name)
    return member.name == RESULTS_FILE and "__MACOSX" not in member.parts


def _member_name(info: zipfile.ZipInfo) -> str:
    name = info.filename
    if not info.flag_bits & 0x800:  # The name does not say that it is UTF-8; macOS writes it so.
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _game_name(folder: str, url_local: str) -> str:
    """The game that a results file belongs to, its accents composed (macOS takes them apart)."""
    folder, url_local = (unicodedata.normalize("NFC", text) for text in (folder, url_local))
    url_local = url_local.strip("/")
    if url_local and (folder == "." or folder.endswith("/" + url_local)):
        return url_local
    return folder
