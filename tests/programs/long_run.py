"""What long work leaves behind: memory, open files and logs.

    python tests/programs/long_run.py FOLDER epochs      1,000 epochs of a tiny model
    python tests/programs/long_run.py FOLDER files       2,000 feature files in one `predict`
    python tests/programs/long_run.py FOLDER games       a training on a folder of 500 games

Prints figures; exit status 1 if memory at the end is more than a tenth and 20 MB above that at a
twentieth of the work (but for games), or if a file of FOLDER is still open.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402
from helpers import CLASSES, SPLITS, tiny_config, write_dataset  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from spotting import experiment, predict  # noqa: E402

EPOCHS, FILES, GAMES = 1000, 2000, 500
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_memory() -> float:
    """Resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MB


def list_open(folder: Path) -> list[str]:
    """Files below a folder that this process has open."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(link))
        except OSError:
            continue  # The one that lists them.
    return [link for link in links if link.startswith(str(folder))]


class Watch:
    """Measures memory by progress, in a thread beside the work."""

    def __init__(self, progress: Callable[[], int], total: int):
        self._progress, self._total = progress, total
        self.memory: dict[int, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.2):
            self.memory[self._progress()] = measure_memory()

    def finish(self) -> tuple[float, float]:
        """Memory at a twentieth of the work, and now."""
        self._end.set()
        self._thread.join()
        early = [mb for done, mb in self.memory.items() if done >= self._total / 20]
        return (early or [measure_memory()])[0], measure_memory()


def make_config(root: Path, epochs: int) -> ConfigDict:
    """A training of one step an epoch, without SAM and mixup."""
    config = tiny_config(root)
    config.confidence.update(rho=0.0, mixup_alpha=0.0)
    config.displacement.rho = 0.0
    config.training.update(epochs=epochs, chunks_per_epoch=8, validate_every=50)
    return config


def count_lines(path: Path) -> int:
    """Lines of a file that may not be there."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def run_epochs(folder: Path) -> Watch:
    """Trains both models for 1,000 epochs each."""
    root = folder / "data"
    if not root.exists():
        write_dataset(root, SPLITS)
    workdir = folder / f"run {os.getpid()}"
    log = workdir / "log.jsonl"
    watch = Watch(lambda: count_lines(log), 2 * EPOCHS)
    experiment.run(make_config(root, EPOCHS), workdir, "train")
    events = sum(path.stat().st_size for path in (workdir / "tensorboard").iterdir())
    print(
        f"{2 * EPOCHS} epochs: log.jsonl {log.stat().st_size / 2 / EPOCHS:.0f} bytes an epoch, "
        f"tensorboard {events / 2 / EPOCHS:.0f}"
    )
    return watch


def run_files(folder: Path) -> Watch:
    """Spots 1,000 games of two halves."""
    root, workdir = folder / "data", folder / "short run"
    if not workdir.exists():
        if not root.exists():
            write_dataset(root, SPLITS)
        experiment.run(make_config(root, 2), workdir, "train")
    many = folder / "many"
    if not many.exists():
        features = np.random.default_rng(0).normal(size=(150, 16)).astype(np.float16)
        for game in range(FILES // 2):
            (many / f"game {game}").mkdir(parents=True)
            for half in (1, 2):
                np.save(many / f"game {game}" / f"{half}_toy16.npy", features)
    output = folder / f"spots {os.getpid()}"
    record = output / "predict.json"
    watch = Watch(lambda: record.read_bytes().count(b'"files"') if record.exists() else 0, 1000)
    sys.argv = ["predict", f"--workdir={workdir}", f"--features={many}", f"--output={output}"]
    if predict.main():
        sys.exit("predict failed")
    sizes = {path.name: path.stat().st_size for path in output.iterdir() if path.is_file()}
    print(", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sorted(sizes.items())))
    return watch


def run_games(folder: Path) -> Watch:
    """Trains on a folder of 500 games, for two epochs."""
    root = folder / "500 games"
    if not root.exists():
        parts = {"train": 300, "valid": 100, "test": 100}
        splits = {split: [f"{split} {n}" for n in range(count)] for split, count in parts.items()}
        write_dataset(root, splits)
    workdir = folder / f"run of 500 {os.getpid()}"
    watch = Watch(lambda: count_lines(workdir / "log.jsonl"), 20)
    experiment.run(make_config(root, 2), workdir)
    print(f"{GAMES} games of {len(CLASSES)} classes: {len(list(workdir.rglob('*')))} files written")
    return watch


def main() -> int:
    """Does what the command line says; returns the exit status."""
    folder, what = Path(sys.argv[1]).absolute(), sys.argv[2]
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    began = time.monotonic()
    watch = {"epochs": run_epochs, "files": run_files, "games": run_games}[what](folder)
    early, late = watch.finish()
    left = list_open(folder)
    used = sum(os.times()[:2])
    print(
        f"{what}: {early:.0f} MB at a twentieth of the work, {late:.0f} MB at the end, "
        f"{len(left)} files open, {time.monotonic() - began:.0f} s, {used:.0f} s of processor time"
    )
    print(*left, sep="\n")
    # A data set's features come into memory as the work goes on.
    grows = what != "games" and late > 1.1 * early + 20
    return int(grows or bool(left))


if __name__ == "__main__":
    sys.exit(main())
