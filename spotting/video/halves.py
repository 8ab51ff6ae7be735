"""The halves of a match within its video: --halves=0:05:12-0:51:40,1:07:03-1:55:00."""

import dataclasses
import math
import re
from pathlib import Path

from spotting.base.errors import InputError
from spotting.video.decoding import Scan, check_gaps, clock

MOST_HALVES = 4
"""Two, and two of extra time."""

_EXAMPLE = "--halves=0:05:12-0:51:40,1:07:03-1:55:00"
_TIME = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)")
_SLACK = 1.0  # seconds that a half may be longer than the video: times are given in seconds


@dataclasses.dataclass(frozen=True)
class Half:
    """A part of a video that becomes one file of features.

    Attributes:
      number: 1 to 4; 3 and 4 are extra time.
      start: seconds since the video's first picture.
      end: seconds, or None for the video's end.
    """

    number: int
    start: float = 0.0
    end: float | None = None


def parse_halves(text: str) -> tuple[Half, ...]:
    """The halves that a command line names.

    Args:
      text: START-END,START-END,...; times are h:mm:ss, mm:ss or seconds, with decimals if need be;
        the last END may be left out.

    Raises:
      InputError: something else, too many, not in order, or halves that overlap.
    """
    halves: list[Half] = []
    parts = text.split(",")
    for number, part in enumerate(parts, 1):
        start_text, dash, end_text = part.strip().partition("-")
        if not dash:
            raise InputError(f"--halves: {part!r} is not START-END, as in {_EXAMPLE}")
        start = _seconds(start_text)
        end = None if not end_text and number == len(parts) else _seconds(end_text)
        if end is not None and end <= start:
            raise InputError(f"--halves: {part!r} ends before it starts")
        if halves and start < (halves[-1].end or 0):
            raise InputError(
                f"--halves: half {number} starts at {clock(start)}, before half {number - 1} ends "
                f"at {clock(halves[-1].end or 0)}: they overlap"
            )
        halves.append(Half(number, start, end))
    if len(halves) > MOST_HALVES:
        raise InputError(f"--halves: {len(halves)} halves; a match has at most {MOST_HALVES}")
    return tuple(halves)


def half_of_file(path: Path) -> int | None:
    """The half that a file's name says, as in 1_224p.mkv and 1.mkv; None where it says none.

    Raises:
      InputError: it is the number of no half.
    """
    match = re.match(r"(\d)(?:_|$)", path.stem)
    if match is None:
        return None
    number = int(match[1])
    if not 1 <= number <= MOST_HALVES:
        raise InputError(
            f"{path}: half {number}; halves are numbered 1 to {MOST_HALVES} (--list names games)"
        )
    return number


def check_half(scanned: Scan, half: Half, rule: str, rate: float) -> Half:
    """Fits a half to its video: one that ends with the video gets that end.

    Args:
      scanned: of the video.
      half: as it was asked for.
      rule: for choosing pictures, see `choice.RULES`.
      rate: rows per second.

    Raises:
      InputError: it is not in the video, too short, has a long gap, or does not suit the rule.
    """
    end, name = scanned.timeline.end, f"{scanned.path}: half {half.number}"
    if half.start >= end:
        raise InputError(
            f"{name} starts at {clock(half.start)}, but the video ends at {clock(end)}"
        )
    if half.end is not None and half.end > end + _SLACK and not scanned.missing:
        raise InputError(f"{name} ends at {clock(half.end)}, but the video at {clock(end)}")
    last = end if half.end is None else min(half.end, end)
    if last - half.start < 1 / rate:
        raise InputError(f"{name} has {last - half.start:.2f} s, less than one row of features")
    if rule == "soccernet":
        if not math.isclose(half.start * rate, round(half.start * rate)):
            raise InputError(
                f"{name} starts at {half.start:g} s: SoccerNet's counting needs multiples of "
                f"{1 / rate:g} s; change --halves or use --rule=timestamps"
            )
        if scanned.timeline.picture_rate <= rate:
            raise InputError(
                f"{scanned.path}: {scanned.timeline.picture_rate:g} pictures per second are too "
                "few for SoccerNet's counting; use --rule=timestamps"
            )
    check_gaps(scanned, half.start, half.end)
    return half


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text.strip())
    if match is None or (match[2] and float(match[3]) >= 60) or (match[1] and int(match[2]) >= 60):
        raise InputError(f"--halves: {text!r} is no time; write h:mm:ss, as in {_EXAMPLE}")
    return 3600 * int(match[1] or 0) + 60 * int(match[2] or 0) + float(match[3])
