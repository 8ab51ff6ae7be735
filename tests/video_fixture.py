"""Small videos that tests write: every picture carries its number."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS, CELL = 8, 16  # of the number: black and white cells of 16 x 16 pixels at 224 lines


def draw(number: int, width: int, height: int) -> np.ndarray:
    """A picture [height, width, 3]: a colour that changes, and the number in its middle."""
    picture = np.full((height, width, 3), (60 + number % 100, 120, 90), np.uint8)
    scale = height / 224
    cell = CELL * scale
    left = (width - BITS * cell) / 2
    for bit in range(BITS):
        colour = 235 if number >> (BITS - 1 - bit) & 1 else 20
        columns = slice(round(left + bit * cell), round(left + (bit + 1) * cell))
        picture[round(cell) : round(3 * cell), columns] = colour
    return picture


def read_number(picture: np.ndarray) -> int:
    """The number of a picture [224, 224, 3]."""
    start = (picture.shape[1] - BITS * CELL) // 2
    strip = picture[CELL + 8 : 3 * CELL - 8, start : start + BITS * CELL].mean((0, 2))
    bits = strip.reshape(BITS, CELL)[:, 4:-4].mean(1) > 125
    return int(bits @ (1 << np.arange(BITS)[::-1]))


def write_video(
    path: Path,
    count: int = 50,
    rate: int | Fraction = 25,
    size: tuple[int, int] = (398, 224),
    times: Sequence[float] | None = None,
    audio: float = 0.0,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    properties: dict[str, Any] | None = None,
) -> Path:
    """Writes pictures 0 to count - 1 as H.264 with B-frames; returns the path.

    Args:
      path: of the file; its suffix tells the container.
      count: pictures.
      rate: pictures per second.
      size: width and height.
      times: of the pictures in seconds; every 1/rate if None.
      audio: seconds of silence beside them.
      codec: of the pictures.
      pixel_format: of the pictures.
      options: of the codec.
      properties: of its context.
    """
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"g": "25", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        base = Fraction(1, 90000)
        stream.time_base = stream.codec_context.time_base = base
        for name, value in (properties or {}).items():
            setattr(stream.codec_context, name, value)
        sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(draw(number, width, height), format="bgr24")
            seconds = times[number] if times is not None else number / rate
            frame.pts, frame.time_base = round(seconds * 90000), base
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode(None))
        if sound is not None:
            for start in range(0, int(audio * 8000), 1024):
                zeros = np.zeros((1, 1024), np.float32)
                silence = av.AudioFrame.from_ndarray(zeros, "fltp", "mono")
                silence.sample_rate, silence.pts = 8000, start
                container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
    return path


def numbers(pictures: Iterable[np.ndarray]) -> list[int]:
    """The numbers of several pictures."""
    return [read_number(picture) for picture in pictures]
