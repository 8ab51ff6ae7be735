"""The transformer-encoder trunk ("DTE" in the paper's tables)."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from spotting.base.errors import InputError
from spotting.models.layers import Dense, Precision, product
from spotting.notation import Array


def _truncated_normal(key: Array, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> Array:
    # Standard deviation 0.0176: what cutting at two sigma leaves of 0.02. Flax's initialiser of the
    # same name scales that back up to 0.02; Keras's, which the official code uses, does not.
    return 0.02 * jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)


def attend(
    query: Array, key: Array, value: Array, order: str = "bhqk", precision: Precision = None
) -> Array:
    """Softmax attention, its exponentials divided by their sum after the product with the values.

    The arrays that are divided are T / C times smaller, and of those of [T, T] the gradient needs
    the exponentials alone, in the dtype of the values: from the output and its own gradient follows
    what the sum takes back (Dao et al., "FlashAttention", NeurIPS 2022, appendix B.2).

    Args:
      query: [B, T, heads, C].
      key: [B, T, heads, C].
      value: [B, T, heads, C].
      order: of the axes of the exponentials, of batch b, heads h, queries q and keys k.
      precision: of the products.

    Returns:
      [B, T, heads, C].
    """
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    return jnp.swapaxes(_attend(query, key, value, order, precision), 1, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _attend(query: Array, key: Array, value: Array, order: str, precision: Precision) -> Array:
    """`attend` of arrays [B, heads, T, C]."""
    return _attend_forward(query, key, value, order, precision)[0]


def _attend_forward(
    query: Array, key: Array, value: Array, order: str, precision: Precision
) -> tuple[Array, tuple[Array, ...]]:
    einsum = functools.partial(jnp.einsum, precision=precision, preferred_element_type=jnp.float32)
    keys = order.index("k")
    query = query * query.shape[-1] ** -0.5
    logits = einsum(f"bhqc,bhkc->{order}", query, key)
    # The barrier keeps the maximum in the kernel of the product: a TPU's compiler would take it
    # where it is subtracted, of a window around each logit.
    greatest = jax.lax.optimization_barrier(jnp.max(logits, axis=keys, keepdims=True))
    shares = jnp.exp(logits - greatest)
    sums = jnp.sum(shares, axis=keys)[..., None]
    shares = shares.astype(value.dtype)
    mixed = (einsum(f"{order},bhkc->bhqc", shares, value) / sums).astype(value.dtype)
    return mixed, (query, key, value, shares, sums, mixed)


def _attend_backward(
    order: str, precision: Precision, saved: tuple[Array, ...], grad: Array
) -> tuple[Array, ...]:
    einsum = functools.partial(jnp.einsum, precision=precision, preferred_element_type=jnp.float32)
    query, key, value, shares, sums, mixed = saved
    dtype = value.dtype
    grad = (grad / sums).astype(dtype)
    taken = jnp.sum(grad.astype(jnp.float32) * mixed.astype(jnp.float32), axis=-1)
    of_shares = einsum(f"bhqc,bhkc->{order}", grad, value)
    of_shares -= jnp.expand_dims(taken, order.index("k"))
    of_logits = (shares.astype(jnp.float32) * of_shares).astype(dtype)
    # Channels before keys: in the other order a CPU takes nearly twice as long.
    of_value = jnp.swapaxes(einsum(f"{order},bhqc->bhck", shares, grad), 2, 3)
    of_key = jnp.swapaxes(einsum(f"{order},bhqc->bhck", of_logits, query), 2, 3)
    of_query = einsum(f"{order},bhkc->bhqc", of_logits, key) * query.shape[-1] ** -0.5
    return of_query.astype(dtype), of_key.astype(dtype), of_value.astype(dtype)


_attend.defvjp(_attend_forward, _attend_backward)


def _attend_with_jax(
    query: Array,
    key: Array,
    value: Array,
    precision: Precision = None,
    implementation: Literal["cudnn"] | None = None,
) -> Array:
    with jax.default_matmul_precision(precision) if precision else contextlib.nullcontext():
        return jax.nn.dot_product_attention(query, key, value, implementation=implementation)


ATTENTION: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "divide_last": attend,
        "divide_first": _attend_with_jax,
        # A TPU sums over rows.
        "keys_first": functools.partial(attend, order="bhkq"),
        # Keeps no array [T, T] in the GPU's memory; for bfloat16 and float16.
        "cudnn": functools.partial(_attend_with_jax, implementation="cudnn"),
    }
)
"""Forms of softmax attention: query, key and value [B, T, heads, C], and `precision`."""


def attention(
    query: Array, key: Array, value: Array, form: str = "auto", precision: Precision = None
) -> Array:
    """Softmax attention in a form of `ATTENTION`, or in that which suits the platform.

    Args:
      query: [B, T, heads, C].
      key: [B, T, heads, C].
      value: [B, T, heads, C].
      form: a key of `ATTENTION`, or "auto".
      precision: of the products.
    """
    if form != "auto":
        return ATTENTION[form](query, key, value, precision=precision)
    on_tpu, default = (
        functools.partial(ATTENTION[each], precision=precision)
        for each in ("keys_first", "divide_last")
    )
    return jax.lax.platform_dependent(query, key, value, tpu=on_tpu, default=default)


def gelu(x: Array) -> Array:
    """x times the normal distribution's cumulative function.

    `jax.nn.gelu` goes through erfc, which is exact far below 0 but twice the work; TensorFlow, and
    so the official code, has the form below.
    """
    exact = x.astype(jnp.float32)
    return (0.5 * exact * (1 + jax.lax.erf(exact * 0.5**0.5))).astype(x.dtype)


class EncoderLayer(nn.Module):
    """Pre-norm attention and feed-forward, each added to its input. No dropout."""

    num_heads: int
    mlp_dim: int
    dtype: jnp.dtype = jnp.float32
    precision: Precision = None
    attention: str = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, C] -> [B, T, C]."""
        batch, time, channels = x.shape
        how = (self.dtype, self.precision)

        h = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="attention_norm")(x)
        names = ("query", "key", "value")
        pairs = [Dense(channels, *how, name=name).parameters(channels) for name in names]
        kernel, bias = (jnp.concatenate(each, axis=-1) for each in zip(*pairs, strict=True))
        h = (product(h, kernel, self.precision) + bias).astype(self.dtype)
        heads = batch, time, self.num_heads, channels // self.num_heads
        query, key, value = (part.reshape(heads) for part in jnp.split(h, len(names), axis=-1))
        h = attention(query, key, value, self.attention, self.precision)
        x = x + Dense(channels, *how, name="out")(h.reshape(batch, time, channels))

        h = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="mlp_norm")(x)
        h = Dense(self.mlp_dim, *how, _truncated_normal, name="mlp_in")(h)
        return x + Dense(channels, *how, _truncated_normal, name="mlp_out")(gelu(h))


class TransformerEncoder(nn.Module):
    """Learned position embedding, a linear map to `width`, `layers` encoder layers, a last norm."""

    layers: int
    width: int
    num_heads: int
    mlp_dim: int
    dtype: jnp.dtype = jnp.float32
    precision: Precision = None
    attention: str = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, C] -> [B, T, width]."""
        position = self.param("position", _truncated_normal, x.shape[-2:], jnp.float32)
        x = (x + position).astype(self.dtype)
        how = (self.dtype, self.precision)
        x = Dense(self.width, *how, _truncated_normal, name="embed")(x)
        for layer in range(self.layers):
            sizes = (self.num_heads, self.mlp_dim)
            x = EncoderLayer(*sizes, *how, self.attention, name=f"layer{layer}")(x)
        return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)


def build_transformer(
    input_width: int,
    dtype: jnp.dtype,
    precision: Precision = None,
    *,
    layers: int,
    width: int,
    num_heads: int,
    mlp_dim: int,
    attention: str = "auto",
) -> TransformerEncoder:
    """The trunk; it maps an input of any width to its own."""
    del input_width
    return TransformerEncoder(layers, width, num_heads, mlp_dim, dtype, precision, attention)


def check_transformer(
    chunk_frames: int,
    *,
    layers: int,
    width: int,
    num_heads: int,
    mlp_dim: int,
    attention: str = "auto",
) -> None:
    """Raises InputError unless the heads share the width evenly; chunks may have any length."""
    del layers, mlp_dim, attention
    if chunk_frames == 0:
        raise InputError("anchors.chunk is shorter than a frame")
    if width % num_heads:
        raise InputError(
            f"model.transformer.width {width} is not a multiple of model.transformer.num_heads "
            f"{num_heads}"
        )
