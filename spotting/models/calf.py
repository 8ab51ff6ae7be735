"""CALF: a chunk is segmented by class, and up to 15 actions in it are detected.

The segmentation tells how far frames are in time from each class's actions (its context-aware loss
is in training/context_aware.py); the detections, each with a confidence, a time and class
probabilities, are what is spotted.

Source: Cioppa et al., "A Context-Aware Loss Function for Action Spotting in Soccer Videos", CVPR
2020; sizes as in SoccerNet/sn-spotting, its version for SoccerNet-v2.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spotting.models.linear import (
    Linear,
    TimeConvolution,
    convolve_long,
    safe_sqrt,
    uniform_by_fan_in,
)
from spotting.notation import Array, ChunkFeatures

_PYRAMID = ((7, 8), (3, 16), (2, 32), (1, 64))
"""The receptive field's divisor, and the channels, of each convolution of the pyramid."""


class CalfOutputs(NamedTuple):
    """What the network says of a chunk.

    Attributes:
      segmentation: [B, T, K] in 0..1; near 1 from an action on, near 0 far from any.
      detections: [B, D, 2 + K]: confidence, time as a fraction of the chunk, class probabilities.
    """

    segmentation: Array
    detections: Array


class BatchNormOverTime(nn.Module):
    """Normalises each frame index of a chunk by what its batch, capsules and classes hold.

    In training the statistics are the batch's, and running means follow them, which is what is used
    otherwise. The running variance is the unbiased one, as in PyTorch.
    """

    momentum: float = 0.99
    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[B, T, C, K] -> the same shape."""
        shape = (x.shape[1],)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            axes = (0, 2, 3)
            mean = jnp.mean(x, axis=axes)
            var = jnp.mean(jnp.square(x - mean[:, None, None]), axis=axes)
            if not self.is_initializing():
                count = x.size // x.shape[1]
                for running, batch in (
                    (running_mean, mean),
                    (running_var, var * count / (count - 1)),
                ):
                    running.value = self.momentum * running.value + (1 - self.momentum) * batch
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None]


class Pyramid(nn.Module):
    """Four convolutions over time, from short to the whole receptive field, side by side."""

    receptive_frames: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, C] -> [B, T, 120]."""
        channels, longest = x.shape[-1], self.receptive_frames
        kernels, biases = [], []
        for level, (divisor, features) in enumerate(_PYRAMID):
            taps = -(-longest // divisor)
            init = uniform_by_fan_in(taps * channels)
            kernel = self.param(f"kernel{level}", init, (taps, channels, features), jnp.float32)
            biases.append(self.param(f"bias{level}", init, (features,), jnp.float32))
            # All as long as the longest, with the same middle, so that one transform serves them.
            before = (longest - 1) // 2 - (taps - 1) // 2
            kernels.append(jnp.pad(kernel, ((before, longest - taps - before), (0, 0), (0, 0))))
        return convolve_long(x, jnp.concatenate(kernels, axis=-1)) + jnp.concatenate(biases)


class Calf(nn.Module):
    """Features of a chunk to a segmentation and detections.

    Kernel sizes, the batch norm and the last two layers depend on T and on the receptive field.

    Attributes:
      num_classes: K.
      receptive_frames: the longest convolution of the pyramid.
      capsules: numbers per frame and class, whose distance from 0.5 is the segmentation.
      detections: D, actions that a chunk can hold.
    """

    num_classes: int
    receptive_frames: int
    capsules: int = 16
    num_detections: int = 15

    @nn.compact
    def __call__(self, features: ChunkFeatures, train: bool = False) -> CalfOutputs:
        """[B, T, P] -> segmentation [B, T, K] and detections [B, D, 2 + K].

        Args:
          features: of chunks; T is a multiple of 8.
          train: whether the batch norm takes the batch's statistics (and follows them, if
            "batch_stats" is mutable).
        """
        batch, frames, _ = features.shape
        h = nn.relu(Linear(128, name="reduce0")(features))
        h = nn.relu(Linear(32, name="reduce1")(h))
        pyramid = nn.relu(Pyramid(self.receptive_frames, name="pyramid")(h))
        h = jnp.concatenate([h, pyramid], axis=-1)
        capsules = TimeConvolution(self.capsules * self.num_classes, 3, name="capsules")(h)
        by_class = capsules.reshape(batch, frames, self.capsules, self.num_classes)
        by_class = nn.sigmoid(BatchNormOverTime(name="norm")(by_class, train))
        distance = jnp.sum(jnp.square(by_class - 0.5), axis=2)
        segmentation = safe_sqrt(distance * (4 / self.capsules))

        h = nn.relu(jnp.concatenate([capsules, 1 - segmentation], axis=-1))
        h = nn.relu(TimeConvolution(32, 3, name="spot0")(_max_pool(h)))
        h = nn.relu(TimeConvolution(16, 3, name="spot1")(_max_pool(h)))
        # The channel is the outer axis of the vector.
        h = jnp.swapaxes(_max_pool(h), 1, 2).reshape(batch, -1)
        place = nn.sigmoid(Linear(2 * self.num_detections, name="place")(h))
        classes = Linear(self.num_classes * self.num_detections, name="classes")(h)
        detections = (
            place.reshape(batch, self.num_detections, 2),
            nn.softmax(classes.reshape(batch, self.num_detections, self.num_classes)),
        )
        return CalfOutputs(segmentation, jnp.concatenate(detections, axis=-1))


def _max_pool(x: Array) -> Array:
    """[B, T, C] -> [B, (T - 3) // 2 + 1, C], the greatest of three frames, every second frame."""
    kept = (x.shape[1] - 3) // 2 + 1
    taps = [jax.lax.slice_in_dim(x, tap, tap + 2 * kept - 1, 2, axis=1) for tap in range(3)]
    return jnp.maximum(jnp.maximum(taps[0], taps[1]), taps[2])
