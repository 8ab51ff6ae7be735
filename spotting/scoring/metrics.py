"""SoccerNet's average-mAP, and what else follows from matching spots with truths.

The definition is that of the SoccerNet package's evaluator (version 0.2.0); the scores are equal
to its scores. All frames here are evaluation frames, 2 per second whatever the features' rate, and
all tolerances are in seconds: a tolerance of 5 s accepts a spot up to 2.5 s, 5 frames, from its
truth. Times go up to two hours; what is later counts as at the end. Of several spots (or
truths) of one class in one frame of a half, the last in the arrays stands for all, and a spot whose
score is negative or NaN is none.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from spotting import timing
from spotting.data.annotations import Event, Prediction

LOOSE = tuple(range(5, 61, 5))
"""Tolerances of the (loose) average-mAP, in seconds."""

TIGHT = tuple(range(1, 6))
"""Tolerances of the tight average-mAP, in seconds."""

MEDIUM = tuple(range(1, 11))
"""Tolerances by which a displacement model is chosen (yahoo/spivak), in seconds."""

KINDS = ("all", "visible", "unshown")
"""Which actions a score is about: all, those that are shown, those that are not."""

THRESHOLDS = np.linspace(0, 1, 200)
"""The score thresholds at which precision and recall are taken."""

_RECALLS = np.arange(11) / 10
_LAST_FRAME = 120 * 60 * 2 - 1
_FRAME_BITS, _UNIT_BITS = 16, 24  # of a key: class, half, frame
_UNSHOWN_SCALE = 17 / 13


class Spots(NamedTuple):
    """Predicted actions, four arrays of one length."""

    unit: np.ndarray  # index of the half
    frame: np.ndarray  # evaluation frame
    label: np.ndarray  # index of the class
    score: np.ndarray  # confidence, 0 to 1


class Truths(NamedTuple):
    """Annotated actions, four arrays of one length."""

    unit: np.ndarray  # index of the half
    frame: np.ndarray  # evaluation frame
    label: np.ndarray  # index of the class
    visible: np.ndarray  # bool; False where the action is not shown


class AverageMap(NamedTuple):
    """Average-mAP, 0 to 1, and what it is the mean of: each class's average AP [K]."""

    map: float
    per_class: np.ndarray


class Counts(NamedTuple):
    """What precision and recall are made of; sums over games are the counts of all games.

    Attributes:
      hits: [..., D tolerances, K, 200], spots at or over a threshold that are right.
      predicted: [..., 1, K, 200], spots at or over a threshold.
      existing: [..., 1, K, 1], truths.
    """

    hits: np.ndarray
    predicted: np.ndarray
    existing: np.ndarray


class Matches(NamedTuple):
    """Pairs of a truth and its spot: indexes into the arrays given, in the order of the truths.

    `error` is spot minus truth in evaluation frames: positive where the spot is late.
    """

    truth: np.ndarray
    spot: np.ndarray
    error: np.ndarray


def spots_from_score_maps(score_maps: Iterable[np.ndarray], frame_rate: float) -> Spots:
    """Spots of the halves' score maps, each [N, K] at `frame_rate`; a score below 0 is none."""
    halves = []
    for unit, scores in enumerate(score_maps):
        frame, label = np.nonzero(scores >= 0)
        evaluated = timing.evaluation_frame(timing.position_ms(frame, frame_rate))
        halves.append((np.full(len(frame), unit), evaluated, label, scores[frame, label]))
    return Spots(*(np.concatenate(column) for column in zip(*halves, strict=True)))


def spots_from_predictions(halves: Iterable[Iterable[Prediction]], classes: Sequence[str]) -> Spots:
    """Spots of each half's predictions; those of other classes than `classes` are left out."""
    return Spots(*_place(halves, classes, operator.attrgetter("confidence"), float))


def truths_from_events(halves: Iterable[Iterable[Event]], classes: Sequence[str]) -> Truths:
    """Truths of each half's events, by `position`; other classes than `classes` are left out."""
    return Truths(*_place(halves, classes, operator.attrgetter("visible"), bool))


def average_map(
    truths: Truths, spots: Spots, num_classes: int, tolerances: Sequence[float]
) -> dict[str, AverageMap]:
    """Average-mAP over `tolerances` in seconds, for each of `KINDS`.

    A class's average AP is the area under its AP over the (equally spaced) tolerances, by the
    trapezoidal rule, divided by their range; the average-mAP is the mean over all classes, a class
    without truths counting 0. With more than one tolerance the mean of the unshown (but not its
    classes) is multiplied by 17/13, because 13 of SoccerNet's 17 classes have unshown actions; the
    official evaluator does so for any list of classes, and so does this.
    """
    curve = average_precision(truths, spots, num_classes, tolerances)
    scale = np.ones(len(KINDS))
    if len(tolerances) > 1:
        curve = (curve[:, :-1] + curve[:, 1:]) / 2
        scale[KINDS.index("unshown")] = _UNSHOWN_SCALE
    per_class = curve.mean(axis=1)
    maps = per_class.mean(axis=1) * scale
    return {kind: AverageMap(float(maps[i]), per_class[i]) for i, kind in enumerate(KINDS)}


def average_precision(
    truths: Truths, spots: Spots, num_classes: int, tolerances: Sequence[float]
) -> np.ndarray:
    """Average precision [3 kinds, D tolerances, K classes], 0 to 1.

    It is the 11-point interpolated one: the mean over the recalls 0, 0.1, ... 1 of the greatest
    precision at that recall or more, among the points of the 200 `THRESHOLDS`.
    """
    return interpolate_precision(count(truths, spots, num_classes, tolerances))


def interpolate_precision(counts: Counts) -> np.ndarray:
    """The average precision [..., D, K] of counts; see `average_precision`."""
    precision, recall = _find_curves(counts)
    best = [np.where(recall >= level, precision, 0).max(axis=-1) for level in _RECALLS]
    return np.sum(best, axis=0) / len(_RECALLS)


def map_by_tolerance(
    truths: Truths, spots: Spots, num_classes: int, tolerances: Sequence[float] = range(1, 21)
) -> np.ndarray:
    """mAP [D] of all actions at each tolerance in seconds (the paper's Fig. 2)."""
    return average_precision(truths, spots, num_classes, tolerances)[0].mean(axis=-1)


def precision_recall(
    truths: Truths, spots: Spots, num_classes: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall [K, 200] of all actions at each of `THRESHOLDS`; 0 where undefined."""
    precision, recall = _find_curves(count(truths, spots, num_classes, [tolerance]))
    return precision[0, 0], recall[0, 0]


def match(truths: Truths, spots: Spots, tolerance: float) -> Matches:
    """Which spot each truth gets at a tolerance in seconds, by the evaluator's rule.

    Truths choose in the order of time; each takes the spot of the highest score that is in reach
    and still free, of equal ones the earliest.
    """
    truth_key, truth_index = _merge(truths)
    spot_key, spot_index = _merge_spots(spots)
    chosen = _choose(truth_key, spot_key, spots.score[spot_index], [tolerance])[0]
    found = np.flatnonzero(chosen >= 0)
    found = found[np.argsort(truth_index[found])]
    spot = chosen[found]
    return Matches(truth_index[found], spot_index[spot], spot_key[spot] - truth_key[found])


def best_f1_thresholds(
    truths: Truths, spots: Spots, num_classes: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Per class, the score from which on accepting spots gives the best F1, and that F1: [K] each.

    The thresholds are scores that occur, the highest of equally good ones. A class whose F1 is 0
    at any threshold gets 1: nothing says that it can be spotted.
    """
    index = _merge_spots(spots)[1]
    score, label = spots.score[index], spots.label[index]
    hit = match(truths, spots, tolerance).spot
    num_truths = np.bincount(truths.label[_merge(truths)[1]], minlength=num_classes)
    thresholds, best = np.ones(num_classes), np.zeros(num_classes)
    for k in range(num_classes):
        levels = np.unique(score[label == k])[::-1]  # the highest first, for argmax takes the first
        accepted = _count_from(levels, score[label == k])
        correct = _count_from(levels, spots.score[hit][spots.label[hit] == k])
        f1 = 2 * correct / (accepted + num_truths[k])
        if f1.any():
            thresholds[k], best[k] = levels[f1.argmax()], f1.max()
    return thresholds, best


def _count_from(levels: np.ndarray, score: np.ndarray) -> np.ndarray:
    """How many scores are at or over each level."""
    return len(score) - np.searchsorted(np.sort(score), levels)


def _place(
    halves: Iterable[Iterable[Event | Prediction]],
    classes: Sequence[str],
    value: Callable[[Event | Prediction], float | bool],
    dtype: type,
) -> tuple[np.ndarray, ...]:
    """Columns unit, frame, label and value of the actions that are of one of the classes."""
    index = {name: k for k, name in enumerate(classes)}
    rows = [
        (unit, action.position, index[action.label], value(action))
        for unit, actions in enumerate(halves)
        for action in actions
        if action.label in index
    ]
    unit, seconds, label, values = zip(*rows, strict=True) if rows else ((), (), (), ())
    milliseconds = np.rint(1000 * np.array(seconds, float))
    frame = timing.evaluation_frame(milliseconds)
    return np.array(unit, int), frame, np.array(label, int), np.array(values, dtype)


def count(truths: Truths, spots: Spots, num_classes: int, tolerances: Sequence[float]) -> Counts:
    """Right spots, spots and truths, of each of `KINDS` (the leading axis)."""
    truth_key, truth_index = _merge(truths)
    spot_key, spot_index = _merge_spots(spots)
    visible, label = truths.visible[truth_index].astype(bool), truths.label[truth_index]
    score, spot_label = spots.score[spot_index], spots.label[spot_index]

    chosen = _choose(truth_key, spot_key, score, tolerances)
    tolerance, truth = np.nonzero(chosen >= 0)
    hit = chosen[tolerance, truth]
    spot_visible = _near_visible(truth_key, visible, spot_key)

    passed = np.searchsorted(THRESHOLDS, score, side="right") - 1  # the highest threshold passed
    bins = (len(tolerances), num_classes, len(THRESHOLDS))
    cells = (tolerance * num_classes + spot_label[hit]) * len(THRESHOLDS) + passed[hit]
    hits = _by_kind(cells, spot_visible[hit], bins)
    cells = spot_label * len(THRESHOLDS) + passed
    predicted = _by_kind(cells, spot_visible, (1, *bins[1:]))
    existing = _by_kind(label, visible, (1, num_classes, 1))
    # Scores at or over a threshold: the counts from its bin on.
    hits, predicted = (np.cumsum(a[..., ::-1], axis=-1)[..., ::-1] for a in (hits, predicted))
    return Counts(hits, predicted, existing)


def _find_curves(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall [..., D, K, 200]; 0 where undefined."""
    hits, predicted, existing = counts
    return hits / np.maximum(predicted, 1), hits / np.maximum(existing, 1)


def _by_kind(cells: np.ndarray, visible: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How often each flat index of `shape` occurs: of all, of the visible, of the others."""
    size = int(np.prod(shape))
    everything = np.bincount(cells, minlength=size)
    shown = np.bincount(cells[visible], minlength=size)
    return np.stack([everything, shown, everything - shown]).reshape(3, *shape)


def _merge(table: Spots | Truths) -> tuple[np.ndarray, np.ndarray]:
    """Sorted keys, one for each (class, half, frame) that occurs, and the index of its last row.

    Neighbouring frames of a half and class have neighbouring keys; between two halves, or two
    classes, there is a gap wider than any tolerance.
    """
    unit, frame, label = (np.asarray(column, np.int64) for column in table[:3])
    group = (label << _UNIT_BITS) + unit
    key = (group << _FRAME_BITS) + np.clip(frame, 0, _LAST_FRAME)
    unique, from_end = np.unique(key[::-1], return_index=True)
    return unique, len(key) - 1 - from_end


def _merge_spots(spots: Spots) -> tuple[np.ndarray, np.ndarray]:
    key, index = _merge(spots)
    real = spots.score[index] >= 0
    return key[real], index[real]


def _near_visible(truth_key: np.ndarray, visible: np.ndarray, spot_key: np.ndarray) -> np.ndarray:
    """Whether the nearest truth of each spot's half and class is a visible one.

    Midway, rounded down, belongs to the later truth. Where there is no truth, it counts as unshown.
    """
    group = truth_key >> _FRAME_BITS
    is_first = np.diff(group, prepend=-1) != 0
    midway = (truth_key + np.roll(truth_key, 1)) // 2
    begin = np.where(is_first, group << _FRAME_BITS, midway)
    nearest = np.searchsorted(begin, spot_key, side="right") - 1
    # Index -1, before all truths, finds the end that is appended here, which is no truth.
    group, visible = np.append(group, -1), np.append(visible, False)
    return visible[nearest] & (group[nearest] == spot_key >> _FRAME_BITS)


def _choose(
    truth_key: np.ndarray, spot_key: np.ndarray, score: np.ndarray, tolerances: Sequence[float]
) -> np.ndarray:
    """The spot that each truth takes at each tolerance [D, truths], or -1.

    Halves and classes do not compete for spots, nor do tolerances: the first truth of every half
    and class chooses in one step, then the second of each, and so on.
    """
    reach = np.array([timing.tolerance_frames(tolerance) for tolerance in tolerances])[:, None]
    begin = np.searchsorted(spot_key, truth_key - reach.max(), side="left")
    end = np.searchsorted(spot_key, truth_key + reach.max(), side="right")
    by_score = np.append(np.argsort(-score, kind="stable"), -1)  # the last one is no spot
    none = len(score)
    rank = np.argsort(by_score[:-1])

    choosing = np.flatnonzero(end > begin)
    group = truth_key[choosing] >> _FRAME_BITS
    turn = np.arange(len(group)) - np.searchsorted(group, group)
    turns = np.split(choosing[np.argsort(turn, kind="stable")], np.cumsum(np.bincount(turn))[:-1])

    chosen = np.full((len(reach), len(truth_key)), -1)
    free = np.ones((len(reach), len(score) + 1), bool)
    for truth in turns if len(choosing) else ():
        count = end[truth] - begin[truth]
        start = np.cumsum(count) - count
        spot = np.arange(count.sum()) + np.repeat(begin[truth] - start, count)
        distance = np.abs(spot_key[spot] - np.repeat(truth_key[truth], count))
        candidate = np.where(free[:, spot] & (distance <= reach), rank[spot], none)
        best = by_score[np.minimum.reduceat(candidate, start, axis=1)]
        chosen[:, truth] = best
        np.put_along_axis(free, best, False, axis=1)
    return chosen
