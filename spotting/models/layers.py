"""The layers that the two trunks share, written as matrix products.

A convolution along time with one or three taps is a product with a [C, C'] or [3C, C'] matrix, and
a transposed convolution whose stride equals its kernel is a product followed by a reshape. XLA's
gradient of the general convolution is slow on CPUs; these forms are not, and they compute the same.

Parameters are float32 and are cast to the `dtype` of the computation. Biases are added in float32:
their gradients, sums over all frames of a batch, are then summed in float32 too.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from spotting.notation import Array

Initializer = Callable[[Array, Sequence[int], jnp.dtype], Array]


def glorot_uniform(fan_in: int, fan_out: int) -> Initializer:
    """Uniform within sqrt(6 / (fan_in + fan_out)), for fans that the shape does not tell."""
    limit = (6.0 / (fan_in + fan_out)) ** 0.5

    def initialize(key: Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return initialize


class Dense(nn.Module):
    """y = x W + b on the last axis. W is [C, C'], glorot-uniform unless told otherwise; b is 0."""

    features: int
    dtype: jnp.dtype = jnp.float32
    kernel_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., C] -> [..., C']."""
        channels = x.shape[-1]
        init = self.kernel_init or glorot_uniform(channels, self.features)
        kernel = self.param("kernel", init, (channels, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        y = product(x.astype(self.dtype), kernel.astype(self.dtype))
        return (y + bias).astype(self.dtype)


class Conv3(nn.Module):
    """Convolution over three frames, zero padded. W is [3, C, C'], glorot-uniform; b is 0."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., T, C] -> [..., T, C']."""
        channels = x.shape[-1]
        kernel = self.param(
            "kernel",
            glorot_uniform(3 * channels, 3 * self.features),
            (3, channels, self.features),
            jnp.float32,
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x = x.astype(self.dtype)
        taps = jnp.concatenate([_shift(x, 1), x, _shift(x, -1)], axis=-1)
        matrix = kernel.reshape(3 * channels, self.features).astype(self.dtype)
        return (product(taps, matrix) + bias).astype(self.dtype)


class Upsample2(nn.Module):
    """Transposed convolution over time, kernel 2, stride 2. W is [C, 2, C']; b is 0."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., T, C] -> [..., 2T, C']."""
        channels = x.shape[-1]
        kernel = self.param(
            "kernel",
            glorot_uniform(2 * channels, 2 * self.features),
            (channels, 2, self.features),
            jnp.float32,
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        matrix = kernel.reshape(channels, 2 * self.features).astype(self.dtype)
        y = product(x.astype(self.dtype), matrix)
        y = y.reshape(*x.shape[:-2], 2 * x.shape[-2], self.features)
        return (y + bias).astype(self.dtype)


def product(x: Array, matrix: Array) -> Array:
    """[..., C] by [C, C'] -> [..., C'], as one product of two matrices.

    For a product with several leading axes XLA's CPU backend makes transposed copies in the
    gradient, which takes an eighth of the U-net's training step.
    """
    rows = x.reshape(-1, x.shape[-1])
    return (rows @ matrix).reshape(*x.shape[:-1], matrix.shape[-1])


def max_pool2(x: Array) -> Array:
    """[..., T, C] -> [..., T/2, C], the greater of each two frames."""
    channels = x.shape[-1]
    pairs = x.reshape(*x.shape[:-2], x.shape[-2] // 2, 2 * channels)
    return jnp.maximum(pairs[..., :channels], pairs[..., channels:])


def _shift(x: Array, frames: int) -> Array:
    """x moved `frames` later in time (earlier if negative), zeros coming in."""
    time = x.ndim - 2
    pad = [(0, 0)] * x.ndim
    pad[time] = (max(frames, 0), max(-frames, 0))
    start = max(-frames, 0)
    return jax.lax.slice_in_dim(jnp.pad(x, pad), start, start + x.shape[time], axis=time)
