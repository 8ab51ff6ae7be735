"""RMS-Net's head on ResNet+PCA features.

The paper's row, 63.5 and 28.8, is of RMS-Net itself, which trains the network that makes the
features as well, on frames of the videos. This is its head and its loss on features as they are.

    argument     what
    (none)       the method
    :published   as the published code does, where that differs from the method

Data: SoccerNet-v2 with 1_ResNET_TF2_PCA512.npy and 2_ResNET_TF2_PCA512.npy.

    python -m spotting.main --config=configs/rmsnet_head_resnet_pca.py --config.data.root=DIR
"""

from ml_collections import ConfigDict

from configs import common_systems


def get_config(argument: str | None = None) -> ConfigDict:
    config = common_systems.publish(common_systems.rmsnet_head(), argument)
    config.paper_row = "RMS-Net head ResNet+PCA"
    return config
