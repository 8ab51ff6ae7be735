"""NetVLAD++ on ResNet features, 2,048 values a frame: a row of the paper's Table 2.

    argument     avg-mAP  tight   printed by
    (none)       53.4     11.5    the paper; its authors' five trainings: 53.3 +- 0.2

Data: SoccerNet-v2 with 1_ResNET_TF2.npy and 2_ResNET_TF2.npy.

    python -m spotting.main --config=configs/netvladpp_resnet.py --config.data.root=DIR

Arguments as of netvladpp_resnet_pca.py.
"""

from ml_collections import ConfigDict

from configs import netvladpp_resnet_pca


def get_config(argument: str | None = None) -> ConfigDict:
    config = netvladpp_resnet_pca.get_config(argument)
    config.data.features = "ResNET_TF2"
    config.paper_row = config.paper_row and "NetVLAD++ ResNet"
    return config
