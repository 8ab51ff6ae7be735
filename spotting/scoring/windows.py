"""How far non-maximum suppression should reach: windows chosen by a split's average-mAP."""

from collections.abc import Sequence

import numpy as np

from spotting.inference.postprocessing import Suppression
from spotting.scoring import metrics
from spotting.scoring.figures import score_predictions
from spotting.scoring.metrics import AverageMap, Truths

TOLERANCES = {"loose": metrics.LOOSE, "tight": metrics.TIGHT, "medium": metrics.MEDIUM}


def average_map(
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray] | None,
    truth: Truths,
    frame_rate: float,
    suppression: Suppression,
    measure: str,
) -> AverageMap:
    """`score_predictions` at the tolerances of a measure, a key of `TOLERANCES`."""
    tolerances = TOLERANCES[measure]
    return score_predictions(truth, confidence, displacement, frame_rate, suppression, tolerances)


def score_windows(
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray] | None,
    truth: Truths,
    frame_rate: float,
    nms: str,
    candidates: Sequence[float],
    measure: str,
) -> np.ndarray:
    """Average AP [W, K] of each class with each of W windows.

    Args:
      confidence: [N, K] of each half, in [0, 1].
      displacement: [N, K] of each half, in frames; None for a system that has none.
      truth: of the split.
      frame_rate: of the predictions.
      nms: "hard" or "soft".
      candidates: windows in seconds.
      measure: a key of `TOLERANCES`.
    """
    suppressions = [Suppression(nms, (window,)) for window in candidates]
    return np.stack(
        [
            average_map(confidence, displacement, truth, frame_rate, suppression, measure).per_class
            for suppression in suppressions
        ]
    )


def choose_common(scores: np.ndarray, candidates: Sequence[float]) -> float:
    """The window with which the mean over classes of `score_windows` is greatest."""
    return candidates[int(scores.mean(axis=1).argmax())]


def choose_per_class(scores: np.ndarray, candidates: Sequence[float]) -> tuple[float, ...]:
    """For each class the window with which it scores best.

    A class to which several windows are equally good, as to one that never happens, takes the best
    common one if that is among them. Suppression works class by class, so these are best together.
    """
    common = candidates.index(choose_common(scores, candidates))
    chosen = np.where(scores[common] == scores.max(axis=0), common, scores.argmax(axis=0))
    return tuple(candidates[index] for index in chosen)
