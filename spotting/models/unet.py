"""The 1-D U-net trunk ("DU" in the paper's tables)."""

import flax.linen as nn
import jax.numpy as jnp

from spotting.base.errors import InputError
from spotting.models.layers import Conv3, Dense, Precision, Upsample2, max_pool2
from spotting.notation import Array

_SHOWN = 30  # levels, up to which a message gives the number of frames


class Bottleneck(nn.Module):
    """ResNet-V2 bottleneck without normalisation: relu, 1-tap, relu, 3-tap, relu, 1-tap, add."""

    features: int
    dtype: jnp.dtype = jnp.float32
    precision: Precision = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, C] -> [B, T, features]."""
        how = (self.dtype, self.precision)
        h = nn.relu(x)
        if x.shape[-1] == self.features:
            shortcut = x
        else:
            shortcut = Dense(self.features, *how, name="shortcut")(h)
        h = Dense(self.features // 4, *how, name="reduce")(h)
        h = Conv3(self.features // 4, *how, name="convolve")(nn.relu(h))
        h = Dense(self.features, *how, name="expand")(nn.relu(h))
        return shortcut + h


class UNet(nn.Module):
    """Encoder and decoder over `levels` time scales, two bottlenecks at each.

    Level l has width * 2**l channels and T / 2**l frames. The decoder adds, rather than
    concatenates, what the encoder had at its level.
    """

    levels: int
    width: int
    dtype: jnp.dtype = jnp.float32
    precision: Precision = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, C] -> [B, T, width]; T must be divisible by 2**(levels - 1)."""
        how = (self.dtype, self.precision)
        x = x.astype(self.dtype)
        skips = []
        for level in range(self.levels):
            if level > 0:
                x = max_pool2(x)
            for block in range(2):
                name = f"down{level}_block{block}"
                x = Bottleneck(self.width * 2**level, *how, name=name)(x)
            skips.append(x)
        for level in reversed(range(self.levels - 1)):
            channels = self.width * 2**level
            x = Upsample2(channels, *how, name=f"up{level}")(nn.relu(x)) + skips[level]
            for block in range(2):
                x = Bottleneck(channels, *how, name=f"up{level}_block{block}")(x)
        return nn.relu(x)


def build_unet(
    input_width: int, dtype: jnp.dtype, precision: Precision = None, *, levels: int
) -> UNet:
    """The trunk for an input of `input_width` channels, which are those of its first level."""
    return UNet(levels, input_width, dtype, precision)


def check_unet(chunk_frames: int, *, levels: int) -> None:
    """Raises InputError unless `levels` levels can halve a chunk of `chunk_frames` frames."""
    halvings = levels - 1
    # No chunk can be halved more often than it has bits; more might be any number.
    if halvings > chunk_frames.bit_length() or chunk_frames % 2**halvings or chunk_frames == 0:
        factor = f"2**{halvings}" if halvings > _SHOWN else 2**halvings
        raise InputError(
            f"anchors.chunk is {chunk_frames} frames, which {levels} U-net levels cannot halve: "
            f"choose model.unet.levels or anchors.chunk so that {factor} divides it"
        )
