"""Changes of chunks' features by chance, so that a network learns from more than it was given.

Each is off in the paper's configs. Targets stay as they are: nothing is moved by more than a frame.

References:
  Srivastava et al., Dropout, JMLR 2014, of inputs, here of a feature in a whole chunk.
"""

import dataclasses

import jax
import jax.numpy as jnp

from spotting.notation import Array, ChunkFeatures


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How much is changed.

    Attributes:
      repeat_frames: share of the frames that have the features of the frame before.
      drop_frames: share of the frames that have the mean features of their chunk.
      drop_features: share of the features that are 0 in all of a chunk; the others are scaled so
        that their expectation stays.
      shift_frames: a chunk is moved by up to this fraction of a frame, earlier or later, linearly.

    Raises:
      ValueError: a value is not in [0, 1), or `shift_frames` is not in [0, 1].
    """

    repeat_frames: float = 0.0
    drop_frames: float = 0.0
    drop_features: float = 0.0
    shift_frames: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.repeat_frames, self.drop_frames, self.drop_features)
        if not (all(0 <= share < 1 for share in shares) and 0 <= self.shift_frames <= 1):
            raise ValueError(f"{self}: shares are at least 0 and less than 1, the shift at most 1")

    @property
    def is_off(self) -> bool:
        """Whether nothing is changed."""
        return self == NO_AUGMENTATION


NO_AUGMENTATION = Augmentation()

def augment(
    key: Array, features: ChunkFeatures, valid: Array, settings: Augmentation
) -> ChunkFeatures:
    """Changes the features of each chunk by chance, apart from the others.

    Frames are repeated first, then moved, then dropped; a chunk's ends and the padding of a short
    half give nothing to their neighbours.

    Args:
      key: random key.
      features: [B, T, P].
      valid: bool [B, T], false in padding, which stays as it is.
      settings: how much.

    Returns:
      The same shape and dtype.
    """
    given, dtype = features, features.dtype
    frames, inside = features.shape[:2], valid[..., None]
    keys = jax.random.split(key, 4)
    if settings.repeat_frames:
        repeated = jax.random.bernoulli(keys[0], settings.repeat_frames, frames)
        features = jnp.where(repeated[..., None], _neighbours(features, inside, -1), features)
    if settings.shift_frames:
        most = settings.shift_frames
        shifts = jax.random.uniform(keys[1], (len(features), 1, 1), jnp.float32, -most, most)
        shifts = shifts.astype(dtype)
        later = _neighbours(features, inside, 1)
        earlier = _neighbours(features, inside, -1)
        towards = jnp.where(shifts > 0, later, earlier)
        features = features + jnp.abs(shifts) * (towards - features)
    if settings.drop_frames:
        dropped = jax.random.bernoulli(keys[2], settings.drop_frames, frames)
        mean = jnp.mean(features, axis=1, dtype=jnp.float32, where=inside, keepdims=True)
        features = jnp.where(dropped[..., None], mean.astype(dtype), features)
    if settings.drop_features:
        share = 1 - settings.drop_features
        kept = jax.random.bernoulli(keys[3], share, (len(features), 1, features.shape[-1]))
        features = jnp.where(kept, features / share, 0).astype(dtype)
    return jnp.where(inside, features, given)


def _neighbours(features: ChunkFeatures, inside: Array, step: int) -> ChunkFeatures:
    """Of each frame the features of the next (1) or the one before (-1), or its own without one."""
    ends = jnp.arange(inside.shape[1]) == (inside.shape[1] - 1 if step > 0 else 0)
    exists = jnp.roll(inside, -step, axis=1) & ~ends[:, None]
    return jnp.where(exists, jnp.roll(features, -step, axis=1), features)
