"""The paper's search: each hyper-parameter in turn, on the validation split.

Example, on a folder in SoccerNet-v2 layout:

    python -m spotting.tune --config=configs/unet_resnet_pca.py --config.data.root=DIR

First the confidence model: learning rate, rho, weight decay, mixup's alpha; each round trains the
values of config.tune, those that fit in memory together, and goes on with the best. Then the
displacement model in the same way, on the scores of the confidence model that was chosen; then the
window of the suppression. The search leaves in its folder trials.csv and search.png, every trial,
and tuned.py, a config of what it chose:

    python -m spotting.main --config=runs/tune_unet_resnet_pca/tuned.py

The same command again goes on where it was stopped; more candidates may be given then.
"""

import sys
from pathlib import Path

from absl import flags

from spotting.base import cli
from spotting.data.checks import MissingData

_FLAGS = cli.new_flags("Where to start: a file of configs/; what to try is in its field tune.")
flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the search; default: runs/tune_<config's name>[_<argument>].",
    flag_values=_FLAGS,
)


def main() -> None:
    """Runs the search that the flags name."""
    from spotting.studies import search

    config = cli.required_config(_FLAGS)
    default = cli.default_workdir(_FLAGS)
    workdir = Path(_FLAGS.workdir or default.with_name(f"tune_{default.name}"))
    try:
        search.run(config, workdir)
    except MissingData as error:
        print(error.details, file=sys.stderr)
        raise


if __name__ == "__main__":
    cli.run_flags(main, _FLAGS)
