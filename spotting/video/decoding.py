"""Opens videos with PyAV, scans their time stamps, and decodes the pictures that are wanted.

A scan reads packets without decoding them: it gives the time of every picture, and finds files that
were cut short, before any long work. Decoding then yields the wanted pictures alone, with the
colours of SoccerNet's extractor: BT.601 whatever the file's tag says, and full range where the file
says so.
"""

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spotting.base.errors import InputError
from spotting.video import pictures
from spotting.video.choice import SLACK, Timeline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

LONGEST_GAP = 60.0
"""Seconds without a picture that are bridged by the last one; a longer gap is an error."""

_NOTABLE_GAP = 2.0
_FIRST_PACKETS = 500  # within which some picture can be decoded
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
    """What the decoding of a half lost.

    Attributes:
      packets: that could not be decoded.
      corrupt: pictures that the decoder marked as damaged.
      seconds: of rows at the end that have no picture.
    """

    packets: int = 0
    corrupt: int = 0
    seconds: float = 0.0


class StoppedError(Exception):
    """The work was stopped from outside, on purpose."""


def check_stop(stop: threading.Event | None) -> None:
    """StoppedError if the event is set."""
    if stop is not None and stop.is_set():
        raise StoppedError


def import_av() -> Any:
    """PyAV; InputError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise InputError("reading videos needs PyAV: pip install 'spotting[video]'") from error
    # FFmpeg's remarks about single packets are counted here, and said once.
    av.logging.set_level(None)
    return av


def scan(path: str | os.PathLike, stop: threading.Event | None = None) -> Scan:
    """Reads the time stamps of all pictures of a video file.

    Args:
      path: of the file.
      stop: ends the reading when it is set.

    Returns:
      See `Scan`.

    Raises:
      InputError: no video that features can be made of; the message says what to do.
      OSError: it cannot be read.
      StoppedError: `stop` was set.
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
                check_stop(stop)
                if packet.size == 0:
                    continue
                when = packet.pts if packet.pts is not None else packet.dts
                if when is not None and packet.time_base:
                    end = max(end, float((when + (packet.duration or 0)) * packet.time_base))
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
        promised = (stream.duration or 0) * base
        # Sound may last longer than pictures: only where all streams end early is the file cut.
        missing = max(promised - timeline.end, 0.0 if promised else duration - (end - first))
        notes = [*_look_at_first(path), *_describe_gaps(path, timeline)]
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
        opened = sys.stdin.buffer if str(path) == "-" else str(path)
        container = av.open(opened, options=options or {})
    except (av.error.FFmpegError, ValueError) as error:
        # A list of videos may name one that is not there, or that it may not; this file is there.
        not_there = isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError)
        if (not_there and not os.access(path, os.R_OK)) or os.path.isdir(path):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: not a video, or cut off before its index: {reason}; copy it again, or "
            "convert it with ffmpeg"
        ) from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & _attached_picture(av)]
        if not streams:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise InputError(f"{path}: no video stream in it, only {kinds}")
        if streams[0].codec_context is None:
            raise InputError(f"{path}: nothing here decodes its pictures; convert it with ffmpeg")
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
            f"{path}: HDR ({_HDR_TRANSFERS[context.color_trc]}), whose colours the networks do not "
            f"know; convert it to SDR first: ffmpeg -i {path.name} -vf zscale=t=linear:npl=100,"
            "format=gbrpf32le,zscale=p=bt709,tonemap=hable,zscale=t=bt709:m=bt709,format=yuv420p "
            "sdr.mkv"
        )


def _look_at_first(path: Path) -> list[str]:
    """Decodes one picture for what only pictures tell; InputError if there is none, or it lies."""
    av = import_av()
    with open_video(path) as (container, stream):
        # Damage at the start is no reason to give a match up.
        for _, packet in zip(range(_FIRST_PACKETS), container.demux(stream), strict=False):
            with contextlib.suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    if frame.rotation % 360:
                        raise InputError(
                            f"{path}: stored turned by {frame.rotation % 360} degrees; turn it: "
                            f"ffmpeg -i {path.name} upright.mkv"
                        )
                    if frame.interlaced_frame:
                        return [
                            f"{path}: interlaced, which is left as it is; better features come of "
                            f"ffmpeg -i {path.name} -vf yadif progressive.mkv"
                        ]
                    return []
    raise InputError(f"{path}: no picture can be decoded; is the file complete?")


def _describe_gaps(path: Path, timeline: Timeline) -> list[str]:
    gaps = np.diff(timeline.times)
    notable = np.flatnonzero(gaps > max(_NOTABLE_GAP, 2.5 / timeline.picture_rate))
    if not notable.size:
        return []
    where = clock(float(timeline.times[notable[0]]))
    return [
        f"{path}: {len(notable)} gap(s) without pictures, {gaps[notable].sum():.1f} s in all, the "
        f"first at {where}; the last picture before stands in"
    ]


def check_gaps(scanned: Scan, start: float, end: float | None) -> None:
    """InputError if a half has a gap too long to be bridged."""
    times = scanned.timeline.times
    inside = (times >= start) & (times <= (np.inf if end is None else end))
    gaps = np.diff(times[inside])
    if gaps.size and gaps.max() > LONGEST_GAP:
        at = int(np.argmax(gaps))
        before, after = times[inside][at : at + 2]
        raise InputError(
            f"{scanned.path}: no pictures from {clock(before)} to {clock(after)}; leave the gap "
            "out with --halves=START-END,START-END"
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

    Raises:
      StoppedError: `stop` was set.
    """
    todo = scanned.stamps[np.asarray(wanted, np.int64)]
    if not len(todo):
        return
    row, fitted = 0, None
    previous: VideoFrame | None = None
    for frame in _frames(scanned, todo, damage):
        check_stop(stop)
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


def stream(
    source: str | os.PathLike, rate: float, columns: int = pictures.SIZE
) -> Iterator[np.ndarray]:
    """Yields the picture of each row while a video is coming in; the rule is `choose_by_time`'s.

    Time stamps that jump back, or by more than LONGEST_GAP ahead, as those of a broadcast that
    starts anew, are taken to go on.

    Args:
      source: a file, "-" for standard input, or an address that FFmpeg can open.
      rate: rows per second.
      columns: see `pictures.fit`.

    Yields:
      [224, columns, 3] uint8 in the order blue, green, red.

    Raises:
      InputError: no video.
    """
    av = import_av()
    row, fitted = 0, None
    previous: VideoFrame | None = None
    start = now = 0.0
    step = 1 / _UNKNOWN_PICTURE_RATE
    with open_video(source) as (container, stream):
        _check_picture(Path(source), stream.codec_context)
        if known := stream.average_rate or stream.guessed_rate:
            step = 1 / float(known)
        for frame in _all_frames(av, container, stream):
            stamp = now + start + step if frame.time is None else float(frame.time)
            if previous is None:
                start = stamp
            elif not 0 <= stamp - start - now <= LONGEST_GAP:
                start = stamp - now - step
            time = stamp - start
            while previous is not None and time >= (row + 1) / rate - SLACK:
                if fitted is None:
                    fitted = to_picture(previous, columns)
                yield fitted
                row += 1
            previous, fitted, now = frame, None, time
        if previous is None:
            raise InputError(f"{source}: no picture can be decoded")
        while (row + 1) / rate <= now + step + SLACK:
            if fitted is None:
                fitted = to_picture(previous, columns)
            yield fitted
            row += 1


def _all_frames(
    av: Any, container: "InputContainer", stream: "VideoStream"
) -> Iterator["VideoFrame"]:
    """All frames that can be decoded, in the order of display."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the file, or the connection, ends here
            packet = None
        if packet is None:
            with contextlib.suppress(av.error.FFmpegError):
                yield from stream.codec_context.decode(None)
            return
        with contextlib.suppress(av.error.FFmpegError):
            yield from packet.decode()
        if not packet.size:
            return


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
