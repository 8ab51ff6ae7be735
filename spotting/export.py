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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.files import write_json_atomic

if TYPE_CHECKING:
    import jax

    from spotting.runs.trained import TrainedRun

Function: TypeAlias = "Callable[[jax.Array], tuple[jax.Array, jax.Array]]"

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
    print(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB; read back, its outputs differ from the run's "
        f"by at most {errors[0]:.1e} (confidence) and {errors[1]:.1e} s (displacement)"
    )


def export(workdir: str | os.PathLike, output: str | os.PathLike) -> tuple[float, float]:
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
    """What is exported: [B, T, P] to confidences and displacements in seconds, both [B, T, K]."""
    import jax

    radius = run.config.anchors.displacement_radius

    def function(features: "jax.Array") -> "tuple[jax.Array, jax.Array]":
        logits = run.confidence.network.apply(run.confidence.params, features)
        displacement = run.displacement.network.apply(run.displacement.params, features)
        return jax.nn.sigmoid(logits), radius * displacement

    return function


def difference(
    path: str | os.PathLike, function: Function, chunk_shape: tuple[int, int]
) -> tuple[float, float]:
    """Greatest differences between a file's outputs and a function's, for batches of 1 and 3.

    Args:
      path: the file.
      function: see `spot_chunks`.
      chunk_shape: (T, P).

    Returns:
      That of confidences, and that of displacements in seconds.
    """
    from jax import export as jax_export

    loaded = jax_export.deserialize(bytearray(Path(path).read_bytes()))
    features = np.random.default_rng(0).normal(size=(3, *chunk_shape)).astype(np.float32)
    own = function(features)
    confidence, displacement = (
        max(
            float(np.abs(np.asarray(loaded.call(features[:size])[i] - own[i][:size])).max())
            for size in (1, 3)
        )
        for i in range(2)
    )
    return confidence, displacement


def signature(run: "TrainedRun", exported: Any) -> dict[str, Any]:
    """What signature.json says."""
    data, classes = run.dataset, list(run.dataset.classes)

    def array(name: str, last: int, meaning: str) -> dict[str, Any]:
        shape = ["batch", run.chunk_frames, last]
        return {"name": name, "dtype": "float32", "shape": shape, "meaning": meaning}

    return {
        "format": "jax.export",
        "calling_convention_version": exported.calling_convention_version,
        "platforms": list(exported.platforms),
        "load": _LOAD,
        "inputs": [
            array("features", data.feature_dim, f"{data.features}, chunks of consecutive frames")
        ],
        "outputs": [
            array("confidence", len(classes), "from 0 to 1, of an action around the frame"),
            array("displacement", len(classes), "seconds, positive where the action is later"),
        ],
        "frame_rate": data.frame_rate,
        "classes": classes,
    }


if __name__ == "__main__":
    cli.run(main)
