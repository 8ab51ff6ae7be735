"""The paper's search: each hyper-parameter in turn, on the validation split.

Example, on a folder in SoccerNet-v2 layout:

    python -m spotting.tune --config=configs/unet_resnet_pca.py --config.data.root=DIR

First the confidence model: learning rate, rho, weight decay, mixup's alpha; each round trains the
values of config.tune, those that fit in memory together, and keeps the best. Then the
displacement model in the same way, on the scores of the confidence model that was chosen; then the
window of the suppression. The search leaves in its folder trials.csv and search.png, every trial,
and tuned.py, a config of what it chose:

    python -m spotting.main --config=runs/tune_unet_resnet_pca/tuned.py

Run the same command again to resume, with more candidates if need be.
"""

import sys
from pathlib import Path

from spotting.base import cli
from spotting.base.text_table import printable_lines
from spotting.data.checks import MissingData


def main() -> None:
    """Runs the search that the command line names."""
    parser = cli.Parser("python -m spotting.tune", __doc__)
    parser.add_config("where to start; what to try is in its field tune")
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="folder of the search; default: runs/tune_<config's name>[_<argument>]",
    )
    arguments = parser.parse_args()
    given = cli.require_config(arguments.config)
    from spotting.runs import config_files
    from spotting.studies import search

    config = config_files.load(given)
    default = given.default_workdir
    workdir = arguments.workdir or default.with_name(f"tune_{default.name}")
    try:
        search.run(config, workdir)
    except MissingData as error:
        print(printable_lines(error.details), file=sys.stderr)
        raise


if __name__ == "__main__":
    cli.run(main)
