from video_fixture import write_video

from spotting.benchmarks.extraction import Figures, Speed, describe, measure_decoding


def test_decoding_counts_source_frames(tmp_path):
    speed = measure_decoding(write_video(tmp_path / "a.mkv", 100))
    assert speed.unit == "frames"
    assert speed.per_cpu_second > 0
    assert speed.per_second > 0


def test_table():
    text = describe(Figures((Speed("decoding", "frames", 1234.5, 2469.0),), "CPU", 0.0123))
    assert "on CPU" in text
    assert "1,234.5     2,469.0" in text
    assert "1.23 %" in text
