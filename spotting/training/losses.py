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


def window_loss(logits: Array, targets: Array) -> Array:
    """NetVLAD++'s loss: sigmoid cross-entropy, each class and the absence of all alike.

    Args:
      logits: [B, 1 + K].
      targets: [B, 1 + K] in [0, 1].

    Returns:
      [B], the mean over the columns.
    """
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1)


def clip_loss(
    logits: Array,
    offset: Array,
    labels: Array,
    places: Array,
    weights: Array | None = None,
    place_weight: float = 10.0,
) -> Array:
    """RMS-Net's loss: cross-entropy of the clip's class, and squared error of the event's place.

    Args:
      logits: [B, K + 1], the last column that of no class.
      offset: [B] in 0..1.
      labels: int [B], K for no class.
      places: [B] in 0..1.
      weights: [B], 0 for clips that do not count; default: all do.
      place_weight: of the squared error, a mean over the clips with a class.

    Returns:
      A scalar.
    """
    weights = jnp.ones(labels.shape) if weights is None else weights
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    has_event = weights * (labels < logits.shape[-1] - 1)
    place = jnp.sum(has_event * jnp.square(offset - places)) / jnp.maximum(jnp.sum(has_event), 1)
    return jnp.sum(weights * entropy) / jnp.sum(weights) + place_weight * place
