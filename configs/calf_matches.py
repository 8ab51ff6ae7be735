"""CALF on a data set of its own (dataset.json in its folder), in 26 short epochs.

    python -m spotting.main --config=configs/calf_matches.py --config.data.root=DIR

Classes of SoccerNet-v2's names have its slicing parameters; the others get theirs from the gaps
between their events. An argument of `published` does as the published code.
"""

from ml_collections import ConfigDict

from configs import calf_resnet_pca


def get_config(argument: str | None = None) -> ConfigDict:
    config = calf_resnet_pca.get_config(argument)
    config.data.features = ""
    config.paper_row = ""
    config.calf.valid_chunks = 256
    config.training.update(chunks_per_epoch=1024, epochs=26, validate_every=13, select="last")
    return config
