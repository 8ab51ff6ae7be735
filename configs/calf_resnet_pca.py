"""CALF on ResNet+PCA features, which the paper compares with.

    argument     avg-mAP  tight
    (none)       40.7     12.2
    :published   as the published code does, where that differs from the method

Data: SoccerNet-v2 with 1_ResNET_TF2_PCA512.npy and 2_ResNET_TF2_PCA512.npy.

    python -m spotting.main --config=configs/calf_resnet_pca.py --config.data.root=DIR
"""

from ml_collections import ConfigDict

from configs import common_systems


def get_config(argument: str | None = None) -> ConfigDict:
    config = common_systems.publish(common_systems.calf(), argument)
    config.paper_row = "CALF ResNet+PCA"
    return config
