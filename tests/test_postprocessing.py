import numpy as np
import pytest

from spotting.anchors import decode_sum
from spotting.base.errors import InputError
from spotting.inference.postprocessing import Suppression, Votes, score_map
from spotting.scoring.figures import spot_split


def _one_peak(frame, num_frames=300, num_classes=2):
    confidence = np.full((num_frames, num_classes), 0.01, np.float32)
    confidence[frame] = 0.9
    return confidence


def test_displacement_moves_the_peak():
    displacement = np.full((300, 2), 2.5, np.float32)  # rounds half to even
    scores = score_map(_one_peak(50), displacement, 2.0, Suppression())
    assert (scores.argmax(axis=0) == 52).all()
    assert scores.shape == (300, 2)
    still = score_map(_one_peak(50), None, 2.0, Suppression())
    assert (still.argmax(axis=0) == 50).all()


def test_nothing_is_spotted_in_the_padding():
    confidence = np.ones((5, 1), np.float32)
    scores = score_map(confidence, np.full((5, 1), 9.0, np.float32), 2.0, Suppression())
    np.testing.assert_array_equal(scores[:, 0], [-1, -1, -1, -1, 1])


def test_a_window_for_each_class():
    confidence = np.zeros((100, 2), np.float32)
    confidence[[40, 48]] = [[0.9], [0.8]]
    scores = score_map(confidence, None, 2.0, Suppression("hard", (2.0, 20.0)))
    assert scores[48, 0] == np.float32(0.8)
    assert scores[48, 1] == -1


def test_soft_suppression_decays():
    confidence = np.zeros((100, 1), np.float32)
    confidence[[40, 44]] = [[0.9], [0.8]]
    scores = score_map(confidence, None, 2.0, Suppression("soft", (4.0,)))
    assert scores[44, 0] == np.float32(0.4)  # 4 of 8 frames away


def test_a_decay_for_each_class():
    confidence = np.zeros((100, 2), np.float32)
    confidence[[40, 44]] = [[0.9], [0.8]]
    decays = ("linear", "quadratic")
    scores = score_map(confidence, None, 2.0, Suppression("soft", (4.0,), decays=decays))
    np.testing.assert_array_equal(scores[44], np.float32([0.4, 0.2]))  # 4 of 8 frames away


@pytest.mark.parametrize("furthest", [2.5, 3.0, 12.0, 17.0])
@pytest.mark.parametrize("votes", [Votes(), Votes(0.75), Votes(0.75, rate=4.0)])
def test_how_far_votes_may_go_changes_no_score(furthest, votes):
    generator = np.random.default_rng(2)
    confidence = generator.random((90, 2), np.float32)
    displacement = generator.uniform(-furthest, furthest, (90, 2)).astype(np.float32)
    displacement[[7, 50]] = [[furthest], [-furthest]]
    suppression = Suppression("hard", (0.5,), votes=votes)
    known = score_map(confidence, displacement, 2.0, suppression, furthest)
    expected = score_map(confidence, displacement, 2.0, suppression)
    np.testing.assert_allclose(known, expected, rtol=1e-6)


@pytest.mark.parametrize("displaced", [True, False])
def test_votes_that_are_added(displaced):
    generator = np.random.default_rng(0)
    confidence = generator.random((70, 2), np.float32)
    displacement = generator.uniform(-5, 5, (70, 2)).astype(np.float32) if displaced else None
    votes = Votes(spread=1.5, radius=3.0, shape="box")  # 3 frames; 13 anchors around an event
    scores = score_map(confidence, displacement, 2.0, Suppression("hard", (1e-3,), votes=votes))
    moves = displacement.T if displaced else np.zeros((2, 70), np.float32)
    expected = decode_sum(confidence.T, moves, 70, 16, 3.0, 13.0)
    np.testing.assert_allclose(scores.T, expected, rtol=1e-6)
    assert Votes(radius=3.0).in_frames(2.0) == (0, 1)


@pytest.mark.parametrize("spread", [0.0, 0.75])
def test_votes_are_counted_between_frames(spread):
    generator = np.random.default_rng(1)
    confidence = generator.random((40, 2), np.float32)
    displacement = generator.uniform(-3, 3, (40, 2)).astype(np.float32)

    def by_hand(values):
        between = (values + np.concatenate([values[1:], values[-1:]])) / 2
        return np.stack([values, between], axis=1).reshape(80, 2)

    how = Suppression("soft", (4.0,), votes=Votes(spread, rate=2.0))
    scores = score_map(confidence, displacement, 1.0, how)
    finer = by_hand(confidence), 2 * by_hand(displacement)
    expected = score_map(*finer, 2.0, Suppression("soft", (4.0,), votes=Votes(spread)))
    assert scores.shape == (80, 2)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    still = score_map(by_hand(confidence), None, 2.0, Suppression("soft", (4.0,)))
    without = Suppression("soft", (4.0,), votes=Votes(rate=2.0))
    np.testing.assert_allclose(score_map(confidence, None, 1.0, without), still, rtol=1e-5)


def test_a_peak_between_two_frames_is_found_there():
    """Two anchors at either side of an event that each displace their vote by half a frame."""
    confidence, displacement = np.zeros((2, 30, 1), np.float32)
    confidence[10:12, 0], displacement[10:12, 0] = 0.9, (0.5, -0.5)
    how = Suppression(votes=Votes(0.5, rate=2.0))
    spotted = spot_split([confidence], [displacement], 1.0, how)
    assert spotted.frame_rate == 2
    assert spotted.spots.frame[np.argmax(spotted.spots.score)] == 21  # 10.5 s


def test_unfit_settings():
    with pytest.raises(InputError, match="'hard', 'half_open' or 'soft'"):
        Suppression("medium")
    with pytest.raises(InputError, match="must be > 0"):
        Suppression("hard", (0.0,))
    with pytest.raises(InputError, match="spread is -1 s; it must be between 0 and 60"):
        Votes(-1.0)
    with pytest.raises(InputError, match="vote_rate is 1, less than the 2 frames per second"):
        score_map(_one_peak(1), None, 2.0, Suppression(votes=Votes(rate=1.0)))
    with pytest.raises(InputError, match="3 values for 2 classes"):
        score_map(_one_peak(1), None, 2.0, Suppression("hard", (1.0, 2.0, 3.0)))
    with pytest.raises(InputError, match="decay is cubic; each is one of linear"):
        Suppression("soft", decays=("cubic",))
    with pytest.raises(InputError, match="decay has 3 values for 2 classes"):
        score_map(_one_peak(1), None, 2.0, Suppression("soft", decays=("linear",) * 3))
