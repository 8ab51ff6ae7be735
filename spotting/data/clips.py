"""Clips for RMS-Net: around every event at every place in the clip, and between events.

Source: Tomei et al. (ICPR 2021) and aimagelab/RMSNet_Soccer, which counts frames from 1; here they
are counted from 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spotting.notation import Array


class Clips(NamedTuple):
    """Clips that can be trained on, in the order of their labels.

    Attributes:
      half: int32 [C], index of the half.
      start: int32 [C], first frame, which may lie before the half's.
      label: int32 [C]; K is no class.
      place: float32 [C], of the event in the clip, 0 at its start and 1 at its end; 0.5 for no
        class, which has no use for it.
    """

    half: Array | np.ndarray
    start: Array | np.ndarray
    label: Array | np.ndarray
    place: Array | np.ndarray


def list_clips(
    labels: Sequence[np.ndarray], clip_frames: int, only_between_events: bool = False
) -> Clips:
    """All clips of a split.

    Args:
      labels: [N, K] of each half, non-zero where an event of the class falls on the frame.
      clip_frames: T, odd, so that a clip has a middle frame.
      only_between_events: see `background_starts`.
    """
    num_classes = labels[0].shape[1]
    reach = clip_frames // 2
    moves = np.arange(-reach, reach + 1)
    rows: list[tuple[int, int, int, float]] = []
    events = [np.argwhere(half) for half in labels]
    for number, in_half in enumerate(events):
        for frame, label in in_half:
            rows += [
                (int(label), number, int(frame) - reach + move, 0.5 - move / clip_frames)
                for move in moves.tolist()
            ]
    lengths = [len(half) for half in labels]
    starts = background_starts(
        [half[:, 0] for half in events], lengths, clip_frames, only_between_events
    )
    for number, in_half in enumerate(starts):
        rows += [(num_classes, number, int(start), 0.5) for start in in_half]
    rows.sort(key=lambda row: row[0])
    label, half, start, place = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Clips(
        np.array(half, np.int32),
        np.array(start, np.int32),
        np.array(label, np.int32),
        np.array(place, np.float32),
    )


def background_starts(
    events: Sequence[np.ndarray],
    lengths: Sequence[int],
    clip_frames: int,
    only_between_events: bool = False,
) -> list[np.ndarray]:
    """Starts of clips without events, back to back, a clip's length away from those of events.

    Args:
      events: frames of the events of each half, ascending.
      lengths: N of each half.
      clip_frames: T.
      only_between_events: as published, where what lies before the first event of the split and
        after its last is left out, and so are halves without events.

    Returns:
      int [C] of each half.
    """
    reach = clip_frames // 2
    result = []
    with_events = [number for number, frames in enumerate(events) if len(frames)]
    for number, (frames, length) in enumerate(zip(events, lengths, strict=True)):
        # Of the clip in the middle of which each event is, the end and the start.
        after = [clip_frames - 1, *(frames + reach + 1 + clip_frames)]
        before = [*(frames - reach - clip_frames), length - clip_frames - 1]
        gaps = list(zip(after, before, strict=True))
        if only_between_events:
            if not len(frames):
                gaps = []
            elif number == with_events[0]:
                gaps = gaps[1:]
            if len(frames) and number == with_events[-1]:
                gaps = gaps[:-1]
        middles = [np.arange(first, last, clip_frames) for first, last in gaps]
        result.append(np.concatenate([np.zeros(0, np.int64), *middles]) - reach)
    return result


def choose_places(labels: np.ndarray, most: int) -> np.ndarray:
    """Which of the clips, shuffled label by label, make an epoch: `most` of each label, or all.

    Args:
      labels: int [C], ascending.
      most: clips of one label.

    Returns:
      int32 [M], indices for `draw_clips`.
    """
    first = np.searchsorted(labels, labels)  # where each clip's label begins
    return np.flatnonzero(np.arange(len(labels)) - first < most).astype(np.int32)


def draw_clips(key: Array, labels: Array | np.ndarray, places: Array) -> Array:
    """Draws the clips of an epoch, without replacement, in random order.

    Args:
      key: random key.
      labels: int32 [C], ascending.
      places: of `choose_places`.

    Returns:
      int32 [M], indices of clips.
    """
    within_key, order_key = jax.random.split(key)
    chance = jax.random.uniform(within_key, labels.shape)
    by_label = jnp.lexsort((chance, labels))
    return jax.random.permutation(order_key, by_label[places])
