"""Files of Keras models: .h5 files, SavedModels and TensorFlow checkpoints."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from spotting.base.errors import InputError
from spotting.base.hdf5 import open_h5, read_dataset

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Where a checkpoint keeps what is not the network's: the optimiser's state, metrics, counters.
_NOT_WEIGHTS = re.compile(r"(.*/)?(optimizer|keras_api|\.OPTIMIZER_SLOT|save_counter)/.*")


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
    weights: dict[str, np.ndarray] = {}
    size = path.stat().st_size

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "dtype"):
            # <layer>/<name of the weight>
            weights[name.partition("/")[2]] = read_dataset(item, size)

    with open_h5(path) as file:
        file.get("model_weights", file).visititems(visit)
    return weights


def _read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    try:
        import tensorflow as tf
        from google.protobuf.message import DecodeError
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
    except (
        IndexError,  # What TensorFlow makes of a file that ends early.
        ValueError,
        MemoryError,
        RuntimeError,
        tf.errors.OpError,
        DecodeError,
    ) as error:
        raise InputError(f"{prefix}: not a checkpoint of Keras's: {error}") from error
