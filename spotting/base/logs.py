"""What a run leaves behind while it runs: JSON lines, TensorBoard curves, a progress line."""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from spotting.base import parallel
from spotting.base.tensorboard import ScalarWriter

_PACKAGES = ("spotting", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunLog:
    """Writes `log.jsonl` and `tensorboard/` in a run's folder.

    Of several processes the first one does; the others' writes go nowhere.
    """

    def __init__(self, workdir: str | os.PathLike | None, tensorboard: bool = True):
        self._file = self._scalars = None
        if workdir is not None and parallel.is_process_0():
            path = Path(workdir)
            path.mkdir(parents=True, exist_ok=True)
            self._file = open(path / "log.jsonl", "a", encoding="utf-8")  # noqa: SIM115
            self._scalars = ScalarWriter(path / "tensorboard") if tensorboard else None

    def write(self, kind: str, **values: Any) -> None:
        """Adds a line: when, what kind, and the values."""
        if self._file:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
            entry = {"time": now, "kind": kind, **values}
            # JSON has no NaN.
            entry = {k: None if v != v else v for k, v in entry.items()}
            self._file.write(json.dumps(entry, default=str, ensure_ascii=False) + "\n")
            self._file.flush()

    def curve(self, kind: str, model: str, epoch: int, **scalars: float) -> None:
        """Adds a line and a point on the curves `model/name`."""
        self.write(kind, model=model, epoch=epoch, **scalars)
        if self._scalars:
            finite = {f"{model}/{k}": v for k, v in scalars.items() if math.isfinite(v)}
            self._scalars.write(epoch, **finite)

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, self._scalars):
            if file:
                file.close()


def environment() -> dict[str, Any]:
    """Versions, source revision, and device: what a figure needs to be believed."""
    return {
        "versions": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "revision": _revision(),
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "cpu_count": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


class ProgressLine:
    """One line on stderr that is rewritten in place; on a file, a new line every half minute.

    The first of several processes shows it.
    """

    def __init__(self, enabled: bool = True):
        self._enabled = enabled
        self._live = sys.stderr.isatty()
        self._last = 0.0

    def show(self, text: str, final: bool = False) -> None:
        """Shows `text`; `final` leaves it standing."""
        now = time.monotonic()
        if not self._enabled or not parallel.is_process_0():
            return
        if not final and now - self._last < (0.1 if self._live else 30):
            return
        self._last = now
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            print("\r" + text[:width].ljust(width), end="\n" if final else "", file=sys.stderr)
        else:
            print(text, file=sys.stderr)
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """3725 s as "1:02:05", 65 s as "1:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def log(text: str) -> None:
    """Prints a line on stderr, in process 0 alone."""
    if parallel.is_process_0():
        print(text, file=sys.stderr, flush=True)
