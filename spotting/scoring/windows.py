"""How non-maximum suppression should act: windows and decays chosen by a split's average-mAP.

Suppression works class by class, so each class may have its own. What suits a class on few events
suits it by chance: `choose_per_class` draws the gains of such classes towards those of all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.inference.postprocessing import GREATEST_VOTE, Suppression, Votes
from spotting.scoring import metrics
from spotting.scoring.figures import spot_split
from spotting.scoring.metrics import AverageMap, Truths

TOLERANCES = {"loose": metrics.LOOSE, "tight": metrics.TIGHT, "medium": metrics.MEDIUM}

MEASURES = {
    "loose": (metrics.LOOSE,),
    "tight": (metrics.TIGHT,),
    "both": (metrics.LOOSE, metrics.TIGHT),
}
"""What a suppression may be chosen by: average-mAP, or the mean of the two."""


class Candidate(NamedTuple):
    """A window in seconds, and the decay of soft suppression, which hard suppression ignores."""

    window: float
    decay: str = "linear"


def list_candidates(nms: str, windows: Sequence[float], decays: Sequence[str]) -> list[Candidate]:
    """Each window with each decay; with the first alone unless `nms` is "soft"."""
    tried = decays if nms == "soft" else decays[:1]
    return [Candidate(window, decay) for decay in tried for window in windows]


def make_suppression(
    nms: str,
    candidates: Sequence[Candidate],
    threshold: float = 1e-5,
    votes: Votes = GREATEST_VOTE,
) -> Suppression:
    """The suppression with a candidate for all classes, or with one for each."""
    windows, decays = zip(*candidates, strict=True)
    decays = decays if len(set(decays)) > 1 else decays[:1]
    return Suppression(nms, windows, threshold, decays, votes)


def average_map(
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray] | None,
    truth: Truths,
    frame_rate: float,
    suppression: Suppression,
    measure: str,
) -> AverageMap:
    """Average-mAP of a split's predictions, for suppression of their own.

    Args:
      confidence: as `figures.spot_split`.
      displacement: as `figures.spot_split`.
      truth: of the split.
      frame_rate: as `figures.spot_split`.
      suppression: which NMS.
      measure: a key of `MEASURES`.
    """
    spots = spot_split(confidence, displacement, frame_rate, suppression).spots
    num_classes = confidence[0].shape[1]
    found = [
        metrics.average_map(truth, spots, num_classes, tolerances)["all"]
        for tolerances in MEASURES[measure]
    ]
    return AverageMap(
        float(np.mean([each.map for each in found])),
        np.mean([each.per_class for each in found], axis=0),
    )


def score_candidates(
    confidence: Sequence[np.ndarray],
    displacement: Sequence[np.ndarray] | None,
    truth: Truths,
    frame_rate: float,
    nms: str,
    candidates: Sequence[Candidate],
    measure: str,
    votes: Votes = GREATEST_VOTE,
) -> np.ndarray:
    """Average AP [C, K] of each class with each of C candidates.

    Args:
      confidence: [N, K] of each half, in [0, 1].
      displacement: [N, K] of each half, in frames; None for a system that has none.
      truth: of the split.
      frame_rate: of the predictions.
      nms: "hard", "half_open" or "soft".
      candidates: what to try.
      measure: a key of `MEASURES`.
      votes: what becomes of votes before.
    """
    suppressions = [make_suppression(nms, [each], votes=votes) for each in candidates]
    return np.stack(
        [
            average_map(confidence, displacement, truth, frame_rate, suppression, measure).per_class
            for suppression in suppressions
        ]
    )


def choose_common(scores: np.ndarray, candidates: Sequence[Candidate]) -> Candidate:
    """The candidate with which the mean over classes of `score_candidates` is greatest."""
    return candidates[int(scores.mean(axis=1).argmax())]


def choose_per_class(
    scores: np.ndarray,
    candidates: Sequence[Candidate],
    num_events: np.ndarray | None = None,
    pseudo_events: float = 0.0,
) -> tuple[Candidate, ...]:
    """For each class the candidate with which it gains most over the best common one.

    The gain of a class with n events counts n / (n + pseudo_events), the mean gain of all classes
    the rest. The common one's mean is the greatest, so no class is given what it scores less with.
    A class to which several are equally good, as to one that never happens, takes the common one
    if that is among them.

    Args:
      scores: [C, K] of `score_candidates`, or its mean over several trainings.
      candidates: the C candidates.
      num_events: [K], on which `scores` stand; needed with `pseudo_events`.
      pseudo_events: 0 lets each class's own gain decide alone.
    """
    common = int(scores.mean(axis=1).argmax())
    gains = scores - scores[common]
    if pseudo_events:
        if num_events is None:
            raise ValueError("pseudo_events needs num_events")
        share = num_events / (num_events + pseudo_events)
        gains = share * gains + (1 - share) * gains.mean(axis=1, keepdims=True)
    chosen = np.where(gains.max(axis=0) <= 0, common, gains.argmax(axis=0))
    return tuple(candidates[index] for index in chosen)


def count_events(truth: Truths, num_classes: int) -> np.ndarray:
    """Truths of each class [K]."""
    return np.bincount(truth.label, minlength=num_classes)
