"""Late fusion: one prediction out of several models', whatever features they were trained on.

Confidences are averaged as logits, with weights found on the validation split; displacements are
not averaged, which brought nothing, but taken from one model (Soares, Shah, "Action Spotting using
Dense Detection Anchors Revisited", arXiv 2206.07846).
"""

from collections.abc import Callable, Sequence

import numpy as np

from spotting.data.transforms import resample
from spotting.inference.nms import NO_SPOT

_LEAST = 1e-7  # a float32 confidence may be exactly 0 or 1, whose logits are infinite
_NOTHING = -17.0
"""The logit of what a system does not name at all; that of `_LEAST` is -16.1."""


def logits(confidence: np.ndarray) -> np.ndarray:
    """The logits of confidences; -17 where they are negative, where a system names no spot."""
    clipped = np.clip(confidence.astype(np.float64), _LEAST, 1 - _LEAST)
    return np.where(confidence < 0, _NOTHING, np.log(clipped) - np.log1p(-clipped))


def confidences(logit: np.ndarray) -> np.ndarray:
    """The confidences of logits, float32; `NO_SPOT` where no system names a spot."""
    named = logit > _NOTHING + 1e-3
    return np.where(named, 1 / (1 + np.exp(-logit)), NO_SPOT).astype(np.float32)


def at_rate(values: np.ndarray, from_rate: float, to_rate: float, num_frames: int) -> np.ndarray:
    """Predictions of a half at another frame rate, linearly between frames.

    Args:
      values: [N, K]; displacements, which count frames, are to be multiplied as well.
      from_rate: frames per second of `values`.
      to_rate: frames per second wanted.
      num_frames: length wanted; lengths of two feature sets of one video differ by a few frames.

    Returns:
      [num_frames, K]; where `values` ends too early, its last frame is repeated.
    """
    values = resample(values, from_rate, to_rate)
    return values[np.minimum(np.arange(num_frames), len(values) - 1)]


def average(
    members: Sequence[Sequence[np.ndarray]], weights: Sequence[float] | np.ndarray
) -> list[np.ndarray]:
    """Weighted means of several models' logits.

    Args:
      members: for each model the logits [N, K] of each half.
      weights: one for each model, of sum 1.

    Returns:
      The logits [N, K] of each half.
    """
    return [
        sum(weight * half for weight, half in zip(weights, halves, strict=True))
        for halves in zip(*members, strict=True)
    ]


def find_weights(
    members: Sequence[Sequence[np.ndarray]],
    score: Callable[[list[np.ndarray]], float],
    rounds: int = 20,
) -> np.ndarray:
    """Weights with which the average of several models scores best on a split.

    In each round the model is added whose addition scores best, be it there already, and the best
    of these averages wins. A model that does not help gets no weight.

    Args:
      members: for each model the logits [N, K] of each half.
      score: of the logits of each half; greater is better.
      rounds: models added; weights are multiples of one over the number that was best.

    Returns:
      One weight for each model, of sum 1.

    Source: selection with replacement (Caruana et al., "Ensemble Selection from Libraries of
    Models", ICML 2004).
    """
    counts = np.zeros(len(members))
    best, best_counts = -np.inf, counts
    for _ in range(rounds if len(members) > 1 else 1):
        options = [counts + one for one in np.eye(len(members))]
        scores = [score(average(members, option / option.sum())) for option in options]
        counts = options[int(np.argmax(scores))]
        if max(scores) > best:
            best, best_counts = max(scores), counts
    return best_counts / best_counts.sum()
