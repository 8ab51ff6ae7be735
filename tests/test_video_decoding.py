"""Videos are scanned and decoded right, and those that cannot serve are refused in one line."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import video_fixture
from video_fixture import numbers, read_number, write_video

from spotting.base.errors import InputError
from spotting.video import choice, decoding, pictures
from spotting.video.halves import Half, check_half


def decode(path: Path, wanted, damage=None) -> list[int]:
    scanned = decoding.scan(path)
    return numbers(decoding.decode(scanned, np.asarray(wanted), damage or decoding.Damage()))


def one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "match.mkv", count=250)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "mov"])
def test_scan_finds_every_picture(tmp_path, suffix):
    scanned = decoding.scan(write_video(tmp_path / f"a.{suffix}", count=60))
    assert len(scanned.stamps) == 60
    np.testing.assert_allclose(scanned.timeline.times, np.arange(60) / 25, atol=6e-4)
    assert scanned.timeline.picture_rate == 25
    assert (scanned.width, scanned.height, scanned.codec) == (398, 224, "h264")
    assert scanned.missing == 0
    assert scanned.notes == ()


def test_decodes_what_is_wanted_in_order_with_repeats(video):
    assert decode(video, [0, 12, 12, 24, 37, 249]) == [0, 12, 12, 24, 37, 249]
    assert decode(video, range(250)) == list(range(250))


def test_seeks_to_the_place(video):
    assert decode(video, [190, 191, 203]) == [190, 191, 203]


def test_pictures_that_are_not_wanted_may_be_skipped_without_a_trace(video):
    """Those that no other picture depends on are not decoded."""
    scanned = decoding.scan(video)
    with decoding.open_video(video) as (container, stream):
        whole = [decoding.to_picture(frame) for frame in container.decode(stream)]
    wanted = np.arange(5, 250, 13)
    some = list(decoding.decode(scanned, wanted, decoding.Damage()))
    np.testing.assert_array_equal(some, [whole[i] for i in wanted])


def test_variable_rate_and_a_start_that_is_not_zero(tmp_path):
    times = [1.4 + t for t in (*np.arange(25) / 25, *(1 + np.arange(50) / 50))]
    path = write_video(tmp_path / "a.mkv", count=75, rate=50, times=times)
    scanned = decoding.scan(path)
    rows = choice.choose(scanned.timeline, "timestamps", 2.0)
    assert scanned.timeline.times[0] == 0
    assert decode(path, rows) == [12, 24, 49, 74]


@pytest.mark.parametrize("rate", [1, 240, Fraction(30000, 1001)])
def test_unusual_rates(tmp_path, rate):
    count = 8 if rate == 1 else 120
    path = write_video(tmp_path / "a.mp4", count, rate)
    timeline = decoding.scan(path).timeline
    rows = choice.choose(timeline, "timestamps", 2.0)
    assert len(rows) == int(2 * count / rate)
    assert decode(path, rows) == rows.tolist()


def test_colours_are_bt601_whatever_the_tag_says(tmp_path):
    plain = write_video(tmp_path / "plain.mp4", count=10)
    tagged = write_video(tmp_path / "tagged.mp4", count=10, properties={"colorspace": 1})
    with av.open(str(tagged)) as container:
        assert container.streams.video[0].codec_context.colorspace == 1
    one, other = (
        list(decoding.decode(decoding.scan(path), np.arange(10), decoding.Damage()))
        for path in (plain, tagged)
    )
    np.testing.assert_array_equal(one, other)
    # The background, away from the cells: what was drawn, but for the coding.
    colour = one[0][150:, 100].mean(0)
    np.testing.assert_allclose(colour, video_fixture.draw(0, 398, 224)[200, 5], atol=4)


def test_ten_bits_are_read(tmp_path):
    path = write_video(tmp_path / "a.mkv", count=30, pixel_format="yuv420p10le")
    assert decode(path, [12, 24]) == [12, 24]


def test_stream_gives_the_rows_of_the_file(video):
    scanned = decoding.scan(video)
    rows = choice.choose(scanned.timeline, "timestamps", 2.0)
    assert numbers(decoding.stream(video, 2.0)) == rows.tolist()


def test_stream_survives_a_clock_that_starts_anew(tmp_path):
    first = write_video(tmp_path / "a.ts", count=50)
    second = write_video(tmp_path / "b.ts", count=50, times=[t / 25 for t in range(50)])
    (tmp_path / "c.ts").write_bytes(first.read_bytes() + second.read_bytes())
    found = numbers(decoding.stream(tmp_path / "c.ts", 2.0))
    assert found[:4] == [12, 24, 37, 49]
    assert len(found) in (7, 8)


def test_short_gaps_are_bridged_and_said(tmp_path):
    times = [t / 25 + (3 if t >= 50 else 0) for t in range(100)]
    path = write_video(tmp_path / "a.mkv", 100, times=times)
    scanned = decoding.scan(path)
    assert "1 gap(s) without pictures, 3.0 s in all, the first at 0:00:02" in scanned.notes[0]
    rows = choice.choose(scanned.timeline, "timestamps", 2.0)
    assert rows[:11].tolist() == [12, 24, 37, *[49] * 7, 62]


def test_gap_of_an_hour(tmp_path):
    times = [t / 25 + (3600 if t >= 50 else 0) for t in range(100)]
    scanned = decoding.scan(write_video(tmp_path / "a.mkv", 100, times=times))
    with pytest.raises(InputError) as error:
        check_half(scanned, Half(1), "timestamps", 2.0)
    one_line(error, "a.mkv", "no pictures from 0:00:02 to 1:00:02", "--halves")
    check_half(scanned, Half(1, 0.0, 1.9), "timestamps", 2.0)


def test_no_video_at_all(tmp_path):
    for name, content in (("text.mp4", b"words, not pictures\n" * 99), ("noise.mkv", None)):
        path = tmp_path / name
        path.write_bytes(np.random.default_rng(0).bytes(9999) if content is None else content)
        with pytest.raises(InputError) as error:
            decoding.scan(path)
        one_line(error, name, "not a video")


def test_empty_file(tmp_path):
    path = tmp_path / "a.mkv"
    path.touch()
    with pytest.raises(InputError) as error:
        decoding.scan(path)
    one_line(error, "a.mkv", "empty")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        decoding.scan(tmp_path / "a.mkv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = write_video(tmp_path / "a.mkv", 30)
    path.chmod(0)
    with pytest.raises(PermissionError):
        decoding.scan(path)


def test_sound_alone(tmp_path):
    path = tmp_path / "a.mka"
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError) as error:
        decoding.scan(path)
    one_line(error, "a.mka", "no video stream in it, only audio")


def test_wrong_extension_does_not_matter(tmp_path):
    path = write_video(tmp_path / "a.mkv", 30).rename(tmp_path / "a.avi")
    assert decode(path, [12]) == [12]


def test_portrait(tmp_path):
    with pytest.raises(InputError) as error:
        decoding.scan(write_video(tmp_path / "a.mp4", 5, size=(224, 398)))
    one_line(error, "a.mp4", "224x398 is narrower than high")


def test_turned(tmp_path):
    path = write_video(tmp_path / "a.mp4", 30)
    content = path.read_bytes()
    # The matrix of the track's header, which turns the picture by a quarter.
    start = content.index(b"tkhd") + 4 + 40
    matrix = b"".join(v.to_bytes(4, "big", signed=True) for v in (0, 1 << 16, 0, -1 << 16))
    path.write_bytes(content[:start] + matrix + content[start + 16 :])
    with pytest.raises(InputError) as error:
        decoding.scan(path)
    one_line(error, "a.mp4", "stored turned by", "ffmpeg")


def test_hdr(tmp_path):
    path = write_video(
        tmp_path / "a.mp4", 5, pixel_format="yuv420p10le", properties={"color_trc": 16}
    )
    with pytest.raises(InputError) as error:
        decoding.scan(path)
    one_line(error, "a.mp4", "HDR (PQ)", "tonemap")


def test_interlaced_is_said(tmp_path):
    options = {"flags": "+ilme+ildct", "x264-params": "interlaced=1", "g": "25"}
    path = write_video(tmp_path / "a.mkv", 30, options=options)
    assert "interlaced" in decoding.scan(path).notes[0]
    assert decode(path, [12, 24]) == [12, 24]


def test_pictures_without_time_stamps(tmp_path):
    path = write_video(tmp_path / "a.h264", 30)
    with pytest.raises(InputError) as error:
        decoding.scan(path)
    one_line(error, "a.h264", "no time stamps", "ffmpeg")


def test_cut_off_before_the_index(tmp_path):
    path = write_video(tmp_path / "a.mp4", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError) as error:
        decoding.scan(path)
    one_line(error, "a.mp4", "cut off before its index")


def test_what_is_there_of_a_file_that_was_cut_is_used(video, tmp_path):
    content = video.read_bytes()
    path = tmp_path / "a.mkv"
    path.write_bytes(content[: len(content) * 6 // 10])
    scanned = decoding.scan(path)
    there = len(scanned.stamps)
    assert 50 < there < 230
    assert scanned.missing == pytest.approx(10 - there / 25, abs=0.1)
    assert f"{scanned.missing:.1f} s are missing" in scanned.notes[0]
    rows = choice.choose(scanned.timeline, "timestamps", 2.0)
    assert decode(path, rows) == rows.tolist()
    # A half may reach into what is missing, but not begin there.
    check_half(scanned, Half(1, 0.0, 10.0), "timestamps", 2.0)
    with pytest.raises(InputError):
        check_half(scanned, Half(1, 9.5, 10.0), "timestamps", 2.0)


def test_index_that_promises_more_than_the_file_holds(tmp_path):
    whole = tmp_path / "whole.mp4"
    write_video(whole, 250)
    front = tmp_path / "front.mp4"
    with (
        av.open(str(whole)) as source,
        av.open(str(front), "w", options={"movflags": "+faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    content = front.read_bytes()
    front.write_bytes(content[: len(content) * 7 // 10])
    scanned = decoding.scan(front)
    damage = decoding.Damage()
    rows = choice.choose(scanned.timeline, "timestamps", 2.0)
    found = decode(front, rows, damage)
    assert found == rows[: len(found)].tolist()
    assert scanned.missing + damage.seconds > 1


def test_damage_in_the_middle_costs_few_rows(video, tmp_path):
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = np.random.default_rng(1).bytes(600)
    path = tmp_path / "a.mkv"
    path.write_bytes(content)
    scanned = decoding.scan(path)
    rows = choice.choose(scanned.timeline, "timestamps", 2.0)
    damage = decoding.Damage()
    found = [read_number(p) for p in decoding.decode(scanned, rows, damage)]
    assert len(found) == len(rows) == 20
    shown = np.round(25 * scanned.timeline.times[rows])
    assert np.mean(np.asarray(found) == shown) > 0.8


def test_rows_are_bounded_by_pictures_that_can_be_decoded(video):
    scanned = decoding.scan(video)
    assert pictures.fitted_width(scanned.width, scanned.height) == 398
    assert list(decoding.decode(scanned, np.array([], int), decoding.Damage())) == []
