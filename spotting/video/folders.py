"""A game's folder while its features are made: held by one process, resumed after it was killed."""

import json
import shutil
from pathlib import Path

import numpy as np

from spotting.base.files import NPY_ERRORS, atomic_file, write_text_atomic

PART_ROWS = 256
"""Rows that are kept together; a killed extraction loses fewer than these."""

_IDENTITY = "identity.json"


class PartialRows:
    """Rows of one file of features, kept in parts until all are there.

    Args:
      target: the file of features.
      identity: what the rows are made of; parts of something else are thrown away.
      dim: values in a row.
      dtype: of the file.
    """

    def __init__(self, target: Path, identity: dict[str, object], dim: int, dtype: str):
        self._target, self._dim, self._dtype = target, dim, np.dtype(dtype)
        self._folder = partial_folder(target)
        self._waiting: list[np.ndarray] = []
        self._waiting_rows = 0
        if not has_parts(target, identity):
            shutil.rmtree(self._folder, ignore_errors=True)
            write_text_atomic(self._folder / _IDENTITY, _as_text(identity))
        self._parts: list[Path] = []
        self.kept_rows = 0
        while (part := self._part(self.kept_rows)).is_file():
            try:
                rows = np.load(part, mmap_mode="r", allow_pickle=False)
            except (*NPY_ERRORS, OSError):
                break
            if rows.ndim != 2 or rows.shape[1] != dim or rows.dtype != self._dtype or not len(rows):
                break
            self._parts.append(part)
            self.kept_rows += len(rows)

    @property
    def rows(self) -> int:
        """Rows that are there, written or not."""
        return self.kept_rows + self._waiting_rows

    def add(self, rows: np.ndarray) -> None:
        """Adds rows [n, dim] behind those that are there."""
        self._waiting.append(rows.astype(self._dtype))
        self._waiting_rows += len(rows)
        if self._waiting_rows >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that wait."""
        if not self._waiting_rows:
            return
        part = self._part(self.kept_rows)
        with atomic_file(part) as file:
            np.save(file, np.concatenate(self._waiting))
        self._parts.append(part)
        self.kept_rows += self._waiting_rows
        self._waiting, self._waiting_rows = [], 0

    def finish(self) -> None:
        """Puts all rows into the file of features, part by part."""
        self.flush()
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.rows, self._dim),
        }
        with atomic_file(self._target) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in self._parts:
                file.write(np.load(part, allow_pickle=False).tobytes())

    def remove(self) -> None:
        """Deletes the parts."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _part(self, first_row: int) -> Path:
        return self._folder / f"rows_{first_row:07d}.npy"


def partial_folder(target: Path) -> Path:
    """Where the parts of a file of features are."""
    return target.parent / f".{target.stem}.parts"


def has_parts(target: Path, identity: dict[str, object]) -> bool:
    """Whether the parts of a file of features are there, made of what `identity` says."""
    known = partial_folder(target) / _IDENTITY
    return known.is_file() and known.read_text(encoding="utf-8") == _as_text(identity)


def _as_text(identity: dict[str, object]) -> str:
    return json.dumps(identity, sort_keys=True)
