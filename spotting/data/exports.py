"""Spots in the formats that analysts' tools read.

`sportscode`  Sportscode XML: Hudl Sportscode, LongoMatch, Nacsport, Metrica Nexus
`osl`         OpenSportsLab JSON, which its annotation tool opens
`webvtt`      chapters for a <video> element, VLC and mpv
`csv`         one table, for spreadsheets
`soccernet`   results_spotting.json, for SoccerNet's evaluator; what a person put has confidence 1

All times in them but those of `csv` and `soccernet` count from the start of the video, in which a
`HalfPlace` says where each half lies. Functions named make_ are pure.
"""

import csv
import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from spotting import timing
from spotting.base.errors import InputError
from spotting.base.files import atomic_file, read_object
from spotting.base.inputs import is_text
from spotting.base.text_table import printable
from spotting.data.annotations import RESULTS_FILE, Prediction, make_results

EXTRACTION_FILE = "extraction.json"

FORMATS = ("sportscode", "osl", "webvtt", "csv", "soccernet")

LEAD, LAG = 7.0, 5.0
"""Seconds of a Sportscode clip before and after its moment."""

CHAPTER_SECONDS = 5.0
"""Seconds that a WebVTT chapter lasts, unless the next one begins earlier."""

_FIRST_MINUTES: Mapping[int, int] = {1: 0, 2: 45, 3: 90, 4: 105}
_LONGEST_HALF = 75 * 60.0
_REGULAR_MINUTES: Mapping[int, int] = {1: 45, 2: 45, 3: 15, 4: 15}

_LATEST = 1e6  # seconds in a video, eleven days

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Dark enough on white and light enough on black, and told apart by readers who do not see all hues.
_COLOURS = ("0067b1", "d04a00", "2b9696", "9a4fd0", "a07a00", "d6438a", "5a5a5a", "3f7d20")


class Moment(NamedTuple):
    """An action to export: a spot of a model, or what a person confirmed.

    `position` is in seconds from the start of the half. `confidence` is None where a person put it.
    """

    half: int
    label: str
    position: float
    confidence: float | None = None


class VideoFile(NamedTuple):
    """A video as the exported files shall name it, and its frames per second where known."""

    path: str
    frame_rate: float | None = None


class HalfPlace(NamedTuple):
    """Where a half lies: it begins `start` seconds into `video`.

    `first_minute` is the minute of the match at which it begins and `end` the second of the video
    at which it ends, None where they are not known.
    """

    video: VideoFile
    start: float
    first_minute: int | None = None
    end: float | None = None


def read_places(folder: Path) -> dict[int, HalfPlace]:
    """Where the halves of a game lie in its video, as `extract` wrote it down beside the features.

    Returns:
      By the half's number; empty where the folder has no `extraction.json`. Videos have the paths
      that `extract` was given. Minutes are those of the rules if there are several halves.

    Raises:
      InputError: the file has no times of halves in it.
    """
    path = folder / EXTRACTION_FILE
    if not path.is_file():
        return {}
    places: dict[int, HalfPlace] = {}
    try:
        halves = read_object(path)["halves"]
        several = len({entry["half"] for entry in halves}) > 1
        for entry in halves:
            half, video, start, end = (
                entry.get(name) for name in ("half", "video", "start", "end")
            )
            minute = first_minute(half)
            times = [start] if end is None else [start, end]
            if not all(abs(float(time)) <= _LATEST for time in times):
                raise ValueError(f"a half from {start!r:.20} to {end!r:.20} s")
            if not isinstance(video, str) or not is_text(video):
                raise ValueError(f"a video {video!r:.40}")
            places[half] = HalfPlace(
                VideoFile(video),
                float(start),
                minute if several else None,
                None if end is None else float(end),
            )
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no times of halves in it ({error!r}); extract again") from error
    return places


def first_minute(half: int) -> int:
    """The minute of a match of soccer at which half 1 to 4 begins by the rules."""
    return _FIRST_MINUTES[half]


def begin_minutes(
    seconds: Mapping[int, float], places: Mapping[int, HalfPlace] | None = None
) -> dict[int, int | None]:
    """The minute at which each half of a game begins; None where it may be no half of a match.

    Args:
      seconds: how long each half lasts, by its number. A lone one of over 75 minutes is a recording
        of the whole match.
      places: of `read_places`, which know better.
    """
    several = len(seconds) > 1
    begins: dict[int, int | None] = {
        half: first_minute(half) if several or length <= _LONGEST_HALF else None
        for half, length in seconds.items()
    }
    return begins | {half: place.first_minute for half, place in (places or {}).items()}


def match_minute(half: int, position: float, begins: int | None) -> str:
    """The minute as scoresheets count it: "13" for 12:30, "45+2" in the first half's added time.

    Args:
      half: 1 to 4; 3 and 4 are extra time.
      position: seconds from the start of the half.
      begins: the minute at which the half begins, or None, which gives "".
    """
    if begins is None:
        return ""
    minute, regular = math.floor(position / 60) + 1, _REGULAR_MINUTES[half]
    if minute > regular:
        return f"{begins + regular}+{minute - regular}"
    return str(begins + minute)


def make_sportscode(
    moments: Sequence[Moment],
    places: Mapping[int, HalfPlace],
    lead: float = LEAD,
    lag: float = LAG,
) -> bytes:
    """Sportscode XML of moments in one video, in the order of their times.

    Each becomes an instance from `lead` seconds before it, but not before the video, to `lag`
    seconds after it, with the labels Half and Confidence (by tenths, in percent). The file is ASCII
    with character references, as some readers fail on anything else.
    """
    root = ElementTree.Element("file")
    _add(_add(root, "SORT_INFO"), "sort_type", "sort order")
    instances = _add(root, "ALL_INSTANCES")
    timed = _in_video(moments, places)
    for number, (seconds, moment) in enumerate(timed, 1):
        instance = _add(instances, "instance")
        _add(instance, "ID", str(number))
        _add(instance, "start", f"{max(0.0, seconds - lead):.3f}")
        _add(instance, "end", f"{max(0.0, seconds + lag):.3f}")
        _add(instance, "code", moment.label)
        _add_label(instance, "Half", str(moment.half))
        if moment.confidence is not None:
            _add_label(instance, "Confidence", _tenth(moment.confidence))
    rows = _add(root, "ROWS")
    for k, code in enumerate(sorted({moment.label for moment in moments})):
        row = _add(rows, "row")
        _add(row, "code", code)
        colour = _COLOURS[k % len(_COLOURS)]
        for channel, start in (("R", 0), ("G", 2), ("B", 4)):
            _add(row, channel, str(257 * int(colour[start : start + 2], 16)))  # of 65535
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="us-ascii", xml_declaration=True) + b"\n"


def make_osl(
    game: str,
    moments: Sequence[Moment],
    places: Mapping[int, HalfPlace],
    classes: Sequence[str],
    today: date,
) -> dict[str, Any]:
    """OpenSportsLab's JSON, version 2.0: an entry under "data" for each video.

    Args:
      game: the id of the entries.
      moments: of any half in `places`.
      places: where each half lies.
      classes: the labels that its annotation tool offers.
      today: the date in the file.
    """
    head = "action"
    data = []
    for number, (video, halves) in enumerate(_by_video(places)):
        events = []
        for seconds, moment in _in_video(moments, halves):
            milliseconds = max(0, round(1000 * seconds))
            event: dict[str, Any] = {
                "head": head,
                "label": moment.label,
                "position_ms": milliseconds,
                "gameTime": timing.game_time(moment.half, round(1000 * moment.position)),
            }
            if moment.confidence is not None:
                event["confidence"] = moment.confidence
            if video.frame_rate:
                event["frame"] = int(milliseconds / 1000 * video.frame_rate + 1e-3)
            events.append(event)
        source: dict[str, Any] = {"type": "video", "path": video.path}
        # Its tool refuses a video without a rate.
        source["fps"] = video.frame_rate or 25.0
        data.append({"id": f"{game}#{number + 1}", "inputs": [source], "events": events})
    if len(data) == 1:
        data[0]["id"] = game
    return {
        "version": "2.0",
        "date": today.isoformat(),
        "task": "action_spotting",
        "labels": {head: {"type": "single_label", "labels": list(classes)}},
        "data": data,
    }


def make_webvtt(
    moments: Sequence[Moment], places: Mapping[int, HalfPlace], seconds: float = CHAPTER_SECONDS
) -> str:
    """WebVTT chapters of moments in one video.

    A chapter begins at its moment and lasts `seconds`, or until the next one begins: chapters may
    not overlap. Moments of one millisecond share a chapter.
    """
    chapters: dict[int, list[str]] = {}
    for start, moment in _in_video(moments, places):
        chapters.setdefault(max(0, round(1000 * start)), []).append(moment.label)
    starts = list(chapters)
    blocks = ["WEBVTT"]
    for number, start in enumerate(starts):
        end = start + round(1000 * seconds)
        if number + 1 < len(starts):
            end = min(end, starts[number + 1])
        text = ", ".join(map(_cue_text, dict.fromkeys(chapters[start])))
        blocks.append(f"{number + 1}\n{_cue_time(start)} --> {_cue_time(end)}\n{text}")
    return "\n\n".join(blocks) + "\n"


def make_csv(game: str, moments: Sequence[Moment], places: Mapping[int, HalfPlace]) -> str:
    """A table like `predict`'s, with `video_seconds`, and `minute` where a half's start is known.

    Names are those of `make_cell`.
    """
    minutes = any(place.first_minute is not None for place in places.values())
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    header = ["game", "half", "time", "seconds", "class", "confidence", "video_seconds"]
    table.writerow([*header, "minute"] if minutes else header)
    for moment in sorted(moments, key=lambda moment: (moment.half, moment.position)):
        place = places.get(moment.half)
        row = [make_cell(game), str(moment.half), timing.clock(moment.position)]
        row += [f"{moment.position:.3f}", make_cell(moment.label)]
        row.append("" if moment.confidence is None else f"{moment.confidence:.6f}")
        row.append("" if place is None else f"{place.start + moment.position:.3f}")
        if minutes:
            begins = place.first_minute if place else None
            row.append(match_minute(moment.half, moment.position, begins))
        table.writerow(row)
    return text.getvalue()


def make_cell(name: str) -> str:
    """A name as a cell of a CSV table: control characters and newlines by their escapes.

    One that a spreadsheet would take for a formula is given an apostrophe in front.
    """
    text = printable(name)
    return "'" + text if text[:1] in {"=", "+", "-", "@"} else text


def make_exports(
    formats: Sequence[str],
    game: str,
    moments: Sequence[Moment],
    places: Mapping[int, HalfPlace],
    classes: Sequence[str],
    lead: float = LEAD,
    lag: float = LAG,
    today: date | None = None,
) -> dict[str, bytes]:
    """The files of some formats, by name.

    Where halves lie in several videos, `sportscode` and `webvtt`, which know one video only, give a
    file for each, numbered by the first half in it: `sportscode_2.xml`.

    Args:
      formats: of FORMATS.
      game: the game's name.
      moments: what to export. Halves that are not in `places` count as videos of their own.
      places: where each half lies.
      classes: the classes of the data, for `osl`.
      lead: seconds before a moment at which its Sportscode clip begins.
      lag: seconds after it at which the clip ends.
      today: the date in `osl`; by default today's.

    Raises:
      InputError: an unknown format.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"no export {name!r}; there are {', '.join(FORMATS)}")
    for half in sorted({moment.half for moment in moments} - set(places)):
        places = {**places, half: HalfPlace(VideoFile(f"half {half}"), 0.0)}
    videos = [halves for _, halves in _by_video(places)]
    files: dict[str, bytes] = {}
    for halves in videos:
        suffix = f"_{min(halves)}" if len(videos) > 1 else ""
        if "sportscode" in formats:
            files[f"sportscode{suffix}.xml"] = make_sportscode(moments, halves, lead, lag)
        if "webvtt" in formats:
            files[f"chapters{suffix}.vtt"] = make_webvtt(moments, halves).encode()
    if "osl" in formats:
        files["osl.json"] = _encode(make_osl(game, moments, places, classes, today or date.today()))
    if "csv" in formats:
        files["events.csv"] = make_csv(game, moments, places).encode()
    if "soccernet" in formats:
        predictions = (
            Prediction(half, label, position, 1.0 if confidence is None else confidence)
            for half, label, position, confidence in moments
        )
        files[RESULTS_FILE] = make_results(game, predictions).encode()
    return files


def write_exports(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Writes the files of `make_exports` into a folder, each atomically; returns their paths."""
    paths = []
    for name, content in files.items():
        with atomic_file(folder / name) as file:
            file.write(content)
        paths.append(folder / name)
    return paths


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats in a list like "sportscode,csv".

    Raises:
      ValueError: one is none of FORMATS.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not set(names) <= set(FORMATS):
        raise ValueError
    return names


parse_formats.__name__ = f"list of {', '.join(FORMATS)}"


def _in_video(
    moments: Sequence[Moment], places: Mapping[int, HalfPlace]
) -> list[tuple[float, Moment]]:
    """Moments of the halves in `places`, each with its seconds in the video, in their order."""
    timed = [
        (places[moment.half].start + moment.position, moment)
        for moment in moments
        if moment.half in places
    ]
    return sorted(timed, key=lambda pair: pair[0])


def _by_video(
    places: Mapping[int, HalfPlace],
) -> list[tuple[VideoFile, dict[int, HalfPlace]]]:
    videos: dict[VideoFile, dict[int, HalfPlace]] = {}
    for half in sorted(places):
        videos.setdefault(places[half].video, {})[half] = places[half]
    return list(videos.items())


def _add(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    if text is not None:
        child.text = _NOT_IN_XML.sub("\ufffd", text)
    return child


def _add_label(instance: ElementTree.Element, group: str, text: str) -> None:
    label = _add(instance, "label")
    _add(label, "group", group)
    _add(label, "text", text)


def _tenth(confidence: float) -> str:
    tenth = int(10 * min(0.9, max(0.0, confidence))) if math.isfinite(confidence) else 0
    return f"{10 * tenth}-{10 * tenth + 10}"


def _cue_time(milliseconds: int) -> str:
    minutes, rest = divmod(milliseconds, 60000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _cue_text(label: str) -> str:
    text = " ".join(label.split()).replace("&", "&amp;").replace("<", "&lt;")
    return text.replace(">", "&gt;")


def _encode(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
