"""From video to spots in minutes: a season that plays and films itself, seen by a network.

    python -m spotting.main --config=configs/demo_video.py

Short matches are drawn as broadcast-like videos, features of their pictures are extracted with
EfficientNet-Lite0, and the paper's U-net at a quarter of its width is trained on these. Needs the
extra: pip install -e '.[video]'. What was drawn and extracted is kept in <run folder>/season.

    argument     what
    :du          no SAM, no mixup
    :sam         SAM
    :sam_mixup   SAM and mixup (the default)
"""

from ml_collections import ConfigDict

from configs import common


def get_config(ablation: str | None = None) -> ConfigDict:
    config = common.get_config()
    config.data.update(simulated=True, simulated_video=True, features="", event_time="position")
    config.data.normalize = "standard"
    config.model.projection = 64
    config.model.reduction = (64, 16)
    config.training.update(batch_size=16, chunks_per_epoch=512, epochs=20, validate_every=4)
    config.confidence.update(learning_rate=3e-3, rho=0.1, mixup_alpha=1.0)
    config.displacement.update(learning_rate=2e-3, rho=0.1)
    return common.ablate(config, ablation, "")
