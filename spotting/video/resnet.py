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

from spotting.video import winograd

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
    """A convolution with a bias, without padding.

    With `winograd` its kernel is a transformed one, and a border of zeros is added.
    """

    filters: int
    size: int = 1
    stride: int = 1
    winograd: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] to [B, H', W', filters]."""
        size = winograd.TILE if self.winograd else self.size
        shape = (size, size, x.shape[-1], self.filters)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.filters,)).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.winograd:
            return winograd.convolve(x, kernel) + bias
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


class Block(nn.Module):
    """Three convolutions beside a shortcut, which the first block of a stage convolves, too."""

    filters: int
    stride: int = 1
    is_first: bool = False
    winograd: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, None]:
        """[B, H, W, C] to [B, H/stride, W/stride, 4 * filters], and nothing, as a scan wants."""

        def convolve(
            x: jax.Array, number: int, filters: int, size: int = 1, stride: int = 1
        ) -> jax.Array:
            by_winograd = self.winograd and uses_winograd(size, filters)
            if size == 3 and not by_winograd:
                x = _pad(x, 1)
            name = f"{number}_conv"
            return Conv(filters, size, stride, by_winograd, self.dtype, name=name)(x)

        shortcut = convolve(x, 0, 4 * self.filters, 1, self.stride) if self.is_first else x
        x = nn.relu(convolve(x, 1, self.filters, 1, self.stride))
        x = nn.relu(convolve(x, 2, self.filters, 3))
        x = nn.relu(shortcut + convolve(x, 3, 4 * self.filters))
        self.sow("intermediates", "out", x)
        return x, None


class ResNet152(nn.Module):
    """Pictures [B, H, W, 3], as `preprocess` makes them, to features [B, 2048].

    The blocks of a stage that are alike are one scan: on a CPU core it takes a quarter less time
    than a program with 50 blocks, whose arrays leave the cache. The activations that parity
    looks at are sown into the collection "intermediates", those of a scan on top of each other.

    Attributes:
      dtype: of the computation.
      winograd: whether `make_params` was told so; see `winograd.is_faster`.
    """

    dtype: Any = jnp.float32
    winograd: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Average of the last block over the picture, float32."""
        x = self._keep("conv1_pad", _pad(x, 3))
        x = self._keep("conv1_bn", Conv(64, 7, 2, dtype=self.dtype, name="conv1_conv")(x))
        x = self._keep("conv1_relu", nn.relu(x))
        x = self._keep("pool1_pad", _pad(x, 1))
        x = self._keep("pool1_pool", nn.max_pool(x, (3, 3), (2, 2)))
        for stage, (filters, blocks) in enumerate(STAGES, 2):
            fields: dict[str, Any] = {"winograd": self.winograd, "dtype": self.dtype}
            stride = 2 if stage > 2 else 1
            x, _ = Block(filters, stride, is_first=True, name=f"conv{stage}_block1", **fields)(x)
            rest = nn.scan(
                Block,
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True},
                length=blocks - 1,
            )
            x, _ = rest(filters, name=f"conv{stage}_rest", **fields)(x)
        return jnp.mean(x.astype(jnp.float32), (1, 2))

    def _keep(self, name: str, x: jax.Array) -> jax.Array:
        self.sow("intermediates", name, x)
        return x


def uses_winograd(size: int, filters: int) -> bool:
    """Whether that pays for a convolution of a block: with few channels the tiles cost more."""
    return size == 3 and filters >= 128


def make_params(
    layers: Mapping[str, Mapping[str, np.ndarray]], by_winograd: bool = False
) -> dict[str, Any]:
    """Parameters of `ResNet152`.

    Args:
      layers: kernels and biases by Keras's names, see `fold`.
      by_winograd: transforms kernels for ResNet152(winograd=True).
    """

    def convolution(name: str) -> dict[str, np.ndarray]:
        kernel, bias = layers[name]["kernel"], layers[name]["bias"]
        if by_winograd and uses_winograd(len(kernel), kernel.shape[-1]):
            kernel = winograd.transform_kernel(kernel)
        return {"kernel": kernel, "bias": bias}

    params: dict[str, Any] = {"conv1_conv": convolution("conv1_conv")}
    for stage, (_, blocks) in enumerate(STAGES, 2):
        first = f"conv{stage}_block1"
        params[first] = {f"{i}_conv": convolution(f"{first}_{i}_conv") for i in range(4)}
        params[f"conv{stage}_rest"] = {
            f"{i}_conv": jax.tree.map(
                lambda *arrays: np.stack(arrays),
                *(convolution(f"conv{stage}_block{b}_{i}_conv") for b in range(2, blocks + 1)),
            )
            for i in (1, 2, 3)
        }
    return params


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
      Kernel and bias by layer, for `make_params`.
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
