import hypothesis.extra.numpy as arrays
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotting import anchors

N, K = 48, 2
RADIUS = 12.0

labels = arrays.arrays(np.uint8, (N, K), elements=st.sampled_from([0] * 9 + [1]))
decode_sum = jax.jit(anchors.decode_sum, static_argnames=("max_shift", "spread", "full"))
unweighted = anchors.ClassWeights(np.ones(K, np.float32), np.zeros(K, np.float32))


@given(labels)
def test_offsets_lead_to_the_nearest_event_and_of_two_to_the_earlier(labels):
    offsets = anchors.event_offsets(labels)
    assert offsets.dtype == np.int16
    for k in range(K):
        events = np.flatnonzero(labels[:, k])
        for t in range(N):
            nearest = min(events, key=lambda e: (abs(e - t), e), default=t + anchors.NO_EVENT)
            assert offsets[t, k] == nearest - t


@settings(deadline=None)
@given(labels)
def test_a_perfect_prediction_decodes_to_its_events(labels):
    offsets = anchors.event_offsets(labels)
    confidence = anchors.encode_confidence(offsets, RADIUS / 2, unweighted).targets
    displacement = anchors.encode_displacement(offsets, RADIUS, unweighted).targets * RADIUS
    scores = anchors.decode(confidence.T, displacement.T, N, int(RADIUS)).T
    np.testing.assert_array_equal(scores, labels)


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, (K, N), elements=st.floats(0, 1, width=32, allow_subnormal=False)),
    # In half frames: many of them are ties of rounding.
    arrays.arrays(np.float32, (K, N), elements=st.integers(-24, 24).map(lambda x: x / 2)),
    st.lists(st.integers(1, N), min_size=K, max_size=K),
)
def test_decode_is_a_vote(confidence, displacement, lengths):
    expected = np.zeros((K, N), np.float32)
    for k, length in enumerate(lengths):
        for t in range(length):
            at = min(max(t + round(float(displacement[k, t])), 0), length - 1)
            expected[k, at] = max(expected[k, at], confidence[k, t])
    scores = anchors.decode(confidence, displacement, np.array(lengths), int(RADIUS))
    np.testing.assert_array_equal(scores, expected)


halves = arrays.arrays(np.float32, (K, N), elements=st.floats(-1, 1, width=32))
displacements = arrays.arrays(np.float32, (K, N), elements=st.floats(-12, 12, width=32))


@settings(deadline=None, max_examples=50)
@given(
    halves,
    displacements,
    st.lists(st.integers(1, N), min_size=K, max_size=K),
    st.sampled_from([0.4, 1.0, 2.5]),
)
def test_votes_that_are_added_are_shared_and_smoothed(confidence, displacement, lengths, spread):
    sums = np.zeros((K, N))
    for k, length in enumerate(lengths):
        for t in range(length):
            place = min(max(t + float(displacement[k, t]), 0), length - 1)
            for at in (int(place), int(place) + 1):
                if at < length:
                    sums[k, at] += max(confidence[k, t], 0) * max(0, 1 - abs(at - place))
    distance = np.subtract.outer(np.arange(N), np.arange(N))
    kernel = np.exp(-((distance / spread) ** 2) / 2) * (np.abs(distance) <= 3 * spread)
    expected = np.sqrt(np.minimum(sums @ kernel / 5, 1))
    expected[np.arange(N) >= np.array(lengths)[:, None]] = 0
    scores = decode_sum(
        confidence,
        displacement,
        np.array(lengths),
        max_shift=int(RADIUS),
        spread=spread,
        full=5.0,
    )
    np.testing.assert_allclose(np.square(scores), np.square(expected), rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(labels, st.sampled_from(anchors.SHAPES), st.sampled_from([0.4, 2.0]))
def test_perfect_votes_add_up_to_one(labels, shape, spread):
    radius = RADIUS / 3
    offsets = anchors.event_offsets(labels)
    confidence = anchors.shape_targets(offsets, radius, shape)
    displacement = np.where(np.abs(offsets) <= RADIUS, offsets, 0).astype(np.float32)
    full = anchors.count_votes(radius, shape)
    scores = decode_sum(
        confidence.T, displacement.T, N, max_shift=int(RADIUS), spread=spread, full=full
    ).T
    assert np.all((scores >= 0) & (scores <= 1))
    for k in range(K):
        events = np.flatnonzero(labels[:, k])
        for event in events:
            others = np.abs(np.append(np.setdiff1d(events, event), 10 * N) - event)
            if others.min() > 2 * radius and radius <= event < N - radius:
                np.testing.assert_allclose(scores[event, k], 1, atol=1e-5)
        if not len(events):
            assert np.all(scores[:, k] == 0)


def test_agreement_counts_where_votes_are_added():
    confidence = np.zeros((1, 60), np.float32)
    confidence[0, 10], confidence[0, 40:45] = 0.9, 0.6
    displacement = np.zeros((1, 60), np.float32)
    displacement[0, 40:45] = [2, 1, 0, -1, -2]
    most = anchors.decode(confidence, displacement, 60, 12)
    added = decode_sum(confidence, displacement, 60, max_shift=12, spread=1.0, full=5.0)
    assert (int(most.argmax()), int(added.argmax())) == (10, 42)
    np.testing.assert_allclose(added[0, [10, 42]], np.sqrt([0.9 / 5, 0.6]), rtol=1e-6)


def test_a_chunk_knows_the_event_just_outside():
    labels = np.zeros((20, 1), np.uint8)
    labels[12] = 1
    offsets = anchors.event_offsets(labels)[4:12]
    confidence = anchors.encode_confidence(offsets, 3.0, anchors.ClassWeights(0.5, 2.0))
    np.testing.assert_array_equal(confidence.targets[:, 0], [0, 0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(confidence.weights[:, 0], [2, 2, 2, 2, 2, 0.5, 0.5, 0.5])
    displacement = anchors.encode_displacement(offsets, 4.0, anchors.ClassWeights(3.0, 0.0))
    np.testing.assert_array_equal(displacement.targets[:, 0], [0, 0, 0, 0, 1, 0.75, 0.5, 0.25])
    np.testing.assert_array_equal(displacement.weights[:, 0], [0, 0, 0, 0, 3, 3, 3, 3])


@settings(deadline=None)
@given(labels, st.sampled_from(anchors.SHAPES), st.sampled_from([0.5, 3.0, 6.5]))
def test_shaped_targets_are_greatest_at_an_event_and_end_at_the_radius(labels, shape, radius):
    offsets = anchors.event_offsets(labels)
    targets = np.asarray(anchors.shape_targets(offsets, radius, shape))
    distance = np.abs(offsets.astype(int))
    np.testing.assert_array_equal(targets == 1, distance == 0 if shape != "box" else targets > 0)
    np.testing.assert_array_equal(targets > 0, distance <= radius)
    order = np.argsort(distance, axis=None)
    assert np.all(np.diff(targets.ravel()[order]) <= 0)  # never greater farther off


@settings(deadline=None)
@given(labels, st.sampled_from(anchors.SHAPES))
def test_weights_of_a_target_lie_between_those_of_its_parts(labels, shape):
    offsets, weights = anchors.event_offsets(labels), anchors.ClassWeights(8.0, 2.0)
    plain = anchors.encode_confidence(offsets, 3.0, weights, shape)
    np.testing.assert_allclose(plain.weights, 2 + 6 * np.asarray(plain.targets), rtol=1e-6)


def test_unknown_shape():
    with pytest.raises(ValueError, match="unknown shape 'cone'; one of box, gaussian"):
        anchors.shape_targets(np.zeros((3, 1), np.int16), 1.0, "cone")


@pytest.mark.parametrize(("radius", "count"), [(0.5, 1), (1, 3), (2.5, 5), (3, 7)])
def test_radii_may_fall_between_frames(radius, count):
    labels = np.zeros((21, 1), np.uint8)
    labels[10] = 1
    assert anchors.is_near(anchors.event_offsets(labels), radius).sum() == count


def test_class_weights_share_the_same_total_between_positives_and_negatives():
    positive, negative = np.array([5, 400, 0]), np.array([995, 600, 1000])
    weights = anchors.class_weights(positive, negative, 0.03)
    np.testing.assert_allclose(weights.positive * positive, [30, 30, 0], rtol=1e-6)
    np.testing.assert_allclose(weights.negative * negative, 970, rtol=1e-6)
    only_positive = anchors.class_weights(positive, negative, 1.0)
    np.testing.assert_allclose(only_positive.positive * positive, [1000, 1000, 0], rtol=1e-6)
    np.testing.assert_array_equal(only_positive.negative, 0)


def test_encoding_works_inside_jit():
    offsets = anchors.event_offsets(np.eye(N, K, dtype=np.uint8))
    encode = jax.jit(lambda o: anchors.encode_displacement(o, RADIUS, unweighted))
    np.testing.assert_allclose(
        encode(offsets).targets, anchors.encode_displacement(offsets, RADIUS, unweighted).targets
    )
