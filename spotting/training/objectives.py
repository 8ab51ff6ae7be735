"""What the two models are trained for: a table with an entry for each kind of model.

The confidence model and the displacement model share their network but for the head's output
(`models.network.OUTPUTS`), and differ in training by what `KINDS` says of them.

Source: paper, section 2; losses and class weights as in yahoo/spivak.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from spotting import anchors
from spotting.anchors import AnchorTargets, ClassWeights
from spotting.models.network import Network
from spotting.notation import Array, Offsets
from spotting.training import losses
from spotting.training.augmentation import NO_AUGMENTATION, Augmentation


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
      encode: (offsets int16 [..., T, K], radius in frames, class weights) to targets and weights;
        a shaped kind's takes the shape, too.
      loss: (outputs, targets, weights, all [B, T, K]) to a scalar.
      balanced: whether positive and negative anchors share a class's weight, as the config's
        `positive_share` says; otherwise the positive ones have all of it.
      mixes: whether it is trained with mixup.
      shaped: whether its targets have a shape, of `anchors.SHAPES`.
      unit: of a prediction, in frames, where the radius is 1 radius; 1 where it has none.
      measure: average-mAP that chooses among its checkpoints: "loose", or "medium" (1 to 10 s).
      narrow_window: whether it is then suppressed with the narrow window of
        `postprocessing.displacement_window` instead of the final one.
    """

    encode: Callable[..., AnchorTargets]
    loss: Callable[..., Array]
    balanced: bool
    mixes: bool
    shaped: bool
    unit: Callable[[float], float]
    measure: str
    narrow_window: bool


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "confidence": Kind(
            encode=anchors.encode_confidence,
            loss=losses.confidence_loss,
            balanced=True,
            mixes=True,
            shaped=True,
            unit=lambda radius: 1.0,
            measure="loose",
            narrow_window=False,
        ),
        "displacement": Kind(
            encode=anchors.encode_displacement,
            loss=losses.displacement_loss,
            balanced=False,
            mixes=False,
            shaped=False,
            unit=lambda radius: radius,
            measure="medium",
            narrow_window=True,
        ),
    }
)
"""The kinds of model, in the order in which they are trained."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a network is trained for.

    Attributes:
      network: the network; its `kind` is a key of `KINDS`.
      encode: int16 offsets [B, T, K] to targets and loss weights.
      loss: (outputs, targets, weights) to a scalar.
      augmentation: of the features, anew in each step.
    """

    network: Network
    encode: Callable[[Array], AnchorTargets]
    loss: Callable[[Array, Array, Array], Array]
    augmentation: Augmentation = NO_AUGMENTATION


def make_objective(
    network: Network,
    radius: float,
    weights: ClassWeights,
    huber_threshold: float = 0.5,
    shape: str = "box",
    augmentation: Augmentation = NO_AUGMENTATION,
) -> Objective:
    """The objective of a network.

    Args:
      network: of either kind.
      radius: of its targets, in frames.
      weights: of `balance_classes`.
      huber_threshold: of the displacement loss, in units of the radius.
      shape: of the confidence targets, one of `anchors.SHAPES`.
      augmentation: see `Objective`.
    """
    kind = KINDS[network.kind]
    encode = functools.partial(kind.encode, radius=radius, weights=weights)
    if kind.shaped:
        encode = functools.partial(encode, shape=shape)
    loss = kind.loss
    if loss is losses.displacement_loss:
        loss = functools.partial(loss, threshold=huber_threshold)
    return Objective(network, encode, loss, augmentation)


def balance_classes(
    kind: str,
    offsets: Sequence[Offsets],
    radius: float,
    positive_share: float,
    shape: str = "box",
) -> ClassWeights:
    """Class weights of a kind of model over a training split.

    Args:
      kind: a key of `KINDS`.
      offsets: int16 [N, K] of each half.
      radius: of the targets, in frames.
      positive_share: of a class's weight, for the positive anchors of a balanced kind.
      shape: of a shaped kind's targets; an anchor of target y counts as y positive ones.
    """
    shape = shape if KINDS[kind].shaped else "box"
    targets = [anchors.shape_targets(half, radius, shape) for half in offsets]
    near = np.sum([np.asarray(each, np.float64).sum(axis=0) for each in targets], axis=0)
    frames = sum(len(half) for half in offsets)
    return anchors.class_weights(
        near, frames - near, positive_share if KINDS[kind].balanced else 1.0
    )
