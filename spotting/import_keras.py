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

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.logs import log
from spotting.data.dataset import describe_dataset
from spotting.data.transforms import describe_transformed
from spotting.models.keras_files import read_weights
from spotting.models.keras_names import from_keras, kind_of
from spotting.runs.config import (
    check_config,
    check_window,
    check_workdir,
    read_transform,
    save_config,
)
from spotting.runs.layout import locate_checkpoints
from spotting.runs.setup import steps_per_epoch, variable_shapes
from spotting.training.checkpoints import Checkpoints, count_parameters
from spotting.training.objectives import KINDS

_FLAGS = cli.new_flags("Which network and features it is for.")
flags.DEFINE_multi_string(
    "model", [], "SavedModel, checkpoint or .h5 file; twice for the two models.", flag_values=_FLAGS
)
flags.DEFINE_string(
    "workdir", None, "Run folder to put it in; default as in main.", flag_values=_FLAGS
)


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
    check_config(config)
    check_workdir(config, workdir)
    source = describe_dataset(config.data.root, config.data.features or None)
    check_window(config, len(source.classes))
    dataset = describe_transformed(source, read_transform(config))
    shapes = {kind: variable_shapes(config, dataset, kind) for kind in KINDS}
    imported = {}
    for path in models:
        weights = read_weights(path)
        try:
            kind = kind_of(weights)
            imported[kind] = from_keras(weights, shapes[kind], kind)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        log(f"{path}: a {kind} model of {count_parameters(imported[kind]):,} parameters")

    checkpoints = {kind: Checkpoints(locate_checkpoints(workdir, kind)) for kind in KINDS}
    for kind in imported:
        if checkpoints[kind].step("best"):
            raise InputError(f"{workdir}: has a {kind} model; choose another --workdir")
    save_config(config, workdir)
    # As if the training that the config describes were over.
    step = steps_per_epoch(config) * config.training.epochs
    for kind, params in imported.items():
        checkpoints[kind].save("best", step, params)
    if checkpoints["displacement"].step("best") is None:
        log(f"{workdir}: no displacement model yet; until you import one, displacements are zero")
        zeros = jax.tree.map(jnp.zeros_like, shapes["displacement"])
        checkpoints["displacement"].save("best", 0, zeros)
    for each in checkpoints.values():
        each.close()


if __name__ == "__main__":
    cli.run_flags(main, _FLAGS)
