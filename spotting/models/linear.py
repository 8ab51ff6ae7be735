"""Layers of the systems that the paper compares with, which start as PyTorch's do.

Weights and biases are uniform within 1 / sqrt(fan in). `layers.py` has the paper's own.
"""

import itertools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from spotting.models.layers import Initializer, product
from spotting.notation import Array


def uniform_by_fan_in(fan_in: int) -> Initializer:
    """Uniform within 1 / sqrt(fan_in)."""
    limit = fan_in**-0.5

    def initialize(key: Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return initialize


class Linear(nn.Module):
    """y = x W + b on the last axis. W is [C, C']."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., C] -> [..., C']."""
        channels = x.shape[-1]
        init = uniform_by_fan_in(channels)
        kernel = self.param("kernel", init, (channels, self.features), jnp.float32)
        bias = self.param("bias", init, (self.features,), jnp.float32)
        return product(x.astype(jnp.float32), kernel) + bias


class TimeConvolution(nn.Module):
    """Convolution over `taps` frames, zero padded to the input's length. W is [taps, C, C'].

    An even number of taps pads one frame more after than before.
    """

    features: int
    taps: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., T, C] -> [..., T, C']."""
        channels = x.shape[-1]
        init = uniform_by_fan_in(self.taps * channels)
        kernel = self.param("kernel", init, (self.taps, channels, self.features), jnp.float32)
        bias = self.param("bias", init, (self.features,), jnp.float32)
        return convolve(x.astype(jnp.float32), kernel) + bias


def convolve(x: Array, kernel: Array) -> Array:
    """[..., T, C] with [taps, C, C'] -> [..., T, C'], as one product of two matrices.

    Zero padded by (taps - 1) // 2 frames before, and by the rest after.
    """
    taps, channels, features = kernel.shape
    time = x.ndim - 2
    before = (taps - 1) // 2
    pad = [(0, 0)] * x.ndim
    pad[time] = (before, taps - 1 - before)
    padded = jnp.pad(x, pad)
    shifted = [
        jax.lax.slice_in_dim(padded, tap, tap + x.shape[time], axis=time) for tap in range(taps)
    ]
    matrix = kernel.reshape(taps * channels, features)
    return product(jnp.concatenate(shifted, axis=-1), matrix)


def convolve_long(x: Array, kernel: Array) -> Array:
    """The same as `convolve`, through the frequencies, for kernels of many frames.

    For CALF's pyramid of 12 to 80 taps on 32 channels a CPU does the gradient in about 0.6 of the
    time that the compiler's own convolution takes.
    """
    taps, frames = kernel.shape[0], x.shape[-2]
    size = _next_even_smooth(frames + taps - 1)
    spectrum = jnp.fft.rfft(x, size, axis=-2)
    response = jnp.fft.rfft(kernel[::-1], size, axis=0)
    y = jnp.fft.irfft(jnp.einsum("...fc,fcd->...fd", spectrum, response), size, axis=-2)
    after = taps - 1 - (taps - 1) // 2
    return jax.lax.slice_in_dim(y, after, after + frames, axis=x.ndim - 2)


def _next_even_smooth(size: int) -> int:
    """The least even number from `size` on without prime factors above 5."""

    def rest(value: int) -> int:
        for factor in (2, 3, 5):
            while value % factor == 0:
                value //= factor
        return value

    return next(n for n in itertools.count(size + size % 2, 2) if rest(n) == 1)


def dropout(x: Array, rate: float, key: Array | None) -> Array:
    """Sets elements to 0 with probability `rate` and scales the others up; without a key, x."""
    if key is None or rate == 0:
        return x
    return keep(x, draw_kept(key, rate, x.shape), rate)


def draw_kept(key: Array, rate: float, shape: tuple[int, ...]) -> Array:
    """Which elements dropout keeps, each with probability 1 - rate.

    A hash of the element's number and the key: for NetVLAD++'s 32,768 values a window, JAX's own
    generator takes a CPU half as long as the network's gradient does, and this one a fiftieth.
    The hash's last step is MurmurHash3's.
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    index = jax.lax.iota(jnp.uint32, math.prod(shape))
    bits = (index ^ first) * jnp.uint32(0x9E3779B1) + second
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    bits ^= bits >> 16
    return (bits < jnp.uint32((1 - rate) * 2**32)).reshape(shape)


def keep(x: Array, kept: Array, rate: float) -> Array:
    """What dropout at `rate` leaves of x where `kept` are the elements it keeps."""
    return jnp.where(kept, x / (1 - rate), 0.0)


def normalize(x: Array, axis: int) -> Array:
    """x divided by its length along `axis`, but by no less than 1e-12.

    A zero vector stays zero, and its gradient is finite, as PyTorch's is.
    """
    squares = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    length = safe_sqrt(squares)
    return x / jnp.maximum(length, 1e-12)


def safe_sqrt(x: Array) -> Array:
    """The square root, with a gradient of 0 at 0 instead of an infinite one."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
