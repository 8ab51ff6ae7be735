"""NetVLAD++ on ResNet+PCA features, which the paper compares with.

    argument     avg-mAP  tight   printed by
    (none)       50.7     11.3    the paper, Table 2
    :netvlad     48.4             NetVLAD++'s authors
    :max :avg :netrvlad :max++ :avg++ :netrvlad++     other pools
    :published   as the published code does, where that differs from the method

Data: SoccerNet-v2 with 1_ResNET_TF2_PCA512.npy and 2_ResNET_TF2_PCA512.npy.

    python -m spotting.main --config=configs/netvladpp_resnet_pca.py --config.data.root=DIR

It trains until the validation loss no longer falls, about 75 to 90 epochs, and keeps the parameters
of the least.
"""

from ml_collections import ConfigDict

from configs import common_systems


def get_config(argument: str | None = None) -> ConfigDict:
    pools = ("netvlad", "netrvlad", "max", "avg", "netrvlad++", "max++", "avg++", "netvlad++")
    if argument in pools:
        config = common_systems.netvlad(argument)
        config.paper_row = "NetVLAD++ ResNet+PCA" if argument == "netvlad++" else ""
        return config
    config = common_systems.publish(common_systems.netvlad(), argument)
    config.paper_row = "NetVLAD++ ResNet+PCA"
    return config
