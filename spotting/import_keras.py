"""Takes trained models of the official code (yahoo/spivak) into a run folder.

    python -m spotting.import_keras --model=CONFIDENCE --model=DISPLACEMENT \\
        --config=configs/unet_resnet_pca.py --workdir=runs/official

A model is a Keras SavedModel or TensorFlow checkpoint, by its folder (or the checkpoint's prefix),
or an .h5 file. Whether it gives confidences or displacements follows from its last layer. The
config says which network it is; weights that do not fit it are named. Both models may be given at
once or one after the other; until there is a displacement model, displacements are zero.

The folder is then a run as any other, for spotting.predict, spotting.export and

    python -m spotting.main --mode=evaluate --config=... --workdir=runs/official
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from spotting import cli, ranges, settings
from spotting.checkpoints import Checkpoints, num_parameters
from spotting.data.description import describe_dataset
from spotting.data.transforms import transformed
from spotting.errors import InputError
from spotting.keras_weights import from_keras, kind_of
from spotting.logs import say

_FLAGS = cli.new_flags("Which network and features it is for.")
flags.DEFINE_multi_string(
    "model", [], "SavedModel, checkpoint or .h5 file; twice for the two models.", flag_values=_FLAGS
)
flags.DEFINE_string(
    "workdir", None, "Run folder to put it in; default as in main.", flag_values=_FLAGS
)

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Where a checkpoint keeps what is not the network's: the optimiser's state, metrics, counters.
_NOT_WEIGHTS = re.compile(r"(.*/)?(optimizer|keras_api|\.OPTIMIZER_SLOT|save_counter)/.*")


def main() -> int:
    """Imports the models that the flags name."""
    config = cli.required_config(_FLAGS)
    if not _FLAGS.model:
        raise InputError("--model=DIR is missing; see --help")
    workdir = Path(_FLAGS.workdir or cli.default_workdir(_FLAGS))
    import_models([Path(model) for model in _FLAGS.model], config, workdir)
    return 0


def import_models(models: Sequence[Path], config: ConfigDict, workdir: Path) -> None:
    """Writes models of the official code into a run folder, after all of them have been read.

    Args:
      models: of each, what `read_weights` takes.
      config: of the run, as configs/common.py has it.
      workdir: the run's folder, new or with another kind of model in it.

    Raises:
      InputError: a model cannot be read, does not fit the config, or is in the folder already.
    """
    ranges.check(config)
    settings.check_workdir(config, workdir)
    imported = {}
    for path in models:
        weights = read_weights(path)
        try:
            kind = kind_of(weights)
            imported[kind] = from_keras(weights, _shapes(config, kind), kind)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        say(f"{path}: a {kind} model of {num_parameters(imported[kind]):,} parameters")

    keepers = {
        kind: Checkpoints(workdir / "checkpoints" / kind) for kind in ("confidence", "displacement")
    }
    for kind in imported:
        if keepers[kind].step("best"):
            raise InputError(f"{workdir}: has a {kind} model; choose another --workdir")
    settings.save(config, workdir)
    # As if the training that the config describes were over.
    step = settings.steps_per_epoch(config) * config.training.epochs
    for kind, params in imported.items():
        keepers[kind].save("best", step, params)
    if keepers["displacement"].step("best") is None:
        say(f"{workdir}: no displacement model yet; until you import one, displacements are zero")
        zeros = jax.tree.map(jnp.zeros_like, _shapes(config, "displacement"))
        keepers["displacement"].save("best", 0, zeros)
    for keeper in keepers.values():
        keeper.close()


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The weights of a Keras model by their Keras names, in Keras layout.

    Args:
      path: an .h5 file of weights or of a whole model; the folder of a SavedModel; the folder or
        the prefix of a TensorFlow checkpoint; or a folder with a single .h5 file.

    Raises:
      InputError: it is none of these, or what reads it is not installed.
    """
    in_folder = sorted(path.glob("*.h5"))
    if (path / "variables" / "variables.index").is_file():
        return _read_checkpoint(path / "variables" / "variables")
    if (path / "checkpoint").is_file() or path.with_name(f"{path.name}.index").is_file():
        return _read_checkpoint(path)
    if path.is_file() or len(in_folder) == 1:
        return _read_h5(path if path.is_file() else in_folder[0])
    if not path.exists():
        raise InputError(f"{path}: no such file, folder or checkpoint")
    raise InputError(f"{path}: neither a SavedModel, a TensorFlow checkpoint nor a single .h5 file")


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: reading it needs h5py: pip install h5py") from error
    weights = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            # <layer>/<name of the weight>
            weights[name.partition("/")[2]] = item[()]

    try:
        with h5py.File(path) as file:
            file.get("model_weights", file).visititems(visit)
    except OSError as error:
        raise InputError(f"{path}: not an .h5 file: {error}") from error
    return weights


def _read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    try:
        import tensorflow as tf
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
    except ImportError as error:
        raise InputError(
            f"{prefix}: reading it needs TensorFlow: pip install tensorflow-cpu"
        ) from error
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
        # Variables are stored by their object's place in the model (layer_with_weights-3/kernel);
        # what they are called stands in the graph of objects beside them.
        return {
            variable.full_name: reader.get_tensor(variable.checkpoint_key)
            for node in graph.nodes
            for variable in node.attributes
            if not _NOT_WEIGHTS.fullmatch(variable.checkpoint_key)
        }
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(f"{prefix}: not a checkpoint of Keras's: {error}") from error


def _shapes(config: ConfigDict, kind: str) -> Any:
    """Shapes of a network's variables."""
    source = describe_dataset(config.data.root, config.data.features or None)
    return settings.variable_shapes(config, transformed(source, settings.transform(config)), kind)


if __name__ == "__main__":
    cli.run_flags(main, _FLAGS)
