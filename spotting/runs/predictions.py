"""predictions/<split>.npz of a run: what its models say of every frame, before post-processing.

Arrays `<game>|<half>|confidence`, in [0, 1], and `<game>|<half>|displacement`, in frames: float32
[N, K]. With them post-processing can be done again, or several runs be averaged, without a model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spotting.base.errors import InputError
from spotting.base.files import read_npz, write_npz_atomic
from spotting.data.annotations import HALF_NUMBERS
from spotting.data.halves import Half
from spotting.runs.layout import locate_predictions

_REMEDY = (
    "train with config.inference.save_predictions, or with --mode=evaluate spot the matches again"
)


class Prediction(NamedTuple):
    """What the models say of one half: confidence and displacement [N, K]."""

    confidence: np.ndarray
    displacement: np.ndarray


def save_predictions(
    workdir: Path,
    split: str,
    halves: Sequence[Half],
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray] | None,
) -> None:
    """Writes the predictions of a split's halves; displacements are 0 for a system without."""
    arrays = {}
    moves = list(map(np.zeros_like, confidence)) if displacement is None else displacement
    for half, scores, shifts in zip(halves, confidence, moves, strict=True):
        arrays[f"{half.game}|{half.number}|confidence"] = scores
        arrays[f"{half.game}|{half.number}|displacement"] = shifts
    write_npz_atomic(locate_predictions(workdir, split), arrays)


def load_predictions(workdir: Path, split: str) -> dict[tuple[str, int], Prediction]:
    """Predictions by game and number of the half.

    Raises:
      InputError: the run has none, or the file is damaged or not such a file.
    """
    path = locate_predictions(workdir, split)
    if not path.exists():
        raise InputError(f"{path}: not there; {_REMEDY}")
    arrays = read_npz(path, path, _REMEDY)
    found: dict[tuple[str, int], Prediction] = {}
    try:
        for name in arrays:
            # A game's path may hold any character, the separator too.
            half, _, kind = name.rpartition("|")
            game, _, number = half.rpartition("|")
            if kind not in Prediction._fields or number not in map(str, HALF_NUMBERS):
                raise ValueError(f"{name!r} is in it")
            values = Prediction(*(arrays[f"{half}|{field}"] for field in Prediction._fields))
            if not _fit(values):
                raise ValueError(f"{half!r} has arrays of {_described(values)}")
            found[game, int(number)] = values
    except (KeyError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: not a run's predictions: {reason}; {_REMEDY}") from error
    return found


def _fit(values: Prediction) -> bool:
    """Whether the arrays are what `save` is given of a half."""
    floats = all(np.issubdtype(array.dtype, np.floating) for array in values)
    return floats and values.confidence.ndim == 2 and len({array.shape for array in values}) == 1


def _described(values: Prediction) -> str:
    return " and ".join(f"{array.dtype} {array.shape}" for array in values)
