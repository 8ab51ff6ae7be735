"""DU on the Combination features (Zhou et al., 2021), 1 frame per second: Table 1's rows 6 to 8.

    argument     avg-mAP  tight  paper's epoch, V100
    :du          75.7     58.5   13.7 s
    :sam         76.1            18.4 s
    :sam_mixup   77.3     60.7   22.7 s    (the default)

Data: SoccerNet-v2 with 1_baidu_soccer_embeddings.npy and 2_baidu_soccer_embeddings.npy (92 GB).

    python -m spotting.main --config=configs/unet_combination.py --config.data.root=DIR

The paper prints no hyper-parameters; these are the official code's for the same features resampled
to 2 frames per second. It has rho 0 there for confidence, which the paper's row does not; 0.5 is
its value on ResNet features.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(ablation: str | None = None) -> ConfigDict:
    config = common.get_config()
    config.data.features = "baidu_soccer_embeddings"
    config.model.unet.levels = 5
    config.confidence.update(learning_rate=2e-4, weight_decay=2e-4, rho=0.5, mixup_alpha=2.0)
    config.displacement.update(learning_rate=5e-4, weight_decay=5e-4, rho=0.7)
    return common.ablate(config, ablation, "DU{} Combination")
