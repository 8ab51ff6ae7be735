"""What the configs of the systems that the paper compares with have in common.

Their fields are those of common.py and a group of their own. What the published code does beside
the method is a field of that group, off by default; `published` turns all of them on.
"""

from ml_collections import ConfigDict

from configs import common
from spotting.data.context_chunks import SLICING_SECONDS


def get_config(system: str) -> ConfigDict:
    """The fields of common.py, and how such a system is trained."""
    config = common.get_config()
    config.system = system
    training = config.training
    training.optimizer = "adam"  # PyTorch's, or "sgd" with momentum
    training.momentum = 0.9
    training.schedule = "plateau"  # of the learning rate, on the validation loss; or "cosine"
    training.patience = 10  # epochs
    config.confidence.update(weight_decay=0.0, rho=0.0, mixup_alpha=0.0)
    config.tune.confidence.update(rho=(), weight_decay=(), mixup_alpha=())
    # A batch's examples are few and small.
    config.seeds_at_once = 0
    return config


def netvlad(pool: str = "netvlad++") -> ConfigDict:
    """NetVLAD++ as SoccerNet/sn-spotting trains it."""
    config = get_config("netvlad")
    config.netvlad = ConfigDict(
        {
            "window": 15.0,  # seconds
            "pool": pool,  # netvlad, netrvlad, max or avg, with or without ++
            "clusters": 64,
            "dropout": 0.4,
            # As published: the last frame of a half has no window.
            "last_frame_unseen": False,
        }
    )
    # The validation loss selects; average-mAP is for the log.
    config.training.update(batch_size=256, epochs=1000, validate_every=50, select="loss")
    config.training.adam_eps = 1e-8
    config.confidence.learning_rate = 1e-3
    config.postprocessing.window = (30.0,)
    return config


def calf() -> ConfigDict:
    """CALF as SoccerNet/sn-spotting trains it."""
    config = get_config("calf")
    config.calf = ConfigDict(
        {
            "chunk": 120.0,  # seconds
            "receptive_field": 40.0,  # seconds
            "capsules": 16,
            "detections": 15,  # that a chunk can hold
            "segmentation_weight": 0.000367,
            "valid_chunks": 18000,  # drawn anew for each validation loss
            # k0 to k3 of each class in seconds; others have them from the gaps between their events
            "slicing": dict(SLICING_SECONDS),
            # As published: a drawn chunk's borders lose their labels for later chunks too, ...
            "overwrite_labels": False,
            # ... the last frame of a half is never drawn, ...
            "last_frame_unseen": False,
            # ... and the end of a half is said by the wrong chunk.
            "misplaced_last": False,
        }
    )
    config.training.update(batch_size=32, chunks_per_epoch=18000, epochs=1000, validate_every=20)
    config.training.update(patience=25, adam_eps=1e-7)
    config.confidence.learning_rate = 1e-3
    return config


def rmsnet_head() -> ConfigDict:
    """RMS-Net's head and loss on stored features."""
    config = get_config("rmsnet")
    config.rmsnet = ConfigDict(
        {
            "clip": 20.0,  # seconds, and one frame
            "widths": (512, 256, 128),
            "taps": 9,
            "dropout": 0.1,
            "clips_per_class": 1000,  # in an epoch, and as many without an event
            # As published: no clips before the first event of the split and after its last, ...
            "only_between_events": False,
            # ... and spots 1.5 frames after the events.
            "late": False,
        }
    )
    config.training.update(batch_size=24, epochs=50, validate_every=1)
    config.training.update(optimizer="sgd", schedule="cosine")
    config.confidence.update(learning_rate=0.002, weight_decay=1e-4)
    config.postprocessing.window = (3.0,)  # spots closer than 2 s
    return config


def publish(config: ConfigDict, argument: str | None) -> ConfigDict:
    """Turns on what only the published code does, if the config's argument is "published"."""
    if argument == "published":
        fields = config[config.system]
        for name in (
            "last_frame_unseen",
            "overwrite_labels",
            "misplaced_last",
            "only_between_events",
            "late",
        ):
            if name in fields:
                fields[name] = True
        if config.system != "rmsnet":
            config.postprocessing.nms = "half_open"
    elif argument:
        raise ValueError(f"unknown config argument {argument!r}; it is 'published'")
    return config
