"""Cuts pieces out of a video without decoding them: packets are copied, seconds cost nothing.

A piece can only begin at a key frame, so it begins up to one key frame distance (often 2 to 10 s)
before what was asked for; it ends with the frame that was asked for, or a few frames later where
the last ones are stored out of order.
"""

import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spotting.base.errors import InputError
from spotting.base.files import TEMPORARY, remove_temporaries

_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm"}


class Span(NamedTuple):
    """A piece to cut: the file's name without its ending, and seconds of the video."""

    name: str
    start: float
    end: float


class Clip(NamedTuple):
    """A piece that was cut: its file, and the seconds of the video that it shows."""

    path: Path
    start: float
    end: float


def cut_clips(video: Path, spans: Sequence[Span], folder: Path) -> list[Clip]:
    """Copies pieces of a video into files of the same kind (.mkv where it cannot be kept).

    Each begins at the last key frame at or before its start. Sound comes along where the container
    takes it. A file that is there already is replaced, atomically.

    Args:
      video: a file that PyAV opens; seconds count from its first frame.
      spans: what to cut; those that begin after the end of the video are left out.
      folder: where the files go, written by one process at a time; made if it is not there.

    Raises:
      InputError: the file is no video, or PyAV is missing.
      OSError: a clip cannot be written.
    """
    av = _import_av()
    suffix = video.suffix.lower() if video.suffix.lower() in _CONTAINERS else ".mkv"
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder)  # of a process that was killed
    clips = []
    try:
        with av.open(str(video)) as source:
            if not source.streams.video:
                raise InputError(f"{video}: no picture in it")
            for span in spans:
                path = folder / f"{file_name(span.name)}{suffix}"
                clip = _cut(av, source, span, path)
                if clip is not None:
                    clips.append(clip)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise OSError(error.errno, f"{os.strerror(error.errno)}: {folder}") from error
        raise InputError(f"{video}: cannot be cut: {error.strerror}") from error
    return clips


def file_name(text: str) -> str:
    """`text` as part of a file name that every system takes."""
    plain = re.sub(r"[^\w.+-]+", "_", text).strip("._")
    return plain[:80] or "clip"


_DISK_ERRORS = {13, 27, 28, 30, 122}  # EACCES, EFBIG, ENOSPC, EROFS, EDQUOT


def _cut(av: Any, source: Any, span: Span, path: Path) -> Clip | None:
    pictures = source.streams.video[0]
    begins = pictures.start_time or 0
    ticks = 1 / float(pictures.time_base)
    source.seek(begins + round(max(0.0, span.start) * ticks), stream=pictures, backward=True)
    handle, temporary = tempfile.mkstemp(TEMPORARY, f".{path.name}.", path.parent)
    os.close(handle)
    try:
        shown = _copy(av, source, pictures, begins, span, temporary, path.suffix)
        if shown is None:
            return None
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return Clip(path, *shown)


def _copy(
    av: Any, source: Any, pictures: Any, begins: int, span: Span, target: str, suffix: str
) -> tuple[float, float] | None:
    """Copies a piece's packets; returns its first and last frame's seconds, None if it has none."""
    tick = float(pictures.time_base)
    stop = begins + span.end / tick
    sound = next(iter(source.streams.audio), None)
    format_name = _CONTAINERS.get(suffix, "matroska")
    with av.open(target, "w", format=format_name) as clip:
        copies = {pictures: clip.add_stream_from_template(pictures)}
        if sound is not None and _takes(format_name, sound.codec_context.name):
            copies[sound] = clip.add_stream_from_template(sound)
        first: int | None = None
        last = begins
        early = []  # Sound may be stored before the first frame that it belongs to.
        for packet in _complete(source.demux(list(copies)), pictures):
            if packet.stream is not pictures:
                if first is None:
                    early.append(packet)
                else:
                    _mux(clip, packet, copies, first * tick, stop * tick)
                continue
            if first is None:
                if packet.pts >= stop:
                    break
                if not packet.is_keyframe:
                    continue
                first = packet.pts
                for other in early:
                    _mux(clip, other, copies, first * tick, stop * tick)
            # A frame that is shown before one already copied fills a gap and has to come along.
            if packet.dts >= stop and packet.pts > last:
                break
            last = max(last, packet.pts)
            _mux(clip, packet, copies, first * tick)
    # A seek beyond the end arrives at the last key frame.
    if first is None or (last - begins) * tick < span.start:
        return None
    return (first - begins) * tick, (last - begins) * tick


def _complete(packets: Iterable[Any], pictures: Any) -> Iterator[Any]:
    """Packets that have both times; Matroska's first ones after a seek lack the decoder's."""
    waiting: list[Any] = []
    for packet in packets:
        if packet.pts is None:
            continue
        if packet.stream is pictures and packet.dts is None:
            waiting.append(packet)
            continue
        if packet.stream is pictures and waiting:
            step = packet.duration or 1
            for number, other in enumerate(reversed(waiting), 1):
                other.dts = packet.dts - number * step
            yield from waiting
            waiting = []
        if packet.dts is not None:
            yield packet


def _mux(clip: Any, packet: Any, copies: Any, zero: float, stop: float = math.inf) -> None:
    """Copies a packet, its time counted from `zero` seconds on; sound outside the piece is left."""
    time = float(packet.pts * packet.time_base)
    if packet.stream.type == "audio" and not zero <= time < stop:
        return
    ticks = round(zero / float(packet.time_base))
    packet.pts -= ticks
    packet.dts -= ticks
    packet.stream = copies[packet.stream]
    clip.mux(packet)


def _takes(format_name: str, codec: str) -> bool:
    if format_name == "webm":
        return codec in {"opus", "vorbis", "libopus", "libvorbis"}
    if format_name == "mp4":
        return codec in {"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac"}
    return True


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise InputError("cutting videos needs PyAV; pip install 'spotting[review]'") from error
    return av
