"""Chunks for CALF: how far each frame is from the actions around it, and which chunks are drawn.

A *time shift* is the signed distance in frames to an event of a class, positive after it. Four
numbers per class, k0 < k1 < 0 < k2 < k3, slice it: before k0 and from k3 on a frame is far from the
class's events, between k1 and k2 it is near one.

Source: Cioppa et al. (CVPR 2020), section 3, and SoccerNet/sn-spotting.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spotting.notation import Array

SLICING_SECONDS: dict[str, tuple[float, float, float, float]] = {
    "Penalty": (-100, -50, 50, 100),
    "Kick-off": (-98, -49, 49, 98),
    "Goal": (-20, -10, 60, 90),
    "Substitution": (-40, -20, 10, 20),
    "Offside": (-96, -48, 48, 96),
    "Shots on target": (-5, -3, 3, 5),
    "Shots off target": (-8, -4, 4, 8),
    "Clearance": (-93, -46, 46, 93),
    "Ball out of play": (-99, -50, 50, 99),
    "Throw-in": (-31, -15, 15, 31),
    "Foul": (-75, -37, 37, 75),
    "Indirect free-kick": (-10, -5, 5, 10),
    "Direct free-kick": (-97, -49, 49, 97),
    "Corner": (-75, -38, 38, 75),
    "Yellow card": (-20, -10, 10, 20),
    "Red card": (-84, -42, 42, 84),
    "Yellow->red card": (-18, -9, 9, 18),
}
"""k0 to k3 of each class of SoccerNet-v2, in seconds, as its version of CALF has them."""

BEFORE_EVENT = -1.0
"""The shift that a chunk's borders are given: just before an event, where nothing costs a loss."""


class ChunkAnchors(NamedTuple):
    """What chunks are drawn around: events, listed by class, and runs without any near.

    Attributes:
      half: int32 [A], index of the half.
      start: int32 [A], the event's frame, or the run's first.
      end: int32 [A], the one after the run's last; unused for events.
      first: int32 [L], where each list that is not empty starts in the arrays above.
      size: int32 [L], how many entries it has.
      label: int32 [L], its class; K for the runs.
    """

    half: Array | np.ndarray
    start: Array | np.ndarray
    end: Array | np.ndarray
    first: Array | np.ndarray
    size: Array | np.ndarray
    label: Array | np.ndarray


def slice_frames(
    seconds: Mapping[str, Sequence[float]], classes: Sequence[str], frame_rate: float
) -> np.ndarray:
    """k0 to k3 of each class in frames, float32 [4, K]."""
    return np.array([seconds[label] for label in classes], np.float32).T * np.float32(frame_rate)


def slice_by_gaps(gaps: np.ndarray) -> tuple[float, float, float, float]:
    """k0 to k3 for a class that has none, from the seconds between its successive events.

    A frame counts as far from an event when it is nearer to the class's usual next one: k3 is half
    the median gap, but 4 to 100 s, the range of `SLICING_SECONDS`; 100 s for a class whose events
    do not follow each other. k2 is half of k3, and both sides are alike.
    """
    far = float(np.clip(np.median(gaps) / 2, 4, 100)) if len(gaps) else 100.0
    return -far, -far / 2, far / 2, far


def time_shifts(labels: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """Time shift of every frame and class of a half.

    Between two events a frame follows the one before until k2, the one after from k1 on, and
    between these whichever it is nearer to in units of its own transition. Before the first of
    several events and after the last there is a virtual one, just so far outside of the half that
    its first frame is k3 after it, or the end k0 before it.

    Args:
      labels: [N, K], non-zero where an event of the class falls on the frame.
      slices: float32 [4, K], k0 to k3 in frames.

    Returns:
      float32 [N, K]: 0 on events; k0 everywhere for a class without any.
    """
    num_frames = len(labels)
    frame = np.arange(num_frames)[:, None]
    event = labels != 0
    k0, k1, k2, k3 = np.asarray(slices, np.float64)
    previous = np.maximum.accumulate(np.where(event, frame, -np.inf), axis=0)
    following = np.minimum.accumulate(np.where(event, frame, np.inf)[::-1], axis=0)[::-1]
    # The next event is one after this frame.
    following = np.concatenate([following[1:], np.full((1, labels.shape[1]), np.inf)])
    behind = frame - np.where(np.isfinite(previous), previous, -k3)
    ahead = frame - np.where(np.isfinite(following), following, num_frames - k0)
    nearer = (behind - k2) / (k3 - k2) < (k1 - ahead) / (k1 - k0)
    follows_previous = (behind < k2) | ((behind < k3) & ((ahead <= k0) | nearer))
    shift = np.where(follows_previous, behind, ahead)

    count = np.count_nonzero(event, axis=0)
    only = frame - np.argmax(event, axis=0)
    shift = np.where(count == 1, only, np.where(count == 0, k0, shift))
    return shift.astype(np.float32)


def background_runs(shifts: np.ndarray, slices: np.ndarray, chunk_frames: int) -> np.ndarray:
    """Runs of at least T frames that are far from the events of all classes.

    Args:
      shifts: [N, K], of `time_shifts`.
      slices: [4, K].
      chunk_frames: T.

    Returns:
      int32 [R, 2], first frame of each run and the one after its last.
    """
    far = np.all((shifts >= slices[3]) | (shifts <= slices[0]), axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], far, [False]]).astype(np.int8)))
    runs = edges.reshape(-1, 2)
    return runs[runs[:, 1] - runs[:, 0] >= chunk_frames].astype(np.int32)


def find_anchors(
    shifts: Sequence[np.ndarray], slices: np.ndarray, chunk_frames: int
) -> ChunkAnchors:
    """Lists what chunks can be drawn around; classes without events have no list.

    Args:
      shifts: [N, K] of each half.
      slices: [4, K].
      chunk_frames: T.
    """
    num_classes = slices.shape[1]
    lists: list[list[tuple[int, int, int]]] = [[] for _ in range(num_classes + 1)]
    for number, half in enumerate(shifts):
        for label in range(num_classes):
            events = np.flatnonzero(half[:, label] == 0)
            lists[label] += [(number, int(frame), -1) for frame in events]
        runs = background_runs(half, slices, chunk_frames)
        lists[-1] += [(number, int(start), int(end)) for start, end in runs]
    rows = np.array([row for entries in lists for row in entries], np.int32).reshape(-1, 3)
    sizes = np.array([len(entries) for entries in lists], np.int32)
    first = np.cumsum(sizes, dtype=np.int32) - sizes
    kept = np.flatnonzero(sizes).astype(np.int32)
    return ChunkAnchors(rows[:, 0], rows[:, 1], rows[:, 2], first[kept], sizes[kept], kept)


def draw_chunks(
    key: Array,
    anchors: ChunkAnchors,
    lengths: Array | np.ndarray,
    count: int,
    num_classes: int,
    chunk_frames: int,
    receptive_frames: int,
    last_frame_unseen: bool = False,
) -> tuple[Array, Array]:
    """Draws chunks: a list, an entry of it, and where in the chunk that entry is.

    Lists are drawn with equal probability, so rare classes are seen as often as others. An event is
    put at a frame from R + 1 to T - R of the chunk; a chunk of a run lies in the run.

    Args:
      key: random key.
      anchors: of `find_anchors`.
      lengths: int32 [H], N of each half.
      count: how many, drawn with replacement.
      num_classes: K.
      chunk_frames: T.
      receptive_frames: R, less than half of T.
      last_frame_unseen: see `clamp_starts`.

    Returns:
      Index of the half and first frame within it, both int32 [count].
    """
    list_key, entry_key, event_key, run_key = jax.random.split(key, 4)
    drawn = jax.random.randint(list_key, (count,), 0, len(anchors.size))
    entry = jax.random.randint(entry_key, (count,), 0, jnp.asarray(anchors.size)[drawn])
    row = jnp.asarray(anchors.first)[drawn] + entry
    half, start, end = (jnp.asarray(array)[row] for array in anchors[:3])
    shift = jax.random.randint(
        event_key, (count,), -(chunk_frames - receptive_frames), -receptive_frames
    )
    is_run = jnp.asarray(anchors.label)[drawn] == num_classes
    choices = jnp.maximum(end - chunk_frames - start, 0) + 1
    inside = jax.random.randint(run_key, (count,), 0, choices)
    start = start + jnp.where(is_run, inside, shift)
    return half, clamp_starts(start, lengths[half], chunk_frames, last_frame_unseen)


def clamp_starts(
    start: Array, num_frames: Array, chunk_frames: int, last_frame_unseen: bool = False
) -> Array:
    """Moves chunks into their half; where it is shorter than a chunk, to its start.

    Args:
      start: int32 [B].
      num_frames: int32 [B], N of the half of each.
      chunk_frames: T.
      last_frame_unseen: as published, where a chunk that would reach the end is moved to end one
        frame before it.
    """
    start = jnp.maximum(start, 0)
    last = num_frames - chunk_frames
    if last_frame_unseen:
        return jnp.maximum(jnp.where(start >= last, last - 1, start), 0)
    return jnp.clip(start, 0, jnp.maximum(last, 0))


def border_frames(receptive_frames: int) -> int:
    """Frames at either end of a chunk that are trained on nothing, half the receptive field."""
    return -(-receptive_frames // 2)


def mask_borders(shifts: Array, receptive_frames: int) -> Array:
    """Takes the labels off a chunk's borders, whose frames lack context.

    Args:
      shifts: [B, T, K].
      receptive_frames: R.
    """
    frame = jnp.arange(shifts.shape[1])
    border = border_frames(receptive_frames)
    inside = (frame >= border) & (frame < shifts.shape[1] - border)
    return jnp.where(inside[:, None], shifts, BEFORE_EVENT)


def erase_drawn(erased: Array, rows: Array, receptive_frames: int) -> tuple[Array, Array]:
    """The published code's erasing of labels: a chunk's borders lose theirs for later draws too.

    It takes the labels off a view of the stored half. The next chunks that show those frames, in
    the same batch or a later one, see no events there.

    Args:
      erased: bool [rows of the split], what earlier batches erased.
      rows: int32 [B, T], the split's rows that the chunks of a batch show, in the order of drawing.
      receptive_frames: R.

    Returns:
      bool [B, T], what is erased in each chunk by those before it; and `erased` after the batch.
    """
    batch, frames = rows.shape
    border = border_frames(receptive_frames)
    ends = jnp.concatenate([rows[:, :border], rows[:, frames - border :]], axis=1)
    order = jnp.broadcast_to(jnp.arange(batch)[:, None], ends.shape)
    first_eraser = jnp.full(erased.shape, batch, jnp.int32).at[ends].min(order)
    before = erased[rows] | (first_eraser[rows] < jnp.arange(batch)[:, None])
    return before, erased | (first_eraser < batch)


def detection_targets(shifts: Array, num_detections: int) -> Array:
    """The events of each chunk as slots, in the order of time, then class.

    Args:
      shifts: [B, T, K], 0 on events.
      num_detections: D; further events are dropped.

    Returns:
      float32 [B, D, 2 + K]: 1, frame / T and the class as one-hot; 0 in the slots left over.
    """
    _, frames, num_classes = shifts.shape
    # A table, because the compiler would turn a division by T into a product with its rounded
    # inverse.
    times = jnp.asarray(np.append(np.arange(frames) / frames, 0), jnp.float32)

    def one_chunk(chunk: Array) -> Array:
        nowhere = chunk.size
        (anchor,) = jnp.nonzero(chunk.reshape(-1) == 0, size=num_detections, fill_value=nowhere)
        used = (anchor < nowhere)[:, None]
        time = times[anchor // num_classes][:, None]
        label = jax.nn.one_hot(anchor % num_classes, num_classes)
        return jnp.where(used, jnp.concatenate([jnp.ones_like(time), time, label], axis=1), 0)

    return jax.vmap(one_chunk)(shifts)
