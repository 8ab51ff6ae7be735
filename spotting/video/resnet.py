"""ResNet-152 in Flax, with the weights that Keras publishes: SoccerNet's `ResNET_TF2`.

Layers bear the names of keras.applications' ResNet152 (version 1: the stride is in the first 1x1
convolution of a block), so that its weights are read by name. Batch normalisation is part of the
convolutions (see `fold`).

References:
  He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

FEATURE_DIM = 2048
STAGES = ((64, 3), (128, 8), (256, 36), (512, 3))  # (filters, blocks) of conv2 to conv5
MEANS = (103.939, 116.779, 123.68)
CHANNELS = ("soccernet", "imagenet")

_EPSILON = 1.001e-5


def block_names() -> Iterator[tuple[str, int, int, int]]:
    """Name, filters, input channels and stride of every block, from first to last."""
    channels = 64
    for stage, (filters, blocks) in enumerate(STAGES, 2):
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            yield f"conv{stage}_block{block}", filters, channels, stride
            channels = 4 * filters


def layer_shapes() -> dict[str, tuple[int, int, int, int]]:
    """Kernel shapes (height, width, input, output) of all convolutions, by Keras's names."""
    shapes = {"conv1_conv": (7, 7, 3, 64)}
    for name, filters, channels, _ in block_names():
        if name.endswith("_block1"):
            shapes[f"{name}_0_conv"] = (1, 1, channels, 4 * filters)
        shapes[f"{name}_1_conv"] = (1, 1, channels, filters)
        shapes[f"{name}_2_conv"] = (3, 3, filters, filters)
        shapes[f"{name}_3_conv"] = (1, 1, filters, 4 * filters)
    return shapes


def weight_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of all weights of Keras's file, but for the classifier's, by layer and name."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, kernel in layer_shapes().items():
        shapes[name] = {"kernel": kernel, "bias": kernel[-1:]}
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        shapes[norm_of(name)] = dict.fromkeys(names, kernel[-1:])
    return shapes


def norm_of(convolution: str) -> str:
    """The name of the batch normalisation that follows a convolution."""
    return convolution.removesuffix("conv") + "bn"


class Conv(nn.Module):
    """A convolution with a bias, without padding."""

    filters: int
    size: int = 1
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] to [B, H', W', filters]."""
        shape = (self.size, self.size, x.shape[-1], self.filters)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.filters,)).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.size == 1:
            return x[:, :: self.stride, :: self.stride] @ kernel[0, 0] + bias
        y = jax.lax.conv_general_dilated(
            x,
            kernel,
            (self.stride, self.stride),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + bias


class ResNet152(nn.Module):
    """Pictures [B, H, W, 3], as `preprocess` makes them, to features [B, 2048].

    The activations that parity looks at are sown into the collection "intermediates".
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Average of the last block over the picture, float32."""

        def convolve(
            x: jax.Array, name: str, filters: int, size: int = 1, stride: int = 1
        ) -> jax.Array:
            return Conv(filters, size, stride, self.dtype, name=f"{name}_conv")(x)

        x = self._keep("conv1_pad", _pad(x, 3))
        x = self._keep("conv1_bn", convolve(x, "conv1", 64, 7, 2))
        x = self._keep("conv1_relu", nn.relu(x))
        x = self._keep("pool1_pad", _pad(x, 1))
        x = self._keep("pool1_pool", nn.max_pool(x, (3, 3), (2, 2)))
        for name, filters, _, stride in block_names():
            shortcut = x
            if name.endswith("_block1"):
                shortcut = convolve(x, f"{name}_0", 4 * filters, stride=stride)
            x = nn.relu(convolve(x, f"{name}_1", filters, stride=stride))
            x = nn.relu(convolve(_pad(x, 1), f"{name}_2", filters, 3))
            x = nn.relu(shortcut + convolve(x, f"{name}_3", 4 * filters))
            x = self._keep(f"{name}_out", x)
        return jnp.mean(x.astype(jnp.float32), (1, 2))

    def _keep(self, name: str, x: jax.Array) -> jax.Array:
        self.sow("intermediates", name, x)
        return x


def _pad(x: jax.Array, width: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (width, width), (width, width), (0, 0)))


def preprocess(pictures: jax.Array, channels: str = "soccernet") -> jax.Array:
    """Makes the network's input.

    SoccerNet's extractor handed pictures in the order blue, green, red to a function that expects
    red first: the network saw red where it had learnt blue. Published features carry this.

    Args:
      pictures: [B, H, W, 3] uint8 in the order blue, green, red.
      channels: one of CHANNELS: what SoccerNet's features are made of, or what the network was
        trained on.

    Returns:
      [B, H, W, 3] float32.
    """
    ordered = pictures[..., ::-1] if channels == "soccernet" else pictures
    return ordered.astype(jnp.float32) - jnp.asarray(MEANS, jnp.float32)


def fold(
    weights: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, dict[str, np.ndarray]]:
    """Makes each batch normalisation part of the convolution before it, in float64.

    Args:
      weights: by layer and name, as Keras has them.

    Returns:
      Parameters of `ResNet152`.
    """
    return {name: fold_layer(weights[name], weights[norm_of(name)]) for name in layer_shapes()}


def fold_layer(
    layer: Mapping[str, np.ndarray], norm: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Kernel and bias of one convolution and the batch normalisation that follows it."""
    variance = norm["moving_variance"].astype(np.float64)
    scale = norm["gamma"].astype(np.float64) / np.sqrt(variance + _EPSILON)
    bias = (layer["bias"].astype(np.float64) - norm["moving_mean"]) * scale + norm["beta"]
    kernel = layer["kernel"].astype(np.float64) * scale
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
