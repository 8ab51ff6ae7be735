import io

import numpy as np
import pytest

from spotting.base.errors import InputError
from spotting.data.halves import Half
from spotting.runs import predictions
from spotting.runs.layout import locate_predictions

GAMES = ("league/a", "league/a|confidence", "1|conf|2")


@pytest.fixture
def saved(tmp_path):
    """What the file holds, and the file."""
    rng = np.random.default_rng(0)
    halves = [Half(game, number, None, 4, ()) for game in GAMES for number in (1, 2, 3, 4)]
    scores, shifts = rng.random((2, len(halves), 4, 3), np.float32)
    predictions.save_predictions(tmp_path, "valid", halves, scores, shifts)
    keys = [(half.game, half.number) for half in halves]
    return dict(zip(keys, zip(scores, shifts, strict=True), strict=True)), tmp_path


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **{name.replace("__", "|"): array for name, array in arrays.items()})
    return content.getvalue()


def npy():
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


def test_it_reads_what_it_saved_whatever_a_game_is_called(saved):
    expected, workdir = saved
    found = predictions.load_predictions(workdir, "valid")
    assert list(found) == list(expected)
    for half, (scores, shifts) in expected.items():
        np.testing.assert_array_equal(found[half].confidence, scores)
        np.testing.assert_array_equal(found[half].displacement, shifts)


ONE = np.ones((4, 3), np.float32)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a zip file"),
        (npy(), "not a zip file"),
        (npz(x=ONE), "'x' is in it"),
        (npz(a__5__confidence=ONE, a__5__displacement=ONE), "is in it"),
        (npz(a__1__confidence=ONE), "no 'a|1|displacement'"),
        (npz(a__1__confidence=ONE, a__1__displacement=ONE[1:]), "float32 (3, 3)"),
        (npz(a__1__confidence=ONE, a__1__displacement=ONE.astype(str)), "<U32"),
        (npz(a__1__confidence=np.array([None])), "allow_pickle"),
    ],
)
def test_what_is_not_a_runs_predictions(tmp_path, content, reason):
    path = locate_predictions(tmp_path, "test")
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"test\.npz: .*--mode=evaluate spot the matches"
    ) as caught:
        predictions.load_predictions(tmp_path, "test")
    assert reason in str(caught.value)


def test_no_damage_is_a_crash(saved):
    expected, workdir = saved
    path = locate_predictions(workdir, "valid")
    sound = path.read_bytes()
    read, refused = 0, 0
    for position in range(0, len(sound), 61):
        for content in (
            sound[:position],
            sound[:position] + bytes([sound[position] ^ 0xFF]) + sound[position + 1 :],
        ):
            path.write_bytes(content)
            try:
                found = predictions.load_predictions(workdir, "valid")
            except InputError:
                refused += 1
                continue
            # The arrays are as they were, or the damage would have been seen.
            read += 1
            for half, values in found.items():
                np.testing.assert_array_equal(values, expected[half])
    assert read > 0
    assert refused > 100
