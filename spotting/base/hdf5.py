"""Reads .h5 files, in which Keras keeps weights and which somebody else made."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from spotting.base.errors import InputError

_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What h5py raises because of a file's bytes."""


@contextlib.contextmanager
def open_h5(path: str | os.PathLike) -> Iterator[Any]:
    """Yields the open file of h5py; the block does nothing but read it.

    Raises:
      InputError: h5py is not installed, or the file is no .h5 file, or damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: reading it needs h5py: pip install h5py") from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (InputError, PermissionError, FileNotFoundError):
        raise
    except _ERRORS as error:
        reason = " ".join(str(error).strip("'\"").split()) or type(error).__name__
        raise InputError(f"{path}: damaged, or no .h5 file: {reason}; copy it again") from error


def read_dataset(dataset: Any, file_size: int) -> np.ndarray:
    """An array of an .h5 file.

    Args:
      dataset: of h5py.
      file_size: bytes of the file; no array that it holds takes more.

    Raises:
      ValueError: it is no array of numbers, promises more than the file holds, or is kept in
        another file, which an .h5 file may name.
    """
    name = dataset.name
    if dataset.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {dataset.dtype}, not numbers")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} is kept in another file")
    if dataset.nbytes > file_size:
        raise ValueError(
            f"{name} promises {dataset.nbytes:,} bytes in a file of {file_size:,} (a compressed "
            "file has to be unpacked first: h5repack -f NONE)"
        )
    return np.asarray(dataset[()])


def list_datasets(group: Any) -> list[str]:
    """Names of the arrays below a group of h5py.

    Keras writes them into an attribute, too, as text of any length: HDF5 may never come back from
    reading that of a damaged file.
    """
    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "dtype"):
            names.append(name)

    group.visititems(visit)
    return names
