"""Reading a config: the network and the run it describes, and its JSON copy."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from spotting import timing
from spotting.data.dataset import Dataset
from spotting.data.transforms import Transform
from spotting.base.errors import InputError
from spotting.base.files import read_object, write_json_atomic
from spotting.models.network import Network, build_network
from spotting.inference.postprocessing import Suppression
from spotting.runs.config import check, flatten
from spotting.training.step import Hyper, OptimizerSettings

CONFIG_FILE = "config.json"

# A finished run may be looked at from another place, or gone on with on other devices.
_FREE_FIELDS = (
    "data.root",
    "data.loader",
    "data.prepared_dir",
    "devices",
    "logging",
    "scale_note",
    "seeds_at_once",
    "tune",
)


def check_chunk(config: ConfigDict, frame_rate: float) -> int:
    """T, the frames of a chunk; InputError if the trunk cannot take it."""
    chunk_frames = timing.whole_frames(config.anchors.chunk, frame_rate)
    if config.model.trunk == "unet":
        factor = 2 ** (config.model.levels - 1)
        if chunk_frames % factor or chunk_frames == 0:
            raise InputError(
                f"anchors.chunk of {config.anchors.chunk} s at {frame_rate} frames per second is "
                f"{chunk_frames} frames, which {config.model.levels} U-net levels cannot halve: "
                f"choose model.levels or anchors.chunk so that {factor} divides it"
            )
    elif config.model.width % config.model.num_heads:
        raise InputError(
            f"model.width {config.model.width} is not a multiple of model.num_heads "
            f"{config.model.num_heads}"
        )
    return chunk_frames


def network(config: ConfigDict, kind: str, num_classes: int) -> Network:
    """The network that a config describes, for one kind of output."""
    model = config.model
    return build_network(
        kind,
        num_classes,
        model.trunk,
        model.projection,
        tuple(model.reduction),
        jnp.dtype(model.dtype),
        levels=model.levels,
        layers=model.layers,
        width=model.width,
        num_heads=model.num_heads,
        mlp_dim=model.mlp_dim,
    )


def variable_shapes(config: ConfigDict, dataset: Dataset, kind: str) -> Any:
    """Shapes and types of a network's variables.

    Args:
      config: of the experiment.
      dataset: as the models see it, after the config's feature transforms.
      kind: "confidence" or "displacement".
    """
    model = network(config, kind, len(dataset.classes))
    chunk = (1, check_chunk(config, dataset.frame_rate), dataset.feature_dim)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(chunk)))


def hyper(config: ConfigDict, kind: str) -> Hyper:
    """Learning rate, weight decay, rho and alpha of one of the two models."""
    values = config[kind]
    return Hyper(
        values.learning_rate, values.weight_decay, values.rho, values.get("mixup_alpha", 0.0)
    )


def steps_per_epoch(config: ConfigDict) -> int:
    """Optimiser steps in an epoch."""
    return config.training.chunks_per_epoch // config.training.batch_size


def optimizer(config: ConfigDict) -> OptimizerSettings:
    """What the optimiser needs besides `hyper`."""
    training = config.training
    return OptimizerSettings(
        num_steps=training.epochs * steps_per_epoch(config),
        end_fraction=training.end_fraction,
        b1=training.adam_b1,
        b2=training.adam_b2,
        eps=training.adam_eps,
        sam_eps=training.sam_eps,
    )


def transform(config: ConfigDict) -> Transform:
    """What is done to features before they are used or stored."""
    data = config.data
    return Transform(tuple(data.concatenate), data.resample, data.normalize)


def prepared_dir(config: ConfigDict, dataset: Dataset) -> str:
    """Where prepared data is kept, a folder or a path such as gs://..."""
    return config.data.prepared_dir or str(dataset.root / "prepared")


def suppression(config: ConfigDict) -> Suppression:
    """The final NMS."""
    values = config.postprocessing
    return Suppression(values.nms, tuple(values.window), values.soft_threshold)


def check_workdir(config: ConfigDict, workdir: Path) -> None:
    """Refuses a run folder that another config made; a new folder is fine.

    Raises:
      InputError: the folder was made by a config that differs in more than where its data is and
        how it is worked on.
    """
    path = workdir / CONFIG_FILE
    if not path.exists():
        return
    old, new = read_object(path), json.loads(json.dumps(config.to_dict()))
    differing = sorted(
        name for name in flatten(old).keys() | flatten(new).keys() if _differs(name, old, new)
    )
    if differing:
        raise InputError(
            f"{path}: this folder holds a run whose config differs in "
            f"{', '.join(differing)}; choose another --workdir or the same values"
        )


def save(config: ConfigDict, workdir: Path) -> None:
    """Writes the resolved config into a run folder.

    The data's folder is written from the root on: the run may be read from elsewhere.
    """
    values = config.to_dict()
    root = values["data"]["root"]
    if root and "://" not in root:
        values["data"] |= {"root": os.path.abspath(root)}
    write_json_atomic(workdir / CONFIG_FILE, values)


def load(workdir: Path) -> ConfigDict:
    """The config of a run folder; InputError if there is none, or no sound one."""
    path = workdir / CONFIG_FILE
    if not path.exists():
        raise InputError(f"{workdir}: not a run folder, {CONFIG_FILE} is missing; train first")
    config = ConfigDict(read_object(path))
    try:
        check(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no config of a run ({error}); train again") from error
    return config


def is_free(name: str) -> bool:
    """Whether a field says where data is and how it is worked on, not what is computed."""
    return any(name == free or name.startswith(free + ".") for free in _FREE_FIELDS)


def _differs(name: str, old: dict, new: dict) -> bool:
    if is_free(name):
        return False
    missing = object()
    return flatten(old).get(name, missing) != flatten(new).get(name, missing)
