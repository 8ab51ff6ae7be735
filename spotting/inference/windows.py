"""NetVLAD++ over a half: a window around every frame.

Source: SoccerNet/sn-spotting; the window of frame t holds T // 2 frames before it, then t.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spotting.data.windows import count_windows
from spotting.models.netvlad import NetVLAD
from spotting.notation import Array


@functools.partial(jax.jit, static_argnames=("model", "window_frames"))
def score_windows(model: NetVLAD, params: Any, features: Array, window_frames: int) -> Array:
    """Scores of all windows in a run of frames.

    Args:
      model: the network.
      params: its variables.
      features: [C + T - 1, P].
      window_frames: T.

    Returns:
      float32 [C, 1 + K], after a sigmoid; the first column is that of no class.
    """
    # What the windows share is reduced once.
    reduced = model.apply(params, features, method="reduce")
    start = jnp.arange(len(features) - window_frames + 1)
    shown = reduced[start[:, None] + jnp.arange(window_frames)]
    pooled = model.apply(params, shown, method="pool_window")
    logits: Any = model.apply(params, pooled, method="classify")
    return jax.nn.sigmoid(logits)


def spot_half(
    model: NetVLAD,
    params: Any,
    features: np.ndarray,
    window_frames: int,
    last_frame_unseen: bool = False,
    at_once: int = 256,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Scores for every frame of one half of any length.

    Args:
      model: the network.
      params: its variables.
      features: [N, P], any float type.
      window_frames: T.
      last_frame_unseen: as published, where the last frame has no window.
      at_once: windows that go through the network together.
      progress: called with the number of frames done so far.

    Returns:
      float32 [N, K] in [0, 1], or [N - 1, K] as published.
    """
    num_frames = len(features)
    count = count_windows(num_frames, 1, last_frame_unseen)
    result = np.zeros((count, model.num_classes), np.float32)
    span = at_once + window_frames - 1
    for first in range(0, count, at_once):
        frames = np.arange(first, first + span) - window_frames // 2
        block = np.asarray(features[np.clip(frames, 0, num_frames - 1)], np.float32)
        scores = score_windows(model, params, block, window_frames)
        last = min(first + at_once, count)
        result[first:last] = np.asarray(scores)[: last - first, 1:]
        if progress:
            progress(last)
    return result
