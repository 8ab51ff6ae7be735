"""DU on ResNet+PCA features, 2 frames per second: Table 1's rows 1 to 3.

    argument     avg-mAP  tight  paper's epoch, V100
    :du          63.8     41.7   5.4 s
    :sam         72.0            8.1 s
    :sam_mixup   72.2     50.7   8.3 s    (the default)

Data: SoccerNet-v2 with 1_ResNET_TF2_PCA512.npy and 2_ResNET_TF2_PCA512.npy.

    python -m spotting.main --config=configs/unet_resnet_pca.py --config.data.root=DIR

The paper prints no hyper-parameters. Without SAM: the official code's on these features. With SAM:
its values on 2,048-dimensional ResNet features, the nearest it has.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(ablation: str | None = None) -> ConfigDict:
    config = common.get_config()
    if ablation != "du":
        config.confidence.update(rho=0.5, mixup_alpha=2.0)
        config.displacement.update(learning_rate=1e-3, rho=0.5)
    return common.ablate(config, ablation, "DU{} ResNet+PCA")
