"""predictions/<split>.npz of a run: what its models say of every frame, before post-processing.

Arrays `<game>|<half>|confidence`, in [0, 1], and `<game>|<half>|displacement`, in frames: float32
[N, K]. With them post-processing can be done again, or several runs be averaged, without a model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spotting.data.soccernet import Half
from spotting.errors import InputError
from spotting.files import write_npz_atomic


class Prediction(NamedTuple):
    """What the models say of one half: confidence and displacement [N, K]."""

    confidence: np.ndarray
    displacement: np.ndarray


def path_of(workdir: Path, split: str) -> Path:
    """Where a run keeps the predictions of a split."""
    return workdir / "predictions" / f"{split}.npz"


def save(
    workdir: Path,
    split: str,
    halves: Sequence[Half],
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray],
) -> None:
    """Writes the predictions of a split's halves."""
    arrays = {}
    for half, scores, shifts in zip(halves, confidence, displacement, strict=True):
        arrays[f"{half.game}|{half.number}|confidence"] = scores
        arrays[f"{half.game}|{half.number}|displacement"] = shifts
    write_npz_atomic(path_of(workdir, split), arrays)


def load(workdir: Path, split: str) -> dict[tuple[str, int], Prediction]:
    """Predictions by game and number of the half.

    Raises:
      InputError: the run has none, or the file is not complete.
    """
    path = path_of(workdir, split)
    if not path.exists():
        raise InputError(
            f"{path}: not there; train with config.inference.save_predictions, or with "
            "--mode=evaluate spot the matches again"
        )
    try:
        with np.load(path) as arrays:
            names = [name.removesuffix("|confidence") for name in arrays if "|conf" in name]
            found = {}
            for name in names:
                game, _, number = name.rpartition("|")
                values = (arrays[f"{name}|{kind}"] for kind in Prediction._fields)
                found[game, int(number)] = Prediction(*values)
    except (ValueError, KeyError, OSError) as error:
        raise InputError(f"{path}: not a run's predictions: {error}") from error
    return found
