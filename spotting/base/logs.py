"""What a run leaves behind while it runs: JSON lines, TensorBoard curves, a progress line.

The progress line is our own: rich (15) prints nothing to a file until the end and needs ipywidgets
in a notebook, tqdm (4) fills a file with carriage returns and cuts its last values off first; both
must be told apart by hand where there are several processes.
"""

import contextlib
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from spotting.base import parallel
from spotting.base.files import naming
from spotting.base.tensorboard import ScalarWriter
from spotting.base.text_table import printable, printable_lines

_PACKAGES = ("spotting", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunLog:
    """Writes `log.jsonl` and `tensorboard/` in a run's folder.

    Only process 0 writes; in other processes the calls do nothing.
    """

    def __init__(self, workdir: str | os.PathLike | None, tensorboard: bool = True):
        self._file = self._scalars = None
        if workdir is not None and parallel.is_process_0():
            path = Path(workdir)
            path.mkdir(parents=True, exist_ok=True)
            self._file = open(path / "log.jsonl", "a", encoding="utf-8")  # noqa: SIM115
            if _is_cut(path / "log.jsonl"):
                self._file.write("\n")
            self._scalars = ScalarWriter(path / "tensorboard") if tensorboard else None

    def write(self, kind: str, **values: Any) -> None:
        """Adds a line: when, what kind, and the values."""
        if self._file:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
            entry = {"time": now, "kind": kind, **values}
            # JSON has no NaN.
            entry = {k: None if v != v else v for k, v in entry.items()}
            with naming(self._file.name):
                self._file.write(json.dumps(entry, default=str, ensure_ascii=False) + "\n")
                self._file.flush()

    def curve(self, kind: str, model: str, epoch: int, **scalars: float) -> None:
        """Adds a line and a point on the curves `model/name`."""
        self.write(kind, model=model, epoch=epoch, **scalars)
        if self._scalars:
            finite = {f"{model}/{k}": v for k, v in scalars.items() if math.isfinite(v)}
            self._scalars.write(epoch, **finite)

    def write_hyper_parameters(self, values: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Shows hyper-parameters in TensorBoard's HPARAMS tab, once for each opening of the log.

        Args:
          values: by name; lists become text.
          metrics: tags of the curves whose last points stand beside them.
        """
        if self._scalars:
            self._scalars.write_hyper_parameters(
                {name: _as_plain(value) for name, value in values.items()}, metrics
            )

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, self._scalars):
            # All is flushed; what could not be has been an error already.
            with contextlib.suppress(OSError):
                if file:
                    file.close()


def _is_cut(path: Path) -> bool:
    """Whether a file ends within a line, as a full disk or a kill leaves it."""
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


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


def _as_plain(value: Any) -> bool | float | str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if isinstance(value, bool | int | float) else str(value)


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

    Process 0 of several shows it. `log`, an error and another progress line complete a line that
    stands unfinished before they print, with the last text that it was given.
    """

    def __init__(self, enabled: bool = True):
        self._enabled = enabled
        # A notebook is no terminal, but its cells know what a carriage return is.
        self._live = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._last = float("-inf")
        self._text = ""

    def show(self, text: str, final: bool = False, left: float | None = None) -> None:
        """Shows `text`; what does not fit into the terminal is cut off at its end.

        Args:
          text: of the line.
          final: whether it is the last, which is left standing.
          left: seconds to the end, put before the text, so that it is never cut off.
        """
        global _unfinished
        if not self._enabled or not parallel.is_process_0():
            return
        if _unfinished is not self:
            end_progress()
        self._text = printable(text if left is None else f"{duration(left)} left  {text}")
        now = time.monotonic()
        if self._live:
            _unfinished = None if final else self
        if not final and now - self._last < (0.1 if self._live else 30):
            return
        self._last = now
        if self._live:
            self._draw(end="\n" if final else "")
        else:
            print(self._text, file=sys.stderr, flush=True)

    def _draw(self, end: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        text = self._text if len(self._text) <= width else f"{self._text[: width - 1]}…"
        print("\r" + text.ljust(width), end=end, file=sys.stderr, flush=True)


_unfinished: ProgressLine | None = None
"""The line that stands on the terminal without an end."""


def end_progress() -> None:
    """Completes a progress line that stands unfinished, with the last text that it was given."""
    global _unfinished
    line, _unfinished = _unfinished, None
    if line is not None:
        line._draw(end="\n")


def duration(seconds: float) -> str:
    """3725 s as "1:02:05", 65 s as "1:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def log(text: str) -> None:
    """Prints a line on stderr, in process 0 alone."""
    if parallel.is_process_0():
        end_progress()
        print(printable_lines(text), file=sys.stderr, flush=True)
