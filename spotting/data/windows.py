"""Windows of a half for NetVLAD++: back to back for training, one around every frame for spotting.

A window's label says which classes have an event in it, not where in it. Where a window reaches
beyond its half, the half's first or last frame is repeated.

Source: Giancola, Ghanem (CVPR Workshops 2021) and SoccerNet/sn-spotting.
"""

import jax.numpy as jnp
import numpy as np

from spotting.data.resident import Batch, ResidentSplit
from spotting.notation import Array


def count_windows(num_frames: int, stride: int, last_frame_unseen: bool = False) -> int:
    """How many windows, one every `stride` frames, start in a half.

    Args:
      num_frames: N.
      stride: in frames.
      last_frame_unseen: as published, where starts end before the last frame: with a stride of 1
        there are N - 1 windows for N frames.
    """
    return -(-(num_frames - last_frame_unseen) // stride)


def list_windows(
    lengths: np.ndarray, window_frames: int, last_frame_unseen: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """All training windows of a split: index of the half and first frame, both int32 [W].

    Args:
      lengths: int [H], N of each half.
      window_frames: T, also their stride.
      last_frame_unseen: see `count_windows`.
    """
    counts = [count_windows(int(n), window_frames, last_frame_unseen) for n in lengths]
    half = np.repeat(np.arange(len(counts)), counts)
    start = np.concatenate([np.arange(count) * window_frames for count in counts])
    return half.astype(np.int32), start.astype(np.int32)


def frames_of_windows(start: Array, window_frames: int, num_frames: Array | int) -> Array:
    """Frames that windows show, clamped to their half: int32 [..., T].

    Args:
      start: int32 [...], first frame, which may lie outside of the half.
      window_frames: T.
      num_frames: N, a scalar or [...].
    """
    last = jnp.asarray(num_frames, jnp.int32)[..., None] - 1
    frame = jnp.asarray(start, jnp.int32)[..., None] + jnp.arange(window_frames, dtype=jnp.int32)
    return jnp.clip(frame, 0, last)


def cut_windows(split: ResidentSplit, half: Array, start: Array, window_frames: int) -> Batch:
    """Cuts windows out of a resident split.

    Args:
      split: the split.
      half: int32 [B].
      start: int32 [B], first frame within the half, which may lie outside of it.
      window_frames: T.

    Returns:
      The batch; all of it is valid.
    """
    frames = frames_of_windows(start, window_frames, split.lengths[half])
    rows = split.starts[half][:, None] + frames
    return Batch(split.features[rows], split.offsets[rows], jnp.ones(rows.shape, bool))


def encode_windows(offsets: Array) -> Array:
    """What windows are trained on: 1 for each class with an event in the window.

    Args:
      offsets: int [B, T, K], of `anchors.event_offsets`, 0 on an event's frame.

    Returns:
      float32 [B, 1 + K]; the first column is 1 where no class has an event.
    """
    present = jnp.any(jnp.asarray(offsets) == 0, axis=1)
    nothing = ~jnp.any(present, axis=-1, keepdims=True)
    return jnp.concatenate([nothing, present], axis=-1).astype(jnp.float32)
