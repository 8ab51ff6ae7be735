"""What a browser makes of a video file, and the command that makes one that it plays."""

import contextlib
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from spotting.base.errors import InputError

_CONTAINERS = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}
_H264_FORMATS = {"yuv420p", "yuvj420p"}
_PICTURE_CODECS = {"h264", "vp8", "vp9", "av1", "libdav1d", "libvpx-vp9", "libvpx"}
_SOUND_CODECS = {"aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "libvorbis", "flac"}


class VideoFacts(NamedTuple):
    """What a page has to know of a video.

    `frame_rate` and `seconds` are None where PyAV is missing. `problem` says why browsers do not
    play it, or not all of them, "" where all do; `command` mends that.
    """

    path: Path
    media_type: str
    frame_rate: float | None
    seconds: float | None
    problem: str
    command: str


def read_video_facts(path: Path) -> VideoFacts:
    """Opens a video and reads its header.

    Raises:
      InputError: there is no such file, or no picture in it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such video file")
    suffix = path.suffix.lower()
    media_type = _CONTAINERS.get(suffix, "application/octet-stream")
    try:
        import av
    except ImportError:
        return VideoFacts(path, media_type, None, None, "", "")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path}: no picture in it, only sound")
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
            seconds = None
            if stream.duration and stream.time_base:
                seconds = float(stream.duration * stream.time_base)
            elif container.duration:
                seconds = container.duration / av.time_base
            problem, transcode = _judge(container, stream, suffix)
    except av.error.FFmpegError as error:
        raise InputError(f"{path}: not a video that can be read: {error.strerror}") from error
    frame_rate = float(rate) if rate else None
    command = make_command(path, transcode) if problem else ""
    return VideoFacts(path, media_type, frame_rate, seconds, problem, command)


def make_command(path: Path, transcode: bool) -> str:
    """The ffmpeg command that makes an .mp4 for browsers, beside the video.

    Args:
      path: the video.
      transcode: whether its picture has to be encoded anew, rather than copied (seconds).
    """
    target = path.with_suffix(".mp4")
    if target == path:
        target = path.with_name(f"{path.stem}_browser.mp4")
    picture = "-c:v libx264 -preset veryfast -crf 20 -pix_fmt yuv420p" if transcode else "-c:v copy"
    return (
        f"ffmpeg -i {shlex.quote(str(path))} -map 0:v:0 -map 0:a:0? {picture} -c:a aac "
        f"-movflags +faststart {shlex.quote(str(target))}"
    )


def _judge(container: Any, stream: Any, suffix: str) -> tuple[str, bool]:
    """What is wrong with a video, "" if nothing; and whether its picture must be encoded anew."""
    codec, pixels = stream.codec_context.name, stream.codec_context.pix_fmt or ""
    if codec not in _PICTURE_CODECS:
        name = {"hevc": "HEVC (H.265)", "mpeg2video": "MPEG-2"}.get(codec, codec)
        return f"its picture is {name}, which not every browser plays", True
    if codec == "h264" and pixels not in _H264_FORMATS:
        bits = "10-bit " if "10" in pixels else ""
        return f"its picture is {bits}H.264 in {pixels}, which not every browser plays", True
    if suffix not in _CONTAINERS:
        kind = suffix.lstrip(".") or "this kind of"
        return f"browsers do not play {kind} files", codec != "h264"
    with contextlib.suppress(IndexError):
        sound = container.streams.audio[0].codec_context.name
        if sound not in _SOUND_CODECS:
            return f"its sound is {sound}, which browsers do not play", False
    return "", False
