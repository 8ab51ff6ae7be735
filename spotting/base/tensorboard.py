"""TensorBoard scalars without TensorFlow.

An event file is a sequence of length-prefixed, checksummed protocol buffers; a scalar needs four
fields of two messages, which are written here by hand.
"""

import os
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from spotting.base.files import naming


class ScalarWriter:
    """Appends scalars to a new event file in a folder."""

    def __init__(self, directory: str | os.PathLike):
        Path(directory).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        self._file = open(Path(directory, name), "wb")  # noqa: SIM115, it lives as long as the run
        self._write(_bytes(3, b"brain.Event:2"))

    def write(self, step: int, **scalars: float) -> None:
        """Adds one point to each of the named curves."""
        values = b""
        for tag, value in scalars.items():
            fields = _bytes(1, tag.encode()) + _key(2, 5) + struct.pack("<f", value)
            values += _bytes(1, fields)
        self._write(_key(2, 0) + _varint(step) + _bytes(5, values))

    def write_hyper_parameters(
        self, values: Mapping[str, bool | float | str], metrics: Sequence[str]
    ) -> None:
        """Fills TensorBoard's HPARAMS tab with one trial; once for each event file.

        Args:
          values: The hyper-parameters by name.
          metrics: Tags of the curves whose last points the tab shows beside them.

        Source: tensorboard/plugins/hparams, its api.proto and plugin_data.proto.
        """
        infos = [_bytes(1, name.encode()) + _int(4, _TYPES[type(v)]) for name, v in values.items()]
        shown = [_bytes(1, _bytes(2, tag.encode())) for tag in metrics]
        experiment = _double(3, time.time()) + b"".join(_bytes(4, info) for info in infos)
        experiment += b"".join(_bytes(5, metric) for metric in shown)
        entries = [_bytes(1, name.encode()) + _bytes(2, _value(v)) for name, v in values.items()]
        start = b"".join(_bytes(1, entry) for entry in entries) + _double(5, time.time())
        end = _int(1, 1) + _double(2, time.time())  # successful
        tags = ("experiment", "session_start_info", "session_end_info")
        for field, (tag, content) in enumerate(zip(tags, (experiment, start, end), strict=True), 2):
            plugin = _bytes(1, b"hparams") + _bytes(2, _bytes(field, content))
            tensor = _int(1, 1) + _bytes(2, b"")  # no float at all: the data is in the plugin's
            summary = _bytes(1, f"_hparams_/{tag}".encode()) + _bytes(9, _bytes(1, plugin))
            self._write(_int(2, 0) + _bytes(5, _bytes(1, summary + _bytes(8, tensor))))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, event: bytes) -> None:
        event = _key(1, 1) + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(event))
        with naming(self._file.name):
            self._file.write(length + _masked_crc(length) + event + _masked_crc(event))
            self._file.flush()


_TYPES = {str: 1, bool: 2, float: 3, int: 3}  # of hyper-parameters, in HPARAMS's numbering


def _value(value: bool | float | str) -> bytes:
    """A google.protobuf.Value."""
    if isinstance(value, bool):
        return _int(4, int(value))
    return _bytes(3, value.encode()) if isinstance(value, str) else _double(2, value)


def _int(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def _masked_crc(data: bytes) -> bytes:
    """CRC-32C, rotated and offset as TFRecord files want it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
