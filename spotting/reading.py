"""Reading files that may be damaged: what their bytes make a parser raise becomes an InputError."""

import contextlib
import io
import json
import lzma
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from spotting.errors import InputError

NPY_ERRORS = (
    # The header is a Python literal, so that Python's own parser has its say, too.
    ArithmeticError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)
"""What NumPy's readers of .npy files raise because of the bytes."""

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,  # An encrypted entry; its NotImplementedError is an unknown compression.
    ValueError,
)


def parse_json(content: bytes | str, source: str | os.PathLike) -> Any:
    """What some JSON says.

    Args:
      content: the JSON.
      source: names the file in the error.

    Raises:
      InputError: it is none.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file that a run left; InputError if it holds none."""
    value = parse_json(path.read_bytes(), path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object; run the training again")
    return value


@contextlib.contextmanager
def unzipping(problem: str) -> Iterator[None]:
    """A block that does nothing but read a zip file, which may be damaged.

    Args:
      problem: begins the error: the file, and what is wrong where the block fails.

    Raises:
      InputError: the zip file's bytes are to blame.
    """
    try:
        yield
    except _ZIP_ERRORS as error:
        raise InputError(f"{problem}: {_reason(error)}") from error
    except OSError as error:
        # Only what opens a file names it. Otherwise a decoder complains, or a seek to nowhere.
        if error.filename is not None:
            raise
        raise InputError(f"{problem}: {_reason(error)}") from error


def read_npz(
    file: str | os.PathLike | IO[bytes], source: str | os.PathLike, remedy: str
) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, their checksums verified.

    Args:
      file: the file or its path.
      source: names the file in errors.
      remedy: ends the error: what to do about a damaged file.

    Raises:
      InputError: not a sound .npz file of arrays of numbers or text.
    """
    try:
        with unzipping(f"{source}: damaged"), zipfile.ZipFile(file) as archive:
            content = {info.filename: archive.read(info) for info in archive.infolist()}
        return {name.removesuffix(".npy"): _array(data) for name, data in content.items()}
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    except NPY_ERRORS as error:
        raise InputError(f"{source}: damaged: {_reason(error)}; {remedy}") from error


def _array(content: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _reason(error: Exception) -> str:
    # zipfile shows its own objects.
    return re.sub(r"<ZipInfo .*?>", "it", str(error)) or type(error).__name__
