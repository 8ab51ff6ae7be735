import time

import pytest

from spotting.base.tensorboard import ScalarWriter


def test_hyper_parameters_are_what_tensorboard_reads(tmp_path):
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    values = {"confidence.rho": 0.5, "model.trunk": "unet", "sam": True, "levels": 6}
    writer = ScalarWriter(tmp_path)
    writer.write_hyper_parameters(values, ["confidence/score"])
    writer.write(3, **{"confidence/score": 0.25})
    writer.close()
    found = {}
    for event in loader.EventFileLoader(str(next(tmp_path.iterdir()))).Load():
        for value in event.summary.value:
            found[value.tag] = value
    contents = {}
    for name in ("experiment", "session_start_info", "session_end_info"):
        summary = found[f"_hparams_/{name}"].metadata
        assert summary.plugin_data.plugin_name == "hparams"
        content = plugin.HParamsPluginData.FromString(summary.plugin_data.content)
        assert content.WhichOneof("data") == name
        contents[name] = getattr(content, name)
    hyper_parameters = contents["session_start_info"].hparams
    assert {name: hyper_parameters[name].WhichOneof("kind") for name in values} == {
        "confidence.rho": "number_value",
        "model.trunk": "string_value",
        "sam": "bool_value",
        "levels": "number_value",
    }
    assert hyper_parameters["confidence.rho"].number_value == 0.5
    assert [info.name for info in contents["experiment"].hparam_infos] == list(values)
    assert contents["experiment"].metric_infos[0].name.tag == "confidence/score"
    assert contents["session_end_info"].status == 1


def test_hyper_parameters_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    writer = ScalarWriter(tmp_path)
    writer.write_hyper_parameters({"a": 0.5}, ["x"])
    writer.close()
    content = next(tmp_path.iterdir()).read_bytes()
    # The plugin's messages as protobuf's own library writes them (without the times).
    assert bytes.fromhex("0a07") + b"hparams" + bytes.fromhex("1219121719") in content
    assert bytes.fromhex("22050a01612003") in content
    assert bytes.fromhex("2a050a03120178") in content
    assert bytes.fromhex("0a0e0a0161120911000000000000e03f") in content
