"""The whole path in minutes on a laptop, on a season of simulated matches.

    python -m spotting.main --config=configs/demo.py

    argument     what
    :du          no SAM, no mixup
    :sam         SAM
    :sam_mixup   SAM and mixup (the default)

The network is the paper's U-net at a quarter of its width, the schedule 1,600 steps of 16 chunks.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(ablation: str | None = None) -> ConfigDict:
    config = common.get_config()
    config.data.update(simulated=True, features="", event_time="position")
    config.model.reduction = (64, 16)
    config.training.update(batch_size=16, chunks_per_epoch=512, epochs=50)
    config.confidence.update(learning_rate=3e-3, rho=0.1, mixup_alpha=1.0)
    config.displacement.update(learning_rate=2e-3, rho=0.1)
    return common.ablate(config, ablation, "")
