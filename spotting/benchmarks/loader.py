"""How fast chunks are streamed, in how much memory, and what that costs a training.

    python -m spotting.benchmarks.loader speed
    python -m spotting.benchmarks.loader memory
    python -m spotting.benchmarks.loader training

Each makes a data set of its own in a temporary folder: 3 GB for speed, 10 GB for memory.
"""

import dataclasses
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spotting.base import cli
from spotting.data.annotations import LABELS_FILE, SOCCERNET_CLASSES
from spotting.data.dataset import DESCRIPTION_FILE, HALVES, FeatureSet
from spotting.data.halves import open_dataset

RESNET_PCA, COMBINATION = FeatureSet(2.0, 512), FeatureSet(1.0, 8576)

_FEATURES = "random"
# Of 64 chunks, a pass over 450 games of 9 minutes a half; peaks are compared over equally many.
_MEMORY_BATCHES = 72


@dataclasses.dataclass(frozen=True)
class Speed:
    """What a stream was measured to give.

    Attributes:
      chunks_per_s: wall-clock.
      bytes_per_s: of their features.
      read_bytes_per_s: a plain sequential read of the same shards, right after.
      blocks_per_chunk: blocks' bytes that were read for a chunk's.
      cpu_ms_per_chunk: processor time, over all cores.
    """

    chunks_per_s: float
    bytes_per_s: float
    read_bytes_per_s: float
    blocks_per_chunk: float
    cpu_ms_per_chunk: float


class Memory(NamedTuple):
    """Peak resident memory, in bytes, of a process that prepares a set and one that streams it."""

    data_bytes: int
    preparing: int
    streaming: int


def make_folder(root: Path, games: int, features: FeatureSet, minutes: float = 45.0) -> Path:
    """Writes a dataset of random features in float32, games of two halves of so many minutes.

    All games share the arrays of the first one by hard links, so it takes little room.
    """
    num_frames = round(60 * minutes * features.frame_rate)
    rng = np.random.default_rng(0)
    names = [f"league/game {index}" for index in range(games)]
    label = {"gameTime": "1 - 10:00", "label": "Goal", "position": "600000"}
    for name in names:
        folder = root / name
        folder.mkdir(parents=True)
        (folder / LABELS_FILE).write_text(json.dumps({"annotations": [label]}))
        for half in HALVES:
            file = f"{half}_{_FEATURES}.npy"
            if name == names[0]:
                np.save(folder / file, rng.standard_normal((num_frames, features.dim), np.float32))
            else:
                os.link(root / names[0] / file, folder / file)
    description = {
        "name": "random",
        "frame_rate": features.frame_rate,
        "features": _FEATURES,
        "feature_dim": features.dim,
        "classes": SOCCERNET_CLASSES,
        "splits": {"train": names},
    }
    (root / DESCRIPTION_FILE).write_text(json.dumps(description))
    return root


def prepare_folder(root: Path) -> Any:
    """Prepares a folder of `make_folder` as float16; returns the `prepared.Prepared`."""
    from spotting.data.prepared import builder
    from spotting.data.prepared import reader as prepared

    return prepared.prepare(builder.make_config(open_dataset(root)), root, root / "prepared")


def measure_speed(
    prepared: Any, batch_size: int, seconds: float = 5.0, rounds: int = 3, parts: int = 1
) -> Speed:
    """Streams a prepared training split for a while, and reads its files; the median of rounds."""
    from spotting.data.prepared.stream import Stream

    stream = Stream(prepared, "train", batch_size, seed=0, least_parts=parts)
    batches = stream.batches()
    records = prepared.records
    chunk_bytes = records.block_frames * records.feature_dim * records.dtype.itemsize
    next(batches)  # Not the start.
    found = []
    for _ in range(rounds):
        start, cpu, count = time.perf_counter(), _cpu_seconds(), 0
        while time.perf_counter() - start < seconds:
            next(batches)
            count += batch_size
        rate = count / (time.perf_counter() - start)
        found.append((rate, 1e3 * (_cpu_seconds() - cpu) / count))
    del batches
    rate, cpu_ms = (statistics.median(values) for values in zip(*found, strict=True))
    reads = [_read_speed(prepared.shards("train")) for _ in range(rounds)]
    return Speed(
        rate, rate * chunk_bytes, statistics.median(reads), stream.blocks_per_chunk(), cpu_ms
    )


def measure_memory(root: Path, games: int, parts: int = 1) -> Memory:
    """Makes a data set of Combination's width, prepares and streams it, each in its own process.

    Halves are of 9 minutes, so that a few GB have as many matches to read at a time as all 92 have.
    """
    make_folder(root, games, COMBINATION, minutes=9)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        data_bytes, preparing = pool.submit(_prepare_for_memory, root).result()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        streaming = pool.submit(_stream_for_memory, root, parts).result()
    return Memory(data_bytes, preparing, streaming)


def measure_training(prepared: Any, batch_size: int = 32, steps: int = 8) -> tuple[float, float]:
    """Seconds that a training step takes with a resident split, and with a stream.

    The model is DU for ResNet+PCA at its full size, confidence, with SAM and mixup. The two take
    turns, step by step; medians.
    """
    import jax
    import jax.numpy as jnp

    from spotting import anchors
    from spotting.data import resident
    from spotting.data.prepared.stream import Stream, put_on_device
    from spotting.models.network import build_network
    from spotting.training import mixup
    from spotting.training.objectives import make_objective
    from spotting.training.step import (
        Hyper,
        OptimizerSettings,
        init_state,
        make_optimizer,
        train_step,
    )

    records = prepared.records
    network = build_network("confidence", records.num_classes, "unet", 512, (256, 64), levels=6)
    ones = np.ones(records.num_classes, np.float32)
    objective = make_objective(network, 6.0, anchors.ClassWeights(ones, ones))
    hyper = Hyper(1e-3, 2e-4, 0.5, 2.0)
    tx = make_optimizer(hyper, OptimizerSettings(1000))
    state = init_state(0, objective, (records.block_frames, records.feature_dim), tx)

    halves = prepared.halves("train")[:20]
    offsets = [np.zeros((half.num_frames, records.num_classes), np.int16) for half in halves]
    split = resident.concatenate(
        [half.load() for half in halves], offsets, records.block_frames, jnp.float16
    )
    split = jax.tree.map(jnp.asarray, split)
    key = jax.random.key(0)
    pairs = mixup.draw(key, batch_size, hyper.mixup_alpha)

    @jax.jit
    def resident_step(state, split):
        half, start = resident.sample_positions(
            key, split.lengths, batch_size, records.block_frames
        )
        batch = resident.cut(split, half, start, records.block_frames)
        return train_step(state, batch, pairs, objective, tx)[0]

    @jax.jit
    def stream_step(state, batch):
        return train_step(state, batch, pairs, objective, tx)[0]

    batches = put_on_device(Stream(prepared, "train", batch_size, seed=0).batches())

    def timed(step: Callable[[], Any]) -> float:
        start = time.perf_counter()
        jax.block_until_ready(step())
        return time.perf_counter() - start

    times = [
        (
            timed(lambda: resident_step(state, split)),
            timed(lambda: stream_step(state, next(batches))),
        )
        for _ in range(steps + 1)
    ]
    first, second = (statistics.median(values) for values in zip(*times[1:], strict=True))
    return first, second


def _prepare_for_memory(root: Path) -> tuple[int, int]:
    prepared = prepare_folder(root)
    return prepared.builder.info.dataset_size, _peak_memory()


def _stream_for_memory(root: Path, parts: int) -> int:
    from spotting.data.prepared.stream import Stream

    prepared = prepare_folder(root)
    batches = Stream(prepared, "train", 64, seed=0, least_parts=parts).batches()
    for _ in range(_MEMORY_BATCHES):
        next(batches)
    return _peak_memory()


def _peak_memory() -> int:
    """Greatest resident memory of this process, in bytes."""
    try:
        # A child's ru_maxrss starts at its parent's; this does not.
        with open("/proc/self/status") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _read_speed(paths: list[str]) -> float:
    """Bytes a second of a plain sequential read."""
    buffer = bytearray(1 << 20)
    start, count = time.perf_counter(), 0
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while read := file.readinto(buffer):
                count += read
    return count / (time.perf_counter() - start)


def main() -> int:
    """Runs one benchmark and prints what it found."""
    parser = cli.Parser("python -m spotting.benchmarks.loader", __doc__)
    parser.add_argument("what", choices=["speed", "memory", "training"])
    parser.add_argument("--folder", help="where to make the data; default: a temporary folder")
    parser.add_argument("--parts", type=int, default=1, help="of a batch, for speed and memory")
    arguments = parser.parse_args()
    benchmark(arguments.what, arguments.folder, arguments.parts)
    return 0


def benchmark(what: str, folder: str | None = None, parts: int = 1) -> None:
    """Prints one benchmark's figures, of data that it makes in a folder for the time being."""
    with tempfile.TemporaryDirectory(dir=folder) as root:
        _benchmark(what, Path(root), parts)


def _benchmark(what: str, root: Path, parts: int) -> None:
    if what == "speed":
        for name, features, games, batch_size in (
            ("224x512", RESNET_PCA, 120, 256),
            ("112x8576", COMBINATION, 18, 64),
        ):
            prepared = prepare_folder(make_folder(root / name, games, features))
            found = measure_speed(prepared, batch_size, parts=parts)
            print(
                f"{name} float16: {found.chunks_per_s:,.0f} chunks/s, "
                f"{found.bytes_per_s / 1e9:.2f} GB/s; plain sequential read "
                f"{found.read_bytes_per_s / 1e9:.2f} GB/s; {found.blocks_per_chunk:.2f} blocks' "
                f"bytes a chunk; {found.cpu_ms_per_chunk:.2f} ms of processor time a chunk",
                flush=True,
            )
    elif what == "memory":
        for games in (90, 450):
            used = measure_memory(root / str(games), games, parts)
            print(
                f"{used.data_bytes / 1e9:.2f} GB prepared: peak memory preparing "
                f"{used.preparing / 1e9:.2f} GB, streaming {used.streaming / 1e9:.2f} GB",
                flush=True,
            )
    else:
        prepared = prepare_folder(make_folder(root / "training", 20, RESNET_PCA))
        resident, stream = measure_training(prepared)
        print(f"training step: {resident:.3f} s resident, {stream:.3f} s streaming")


if __name__ == "__main__":
    cli.run(main)
