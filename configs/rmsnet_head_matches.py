"""RMS-Net's head on a data set of its own (dataset.json in its folder), for two CPU cores.

    python -m spotting.main --config=configs/rmsnet_head_matches.py --config.data.root=DIR

A quarter of the head's width, 100 clips of each class an epoch. An argument of `published` does as
the published code.
"""

from ml_collections import ConfigDict

from configs import rmsnet_head_resnet_pca


def get_config(argument: str | None = None) -> ConfigDict:
    config = rmsnet_head_resnet_pca.get_config(argument)
    config.data.features = ""
    config.paper_row = ""
    config.rmsnet.update(widths=(128, 64, 32), clips_per_class=100)
    config.training.update(epochs=40, validate_every=5)
    # Frozen features need a greater rate than fine-tuning.
    config.confidence.learning_rate = 0.02
    return config
