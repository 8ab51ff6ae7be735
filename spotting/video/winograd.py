"""Convolutions of 3x3 taps by Winograd's F(2x2, 3x3): 16 products of matrices where 36 were.

Each tile of 4x4 values of a picture gives 2x2 of the result. For networks whose kernels are fixed:
they are transformed once. In float32 the result differs from a plain convolution's by what another
order of its sums makes; in bfloat16 it would lose digits.

References:
  Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.1.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

TILE = 4
"""Height and width of transformed kernels."""

_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def is_faster(dtype: jnp.dtype | str) -> bool:
    """Whether networks here should convolve so: on CPUs, in float32."""
    return jax.default_backend() == "cpu" and jnp.dtype(dtype) == jnp.float32


def transform_kernel(kernel: np.ndarray) -> np.ndarray:
    """A kernel [3, 3, C, D] as `convolve` takes it, [4, 4, C, D]; computed in float64."""
    transformed = np.einsum("ai,bj,ijcd->abcd", _KERNEL, _KERNEL, kernel, optimize=True)
    return transformed.astype(kernel.dtype)


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution with stride 1 that keeps the picture's size; zeros lie around it.

    Args:
      x: [B, H, W, C].
      kernel: [4, 4, C, D], see `transform_kernel`.

    Returns:
      [B, H, W, D].
    """
    batch, height, width, channels = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    below, right = (2 * tiles + 1 - size for tiles, size in ((rows, height), (columns, width)))
    x = jnp.pad(x, ((0, 0), (1, below), (1, right), (0, 0)))
    # [i][j] holds the values [B, rows, columns, C] of all tiles at place (i, j).
    places = range(TILE)
    values = [[x[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for j in places] for i in places]
    values = [_transform_input(line) for line in _transpose(values)]
    values = [_transform_input(line) for line in _transpose(values)]
    products = [[values[i][j].reshape(-1, channels) @ kernel[i, j] for j in places] for i in places]
    products = [_transform_output(line) for line in _transpose(products)]
    products = [_transform_output(line) for line in _transpose(products)]
    shape = (batch, rows, columns, kernel.shape[-1])
    lines = [jnp.stack([each.reshape(shape) for each in line], 3) for line in products]
    y = jnp.stack(lines, 2).reshape(batch, 2 * rows, 2 * columns, kernel.shape[-1])
    return y[:, :height, :width]


def _transpose(square: Sequence[Sequence[jax.Array]]) -> list[list[jax.Array]]:
    return [list(line) for line in zip(*square, strict=True)]


def _transform_input(line: Sequence[jax.Array]) -> list[jax.Array]:
    a, b, c, d = line
    return [a - c, b + c, c - b, b - d]


def _transform_output(line: Sequence[jax.Array]) -> list[jax.Array]:
    a, b, c, d = line
    return [a + b + c, b - c - d]
