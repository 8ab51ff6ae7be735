"""extraction.json: what the features of a game were made of, and where its halves are in the video.

    {"version": 1, "halves": [{"half": 1, "features": "ResNET_TF2", "file": "1_ResNET_TF2.npy",
      "video": "match.mkv", "video_sha256": "...", "start": 312.0, "end": 3100.0, "rows": 5576,
      "frame_rate": 2.0, "rule": "timestamps", ...}, ...]}

Row k of a half is at `start + k/frame_rate` seconds of the video.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from spotting.base.errors import InputError
from spotting.base.files import read_object, write_json_atomic
from spotting.base.inputs import is_below, is_text

FILE = "extraction.json"
VERSION = 1

_GREATEST = 1e12  # of any number


@dataclasses.dataclass(frozen=True)
class HalfRecord:
    """One file of features.

    Attributes:
      half: 1 to 4.
      features: name of the feature set.
      file: name of the file of features, in the same folder.
      rows: of it.
      dim: values in a row.
      dtype: of the file.
      frame_rate: rows per second.
      video: path of the video, as it was given.
      video_sha256: of the video.
      start, end: of the half, in seconds since the video's first picture.
      requested_end: end of the half as it was asked for; None for the video's.
      rule: for choosing pictures, see `choice.RULES`.
      columns: of the pictures, see `pictures.fit`.
      network: see `network.NetworkDetails`.
      lost_seconds: of the half that the video does not hold, or that could not be decoded.
      notes: what the user was told.
      versions: of the packages.
    """

    half: int
    features: str
    file: str
    rows: int
    dim: int
    dtype: str
    frame_rate: float
    video: str
    video_sha256: str
    start: float
    end: float
    requested_end: float | None
    rule: str
    columns: int
    network: dict[str, Any]
    lost_seconds: float
    notes: list[str]
    versions: dict[str, str | None]

    def seconds(self, time: float) -> float:
        """A time in the half as a time in the video, both in seconds."""
        return self.start + time


def read_records(folder: str | os.PathLike) -> list[HalfRecord]:
    """What extraction.json in a game's folder says; nothing where there is none.

    Raises:
      InputError: it is damaged, or of a later version.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return []
    value = read_object(path)
    try:
        if value["version"] != VERSION:
            raise InputError(f"{path}: version {value['version']}, written by a later release")
        names = {field.name for field in dataclasses.fields(HalfRecord)}
        records = [
            HalfRecord(**{name: item for name, item in entry.items() if name in names})
            for entry in value["halves"]
        ]
        for record in records:
            if problem := _find_problem(record):
                raise ValueError(problem)
        return records
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: incomplete ({error}); delete it and extract again") from error


def _find_problem(record: HalfRecord) -> str:
    """What a record holds that an extraction does not write; empty if nothing."""
    for name in ("features", "file", "dtype", "video", "video_sha256", "rule"):
        value = getattr(record, name)
        if not isinstance(value, str) or not is_text(value):
            return f"{name} is {value!r:.40}"
    for name in ("half", "rows", "dim", "columns"):
        value = getattr(record, name)
        if type(value) is not int or not 0 <= value <= _GREATEST:
            return f"{name} is {value!r:.40}"
    for name in ("frame_rate", "start", "end", "lost_seconds"):
        value = getattr(record, name)
        if type(value) not in (int, float) or not abs(value) <= _GREATEST:
            return f"{name} is {value!r:.40}"
    if not is_below(record.file) or Path(record.file).name != record.file:
        return f"file is {record.file!r:.40}"
    return ""


def write_record(folder: str | os.PathLike, record: HalfRecord) -> None:
    """Puts a file's record into extraction.json, instead of one of the same half and features."""
    kept = [
        one
        for one in read_records(folder)
        if (one.half, one.features) != (record.half, record.features)
    ]
    halves = sorted([*kept, record], key=lambda one: (one.features, one.half))
    entries = [dataclasses.asdict(one) for one in halves]
    write_json_atomic(Path(folder) / FILE, {"version": VERSION, "halves": entries})
