"""Takes trained models of the official code (yahoo/spivak) into a run folder.

    python -m spotting.import_keras --model=CONFIDENCE --model=DISPLACEMENT \\
        --config=configs/unet_resnet_pca.py --workdir=runs/official

A model is a Keras SavedModel or TensorFlow checkpoint, by its folder (or the checkpoint's prefix),
or an .h5 file. Whether it gives confidences or displacements follows from its last layer. The
config says which network it is; weights that do not fit it are named. Both models may be given at
once or one after the other; until there is a displacement model, displacements are zero. Nothing in
these files is executed, but the library that reads .h5 has known flaws: take those from people you
trust.

The folder is then a run as any other, for spotting.predict, spotting.export and

    python -m spotting.main --mode=evaluate --config=... --workdir=runs/official
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.logs import log
from spotting.data.dataset import describe_dataset
from spotting.data.transforms import describe_transformed
from spotting.models.keras_files import read_weights
from spotting.models.keras_names import from_keras, kind_of
from spotting.runs import config_files
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


def main() -> None:
    """Imports the models that the command line names."""
    parser = cli.Parser("python -m spotting.import_keras", __doc__)
    parser.add_config("which network and features it is for")
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="SavedModel, checkpoint or .h5 file; twice for the two models",
    )
    parser.add_argument(
        "--workdir", type=Path, metavar="DIR", help="run folder to put it in; default as in main"
    )
    arguments = parser.parse_args()
    given = cli.require_config(arguments.config)
    if not arguments.model:
        raise InputError("--model=PATH is missing; see --help")
    workdir = arguments.workdir or given.default_workdir
    import_models(arguments.model, config_files.load(given), workdir)


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
    cli.run(main)
