"""Trains the two models of an experiment, spots its test matches, and scores them.

Example, on simulated matches (a few minutes on a laptop):

    python -m spotting.main --config=configs/demo.py

On a folder in SoccerNet-v2 layout, here the row DU+SAM of the paper's Table 1:

    python -m spotting.main --config=configs/unet_resnet_pca.py:sam --config.data.root=DIR

A study runs several rows; this is the paper's Table 1:

    python -m spotting.main --config=configs/table1.py --config.data.root=DIR

Run the same command again to resume.
"""

import sys
from pathlib import Path

from spotting.base import cli
from spotting.base.text_table import printable_lines
from spotting.data.checks import MissingData


def main() -> int:
    """Runs the experiment or the study that the command line names."""
    parser = cli.Parser("python -m spotting.main", __doc__)
    parser.add_config("the experiment, perhaps with :du, :sam or :sam_mixup")
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="folder of the run; default: runs/<config's name>[_<argument>]",
    )
    parser.add_argument(
        "--mode",
        choices=("train", "evaluate", "run"),
        default="run",
        help="train, score an earlier training again, or both (the default)",
    )
    arguments = parser.parse_args()
    given = cli.require_config(arguments.config)
    from spotting.runs import config_files

    config = config_files.load(given)
    workdir = arguments.workdir or given.default_workdir
    from spotting import experiment
    from spotting.studies import study

    try:
        if "rows" in config:
            return study.run(config, workdir, arguments.mode)
        experiment.run(config, workdir, arguments.mode)
    except MissingData as error:
        print(printable_lines(error.details), file=sys.stderr)
        raise
    return 0


if __name__ == "__main__":
    cli.run(main)
