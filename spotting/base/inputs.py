"""Reads what somebody else made: files of the regular kind, no more of them than they hold.

A folder of matches, a zip of results or a run may come from anywhere. What is here never waits for
a named pipe, never goes round in a circle of links, and never takes memory that a few bytes of a
compressed file promise to fill.
"""

import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import IO

from spotting.base.errors import InputError

MOST_BYTES = 1 << 30
"""Of a file that is read as a whole. For scale: a half's results without a threshold are 5 MB."""

MOST_UNPACKED, MOST_RATIO = 32 << 20, 50
"""A zip file may unpack to more than so many bytes only if it does so less than so many times.

Results in JSON are packed about ten times; parsed they take up to 24 times their own size.
"""

_LONGEST_NAME, _LONGEST_PATH = 200, 2000  # bytes; systems have 255 and 4096, suffixes included
_MOST_BELOW_LINKS = 100_000  # folders
_BLOCK = 1 << 16
_BLOCK_OTHER = 1 << 12  # its unpackers cannot be told how much to unpack
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | os.PathLike) -> IO[bytes]:
    """Opens a file to read its bytes, without waiting for one that is none.

    Raises:
      InputError: it is a named pipe, a socket or a device.
      OSError: as `open`.
    """
    status = os.stat(path)
    for is_kind, name in _KINDS:
        if is_kind(status.st_mode):
            raise InputError(f"{path}: {name}, not a file; copy its contents into one")
    return open(path, "rb")


def read_regular(path: str | os.PathLike, most: int = MOST_BYTES) -> bytes:
    """All bytes of a file.

    Args:
      path: of the file.
      most: bytes that it may have.

    Raises:
      InputError: as `open_regular`, or it is longer.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise InputError(f"{path}: {size:,} bytes, more than such a file has ({most:,})")
        return file.read(most)


def walk_folders(root: str | os.PathLike) -> Iterator[tuple[Path, list[str]]]:
    """Yields `root` and every folder below it, each with the names of the files in it.

    Data trees are often put together from links, which are followed, but never into a folder that
    the link lies in.

    Raises:
      InputError: links lead to more folders than any data set has.
    """
    top = os.fspath(root)
    above = {top: frozenset([_identify(top)])}
    linked: set[str] = set()
    num_linked = 0
    for folder, folders, names in os.walk(top, followlinks=True):
        ancestors, is_linked = above.pop(folder), folder in linked
        linked.discard(folder)
        kept = []
        for name in sorted(folders):
            path = os.path.join(folder, name)
            try:
                identity = _identify(path)
            except OSError:
                continue
            if identity in ancestors:
                continue
            if is_linked or os.path.islink(path):
                linked.add(path)
            above[path] = ancestors | {identity}
            kept.append(name)
        folders[:] = kept
        num_linked += is_linked
        if num_linked > _MOST_BELOW_LINKS:
            raise InputError(
                f"{root}: its links lead to more than {_MOST_BELOW_LINKS:,} folders; do they lead "
                "to each other?"
            )
        yield Path(folder), names


def _identify(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def name_below(root: Path, folder: Path) -> str:
    """A folder's path below `root` with slashes, as games are named.

    Raises:
      InputError: it is not text: bytes that are not UTF-8, which no results file could hold.
    """
    name = folder.relative_to(root).as_posix()
    if not is_text(name):
        raise InputError(f"{root}: the name of folder {name!r} is not UTF-8; rename it")
    return name


def is_text(value: str) -> bool:
    """Whether a string can be written: it holds no halves of surrogate pairs."""
    return value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)


def is_below(name: str) -> bool:
    """Whether a name, perhaps with slashes, is a path below whatever folder it is put to."""
    path = PurePath(name)
    return (
        is_text(name)
        and "\0" not in name
        and bool(path.parts)
        and not path.anchor
        and not name.startswith("/")
        and ".." not in {*path.parts, *PurePosixPath(name).parts}
        and len(name.encode()) <= _LONGEST_PATH
        and all(len(part.encode()) <= _LONGEST_NAME for part in path.parts)
    )


def is_file(path: Path) -> bool:
    """Whether there is a regular file of that name, and not if there can be none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def check_unpacked(
    members: Iterable[zipfile.ZipInfo], source: str | os.PathLike, packed: int
) -> None:
    """Raises InputError where a zip's members promise far more than a sound zip file unpacks to.

    Args:
      members: that are to be read.
      source: names the file in the error.
      packed: bytes of the zip file.
    """
    promised = sum(info.file_size for info in members)
    if promised > max(MOST_UNPACKED, MOST_RATIO * packed):
        raise InputError(
            f"{source}: {packed:,} bytes that unpack to {promised:,}, which no sound file of its "
            "kind does; make it again"
        )


def unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member of a zip file, of the length that it promises.

    It is unpacked in small blocks: `ZipFile.read` takes whatever memory the packed bytes fill.

    Raises:
      zipfile.BadZipFile: it has another length or checksum; and whatever else `zipfile` raises.
    """
    plain = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    blocks = []
    with archive.open(info) as file:
        while block := file.read(_BLOCK if plain else _BLOCK_OTHER):
            blocks.append(block)
    content = b"".join(blocks)
    if len(content) != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} ends early")
    return content
