"""CALF's two losses: the segmentation's, which knows where a frame is in time, and the detections'.

Both are sums over the batch, as published, so the gradient grows with it.

Source: Cioppa et al. (CVPR 2020), sections 3 and 4, and SoccerNet/sn-spotting.
"""

import math

import jax
import jax.numpy as jnp

from spotting.notation import Array

_HIT, _MISS = 0.1, 0.9
_TINY = 1e-12  # of an argument of a logarithm


def context_aware_loss(segmentation: Array, shifts: Array, slices: Array) -> Array:
    """How wrong the segmentation is, by the time from and to each class's events.

    Far from events (before k0, from k3 on) it should be low, from an event until k2 high; just
    before an event nothing is asked, and between these the demand changes gradually.

    Args:
      segmentation: [B, T, K] in 0..1.
      shifts: [B, T, K], of `context_chunks.time_shifts`.
      slices: [4, K], k0 to k3 in frames.

    Returns:
      [B, T, K], at least 0; a segmentation below 0.1 far from events, or above 0.9 at one, costs
      nothing.
    """
    k0, k1, k2, k3 = slices
    low, high = 1 - segmentation, segmentation
    # Where a case does not apply its value may be anything: the logarithm sees only one of them.
    argument = low + high * (shifts - k3) / (k2 - k3)
    argument = jnp.where(shifts < k2, high + low * shifts / k2, argument)
    argument = jnp.where(shifts < 0, _MISS, argument)
    argument = jnp.where(shifts < k1, low + high * (shifts - k0) / (k1 - k0), argument)
    argument = jnp.where((shifts < k0) | (shifts >= k3), low, argument)
    nothing = math.log(_MISS)  # also log(1 - _HIT)
    return jnp.maximum(nothing - jnp.log(jnp.maximum(argument, _TINY)), 0)


def match_detections(targets: Array, detections: Array) -> Array:
    """Pairs the slots of each chunk with detections, one to one, by their times alone.

    Events first: every free slot picks the detection nearest in time (the first of equals), a
    detection picked by several takes the nearest slot (again the first), and so on. The empty slots
    then take what is left, by ascending time.

    Args:
      targets: [B, D, 2 + K], of `context_chunks.detection_targets`.
      detections: [B, D, 2 + K].

    Returns:
      int32 [B, D], the detection of each slot: a permutation in each chunk.
    """
    closeness = 1 - jnp.abs(targets[:, :, None, 1] - detections[:, None, :, 1])
    count = closeness.shape[-1]
    index = jnp.arange(count)

    def some_free(state: tuple[Array, Array]) -> Array:
        return jnp.any(state[0])

    def one_round(state: tuple[Array, Array]) -> tuple[Array, Array]:
        waiting, pairs = state  # events without a detection [B, D]; slot and detection [B, D, D]
        free = ~jnp.any(pairs, axis=1)
        picked = jnp.argmax(jnp.where(free[:, None, :], closeness, -jnp.inf), axis=2)
        picks = waiting[:, :, None] & (picked[:, :, None] == index)
        winner = jnp.argmax(jnp.where(picks, closeness, -jnp.inf), axis=1)
        won = picks & (winner[:, None, :] == index[:, None])
        return waiting & ~jnp.any(won, axis=2), pairs | won

    is_event = targets[..., 0] == 1
    pairs = jnp.zeros(closeness.shape, bool)
    _, pairs = jax.lax.while_loop(some_free, one_round, (is_event, pairs))

    # The n-th empty slot takes the n-th free detection.
    earliness = jnp.where(jnp.any(pairs, axis=1), -jnp.inf, 1 - jnp.abs(detections[..., 1]))
    by_time = jnp.argsort(-earliness, axis=1, stable=True)
    number = jnp.cumsum(~is_event, axis=1) - 1
    left_over = jnp.take_along_axis(by_time, jnp.maximum(number, 0), axis=1)
    matched = jnp.argmax(pairs, axis=2)
    return jnp.where(is_event, matched, left_over).astype(jnp.int32)


def detection_loss(
    detections: Array, targets: Array, place_weight: float = 5.0, empty_weight: float = 0.5
) -> Array:
    """Squared errors of the detections against the slots that they are paired with.

    Args:
      detections: [B, D, 2 + K].
      targets: [B, D, 2 + K].
      place_weight: of an event's error in time.
      empty_weight: of a confidence where there is no event.

    Returns:
      [B], the sum over the slots of each chunk.
    """
    matching = jax.lax.stop_gradient(match_detections(targets, detections))
    paired = jnp.take_along_axis(detections, matching[..., None], axis=1)
    errors = jnp.square(targets - paired)
    event = targets[..., 0]
    confidence, place, classes = errors[..., 0], errors[..., 1], jnp.sum(errors[..., 2:], axis=-1)
    per_slot = event * (place_weight * place + confidence + classes)
    return jnp.sum(per_slot + empty_weight * (1 - event) * confidence, axis=1)
