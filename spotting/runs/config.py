"""The config of a run: which values its fields may have, and its copy in the run folder."""

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from spotting.anchors import SHAPES
from spotting.base.errors import InputError
from spotting.base.files import read_object, write_json_atomic
from spotting.data.dataset import Dataset
from spotting.data.transforms import Transform
from spotting.inference.nms import DECAYS
from spotting.inference.postprocessing import MOST_SPREAD
from spotting.models.network import TRUNKS
from spotting.models.transformer import ATTENTION
from spotting.runs import layout

_POSITIVE = (
    "model.projection",
    "data.stream_parts",
    "devices.min_chunks",
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
    "postprocessing.vote_spread",
    "postprocessing.vote_rate",
    "tune.pseudo_events",
    "seeds_at_once",
)
_FRACTIONS = (
    "anchors.positive_share",
    "postprocessing.displacement_scale",
    "training.end_fraction",
    "confidence.augmentation.shift_frames",
)
_BELOW_ONE = (
    "training.adam_b1",
    "training.adam_b2",
    "training.average_decay",
    "confidence.augmentation.repeat_frames",
    "confidence.augmentation.drop_frames",
    "confidence.augmentation.drop_features",
)
_WHOLE = ("seeds", "model.reduction")
_WORDS = ("tune.decay",)
_SEEDS = 2**32  # a greater one would draw what another draws
_MOST_FRAMES = 1000.0  # per second
_GREATEST = 1e9  # of any other number, so that frames and steps can be counted
_MOST = {
    "anchors.chunk": 86_400,  # seconds, a day
    "model.unet.levels": 30,
    "model.transformer.layers": 1000,
    "postprocessing.vote_spread": MOST_SPREAD,
    "tune.vote_spread": MOST_SPREAD,
}
_MOST_STEPS = 2**31 - 1  # which the optimiser counts in 32 bits
# A finished run may be looked at from another place, or resumed on other devices.
_FREE_FIELDS = (
    "data.root",
    "data.loader",
    "data.prepared_dir",
    "devices",
    "logging",
    "model.transformer.attention",
    "scale_note",
    "seeds_at_once",
    "training.debug_nans",
    "tune",
)
# Fields that run folders of earlier versions do not have, and what they meant.
_LATER_FIELDS = {
    "system": "anchors",
    "model.precision": "default",
    "model.transformer.attention": "auto",
    "data.event_time": "gameTime",
    "data.stream_parts": 1,
    "devices.min_chunks": 16,
    "logging.profile": "",
    "training.debug_nans": False,
    "anchors.confidence_shape": "box",
    "confidence.augmentation": {
        "repeat_frames": 0.0,
        "drop_frames": 0.0,
        "drop_features": 0.0,
        "shift_frames": 0.0,
    },
    "training.average_decay": 0.0,
    "postprocessing.decay": ["linear"],
    "postprocessing.displacement_scale": 1.0,
    "postprocessing.vote_spread": 0.0,
    "postprocessing.vote_rate": 0.0,
    "tune.vote_spread": [],
    "tune.displacement_scale": [],
    "tune.decay": [],
    "tune.per_class": False,
    "tune.pseudo_events": 30.0,
}
# Fields that are gone, and the value with which they did nothing.
_FORMER_FIELDS = {"confidence.balanced_partners": False}
_TRUNK_SIZES = {"unet": ("levels",), "transformer": ("layers", "width", "num_heads", "mlp_dim")}

_CHOICES = {
    "model.trunk": tuple(TRUNKS),
    "model.dtype": ("float32", "bfloat16"),
    "model.precision": ("default", "high", "highest"),
    "model.transformer.attention": ("auto", *ATTENTION),
    "anchors.confidence_shape": SHAPES,
    "data.event_time": ("gameTime", "position", "evaluation"),
    "data.loader": ("auto", "resident", "stream"),
    "data.resident_dtype": ("float32", "float16", "bfloat16"),
    "data.storage": ("float32", "float16", "bfloat16"),
    "data.normalize": ("none", "max_abs", "standard"),
    "training.select": ("best", "last", "loss"),
    "postprocessing.nms": ("hard", "half_open", "soft"),
    "tune.measure": ("loose", "tight", "both"),
}


def get_field(config: ConfigDict, name: str) -> Any:
    """The value at a dotted name."""
    for part in name.split("."):
        config = config[part]
    return config


def check_config(config: ConfigDict) -> None:
    """Raises InputError, naming the field, for a value out of its range."""
    if "rows" in config:
        raise InputError(
            "the config is a study, which spotting.main runs; here name the config of a row, such "
            f"as {next(iter(config.rows), 'configs/unet_resnet_pca.py')}"
        )
    _check_numbers(config)
    for name, sizes in config.model.items():
        for size in sizes if isinstance(sizes, ConfigDict) else ():
            size = f"model.{name}.{size}"
            if size in _CHOICES:
                continue
            _require(config, size, get_field(config, size) > 0, "greater than 0")
    for name in _POSITIVE:
        _require(config, name, get_field(config, name) > 0, "greater than 0")
    for name in _NOT_NEGATIVE:
        _require(config, name, get_field(config, name) >= 0, "0 or more")
    for name in _FRACTIONS:
        _require(config, name, 0 <= get_field(config, name) <= 1, "between 0 and 1")
    for name in _BELOW_ONE:
        _require(config, name, 0 <= get_field(config, name) < 1, "at least 0 and less than 1")
    for name, choices in _CHOICES.items():
        _require(config, name, get_field(config, name) in choices, f"one of {', '.join(choices)}")
    seeds = config.seeds
    _require(config, "seeds", len(seeds) > 0 and len(set(seeds)) == len(seeds), "distinct seeds")
    _require(config, "seeds", min(seeds) >= 0 and max(seeds) < _SEEDS, "from 0 to 4294967295")
    _require(config, "model.reduction", min(config.model.reduction, default=0) > 0, "positive")
    _require(config, "data.resample", config.data.resample <= _MOST_FRAMES, "1000 or less")
    window = config.postprocessing.window
    _require(config, "postprocessing.window", min(window, default=0) > 0, "greater than 0")
    _require(config, "tune.window", min(config.tune.window, default=1) > 0, "greater than 0")
    scales = config.tune.displacement_scale
    between = all(0 <= each <= 1 for each in scales)
    _require(config, "tune.displacement_scale", between, "between 0 and 1")
    spreads = config.tune.vote_spread
    _require(config, "tune.vote_spread", min(spreads, default=0) >= 0, "0 or more")
    for name in ("postprocessing.decay", "tune.decay"):
        known = set(get_field(config, name)) <= set(DECAYS)
        _require(config, name, known, f"of {', '.join(DECAYS)}")
    _require(config, "postprocessing.decay", len(config.postprocessing.decay) > 0, "one or more")
    parse_profile(config.logging.profile)
    training = config.training
    own = config.system == "anchors"
    for name in ("postprocessing.vote_spread", "postprocessing.vote_rate"):
        is_off = get_field(config, name) == 0
        _require(config, name, own or is_off, "0 for a system without votes")
    rate = config.postprocessing.vote_rate
    _require(config, "postprocessing.vote_rate", rate <= _MOST_FRAMES, "1000 or less")
    _require(config, "training.select", not own or training.select != "loss", "best or last")
    cuts = training.batch_size % config.data.stream_parts == 0
    _require(config, "data.stream_parts", cuts, "a divisor of training.batch_size")
    steps = training.epochs * (training.chunks_per_epoch // training.batch_size)
    _require(config, "training.epochs", steps <= _MOST_STEPS, f"{_MOST_STEPS:,} steps or fewer")
    _require(
        config,
        "training.chunks_per_epoch",
        training.chunks_per_epoch % training.batch_size == 0 or not own,
        f"a multiple of training.batch_size, {training.batch_size}",
    )


def _check_numbers(config: ConfigDict) -> None:
    """Whether numbers are finite, and lists hold the numbers that are meant."""
    for name, value in flatten(config.to_dict()).items():
        if name in _WHOLE:
            _require(config, name, all(type(each) is int for each in value), "whole numbers")
        elif name == "postprocessing.window" or (
            name.startswith("tune.") and name not in _WORDS and isinstance(value, tuple | list)
        ):
            _require(config, name, all(type(each) in (int, float) for each in value), "numbers")
        values = value if isinstance(value, tuple | list) else (value,)
        numbers = [each for each in values if isinstance(each, int | float)]
        _require(config, name, all(not each - each for each in numbers), "finite")
        most = _MOST.get(name, _SEEDS if name == "seeds" else _GREATEST)
        if not name.endswith("learning_rate"):  # A training that diverges says so itself.
            _require(config, name, all(abs(each) <= most for each in numbers), f"{most:,g} or less")


def check_window(config: ConfigDict, num_classes: int) -> None:
    """Raises InputError if the suppression has windows for another number of classes."""
    one_each = f"one value, or one for each of the {num_classes} classes"
    for name in ("window", "decay"):
        count = len(config.postprocessing[name])
        _require(config, f"postprocessing.{name}", count in (1, num_classes), one_each)


def parse_profile(text: str) -> tuple[int, int] | None:
    """First and last step to trace, of a config's `logging.profile`; None if it is empty.

    Raises:
      InputError: it is not FIRST:LAST.
    """
    if not text:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise InputError(
            f"config.logging.profile is {text!r}; it must be FIRST:LAST, steps counted from 1"
        )
    return int(first), int(last)


def check_workdir(config: ConfigDict, workdir: Path) -> None:
    """Refuses a run folder that another config made; a new folder is fine.

    Raises:
      InputError: the folder was made by a config that differs in more than where its data is and
        how it is worked on.
    """
    path = workdir / layout.CONFIG
    if not path.exists():
        return
    old = flatten(upgrade(read_object(path)))
    new = flatten(json.loads(json.dumps(config.to_dict())))
    missing = object()
    differing = sorted(
        name
        for name in old.keys() | new.keys()
        if not is_free(name) and old.get(name, missing) != new.get(name, missing)
    )
    if differing:
        raise InputError(
            f"{path}: this folder holds a run whose config differs in "
            f"{', '.join(differing)}; choose another --workdir or the same values"
        )


def save_config(config: ConfigDict, workdir: Path) -> None:
    """Writes the resolved config into a run folder.

    The data's folder is written from the root on: the run may be read from elsewhere.
    """
    values = config.to_dict()
    root = values["data"]["root"]
    if root and "://" not in root:
        values["data"] |= {"root": os.path.abspath(root)}
    write_json_atomic(workdir / layout.CONFIG, values)


def load_config(workdir: Path) -> ConfigDict:
    """The config of a run folder; InputError if there is none, or no sound one."""
    path = workdir / layout.CONFIG
    if not path.exists():
        if runs := layout.list_runs(workdir):
            names = ", ".join(str(run) for run in runs[:4]) + (", ..." if len(runs) > 4 else "")
            raise InputError(f"{workdir}: a folder of {len(runs)} runs; name one of them: {names}")
        raise InputError(f"{workdir}: not a run folder, {layout.CONFIG} is missing; train first")
    try:
        config = ConfigDict(upgrade(read_object(path)))
        check_config(config)
    except InputError as error:
        prefix = "" if str(error).startswith(str(path)) else f"{path}: "
        raise InputError(f"{prefix}{error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no config of a run ({error}); train again") from error
    return config


def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of this or an earlier version, in the form of this version.

    Earlier ones had the sizes of both trunks in `model` itself, and not all fields of now.
    """
    upgraded = copy.deepcopy(dict(values))
    model = upgraded.get("model")
    if isinstance(model, dict):
        for trunk, names in _TRUNK_SIZES.items():
            if trunk not in model and all(name in model for name in names):
                model[trunk] = {name: model.pop(name) for name in names}
    for name, value in _LATER_FIELDS.items():
        if (group := _find_group(upgraded, name)) is not None:
            group.setdefault(name.rpartition(".")[2], copy.copy(value))
    for name, value in _FORMER_FIELDS.items():
        group, leaf = _find_group(upgraded, name), name.rpartition(".")[2]
        if group is not None and group.get(leaf) == value:
            del group[leaf]
    return upgraded


def _find_group(values: dict[str, Any], name: str) -> dict[str, Any] | None:
    """What a field of a dotted name is in; None if it is not there, or is no group."""
    group: Any = values
    for each in name.split(".")[:-1]:
        group = group.get(each) if isinstance(group, dict) else None
    return group if isinstance(group, dict) else None


def read_transform(config: ConfigDict) -> Transform:
    """What is done to features before they are used or stored."""
    data = config.data
    return Transform(tuple(data.concatenate), data.resample, data.normalize)


def locate_prepared(config: ConfigDict, dataset: Dataset) -> str:
    """Where prepared data is kept, a folder or a path such as gs://..."""
    return config.data.prepared_dir or str(dataset.root / "prepared")


def one_seed(config: ConfigDict, seed: int) -> ConfigDict:
    """The config of a single seed's run."""
    copy = config.copy_and_resolve_references()
    copy.seeds = (seed,)
    return copy


def is_free(name: str) -> bool:
    """Whether a field says where data is and how it is worked on, not what is computed."""
    return any(name == free or name.startswith(free + ".") for free in _FREE_FIELDS)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config's values by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _require(config: ConfigDict, name: str, holds: bool, what: str) -> None:
    if not holds:
        raise InputError(f"config.{name} is {get_field(config, name)!r:.80}; it must be {what}")
