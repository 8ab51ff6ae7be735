"""A run to be given away: a run folder whose weights are one safetensors file, without checkpoints.

    config.json          without the folders of the machine that trained
    dataset.json         classes, frame rate, features, and the games of the splits
    metrics.json, thresholds.json
    model.safetensors    confidence/..., displacement/..., and normalization/offset and scale

`load_run` takes such a folder like the run folder that it came from. Nothing in it is executed or
unpickled, and whatever of it does not fit its own config is refused.
"""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from spotting.base.errors import InputError
from spotting.base.files import atomic_file, write_json_atomic
from spotting.data.dataset import write_description
from spotting.data.transforms import Normalization
from spotting.runs import layout
from spotting.runs.hub import remove_folders

if TYPE_CHECKING:
    from spotting.runs.trained import TrainedRun

_NORMALIZATION = "normalization"


def publish(run: "TrainedRun", folder: Path) -> None:
    """Writes a run, without a card, into a folder.

    Raises:
      InputError: safetensors is not installed, or the run has no metrics.json.
    """
    safetensors = _import_safetensors()
    metrics = run.workdir / layout.METRICS
    if not metrics.is_file():
        raise InputError(f"{run.workdir}: no {layout.METRICS}; finish the run first")
    arrays = _name_arrays({"confidence": run.confidence.params})
    if run.displacement is not None:
        arrays |= _name_arrays({"displacement": run.displacement.params})
    if run.normalization is not None:
        arrays[f"{_NORMALIZATION}/offset"] = run.normalization.offset
        arrays[f"{_NORMALIZATION}/scale"] = run.normalization.scale
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomic(folder / layout.CONFIG, remove_folders(run.config.to_dict()))
    write_description(run.source, folder)
    for path in (metrics, run.workdir / layout.THRESHOLDS):
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with atomic_file(folder / layout.WEIGHTS) as file:
        file.write(safetensors.save(contiguous, metadata={"format": "flax"}))


def read_weights(
    path: Path, shapes: Mapping[str, Any], num_columns: int | None
) -> tuple[dict[str, Any], Normalization | None]:
    """Reads what `publish` wrote.

    Args:
      path: of the safetensors file.
      shapes: of each kind of model, its variables' shapes and dtypes.
      num_columns: P of the features, where the run normalises them.

    Returns:
      The variables of each kind, and what normalises features.

    Raises:
      InputError: safetensors is not installed; the file is damaged; or its arrays are not those of
        the models, or not finite.
    """
    wanted: dict[str, tuple[tuple[int, ...], np.dtype]] = {
        name: (tuple(leaf.shape), np.dtype(leaf.dtype))
        for name, leaf in flatten_dict(dict(shapes), sep="/").items()
    }
    if num_columns is not None:
        for name in ("offset", "scale"):
            wanted[f"{_NORMALIZATION}/{name}"] = ((num_columns,), np.dtype(np.float32))
    arrays = _read_arrays(path)
    for name in sorted(wanted.keys() ^ arrays.keys()):
        fault = "no array" if name in wanted else "an unknown array"
        raise InputError(f"{path}: {fault} {name!r}, by the {layout.CONFIG} beside it")
    for name, (shape, dtype) in wanted.items():
        array = arrays[name]
        if (array.shape, array.dtype) != (shape, dtype):
            raise InputError(
                f"{path}: {name} is {array.dtype} {array.shape}, but {dtype} {shape} by the "
                f"{layout.CONFIG} beside it"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} has NaN or infinity in it; no model can use that")
    normalization = None
    if num_columns is not None:
        offset, scale = (arrays.pop(f"{_NORMALIZATION}/{name}") for name in ("offset", "scale"))
        normalization = Normalization(offset, scale)
    on_device = {name: jnp.asarray(array) for name, array in arrays.items()}
    return unflatten_dict(on_device, sep="/"), normalization


def _name_arrays(models: Mapping[str, Any]) -> dict[str, np.ndarray]:
    named = flatten_dict(dict(models), sep="/")
    return {name: np.asarray(array) for name, array in named.items()}


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    safetensors = _import_safetensors()
    try:
        arrays: dict[str, np.ndarray] = safetensors.load(path.read_bytes())
    except OSError:
        raise
    except Exception as error:  # whatever the bytes make the library raise
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a sound safetensors file: {reason:.200}") from error
    return arrays


def _import_safetensors() -> ModuleType:
    with contextlib.suppress(ImportError):
        import safetensors.numpy

        return safetensors.numpy
    raise InputError("weights in safetensors need a package: pip install safetensors")
