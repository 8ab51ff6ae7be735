"""RMS-Net over a half: clips back to back, at most one action in each.

Source: aimagelab/RMSNet_Soccer, which counts frames from 1; here they are counted from 0.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spotting.inference.nms import NO_SPOT
from spotting.models.rmsnet import ClipOutputs, RmsNetHead
from spotting.notation import Array


def place_spots(start: Array, offset: Array, clip_frames: int, late: bool = False) -> Array:
    """Where the actions of clips are, in frames, not rounded.

    Args:
      start: [B], first frame of each clip.
      offset: [B], the action's place in the clip, 0.5 of one on its middle frame.
      clip_frames: T.
      late: as published, where an action on the middle frame is put 1.5 frames after it: frames are
        counted from 1 and their ends are where the next begins.

    Returns:
      float32 [B].
    """
    first = jnp.asarray(start, jnp.float32) + (1.0 if late else -0.5)
    return first + jnp.asarray(offset, jnp.float32) * clip_frames


def score_clips(
    outputs: ClipOutputs,
    start: Array,
    num_frames: Array | int,
    clip_frames: int,
    late: bool = False,
) -> tuple[Array, Array, Array]:
    """The scores of a half, or of a part of it, from its clips.

    Args:
      outputs: of C clips.
      start: int32 [C].
      num_frames: N.
      clip_frames: T.
      late: see `place_spots`.

    Returns:
      frame int32 [C], class int32 [C] and confidence float32 [C], which is -1 for no class.
    """
    probabilities = jax.nn.softmax(outputs.logits)
    label = jnp.argmax(probabilities, axis=-1).astype(jnp.int32)
    confidence = jnp.max(probabilities, axis=-1)
    spot = place_spots(start, outputs.offset, clip_frames, late)
    frame = jnp.clip(jnp.floor(spot if late else spot + 0.5).astype(jnp.int32), 0, num_frames - 1)
    nothing = label == outputs.logits.shape[-1] - 1
    return frame, label, jnp.where(nothing, NO_SPOT, confidence)


@functools.partial(jax.jit, static_argnames="model")
def classify(model: RmsNetHead, params: Any, features: Array) -> ClipOutputs:
    """The network on clips [B, T, P]."""
    outputs: Any = model.apply(params, features)
    return outputs


def spot_half(
    model: RmsNetHead,
    params: Any,
    features: np.ndarray,
    clip_frames: int,
    late: bool = False,
    at_once: int = 64,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Scores for every frame of one half of any length.

    Args:
      model: the network.
      params: its variables.
      features: [N, P], any float type.
      clip_frames: T. Where the last clip reaches beyond the half, its last frame is repeated.
      late: see `place_spots`.
      at_once: clips that go through the network together.
      progress: called with the number of frames done so far.

    Returns:
      float32 [N, K], the confidence of each action, -1 elsewhere.
    """
    num_frames = len(features)
    starts = np.arange(0, num_frames, clip_frames)
    result = np.full((num_frames, model.num_classes), NO_SPOT, np.float32)
    for first in range(0, len(starts), at_once):
        group = starts[first : first + at_once]
        start = np.pad(group, (0, at_once - len(group)), mode="edge")
        frames = np.minimum(start[:, None] + np.arange(clip_frames), num_frames - 1)
        outputs = classify(model, params, np.asarray(features[frames], np.float32))
        spots = score_clips(outputs, jnp.asarray(start), num_frames, clip_frames, late)
        frame, label, confidence = (np.asarray(array)[: len(group)] for array in spots)
        kept = confidence >= 0
        np.maximum.at(result, (frame[kept], label[kept]), confidence[kept])
        if progress:
            progress(min(int(group[-1]) + clip_frames, num_frames))
    return result
