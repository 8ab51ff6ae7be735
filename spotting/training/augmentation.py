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
    (chunks, frames, width), dtype = features.shape, features.dtype
    repeat_key, shift_key, frame_key, feature_key = jax.random.split(key, 4)
    # Each frame is made of two given ones: moving rows twice is faster than arrays once for each
    # change.
    place = jnp.broadcast_to(jnp.arange(frames), (chunks, frames))
    repeated = jax.random.bernoulli(repeat_key, settings.repeat_frames, (chunks, frames))
    source = jnp.where(repeated & _exists(valid, -1), place - 1, place)
    most = settings.shift_frames
    shift = jax.random.uniform(shift_key, (chunks, 1), jnp.float32, -most, most)
    towards = jnp.where(shift > 0, place + _exists(valid, 1), place - _exists(valid, -1))
    neighbour = jnp.take_along_axis(source, towards, axis=1)
    share = jnp.broadcast_to(jnp.abs(shift), (chunks, frames))
    dropped = jax.random.bernoulli(frame_key, settings.drop_frames, (chunks, frames))
    kept_share = 1 - settings.drop_features
    kept = jax.random.bernoulli(feature_key, kept_share, (chunks, 1, width))

    pick_rows = jax.vmap(lambda chunk, rows: chunk[rows])
    rows = pick_rows(features, source).astype(jnp.float32)
    rows = rows + share[..., None] * (pick_rows(features, neighbour) - rows)
    rows = jnp.where(dropped[..., None], _mean_frame(features, valid), rows)
    rows = jnp.where(kept, rows / kept_share, 0)
    return jnp.where(valid[..., None], rows.astype(dtype), features)


def _exists(valid: Array, step: int) -> Array:
    """Whether each frame of [B, T] is followed by one (step 1), or follows one (step -1)."""
    ends = jnp.arange(valid.shape[1]) == (valid.shape[1] - 1 if step > 0 else 0)
    return jnp.roll(valid, -step, axis=1) & ~ends


def _mean_frame(features: ChunkFeatures, valid: Array) -> Array:
    """The mean features of each chunk, float32 [B, 1, P]."""
    shares = valid / jnp.maximum(jnp.sum(valid, axis=1, keepdims=True), 1)
    mean = jnp.einsum(
        "bt,btp->bp", shares.astype(features.dtype), features, preferred_element_type=jnp.float32
    )
    return mean[:, None]
