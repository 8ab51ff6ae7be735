"""Checks of a dataset's files, before any long work starts."""

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spotting.base.errors import InputError
from spotting.base.files import NPY_ERRORS, read_npy_header, read_object, write_json_atomic
from spotting.base.inputs import open_regular
from spotting.data.annotations import LABELS_FILE, read_events
from spotting.data.dataset import DESCRIPTION_FILE, HALVES, LABELLED_SPLITS, SOCCERNET_V2, Dataset

LARGEST = 1e15
"""Greater values are no features: their squares, summed over a frame, may not be float32."""

_EXAMPLES = 3
_MOST_RECORDED = 20_000  # files; older entries are dropped
_SCAN_BYTES = 1 << 20  # A block that stays in the cache while it is read twice.


class MissingData(InputError):
    """Data that is not there. `details`, of several lines, says what was expected where."""

    def __init__(self, message: str, details: str):
        super().__init__(message)
        self.details = details


def find_missing_files(dataset: Dataset, split: str, labels: bool = True) -> list[Path]:
    """Files of a split that are absent, game by game; see `list_halves` for its feature files.

    With `labels`, label files count too, but for the challenge split, which has none.
    """
    return [path for path in _files(dataset, split, labels) if not path.is_file()]


def list_halves(dataset: Dataset, game: str) -> dict[int, Path]:
    """The feature files that a game should have, by the number of their half.

    SoccerNet-v2 has halves 1 and 2. A game of another data set has those whose feature files are
    there, and those that its labels, if they are there, speak of; 1 and 2 where there are none.

    Raises:
      InputError: as `Dataset.find_halves`.
    """
    found = dataset.find_halves(game)
    numbers = set(HALVES if dataset.name == SOCCERNET_V2 else found)
    if dataset.name != SOCCERNET_V2:
        # Labels that cannot be read have their own error, when their turn comes.
        with contextlib.suppress(OSError, InputError):
            numbers |= {event.half for event in read_events(dataset.labels_path(game))}
    return {
        number: found.get(number, dataset.half_path(game, number))
        for number in sorted(numbers or HALVES)
    }


def require_files(dataset: Dataset, split: str, labels: bool = True) -> None:
    """Raises MissingData, with a summary of them all, where files of a split are absent."""
    missing = find_missing_files(dataset, split, labels)
    if missing:
        games = {path.parent for path in missing}
        raise MissingData(
            f"{dataset.root}: {_plural(len(missing), 'file')} of the {split} split missing, in "
            f"{len(games)} of its {_plural(len(dataset.games(split)), 'game')}: "
            f"{_examples(dataset, missing)}; {_remedy(dataset)}",
            describe_expected_tree(dataset),
        )


def describe_expected_tree(dataset: Dataset) -> str:
    """The folder that a dataset should be, what of it is missing, and how to come by it.

    Several lines for a person to read. Looks only at whether files exist; `dataset.root` need not.
    """
    files = (
        f"float16 or float32, (frames, {dataset.feature_dim}), {dataset.frame_rate:g} per second"
    )
    some_game = next(iter(dataset.splits.values()))[0]
    counts = ", ".join(f"{split} {len(games)}" for split, games in dataset.splits.items())
    lines = [
        f"{dataset.name} with features {dataset.features} is expected as",
        "",
        f"  {dataset.root}/",
        f"    {some_game}/",
        f"      1_{dataset.features}.npy   {files}",
        f"      2_{dataset.features}.npy",
        *_other_halves(dataset),
        f"      {LABELS_FILE}",
        f"    ... (games: {counts})",
        "",
        *_missing_lines(dataset),
    ]
    if dataset.name == SOCCERNET_V2:
        lines += [
            "SoccerNet-v2 is at https://www.soccer-net.org. Features and labels need no password",
            "since 2026 (Hugging Face: SoccerNet/SN-Features, SoccerNet/SN-Labels); videos, which",
            "nothing here needs, ask for an NDA. To fetch features and labels:",
            "",
            "  python -m spotting.prepare --download --config=CONFIG "
            f"--config.data.root={dataset.root}",
            "",
            f"Other games: a folder with a {DESCRIPTION_FILE} is a dataset of its own.",
            "",
        ]
    lines += [
        "Without any data, the demo simulates matches:",
        "",
        "  python -m spotting.main --config=configs/demo.py",
    ]
    return "\n".join(lines)


def read_header(path: str | os.PathLike) -> tuple[int, int]:
    """Frames N and feature dimension P of a feature file, from its header and its size alone.

    Raises:
      InputError: not a whole .npy file of a float16 or float32 array [N, P] with N > 0.
    """
    with open_regular(path) as file:
        try:
            shape, _, dtype = read_npy_header(file)
        except NPY_ERRORS as error:
            raise InputError(
                f"{path}: not a NumPy .npy file of numbers; download or extract it again"
            ) from error
        promised = file.tell() + dtype.itemsize * math.prod(shape)
        size = os.fstat(file.fileno()).st_size
    if dtype not in (np.float16, np.float32):
        raise InputError(
            f"{path}: holds {dtype!r} values, not float16 or float32; convert it with "
            f"np.save(path, np.load(path).astype(np.float32))"
        )
    if len(shape) != 2 or min(shape) < 1:
        raise InputError(f"{path}: has shape {shape}, not (frames, features)")
    if size != promised:
        state = "truncated" if size < promised else "longer than it should be"
        raise InputError(
            f"{path}: {state}: {size:,} bytes where its header promises {promised:,}; download or "
            f"extract it again"
        )
    return shape


def check_game(dataset: Dataset, game: str, halves: Mapping[int, Path]) -> dict[int, int]:
    """Frames in each half of a game, by its number, from headers alone.

    Args:
      dataset: the data set.
      game: one of its games.
      halves: the game's feature files, of `list_halves`.

    Raises:
      InputError: as `read_header`, or a half has another width than the dataset or another half.
    """
    shapes = {number: read_header(path) for number, path in halves.items()}
    widths = list(dict.fromkeys(width for _, width in shapes.values()))
    if len(widths) > 1:
        raise InputError(
            f"{dataset.root / game}: the halves' {dataset.features} files differ in width, "
            f"{' and '.join(map(str, widths))}; each should be {dataset.feature_dim}"
        )
    if widths[0] != dataset.feature_dim:
        raise InputError(
            f"{next(iter(halves.values()))}: {widths[0]} values a frame, where "
            f"{dataset.features} of {dataset.name} has {dataset.feature_dim}"
        )
    return {number: num_frames for number, (num_frames, _) in shapes.items()}


def find_nonfinite(features: np.ndarray) -> tuple[int, int] | None:
    """Frame and column of the first NaN or infinity in a float array [N, P], None without one.

    Values beyond `LARGEST` count as infinite. Reads block by block, so that a memory-mapped array
    need not fit in memory.
    """
    signed, unsigned = (np.dtype(f"{kind}{features.itemsize}") for kind in "iu")
    with np.errstate(over="ignore"):  # the limit is infinity in float16
        limits = np.array([LARGEST, -LARGEST], features.dtype)
    limit, minus_limit = limits.view(unsigned)
    block = max(1, _SCAN_BYTES // (features.shape[1] * features.itemsize))
    for start in range(0, len(features), block):
        values = np.asarray(features[start : start + block])
        # Bit patterns are ordered as the magnitudes are, NaNs the greatest of their sign, and the
        # maximum of integers runs at memory speed; np.isfinite is ten times slower on float16.
        if values.view(signed).max() >= limit or values.view(unsigned).max() >= minus_limit:
            frame, column = np.argwhere(~(np.abs(values) < limits[0]))[0]
            return start + int(frame), int(column)
    return None


State = list[int]
"""Size and time of last change of a file, in bytes and nanoseconds."""


def locate_record() -> Path:
    """Where this machine keeps which feature files were read and found free of NaN."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return caches / "spotting" / "checked_features.json"


def describe_state(path: Path) -> State:
    """What changes when a file is written."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def read_record(path: Path | None) -> dict[str, State]:
    """The state that each file had when it passed; nothing where the record cannot be read."""
    if path is None:
        return {}
    try:
        record = read_object(path)
    except (InputError, OSError):
        return {}
    return record


def write_record(path: Path | None, passed: Mapping[str, State]) -> None:
    """Writes which files passed, the latest ones; does without where it cannot be written."""
    if path is not None:
        with contextlib.suppress(OSError):
            # Processes that start together overwrite each other's: those files are read again.
            write_json_atomic(path, dict(list(passed.items())[-_MOST_RECORDED:]))


def raise_first(errors: Sequence[InputError], what: str) -> None:
    """Raises the first of some errors, if any, its line saying how many more there are."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputError(f"{errors[0]} (other {what}: {len(errors) - 1})") from errors[0]


def _files(dataset: Dataset, split: str, labels: bool) -> list[Path]:
    files: list[Path] = []
    for game in dataset.games(split):
        files += list_halves(dataset, game).values()
        if labels and split in LABELLED_SPLITS:
            files.append(dataset.labels_path(game))
    return files


def _other_halves(dataset: Dataset) -> list[str]:
    if dataset.name == SOCCERNET_V2:
        return []
    return [f"      (or 1 to 4 of them, 3 and 4 being extra time, or one {dataset.features}.npy)"]


def _missing_lines(dataset: Dataset) -> list[str]:
    lines = []
    for split in dataset.splits:
        missing = find_missing_files(dataset, split)
        if missing and split in LABELLED_SPLITS:
            files = len(_files(dataset, split, labels=True))
            lines.append(f"  {split}: {len(missing)} of {files} files")
            lines += [f"    {path.relative_to(dataset.root)}" for path in missing[:_EXAMPLES]]
            lines += ["    ..."] if len(missing) > _EXAMPLES else []
    return ["Missing there:", "", *lines, ""] if lines else []


def _examples(dataset: Dataset, paths: Sequence[Path]) -> str:
    shown = [str(path.relative_to(dataset.root)) for path in paths[:_EXAMPLES]]
    return ", ".join(shown) + (", ..." if len(paths) > _EXAMPLES else "")


def _remedy(dataset: Dataset) -> str:
    if dataset.name == SOCCERNET_V2:
        return "python -m spotting.prepare --download fetches SoccerNet-v2"
    return f"add them, or take these games out of {dataset.root / DESCRIPTION_FILE}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
