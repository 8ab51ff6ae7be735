"""From predictions to spots: votes, then non-maximum suppression, half by half.

Lengths and displacements are padded to powers of two, so that few programs are compiled: one for
all halves of 34 to 68 minutes at 2 frames per second. Halves are worked on one at a time: one fits
in a CPU's cache, all together are bound by memory.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from spotting import timing
from spotting.anchors import count_votes, decode, decode_sum
from spotting.base.errors import InputError
from spotting.data.transforms import resample
from spotting.inference.nms import DECAYS, NO_SPOT, hard_nms, soft_nms
from spotting.notation import Array

MOST_SPREAD = 60.0
"""Seconds by which votes may be spread: a program has a step for each frame that a vote reaches."""

_LEAST_LENGTH = 1024
_LEAST_SHIFT = 16  # frames; the paper's displacement radius is 12


@dataclasses.dataclass(frozen=True)
class Votes:
    """What becomes of the anchors' votes.

    Attributes:
      spread: standard deviation of a vote that is added to others, in seconds; 0 keeps a frame's
        greatest vote, as the paper does.
      radius: of the confidence targets, in seconds, and `shape` theirs: what an event gets from
        perfect models follows from them.
      rate: frames per second at which votes are counted, to which predictions are interpolated; 0
        for that of the predictions.
    """

    spread: float = 0.0
    radius: float = 3.0
    shape: str = "box"
    rate: float = 0.0

    def __post_init__(self):
        if not 0 <= self.spread <= MOST_SPREAD:
            raise InputError(
                f"the votes' spread is {self.spread:g} s; it must be between 0 and {MOST_SPREAD:g}"
            )

    def output_rate(self, frame_rate: float) -> float:
        """Frames per second of the scores of predictions at `frame_rate`.

        Raises:
          InputError: they would have fewer frames.
        """
        if 0 < self.rate < frame_rate:
            raise InputError(
                f"postprocessing.vote_rate is {self.rate:g}, less than the {frame_rate:g} frames "
                "per second of the features; it is 0 or more than them"
            )
        return self.rate or frame_rate

    def in_frames(self, frame_rate: float) -> tuple[float, float]:
        """Spread in frames, and what the frame of an event gets from perfect models."""
        if not self.spread:
            return 0.0, 1.0
        radius = timing.frames(self.radius, frame_rate)
        return timing.frames(self.spread, frame_rate), count_votes(radius, self.shape)


GREATEST_VOTE = Votes()


@dataclasses.dataclass(frozen=True)
class Suppression:
    """How votes are counted, and which suppression follows, and how wide.

    Attributes:
      kind: "hard", "half_open" (hard as NetVLAD++ and CALF have it) or "soft".
      windows: seconds, one for all classes or one for each: the full width of what hard NMS
        removes around a spot, the radius of what soft NMS decays.
      threshold: least score that soft NMS keeps.
      decays: of soft NMS, of `nms.DECAYS`, one for all classes or one for each.
      votes: what becomes of votes before.
    """

    kind: str = "hard"
    windows: tuple[float, ...] = (20.0,)
    threshold: float = 1e-5
    decays: tuple[str, ...] = ("linear",)
    votes: Votes = GREATEST_VOTE

    def __post_init__(self):
        if self.kind not in ("hard", "half_open", "soft"):
            raise InputError(
                f"postprocessing.nms is {self.kind!r}; it is 'hard', 'half_open' or 'soft'"
            )
        if not self.windows or min(self.windows) <= 0:
            raise InputError(f"an NMS window is {min(self.windows, default=0)} s; it must be > 0")
        if not self.decays or not set(self.decays) <= set(DECAYS):
            raise InputError(
                f"postprocessing.decay is {', '.join(self.decays)}; each is one of "
                f"{', '.join(DECAYS)}"
            )

    def of_class(self, label: int) -> tuple[float, str]:
        """Window and decay of a class, by its index."""
        return self.windows[label % len(self.windows)], self.decays[label % len(self.decays)]


def score_map(
    confidence: np.ndarray,
    displacement: np.ndarray | None,
    frame_rate: float,
    suppression: Suppression,
    furthest: float | None = None,
) -> np.ndarray:
    """The score map of one half.

    Args:
      confidence: [N, K], in [0, 1].
      displacement: [N, K], in frames; None leaves confidences where they are ("w/o D").
      frame_rate: f.
      suppression: which NMS.
      furthest: greatest possible |displacement|, in frames: a small one has a faster program, which
        all halves share. Without it each half's own greatest counts.

    Returns:
      float32 [N', K], the score of each spot, -1 elsewhere; N' frames at `Votes.output_rate`, N
      unless votes have a rate of their own.
    """
    rate = suppression.votes.output_rate(frame_rate)
    confidence = resample(confidence, frame_rate, rate)
    if displacement is not None:
        displacement = (rate / frame_rate) * resample(displacement, frame_rate, rate)
    num_frames, num_classes = confidence.shape
    for name, values in (("window", suppression.windows), ("decay", suppression.decays)):
        if len(values) not in (1, num_classes):
            raise InputError(
                f"postprocessing.{name} has {len(values)} values for {num_classes} classes"
            )
    padded = _power_of_two(num_frames, _LEAST_LENGTH)
    max_shift = 0
    if displacement is not None:
        if furthest is None:
            max_shift = _power_of_two(math.ceil(np.abs(displacement).max()), _LEAST_SHIFT)
        else:
            max_shift = _power_of_two(math.ceil(furthest * rate / frame_rate), 1)

    def pad(values: np.ndarray | None) -> np.ndarray:
        out = np.zeros((num_classes, padded), np.float32)
        if values is not None:
            out[:, :num_frames] = values.T
        return out

    spread, full = suppression.votes.in_frames(rate)
    scores = vote(pad(confidence), pad(displacement), num_frames, max_shift, spread, full)
    scores = suppress(scores, rate, suppression)
    return np.asarray(scores)[:, :num_frames].T


def _power_of_two(value: int, least: int) -> int:
    """The least power of two from `least` on that is not under `value`."""
    return max(least, 1 << (value - 1).bit_length())


@functools.partial(jax.jit, static_argnames=("max_shift", "spread", "full"))
def vote(
    confidence: Array, displacement: Array, length: int, max_shift: int, spread: float, full: float
) -> Array:
    """Scores of every frame, -1 beyond the half; with a spread of 0 by the greatest vote.

    Args:
      confidence: [K, N].
      displacement: [K, N], in frames.
      length: frames of the half.
      max_shift: greatest possible |displacement|, rounded up; 0 where nothing is displaced.
      spread: of `Votes.in_frames`, as `full` is.
      full: what the frame of an event gets from perfect models.
    """
    if spread:
        scores = decode_sum(confidence, displacement, length, max_shift, spread, full)
    else:
        # Nothing moves where nothing can, and a frame that holds no spot stays one.
        scores = decode(confidence, displacement, length, max_shift) if max_shift else confidence
    return jnp.where(jnp.arange(scores.shape[-1]) < length, scores, NO_SPOT)


def suppress(scores: Array, frame_rate: float, suppression: Suppression) -> Array:
    """Suppresses scores [K, N]; -1 where nothing is kept."""

    def one(rows: Array, window: float, decay: str) -> Array:
        if suppression.kind == "hard":
            return hard_nms(rows, timing.hard_nms_radius(window, frame_rate))
        if suppression.kind == "half_open":
            return hard_nms(rows, *timing.half_open_reach(window, frame_rate))
        radius = timing.soft_nms_radius(window, frame_rate)
        return soft_nms(rows, radius, suppression.threshold, decay)

    settings = [suppression.of_class(k) for k in range(len(scores))]
    if len(set(settings)) == 1:
        return one(scores, *settings[0])
    rows: Sequence[Array] = [one(scores[k : k + 1], *each) for k, each in enumerate(settings)]
    return jnp.concatenate(rows)
