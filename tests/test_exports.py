"""Exports, each read back by a program or a parser that is not ours, or as its format demands."""

import csv
import io
import json
import re
from datetime import date

import pytest
from kloppy import sportscode

from spotting.base.errors import InputError
from spotting.data.annotations import read_results
from spotting.data.exports import (
    FORMATS,
    HalfPlace,
    Moment,
    VideoFile,
    begin_minutes,
    make_csv,
    make_exports,
    make_osl,
    make_sportscode,
    make_webvtt,
    match_minute,
    parse_formats,
    write_exports,
)

VIDEO = VideoFile("match.mp4", 25.0)
PLACES = {1: HalfPlace(VIDEO, 312.0, 0), 2: HalfPlace(VIDEO, 4023.5, 45)}
MOMENTS = [
    Moment(2, "Corner", 12.25, 0.97),
    Moment(1, "Goal", 3.0, 0.411),
    Moment(1, "Faute à Málaga & <b>", 2830.5, None),
]
FILES_OF_BOTH = (
    HalfPlace(VideoFile("1.mp4", 25.0), 0.0, 0),
    HalfPlace(VideoFile("2.mp4"), 5.0, 45),
)
TWO_VIDEOS = dict(enumerate(FILES_OF_BOTH, 1))


def test_kloppy_reads_the_sportscode_file(tmp_path):
    content = make_sportscode(MOMENTS, PLACES, lead=7, lag=5)
    assert content.isascii()
    path = tmp_path / "sportscode.xml"
    path.write_bytes(content)
    read = sportscode.load(str(path)).records
    assert [code.code for code in read] == ["Goal", "Faute à Málaga & <b>", "Corner"]
    starts = [code.start_timestamp.total_seconds() for code in read]
    ends = [code.end_timestamp.total_seconds() for code in read]
    assert starts == [312 + 3 - 7, 312 + 2830.5 - 7, 4023.5 + 12.25 - 7]
    assert ends == [312 + 3 + 5, 312 + 2830.5 + 5, 4023.5 + 12.25 + 5]
    assert [code.labels for code in read] == [
        {"Half": 1, "Confidence": "40-50"},
        {"Half": 1},
        {"Half": 2, "Confidence": "90-100"},
    ]


def test_a_clip_does_not_begin_before_the_video(tmp_path):
    content = make_sportscode([Moment(1, "Goal", 2.0)], {1: HalfPlace(VIDEO, 0.0)})
    assert b"<start>0.000</start>" in content
    assert b"<end>7.000</end>" in content


def test_control_characters_do_not_break_the_sportscode_file(tmp_path):
    path = tmp_path / "s.xml"
    path.write_bytes(make_sportscode([Moment(1, "a\x00b\x1f", 9.0)], PLACES))
    assert sportscode.load(str(path)).records[0].code == "a\ufffdb\ufffd"


def test_osl_has_what_its_tool_asks_for():
    document = make_osl("game", MOMENTS, PLACES, ["Goal", "Corner"], date(2026, 5, 2))
    assert document["labels"] == {"action": {"type": "single_label", "labels": ["Goal", "Corner"]}}
    (entry,) = document["data"]
    assert entry["inputs"] == [{"type": "video", "path": "match.mp4", "fps": 25.0}]
    first = entry["events"][0]
    assert first["head"] in document["labels"]
    assert first == {
        "head": "action",
        "label": "Goal",
        "position_ms": 315000,
        "gameTime": "1 - 0:03",
        "confidence": 0.411,
        "frame": 7875,
    }
    assert "confidence" not in entry["events"][1]
    json.dumps(document)


def test_osl_gives_a_video_without_a_rate_one():
    videos = make_osl("game", MOMENTS, TWO_VIDEOS, ["Goal"], date(2026, 5, 2))["data"]
    assert [video["id"] for video in videos] == ["game#1", "game#2"]
    assert [video["inputs"][0]["fps"] for video in videos] == [25.0, 25.0]
    assert "frame" not in videos[1]["events"][0]


def test_chapters_do_not_overlap_and_share_a_moment():
    moments = [
        Moment(1, "A", 1.0),
        Moment(1, "B", 3.0),
        Moment(1, "C <&>", 3.0),
        Moment(1, "D", 3601),
    ]
    text = make_webvtt(moments, {1: HalfPlace(VIDEO, 0.0)})
    assert text == (
        "WEBVTT\n\n1\n00:00:01.000 --> 00:00:03.000\nA\n\n"
        "2\n00:00:03.000 --> 00:00:08.000\nB, C &lt;&amp;&gt;\n\n"
        "3\n01:00:01.000 --> 01:00:06.000\nD\n"
    )


def test_csv_has_seconds_of_the_video_and_the_minute():
    table = list(csv.DictReader(io.StringIO(make_csv("=game", MOMENTS, PLACES))))
    assert [row["class"] for row in table] == ["Goal", "Faute à Málaga & <b>", "Corner"]
    assert [row["minute"] for row in table] == ["1", "45+3", "46"]
    assert [row["video_seconds"] for row in table] == ["315.000", "3142.500", "4035.750"]
    assert table[0]["game"] == "'=game"
    assert [row["confidence"] for row in table] == ["0.411000", "", "0.970000"]


def test_csv_has_no_minutes_where_no_half_has_one():
    assert "minute" not in make_csv("game", MOMENTS, {1: HalfPlace(VIDEO, 0.0)}).splitlines()[0]


@pytest.mark.parametrize(
    ("half", "position", "begins", "minute"),
    [
        (1, 0.0, 0, "1"),
        (1, 2699.999, 0, "45"),
        (1, 2700.0, 0, "45+1"),
        (2, 61.0, 45, "47"),
        (2, 2820.0, 45, "90+3"),
        (3, 0.0, 90, "91"),
        (4, 900.0, 105, "120+1"),
        (1, 30.0, None, ""),
    ],
)
def test_minutes_are_those_of_scoresheets(half, position, begins, minute):
    assert match_minute(half, position, begins) == minute


def test_where_the_match_s_clock_is_known():
    assert begin_minutes({1: 2900.0, 2: 100.0}) == {1: 0, 2: 45}
    assert begin_minutes({1: 5000.0, 2: 5000.0}) == {1: 0, 2: 45}
    assert begin_minutes({2: 2900.0}) == {2: 45}
    assert begin_minutes({1: 5600.0}) == {1: None}
    place = HalfPlace(VIDEO, 0.0)
    assert begin_minutes({1: 2900.0}, {1: place}) == {1: None}
    assert begin_minutes({1: 60.0, 2: 60.0}, {2: place._replace(first_minute=45)})[2] == 45


def test_soccernet_results_are_read_back(tmp_path):
    files = make_exports(["soccernet"], "league/game", MOMENTS, PLACES, ["Goal"])
    (path,) = write_exports(tmp_path, files)
    read = sorted(read_results(path))
    assert [(p.half, p.label, p.position) for p in read] == sorted(
        (m.half, m.label, m.position) for m in MOMENTS
    )
    assert sorted(p.confidence for p in read) == [0.411, 0.97, 1.0]


def test_several_videos_give_a_file_each():
    files = make_exports(FORMATS, "game", MOMENTS, TWO_VIDEOS, ["Goal"])
    assert set(files) == {
        *("sportscode_1.xml", "sportscode_2.xml", "chapters_1.vtt", "chapters_2.vtt"),
        *("osl.json", "events.csv", "results_spotting.json"),
    }
    assert re.findall(rb"<code>(.*?)</code>\s*<label>", files["sportscode_2.xml"]) == [b"Corner"]
    assert b"00:00:17.250" in files["chapters_2.vtt"]


def test_a_half_without_a_place_is_a_video_of_its_own():
    files = make_exports(["webvtt"], "game", MOMENTS, {}, ["Goal"])
    assert set(files) == {"chapters_1.vtt", "chapters_2.vtt"}
    assert b"00:00:12.250" in files["chapters_2.vtt"]


def test_no_moments_give_valid_files(tmp_path):
    files = make_exports(FORMATS, "game", [], PLACES, ["Goal"])
    assert files["chapters.vtt"] == b"WEBVTT\n"
    path = tmp_path / "s.xml"
    path.write_bytes(files["sportscode.xml"])
    assert b"<ALL_INSTANCES />" in files["sportscode.xml"]


def test_an_unknown_format_is_refused():
    with pytest.raises(InputError, match="no export 'xml'; there are sportscode"):
        make_exports(["xml"], "game", MOMENTS, PLACES, ["Goal"])
    with pytest.raises(ValueError, match=r"^$"):
        parse_formats("sportscode,xml")
    assert parse_formats("csv, osl,csv") == ("csv", "osl")
