"""The rows of the paper's Table 2 that can be run on stored features.

    row                        avg-mAP  tight   without displacement
    NetVLAD++ ResNet           53.4     11.5
    CALF ResNet+PCA            40.7     12.2
    NetVLAD++ ResNet+PCA       50.7     11.3
    DU ResNet+PCA              63.8     41.7
    DU+SAM+mixup ResNet+PCA    72.2     50.7    72.1  39.3
    DU Combination             75.7     58.5
    DU+SAM+mixup Combination   77.3     60.7    77.3  46.8

Every run of the paper's own models is scored with and without displacement. The other rows of the
table are printed beside as they are: Zhou et al. published no code, RMS-Net trains its features on
the videos' frames (configs/rmsnet_head_resnet_pca.py has its head), and the analysis of humans was
on the challenge split, with features of its own.

    python -m spotting.main --config=configs/table2.py --config.data.root=DIR --workdir=runs/table1

In the folder of configs/table1.py its four rows are there already. Scales as that does.
"""

from ml_collections import ConfigDict

from configs import common

ROWS = (
    "configs/netvladpp_resnet.py",
    "configs/calf_resnet_pca.py",
    "configs/netvladpp_resnet_pca.py",
    "configs/unet_resnet_pca.py:du",
    "configs/unet_resnet_pca.py:sam_mixup",
    "configs/unet_combination.py:du",
    "configs/unet_combination.py:sam_mixup",
)


def get_config() -> ConfigDict:
    return common.study(ROWS)
