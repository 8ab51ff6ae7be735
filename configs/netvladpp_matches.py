"""NetVLAD++ on a data set of its own (dataset.json in its folder), to its own stop.

    python -m spotting.main --config=configs/netvladpp_matches.py --config.data.root=DIR

Arguments as of netvladpp_resnet_pca.py.
"""

from ml_collections import ConfigDict

from configs import netvladpp_resnet_pca


def get_config(argument: str | None = None) -> ConfigDict:
    config = netvladpp_resnet_pca.get_config(argument)
    config.data.features = ""
    config.paper_row = ""
    return config
