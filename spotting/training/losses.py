"""The two losses, each a mean over the anchors of a chunk and over the batch.

The paper's text sums them and leaves displacements in frames; the official code averages, and
divides displacements by their radius, which is what is done here.
"""

import jax.numpy as jnp
import optax

from spotting.notation import Array


def confidence_loss(logits: Array, targets: Array, weights: Array) -> Array:
    """Weighted sigmoid cross-entropy.

    Args:
      logits: [B, T, K].
      targets: [B, T, K] in [0, 1]; between the two after mixup.
      weights: [B, T, K].

    Returns:
      The mean over all anchors, a scalar.
    """
    return jnp.mean(weights * optax.sigmoid_binary_cross_entropy(logits, targets))


def displacement_loss(
    displacement: Array, targets: Array, weights: Array, threshold: float = 0.5
) -> Array:
    """Weighted Huber loss, divided by its threshold.

    Args:
      displacement: [B, T, K], a fraction of the displacement radius.
      targets: [B, T, K], likewise.
      weights: [B, T, K], 0 where no displacement is defined.
      threshold: where the loss turns from quadratic to linear.

    Returns:
      The mean over all anchors, a scalar.
    """
    return jnp.mean(weights * optax.huber_loss(displacement, targets, delta=threshold)) / threshold
