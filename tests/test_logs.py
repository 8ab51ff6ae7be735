import io
import json
import struct

import pytest

from spotting.base import cli, logs
from spotting.base.errors import InputError
from spotting.base.logs import RunLog, duration
from spotting.base.tensorboard import ScalarWriter


def _records(data):
    """The records of a TFRecord file, whose lengths are before them."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        yield data[at : at + 8], data[at + 8 : at + 12], data[at + 12 : at + 12 + length]
        at += 16 + length


def test_writes_what_tensorboard_reads(tmp_path):
    writer = ScalarWriter(tmp_path)
    writer.write(300, **{"confidence/loss": 0.5, "confidence/score": -1.0})
    writer.close()
    (path,) = tmp_path.iterdir()

    event_pb2 = pytest.importorskip("tensorflow.core.util.event_pb2")
    version, scalars = (
        event_pb2.Event.FromString(content) for _, _, content in _records(path.read_bytes())
    )
    assert version.file_version == "brain.Event:2"
    assert scalars.step == 300
    values = {value.tag: value.simple_value for value in scalars.summary.value}
    assert values == {"confidence/loss": 0.5, "confidence/score": -1.0}


def test_checksums_are_the_formats(tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    writer = ScalarWriter(tmp_path)
    writer.write(1, loss=0.25)
    writer.close()
    (path,) = tmp_path.iterdir()
    # TensorFlow refuses a record whose checksum is wrong.
    assert len(list(tensorflow.data.TFRecordDataset(str(path)))) == 2


def test_log_lines_are_json_and_skip_nothing(tmp_path):
    log = RunLog(tmp_path)
    log.curve("valid", "confidence", 4, score=float("nan"))
    log.write("note", text="ä")
    log.close()
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text("utf-8").splitlines())
    assert (first["kind"], first["model"], first["epoch"]) == ("valid", "confidence", 4)
    assert first["score"] is None
    assert second["text"] == "ä"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (3725, "1:02:05")])
def test_duration(seconds, text):
    assert duration(seconds) == text


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a terminal of 80 columns; gives what tells the lines on it in the end."""

    def open_terminal():
        # Within the test: pytest has its own stderr for each phase.
        stderr = Terminal()
        monkeypatch.setattr("sys.stderr", stderr)
        return lambda: [line.rpartition("\r")[2].rstrip() for line in stderr.getvalue().split("\n")]

    monkeypatch.setenv("COLUMNS", "80")
    yield open_terminal
    logs.end_progress()


def test_a_line_of_progress_is_completed_before_what_follows(terminal):
    lines = terminal()
    line = logs.ProgressLine()
    for game in range(1, 73):  # faster than the terminal is rewritten
        line.show(f"checking train: {game}/72")
    logs.log("72 games")
    logs.log("no progress in between")
    another, third = logs.ProgressLine(), logs.ProgressLine()
    another.show("checking valid: 1/9")
    third.show("preparing")
    third.show("prepared", final=True)
    another.show("checking valid: 9/9", final=True)
    assert lines() == [
        "checking train: 72/72",
        "72 games",
        "no progress in between",
        "checking valid: 1/9",
        "prepared",
        "checking valid: 9/9",
        "",
    ]


def test_an_error_is_not_glued_to_the_line(terminal):
    lines = terminal()

    def main():
        logs.ProgressLine().show("game 3/9")
        raise InputError("it is bad")

    with pytest.raises(SystemExit):
        cli.run(main)
    assert lines() == ["game 3/9", "error: it is bad", ""]


def test_time_left_comes_first_and_the_end_is_cut_off(terminal):
    lines = terminal()
    line = logs.ProgressLine()
    line.show("loss 0.1, " * 20, left=65.4)
    logs.end_progress()
    (shown, _) = lines()
    assert shown.startswith("1:05 left  loss 0.1, loss")
    assert len(shown) == 79
    assert shown.endswith("…")


def test_output_to_a_file_gets_a_line_now_and_then(monkeypatch, capsys):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    line = logs.ProgressLine()
    for step in range(100):
        line.show(f"step {step}", left=100.0 - step)
        now += 1
    logs.log("note")
    line.show("done", final=True)
    assert capsys.readouterr().err.splitlines() == [
        "1:40 left  step 0",
        "1:10 left  step 30",
        "0:40 left  step 60",
        "0:10 left  step 90",
        "note",
        "done",
    ]


def test_nothing_is_shown_where_progress_is_off(capsys):
    logs.ProgressLine(enabled=False).show("text", final=True)
    assert capsys.readouterr().err == ""
