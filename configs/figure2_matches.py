"""The lines of the paper's Figure 2 on a data set of its own: every system that takes features.

    python -m spotting.main --config=configs/figure2_matches.py --config.data.root=DIR \
        --workdir=runs/figure2

Three trainings each, at the sizes and schedules of the rows' own configs. DIR is a folder with a
dataset.json. The report in the folder draws the figure.
"""

from ml_collections import ConfigDict

from configs import common

ROWS = (
    "configs/calf_matches.py",
    "configs/netvladpp_matches.py",
    "configs/rmsnet_head_matches.py",
    "configs/matches.py:du",
    "configs/matches.py:sam_mixup",
)


def get_config() -> ConfigDict:
    config = common.study(ROWS)
    config.seeds = (0, 1, 2)
    return config
