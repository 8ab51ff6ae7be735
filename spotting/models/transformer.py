"""The transformer-encoder trunk ("DTE" in the paper's tables)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spotting.models.layers import Dense
from spotting.notation import Array


def _truncated_normal(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    # Standard deviation 0.0176: what cutting at two sigma leaves of 0.02. Flax's initialiser of the
    # same name scales that back up to 0.02; Keras's, which the official code uses, does not.
    return 0.02 * jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)


class EncoderLayer(nn.Module):
    """Pre-norm attention and feed-forward, each added to its input. No dropout."""

    num_heads: int
    mlp_dim: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, C] -> [B, T, C]."""
        batch, time, channels = x.shape

        def project(name: str) -> Array:
            heads = Dense(channels, self.dtype, name=name)(h)
            return heads.reshape(batch, time, self.num_heads, channels // self.num_heads)

        h = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="attention_norm")(x)
        h = jax.nn.dot_product_attention(project("query"), project("key"), project("value"))
        x = x + Dense(channels, self.dtype, name="out")(h.reshape(batch, time, channels))

        h = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="mlp_norm")(x)
        h = Dense(self.mlp_dim, self.dtype, _truncated_normal, name="mlp_in")(h)
        h = nn.gelu(h, approximate=False)
        return x + Dense(channels, self.dtype, _truncated_normal, name="mlp_out")(h)


class TransformerEncoder(nn.Module):
    """Learned position embedding, a linear map to `width`, `layers` encoder layers, a last norm."""

    layers: int
    width: int
    num_heads: int
    mlp_dim: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, C] -> [B, T, width]."""
        position = self.param("position", _truncated_normal, x.shape[-2:], jnp.float32)
        x = x.astype(self.dtype) + position.astype(self.dtype)
        x = Dense(self.width, self.dtype, _truncated_normal, name="embed")(x)
        for layer in range(self.layers):
            x = EncoderLayer(self.num_heads, self.mlp_dim, self.dtype, name=f"layer{layer}")(x)
        return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
