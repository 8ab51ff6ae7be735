"""What is under review: a match's spots, its videos, and where its halves lie in them."""

import hashlib
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from spotting import timing
from spotting.base.errors import InputError
from spotting.base.files import parse_json
from spotting.base.inputs import read_regular
from spotting.data.annotations import (
    HALF_NUMBERS,
    RESULTS_FILE,
    SOCCERNET_CLASSES,
    Prediction,
    read_results,
)
from spotting.data.exports import (
    EXTRACTION_FILE,
    HalfPlace,
    VideoFile,
    first_minute,
    read_places,
)
from spotting.reporting.review.playable import VideoFacts

_SLACK = 10.0
"""Seconds that a spot may lie beyond its half: features are padded, durations rounded."""


class Span(NamedTuple):
    """A half's time in a video, in seconds; `end` is None where it lasts as long as the video."""

    start: float
    end: float | None


@dataclass(frozen=True)
class HalfVideo:
    """A half: its number, the index of its video, where it begins there, and how long it lasts."""

    number: int
    video: int
    start: float
    seconds: float


@dataclass(frozen=True)
class Match:
    """A match to be looked at. `spots` is empty where it is labelled from nothing."""

    game: str
    classes: tuple[str, ...]
    videos: tuple[VideoFacts, ...]
    halves: tuple[HalfVideo, ...]
    spots: tuple[Prediction, ...] = ()
    source: str = ""

    def places(self) -> dict[int, HalfPlace]:
        """Where each half lies, for exports; halves by the rules' minutes if there are several."""
        files = [VideoFile(video.path.name, video.frame_rate) for video in self.videos]
        by_rule = len(self.halves) > 1
        return {
            half.number: HalfPlace(
                files[half.video], half.start, first_minute(half.number) if by_rule else None
            )
            for half in self.halves
        }


class Spots(NamedTuple):
    """A game's spots as `predict` left them: its folder, name, spots, and their file's SHA-256."""

    folder: Path
    game: str
    spots: list[Prediction]
    digest: str


def read_spots(path: Path) -> Spots:
    """Reads the spots of one game.

    Args:
      path: the game's folder, a folder with one game at any depth, or a results file.

    Raises:
      InputError: there is none, there are several, or the file cannot be read.
    """
    if path.is_dir():
        files = sorted(path.rglob(RESULTS_FILE))
        if (path / RESULTS_FILE).is_file():
            files = [path / RESULTS_FILE]
        if not files:
            raise InputError(f"{path}: no {RESULTS_FILE} in it; `predict` writes one for each game")
        if len(files) > 1:
            raise InputError(
                f"{path}: {len(files)} games in it; give the folder of one, such as "
                f"{files[0].parent}"
            )
        path = files[0]
    elif not path.is_file():
        raise InputError(f"{path}: no such folder of spots")
    content = read_regular(path)
    document = parse_json(content, path)
    spots = [spot for spot in read_results(path) if math.isfinite(spot.confidence)]
    named = document.get("UrlLocal") if isinstance(document, dict) else None
    game = named.strip("/") if isinstance(named, str) else ""
    folder = path.parent
    return Spots(folder, game or folder.resolve().name, spots, hashlib.sha256(content).hexdigest())


def choose_classes(spots: Sequence[Prediction]) -> tuple[str, ...]:
    """SoccerNet's classes if the spots have no other, else the spots' own, sorted."""
    labels = {spot.label for spot in spots}
    if labels <= set(SOCCERNET_CLASSES):
        return SOCCERNET_CLASSES
    return tuple(sorted(labels))


def read_classes(path: Path) -> tuple[str, ...]:
    """The classes in a `dataset.json`; a folder stands for the one in it.

    Raises:
      InputError: there is no such file, or no list of class names in it.
    """
    if path.is_dir():
        path = path / "dataset.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; it should be a dataset.json with classes")
    document = parse_json(read_regular(path), path)
    classes = document.get("classes") if isinstance(document, dict) else None
    if (
        not isinstance(classes, list)
        or not classes
        or not all(isinstance(name, str) and name.strip() for name in classes)
        or len(set(classes)) < len(classes)
    ):
        raise InputError(f'{path}: "classes" should be a list of class names, each once')
    return tuple(classes)


def parse_spans(text: str) -> list[Span]:
    """Halves' times in a video: "0:05:12-0:51:40,1:07:03-1:55:00".

    Raises:
      ValueError: it is none, a half ends before it begins, or two overlap.
    """
    spans = []
    for part in text.split(","):
        start, dash, end = part.strip().partition("-")
        if not dash:
            raise ValueError
        spans.append(Span(_seconds(start), _seconds(end)))
    for span in spans:
        if span.end is None or span.end <= span.start:
            raise ValueError
    in_order = sorted(spans)
    if any(b.start < (a.end or 0) for a, b in itertools.pairwise(in_order)):
        raise ValueError
    return spans


parse_spans.__name__ = "list of halves like 0:05:12-0:51:40,1:07:03-1:55:00"


def place_halves(
    videos: Sequence[VideoFacts],
    spans: Sequence[Span] | None,
    spots: Sequence[Prediction],
    extraction: Path | None,
) -> tuple[HalfVideo, ...]:
    """Where each half lies in the videos.

    In this order: the spans that the user gave; the folder `extraction` with what `extract` wrote
    down, if it has that; a video for each half; one video that is one half.

    Raises:
      InputError: none of these fits the videos and the spots' halves, or a spot lies beyond the
        end of its half by more than ten seconds.
    """
    spotted = sorted({spot.half for spot in spots})
    recorded = _read_extraction(extraction, videos) if extraction and spans is None else None
    if spans is not None:
        if len(videos) > 1:
            raise InputError("--halves tells where halves lie in one video; there are several")
        halves = [
            _half(number, 0, span.start, span.end, videos, spots)
            for number, span in enumerate(spans, 1)
        ]
    elif recorded is not None:
        halves = [
            _half(number, video, span.start, span.end, videos, spots)
            for number, (video, span) in sorted(recorded.items())
        ]
    elif len(videos) == 1 and spotted and spotted != [1]:
        numbers = " and ".join(map(str, spotted))
        raise InputError(
            f"{videos[0].path}: one video, but spots of half {numbers}; say where they lie in it "
            "with --halves=0:05:12-0:51:40,1:07:03-1:55:00, or give one --video for each"
        )
    else:
        halves = [_half(i + 1, i, 0.0, None, videos, spots) for i in range(len(videos))]
    if len(halves) > len(HALF_NUMBERS):
        raise InputError(f"{len(halves)} halves; a match has at most {len(HALF_NUMBERS)}")
    missing = set(spotted) - {half.number for half in halves}
    if missing:
        raise InputError(
            f"the spots have a half {min(missing)}, of which there is no video; are they of "
            "another match?"
        )
    for half in halves:
        _check_within(half, spots, videos[half.video].path)
    return tuple(halves)


def _half(
    number: int,
    video: int,
    start: float,
    end: float | None,
    videos: Sequence[VideoFacts],
    spots: Sequence[Prediction],
) -> HalfVideo:
    length = videos[video].seconds
    if length is not None and start >= length:
        raise InputError(
            f"{videos[video].path}: half {number} begins at {timing.clock(start)}, but the video "
            f"ends at {timing.clock(length)}"
        )
    if end is None:
        end = length
    elif length is not None:
        if end > length + _SLACK:
            raise InputError(
                f"{videos[video].path}: half {number} ends at {timing.clock(end)}, but the video "
                f"at {timing.clock(length)}; are the spots or the times of another match?"
            )
        end = min(end, length)
    if end is None:
        end = start + max((s.position for s in spots if s.half == number), default=0.0) + 60
    return HalfVideo(number, video, start, end - start)


def _check_within(half: HalfVideo, spots: Sequence[Prediction], path: Path) -> None:
    last = max((spot.position for spot in spots if spot.half == half.number), default=0.0)
    if last > half.seconds + _SLACK:
        raise InputError(
            f"{path}: a spot at {timing.clock(last)} of half {half.number}, which ends at "
            f"{timing.clock(half.seconds)} in this video; are the spots of another match?"
        )


def _read_extraction(
    folder: Path, videos: Sequence[VideoFacts]
) -> dict[int, tuple[int, Span]] | None:
    """For each half its video's index and its span, as `extract` wrote them down; or None."""
    found = {
        half: (_find_video(folder, place.video.path, videos, half), Span(place.start, place.end))
        for half, place in read_places(folder).items()
    }
    return found or None


def _find_video(folder: Path, recorded: str, videos: Sequence[VideoFacts], half: int) -> int:
    """The index of the video that a half was extracted from, by name, else by the half's number."""
    stem = Path(recorded).stem
    for index, video in enumerate(videos):
        if video.path.stem in (stem, f"{stem}_browser"):
            return index
    if len(videos) == 1:
        return 0
    if half <= len(videos):
        return half - 1
    raise InputError(
        f"{folder / EXTRACTION_FILE}: half {half} was in {recorded}; give it as --video"
    )


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\s*(\d+:){0,2}\d+(\.\d+)?\s*", text):
        raise ValueError
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total
