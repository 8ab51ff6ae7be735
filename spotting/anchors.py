"""Dense detection anchors: the paper's idea, in both directions.

There is one anchor for every frame and class. `encode` turns the events of a half into what the
two models must predict at each anchor, a confidence and a displacement; `decode` turns what they
predicted back into a score map. Both are here so that they cannot drift apart.

`decode` keeps the greatest vote of a frame, as the paper does; `decode_sum`, which is not the
paper's, adds votes up.

Everything that the models are trained on follows from one small integer per anchor, its *offset*:
the signed distance in frames from the anchor to the nearest event of its class. Offsets are made on
a whole half and then cut into chunks, so that an event just outside a chunk still marks its border.

Source: Soares, Shah, Biswas, ICIP 2022, section 2; yahoo/spivak where the paper is silent.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spotting.notation import Array

NO_EVENT = np.iinfo(np.int16).max
"""Offset of an anchor whose class has no event in the half (or none within int16)."""


SHAPES = ("box", "gaussian")
"""How confidence targets fall off around an event; see `shape_targets`."""


VOTE_REACH = 3
"""How far an added vote is spread, in standard deviations."""


class AnchorTargets(NamedTuple):
    """What a model is trained on: targets and the loss weight of each, both [..., T, K]."""

    targets: Array
    weights: Array


class ClassWeights(NamedTuple):
    """Loss weight of a class's positive and of its negative anchors, both float32 [K]."""

    positive: np.ndarray
    negative: np.ndarray


def event_offsets(labels: np.ndarray) -> np.ndarray:
    """Signed distance from every anchor to the nearest event of its class.

    Args:
      labels: [N, K], non-zero where an event of the class falls on the frame.

    Returns:
      int16 [N, K], event frame - anchor frame; of two equally near events the earlier one; NO_EVENT
      where the class has no event.
    """
    num_frames = labels.shape[0]
    frame = np.arange(num_frames, dtype=np.int64)[:, None]
    far = np.int64(NO_EVENT)
    event = labels != 0
    previous = np.maximum.accumulate(np.where(event, frame, -far - num_frames), axis=0)
    following = np.minimum.accumulate(np.where(event, frame, far + num_frames)[::-1], axis=0)[::-1]
    behind, ahead = frame - previous, following - frame
    offset = np.where(behind <= ahead, -behind, ahead)
    return np.where(np.abs(offset) < far, offset, far).astype(np.int16)


def is_near(offsets: Array | np.ndarray, radius: float) -> Array:
    """Which anchors have an event of their class within `radius` frames, both ends included."""
    # Offsets are whole frames, so comparing with the floor is exact for fractional radii too.
    return jnp.abs(jnp.asarray(offsets).astype(jnp.int32)) <= math.floor(radius)


def class_weights(
    num_positive: np.ndarray, num_negative: np.ndarray, positive_share: float
) -> ClassWeights:
    """Balances the anchors of each class over the training split.

    Args:
      num_positive: [K], anchors of the class near an event, over the whole split.
      num_negative: [K], all its other anchors.
      positive_share: share of a class's total weight that its positive anchors get: 0.03 for the
        confidence model, 1 for the displacement model.

    Returns:
      Weights that give each class the same total. A class without events gets a positive weight of
      zero, so it still teaches the confidence model where it does not happen.
    """
    num_positive = np.asarray(num_positive, np.float64)
    num_negative = np.asarray(num_negative, np.float64)
    total = num_positive + num_negative

    def weigh(share: float, count: np.ndarray) -> np.ndarray:
        return np.divide(share * total, count, out=np.zeros_like(total), where=count > 0)

    return ClassWeights(
        weigh(positive_share, num_positive).astype(np.float32),
        weigh(1.0 - positive_share, num_negative).astype(np.float32),
    )


def shape_targets(offsets: Array | np.ndarray, radius: float, shape: str) -> Array:
    """Confidence targets, by the distance d in frames to the nearest event.

    Beyond the radius they are 0; within it, both ends included, "box" is 1 (the paper) and
    "gaussian" exp(-2 (d / radius)^2), of which a standard deviation is half the radius.

    Args:
      offsets: int16 [..., T, K], of `event_offsets`.
      radius: in frames.
      shape: one of `SHAPES`.

    Returns:
      float32 [..., T, K], in [0, 1]; 1 at an event.
    """
    near = is_near(offsets, radius).astype(jnp.float32)
    if shape == "box":
        return near
    distance = jnp.abs(jnp.asarray(offsets).astype(jnp.float32))
    if shape == "gaussian":
        return near * jnp.exp(-2 * jnp.square(distance / radius))
    raise ValueError(f"unknown shape {shape!r}; one of {', '.join(SHAPES)}")


def encode_confidence(
    offsets: Array, radius: float, weights: ClassWeights, shape: str = "box"
) -> AnchorTargets:
    """Confidence targets: greatest at an event, 0 farther than `radius` frames from one.

    Args:
      offsets: int16 [..., T, K], of `event_offsets`.
      radius: in frames (3 s in the paper).
      weights: of `class_weights`.
      shape: of `shape_targets`; "box" in the paper.

    Returns:
      Targets and loss weights, float32 [..., T, K]. An anchor of target y is y parts positive and
      1 - y parts negative, so its weight lies between the two.
    """
    targets = shape_targets(offsets, radius, shape)
    if shape == "box":
        return AnchorTargets(targets, jnp.where(targets > 0, weights.positive, weights.negative))
    return AnchorTargets(targets, targets * weights.positive + (1 - targets) * weights.negative)


def encode_displacement(offsets: Array, radius: float, weights: ClassWeights) -> AnchorTargets:
    """Displacement targets: offset / radius within `radius` frames of an event, undefined beyond.

    Args:
      offsets: int16 [..., T, K], of `event_offsets`; positive where the event is still to come.
      radius: in frames (6 s in the paper).
      weights: of `class_weights` with a positive share of 1.

    Returns:
      Targets in [-1, 1] and loss weights, float32 [..., T, K]; both 0 where undefined.
    """
    near = is_near(offsets, radius)
    return AnchorTargets(
        jnp.where(near, jnp.asarray(offsets).astype(jnp.float32) / radius, 0.0),
        jnp.where(near, weights.positive, 0.0),
    )


def decode(confidence: Array, displacement: Array, length: Array | int, max_shift: int) -> Array:
    """Score map of displaced confidences.

    The anchor of frame t votes with its confidence at frame t + round(displacement), clipped to the
    half; a frame keeps its greatest vote, and one without votes scores 0.

    Scattering with a maximum is slow on every backend. A shift has only 2 * max_shift + 1 values,
    so the map is a maximum over that many shifted copies, which the compiler fuses into one pass.

    Args:
      confidence: [..., N], time last, in [0, 1].
      displacement: [..., N], in frames (the model's output times its radius); rounded half to even.
      length: frames of the half that are real, the rest being padding; a scalar or [...], one for
        each row.
      max_shift: greatest possible |round(displacement)| in frames; for a model it is the
        displacement radius, since its output is a tanh.

    Returns:
      [..., N] scores; 0 in the padding.
    """
    num_frames = confidence.shape[-1]
    frame = jnp.arange(num_frames, dtype=jnp.int32)
    last = jnp.asarray(length, jnp.int32)[..., None] - 1
    shift = jnp.clip(jnp.rint(displacement).astype(jnp.int32), -max_shift, max_shift)
    shift = jnp.clip(frame + shift, 0, last) - frame
    confidence = jnp.where(frame <= last, confidence, 0)

    pad = [(0, 0)] * (confidence.ndim - 1) + [(max_shift, max_shift)]
    votes = jnp.pad(confidence, pad)
    # An impossible shift in the padding keeps it from voting.
    shifts = jnp.pad(shift, pad, constant_values=max_shift + 1)
    scores = jnp.zeros_like(confidence)
    for step in range(-max_shift, max_shift + 1):
        window = slice(max_shift - step, max_shift - step + num_frames)
        scores = jnp.maximum(scores, jnp.where(shifts[..., window] == step, votes[..., window], 0))
    return scores


def decode_sum(
    confidence: Array,
    displacement: Array,
    length: Array | int,
    max_shift: int,
    spread: float,
    full: float,
) -> Array:
    """Score map of added votes: where many anchors agree counts, not which of them is surest.

    The anchor of frame t votes with its confidence at t + displacement, clipped to the half; a vote
    between two frames is shared by them. The sums are smoothed with exp(-x^2 / (2 spread^2)) at a
    distance of x frames, up to `VOTE_REACH` spreads. A frame scores the root of what it gets as a
    share of `full`: the geometric mean of its votes' confidence and of how many of them there are.

    Args:
      confidence: as for `decode`; what is negative does not vote.
      displacement: as for `decode`, but not rounded.
      length: as for `decode`.
      max_shift: greatest possible |displacement| in frames, rounded up.
      spread: in frames, greater than 0.
      full: what the frame of an event gets from perfect models, of `count_votes`.

    Returns:
      [..., N] scores in [0, 1]; 0 in the padding.
    """
    num_frames = confidence.shape[-1]
    frame = jnp.arange(num_frames, dtype=jnp.float32)
    last = jnp.asarray(length, jnp.float32)[..., None] - 1
    is_real = frame <= last
    shift = jnp.clip(frame + displacement, 0, last) - frame

    pad = [(0, 0)] * (confidence.ndim - 1) + [(max_shift, max_shift)]
    votes = jnp.pad(jnp.where(is_real, jnp.maximum(confidence, 0), 0), pad)
    # Without the barriers XLA computes what comes before them anew for each step.
    votes, shifts = jax.lax.optimization_barrier((votes, jnp.pad(shift, pad)))
    total = jnp.zeros_like(confidence)
    for step in range(-max_shift, max_shift + 1):
        window = slice(max_shift - step, max_shift - step + num_frames)
        share = jnp.maximum(1 - jnp.abs(shifts[..., window] - step), 0)
        total += share * votes[..., window]

    reach = math.floor(VOTE_REACH * spread)
    pad = [(0, 0)] * (confidence.ndim - 1) + [(reach, reach)]
    sums = jax.lax.optimization_barrier(jnp.pad(total, pad))
    for step in range(1, reach + 1):
        sides = (sums[..., reach + each : reach + each + num_frames] for each in (-step, step))
        total += math.exp(-((step / spread) ** 2) / 2) * sum(sides)
    return jnp.where(is_real, jnp.sqrt(jnp.minimum(total / full, 1)), 0)


@functools.cache
def count_votes(radius: float, shape: str) -> float:
    """What the anchors around an event add up to, if models predict its targets.

    Args:
      radius: of the confidence targets, in frames.
      shape: of theirs, one of `SHAPES`.
    """
    offsets = np.arange(-math.floor(radius), math.floor(radius) + 1)
    return float(np.sum(np.asarray(shape_targets(offsets, radius, shape), np.float64)))
