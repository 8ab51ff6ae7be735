"""Opens videos with PyAV, scans their time stamps, and decodes the pictures that are wanted.

A scan reads packets without decoding them: it gives the time of every picture, and finds files that
were cut short, before any long work. Decoding then yields the wanted pictures alone, with the
colours of SoccerNet's extractor: BT.601 whatever the file's tag says, and full range where the file
says so.
"""

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spotting.base.errors import InputError
from spotting.video import pictures
from spotting.video.choice import Timeline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

LONGEST_GAP = 60.0
"""Seconds without a picture that are bridged by the last one; a longer gap is an error."""

_NOTABLE_GAP = 2.0
_BEFORE_SEEK = 2.0  # seconds; decoders have no pictures of before the place that was sought
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_UNKNOWN_PICTURE_RATE = 25.0


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a video says about itself, without its pictures.

    Attributes:
      path: of the file.
      stamps: [n] time stamps of all pictures, ascending, in units of `time_base`.
      time_base: seconds.
      timeline: the same in seconds since the first picture.
      width, height: of the pictures.
      codec, pixel_format: their names, e.g. "h264" and "yuv420p".
      missing: seconds that the file promises but does not hold; 0 for a sound file.
      notes: lines for the user.
    """

    path: Path
    stamps: np.ndarray
    time_base: float
    timeline: Timeline
    width: int
    height: int
    codec: str
    pixel_format: str
    missing: float
    notes: tuple[str, ...]


@dataclasses.dataclass
class Damage:
    """What decoding lost.

    Attributes:
      packets: that could not be decoded.
      corrupt: pictures that the decoder marked as damaged.
      seconds: of rows at the end that have no picture.
    """

    packets: int = 0
    corrupt: int = 0
    seconds: float = 0.0


def import_av() -> Any:
    """PyAV; InputError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise InputError("reading videos needs PyAV: pip install 'spotting[video]'") from error
    # FFmpeg's remarks about single packets are counted here, and said once.
    av.logging.set_level(None)
    return av


def scan(path: str | os.PathLike) -> Scan:
    """Reads the time stamps of all pictures of a video file.

    Args:
      path: of the file.

    Returns:
      See `Scan`.

    Raises:
      InputError: no video that features can be made of; the message says what to do.
      OSError: it cannot be read.
    """
    av, path = import_av(), Path(path)
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path}: the file is empty; copy it again")
    with open(path, "rb"):  # says that it cannot be read better than FFmpeg does
        pass
    with open_video(path) as (container, stream):
        context = stream.codec_context
        _check_picture(path, context)
        stamps, undated, end, cut = [], 0, 0.0, False
        try:
            for packet in container.demux():
                if packet.size == 0:
                    continue
                when = packet.pts if packet.pts is not None else packet.dts
                if when is not None and packet.time_base:
                    length = packet.duration or 0
                    end = max(end, float((when + length) * packet.time_base))
                if packet.stream.index == stream.index:
                    if packet.pts is None:
                        undated += 1
                    elif not packet.is_discard:
                        stamps.append(packet.pts)
        except av.error.FFmpegError:
            cut = True
        if undated > max(1, len(stamps) // 100):
            raise InputError(
                f"{path}: its pictures have no time stamps; put them into a container that has: "
                f"ffmpeg -i {path.name} -c copy {path.stem}.mkv"
            )
        if not stamps:
            raise InputError(f"{path}: no pictures in it; is the file complete?")
        base = float(stream.time_base or 0)
        known = np.unique(np.asarray(stamps, np.int64))
        rate = stream.average_rate or stream.guessed_rate
        duration = ((container.duration or 0) + 5000) // 10000 / 100
        first = float(container.start_time or 0) / 1_000_000
        timeline = Timeline(
            (known - known[0]) * base, float(rate or _UNKNOWN_PICTURE_RATE), duration
        )
        promised = float(stream.duration * stream.time_base) if stream.duration else 0.0
        # Sound may last longer than pictures: only where all streams end early is the file cut.
        missing = max(promised - timeline.end, 0.0 if promised else duration - (end - first))
        notes = _notes(path, timeline, context)
        if missing < max(1.0, 2 / timeline.picture_rate):
            missing = 0.0
        if missing or cut:
            notes.append(
                f"{path}: the file ends early, at {clock(timeline.end)}: {missing:.1f} s are "
                "missing; what is there is used"
            )
        return Scan(
            path,
            known,
            base,
            timeline,
            context.width,
            context.height,
            context.name,
            str(context.pix_fmt),
            missing,
            tuple(notes),
        )


@contextlib.contextmanager
def open_video(
    path: str | os.PathLike, options: dict[str, str] | None = None
) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """Yields the open container and its first video stream that is no cover picture.

    Args:
      path: a file, or an address that FFmpeg can open.
      options: for FFmpeg's reader.

    Raises:
      InputError: no video.
    """
    av = import_av()
    try:
        container = av.open(str(path), options=options or {})
    except (PermissionError, FileNotFoundError, IsADirectoryError):
        raise
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: not a video, or cut off before its index: {reason}; copy it again, or convert "
            "it with ffmpeg"
        ) from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & _attached_picture(av)]
        if not streams:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise InputError(f"{path}: no video stream in it, only {kinds}")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


def _attached_picture(av: Any) -> Any:
    return av.stream.Disposition.attached_pic


def _check_picture(path: Path, context: Any) -> None:
    if not context.width or not context.height:
        raise InputError(f"{path}: its pictures have no size; is the file complete?")
    if pictures.fitted_width(context.width, context.height) < pictures.SIZE:
        raise InputError(
            f"{path}: {context.width}x{context.height} is narrower than high; features are of the "
            "middle square of a landscape picture"
        )
    if context.color_trc in _HDR_TRANSFERS:
        raise InputError(
            f"{path}: HDR ({_HDR_TRANSFERS[context.color_trc]}), whose colours no network here was "
            "trained on; convert it to SDR first: ffmpeg -i IN -vf zscale=t=linear:npl=100,"
            "format=gbrpf32le,zscale=p=bt709,tonemap=hable,zscale=t=bt709:m=bt709,format=yuv420p OUT"
        )


def _notes(path: Path, timeline: Timeline, context: Any) -> list[str]:
    notes = []
    gaps = np.diff(timeline.times)
    notable = np.flatnonzero(gaps > max(_NOTABLE_GAP, 2.5 / timeline.picture_rate))
    if notable.size:
        where = clock(float(timeline.times[notable[0]]))
        notes.append(
            f"{path}: {len(notable)} gap(s) without pictures, {gaps[notable].sum():.1f} s in all, "
            f"the first at {where}; the last picture before stands in"
        )
    return notes


def check_gaps(scanned: Scan, start: float, end: float | None) -> None:
    """InputError if a half has a gap too long to be bridged."""
    times = scanned.timeline.times
    inside = (times >= start) & (times <= (np.inf if end is None else end))
    gaps = np.diff(times[inside])
    if gaps.size and gaps.max() > LONGEST_GAP:
        at = int(np.argmax(gaps))
        before, after = times[inside][at : at + 2]
        raise InputError(
            f"{scanned.path}: no pictures from {clock(before)} to {clock(after)}; leave the gap out "
            "with --halves=START-END,START-END"
        )


def decode(
    scanned: Scan,
    wanted: Sequence[int] | np.ndarray,
    damage: Damage,
    columns: int = pictures.SIZE,
    stop: threading.Event | None = None,
) -> Iterator[np.ndarray]:
    """Yields the wanted pictures, resized and cropped.

    Pictures that no other depends on are not decoded unless wanted; the wanted ones come out the
    same to the last bit. One that cannot be decoded is replaced by the last before it that could.

    Args:
      scanned: of the video.
      wanted: [rows] ascending indices into `scanned.stamps`; repeated ones are yielded again.
      damage: is told what was lost.
      columns: see `pictures.fit`.
      stop: ends the decoding when it is set.

    Yields:
      [224, columns, 3] uint8 in the order blue, green, red. Fewer than wanted if the file cannot be
      decoded to its end.
    """
    todo = scanned.stamps[np.asarray(wanted, np.int64)]
    if not len(todo):
        return
    row, fitted = 0, None
    previous: VideoFrame | None = None
    for frame in _frames(scanned, todo, damage):
        if stop is not None and stop.is_set():
            return
        stamp = frame.pts
        if stamp is None:
            continue
        while row < len(todo) and todo[row] < stamp and previous is not None:
            if fitted is None:
                fitted = to_picture(previous, columns)
            yield fitted
            row += 1
        if row == len(todo):
            return
        previous, fitted = frame, None
        while row < len(todo) and todo[row] == stamp:
            if fitted is None:
                fitted = to_picture(frame, columns)
            yield fitted
            row += 1
        if row == len(todo):
            return
    if previous is None:
        raise InputError(f"{scanned.path}: no picture can be decoded")
    # Rows of the last picture, and of a few that were lost behind it.
    nearly = (previous.pts or 0) + 1.0 / scanned.time_base
    while row < len(todo) and todo[row] <= nearly:
        if fitted is None:
            fitted = to_picture(previous, columns)
        yield fitted
        row += 1
    if row < len(todo):
        damage.seconds += float((todo[-1] - (previous.pts or 0)) * scanned.time_base)


def _frames(scanned: Scan, todo: np.ndarray, damage: Damage) -> Iterator["VideoFrame"]:
    """Decoded frames around and between the wanted time stamps, in the order of display."""
    av = import_av()
    needed = set(todo.tolist())
    with open_video(scanned.path) as (container, stream):
        margin = round(_BEFORE_SEEK / scanned.time_base)
        if todo[0] - scanned.stamps[0] > 2 * margin:
            with contextlib.suppress(av.error.FFmpegError):
                container.seek(int(todo[0]) - margin, stream=stream, backward=True)
        last = int(todo[-1])
        context = stream.codec_context
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                packet = None
            if packet is None:
                # The end of a file that was cut: what the decoder still holds.
                with contextlib.suppress(av.error.FFmpegError):
                    yield from context.decode(None)
                return
            if packet.size:
                context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damage.packets += 1
                continue
            for frame in frames:
                damage.corrupt += frame.is_corrupt
                yield frame
                if frame.pts is not None and frame.pts > last:
                    return
            if not packet.size:
                return


def to_picture(frame: "VideoFrame", columns: int = pictures.SIZE) -> np.ndarray:
    """A frame as [224, columns, 3] uint8 in the order blue, green, red."""
    return pictures.fit(to_array(frame), columns)


def to_array(frame: "VideoFrame") -> np.ndarray:
    """A frame as [H, W, 3] uint8 in the order blue, green, red, by BT.601's coefficients."""
    return frame.reformat(format="bgr24", src_colorspace="ITU601").to_ndarray()


def clock(seconds: float) -> str:
    """3725.5 s as "1:02:05.5"; whole seconds without their decimals."""
    tenths = round(float(seconds) * 10)
    text = f"{tenths // 36000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}"
    return text + (f".{tenths % 10}" if tenths % 10 else "")
