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

from spotting.base import cli
from spotting.data.checks import MissingData

_FLAGS = cli.new_flags("The experiment: a file of configs/, perhaps with :du, :sam or :sam_mixup.")
flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run; default: runs/<config's name>[_<argument>].",
    flag_values=_FLAGS,
)
flags.DEFINE_enum(
    "mode",
    "run",
    ["train", "evaluate", "run"],
    "Train, score an earlier training again, or both.",
    flag_values=_FLAGS,
)


def main() -> int:
    """Runs the experiment or the study that the flags name."""
    from spotting import experiment
    from spotting.studies import study

    config = cli.required_config(_FLAGS)
    workdir = Path(_FLAGS.workdir or cli.default_workdir(_FLAGS))
    try:
        if "rows" in config:
            return study.run(config, workdir, _FLAGS.mode)
        experiment.run(config, workdir, _FLAGS.mode)
    except MissingData as error:
        print(error.details, file=sys.stderr)
        raise
    return 0


if __name__ == "__main__":
    cli.run_flags(main, _FLAGS)
