import json
import struct

import pytest

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
