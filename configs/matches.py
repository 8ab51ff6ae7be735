"""The engine matches, a small real data set, at a size that two CPU cores train in minutes.

A data set of its own (dataset.json in its folder): 51 matches of a game engine with 10 classes. The
network is the paper's U-net at a quarter of its width; the schedule is 40 epochs of 32 steps of 64
chunks, final weights, which is the small protocol that the official code was run under.

    python -m spotting.main --config=configs/matches.py --config.data.root=DIR

    argument     what
    :du          no SAM, no mixup
    :sam         SAM
    :sam_mixup   SAM and mixup (the default)
"""

from ml_collections import ConfigDict

from configs import common


def get_config(ablation: str | None = None) -> ConfigDict:
    config = common.get_config()
    config.data.features = ""
    config.model.reduction = (64, 16)
    config.training.update(batch_size=64, chunks_per_epoch=2048, epochs=40, select="last")
    config.displacement.update(learning_rate=2e-3)
    if ablation != "du":
        config.confidence.update(rho=0.5, mixup_alpha=2.0)
        # 0.5, the confidence model's rho, does not train the displacement model at this size.
        config.displacement.update(learning_rate=1e-3, rho=0.1)
    config = common.ablate(config, ablation, "")
    return config
