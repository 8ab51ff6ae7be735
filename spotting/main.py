"""Trains the two models of an experiment, spots its test matches, and scores them.

Example, on matches that it plays itself (a few minutes on a laptop):

    python -m spotting.main --config=configs/demo.py

On a folder in SoccerNet-v2 layout, here the row DU+SAM of the paper's Table 1:

    python -m spotting.main --config=configs/unet_resnet_pca.py:sam --config.data.root=DIR

A study runs several rows; this is the paper's Table 1:

    python -m spotting.main --config=configs/table1.py --config.data.root=DIR

The same command again goes on where it was stopped.
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from spotting import cli
from spotting.data.checks import MissingData

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: a file of configs/, perhaps with :du, :sam or :sam_mixup."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; default: runs/<config's name>[_<argument>]."
)
_MODE = flags.DEFINE_enum(
    "mode", "run", ["train", "evaluate", "run"], "Train, score an earlier training again, or both."
)


def main() -> int:
    """Runs the experiment or the study that the flags name."""
    from spotting import experiment, study

    config = cli.required_config(_CONFIG)
    workdir = Path(_WORKDIR.value or cli.default_workdir(_CONFIG))
    try:
        if "rows" in config:
            return study.run(config, workdir, _MODE.value)
        experiment.run(config, workdir, _MODE.value)
    except MissingData as error:
        print(error.details, file=sys.stderr)
        raise
    return 0


if __name__ == "__main__":
    cli.run_flags(main)
