"""mixup of chunks (Zhang et al., ICLR 2018), for the confidence model.

The class weights of the loss are mixed with features and targets, as the official code does.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spotting.notation import Array


class Pairs(NamedTuple):
    """What to mix with what.

    Attributes:
      shares: float32 [B], of each chunk itself.
      partners: int32 [B], index of the chunk that gives the rest.
    """

    shares: Array
    partners: Array


def draw(key: Array, batch_size: int, alpha: float | Array) -> Pairs:
    """Draws what to mix with what.

    The sampler of the Beta distribution is a loop of unknown length, which a device would run in
    every step, and devices that share a batch would agree on in each of its rounds: draw for many
    steps at once.

    Args:
      key: random key.
      batch_size: B.
      alpha: both parameters of the Beta distribution; large values mix evenly, 0 does not mix.

    Returns:
      Shares lambda ~ Beta(alpha, alpha), and a random permutation.
    """
    share_key, partner_key = jax.random.split(key)
    # A search trains several alphas in one program, 0 among them, which is no Beta distribution.
    some = jnp.where(alpha > 0, alpha, 1.0)
    shares = jax.random.beta(share_key, some, some, (batch_size,), jnp.float32)
    partners = jax.random.permutation(partner_key, batch_size)
    return Pairs(jnp.where(alpha > 0, shares, 1.0), partners)


def mix(values: Array, others: Array, shares: Array) -> Array:
    """share * value + (1 - share) * other along the first axis of [B, ...], in float32.

    Args:
      values: of each chunk.
      others: of its partner.
      shares: float32 [B].

    Returns:
      The same dtype as `values`.
    """
    shares = shares.reshape(-1, *[1] * (values.ndim - 1))
    return (shares * values + (1 - shares) * others).astype(values.dtype)
