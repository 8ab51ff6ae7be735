"""A finished run, read back: its config, what its data was, and its two models."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from spotting.base.errors import InputError
from spotting.data.dataset import DESCRIPTION_FILE, FEATURE_SETS, Dataset, describe_dataset
from spotting.data.transforms import Normalization, describe_transformed, find_normalization
from spotting.runs import layout
from spotting.runs.config import load_config, locate_prepared, read_transform
from spotting.runs.hub import find_run
from spotting.runs.published import read_weights
from spotting.runs.setup import chunk_frames, list_kinds, make_network, variable_shapes
from spotting.training.checkpoints import Checkpoints


@dataclasses.dataclass(frozen=True)
class Model:
    """A network and the parameters that the validation split chose."""

    network: Any
    params: Any


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What a run folder holds for those who use its models.

    Attributes:
      workdir: the folder.
      config: of the run.
      source: its data as it is in files: classes, frame rate, feature dimension.
      dataset: its data as the models see it, after the config's feature transforms.
      normalization: the transform of values, if the config has one.
      chunk_frames: T.
      confidence: the model whose outputs are logits.
      displacement: the model whose outputs are in units of the displacement radius; None for a
        system that has none.
    """

    workdir: Path
    config: ConfigDict
    source: Dataset
    dataset: Dataset
    normalization: Normalization | None
    chunk_frames: int
    confidence: Model
    displacement: Model | None


def load_run(workdir: str | os.PathLike) -> TrainedRun:
    """Reads a run, on any device.

    Args:
      workdir: its folder, one that `published.publish` wrote, or hf://owner/name[@revision].

    Raises:
      InputError: it is no finished run of one seed; its arrays do not fit its config; nothing tells
        its classes any more; or it was trained on normalised features and neither the data nor what
        was fitted on it is there.
    """
    workdir = find_run(workdir)
    seeds = layout.list_seeds(workdir)
    if seeds:
        raise InputError(f"{workdir}: holds several trainings; name one: {', '.join(seeds)}")
    config = load_config(workdir)
    # How training attended, perhaps on another platform, does not matter here.
    config.model.transformer.attention = "auto"
    source, transform = _describe(config, workdir), read_transform(config)
    if transform.concatenate:
        raise InputError(f"{workdir}: was trained on several feature sets joined; only one works")
    dataset = describe_transformed(source, transform)
    kinds = list_kinds(config)
    try:
        frames = chunk_frames(config, dataset.frame_rate)
        shapes = {kind: variable_shapes(config, dataset, kind) for kind in kinds}
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{workdir / layout.CONFIG}: no network can be made of it: {reason:.200}"
        ) from error
    weights = workdir / layout.WEIGHTS
    if weights.is_file():
        num_columns = dataset.feature_dim if transform.normalize != "none" else None
        params, normalization = read_weights(weights, shapes, num_columns)
    else:
        prepared = locate_prepared(config, source)
        normalization = find_normalization(
            workdir / layout.NORMALIZATION, source, transform, prepared
        )
        params = {kind: _restore_best(workdir, kind, shapes[kind]) for kind in kinds}
    models = {
        kind: Model(
            make_network(config, kind, len(dataset.classes), dataset.frame_rate), params[kind]
        )
        for kind in kinds
    }
    return TrainedRun(
        workdir,
        config,
        source,
        dataset,
        normalization,
        frames,
        models["confidence"],
        models.get("displacement"),
    )


def _restore_best(workdir: Path, kind: str, shapes: Any) -> Any:
    # Told where to go, arrays need not go where they were when they were saved.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), shapes
    )
    with contextlib.closing(Checkpoints(layout.locate_checkpoints(workdir, kind))) as checkpoints:
        return checkpoints.restore("best", template)


def _describe(config: ConfigDict, workdir: Path) -> Dataset:
    """What the run was trained on: by a dataset.json beside its config, else by its data folder."""
    features = config.data.features or None
    root = Path(config.data.root)
    if config.data.simulated and not config.data.root:
        # A run of several seeds has one season for all.
        root = next((p for p in (workdir, workdir.parent) if (p / layout.SEASON).is_dir()), workdir)
        root /= layout.SEASON
    if (workdir / DESCRIPTION_FILE).is_file():
        return dataclasses.replace(describe_dataset(workdir, features), root=root)
    if not root.is_dir() and features not in FEATURE_SETS:
        raise InputError(
            f"{root}: the data of {workdir} is not there any more, nor what it said of classes and "
            f"frame rate; put its {DESCRIPTION_FILE} into {workdir}"
        )
    return describe_dataset(root, features)
