"""Spots while features are still coming in, in bounded memory, with a delay that can be chosen.

A frame's outputs are known for good once the chunk that decides it offline is full and cannot be
the last of the half: T - border frames later. A score is known for good once all frames that may
vote for it are; a spot, once no later score can suppress it. `LiveSpotter` follows these
rules: its spots are then the offline ones, however the features come in.

With a shorter `delay` it runs a chunk that ends with the newest frame every `step` frames, takes
the outputs that it gives for what is not decided yet, suppresses as if the half ended there, and
decides what would be older than the delay at the next step. What it has decided stays decided.

Where votes are counted at a rate of their own (`Votes.rate`), scores and spots have its frames, of
which `LiveSettings.finer` come for each frame of the features.

Only scores that wait for a greater one are kept, next to T frames of features. In a chain of ever
greater scores within the suppression's reach of each other, each waits for the next: such a climb
ends soon, since what waits must be followed by something greater within the reach.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from spotting import timing
from spotting.anchors import VOTE_REACH, decode_sum
from spotting.data.transforms import count_resampled_frames, interpolate
from spotting.inference.nms import NO_SPOT, soft_factors
from spotting.inference.postprocessing import Suppression

_add_votes = jax.jit(decode_sum, static_argnames=("max_shift", "spread", "full"))

ChunkModel = Callable[[np.ndarray], np.ndarray]
"""Features [T, P] of a chunk to its outputs [T, K], as `chunks.spot_segments` gives them."""


class LiveSpot(NamedTuple):
    """A spot: frame at `LiveSettings.vote_rate`, class, and confidence."""

    frame: int
    label: int
    confidence: float


@dataclasses.dataclass(frozen=True)
class LiveSettings:
    """What spots follow from, next to the networks.

    Attributes:
      chunk_frames: T.
      border: frames, of `timing.border_frames`.
      frame_rate: f.
      displacement_unit: frames that an output of 1, the greatest, displaces by.
      suppression: which NMS.
      floor: [K], least confidence of a spot of each class.
      delay: frames that a spot waits at most; None for as long as the offline result takes.
      step: frames between two runs of the networks.
    """

    chunk_frames: int
    border: int
    frame_rate: float
    displacement_unit: float
    suppression: Suppression
    floor: np.ndarray
    delay: int | None = None
    step: int = 4

    @property
    def vote_rate(self) -> float:
        """Frames per second of scores and spots."""
        return self.suppression.votes.output_rate(self.frame_rate)

    @property
    def finer(self) -> float:
        """Frames of scores for each frame of features."""
        return self.vote_rate / self.frame_rate

    @property
    def furthest(self) -> float:
        """Frames of scores by which an output of 1, the greatest, displaces."""
        return self.finer * self.displacement_unit

    @property
    def reach(self) -> int:
        """Scores within which one may have a say in what becomes of another."""
        return max(_Window(self.suppression, *w, self.vote_rate).look for w in self.windows)

    @property
    def vote_reach(self) -> int:
        """Scores within which an anchor votes."""
        spread, _ = self.suppression.votes.in_frames(self.vote_rate)
        if spread:
            return math.ceil(self.furthest) + math.floor(VOTE_REACH * spread)
        return math.floor(self.furthest + 0.5)

    @property
    def windows(self) -> tuple[tuple[float, str], ...]:
        """The suppression's window of each class, in seconds, and its decay."""
        return tuple(self.suppression.of_class(label) for label in range(len(self.floor)))

    @property
    def exact_delay(self) -> int:
        """Frames after which a spot is the offline one, but for chains (see the module)."""
        waits = math.ceil((self.vote_reach + self.reach) / self.finer)
        # What lies between two frames waits for the later one.
        waits += self.finer > 1
        return self.chunk_frames - self.border + waits + self.step

    @property
    def is_exact(self) -> bool:
        """Whether spots wait until they are the offline ones."""
        return self.delay is None or self.delay >= self.exact_delay


class _Window:
    """The reach of a suppression, in frames."""

    def __init__(self, suppression: Suppression, window: float, decay: str, frame_rate: float):
        self.soft = suppression.kind == "soft"
        self.least = suppression.threshold if self.soft else 0.0
        self._factors = soft_factors(timing.soft_nms_radius(window, frame_rate), decay)
        if suppression.kind == "half_open":
            self.before, self.after = timing.half_open_reach(window, frame_rate)
        elif self.soft:
            self.before = self.after = len(self._factors) - 1
        else:
            self.before = self.after = timing.hard_nms_radius(window, frame_rate)
        # As in `nms`: of two scores that act on one frame, the greater is taken a round earlier.
        self.look = 2 * self.before if self.soft else max(self.before, self.after)

    def factors(self, distance: np.ndarray) -> np.ndarray:
        """What scores that distance (frames, later positive) from a spot are multiplied by."""
        if not self.soft:
            return ((distance < -self.before) | (distance > self.after)).astype(np.float32)
        return np.append(self._factors, 1.0)[np.minimum(np.abs(distance), self.before + 1)].astype(
            np.float32
        )


def settle(
    scores: np.ndarray, settings: LiveSettings, is_open: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Suppresses as far as scores that are still unknown have no say in it.

    Args:
      scores: float32 [M, K]; NO_SPOT where nothing can be kept.
      settings: see there.
      is_open: whether unknown scores follow; otherwise this is what `nms` does.

    Returns:
      [M, K] the scores that are kept, NO_SPOT elsewhere; and what remains of those on which
      nothing can be said yet.
    """
    kept, remaining = np.full_like(scores, NO_SPOT), scores.copy()
    for window in sorted(set(settings.windows)):
        columns = [label for label, each in enumerate(settings.windows) if each == window]
        reach = _Window(settings.suppression, *window, settings.vote_rate)
        part, taken = remaining[:, columns], kept[:, columns]
        while True:
            peak = _find_peaks(part, reach.look, is_open) & (part >= reach.least)
            if not peak.any():
                break
            taken[peak] = part[peak]
            for frame, column in zip(*np.nonzero(peak), strict=True):
                _act(part[:, column], frame, reach)
            part[peak] = NO_SPOT
        part[part < reach.least] = NO_SPOT
        remaining[:, columns], kept[:, columns] = part, taken
    return kept, remaining


def _find_peaks(scores: np.ndarray, look: int, is_open: bool) -> np.ndarray:
    """Scores above all within `look` frames before them and not below any within it after."""
    if look == 0 or not len(scores):
        return np.ones_like(scores, bool)
    ends = np.full((2, look, scores.shape[1]), -np.inf, np.float32)
    if is_open:
        ends[1] = np.inf
    padded = np.concatenate([ends[0], scores, ends[1]])
    greatest = np.lib.stride_tricks.sliding_window_view(padded, look, axis=0).max(-1)
    count = len(scores)
    return (scores > greatest[:count]) & (scores >= greatest[look + 1 : look + 1 + count])


def _act(scores: np.ndarray, frame: int, window: _Window) -> None:
    """What a spot does to the scores [M] of its class; `frame` may lie before them."""
    low, high = max(0, frame - window.before), max(0, frame + window.after + 1)
    near = scores[low:high]
    factors = window.factors(np.arange(low, low + len(near)) - frame)
    scores[low:high] = np.where((near >= 0) & (factors > 0), near * factors, NO_SPOT)


def displace(
    confidence: np.ndarray, displacement: np.ndarray | None, last: int | None
) -> np.ndarray:
    """`anchors.decode` on the host: each frame votes where it is displaced to, the greatest wins.

    Args:
      confidence: [M, K].
      displacement: [M, K], in frames; None leaves confidences where they are.
      last: the last frame there is, to which votes are clipped; None if there will be more.

    Returns:
      float32 [M, K].
    """
    if displacement is None:
        return confidence.copy()
    count = len(confidence)
    target = np.arange(count)[:, None] + np.rint(displacement).astype(np.int64)
    if last is not None:
        target = np.minimum(target, last)
    inside = (target >= 0) & (target < count)
    columns = np.broadcast_to(np.arange(confidence.shape[1]), target.shape)
    scores = np.zeros_like(confidence)
    np.maximum.at(scores, (target[inside], columns[inside]), confidence[inside])
    return scores


def add_votes(
    confidence: np.ndarray,
    displacement: np.ndarray | None,
    last: int | None,
    max_shift: int,
    spread: float,
    full: float,
) -> np.ndarray:
    """`anchors.decode_sum` of the frames that are known.

    Args:
      confidence: [M, K].
      displacement: [M, K], in frames; None leaves votes around their anchors.
      last: as for `displace`.
      max_shift: greatest possible |displacement|, rounded up.
      spread: as for `decode_sum`.
      full: as for `decode_sum`.

    Returns:
      float32 [M, K].
    """
    count, classes = confidence.shape
    # Of a power of two, so that few programs are compiled; and room for votes beyond.
    room = np.zeros((2, classes, 1 << (count + max_shift).bit_length()), np.float32)
    room[0, :, :count] = confidence.T
    if displacement is not None:
        room[1, :, :count] = displacement.T
    length = room.shape[-1] if last is None else last + 1
    return np.asarray(_add_votes(*room, length, max_shift, spread, full))[:, :count].T


class LiveSpotter:
    """Takes features as they come and gives spots; see the module.

    Args:
      settings: see there.
      confidence: model of confidences in [0, 1].
      displacement: model of displacements in units of the radius, or None.
    """

    def __init__(
        self, settings: LiveSettings, confidence: ChunkModel, displacement: ChunkModel | None
    ):
        self._settings = settings
        self._models = (confidence, displacement)
        self._vote_reach = settings.vote_reach
        self._features: list[np.ndarray] = []  # frames from `_first` on
        self._first = self._count = 0
        classes = len(settings.floor)
        # Outputs of frames from `_outputs_start` on, and up to which frame they are known.
        self._outputs = [np.zeros((0, classes), np.float32) for _ in self._models]
        self._outputs_start = 0
        # Scores from `_start` on that wait; `_scored` is the frame after the last of them. Both
        # are frames at the votes' rate.
        self._waiting = np.zeros((0, classes), np.float32)
        self._start = self._scored = 0
        self._spots: list[LiveSpot] = []  # those that act on what is to come
        self._finished = False

    @property
    def num_frames(self) -> int:
        """Frames that have come in."""
        return self._count

    @property
    def spot_rate(self) -> float:
        """Frames per second that spots are given in."""
        return self._settings.vote_rate

    @property
    def num_kept(self) -> int:
        """Frames of which something is kept: features, outputs or scores."""
        scores_start = math.floor(self._start / self._settings.finer)
        return self._count - min(self._first, self._outputs_start, scores_start)

    def push(self, features: np.ndarray) -> list[LiveSpot]:
        """Takes frames [n, P]; returns the spots that are now certain, by frame, then class."""
        if self._finished:
            raise ValueError("frames were pushed after finish")
        found: list[LiveSpot] = []
        for row in features:
            self._features.append(np.array(row))  # no view of all that came with it
            self._count += 1
            # At the same frames, however they come in.
            if self._count % self._settings.step == 0:
                found += self._advance(ended=False)
        return sorted(found)

    def finish(self) -> list[LiveSpot]:
        """Ends the half; returns the spots that are left."""
        if self._finished or not self._count:
            self._finished = True
            return []
        self._finished = True
        return sorted(self._advance(ended=True))

    def _advance(self, ended: bool) -> list[LiveSpot]:
        spots = self._advance_exact(ended) if self._settings.is_exact else self._advance_fast(ended)
        self._trim()
        return spots

    def _advance_exact(self, ended: bool) -> list[LiveSpot]:
        """Decides what no later frame can change."""
        length, border = self._settings.chunk_frames, self._settings.border
        known = self._outputs_start + len(self._outputs[0])
        # The chunks of `chunks.stitching` that are full, and decide frames not known yet.
        stride = length - 2 * border
        while True:
            start = 0 if known == 0 else known - border
            if self._count - start < length or (ended and start >= self._count - length):
                break
            assert start % stride == 0
            self._decide(start, known, start + length - border)
            known = start + length - border
        if ended:
            start = max(0, self._count - length)
            self._decide(start, start + border if start else 0, self._count)
            certain = self._count
        else:
            # A half that ended now would have its last chunk decide all from here on.
            certain = min(known, max(0, self._count - length + border))
        total = self._count_scores(certain, ended)
        scored = total if ended else max(self._scored, total - self._vote_reach)
        scores = self._score(self._scored, scored, certain, total, ended)
        scores = np.where(scores >= self._settings.floor, scores, np.float32(NO_SPOT))
        waiting = np.concatenate([self._waiting, scores])
        kept, self._waiting = settle(waiting, self._settings, is_open=not ended)
        self._scored = scored
        return self._list(kept, len(kept))

    def _advance_fast(self, ended: bool) -> list[LiveSpot]:
        """Decides what the delay leaves no more time for."""
        settings = self._settings
        length, border = settings.chunk_frames, settings.border
        start = max(0, self._count - length)
        known = self._outputs_start + len(self._outputs[0])
        # Frames near a chunk's start miss what came before; they were seen by earlier chunks.
        self._decide(start, min(known, start + border) if start else 0, self._count)
        total = math.ceil(self._count * settings.finer)
        if ended:
            # Rounded, and a score between the last frames may have been decided before.
            total = max(self._start, self._count_scores(self._count, ended))
        scores = self._score(self._start, total, self._count, total, ended)
        scores = np.where(scores >= settings.floor, scores, np.float32(NO_SPOT))
        for spot in self._spots:
            window = _Window(
                settings.suppression, *settings.windows[spot.label], settings.vote_rate
            )
            _act(scores[:, spot.label], spot.frame - self._start, window)
        kept, _ = settle(scores, settings, is_open=False)
        delay = settings.delay or 0
        due = total
        if not ended:
            late = math.ceil((self._count + settings.step - delay) * settings.finer)
            due = min(total, max(self._start, late))
        found = self._list(kept, due - self._start)
        self._start = self._scored = due
        self._waiting = kept[:0]
        limit = due - settings.reach
        self._spots = [spot for spot in [*self._spots, *found] if spot.frame >= limit]
        return found

    def _decide(self, start: int, low: int, high: int) -> None:
        """Runs the models on the chunk from `start`; keeps the outputs of frames low to high."""
        length = self._settings.chunk_frames
        chunk = np.stack(self._features[start - self._first : start - self._first + length])
        if len(chunk) < length:
            chunk = np.pad(chunk, ((0, length - len(chunk)), (0, 0)))
        for i, model in enumerate(self._models):
            if model is not None:
                outputs = np.asarray(model(chunk))[
                    max(low, self._outputs_start) - start : high - start
                ]
                before = self._outputs[i][: max(0, low - self._outputs_start)]
                self._outputs[i] = np.concatenate([before, outputs])

    def _count_scores(self, certain: int, ended: bool) -> int:
        """How many scores the outputs of frames before `certain` give anchors for."""
        settings = self._settings
        if ended:
            return count_resampled_frames(certain, settings.frame_rate, settings.vote_rate)
        return math.floor((certain - 1) * settings.finer) + 1 if certain else 0

    def _score(self, low: int, high: int, certain: int, total: int, ended: bool) -> np.ndarray:
        """Scores low to high, of the `total` anchors that frames before `certain` give."""
        settings, start = self._settings, self._outputs_start
        first, count = math.ceil(start * settings.finer), certain - start
        position = np.arange(first, total) * (settings.frame_rate / settings.vote_rate) - start
        confidence = interpolate(self._outputs[0][:count], position)
        displacement = None
        if self._models[1] is not None:
            frames = settings.displacement_unit * self._outputs[1][:count]
            displacement = settings.finer * interpolate(frames, position)
            if first == 0:
                displacement = np.maximum(displacement, -np.arange(total)[:, None])
        last = total - first - 1 if ended else None
        spread, full = settings.suppression.votes.in_frames(settings.vote_rate)
        if spread:
            furthest = math.ceil(settings.furthest)
            scores = add_votes(confidence, displacement, last, furthest, spread, full)
        else:
            scores = displace(confidence, displacement, last)
        return scores[low - first : high - first]

    def _list(self, kept: np.ndarray, count: int) -> list[LiveSpot]:
        # Soft suppression may have taken a score below its floor.
        found = (kept >= 0) & (kept >= self._settings.floor)
        frames, labels = np.nonzero(found[:count])
        values = kept[frames, labels].tolist()
        frames = frames + self._start
        return [
            LiveSpot(*spot) for spot in zip(frames.tolist(), labels.tolist(), values, strict=True)
        ]

    def _trim(self) -> None:
        """Drops what has no say any more."""
        waits = np.flatnonzero((self._waiting >= 0).any(axis=1))
        drop = int(waits[0]) if len(waits) else len(self._waiting)
        self._waiting = self._waiting[drop:]
        self._start += drop
        # One frame more: rounding may place a score before the frame on which it lies.
        needed = math.floor((self._scored - self._vote_reach) / self._settings.finer) - 1
        low = max(self._outputs_start, needed)
        self._outputs = [one[low - self._outputs_start :] for one in self._outputs]
        self._outputs_start = low
        keep = max(self._first, self._count - self._settings.chunk_frames)
        del self._features[: keep - self._first]
        self._first = keep
