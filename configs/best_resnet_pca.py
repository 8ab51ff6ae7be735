"""DU+SAM+mixup with what configs/best_study.py kept, on ResNet+PCA features.

    python -m spotting.main --config=configs/best_resnet_pca.py --config.data.root=DIR

Data: SoccerNet-v2 with 1_ResNET_TF2_PCA512.npy and 2_ResNET_TF2_PCA512.npy.

Its networks are those of the paper's row, and it is none of its rows. By the compiler's estimate a
step moves 4 % more bytes, for changing features; inference takes half of the chunks. What was
measured, and what was not, is in BUILD_NOTES.md.
"""

from ml_collections import ConfigDict

from configs import best_study, unet_resnet_pca


def get_config() -> ConfigDict:
    config = unet_resnet_pca.get_config()
    return best_study.improve(config)
