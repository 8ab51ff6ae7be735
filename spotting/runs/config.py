"""Which values a config's fields may have."""

import math
from typing import Any

from ml_collections import ConfigDict

from spotting.base.errors import InputError

_POSITIVE = (
    "model.projection",
    "model.levels",
    "model.layers",
    "model.width",
    "model.num_heads",
    "model.mlp_dim",
    "data.stream_parts",
    "anchors.chunk",
    "anchors.confidence_radius",
    "anchors.displacement_radius",
    "anchors.huber_threshold",
    "training.batch_size",
    "training.chunks_per_epoch",
    "training.epochs",
    "training.validate_every",
    "training.adam_eps",
    "training.sam_eps",
    "inference.min_kept",
    "inference.segment_chunks",
    "postprocessing.displacement_window",
    "postprocessing.f1_tolerance",
)
_NOT_NEGATIVE = (
    "confidence.learning_rate",
    "confidence.weight_decay",
    "confidence.rho",
    "confidence.mixup_alpha",
    "displacement.learning_rate",
    "displacement.weight_decay",
    "displacement.rho",
    "inference.border",
    "inference.valid_border",
    "data.resample",
    "devices.count",
    "postprocessing.soft_threshold",
    "seeds_at_once",
)
_FRACTIONS = ("anchors.positive_share", "training.end_fraction")
_BELOW_ONE = ("training.adam_b1", "training.adam_b2")
_WHOLE = ("seeds", "model.reduction")
_SEEDS = 2**32  # a greater one would draw what another draws
_MOST_FRAMES = 1000.0  # per second
_CHOICES = {
    "model.trunk": ("unet", "transformer"),
    "model.dtype": ("float32", "bfloat16"),
    "data.event_time": ("gameTime", "position"),
    "data.loader": ("auto", "resident", "stream"),
    "data.resident_dtype": ("float32", "float16", "bfloat16"),
    "data.storage": ("float32", "float16", "bfloat16"),
    "data.normalize": ("none", "max_abs", "standard"),
    "training.select": ("best", "last"),
    "postprocessing.nms": ("hard", "soft"),
    "tune.measure": ("loose", "tight"),
}


def field(config: ConfigDict, name: str) -> Any:
    """The value at a dotted name."""
    for part in name.split("."):
        config = config[part]
    return config


def check(config: ConfigDict) -> None:
    """Raises InputError, naming the field, for a value out of its range."""
    if "rows" in config:
        raise InputError(
            "the config is a study, which spotting.main runs; here name the config of a row, such "
            f"as {next(iter(config.rows), 'configs/unet_resnet_pca.py')}"
        )
    _check_numbers(config)
    for name in _POSITIVE:
        _require(config, name, field(config, name) > 0, "greater than 0")
    for name in _NOT_NEGATIVE:
        _require(config, name, field(config, name) >= 0, "0 or more")
    for name in _FRACTIONS:
        _require(config, name, 0 <= field(config, name) <= 1, "between 0 and 1")
    for name in _BELOW_ONE:
        _require(config, name, 0 <= field(config, name) < 1, "at least 0 and less than 1")
    for name, choices in _CHOICES.items():
        _require(config, name, field(config, name) in choices, f"one of {', '.join(choices)}")
    seeds = config.seeds
    _require(config, "seeds", len(seeds) > 0 and len(set(seeds)) == len(seeds), "distinct seeds")
    _require(config, "seeds", min(seeds) >= 0 and max(seeds) < _SEEDS, "from 0 to 4294967295")
    _require(config, "model.reduction", min(config.model.reduction, default=0) > 0, "positive")
    _require(config, "data.resample", config.data.resample <= _MOST_FRAMES, "1000 or less")
    window = config.postprocessing.window
    _require(config, "postprocessing.window", min(window, default=0) > 0, "greater than 0")
    _require(config, "tune.window", min(config.tune.window, default=1) > 0, "greater than 0")
    training = config.training
    cuts = training.batch_size % config.data.stream_parts == 0
    _require(config, "data.stream_parts", cuts, "a divisor of training.batch_size")
    _require(
        config,
        "training.chunks_per_epoch",
        training.chunks_per_epoch % training.batch_size == 0,
        f"a multiple of training.batch_size, {training.batch_size}",
    )


def _check_numbers(config: ConfigDict) -> None:
    """Whether numbers are finite, and lists hold the numbers that are meant."""
    for name, value in flatten(config.to_dict()).items():
        if name in _WHOLE:
            _require(config, name, all(type(each) is int for each in value), "whole numbers")
        elif name == "postprocessing.window" or (
            name.startswith("tune.") and not isinstance(value, str)
        ):
            _require(config, name, all(type(each) in (int, float) for each in value), "numbers")
        values = value if isinstance(value, tuple | list) else (value,)
        finite = all(math.isfinite(each) for each in values if isinstance(each, float))
        _require(config, name, finite, "finite")


def check_window(config: ConfigDict, num_classes: int) -> None:
    """Raises InputError if the suppression has windows for another number of classes."""
    count = len(config.postprocessing.window)
    one_each = f"one value, or one for each of the {num_classes} classes"
    _require(config, "postprocessing.window", count in (1, num_classes), one_each)


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """A config's values by dotted name."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _require(config: ConfigDict, name: str, holds: bool, what: str) -> None:
    if not holds:
        raise InputError(f"config.{name} is {field(config, name)!r}; it must be {what}")
