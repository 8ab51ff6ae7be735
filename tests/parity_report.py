"""What the checks of `parity.py` share: reading that leaves traces, and one line for each check."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Arrays(Mapping):
    """Arrays of one file, that remembers which of them were read."""

    def __init__(self, name: str, arrays: Mapping[str, np.ndarray]):
        self.name = name
        self._arrays = arrays
        self._read: set[str] = set()

    def __getitem__(self, key: str) -> np.ndarray:
        array = self._arrays[key]
        self._read.add(key)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """All arrays whose name starts with `prefix`, by what follows it."""
        return {key[len(prefix) :]: self[key] for key in self if key.startswith(prefix)}

    def unread(self) -> list[str]:
        return [key for key in self if key not in self._read]


class Folder:
    """The files below a folder, that remembers which of them were read."""

    def __init__(self, root: Path):
        self.root = root
        self.files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
        self._opened: dict[str, Arrays] = {}
        self._read = {"README.md"}

    def path(self, name: str) -> Path:
        """The path of a file, which counts as read."""
        self._read.add(name)
        return self.root / name

    def arrays(self, name: str) -> Arrays:
        """The arrays of an .npz, or of a .json the values by their path in it."""
        path = self.path(name)
        if path.suffix == ".npz":
            with np.load(path) as archive:
                content = dict(archive)
        else:
            content = dict(_leaves(json.loads(path.read_text())))
        self._opened[name] = Arrays(name, content)
        return self._opened[name]

    def unread(self) -> list[str]:
        """Files that no check read, and arrays of the others that none did."""
        files = [name for name in self.files if name not in self._read]
        return files + [f"{name}/{k}" for name, a in self._opened.items() for k in a.unread()]


class Report:
    """Prints a line for each check and counts them."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def exact(self, name: str, ours: Any, theirs: Any) -> None:
        """Passes if all elements are equal; the error is the number of those that are not."""
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        same_shape = ours.shape == theirs.shape
        self._line(name, np.count_nonzero(ours != theirs) if same_shape else np.inf, 0)

    def absolute(self, name: str, ours: Any, theirs: Any, bound: float) -> None:
        """Passes if max|a - b| is within `bound`."""
        self._line(name, _greatest_difference(ours, theirs), bound)

    def relative(
        self, name: str, ours: Any, theirs: Any, bound: float, scale: float | None = None
    ) -> None:
        """Passes if max|a - b| / max|b| is within `bound`; `scale` stands for max|b|."""
        if scale is None:
            scale = np.max(np.abs(theirs), initial=0)
        self._line(name, _greatest_difference(ours, theirs) / (scale or 1), bound)

    def skip(self, name: str, reason: str) -> None:
        self.skipped += 1
        print(f"SKIP {name} {reason}")

    def fail(self, name: str, reason: str) -> None:
        self.failed += 1
        print(f"FAIL {name} {reason}")

    def _line(self, name: str, error: float, bound: float) -> None:
        passed = bool(error <= bound)  # NaN is not.
        self.passed += passed
        self.failed += not passed
        print(f"{'PASS' if passed else 'FAIL'} {name} {error:.3g} {bound:.3g}")


def _greatest_difference(ours: Any, theirs: Any) -> float:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.max(np.abs(ours - theirs), initial=0) if ours.shape == theirs.shape else np.inf


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}/{key}" if path else key)
    else:
        yield path, np.asarray(value)
