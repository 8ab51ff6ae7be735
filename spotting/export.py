"""Packs a run's two models into one file that serves without this package.

  python -m spotting.export --workdir=runs/unet_resnet_pca --output=served

Writes
  model.stablehlo   both networks with their weights: chunks of features, as the run's own feature
                    files hold them, to a confidence and a displacement in seconds for every frame
                    and class, for any batch size, on CPUs, GPUs and TPUs
  signature.json    what goes in, what comes out, and all that lies between features and spots:
                    classes, frame rates, chunks and their borders, votes, suppression,
                    thresholds
  spots.py          from the features of a half to its spots, with NumPy and whatever runs the model
                    (of the paper's two models; not of another system)

What was written is read back and compared with the run, output by output and spot by spot, before
it gets its place. To load it, `pip install jax flatbuffers`.
"""

import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.files import read_object, write_json_atomic, write_text_atomic
from spotting.inference import spots as served_spots

if TYPE_CHECKING:
    import jax

    from spotting.runs.trained import TrainedRun
    from spotting.spotter import Spotter

Function: TypeAlias = "Callable[[jax.Array], tuple[jax.Array, ...]]"

MODEL_FILE, SIGNATURE_FILE, SPOTS_FILE = "model.stablehlo", "signature.json", "spots.py"
FILES = (MODEL_FILE, SIGNATURE_FILE, SPOTS_FILE)
PLATFORMS = ("cpu", "cuda", "tpu")

_MOST_ERROR = {"float32": 1e-4, "bfloat16": 0.1}  # by dtype of the computation
# Spots that may be elsewhere than the run's: outputs that differ in their last bits round to
# another frame now and then.
_MOST_MOVED = {"float32": 0.01, "bfloat16": 0.2}
_LOAD = "jax.export.deserialize(bytearray(open('model.stablehlo', 'rb').read())).call(features)"


class Difference(NamedTuple):
    """How far what was written is from the run.

    Attributes:
      outputs: greatest difference of each output: of confidences, of displacements in seconds.
      spots: how many spots were compared.
      moved: share of them that are at another frame, or are not there.
    """

    outputs: tuple[float, ...]
    spots: int
    moved: float


def main() -> None:
    """Reads the command line."""
    parser = cli.Parser("python -m spotting.export", __doc__)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--overwrite", action="store_true", help="replace what --output has")
    arguments = parser.parse_args()
    there = [name for name in FILES if (arguments.output / name).exists()]
    if there and not arguments.overwrite:
        raise InputError(f"{arguments.output / there[0]}: there already; --overwrite replaces it")
    found = export(arguments.workdir, arguments.output)
    path = arguments.output / MODEL_FILE
    outputs = read_object(arguments.output / SIGNATURE_FILE)["outputs"]
    names = [each["name"] for each in outputs]
    pairs = zip(found.outputs, names, strict=True)
    units = {"displacement": " s"}
    most = " and ".join(f"{error:.1e}{units.get(name, '')} ({name})" for error, name in pairs)
    print(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB; read back, its outputs differ from the run's "
        f"by at most {most}"
    )
    if (arguments.output / SPOTS_FILE).exists():
        print(
            f"{arguments.output / SPOTS_FILE}: of {found.spots:,} spots "
            f"{100 * (1 - found.moved):.4g} % are where the run has them"
        )


def export(workdir: str | os.PathLike, output: str | os.PathLike) -> Difference:
    """Writes the files of a run's models to a folder.

    Args:
      workdir: run folder, of one seed.
      output: the folder; files of these names in it are replaced.

    Returns:
      How far they are from the run.

    Raises:
      InputError: `workdir` is no finished run.
      ArithmeticError: what was read back computes something else than the models.
    """
    import jax
    from jax import export as jax_export

    from spotting.runs.systems import find_system
    from spotting.runs.trained import load_run
    from spotting.spotter import Spotter

    run, output = load_run(workdir), Path(output)
    spotter = Spotter(run)
    output.mkdir(parents=True, exist_ok=True)
    function = jax.jit(spot_chunks(run))
    batch = jax_export.symbolic_shape("batch")
    shape = (*batch, run.chunk_frames, run.dataset.feature_dim)
    features = jax.ShapeDtypeStruct(shape, np.float32)
    exported = jax_export.export(function, platforms=PLATFORMS)(features)
    with tempfile.TemporaryDirectory(dir=output, prefix=".export.") as folder:
        written = Path(folder)
        (written / MODEL_FILE).write_bytes(exported.serialize())
        write_json_atomic(written / SIGNATURE_FILE, signature(run, exported, spotter))
        errors = difference(
            written / MODEL_FILE, function, (run.chunk_frames, run.dataset.feature_dim)
        )
        found = Difference(tuple(errors), 0, 0.0)
        if not find_system(run.config):  # Other systems go from outputs to spots in other ways.
            source = Path(served_spots.__file__).read_text(encoding="utf-8")
            write_text_atomic(written / SPOTS_FILE, source)
            found = Difference(tuple(errors), *compare_spots(written, spotter))
        dtype = run.config.model.dtype
        if max(errors) > _MOST_ERROR[dtype] or found.moved > _MOST_MOVED[dtype]:
            raise ArithmeticError(f"{output}: not written, its outputs would be wrong by {found}")
        for name in FILES:
            if (written / name).exists():
                os.replace(written / name, output / name)
    return found


def spot_chunks(run: "TrainedRun") -> Function:
    """What is exported: [B, T, P] to confidences and displacements in seconds, both [B, T, K].

    Features are those of the run's feature files, at the rate that the models take: what normalises
    them is a part of it. Of a system of one model, its own outputs (`runs.systems`).
    """
    import jax

    from spotting.runs.setup import output_unit
    from spotting.runs.systems import find_system

    if system := find_system(run.config):
        apply = system.export(run.confidence.network)
        return lambda features: apply(run.confidence.params, features)
    rate = run.dataset.frame_rate
    unit = output_unit(run.config, "displacement", rate) / rate  # in seconds
    confidence, displacement, normalization = run.confidence, run.displacement, run.normalization
    assert displacement is not None

    def function(features: "jax.Array") -> "tuple[jax.Array, jax.Array]":
        if normalization is not None:
            features = (features - normalization.offset) * normalization.scale
        logits: Any = confidence.network.apply(confidence.params, features)
        shift: Any = displacement.network.apply(displacement.params, features)
        return jax.nn.sigmoid(logits), unit * shift

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
    import jax.numpy as jnp
    from jax import export as jax_export

    loaded = jax_export.deserialize(bytearray(Path(path).read_bytes()))
    features = np.random.default_rng(0).normal(size=(3, *chunk_shape)).astype(np.float32)
    own = function(jnp.asarray(features))
    return [
        max(
            float(np.abs(np.asarray(loaded.call(features[:size])[i] - own[i][:size])).max())
            for size in (1, 3)
        )
        for i in range(len(own))
    ]


def compare_spots(folder: Path, spotter: "Spotter") -> tuple[int, float]:
    """Spots random halves with what was written, and with the run.

    Args:
      folder: of the three files.
      spotter: of the run.

    Returns:
      How many spots the run has, and the share of them that the files do not have at its frame.
    """
    from jax import export as jax_export

    spots = _import_file(folder / SPOTS_FILE)
    model = jax_export.deserialize(bytearray((folder / MODEL_FILE).read_bytes()))
    read = spots.read_signature(folder / SIGNATURE_FILE)
    chunk_seconds = read["chunks"]["frames"] / read["frame_rate"]
    generator = np.random.default_rng(0)
    count = moved = 0
    for chunks in (3.3, 0.7):  # one with a chunk that is moved back, one shorter than a chunk
        num_frames = max(2, round(chunks * chunk_seconds * spotter.frame_rate))
        features = generator.normal(size=(num_frames, spotter.feature_dim)).astype(np.float32)
        theirs = spots.spot_half(features, model.call, read)
        wanted = {(spot.seconds, spot.label) for spot in spotter.spot(features)}
        count += len(wanted)
        moved += len(wanted - {(spot.seconds, spot.label) for spot in theirs})
    return count, moved / max(1, count)


def _import_file(path: Path) -> ModuleType:
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def signature(run: "TrainedRun", exported: Any, spotter: "Spotter") -> dict[str, Any]:
    """What signature.json says."""
    from spotting import timing
    from spotting.runs.setup import read_suppression
    from spotting.runs.systems import find_system

    source, data, classes = run.source, run.dataset, list(run.dataset.classes)
    setting, suppression = run.config.inference, read_suppression(run.config, len(classes))
    rate = suppression.votes.output_rate(data.frame_rate)
    spread, full = suppression.votes.in_frames(rate)
    border = timing.border_frames(
        setting.border, setting.min_kept, data.frame_rate, run.chunk_frames
    )
    normalization = run.normalization
    meanings: Sequence[tuple[str, str]] = (
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
                f"{source.features}, chunks of consecutive frames",
            )
        ],
        "outputs": [
            array(name, aval.shape[1:], meaning)
            for (name, meaning), aval in zip(meanings, exported.out_avals, strict=True)
        ],
        "frame_rate": data.frame_rate,
        "classes": classes,
        "features": {
            "name": source.features,
            "dim": source.feature_dim,
            "frame_rate": source.frame_rate,
            "resampling": "none" if source.frame_rate == data.frame_rate else "linear, in spots.py",
            "normalization": "none" if normalization is None else "in the model",
        },
        "chunks": {
            "frames": run.chunk_frames,
            "border": border,
            "overlap": 2 * border,
            # What a half shorter than a chunk is filled up with; the networks see zeros.
            "padding": 0.0 if normalization is None else normalization.offset.tolist(),
        },
        "suppression": {
            "kind": suppression.kind,
            "windows": list(suppression.windows),
            "soft_threshold": suppression.threshold,
            "decays": list(suppression.decays),
        },
        # Frames a second at which votes are counted, frames of those; and what the frame of an
        # event gets from perfect models.
        "votes": {"frame_rate": rate, "spread": spread, "full": full},
        "thresholds": dict(spotter.thresholds) if spotter.thresholds else None,
    }


if __name__ == "__main__":
    cli.run(main)
