import pytest
from video_fixture import write_video

from spotting.base.errors import InputError
from spotting.video import Half, decoding, parse_halves
from spotting.video.halves import check_half, half_of_file


def test_times():
    assert parse_halves("0:05:12-0:51:40,1:07:03-1:55:00") == (
        Half(1, 312.0, 3100.0),
        Half(2, 4023.0, 6900.0),
    )
    assert parse_halves("90-5:00.5, 10:00-") == (Half(1, 90.0, 300.5), Half(2, 600.0, None))
    assert [half.number for half in parse_halves("0-1,1-2,2-3,3-4")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not START-END"),
        ("0:05:12", "is not START-END"),
        ("0:75:00-2:00:00", "is no time"),
        ("0:10:75-2:00:00", "is no time"),
        ("five-ten", "is no time"),
        ("0:10:00-,1:00:00-2:00:00", "is no time"),
        ("0:10:00-0:09:00", "ends before it starts"),
        ("0:00:00-0:50:00,0:49:00-1:30:00", "half 2 starts at 0:49:00, before half 1 ends"),
        ("0-1,1-2,2-3,3-4,4-5", "at most 4"),
    ],
)
def test_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        parse_halves(text)


def test_file_names(tmp_path):
    assert half_of_file(tmp_path / "2_224p.mkv") == 2
    assert half_of_file(tmp_path / "2.mkv") == 2
    assert half_of_file(tmp_path / "match.mkv") is None
    assert half_of_file(tmp_path / "22.mkv") is None
    assert half_of_file(tmp_path / "2026-05-02.mkv") is None
    with pytest.raises(InputError, match="halves are numbered 1 to 4"):
        half_of_file(tmp_path / "5_224p.mkv")


def test_in_the_video(tmp_path):
    scanned = decoding.scan(write_video(tmp_path / "a.mkv", 250))  # 10 s
    check_half(scanned, Half(1, 2.0, 10.0), "timestamps", 2.0)
    check_half(scanned, Half(1, 2.0, 10.9), "timestamps", 2.0)  # rounded up by who wrote it down
    for half, rule, reason in (
        (Half(2, 10.0, 12.0), "timestamps", "half 2 starts at 0:00:10, but the video ends at 0:00"),
        (Half(2, 5.0, 12.0), "timestamps", "half 2 ends at 0:00:12, but the video at 0:00:10"),
        (Half(1, 9.7, None), "timestamps", "less than one row"),
        (Half(1, 0.3, 5.0), "soccernet", "needs multiples of 0.5 s"),
    ):
        with pytest.raises(InputError, match=reason):
            check_half(scanned, half, rule, 2.0)


def test_too_few_pictures_to_count(tmp_path):
    scanned = decoding.scan(write_video(tmp_path / "a.mp4", 8, 1))
    with pytest.raises(InputError, match="too few for SoccerNet's counting"):
        check_half(scanned, Half(1), "soccernet", 2.0)
