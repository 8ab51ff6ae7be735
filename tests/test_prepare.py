import subprocess
import sys
import types

import numpy as np
import pytest
from stream_fixture import CHUNK_FRAMES, FEATURES, FRAME_RATE, write_matches

from configs import common
from spotting import prepare
from spotting.base.errors import InputError
from spotting.data import download, survey
from spotting.data.annotations import SOCCERNET_CLASSES
from spotting.data.dataset import describe_dataset
from spotting.data.halves import open_dataset
from spotting.runs.memory import choose_loader

GAMES = {"train": [(50, 30), (8, 17)], "valid": [(9, 40)], "challenge": [(20, 20)]}


@pytest.fixture
def folder(tmp_path):
    return write_matches(tmp_path / "matches", GAMES)


def make_config(folder, **data):
    config = common.get_config()
    config.data.update({"root": str(folder), "features": ""} | data)
    config.anchors.chunk = CHUNK_FRAMES / FRAME_RATE
    config.logging.progress = False
    return config


def test_it_says_what_is_there_and_prepares_it(folder, capsys):
    assert prepare.prepare(make_config(folder)) == 0
    table = capsys.readouterr().out
    splits = {
        line.split()[0]: line.split()[1:] for line in table.splitlines() if line[:1].isalpha()
    }
    assert splits["train"] == ["2", "4", "0.0", "12", "0", "0"]
    assert splits["challenge"] == ["1", "2", "0.0", "0", "0", "0"]
    assert splits["Corner"] == ["0", "0", "0"]
    assert "stored as float16" in table
    version = folder / "prepared/soccernet_v2" / "marked-matches_marks_float16_8frames" / "1.0.0"
    assert (version / "dataset_info.json").is_file()
    assert str(version) in table


def test_it_names_what_is_missing_and_broken_and_prepares_nothing(folder, capsys):
    (folder / "league/train 0" / f"1_{FEATURES}.npy").unlink()
    (folder / "league/train 1" / f"2_{FEATURES}.npy").write_bytes(b"no array")
    (folder / "league/valid 0" / "Labels-v2.json").write_text("{")
    assert prepare.prepare(make_config(folder)) == 1
    out, err = capsys.readouterr()
    assert f"train: missing: {folder}/league/train 0/1_{FEATURES}.npy" in out
    assert f"train: broken: {folder}/league/train 1/2_{FEATURES}.npy: not a NumPy .npy" in out
    assert f"valid: broken: {folder}/league/valid 0/Labels-v2.json: not JSON" in out
    assert "3 files missing or broken, nothing was prepared" in err
    assert not (folder / "prepared").exists()


def test_the_challenge_split_may_be_absent(folder):
    (folder / "league/challenge 0" / f"1_{FEATURES}.npy").unlink()
    assert prepare.prepare(make_config(folder)) == 0


@pytest.mark.slow
def test_the_command_line(folder):
    command = [sys.executable, "-m", "spotting.prepare", "--config=configs/unet_combination.py"]
    done = subprocess.run(
        [*command, f"--config.data.root={folder}/none"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "1_baidu_soccer_embeddings.npy" in done.stderr


def test_published_counts():
    assert tuple(survey.PUBLISHED_EVENTS) == SOCCERNET_CLASSES
    assert sum(survey.PUBLISHED_EVENTS.values()) == 110_458


def test_a_wrong_copy_shows():
    dataset = describe_dataset("", "ResNET_TF2")
    found = {split: survey.SplitSurvey(games=len(dataset.games(split))) for split in dataset.splits}
    for label, count in survey.PUBLISHED_EVENTS.items():
        found["train"].events[label] = count
    found["train"].seconds = 3600 * survey.PUBLISHED_HOURS
    lines = survey.describe_events(dataset, found)
    assert lines[0].split() == ["events", "train", "valid", "test", "all", "published"]
    assert not [line for line in lines if "differs" in line]
    found["test"].events["Goal"] = 1
    differing = [line for line in survey.describe_events(dataset, found) if "differs" in line]
    assert [line.split()[0] for line in differing] == ["Goal", "all"]


class FakeHub:
    """huggingface_hub with a repository in memory: branch to path to content."""

    def __init__(self, monkeypatch, files):
        self.files, self.calls = files, []

        class HfHubHTTPError(OSError):
            pass

        hub = types.ModuleType("huggingface_hub")
        hub.snapshot_download = self.snapshot_download
        errors = types.ModuleType("huggingface_hub.errors")
        errors.HfHubHTTPError = self.error = HfHubHTTPError
        monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)

    def snapshot_download(self, repo_id, *, repo_type, revision, local_dir, allow_patterns):
        assert repo_type == "dataset"
        self.calls.append((repo_id, revision))
        if (repo_id, revision) not in self.files:
            raise self.error("404 Client Error: no such branch\nand more")
        for path, content in self.files[repo_id, revision].items():
            if path in allow_patterns:
                target = local_dir / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)


def test_download(tmp_path, monkeypatch, capsys):
    dataset = describe_dataset(tmp_path, "baidu_soccer_embeddings")
    np.save(tmp_path / "array.npy", np.ones((3, 8576), np.float16))
    array = (tmp_path / "array.npy").read_bytes()
    features = {
        f"{game}/{half}_baidu_soccer_embeddings.npy": array
        for split in ("train", "challenge")
        for game in dataset.games(split)[:2]
        for half in (1, 2)
    }
    labels = {f"{game}/Labels-v2.json": b'{"annotations": []}' for game in dataset.games("train")}
    hub = FakeHub(
        monkeypatch,
        {
            ("SoccerNet/SN-Features", "baidu-soccer-embeddings"): {**features, "other.npy": b"x"},
            ("SoccerNet/SN-Labels", "main"): labels,
        },
    )
    root = tmp_path / "SoccerNet"
    config = make_config(root, features="baidu_soccer_embeddings")
    # Games of this small hub are missing, which the table says after the download.
    assert prepare.prepare(config, download=True) == 1
    assert hub.calls == [
        ("SoccerNet/SN-Labels", "main"),
        ("SoccerNet/SN-Features", "baidu-soccer-embeddings"),
    ]
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert files == {*features, *labels}
    out, err = capsys.readouterr()
    assert "NDA" in err
    line = next(line for line in out.splitlines() if line.startswith("train "))
    assert line.split()[1:] == ["300", "4", "0.0", "0", "596", "0"]


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    FakeHub(monkeypatch, {})
    dataset = describe_dataset(tmp_path, "ResNET_TF2")
    with pytest.raises(
        InputError, match=r"SN-Labels .*404 .*no such branch; run the same"
    ) as raised:
        download.download(dataset, ["ResNET_TF2"], ["train"])
    assert "\n" not in str(raised.value)


def test_downloads_that_cannot_be(folder, monkeypatch):
    dataset = describe_dataset(folder.parent)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'spotting\[download\]'"):
        download.download(dataset, ["ResNET_TF2"], ["train"])
    with pytest.raises(InputError, match="'C3D'"):
        download.download(dataset, ["C3D"], ["train"])
    with pytest.raises(InputError, match="only SoccerNet-v2"):
        download.download(open_dataset(folder), [FEATURES], ["train"])
    with pytest.raises(InputError, match=r"data\.root"):
        prepare.prepare(make_config(""), download=True)


class FakeDevice:
    platform, device_kind = "gpu", "some GPU"

    def memory_stats(self):
        return {"bytes_limit": 80e9, "bytes_in_use": 10e9}


def test_the_choice_of_a_loader(monkeypatch):
    split = {"feature_dim": 512, "num_classes": 17, "dtype": np.float16, "device": FakeDevice()}
    monkeypatch.setattr("spotting.runs.memory._free_host_memory", lambda: 200e9)
    small = choose_loader("auto", 3_000_000, **split)
    assert small.loader == "resident"
    assert small.reason == "the split takes 3.2 GB, 70.0 GB are free on some GPU"
    assert choose_loader("auto", 40_000_000, **split).loader == "stream"
    assert "bfloat16" not in choose_loader("auto", 40_000_000, **split).reason
    # 31 GB in 16 bits, 62 GB in 32.
    wide = choose_loader("auto", 30_000_000, **{**split, "dtype": np.float32})
    assert wide.loader == "stream"
    assert wide.reason.endswith("with --config.data.resident_dtype=bfloat16 it would be resident")
    # The host has to hold the split on its way to the device.
    monkeypatch.setattr("spotting.runs.memory._free_host_memory", lambda: 4e9)
    assert choose_loader("auto", 3_000_000, **split).loader == "stream"
    for asked in ("resident", "stream"):
        assert choose_loader(asked, 40_000_000, **split).loader == asked
    with pytest.raises(InputError, match=r"data.loader is 'disk'"):
        choose_loader("disk", 1, **split)


def test_free_memory_is_known_here():
    choice = choose_loader("auto", 1, 1, 1, np.dtype(np.float16))
    assert choice.loader == "resident"
    choice = choose_loader("auto", 10**12, 8576, 17, np.dtype(np.float16))
    assert choice.loader == "stream"
