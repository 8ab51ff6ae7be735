import jax
import numpy as np

from spotting import anchors
from spotting.data import resident

T = 8


def _split():
    rng = np.random.default_rng(0)
    lengths = (20, 5, 8)
    features = [rng.standard_normal((n, 3)).astype(np.float32) for n in lengths]
    offsets = [anchors.event_offsets(rng.random((n, 2)) < 0.2) for n in lengths]
    return features, offsets, resident.concatenate(features, offsets, T)


def test_cut_is_the_half_and_never_its_neighbour():
    features, offsets, split = _split()
    half, start = np.array([0, 0, 1, 2]), np.array([3, 12, 0, 0])
    batch = resident.cut(split, half, start, T)
    for row, (h, s) in enumerate(zip(half, start, strict=True)):
        n = min(T, len(features[h]) - s)
        np.testing.assert_array_equal(batch.features[row, :n], features[h][s : s + n])
        np.testing.assert_array_equal(batch.offsets[row, :n], offsets[h][s : s + n])
        np.testing.assert_array_equal(batch.features[row, n:], 0)
        np.testing.assert_array_equal(batch.valid[row], np.arange(T) < n)


def test_positions_stay_within_their_half():
    *_, split = _split()
    half, start = resident.sample_positions(jax.random.key(0), split.lengths, 4000, T)
    assert set(np.unique(half)) == {0, 1, 2}
    assert (np.asarray(start) >= 0).all()
    assert (np.asarray(start) <= np.maximum(split.lengths[half] - T, 0)).all()
    assert set(np.unique(start[half == 0])) == set(range(13))


def test_a_key_gives_one_sequence():
    *_, split = _split()
    draw = [resident.sample_positions(jax.random.key(k), split.lengths, 50, T) for k in (1, 1, 2)]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert (np.asarray(draw[0]) != np.asarray(draw[2])).any()


def test_compute_dtype_is_kept():
    features, offsets, _ = _split()
    assert resident.concatenate(features, offsets, T, "bfloat16").features.dtype == "bfloat16"
