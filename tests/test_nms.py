import hypothesis.extra.numpy as arrays
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotting.inference import nms

N = 40  # one shape, so that each radius is compiled once

# Few levels make ties, and zeros; -1 is padding.
tied = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.5, 1.0])
free = st.floats(0, 1, width=32, allow_subnormal=False)
scores = arrays.arrays(np.float32, (2, N), elements=st.one_of(tied, free))


def _gaussian(x):
    return 1 - np.exp(-0.5 * (x / (1 / 3)) ** 2)


def greedy_hard(scores, radius):
    remaining, kept = scores.copy(), np.full_like(scores, nms.NO_SPOT)
    while remaining.max() >= 0:
        best = remaining.argmax()
        kept[best] = remaining[best]
        remaining[max(best - radius, 0) : best + radius + 1] = nms.NO_SPOT
    return kept


def greedy_soft(scores, radius, threshold, decay=lambda x: x):
    remaining, kept = scores.copy(), np.full_like(scores, nms.NO_SPOT)
    while remaining.max() >= threshold:
        best = remaining.argmax()
        kept[best], remaining[best] = remaining[best], nms.NO_SPOT
        for t, score in enumerate(remaining):
            if abs(t - best) <= radius and score >= 0:
                remaining[t] = score * scores.dtype.type(decay(abs(t - best) / radius))
    return kept


@settings(deadline=None)
@given(scores, st.sampled_from([0, 1, 3, 10, 60]))
def test_hard_nms_is_the_greedy_loop(scores, radius):
    expected = [greedy_hard(row, radius) for row in scores]
    np.testing.assert_array_equal(nms.hard_nms(scores, radius), expected)


@settings(deadline=None)
@given(scores, st.sampled_from([1.0, 2.5, 6.0, 70.0]))
def test_soft_nms_is_the_greedy_loop(scores, radius):
    expected = [greedy_soft(row, radius, np.float32(1e-5)) for row in scores]
    np.testing.assert_array_equal(nms.soft_nms(scores, radius), expected)


@settings(deadline=None)
@given(scores, st.sampled_from([("quadratic", lambda x: x**2), ("gaussian", _gaussian)]))
def test_other_decays_are_the_greedy_loop_too(scores, named):
    name, decay = named
    expected = [greedy_soft(row, 2.5, np.float32(1e-5), decay) for row in scores]
    np.testing.assert_array_equal(nms.soft_nms(scores, 2.5, decay=name), expected)


@given(st.floats(0.1, 50), st.sampled_from(nms.DECAYS))
def test_soft_suppression_lowers_the_more_the_nearer(radius, decay):
    factors = nms.soft_factors(radius, decay)
    assert len(factors) == int(radius) + 1
    assert factors[0] == 0
    assert np.all(np.diff(factors) > 0)
    assert np.all(factors <= 1)


def test_unknown_decay():
    with pytest.raises(ValueError, match="unknown decay 'cubic'; one of linear, quadratic"):
        nms.soft_factors(2.0, "cubic")


def test_hard_nms_of_a_long_half():
    scores = np.random.default_rng(0).random((1, 3000)).astype(np.float32)
    np.testing.assert_array_equal(nms.hard_nms(scores, 20)[0], greedy_hard(scores[0], 20))


@pytest.mark.parametrize("suppress", [nms.hard_nms, nms.soft_nms])
def test_rows_do_not_touch_each_other(suppress):
    scores = np.random.default_rng(1).random((2, N)).astype(np.float32)
    together = suppress(scores, 3)
    np.testing.assert_array_equal(together, [suppress(row, 3) for row in scores])


def test_leading_axes_and_vmap():
    scores = np.random.default_rng(2).random((2, 3, N)).astype(np.float32)
    expected = nms.hard_nms(scores.reshape(6, N), 3).reshape(2, 3, N)
    np.testing.assert_array_equal(nms.hard_nms(scores, 3), expected)
    np.testing.assert_array_equal(jax.vmap(lambda s: nms.hard_nms(s, 3))(scores), expected)


@pytest.mark.parametrize("suppress", [nms.hard_nms, nms.soft_nms])
def test_nan_ends_and_is_no_spot(suppress):
    """It used to loop for ever."""
    given = np.float32([0.9, np.nan, 0.2, np.nan, 0.5, np.inf, 0.1, 0.3, np.nan, 0.7])
    clean = np.where(np.isnan(given), np.float32(nms.NO_SPOT), given)
    kept = np.asarray(suppress(given, 2))
    np.testing.assert_array_equal(kept, suppress(clean, 2))
    assert not np.isnan(kept).any()
    assert kept[0] == np.float32(0.9)
