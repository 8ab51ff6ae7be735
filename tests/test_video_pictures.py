"""Pictures are resized and cropped as OpenCV 3.4.11 does, to the last bit."""

from pathlib import Path

import numpy as np
import pytest

from spotting.video import pictures

DATA = Path(__file__).parent / "data" / "video_resize.npz"


def arrays() -> dict[str, np.ndarray]:
    with np.load(DATA) as archive:
        return dict(archive)


@pytest.mark.parametrize("size", ["1280x720", "796x448", "720x576", "256x144"])
def test_as_opencv_does(size: str):
    width, height = map(int, size.split("x"))
    given = arrays()
    if size == "256x144":  # a part of a picture that is enlarged
        picture = np.zeros((height, width, 3), np.uint8)
        picture[:24, 100:140] = given[f"{size}|input"]
        kept = slice(30), slice(80, 120)
    else:
        tile = given[f"{size}|tile"]
        repeats = (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1)
        picture = np.tile(tile, repeats)[:height, :width]
        kept = slice(None, None, 16), slice(64, 128)
    np.testing.assert_array_equal(pictures.fit(picture)[kept], given[f"{size}|crop"])


def test_whole_ratios_are_box_averages():
    picture = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    boxes = picture.reshape(4, 3, 3, 3, 3).astype(np.float64).mean((1, 3))
    ours = pictures.resize_area(picture, 4, 3)
    assert np.abs(ours - boxes).max() <= 0.5
    np.testing.assert_array_equal(pictures.resize_area(picture, 12, 9), picture)


def test_odd_widths_lose_their_last_column_unless_it_is_wanted():
    picture = np.random.default_rng(0).integers(0, 256, (288, 352, 3), np.uint8)
    assert pictures.fitted_width(352, 288) == 273
    official = pictures.fit(picture, columns=225)
    assert official.shape == (224, 225, 3)
    np.testing.assert_array_equal(pictures.fit(picture), official[:, :224])


def test_224_columns_are_not_cut_to_nothing():
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    np.testing.assert_array_equal(pictures.fit(picture), picture)


def test_pictures_narrower_than_high_are_refused():
    with pytest.raises(ValueError, match="narrower"):
        pictures.fit(np.zeros((640, 360, 3), np.uint8))


def test_cubic_keeps_a_flat_picture():
    flat = np.full((90, 160, 3), 77, np.uint8)
    assert (pictures.resize_cubic(flat, 224, 224) == 77).all()
