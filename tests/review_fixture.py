"""A match to review, as small as it can be: a video that a browser plays, and spots in it."""

from pathlib import Path

import av
import numpy as np

from spotting.data.annotations import RESULTS_FILE, Prediction, write_results

RATE, SIZE = 25, (320, 180)
CLASSES = ("Goal", "Corner", "Foul", "Throw-in", "Shots on target")
GAME = "league/2026/Home 1 - 0 Away"


def write_video(
    path: Path,
    seconds: float = 24.0,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: bool = False,
) -> Path:
    """A ball that crosses a pitch once in four seconds; key frames every two seconds."""
    width, height = SIZE
    pitch = np.zeros((height, width, 3), np.uint8)
    pitch[:] = (46, 112, 60)
    pitch[:, (np.arange(width) // 20) % 2 == 0] = (50, 120, 65)
    pitch[[10, -11], 12:-12] = pitch[:, width // 2] = 235
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    x264 = {"profile": "baseline", "preset": "ultrafast"} if pixels == "yuv420p" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, RATE, options=x264 if codec == "libx264" else {})
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.gop_size = pixels, 2 * RATE
        audio = container.add_stream("aac", 48000) if sound else None
        for number in range(round(seconds * RATE)):
            picture = pitch.copy()
            x = 15 + (number % (4 * RATE)) * (width - 40) // (4 * RATE)
            picture[80:90, x : x + 10] = 255
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
            if audio is not None:
                silence = np.zeros((1, 2 * 48000 // RATE), np.float32)
                block = av.AudioFrame.from_ndarray(silence, "flt", "stereo")
                block.sample_rate, block.pts = 48000, number * 48000 // RATE
                container.mux(audio.encode(block))
        for track in filter(None, (stream, audio)):
            container.mux(track.encode())
    return path


def write_spots(folder: Path, count: int = 12, seconds: float = 10.0) -> Path:
    """Spots in two halves of some seconds each; confidences run from 0.95 down. Returns `folder`."""
    generator = np.random.default_rng(1)
    spots = []
    for number in range(count):
        half = 1 + number % 2
        position = float(generator.integers(200, 1000 * seconds - 200)) / 1000
        label = CLASSES[int(generator.integers(len(CLASSES)))]
        spots.append(Prediction(half, label, position, round(0.95 - 0.9 * number / count, 3)))
    write_results(folder / RESULTS_FILE, GAME, spots)
    return folder
