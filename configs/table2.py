"""The rows of the paper's Table 2 that are its own: DU and DU+SAM+mixup on both feature sets.

    row                        avg-mAP  tight   without displacement
    DU ResNet+PCA              63.8     41.7
    DU+SAM+mixup ResNet+PCA    72.2     50.7    72.1  39.3
    DU Combination             75.7     58.5
    DU+SAM+mixup Combination   77.3     60.7    77.3  46.8

Every run is scored with and without displacement. The report adds what the paper prints of other
systems.

    python -m spotting.main --config=configs/table2.py --config.data.root=DIR --workdir=runs/table1

In the folder of configs/table1.py its four rows are there already. Scales as that does.
"""

from ml_collections import ConfigDict

from configs import common

ROWS = (
    "configs/unet_resnet_pca.py:du",
    "configs/unet_resnet_pca.py:sam_mixup",
    "configs/unet_combination.py:du",
    "configs/unet_combination.py:sam_mixup",
)


def get_config() -> ConfigDict:
    return common.study(ROWS)
