"""Files: written so that a killed process leaves the old one or the new one, read with care.

What the bytes of a damaged file make a parser raise becomes an `InputError`.
"""

import contextlib
import errno
import io
import json
import lzma
import math
import os
import re
import socket
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from spotting.base.errors import InputError
from spotting.base.inputs import check_unpacked, is_text, open_regular, read_regular, unpack

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

TEMPORARY = ".spotting-tmp"
"""Ends the name of a file that is being written."""

_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LOCK_FILE = ".lock"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

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


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Yields a binary file that becomes `path` when the block ends without an error.

    Its content is on the disk before it has the name, so that not even a machine that loses its
    power leaves a part of it there.

    Raises:
      OSError: it cannot be written; the error names `path`.
    """
    path = Path(path)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle, temporary = tempfile.mkstemp(TEMPORARY, f".{path.name}.", path.parent)
        except OSError as error:
            raise _make_os_error(error, path) from error
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes files private to the user; results are for others to read.
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """A block whose OSErrors name `path` where they name no file, as when a disk is full."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise _make_os_error(error, path) from error


def _make_os_error(error: OSError, path: str | os.PathLike) -> OSError:
    if error.errno is None:  # NumPy tells only how many values it could write.
        return OSError(f"{path}: could not be written ({error}); is the disk full?")
    return OSError(error.errno, os.strerror(error.errno), str(path))


def is_disk_error(error: BaseException) -> bool:
    """Whether an error says that a disk takes no more: it is full, or may not be written."""
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS


def remove_temporaries(folder: Path, recursive: bool = False) -> None:
    """Deletes what killed processes left of an `atomic_file` in a folder that one alone writes."""
    pattern = f".*{TEMPORARY}"
    for path in folder.rglob(pattern) if recursive else folder.glob(pattern):
        with contextlib.suppress(OSError):
            path.unlink()


def write_text_atomic(path: str | os.PathLike, text: str) -> None:
    """Writes `text` (UTF-8) to `path`, atomically; makes its folder."""
    with atomic_file(path) as file:
        file.write(text.encode())


def write_npz_atomic(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an uncompressed .npz file, atomically."""
    with atomic_file(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_json_atomic(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    write_text_atomic(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def parse_json(content: bytes | str, source: str | os.PathLike) -> Any:
    """What some JSON says.

    Args:
      content: the JSON.
      source: names the file in the error.

    Raises:
      InputError: it is none, or has half of a surrogate pair in it, which no file could be given.
    """
    try:
        if isinstance(content, bytes):
            content = content.decode(json.detect_encoding(content))
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON: {error}") from error
    if _SURROGATE.search(content) and not is_text(json.dumps(value, ensure_ascii=False)):
        raise InputError(f"{source}: not JSON: a \\uD800 to \\uDFFF stands alone")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file that a run left; InputError if it holds none."""
    value = parse_json(read_regular(path), path)
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
        with unzipping(f"{source}: damaged"), contextlib.ExitStack() as stack:
            if isinstance(file, str | os.PathLike):
                file = stack.enter_context(open_regular(file))
            archive = stack.enter_context(zipfile.ZipFile(file))
            check_unpacked(archive.infolist(), source, file.seek(0, os.SEEK_END))
            content = {info.filename: unpack(archive, info) for info in archive.infolist()}
        return {name.removesuffix(".npy"): _array(data) for name, data in content.items()}
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    except NPY_ERRORS as error:
        raise InputError(f"{source}: damaged: {_reason(error)}; {remedy}") from error


def _array(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    shape, _, dtype = read_npy_header(file)
    # NumPy would take the memory that the header promises before it misses the bytes.
    if not dtype.hasobject and file.tell() + dtype.itemsize * math.prod(shape) > len(content):
        raise ValueError(f"its header promises an array {shape} of {dtype}, which is not there")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of the array in an .npy file, which is then at the first of its values.

    Raises:
      Exception: one of NPY_ERRORS.
    """
    return _NPY_HEADERS[np.lib.format.read_magic(file)](file)


def _reason(error: Exception) -> str:
    # zipfile shows its own objects.
    return re.sub(r"<ZipInfo .*?>", "it", str(error)) or type(error).__name__


def require_free(folder: Path) -> None:
    """Raises InputError if a process holds a folder now; for before long work, as it takes none."""
    if (folder / _LOCK_FILE).exists() and os.access(folder, os.W_OK):
        with hold_folder(folder):
            pass


@contextlib.contextmanager
def hold_folder(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other processes that hold it out of a folder; makes it, and leaves no empty one.

    The system releases the lock when the process ends, however it ends. What killed processes left
    half-written in the folder itself is deleted.

    Args:
      folder: to hold.
      wait: for the end of another process that holds it.

    Raises:
      InputError: another process holds it, and `wait` is false.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    path = folder / _LOCK_FILE
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115, it is held open
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise InputError(f"{folder}: in use by {holder}; wait for its end") from None
        with contextlib.suppress(FileNotFoundError):
            # The last holder may have removed the file between our opening and locking it.
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                break
        file.close()
    with file:
        try:
            with naming(path):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
            remove_temporaries(folder)
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
                if is_new:
                    folder.rmdir()
