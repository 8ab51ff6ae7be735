"""The systems that a config may name in `system`, besides the paper's own ("anchors").

Each has one model, which gives confidences and takes the confidence model's place in a run folder;
there are no displacements. Its sizes and its published peculiarities are the fields of a sub-config
of its name.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from spotting import timing
from spotting.base.errors import InputError
from spotting.data import clips, context_chunks, windows
from spotting.inference import clips as clip_inference
from spotting.inference import detections as detection_inference
from spotting.inference import windows as window_inference
from spotting.inference.nms import NO_SPOT
from spotting.models.calf import Calf
from spotting.models.netvlad import POOLS, NetVLAD
from spotting.models.rmsnet import RmsNetHead
from spotting.notation import Confidence, Offsets
from spotting.training.recipes import (
    Descent,
    Recipe,
    make_calf_recipe,
    make_netvlad_recipe,
    make_rmsnet_recipe,
)
from spotting.training.schedules import warmup_cosine

ANCHORS = "anchors"
"""The paper's own system, of two models."""

SpotHalf = Callable[..., Confidence]
"""(variables, features [N, P], progress) to confidences [N, K], -1 where nothing can be spotted."""


@dataclasses.dataclass(frozen=True)
class System:
    """A system of one model.

    Attributes:
      fields: of its sub-config, that a config has to have.
      count_frames: (sub-config, frame rate) to T; InputError where it cannot be.
      build: (sub-config, frame rate, K) to the network.
      label: (sub-config, event offsets of each half, classes, frame rate) to what a resident split
        holds in their place, int16 [N, K] of each half.
      list: (sub-config, labels of each half, classes, frame rate) to what can be drawn, and how
        many examples an epoch has (None: as many as the config says).
      recipe: (sub-config, network, frame rate, slicing or None) to how it is trained.
      spot: (sub-config, network, frame rate) to a `SpotHalf`.
      export: (network) to what is exported, (variables, features [B, T, P]) to arrays [B, ...].
      outputs: names and contents of these arrays.
    """

    fields: tuple[str, ...]
    count_frames: Callable[[ConfigDict, float], int]
    build: Callable[[ConfigDict, float, int], nn.Module]
    label: Callable[..., list[np.ndarray]]
    list: Callable[..., tuple[Any, int | None]]
    recipe: Callable[..., Recipe]
    spot: Callable[[ConfigDict, Any, float], SpotHalf]
    export: Callable[[Any], Callable[[Any, Any], tuple[Any, ...]]]
    outputs: tuple[tuple[str, str], ...]


# NetVLAD++


def _window_frames(values: ConfigDict, rate: float) -> int:
    frames = timing.whole_frames(values.window, rate)
    if frames < 2:
        raise InputError(
            f"config.netvlad.window of {values.window} s has {frames} frames at {rate} per second; "
            "it needs 2 or more"
        )
    return frames


def _build_netvlad(values: ConfigDict, rate: float, num_classes: int) -> NetVLAD:
    if values.pool.removesuffix("++") not in POOLS:
        raise InputError(
            f"config.netvlad.pool is {values.pool!r}; it must be one of {', '.join(POOLS)}, with "
            "or without ++"
        )
    return NetVLAD(num_classes, values.pool, values.clusters, values.dropout)


def _list_windows(
    values: ConfigDict, labels: Sequence[np.ndarray], classes: Sequence[str], rate: float
) -> tuple[Any, int | None]:
    lengths = np.array([len(half) for half in labels])
    table = windows.list_windows(lengths, _window_frames(values, rate), values.last_frame_unseen)
    return table, len(table[0])


def _spot_windows(values: ConfigDict, network: NetVLAD, rate: float) -> SpotHalf:
    frames = _window_frames(values, rate)

    def spot(variables: Any, features: np.ndarray, progress: Any = None) -> Confidence:
        scores = window_inference.spot_half(
            network, variables, features, frames, values.last_frame_unseen, progress=progress
        )
        missing = len(features) - len(scores)
        return np.pad(scores, ((0, missing), (0, 0)), constant_values=NO_SPOT)

    return spot


# CALF


def _chunk_frames(values: ConfigDict, rate: float) -> int:
    frames, receptive = timing.whole_frames(values.chunk, rate), _receptive_frames(values, rate)
    if frames % 8 or not 0 < 2 * receptive < frames:
        raise InputError(
            f"config.calf.chunk is {frames} frames and calf.receptive_field {receptive}; the chunk "
            "must be a multiple of 8 and more than twice the receptive field"
        )
    return frames


def _receptive_frames(values: ConfigDict, rate: float) -> int:
    return timing.whole_frames(values.receptive_field, rate)


def _build_calf(values: ConfigDict, rate: float, num_classes: int) -> Calf:
    receptive = _receptive_frames(values, rate)
    return Calf(num_classes, receptive, values.capsules, values.detections)


def find_slices(
    values: ConfigDict, offsets: Sequence[Offsets], classes: Sequence[str], rate: float
) -> np.ndarray:
    """CALF's k0 to k3 of each class in frames, float32 [4, K].

    A class that `calf.slicing` does not name has them from the gaps between its events in the
    training split (`context_chunks.slice_by_gaps`).
    """
    seconds = dict(values.slicing)
    for k, label in enumerate(classes):
        if label not in seconds:
            frames = [np.flatnonzero(np.asarray(half)[:, k] == 0) for half in offsets]
            gaps = np.concatenate([np.diff(each) for each in frames]) / rate
            seconds[label] = context_chunks.slice_by_gaps(gaps)
        k0, k1, k2, k3 = seconds[label]
        if not k0 < k1 < 0 < k2 < k3:
            raise InputError(
                f"config.calf.slicing has {seconds[label]} for {label}; it must be k0 < k1 < 0 < "
                "k2 < k3, in seconds"
            )
    # Whole frames, as time shifts are.
    return np.rint(context_chunks.slice_frames(seconds, classes, rate))


def _shifts(values: ConfigDict, offsets: Sequence[Offsets], slices: np.ndarray) -> list[np.ndarray]:
    return [
        context_chunks.time_shifts(np.asarray(half) == 0, slices).astype(np.int16)
        for half in offsets
    ]


def _list_chunks(
    values: ConfigDict, labels: Sequence[np.ndarray], slices: np.ndarray, rate: float
) -> tuple[Any, int | None]:
    return context_chunks.find_anchors(labels, slices, _chunk_frames(values, rate)), None


def _calf_recipe(values: ConfigDict, network: Calf, rate: float, slices: np.ndarray) -> Recipe:
    return make_calf_recipe(
        network,
        _chunk_frames(values, rate),
        jnp.asarray(slices),
        values.segmentation_weight,
        values.overwrite_labels,
        values.last_frame_unseen,
    )


def _spot_chunks(values: ConfigDict, network: Calf, rate: float) -> SpotHalf:
    frames = _chunk_frames(values, rate)

    def spot(variables: Any, features: np.ndarray, progress: Any = None) -> Confidence:
        # Where the published code fails.
        misplaced = values.misplaced_last and len(features) >= frames
        return detection_inference.spot_half(
            network, variables, features, frames, misplaced, progress=progress
        )

    return spot


# RMS-Net's head


def _clip_frames(values: ConfigDict, rate: float) -> int:
    """The next odd number of frames, so that a clip has a middle one."""
    return 2 * round(values.clip * rate / 2) + 1


def _build_rmsnet(values: ConfigDict, rate: float, num_classes: int) -> RmsNetHead:
    return RmsNetHead(num_classes, tuple(values.widths), values.taps, values.dropout)


def _list_clips(
    values: ConfigDict, labels: Sequence[np.ndarray], classes: Sequence[str], rate: float
) -> tuple[Any, int | None]:
    events = [np.asarray(half) == 0 for half in labels]
    table = clips.list_clips(events, _clip_frames(values, rate), values.only_between_events)
    if not len(table.label):
        raise InputError("there is neither an event nor room for a clip without: no clip to draw")
    places = clips.choose_places(np.asarray(table.label), values.clips_per_class)
    return (table, places), len(places)


def _spot_clips(values: ConfigDict, network: RmsNetHead, rate: float) -> SpotHalf:
    frames = _clip_frames(values, rate)

    def spot(variables: Any, features: np.ndarray, progress: Any = None) -> Confidence:
        return clip_inference.spot_half(
            network, variables, features, frames, values.late, progress=progress
        )

    return spot


def _same_labels(values: ConfigDict, offsets: Sequence[Offsets], *_: Any) -> list[np.ndarray]:
    return list(offsets)


SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        "netvlad": System(
            fields=("window", "pool", "clusters", "dropout", "last_frame_unseen"),
            count_frames=_window_frames,
            build=_build_netvlad,
            label=_same_labels,
            list=_list_windows,
            recipe=lambda values, network, rate, slices: make_netvlad_recipe(
                network,
                _window_frames(values, rate),
                part=16 if jax.default_backend() == "cpu" else None,
            ),
            spot=_spot_windows,
            export=lambda network: (
                lambda variables, features: (
                    jax.nn.sigmoid(network.apply(variables, features))[:, 1:],
                )
            ),
            outputs=(("confidence", "from 0 to 1, of an action in the window, one per class"),),
        ),
        "calf": System(
            fields=(
                "chunk",
                "receptive_field",
                "capsules",
                "detections",
                "segmentation_weight",
                "slicing",
                "valid_chunks",
                "overwrite_labels",
                "last_frame_unseen",
                "misplaced_last",
            ),
            count_frames=_chunk_frames,
            build=_build_calf,
            label=_shifts,
            list=_list_chunks,
            recipe=_calf_recipe,
            spot=_spot_chunks,
            export=lambda network: (
                lambda variables, features: (network.apply(variables, features).detections,)
            ),
            outputs=(
                (
                    "detections",
                    "of each: confidence, time from 0 to 1 (T - 1 frames), class probabilities",
                ),
            ),
        ),
        "rmsnet": System(
            fields=(
                "clip",
                "widths",
                "taps",
                "dropout",
                "clips_per_class",
                "only_between_events",
                "late",
            ),
            count_frames=_clip_frames,
            build=_build_rmsnet,
            label=_same_labels,
            list=_list_clips,
            recipe=lambda values, network, rate, slices: make_rmsnet_recipe(
                network, _clip_frames(values, rate)
            ),
            spot=_spot_clips,
            export=lambda network: (
                lambda variables, features: (
                    lambda outputs: (jax.nn.softmax(outputs.logits), outputs.offset[:, None])
                )(network.apply(variables, features))
            ),
            outputs=(
                ("confidence", "of each class, and last of none, from 0 to 1"),
                ("place", "of the action in the clip, from 0 to 1"),
            ),
        ),
    }
)
"""The systems by name."""


def find_system(config: ConfigDict) -> System | None:
    """The system that a config names; None for the paper's own."""
    return SYSTEMS.get(config.system)


def read_values(config: ConfigDict) -> ConfigDict:
    """The sub-config of a config's system."""
    return config[config.system]


def check_system(config: ConfigDict) -> None:
    """Raises InputError if a config names a system that is not there, or lacks its fields."""
    if config.system == ANCHORS:
        return
    if config.system not in SYSTEMS:
        names = ", ".join((ANCHORS, *SYSTEMS))
        raise InputError(f"config.system is {config.system!r}; it must be one of {names}")
    values = config.get(config.system, {})
    missing = [name for name in SYSTEMS[config.system].fields if name not in values]
    if missing:
        raise InputError(
            f"config.{config.system} lacks {', '.join(missing)}; start from the system's own config"
        )
    if config.model.precision != "default":
        raise InputError(
            f"config.model.precision is {config.model.precision!r}; it is for the paper's own "
            f"networks, {config.system} has the platform's default"
        )
    if config.data.loader == "stream":
        raise InputError(
            f"config.data.loader is 'stream'; {config.system} draws from the resident split only"
        )


def make_descent(config: ConfigDict, num_steps: int, weight_decay: float | jax.Array) -> Descent:
    """How a system's gradients become steps, as `training` says.

    Args:
      config: of the experiment.
      num_steps: in an epoch.
      weight_decay: part of the gradient, as PyTorch's SGD has it.
    """
    training = config.training
    if training.optimizer == "sgd":
        direction = optax.trace(training.momentum)
    else:
        direction = optax.scale_by_adam(training.adam_b1, training.adam_b2, training.adam_eps)
    if weight_decay:
        direction = optax.chain(optax.add_decayed_weights(weight_decay), direction)
    patience, factor = None, optax.constant_schedule(1.0)
    if training.schedule == "plateau":
        patience = training.patience
    elif training.schedule == "cosine":
        factor = warmup_cosine(num_steps * training.epochs, num_steps)
    return Descent(direction, factor, patience, training.select == "loss")
