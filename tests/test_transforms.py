import dataclasses
import io

import numpy as np
import pytest
from stream_fixture import CLASSES, FEATURES, marks, write_matches

from spotting.base.errors import InputError
from spotting.data import transforms
from spotting.data.feature_statistics import add_moments, compute_moments, map_threads
from spotting.data.halves import open_dataset
from spotting.data.transforms import Transform

GAMES = {"train": [(5, 30), (8, 17)], "valid": [(9, 4)]}


@pytest.fixture
def folder(tmp_path):
    return write_matches(tmp_path, GAMES)


def add_features(folder, name, dim, dtype=np.float32, extra_frames=0):
    """A second feature set beside the first, drawn at random."""
    rng = np.random.default_rng(1)
    for path in sorted(folder.rglob(f"*_{FEATURES}.npy")):
        length = len(np.load(path)) + extra_frames
        array = rng.normal(2, 3, (length, dim)).astype(dtype)
        np.save(path.with_name(path.name.replace(FEATURES, name)), array)


def load_split(folder, split, transform):
    dataset = open_dataset(folder)
    normalization = transforms.fit_normalization(dataset, transform)
    halves, _ = transforms.read_transformed_split(dataset, split, transform, normalization)
    return halves, [half.load() for half in halves]


def test_no_transform_changes_nothing(folder):
    dataset = open_dataset(folder)
    assert transforms.describe_transformed(dataset, Transform()) == dataset
    halves, loaded = load_split(folder, "train", Transform())
    assert [half.num_frames for half in halves] == [5, 30, 8, 17]
    np.testing.assert_array_equal(loaded[1], marks(1, 30))


@pytest.mark.parametrize(("rate", "frames"), [(4.0, 14), (3.0, 10), (1.0, 4), (0.1, 1)])
def test_resampling_is_linear(rate, frames):
    ramp = np.stack([np.arange(7.0), 10 - np.arange(7.0)], 1).astype(np.float32)
    result = transforms.resample(ramp, 2.0, rate)
    assert len(result) == transforms.count_resampled_frames(7, 2.0, rate) == frames
    seconds = np.arange(frames) / rate
    # At 2 frames per second, frame i is at i / 2 s; the last one lasts on.
    expected = np.minimum(seconds * 2, 6)
    np.testing.assert_allclose(result, np.stack([expected, 10 - expected], 1), atol=1e-5)


def test_resampling_to_the_same_rate_and_back():
    features = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    assert transforms.resample(features, 2.0, 2.0) is features
    doubled = transforms.resample(features, 1.0, 2.0)
    np.testing.assert_array_equal(doubled[::2], features)
    np.testing.assert_array_equal(transforms.resample(doubled, 2.0, 1.0), features)


def test_feature_sets_are_joined(folder):
    add_features(folder, "more", 3, np.float16, extra_frames=1)
    transform = Transform(("more",))
    stored = transforms.describe_transformed(open_dataset(folder), transform)
    assert (stored.feature_dim, stored.features) == (7, f"{FEATURES}+more")
    halves, loaded = load_split(folder, "train", transform)
    assert [half.num_frames for half in halves] == [5, 30, 8, 17]
    np.testing.assert_array_equal(loaded[1][:, :4], marks(1, 30))
    second = np.load(halves[1].path.with_name("2_more.npy"))
    np.testing.assert_array_equal(loaded[1][:, 4:], second[:30])
    assert loaded[1].dtype == np.float32


def test_joined_sets_must_be_of_one_video(folder):
    add_features(folder, "more", 3, extra_frames=5)
    with pytest.raises(InputError, match="different videos"):
        load_split(folder, "train", Transform(("more",)))


def test_joined_sets_must_be_of_the_same_halves(folder):
    add_features(folder, "more", 3)
    (folder / "league/train 1" / "2_more.npy").unlink()
    with pytest.raises(InputError, match=r"train 1/2_more\.npy"):
        load_split(folder, "train", Transform(("more",)))
    np.save(folder / "league/train 1" / "2_more.npy", np.zeros((17, 3), np.float32))
    np.save(folder / "league/train 1" / "3_more.npy", np.zeros((9, 3), np.float32))
    with pytest.raises(InputError, match=rf"train 1/3_{FEATURES}\.npy: no such file, though other"):
        load_split(folder, "train", Transform(("more",)))


def test_joined_sets_may_have_different_rates(folder):
    dataset = open_dataset(folder)
    features = np.arange(10.0, dtype=np.float32)[:, None]
    joined = transforms.apply_transform([features, features[:5]], [2.0, 1.0], 2.0, None)
    np.testing.assert_array_equal(joined[:, 0], np.arange(10))
    np.testing.assert_array_equal(joined[:, 1], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4])
    assert transforms.describe_transformed(dataset, Transform(resample=1.0)).frame_rate == 1.0


@pytest.mark.parametrize("normalize", ["max_abs", "standard"])
def test_normalization_is_fitted_on_the_training_split_alone(folder, normalize):
    add_features(folder, "more", 2)
    transform = Transform(("more",), normalize=normalize)
    _, raw = load_split(folder, "train", Transform(("more",)))
    train = np.concatenate(raw).astype(np.float64)
    _, loaded = load_split(folder, "train", transform)
    values = np.concatenate(loaded)
    if normalize == "max_abs":
        np.testing.assert_allclose(np.abs(values).max(axis=0), [1, 1, 1, 1, 1, 1], rtol=1e-6)
        expected = train / np.abs(train).max(axis=0)
    else:
        std = train.std(axis=0)
        # Columns 2 and 3 are constant.
        expected = (train - train.mean(axis=0)) / np.where(std > 0, std, 1)
    np.testing.assert_allclose(values, expected, atol=2e-6)

    before = transforms.fit_normalization(open_dataset(folder), transform)
    path = folder / "league/valid 0" / f"1_{FEATURES}.npy"
    np.save(path, 100 * np.load(path))
    after = transforms.fit_normalization(open_dataset(folder), transform)
    np.testing.assert_array_equal(before.offset, after.offset)
    np.testing.assert_array_equal(before.scale, after.scale)


def test_normalization_commutes_with_resampling(folder):
    _, loaded = load_split(folder, "train", Transform(resample=4.0, normalize="standard"))
    _, normalized = load_split(folder, "train", Transform(normalize="standard"))
    for one, other in zip(loaded, normalized, strict=True):
        np.testing.assert_allclose(one, transforms.resample(other, 2.0, 4.0), atol=1e-6)


def test_the_fit_is_kept_and_renewed(folder, monkeypatch):
    dataset = open_dataset(folder)
    transform = Transform(normalize="standard")
    first = transforms.fit_normalization_once(dataset, transform, folder / "prepared")
    with monkeypatch.context() as patch:
        patch.setattr(transforms, "fit_normalization", None)  # Not to be called.
        again = transforms.fit_normalization_once(dataset, transform, folder / "prepared")
    np.testing.assert_array_equal(again.offset, first.offset)
    np.testing.assert_array_equal(again.scale, first.scale)

    smaller = dataclasses.replace(dataset, splits={"train": dataset.splits["train"][:1]})
    renewed = transforms.fit_normalization_once(smaller, transform, folder / "prepared")
    assert (renewed.offset != first.offset).any()
    assert transforms.fit_normalization_once(dataset, Transform(), folder / "prepared") is None


def _other_npz(_):
    content = io.BytesIO()
    np.savez(content, offset=np.zeros(3))
    return content.getvalue()


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda _: b"", _other_npz])
def test_a_damaged_fit_is_named(folder, damage):
    dataset, transform = open_dataset(folder), Transform(normalize="standard")
    transforms.fit_normalization_once(dataset, transform, folder / "prepared")
    path = next((folder / "prepared" / "normalization").iterdir())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"{path.name}: .*delete it to have it fitted again"):
        transforms.fit_normalization_once(dataset, transform, folder / "prepared")


def test_moments_are_numpys():
    rng = np.random.default_rng(0)
    parts = [rng.normal(50, 3, (n, 6)).astype(np.float32) for n in (700, 1, 256, 33)]
    total = add_moments(map_threads(compute_moments, parts))
    everything = np.concatenate(parts).astype(np.float64)
    assert total.count == 990
    np.testing.assert_allclose(total.mean, everything.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(total.std(), everything.std(axis=0), rtol=1e-10)
    np.testing.assert_array_equal(total.max_abs, np.abs(everything).max(axis=0))


def test_threads_keep_the_order_and_stop_at_an_error():
    assert list(map_threads(lambda x: x * x, range(100))) == [x * x for x in range(100)]
    done = []

    def fail(item):
        done.append(item)
        if item == 3:
            raise InputError("three")

    with pytest.raises(InputError, match="three"):
        list(map_threads(fail, range(10_000)))
    assert len(done) < 100


def test_labels_follow_the_new_rate(folder):
    halves, _ = load_split(folder, "train", Transform(resample=4.0))
    plain, _ = load_split(folder, "train", Transform())
    assert [half.events for half in halves] == [half.events for half in plain]
    assert [half.num_frames for half in halves] == [2 * half.num_frames for half in plain]
    assert {event.label for half in halves for event in half.events} <= set(CLASSES)


@pytest.mark.parametrize(
    "options", [{"normalize": "whiten"}, {"resample": -1.0}, {"resample": float("nan")}]
)
def test_wrong_options(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Transform(**options)


def test_unknown_feature_sets_are_named(folder):
    with pytest.raises(InputError, match=r"1_other\.npy: no such file"):
        transforms.describe_transformed(open_dataset(folder), Transform(("other",)))
