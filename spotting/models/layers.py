"""The layers that the two trunks share, each in the form that its platform is fast in.

A convolution along time with one or three taps is a product with a [C, C'] or [3C, C'] matrix, and
a transposed convolution whose stride equals its kernel is a product followed by a reshape. XLA's
gradient of the general convolution is slow on CPUs, and its bfloat16 one may fail on GPUs; these
forms are not, and they compute the same. On TPUs, whose compiler makes a copy of every shifted
array, three taps are a convolution. Which form it is, is decided when a program is compiled for its
platform; parameters are the same.

Parameters are float32 and are cast to the `dtype` of the computation. Gradients of kernels leave
their product in float32, and biases are added in float32: what devices that share a batch sum, and
sums over all frames of a batch, are then float32 too.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spotting.notation import Array

Initializer = Callable[[Array, Sequence[int], jnp.dtype], Array]

Precision = str | None
"""Of float32 products: None for the platform's own (TPUs round their factors to bfloat16, GPUs to
TF32), "highest" for float32's."""


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
    precision: Precision = None
    kernel_init: Initializer | None = None

    def __call__(self, x: Array) -> Array:
        """[..., C] -> [..., C']."""
        kernel, bias = self.parameters(x.shape[-1])
        return (product(x.astype(self.dtype), kernel, self.precision) + bias).astype(self.dtype)

    @nn.compact
    def parameters(self, channels: int) -> tuple[Array, Array]:
        """W and b for an input of C channels."""
        init = self.kernel_init or glorot_uniform(channels, self.features)
        kernel = self.param("kernel", init, (channels, self.features), jnp.float32)
        return kernel, _read_bias(self, self.features)


class Conv3(nn.Module):
    """Convolution over three frames, zero padded. W is [3, C, C'], glorot-uniform; b is 0."""

    features: int
    dtype: jnp.dtype = jnp.float32
    precision: Precision = None

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
        bias = _read_bias(self, self.features)
        return (convolve3(x.astype(self.dtype), kernel, self.precision) + bias).astype(self.dtype)


class Upsample2(nn.Module):
    """Transposed convolution over time, kernel 2, stride 2. W is [C, 2, C']; b is 0."""

    features: int
    dtype: jnp.dtype = jnp.float32
    precision: Precision = None

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
        bias = _read_bias(self, self.features)
        return (upsample2(x.astype(self.dtype), kernel, self.precision) + bias).astype(self.dtype)


def _read_bias(module: nn.Module, features: int) -> Array:
    """The bias of a layer, [C'], or [B, 1, C'] where each chunk is given one of its own.

    Flax knows parameters of one shape only; what gives a chunk its own is
    `training.flattening.value_and_grad`.
    """
    if not module.has_variable("params", "bias"):
        return module.param("bias", nn.initializers.zeros, (features,), jnp.float32)
    bias: Array = module.get_variable("params", "bias")
    if jnp.shape(bias)[-1:] != (features,):
        raise ValueError(f"{module.name}: a bias of {jnp.shape(bias)} for {features} features")
    return bias


def product(x: Array, matrix: Array, precision: Precision = None) -> Array:
    """[..., C] by float32 [C, C'] -> [..., C'] in the dtype of x, as one product of two matrices.

    For a product with several leading axes XLA's CPU backend makes transposed copies in the
    gradient, which takes an eighth of the U-net's training step.
    """
    y = _product(x.reshape(-1, x.shape[-1]), matrix, precision)
    return y.reshape(*x.shape[:-1], matrix.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(rows: Array, matrix: Array, precision: Precision) -> Array:
    """The gradient of `matrix` is float32: that of a cast would be rounded to the dtype of x."""
    return jnp.matmul(rows, matrix.astype(rows.dtype), precision=precision)


def _product_forward(rows: Array, matrix: Array, precision: Precision) -> Any:
    return _product(rows, matrix, precision), (rows, matrix)


def _product_backward(precision: Precision, saved: Any, y: Array) -> tuple[Array, Array]:
    rows, matrix = saved
    of_rows = jax.lax.dot_general(
        y, matrix.astype(y.dtype), (((1,), (1,)), ((), ())), precision=precision
    )
    of_matrix = functools.partial(_differentiate_matrix, precision=precision)
    on_cpu = functools.partial(of_matrix, narrow_first=True)
    return of_rows, jax.lax.platform_dependent(rows, y, cpu=on_cpu, default=of_matrix)


def _differentiate_matrix(
    rows: Array, y: Array, precision: Precision, narrow_first: bool = False
) -> Array:
    """[N, C] and [N, C'] -> float32 [C, C'], the sum of the rows' outer products.

    With few columns and many rows a CPU takes up to four times as long as with few rows and many
    columns, so `narrow_first` has it compute the transpose where C' is less than C. Where rows are
    few it makes no difference, and the transposition costs.
    """
    by_row = (((0,), (0,)), ((), ()))
    transposed = jax.lax.dot_general(
        y, rows, by_row, precision=precision, preferred_element_type=jnp.float32
    )
    if narrow_first and y.shape[1] < rows.shape[1] < 4 * len(rows):
        # XLA would compute the transpose of the transpose.
        transposed = jax.lax.optimization_barrier(transposed)
    return transposed.T


_product.defvjp(_product_forward, _product_backward)


class Form(NamedTuple):
    """One way to compute a linear layer without its bias.

    Attributes:
      apply: (x, float32 kernel, precision) -> y in the dtype of x.
      differentiate: (x, kernel, precision, gradient of y) to the gradients of x and, in float32, of
        the kernel.
    """

    apply: Callable[[Array, Array, Precision], Array]
    differentiate: Callable[[Array, Array, Precision, Array], tuple[Array, Array]]


def by_platform(default: Form, tpu: Form) -> Callable[[Array, Array, Precision], Array]:
    """A layer in one form on TPUs and in another elsewhere."""

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def layer(x: Array, kernel: Array, precision: Precision) -> Array:
        def using(form: Form) -> Callable[[Array, Array], Array]:
            return lambda x, kernel: form.apply(x, kernel, precision)

        return jax.lax.platform_dependent(x, kernel, tpu=using(tpu), default=using(default))

    def forward(x: Array, kernel: Array, precision: Precision) -> Any:
        return layer(x, kernel, precision), (x, kernel)

    def backward(precision: Precision, saved: Any, y: Array) -> tuple[Array, Array]:
        def using(form: Form) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
            return lambda x, kernel, y: form.differentiate(x, kernel, precision, y)

        return jax.lax.platform_dependent(*saved, y, tpu=using(tpu), default=using(default))

    layer.defvjp(forward, backward)
    return layer


def _derive(apply: Callable[[Array, Array, Precision], Array]) -> Form:
    """The form whose gradients are those that JAX derives."""

    def differentiate(
        x: Array, kernel: Array, precision: Precision, y: Array
    ) -> tuple[Array, Array]:
        return jax.vjp(lambda x, kernel: apply(x, kernel, precision), x, kernel)[1](y)

    return Form(apply, differentiate)


def _convolve3_by_product(x: Array, kernel: Array, precision: Precision) -> Array:
    taps = jnp.concatenate([_shift(x, 1), x, _shift(x, -1)], axis=-1)
    return product(taps, kernel.reshape(-1, kernel.shape[-1]), precision)


def _convolve3_by_convolution(x: Array, kernel: Array, precision: Precision) -> Array:
    batch = x.reshape(-1, *x.shape[-2:])
    y = _convolve(batch, kernel.astype(x.dtype), ("NTC", "TIO", "NTC"), precision)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _differentiate_convolution(
    x: Array, kernel: Array, precision: Precision, y: Array
) -> tuple[Array, Array]:
    of_x = _convolve3_by_convolution(y, kernel[::-1].swapaxes(1, 2), precision)
    batch, outputs = (array.reshape(-1, *array.shape[-2:]) for array in (x, y))
    # The sum runs over the chunks, and over the frames as over the taps of a kernel.
    of_kernel = _convolve(batch, outputs, ("CTN", "ITO", "TNC"), precision, jnp.float32)
    return of_x, of_kernel


def _convolve(
    x: Array,
    kernel: Array,
    axes: tuple[str, str, str],
    precision: Precision,
    dtype: jnp.dtype | None = None,
) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=[(1, 1)],
        dimension_numbers=axes,
        precision=precision,
        preferred_element_type=dtype,
    )


def _upsample2_by_product(x: Array, kernel: Array, precision: Precision) -> Array:
    channels, _, features = kernel.shape
    y = product(x, kernel.reshape(channels, 2 * features), precision)
    return y.reshape(*x.shape[:-2], 2 * x.shape[-2], features)


def _upsample2_by_einsum(x: Array, kernel: Array, precision: Precision) -> Array:
    y = jnp.einsum("...tc,cjd->...tjd", x, kernel.astype(x.dtype), precision=precision)
    return y.reshape(*x.shape[:-2], 2 * x.shape[-2], kernel.shape[-1])


def _differentiate_einsum(
    x: Array, kernel: Array, precision: Precision, y: Array
) -> tuple[Array, Array]:
    einsum = functools.partial(jnp.einsum, precision=precision)
    pairs = y.reshape(*x.shape[:-1], 2, y.shape[-1])
    of_x = einsum("...tjd,cjd->...tc", pairs, kernel.astype(y.dtype))
    rows, pairs = x.reshape(-1, x.shape[-1]), pairs.reshape(-1, *pairs.shape[-2:])
    of_kernel = einsum("nc,njd->cjd", rows, pairs, preferred_element_type=jnp.float32)
    return of_x, of_kernel


CONVOLVE3: Mapping[str, Form] = MappingProxyType(
    {
        "product": _derive(_convolve3_by_product),
        "convolution": Form(_convolve3_by_convolution, _differentiate_convolution),
    }
)
"""[..., T, C] by [3, C, C'] -> [..., T, C'], zero padded."""

UPSAMPLE2: Mapping[str, Form] = MappingProxyType(
    {
        "product": _derive(_upsample2_by_product),
        "einsum": Form(_upsample2_by_einsum, _differentiate_einsum),
    }
)
"""[..., T, C] by [C, 2, C'] -> [..., 2T, C']."""

convolve3 = by_platform(default=CONVOLVE3["product"], tpu=CONVOLVE3["convolution"])
upsample2 = by_platform(default=UPSAMPLE2["product"], tpu=UPSAMPLE2["einsum"])


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
