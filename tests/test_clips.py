"""Clips: what they show is found by decoding them."""

from pathlib import Path

import av
import numpy as np
import pytest
from review_fixture import RATE, write_video

from spotting.base.errors import InputError
from spotting.video.clips import Span, cut_clips, file_name


@pytest.fixture(
    scope="module", params=["baseline.mp4", "reordered.mp4", "reordered.mkv", "vp9.webm"]
)
def video(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / request.param
    if path.suffix == ".webm":
        return write_video(path, 8, "libvpx-vp9")
    # Without the baseline profile x264 stores frames out of order.
    pixels = "yuv420p" if path.stem == "baseline" else "yuvj420p"
    return write_video(path, 12, pixels=pixels, sound=path.suffix == ".mp4")


def _decode(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.time for f in frames], [f.to_ndarray(format="gray") for f in frames]


def test_first_and_last_frames_are_those_asked_for(video, tmp_path):
    spans = [Span("first", 0, 1.0), Span("second", 4.5, 6.1), Span("last", 6.2, 100)]
    clips = cut_clips(video, spans, tmp_path)
    times, pictures = _decode(video)
    assert [clip.path.stem for clip in clips] == ["first", "second", "last"]
    for span, clip in zip(spans, clips, strict=True):
        cut_times, cut_pictures = _decode(clip.path)
        first = round(clip.start * RATE)
        assert clip.path.suffix == video.suffix
        assert clip.start <= span.start
        assert span.start - clip.start <= 8
        # No frame is missing inside, and none is another.
        assert np.diff(cut_times) == pytest.approx(1 / RATE, abs=2e-3)
        whole = pictures[first : first + len(cut_pictures)]
        assert len(whole) == len(cut_pictures)
        for ours, theirs in zip(cut_pictures, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        end = min(span.end, times[-1] + 1 / RATE)
        assert clip.start + cut_times[-1] - cut_times[0] == pytest.approx(clip.end, abs=2e-3)
        assert -1.5 / RATE <= clip.end - end <= 4 / RATE


def test_sound_comes_along(tmp_path):
    video = write_video(tmp_path / "v.mp4", 8, sound=True)
    (clip,) = cut_clips(video, [Span("c", 4.0, 6.0)], tmp_path)
    with av.open(str(clip.path)) as container:
        sound = [frame.time for frame in container.decode(audio=0)]
    assert sound[0] < 0.05
    assert 1.9 < sound[-1] < 2.05


def test_a_span_after_the_end_is_left_out(video, tmp_path):
    assert cut_clips(video, [Span("late", 1000, 1001)], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes(video, tmp_path):
    (tmp_path / ".one.mp4.abc.spotting-tmp").touch()
    cut_clips(video, [Span("one", 0.0, 1.0)], tmp_path)
    assert [path.stem for path in tmp_path.iterdir()] == ["one"]


def test_no_video_is_one_line(tmp_path):
    path = tmp_path / "no.mp4"
    path.write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"no.mp4: cannot be cut"):
        cut_clips(path, [Span("a", 0, 1)], tmp_path / "clips")


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    video = write_video(tmp_path / "v.mp4", 3)
    folder = tmp_path / "clips"

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spotting.video.clips._copy", fail)
    with pytest.raises(OSError, match="No space left"):
        cut_clips(video, [Span("a", 0, 1)], folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b\\..", "a_b"), ("../x", "x"), ("Yellow->red card", "Yellow-_red_card"), ("", "clip")],
)
def test_names_stay_in_their_folder(name, expected):
    assert file_name(name) == expected
