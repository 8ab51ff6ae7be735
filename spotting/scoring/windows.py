"""How far non-maximum suppression should reach: windows chosen by a split's average-mAP."""

from collections.abc import Sequence

import numpy as np

from spotting.inference.postprocessing import Suppression, score_map
from spotting.scoring import metrics
from spotting.scoring.metrics import Truths

TOLERANCES = {"loose": metrics.LOOSE, "tight": metrics.TIGHT, "medium": metrics.MEDIUM}


def average_map(
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray],
    truth: Truths,
    frame_rate: float,
    suppression: Suppression,
    measure: str,
) -> metrics.AverageMap:
    """Loose or tight average-mAP of a split's predictions.

    Args:
      confidence: [N, K] of each half, in [0, 1].
      displacement: [N, K] of each half, in frames.
      truth: of the split.
      frame_rate: of the predictions.
      suppression: which NMS.
      measure: a key of `TOLERANCES`.
    """
    pairs = zip(confidence, displacement, strict=True)
    maps = [score_map(*pair, frame_rate, suppression) for pair in pairs]
    spots = metrics.spots_from_score_maps(maps, frame_rate)
    return metrics.average_map(truth, spots, maps[0].shape[1], TOLERANCES[measure])["all"]


def class_scores(
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray],
    truth: Truths,
    frame_rate: float,
    nms: str,
    candidates: Sequence[float],
    measure: str,
) -> np.ndarray:
    """Average AP [W, K] of each class with each of W windows; other arguments as `average_map`.

    Args:
      nms: "hard" or "soft".
      candidates: windows in seconds.
    """
    suppressions = [Suppression(nms, (window,)) for window in candidates]
    return np.stack(
        [
            average_map(confidence, displacement, truth, frame_rate, suppression, measure).per_class
            for suppression in suppressions
        ]
    )


def best_common(scores: np.ndarray, candidates: Sequence[float]) -> float:
    """The window with which the mean over classes of `class_scores` is greatest."""
    return candidates[int(scores.mean(axis=1).argmax())]


def best_per_class(scores: np.ndarray, candidates: Sequence[float]) -> tuple[float, ...]:
    """For each class the window with which it scores best.

    A class to which several windows are equally good, as to one that never happens, takes the best
    common one if that is among them. Suppression works class by class, so these are best together.
    """
    common = candidates.index(best_common(scores, candidates))
    chosen = np.where(scores[common] == scores.max(axis=0), common, scores.argmax(axis=0))
    return tuple(candidates[index] for index in chosen)
