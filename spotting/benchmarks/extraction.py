"""Measures phase 1: decoding beside plain ffmpeg, the networks, and what bfloat16 costs.

Figures are per CPU second, which other work on the machine disturbs less than the clock; both are
printed. On an accelerator the clock counts.
"""

import dataclasses
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from spotting.video import choice, decoding, efficientnet, network, resnet, winograd

VIDEO_SECONDS, VIDEO_RATE, VIDEO_SIZE = 20, 25, (1280, 720)
BATCH, REPEATS = 8, 3


@dataclasses.dataclass(frozen=True)
class Speed:
    """How many of something went by in a second.

    Attributes:
      name: what was measured.
      unit: of what.
      per_cpu_second: over the time of all threads.
      per_second: by the clock.
    """

    name: str
    unit: str
    per_cpu_second: float
    per_second: float


@dataclasses.dataclass(frozen=True)
class Figures:
    """All that is measured; errors are relative to float32's features (root mean square)."""

    speeds: tuple[Speed, ...]
    device: str
    bfloat16_error: float


def measure(log: Callable[[str], None], video: Path | None = None) -> Figures:
    """Measures decoding and both networks.

    Args:
      log: is given each line as it is measured.
      video: to decode; None for one of 1280x720 that is made for it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = video or write_video(Path(folder, "video.mp4"))
        speeds: list[Speed] = []

        def keep(speed: Speed) -> None:
            speeds.append(speed)
            log(describe_speed(speed))

        keep(measure_decoding(path))
        if shutil.which("ffmpeg"):
            keep(measure_ffmpeg(path))
        pictures = _some_pictures(path)
    keep(measure_resize())
    _, weights = network.read_efficientnet()
    exact, near = efficientnet.EfficientNetLite0(), efficientnet.EfficientNetLite0(jnp.bfloat16)
    keep(_measure_network("EfficientNet-Lite0", exact, weights, pictures))
    prepared = efficientnet.preprocess(jnp.asarray(pictures))
    features, coarse = (
        np.asarray(jax.jit(model.apply)({"params": weights}, prepared)) for model in (exact, near)
    )
    error = float(np.sqrt(np.mean((coarse - features) ** 2) / np.mean(features**2)))
    model = resnet.ResNet152(winograd=winograd.is_faster(jnp.float32))
    shapes = jax.eval_shape(model.init, jax.random.key(0), prepared)["params"]
    random = jax.tree.map(lambda leaf: np.full(leaf.shape, 1e-2, np.float32), shapes)
    keep(_measure_network("ResNet-152", model, random, pictures))
    return Figures(tuple(speeds), jax.devices()[0].device_kind, error)


def describe(figures: Figures) -> str:
    """The figures as people read them."""
    lines = [f"on {figures.device}", f"{'':<44}{'per CPU second':>16}{'per second':>12}"]
    lines += map(describe_speed, figures.speeds)
    error = 100 * figures.bfloat16_error
    lines.append(f"  EfficientNet-Lite0 in bfloat16 differs by {error:.2f} % (root mean square)")
    return "\n".join(lines)


def describe_speed(speed: Speed) -> str:
    """One line of the table."""
    name = f"  {speed.name}, {speed.unit}"
    return f"{name:<44}{speed.per_cpu_second:>16,.1f}{speed.per_second:>12,.1f}"


def measure_decoding(path: Path) -> Speed:
    """Source frames from the file to resized pictures of all rows."""
    scanned = decoding.scan(path)
    wanted = choice.choose(scanned.timeline, "timestamps", network.FRAME_RATE)
    with _clocks() as clocks:
        for _ in decoding.decode(scanned, wanted, decoding.Damage()):
            pass
    return _speed("decoding, with resize", "frames", len(scanned.stamps), clocks)


def measure_ffmpeg(path: Path) -> Speed:
    """Source frames that the ffmpeg program decodes, and throws away."""
    count = len(decoding.scan(path).stamps)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-f", "null", "-"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _speed("ffmpeg, decoding alone", "frames", count, (cpu, time.perf_counter() - start))


def measure_resize() -> Speed:
    """The exact INTER_AREA in NumPy, from 1280x720."""
    from spotting.video.pictures import fit

    picture = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    fit(picture)
    with _clocks() as clocks:
        for _ in range(10):
            fit(picture)
    return _speed("resize from 1280x720", "pictures", 10, clocks)


def write_video(path: Path) -> Path:
    """Makes a video with as much motion and noise as 4 Mbit/s hold; returns its path."""
    av = decoding.import_av()
    rng = np.random.default_rng(0)
    width, height = VIDEO_SIZE
    scene = rng.integers(0, 256, (height // 8, width // 4, 3), np.uint8)
    scene = scene.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=VIDEO_RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 4_000_000
        for number in range(VIDEO_SECONDS * VIDEO_RATE):
            left = number * 3 % width
            picture = np.ascontiguousarray(scene[:, left : left + width])
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _some_pictures(path: Path) -> np.ndarray:
    scanned = decoding.scan(path)
    wanted = np.linspace(0, len(scanned.stamps) - 1, BATCH).astype(np.int64)
    return np.stack(list(decoding.decode(scanned, wanted, decoding.Damage())))


def _measure_network(
    name: str, model: efficientnet.EfficientNetLite0 | resnet.ResNet152, weights: object,
    pictures: np.ndarray,
) -> Speed:  # fmt: skip
    preprocess = resnet.preprocess if name == "ResNet-152" else efficientnet.preprocess
    function = jax.jit(lambda tree, x: model.apply({"params": tree}, preprocess(x)))
    tree = jax.device_put(weights)
    jax.block_until_ready(function(tree, pictures))
    best = [np.inf, np.inf]
    for _ in range(REPEATS):
        with _clocks() as clocks:
            jax.block_until_ready(function(tree, pictures))
        best = [min(pair) for pair in zip(best, clocks, strict=True)]
    return _speed(name, "pictures", len(pictures), (best[0], best[1]))


@contextmanager
def _clocks() -> Iterator[list[float]]:
    """Yields a list that holds CPU seconds and seconds when the block has ended."""
    clocks: list[float] = []
    cpu, start = time.process_time(), time.perf_counter()
    yield clocks
    clocks += [time.process_time() - cpu, time.perf_counter() - start]


def _speed(name: str, unit: str, count: int, clocks: "list[float] | tuple[float, float]") -> Speed:
    return Speed(name, unit, count / clocks[0], count / clocks[1])
