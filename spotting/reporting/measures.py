"""What the report measures itself, from a run's spots and the truth: what its plots show.

Everything is of the test split and follows SoccerNet's matching (scoring.metrics): evaluation
frames, a tolerance of d seconds accepting d/2 on either side.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.data.annotations import Event, Prediction
from spotting.scoring import metrics

TOLERANCES = tuple(range(1, 21))
"""Of Figure 2, in seconds."""

HIT_TOLERANCE = 5
"""In seconds; what counts as a hit in the precision-recall curves and in calibration: the one
tolerance that tight and loose average-mAP share."""

ERROR_REACH = 10.0
"""Temporal errors up to this many seconds are looked at: the reach of Figure 2's last tolerance."""

BINS = 10


class Calibration(NamedTuple):
    """Sums over the spots in each tenth of confidence, [BINS] each."""

    confidence: np.ndarray
    hits: np.ndarray
    spots: np.ndarray


class Measures(NamedTuple):
    """Of one training with one kind of post-processing; K classes."""

    map_by_tolerance: np.ndarray  # [20], percent
    precision: np.ndarray  # [K, thresholds]
    recall: np.ndarray  # [K, thresholds]
    calibration: Calibration
    errors: np.ndarray  # seconds, spot minus truth, of the matched spots
    looked_for: int  # truths that those spots were matched with


def measure(
    events: Sequence[Sequence[Event]],
    predictions: Sequence[Sequence[Prediction]],
    classes: Sequence[str],
) -> Measures:
    """Compares the predictions of every half with its events.

    Temporal errors are those of the most confident spots: of each class as many as it has truths,
    so that methods are compared at one working point whatever their confidences mean.
    """
    events = [[e for e in half if e.label in classes] for half in events]
    predictions = [[p for p in half if p.label in classes] for half in predictions]
    truths = metrics.truths_from_events(events, classes)
    spots = metrics.spots_from_predictions(predictions, classes)
    truth_seconds = np.array([e.position for half in events for e in half])
    spot_seconds = np.array([p.position for half in predictions for p in half])

    precision, recall = metrics.precision_recall(truths, spots, len(classes), HIT_TOLERANCE)
    curve = metrics.map_by_tolerance(truths, spots, len(classes), TOLERANCES)

    chosen = _most_confident(spots, np.bincount(truths.label, minlength=len(classes)))
    best = metrics.Spots(*(column[chosen] for column in spots))
    matches = metrics.match(truths, best, 2 * ERROR_REACH)
    errors = spot_seconds[chosen][matches.spot] - truth_seconds[matches.truth]
    return Measures(
        100 * curve, precision, recall, _calibration(truths, spots), errors, len(truths.label)
    )


def _most_confident(spots: metrics.Spots, wanted: np.ndarray) -> np.ndarray:
    """Indexes of the `wanted[k]` spots of class k with the highest scores."""
    order = np.argsort(-spots.score, kind="stable")
    return np.concatenate([order[spots.label[order] == k][:n] for k, n in enumerate(wanted)])


def _calibration(truths: metrics.Truths, spots: metrics.Spots) -> Calibration:
    hit = np.zeros(len(spots.score))
    hit[metrics.match(truths, spots, HIT_TOLERANCE).spot] = 1
    tenth = np.minimum((BINS * spots.score).astype(int), BINS - 1)
    return Calibration(
        *(np.bincount(tenth, weights, BINS) for weights in (spots.score, hit, np.ones_like(hit)))
    )
