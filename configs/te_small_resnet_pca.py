"""DTES+SAM+mixup on ResNet+PCA features: the small transformer trunk of Table 1.

    argument     avg-mAP  paper's epoch, V100  parameters
    :sam_mixup   68.2     15.0 s               1.0M    (the default; :du and :sam are ours)

Data: SoccerNet-v2 with 1_ResNET_TF2_PCA512.npy and 2_ResNET_TF2_PCA512.npy.

    python -m spotting.main --config=configs/te_small_resnet_pca.py --config.data.root=DIR

The paper prints no hyper-parameters and the official code has none for this trunk: these are the
U-net's on the nearest features, to start a search from (python -m spotting.tune).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(ablation: str | None = None) -> ConfigDict:
    config = common.get_config()
    config.model.trunk = "transformer"
    config.model.transformer.update(layers=4, width=128, num_heads=4, mlp_dim=512)
    config.confidence.update(rho=0.5, mixup_alpha=2.0)
    config.displacement.update(learning_rate=1e-3, rho=0.5)
    return common.ablate(config, ablation, "DTES{} ResNet+PCA")
