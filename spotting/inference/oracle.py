"""What perfect models would predict: the truth, through everything but a network.

The frame rate of the features, the radii of the targets, the cutting into chunks, the suppression
and the rounding of times all cost something, and a mistake in one of them costs more. Scored as a
model's predictions are, the truth says how much: it is the ceiling of what training can reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from spotting.anchors import ClassWeights, encode_confidence, encode_displacement
from spotting.inference.chunks import spot_half
from spotting.notation import Array, Confidence, Displacement, Offsets


class Outputs(NamedTuple):
    """Predictions for halves: confidence [N, K], and displacement [N, K] in frames or None."""

    confidence: list[Confidence]
    displacement: list[Displacement] | None


@dataclass(frozen=True)
class OracleSettings:
    """How the two models would be trained and run, all in frames.

    Attributes:
      confidence_radius: within which of an event a confidence is 1.
      displacement_radius: within which of an event there is a displacement; None for a system that
        has none.
      chunk_frames: T.
      border: dropped on each side of a chunk's output.
      chunks: in a segment, of `spot_half`.
      confidence_shape: of the confidence targets, of `anchors.shape_targets`.
      displacement_scale: how far displacements are followed, 1 all the way.
    """

    confidence_radius: float
    displacement_radius: float | None
    chunk_frames: int
    border: int
    chunks: int = 32
    confidence_shape: str = "box"
    displacement_scale: float = 1.0


@dataclass(frozen=True)
class PerfectModel:
    """Stands in for a network in `spot_half`: its features are the offsets of the anchors."""

    kind: str
    radius: float
    num_classes: int
    shape: str = "box"

    def apply(self, params: Any, x: Array, method: str) -> Array:
        """What the network's method of that name gives: of the offsets, what training asks for."""
        if method == "reduce":
            return x
        one = np.ones(self.num_classes, np.float32)
        offsets, weights = jnp.rint(x), ClassWeights(one, one)
        if self.kind == "confidence":
            return encode_confidence(offsets, self.radius, weights, self.shape).targets
        return encode_displacement(offsets, self.radius, weights).targets


def predict_truth(offsets: Sequence[Offsets], settings: OracleSettings) -> Outputs:
    """Predictions of perfect models.

    Args:
      offsets: int16 [N, K] of each half, of `anchors.event_offsets`.
      settings: how the models would be run.
    """

    def predict(kind: str, radius: float) -> list[np.ndarray]:
        model: Any = PerfectModel(kind, radius, offsets[0].shape[1], settings.confidence_shape)
        return [
            spot_half(
                model,
                {},
                half.astype(np.float32),
                settings.chunk_frames,
                settings.border,
                settings.chunks,
            )
            for half in offsets
        ]

    confidence = predict("confidence", settings.confidence_radius)
    radius = settings.displacement_radius
    if radius is None:
        return Outputs(confidence, None)
    unit = radius * settings.displacement_scale
    return Outputs(confidence, [unit * half for half in predict("displacement", radius)])
