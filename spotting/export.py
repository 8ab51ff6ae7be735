"""Packs a run's two models into one file that serves without this package.

  python -m spotting.export --workdir=runs/unet_resnet_pca --output=served

Writes model.stablehlo, which holds the weights, takes chunks of features and gives a confidence and
a displacement in seconds for every frame and class, for any batch size, on CPUs, GPUs and TPUs; and
signature.json, which says what goes in, what comes out, and how to load it. Cutting halves into
chunks, stitching and non-maximum suppression are left to who serves it.

What was written is read back and compared with the run's models before it gets its place.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.files import read_object, write_json_atomic

if TYPE_CHECKING:
    import jax

    from spotting.runs.trained import TrainedRun

Function: TypeAlias = "Callable[[jax.Array], tuple[jax.Array, ...]]"

MODEL_FILE, SIGNATURE_FILE = "model.stablehlo", "signature.json"
PLATFORMS = ("cpu", "cuda", "tpu")

_MOST_ERROR = {"float32": 1e-4, "bfloat16": 0.1}  # by dtype of the computation
_LOAD = "jax.export.deserialize(bytearray(open('model.stablehlo', 'rb').read())).call(features)"


def main() -> None:
    """Reads the command line."""
    parser = cli.Parser("python -m spotting.export", __doc__)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--overwrite", action="store_true", help="replace what --output has")
    arguments = parser.parse_args()
    there = [name for name in (MODEL_FILE, SIGNATURE_FILE) if (arguments.output / name).exists()]
    if there and not arguments.overwrite:
        raise InputError(f"{arguments.output / there[0]}: there already; --overwrite replaces it")
    errors = export(arguments.workdir, arguments.output)
    path = arguments.output / MODEL_FILE
    outputs = read_object(arguments.output / SIGNATURE_FILE)["outputs"]
    names = [each["name"] for each in outputs]
    pairs = zip(errors, names, strict=True)
    most = " and ".join(f"{error:.1e} ({name})" for error, name in pairs)
    print(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB; read back, its outputs differ from the run's "
        f"by at most {most}"
    )


def export(workdir: str | os.PathLike, output: str | os.PathLike) -> list[float]:
    """Writes both files of a run's models to a folder.

    Args:
      workdir: run folder, of one seed.
      output: the folder; files of these names in it are replaced.

    Returns:
      See `difference`.

    Raises:
      InputError: `workdir` is no finished run.
      ArithmeticError: what was read back computes something else than the models.
    """
    import jax
    from jax import export as jax_export

    from spotting.runs.trained import load_run

    run, output = load_run(workdir), Path(output)
    output.mkdir(parents=True, exist_ok=True)
    function = jax.jit(spot_chunks(run))
    batch = jax_export.symbolic_shape("batch")
    shape = (*batch, run.chunk_frames, run.dataset.feature_dim)
    features = jax.ShapeDtypeStruct(shape, np.float32)
    exported = jax_export.export(function, platforms=PLATFORMS)(features)
    with tempfile.TemporaryDirectory(dir=output, prefix=".export.") as folder:
        written = Path(folder)
        (written / MODEL_FILE).write_bytes(exported.serialize())
        write_json_atomic(written / SIGNATURE_FILE, signature(run, exported))
        errors = difference(written / MODEL_FILE, function, shape[1:])
        if max(errors) > _MOST_ERROR[run.config.model.dtype]:
            raise ArithmeticError(f"{output}: not written, its outputs would be wrong by {errors}")
        for name in (MODEL_FILE, SIGNATURE_FILE):
            os.replace(written / name, output / name)
    return errors


def spot_chunks(run: "TrainedRun") -> Function:
    """What is exported: [B, T, P] to confidences and displacements in seconds, both [B, T, K].

    Of a system of one model, its own outputs (`runs.systems`).
    """
    import jax

    from spotting.runs.systems import find_system

    if system := find_system(run.config):
        apply = system.export(run.confidence.network)
        return lambda features: apply(run.confidence.params, features)
    assert run.displacement is not None
    shift = run.displacement
    radius = run.config.anchors.displacement_radius

    def function(features: "jax.Array") -> "tuple[jax.Array, jax.Array]":
        logits = run.confidence.network.apply(run.confidence.params, features)
        displacement = shift.network.apply(shift.params, features)
        return jax.nn.sigmoid(logits), radius * displacement

    return function


def difference(
    path: str | os.PathLike, function: Function, chunk_shape: tuple[int, int]
) -> list[float]:
    """Greatest differences between a file's outputs and a function's, for batches of 1 and 3.

    Args:
      path: the file.
      function: see `spot_chunks`.
      chunk_shape: (T, P).

    Returns:
      That of each output: of confidences, and of displacements in seconds.
    """
    from jax import export as jax_export

    loaded = jax_export.deserialize(bytearray(Path(path).read_bytes()))
    features = np.random.default_rng(0).normal(size=(3, *chunk_shape)).astype(np.float32)
    own = function(features)
    return [
        max(
            float(np.abs(np.asarray(loaded.call(features[:size])[i] - own[i][:size])).max())
            for size in (1, 3)
        )
        for i in range(len(own))
    ]


def signature(run: "TrainedRun", exported: Any) -> dict[str, Any]:
    """What signature.json says."""
    from spotting.runs.systems import find_system

    data, classes = run.dataset, list(run.dataset.classes)
    meanings = (
        ("confidence", "from 0 to 1, of an action around the frame"),
        ("displacement", "seconds, positive where the action is later"),
    )
    if system := find_system(run.config):
        meanings = system.outputs

    def array(name: str, shape: Sequence[int], meaning: str) -> dict[str, Any]:
        return {
            "name": name,
            "dtype": "float32",
            "shape": ["batch", *shape],
            "meaning": meaning,
        }

    return {
        "format": "jax.export",
        "calling_convention_version": exported.calling_convention_version,
        "platforms": list(exported.platforms),
        "load": _LOAD,
        "inputs": [
            array(
                "features",
                (run.chunk_frames, data.feature_dim),
                f"{data.features}, chunks of consecutive frames",
            )
        ],
        "outputs": [
            array(name, aval.shape[1:], meaning)
            for (name, meaning), aval in zip(meanings, exported.out_avals, strict=True)
        ],
        "frame_rate": data.frame_rate,
        "classes": classes,
    }


if __name__ == "__main__":
    cli.run(main)
