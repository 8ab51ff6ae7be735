"""SoccerNet's projection of 2048 features to 512, `ResNET_TF2_PCA512`.

It was fitted on all 500 games, is published as two pickles, and cannot be replaced by one that is
fitted on one's own videos. The pickles are read without running anything in them, once, and kept as
an .npz file.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spotting.base.errors import InputError
from spotting.base.files import read_npz, write_npz_atomic
from spotting.video import weights
from spotting.video.restricted_pickle import RestrictedUnpickler
from spotting.video.weights import PublishedFile

INPUT_DIM, OUTPUT_DIM = 2048, 512

_FOLDER = "https://raw.githubusercontent.com/SoccerNet/sn-spotting/main/Features/"
COMPONENTS = PublishedFile(
    "pca_512_TF2.pkl",
    _FOLDER + "pca_512_TF2.pkl",
    "sha256",
    "dbe1f6e1dcf3a178715656aad19e25c3d90b9f0d71857d09d99c0066421fc810",
)
AVERAGE = PublishedFile(
    "average_512_TF2.pkl",
    _FOLDER + "average_512_TF2.pkl",
    "sha256",
    "73c4b1c9e492929552e63edc87b8dc7cecc4fe6747d9106a5e4d56bc2760556e",
)
_OPTION = "--pca=FOLDER with both files"
_REMEDY = f"the published files are {COMPONENTS.name} and {AVERAGE.name}"


@dataclasses.dataclass(frozen=True)
class Pca:
    """The projection y = ((x - average) - mean) @ components.T, in float32.

    Attributes:
      average: [2048] of the training features.
      mean: [2048] what scikit-learn found left after it, about 1e-6.
      components: [512, 2048].
      digest: SHA-256 of the components' pickle, or of the .npz.
      published: whether these are SoccerNet's.
    """

    average: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    digest: str
    published: bool


def load_pca(path: str | os.PathLike | None, log: Callable[[str], None]) -> Pca:
    """Reads the projection.

    Args:
      path: a folder with both pickles, the components' pickle with the average's beside it, or an
        .npz with `average`, `mean` and `components`; None takes the kept or the published files.
      log: is told what is being done.

    Returns:
      See `Pca`.

    Raises:
      InputError: the files are not there, are of another size, or ask for more than data.
    """
    if path is not None and Path(path).suffix == ".npz":
        return _read_arrays(Path(path))
    if path is None:
        kept = _kept(COMPONENTS.digest, AVERAGE.digest)
        if kept.is_file():
            return _read_arrays(kept)
        components = weights.fetch(COMPONENTS, _OPTION, log)
        average = weights.fetch(AVERAGE, _OPTION, log)
    else:
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        components = folder / COMPONENTS.name if Path(path).is_dir() else Path(path)
        average = folder / AVERAGE.name
        for file in (components, average):
            if not file.is_file():
                raise InputError(f"{file}: no such file; {_REMEDY}")
    digests = weights.digest(components), weights.digest(average)
    kept = _kept(*digests)
    if kept.is_file():
        return _read_arrays(kept)
    pca = read_pickles(components, average)
    try:
        write_npz_atomic(
            kept,
            {
                "average": pca.average,
                "mean": pca.mean,
                "components": pca.components,
                "digest": np.asarray(pca.digest),
                "published": np.asarray(pca.published),
            },
        )
    except OSError as error:
        log(f"{kept}: not kept: {error.strerror or error}")
    return pca


def read_pickles(components: Path, average: Path) -> Pca:
    """Reads both pickles without running anything in them.

    Args:
      components: of a fitted sklearn.decomposition.PCA.
      average: of one array.

    Raises:
      InputError: as `load_pca`.
    """
    digests = weights.digest(components), weights.digest(average)
    with open(components, "rb") as file:
        fitted = RestrictedUnpickler(file, str(components), _names()).read()
    if not isinstance(fitted, _FittedPca):
        raise InputError(f"{components}: no PCA of scikit-learn; {_REMEDY}")
    state = vars(fitted)
    if state.get("whiten"):
        raise InputError(f"{components}: a PCA that whitens; {_REMEDY}")
    with open(average, "rb") as file:
        subtracted = RestrictedUnpickler(file, str(average), _names()).read()
    return Pca(
        _array(average, "average", subtracted, (INPUT_DIM,)),
        _array(components, "mean_", state.get("mean_"), (INPUT_DIM,)),
        _array(components, "components_", state.get("components_"), (OUTPUT_DIM, INPUT_DIM)),
        digests[0],
        digests == (COMPONENTS.digest, AVERAGE.digest),
    )


def _read_arrays(path: Path) -> Pca:
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_REMEDY}")
    arrays = read_npz(path, path, "make it again")
    return Pca(
        _array(path, "average", arrays.get("average"), (INPUT_DIM,)),
        _array(path, "mean", arrays.get("mean"), (INPUT_DIM,)),
        _array(path, "components", arrays.get("components"), (OUTPUT_DIM, INPUT_DIM)),
        str(arrays["digest"]) if "digest" in arrays else weights.digest(path),
        bool(arrays.get("published", False)),
    )


def _array(path: Path, name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise InputError(f"{path}: {name} is no array of numbers; {_REMEDY}")
    if value.shape != shape:
        raise InputError(f"{path}: {name} is {value.shape}, not {shape}; {_REMEDY}")
    if not np.isfinite(value).all():
        raise InputError(f"{path}: {name} is not finite; {_REMEDY}")
    return np.ascontiguousarray(value, np.float32)


def _kept(components: str, average: str) -> Path:
    return weights.cache_folder() / f"pca_512_TF2-{components[:12]}-{average[:12]}.npz"


class _FittedPca:
    """Stands for scikit-learn's class; keeps what was stored of an object."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def _array_of_buffer(content: bytes, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """How protocol 5 makes an array."""
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 makes bytes."""
    if encoding != "latin1":
        raise ValueError(f"text in {encoding}")
    return text.encode("latin1")


@functools.cache
def _names() -> dict[str, Any]:
    """All that a pickle of a PCA, or of an array, has to name."""
    reconstruct = np.empty(0).__reduce__()[0]
    names: dict[str, Any] = {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype}
    for package in ("numpy.core", "numpy._core"):
        names[f"{package}.multiarray._reconstruct"] = reconstruct
        names[f"{package}.multiarray.scalar"] = np.float64(0).__reduce__()[0]
        names[f"{package}.numeric._frombuffer"] = _array_of_buffer
    names["_codecs.encode"] = _encode
    for module in ("sklearn.decomposition._pca", "sklearn.decomposition.pca"):
        names[f"{module}.PCA"] = _FittedPca
    return names
