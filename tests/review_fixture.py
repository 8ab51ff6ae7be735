"""A match to review, as small as it can be: a video that a browser plays, and spots in it."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np

from spotting.data.annotations import RESULTS_FILE, Prediction, write_results

ROOT = Path(__file__).parents[1]
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
    fast = {
        "libx264": {"profile": "baseline", "preset": "ultrafast"} if pixels == "yuv420p" else {},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    }
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, RATE, options=fast[codec])
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
    """Spots in two halves of some seconds each, confidences from 0.95 down; returns `folder`."""
    generator = np.random.default_rng(1)
    spots = []
    for number in range(count):
        half = 1 + number % 2
        position = float(generator.integers(200, 1000 * seconds - 200)) / 1000
        label = CLASSES[int(generator.integers(len(CLASSES)))]
        spots.append(Prediction(half, label, position, round(0.95 - 0.9 * number / count, 3)))
    write_results(folder / RESULTS_FILE, GAME, spots)
    return folder


class Server:
    """`python -m spotting.review` (or annotate) as a process of its own."""

    def __init__(self, *arguments: str | Path, command: str = "review", cache: Path):
        self.arguments = [sys.executable, "-m", f"spotting.{command}", *map(str, arguments)]
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        self.address = ""

    def start(self) -> "Server":
        """Starts it and waits for its address."""
        self.process = subprocess.Popen(
            self.arguments,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise AssertionError(self.process.communicate()[1])
        match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([0-9a-f]{32})/", self.address)
        self.port, self.token = int(match[1]), match[2]
        for _ in range(200):  # The address is printed before the server answers.
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                break
            time.sleep(0.02)
        return self

    def request(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers of an answer; `path` follows the token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            names.setdefault("Content-Type", "application/json")
        target = path if path.startswith("/") else f"/{self.token}/{path}"
        try:
            connection.request(method, target, content, names)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Sends a signal; returns the exit status and what stood on stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors
