"""The lines of the paper's Figure 2: average-mAP by tolerance, all on ResNet+PCA features.

    line                  loose    tight
    CALF                  40.7     12.2
    NetVLAD++             50.7     11.3
    DU                    63.8     41.7
    DU+SAM+mixup          72.2     50.7
    DU+SAM+mixup w/o D    72.1     39.3

    python -m spotting.main --config=configs/figure2.py --config.data.root=DIR --workdir=runs/fig2

The report in the folder draws the figure. In the folder of configs/table2.py all its rows are there
already.
"""

from ml_collections import ConfigDict

from configs import common

ROWS = (
    "configs/calf_resnet_pca.py",
    "configs/netvladpp_resnet_pca.py",
    "configs/unet_resnet_pca.py:du",
    "configs/unet_resnet_pca.py:sam_mixup",
)


def get_config() -> ConfigDict:
    return common.study(ROWS)
