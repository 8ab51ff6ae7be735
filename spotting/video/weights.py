"""Published files: where they are, whether they are the published ones, what is in them."""

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spotting.base.errors import InputError
from spotting.base.files import atomic_file
from spotting.base.hdf5 import list_datasets, open_h5, read_dataset
from spotting.video import resnet


class PublishedFile(NamedTuple):
    """A file that somebody else publishes."""

    name: str
    address: str
    algorithm: str  # of the digest
    digest: str


_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
RESNET152 = PublishedFile(
    "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5",
    _KERAS + "resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "md5",
    "ee4c566cf9a93f14d82f913c2dc6dd0c",
)
RESNET152_WITH_TOP = PublishedFile(
    "resnet152_weights_tf_dim_ordering_tf_kernels.h5",
    _KERAS + "resnet152_weights_tf_dim_ordering_tf_kernels.h5",
    "md5",
    "100835be76be38e30d865e96f2aaae62",
)

_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds


def digest(
    path: str | os.PathLike,
    algorithm: str = "sha256",
    each_block: Callable[[], None] = lambda: None,
) -> str:
    """The hexadecimal digest of a file.

    Args:
      path: of the file.
      algorithm: by hashlib's name.
      each_block: is called for every MiB that is read; may raise to end it.
    """
    hashed = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            each_block()
            hashed.update(block)
    return hashed.hexdigest()


def cache_folder() -> Path:
    """Where downloaded files are kept: $XDG_CACHE_HOME/spotting/video."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path("~/.cache").expanduser()) / "spotting" / "video"


def is_published(path: Path, *files: PublishedFile) -> bool:
    """Whether a file has the digest of one of the published ones."""
    digests = {algorithm: digest(path, algorithm) for algorithm in {f.algorithm for f in files}}
    return any(digests[file.algorithm] == file.digest for file in files)


def fetch(
    file: PublishedFile, option: str, log: Callable[[str], None], folder: Path | None = None
) -> Path:
    """Downloads a published file, unless it is there already.

    Args:
      file: which.
      option: of the command line that takes a copy of it; named in the error.
      log: is told what is being done.
      folder: where to; `cache_folder` if None.

    Returns:
      Its path.

    Raises:
      InputError: it cannot be downloaded, or is not what was published.
    """
    path = (folder or cache_folder()) / file.name
    if path.is_file() and is_published(path, file):
        return path
    log(f"fetching {file.address}")
    remedy = (
        f"fetch {file.address} where there is a network, {file.algorithm.upper()} {file.digest}, "
        f"and give it as {option}"
    )
    try:
        with (
            urllib.request.urlopen(file.address, timeout=_TIMEOUT) as response,
            atomic_file(path) as copy,
        ):
            shutil.copyfileobj(response, copy, _BLOCK)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{file.name}: no download ({reason}); {remedy}") from error
    if not is_published(path, file):
        path.unlink()
        raise InputError(f"{file.name}: what was downloaded is not the published file; {remedy}")
    return path


def find_resnet_weights(log: Callable[[str], None]) -> Path:
    """Keras's weights file: its own copy if it has one, else a download."""
    for file in (RESNET152, RESNET152_WITH_TOP):
        for folder in (Path("~/.keras/models").expanduser(), cache_folder()):
            path = folder / file.name
            if path.is_file() and is_published(path, file):
                return path
    return fetch(RESNET152, "--weights=FILE", log)


def read_keras_weights(
    path: str | os.PathLike, shapes: Mapping[str, Mapping[str, tuple[int, ...]]]
) -> dict[str, dict[str, np.ndarray]]:
    """Reads layers by name from an .h5 file of Keras 2.

    Args:
      path: of the file: weights alone, or a whole model.
      shapes: of the wanted weights, by layer and name ("kernel"); other layers are ignored.

    Returns:
      float32 arrays, by layer and name.

    Raises:
      InputError: not such a file, or a weight is missing or has another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; leave --weights out to download it")
    size = path.stat().st_size
    result: dict[str, dict[str, np.ndarray]] = {}
    with open_h5(path) as file:
        root = file.get("model_weights", file)
        if "layer_names" not in root.attrs:
            raise InputError(f"{path}: no weights of Keras 2: it has no layer_names")
        for layer, wanted in shapes.items():
            if layer not in root:
                raise InputError(f"{path}: weights of another network: it has no {layer}")
            group = root[layer]
            names = list_datasets(group)
            found = {name.rpartition("/")[2].partition(":")[0]: name for name in names}
            result[layer] = {}
            for name, shape in wanted.items():
                if name not in found:
                    raise InputError(f"{path}: {layer} has no {name}")
                array = read_dataset(group[found[name]], size).astype(np.float32)
                if array.shape != shape:
                    raise InputError(
                        f"{path}: weights of another network: {layer}/{name} is "
                        f"{array.shape}, not {shape}"
                    )
                if not np.isfinite(array).all():
                    raise InputError(f"{path}: {layer}/{name} is not finite; copy it again")
                result[layer][name] = array
    return result


def read_resnet_weights(path: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """Layers for `resnet.make_params` from Keras's file; errors as `read_keras_weights`."""
    return resnet.fold(read_keras_weights(path, resnet.weight_shapes()))
