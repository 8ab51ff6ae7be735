import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from etils.epath import gpath, register
from stream_fixture import (
    CHUNK_FRAMES,
    CLASSES,
    DIM,
    FEATURES,
    FRAME_RATE,
    annotation,
    marks,
    write_labels,
    write_matches,
)

from spotting.base.errors import InputError
from spotting.base.files import hold_folder
from spotting.data import dataset as description
from spotting.data.halves import check_finite, find_problems, open_dataset, read_split
from spotting.data.prepared import builder, stream
from spotting.data.prepared import reader as prepared
from spotting.data.transforms import (
    Transform,
    describe_transformed,
    fit_normalization_once,
    read_transformed_split,
)

pytestmark = pytest.mark.slow

GAMES = {"train": [(5, 30), (8, 17)], "valid": [(9, 4)]}


@pytest.fixture
def folder(tmp_path):
    return write_matches(tmp_path / "matches", GAMES)


def config_of(folder, **options):
    return builder.make_config(open_dataset(folder), chunk_frames=CHUNK_FRAMES, **options)


def open_alone(prepared_dir, **options):
    """Opens what `config_of` describes, without the folder of the matches."""
    settings = {"transform": Transform(), "storage": "float16", "time_source": "gameTime"}
    settings |= {"chunk_seconds": CHUNK_FRAMES / FRAME_RATE} | options
    return prepared.open_alone(prepared_dir, **settings)


def content(prepared_set):
    """Everything that a prepared data set holds, by split."""
    return {
        split: [(half.game, half.number, half.events, half.load().tobytes()) for half in halves]
        for split in ("train", "valid")
        for halves in [prepared_set.halves(split)]
    }


@pytest.mark.parametrize("storage", ["float16", "bfloat16", "float32"])
def test_plain_tfds_load(folder, storage):
    config = config_of(folder, storage=storage)
    data = tfds.load(
        "soccernet_v2",
        split="train",
        data_dir=folder / "prepared",
        builder_kwargs={"config": config},
        download_and_prepare_kwargs={
            "download_config": tfds.download.DownloadConfig(manual_dir=folder)
        },
    )
    # Prepared, it is known by its name too, and needs no code of ours.
    by_name = tfds.load(f"soccernet_v2/{config.name}", split="train", data_dir=folder / "prepared")
    records = list(data.as_numpy_iterator())
    for record, same in zip(records, by_name.as_numpy_iterator(), strict=True):
        for name, value in record.items():
            np.testing.assert_array_equal(value, same[name])
    half = [r for r in records if (r["game"], r["half"]) == (b"league/train 0", 2)]
    assert [int(r["start"]) for r in half] == [0, 8, 16, 24]
    assert [int(r["num_frames"]) for r in half] == [8, 8, 8, 6]
    features = np.concatenate([r["features"] for r in half])
    assert features.dtype == tf.as_dtype(storage).as_numpy_dtype
    np.testing.assert_array_equal(features[:30].astype(float), marks(1, 30))
    assert not features[30:].astype(float).any()
    assert half[0]["offsets"].shape == (CHUNK_FRAMES, len(CLASSES))


def test_every_published_feature_set_has_configs():
    names = set(builder.SoccernetV2.builder_configs)
    assert len(names) == 9
    for features in description.FEATURE_SETS:
        made = builder.make_config(description.describe_dataset("", features))
        assert made.name == f"{features}_float16"
        assert made in builder.SoccernetV2.BUILDER_CONFIGS
    combination = tfds.builder("soccernet_v2/baidu_soccer_embeddings_bfloat16", data_dir="none")
    assert combination.info.features["features"].shape == (112, 8576)
    assert not combination.is_prepared()


def test_the_official_layout(tmp_path, monkeypatch):
    splits = {"train": ("a/b/c",), "valid": ("a/b/d",), "test": ("a/b/e",), "challenge": ("a/b/f",)}
    monkeypatch.setattr(description, "read_official_splits", lambda: splits)
    for game in ("a/b/c", "a/b/d", "a/b/e"):
        (tmp_path / game).mkdir(parents=True)
        for half in (1, 2):
            np.save(tmp_path / game / f"{half}_ResNET_TF2_PCA512.npy", np.ones((3, 512), "f4"))
        write_labels(tmp_path / game, [annotation(1, 500, "Corner")])
    data = tfds.load(
        "soccernet_v2/ResNET_TF2_PCA512_float16",
        data_dir=tmp_path / "prepared",
        download_and_prepare_kwargs={
            "download_config": tfds.download.DownloadConfig(manual_dir=tmp_path)
        },
    )
    # The challenge split is not there, and may be left out.
    assert {split: len(records) for split, records in data.items()} == dict.fromkeys(
        ("train", "valid", "test"), 2
    )


def test_prepared_halves_are_the_folders(folder):
    dataset = open_dataset(folder)
    ready = prepared.prepare(config_of(folder), folder, folder / "prepared")
    assert (ready.classes, ready.frame_rate) == (dataset.classes, dataset.frame_rate)
    for split in GAMES:
        halves, _ = read_split(dataset, split)
        for half, stored in zip(halves, ready.halves(split), strict=True):
            assert (half.game, half.number, half.num_frames, half.events) == (
                stored.game,
                stored.number,
                stored.num_frames,
                stored.events,
            )
            np.testing.assert_array_equal(half.load(), stored.load())


def test_transformed_features_are_stored(folder):
    transform = Transform((), 4.0, "standard")
    ready = prepared.prepare(
        config_of(folder, transform=transform, storage="float32"), folder, folder / "prepared"
    )
    assert ready.frame_rate == 4.0
    dataset = open_dataset(folder)
    normalization = fit_normalization_once(dataset, transform, folder / "prepared")
    halves, _ = read_transformed_split(dataset, "valid", transform, normalization)
    for half, stored in zip(halves, ready.halves("valid"), strict=True):
        assert half.num_frames == stored.num_frames
        np.testing.assert_array_equal(half.load(), stored.load())


def test_prepared_data_may_be_far_away(folder, monkeypatch):
    """On a file system that only TensorFlow knows, its in-memory one in place of gs://."""
    monkeypatch.setattr(gpath, "_URI_SCHEMES", gpath._URI_SCHEMES | {"ram"})
    monkeypatch.setattr(gpath, "_URI_PREFIXES", (*gpath._URI_PREFIXES, "ram://"))
    monkeypatch.setitem(gpath._URI_MAP_ROOT, "ram://", "/ram/")
    monkeypatch.setitem(register._URI_PREFIXES_TO_CLS, "ram://", gpath.PosixGPath)
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "ram", gpath._PREFIX_TO_BACKEND["gs"])
    config = config_of(folder, transform=Transform(normalize="standard"))
    prepared.prepare(config, folder, "ram://bucket/prepared")
    assert not list(folder.rglob("prepared"))
    ready = prepared.open_prepared(config, "ram://bucket/prepared")
    shutil.rmtree(folder)
    alone = open_alone("ram://bucket/prepared", transform=Transform(normalize="standard"))
    assert content(alone) == content(ready)
    assert alone.read_normalization().offset.shape == (DIM,)
    assert ready.shards("train")[0].startswith("ram://bucket/prepared/soccernet_v2/")
    assert len(ready.halves("train")[1].load()) == 30
    batch = next(stream.Stream(ready, "train", batch_size=5, seed=0).batches())
    assert batch.features.shape == (5, CHUNK_FRAMES, DIM)


@pytest.mark.parametrize(
    "transform", [Transform(), Transform((), 4.0, "standard"), Transform(("more",))]
)
def test_prepared_data_is_enough(folder, tmp_path, transform):
    """On a machine that has no folder of matches."""
    for path in folder.rglob(f"*_{FEATURES}.npy"):
        np.save(path.with_name(path.name.replace(FEATURES, "more")), np.load(path)[:, :3] / 7)
    dataset = open_dataset(folder)
    rate = transform.resample or FRAME_RATE
    config = builder.make_config(
        dataset, transform, "float32", chunk_frames=round(4 * rate), time_source="position"
    )
    ready = prepared.prepare(config, folder, tmp_path / "elsewhere")
    normalization = fit_normalization_once(dataset, transform, tmp_path / "elsewhere")
    expected = content(ready)
    seen = describe_transformed(dataset, transform)
    _, problems = read_transformed_split(dataset, "train", transform, normalization)
    shutil.rmtree(folder)

    settings = {"transform": transform, "storage": "float32", "time_source": "position"}
    alone = open_alone(tmp_path / "elsewhere", **settings)
    root = alone.dataset.root
    assert root == Path(ready.builder.data_dir)
    assert alone.dataset == dataclasses.replace(seen, root=root)
    assert alone.source == dataclasses.replace(dataset, root=root)
    assert (alone.transform, alone.time_source) == (transform, "position")
    assert content(alone) == expected
    train, valid = alone.halves("train"), alone.halves("valid")
    assert find_problems(alone.dataset, "train", train) == problems
    assert problems.empty_classes == ("Corner",)
    # All were checked when they were stored.
    check_finite([*train, *valid])
    assert len(valid) == 2
    assert {event.label for half in train for event in half.events} == {"Goal", "Foul"}
    batch = next(stream.Stream(alone, "train", batch_size=5, seed=0).batches())
    assert batch.features.shape == (5, round(4 * rate), seen.feature_dim)
    kept = alone.read_normalization()
    if normalization is None:
        assert kept is None
    else:
        np.testing.assert_array_equal(kept.offset, normalization.offset)
        np.testing.assert_array_equal(kept.scale, normalization.scale)
        # So predict and export have it, too.
        again = fit_normalization_once(dataset, transform, tmp_path / "elsewhere")
        np.testing.assert_array_equal(again.scale, normalization.scale)
        shutil.rmtree(tmp_path / "elsewhere" / "normalization")
        with pytest.raises(InputError, match="delete that to have both made again"):
            alone.read_normalization()


def test_other_settings_are_not_what_was_prepared(folder, tmp_path):
    place = tmp_path / "prepared"
    with pytest.raises(InputError, match="nothing was prepared there"):
        open_alone(place)
    config = config_of(folder)
    prepared.prepare(config, folder, place)
    assert open_alone(place, features=FEATURES, dataset="marked matches")
    for options in (
        {"transform": Transform(normalize="max_abs")},
        {"storage": "bfloat16"},
        {"chunk_seconds": 112.0},
        {"time_source": "position"},
        {"features": "others"},
        {"dataset": "others"},
    ):
        with pytest.raises(InputError, match=f"only {config.name} was prepared there, not the da"):
            open_alone(place, **options)
    document = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(document | {"name": "more matches"}))
    prepared.prepare(config_of(folder), folder, place)
    with pytest.raises(InputError, match=f"{config.name} and more-matches.* all fit this config"):
        open_alone(place)
    assert open_alone(place, dataset="more matches").source.name == "more matches"

    version = place / "soccernet_v2" / config.name / "1.0.0"
    for name in ("metadata.json", "features.json", "dataset_info.json"):
        sound = (version / name).read_bytes()
        for damage in (b"{", b"{}", b"[]"):
            (version / name).write_bytes(damage)
            with pytest.raises(InputError, match=f"{version}.*; delete it to have it made again"):
                open_alone(place, dataset="marked matches")
        (version / name).write_bytes(sound)
    shard = Path(open_alone(place, dataset="marked matches").shards("train")[0])
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(InputError, match=f"{version}: damaged: .* bytes of train shards"):
        open_alone(place, dataset="marked matches")


def test_plain_tfds_load_without_a_config_name(folder):
    """By a program that knows nothing of this one."""
    prepared.prepare(config_of(folder), folder, folder / "prepared")
    code = (
        "import sys, tensorflow_datasets as tfds\n"
        "data = tfds.load('soccernet_v2', data_dir=sys.argv[1])\n"
        "print({split: len(records) for split, records in data.items()})\n"
        "assert 'spotting' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder / "prepared"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{'train': 9, 'valid': 3}"


def test_only_soccernet_is_cited_as_soccernet(folder):
    official = builder.SoccernetV2(config="ResNET_TF2_float16", data_dir=folder).info
    assert "deliege2021soccernetv2" in official.citation
    assert official.homepage == "https://www.soccer-net.org"
    other = prepared.prepare(config_of(folder), folder, folder / "prepared").builder.info
    assert "soccer" not in other.citation.lower() + (other.homepage or "").lower().replace(
        "tensorflow.org/datasets/catalog/soccernet_v2", ""
    )
    assert "marked matches" in other.description


def test_statistics_tell_what_storage_loses(tmp_path):
    folder = write_matches(tmp_path, {"train": [(300, 200)]})
    rng = np.random.default_rng(0)
    features = [rng.normal(3, 2, (n, DIM)).astype(np.float32) for n in (300, 200)]
    for half, array in enumerate(features, 1):
        np.save(folder / "league/train 0" / f"{half}_{FEATURES}.npy", array)
    everything = np.concatenate(features)
    for storage, bits in (("float16", 11), ("bfloat16", 8), ("float32", 24)):
        config = builder.make_config(open_dataset(folder), chunk_frames=7, storage=storage)
        found = prepared.prepare(config, folder, folder / "prepared").statistics
        assert found.frames == 500
        assert found.mean == pytest.approx(everything.mean(), rel=1e-5)
        assert found.std == pytest.approx(everything.std(), rel=1e-5)
        if storage == "float32":
            assert found.max_error == found.relative_error == 0
        else:
            assert 2.0 ** -(bits + 2) < found.relative_error < 2.0**-bits
            assert found.max_error <= 16 * 2.0**-bits / 2


@pytest.mark.parametrize(
    ("value", "storage", "message"),
    [
        (1e6, "float16", "column 2 .* too large for float16"),
        (np.nan, "bfloat16", "column 2 .* is nan"),
        (np.inf, "float32", "column 2 .* is inf"),
    ],
)
def test_features_that_cannot_be_stored(folder, value, storage, message):
    path = folder / "league/train 1" / f"2_{FEATURES}.npy"
    features = np.load(path)
    features[11, 2] = value
    np.save(path, features)
    with pytest.raises(InputError, match=f"2_{FEATURES}.npy: frame 11, {message}"):
        prepared.prepare(config_of(folder, storage=storage), folder, folder / "prepared")
    assert prepared.open_prepared(config_of(folder, storage=storage), folder / "prepared") is None


def test_other_data_is_refused(folder, tmp_path):
    other = write_matches(tmp_path / "other", GAMES)
    document = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(document | {"classes": ["Goal", "Foul"]}))
    with pytest.raises(InputError, match="not the data of config"):
        prepared.prepare(config_of(folder), other, folder / "prepared")

    for _ in range(2):  # The second call finds it prepared.
        prepared.prepare(config_of(folder), folder, folder / "prepared")
    write_labels(folder / "league/train 0", [annotation(1, 500, "Corner")])
    with pytest.raises(InputError, match=r"train split .* delete it to have it made again"):
        prepared.prepare(config_of(folder), folder, folder / "prepared")


def test_damaged_data_is_refused(folder):
    prepared.prepare(config_of(folder), folder, folder / "prepared")
    ready = prepared.open_prepared(config_of(folder), folder / "prepared")
    place = ready.builder.data_path
    shard = epath.Path(ready.shards("train")[0])
    damages = [
        (place / "dataset_info.json", b"{"),
        (place / "dataset_info.json", b"{}"),
        (place / "dataset_info.json", b'{"version": "1.0.0"}'),
        (place / "metadata.json", b"{"),
        (place / "metadata.json", b"{}"),
        (shard, shard.read_bytes()[:-100]),
    ]
    for path, content in damages:
        sound = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{place}: damaged: .*; delete it to have it made"):
            prepared.prepare(config_of(folder), folder, folder / "prepared")
        path.write_bytes(sound)
    shard.unlink()
    with pytest.raises(InputError, match=f"{shard.name}.*; delete it to have it made"):
        prepared.prepare(config_of(folder), folder, folder / "prepared")


def test_a_full_disk_is_foreseen(folder, monkeypatch):
    monkeypatch.setattr(tfds.core.utils, "has_sufficient_disk_space", lambda needed, path: False)
    with pytest.raises(InputError, match="no room"):
        prepared.prepare(config_of(folder), folder, folder / "prepared")


class Killed(BaseException):
    """What a process would not live to see."""


class Killer:
    """Counts what is done to files, and raises Killed at a given one; nothing is done after."""

    def __init__(self, monkeypatch, moment):
        self.count, self.moment, self.written = 0, moment, 0
        path = type(epath.Path("."))
        for owner, name in (
            (path, "replace"),
            (path, "unlink"),
            (path, "mkdir"),
            (path, "rmtree"),
            (path, "write_text"),
            (tf.io.TFRecordWriter, "write"),
        ):
            monkeypatch.setattr(owner, name, self.guard(getattr(owner, name)))
        original = tf.io.TFRecordWriter.__init__

        def init(writer, *args, **kwargs):
            self.written += 1
            original(writer, *args, **kwargs)

        monkeypatch.setattr(tf.io.TFRecordWriter, "__init__", init)
        # One shard after the other, so that a moment is always the same one.
        monkeypatch.setattr(builder, "map_threads", map)

    def guard(self, function):
        def guarded(*args, **kwargs):
            self.count += 1
            if self.moment is not None and self.count > self.moment:
                # A write that is cut short leaves a part of it.
                if function.__name__ == "write_text" and self.count == self.moment + 1:
                    function(args[0], args[1][: len(args[1]) // 2])
                raise Killed
            return function(*args, **kwargs)

        return guarded


def test_a_kill_at_any_moment(monkeypatch, tmp_path):
    folder = write_matches(tmp_path / "few", {"train": [(9, 4)], "valid": [(5, 3)]})
    config = config_of(folder)
    with monkeypatch.context() as patch:
        killer = Killer(patch, None)
        reference = content(prepared.prepare(config, folder, tmp_path / "reference"))
        moments = killer.count
    assert moments > 20
    names = sorted(path.name for path in (tmp_path / "reference").rglob("*") if path.is_file())
    for moment in range(moments):
        target = tmp_path / f"moment {moment}"
        with monkeypatch.context() as patch:
            Killer(patch, moment)
            with pytest.raises(Killed):
                prepared.prepare(config, folder, target)
        finished = prepared.open_prepared(config, target)
        # Only the tidying up comes after all is in place.
        assert finished is None or content(finished) == reference
        left = [path for path in target.rglob("*.report.json") if path.is_file()]
        with monkeypatch.context() as patch:
            killer = Killer(patch, None)
            ready = prepared.prepare(config, folder, target)
        assert content(ready) == reference
        if finished is None:
            assert killer.written == 2 - len(left)
            made = sorted(path.name for path in target.rglob("*") if path.is_file())
            assert made == names


def write_shards_only(config, folder, target, monkeypatch):
    """A preparation that is killed before it says that it is finished."""

    def killed(self):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(builder.SoccernetV2, "_write_info", killed)
        with pytest.raises(Killed):
            prepared.prepare(config, folder, target)


def test_shards_of_changed_games_are_written_again(folder, monkeypatch, tmp_path):
    config = config_of(folder)
    write_shards_only(config, folder, tmp_path / "prepared", monkeypatch)
    write_labels(folder / "league/train 1", [annotation(1, 500, "Corner")])
    with monkeypatch.context() as patch:
        killer = Killer(patch, None)
        ready = prepared.prepare(config, folder, tmp_path / "prepared")
    assert killer.written == 1
    assert [event.label for event in ready.halves("train")[2].events] == ["Corner"]


@pytest.mark.parametrize("report", ["", "{", "[]", "{}"])
def test_a_damaged_report_tells_nothing(folder, monkeypatch, tmp_path, report):
    config = config_of(folder)
    write_shards_only(config, folder, tmp_path, monkeypatch)
    for path in tmp_path.rglob("*.report.json"):
        path.write_text(report)
    with monkeypatch.context() as patch:
        killer = Killer(patch, None)
        prepared.prepare(config, folder, tmp_path)
    assert killer.written == 3


def test_a_killed_process(tmp_path):
    """SIGKILL between two shards, and the same command again."""
    games = [(2_000, 2_000)] * 40
    folder = write_matches(tmp_path / "matches", {"train": games})
    code = (
        "import sys\nfrom spotting.data.prepared import builder, reader as prepared\n"
        "from spotting.data.halves import open_dataset\n"
        "config = builder.make_config(open_dataset(sys.argv[1]), chunk_frames=8)\n"
        "prepared.prepare(config, sys.argv[1], sys.argv[2])\n"
    )
    target = tmp_path / "prepared"
    process = subprocess.Popen([sys.executable, "-c", code, folder, target])
    deadline = time.monotonic() + 100
    while len(list(target.rglob("*.report.json"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    config = config_of(folder)
    assert prepared.open_prepared(config, target) is None
    kept = {path: path.stat().st_mtime_ns for path in target.rglob("*.tfrecord*of-00040")}
    reported = {path.name.removesuffix(".report.json") for path in target.rglob("*.report.json")}
    assert 0 < len(reported) < 40
    ready = prepared.prepare(config, folder, target)
    for path, modified in kept.items():
        assert (path.stat().st_mtime_ns == modified) == (path.name in reported)
    halves = ready.halves("train")
    assert len(halves) == 80
    np.testing.assert_array_equal(halves[70].load()[:, 1], np.arange(2_000))
    assert not list(target.rglob("*.partial"))


def test_two_preparations_at_once(folder, tmp_path):
    config, target = config_of(folder), tmp_path / "prepared"
    place = Path(builder.SoccernetV2(config=config, data_dir=target).data_path)
    with hold_folder(place), pytest.raises(InputError, match="in use by process"):
        prepared.prepare(config, folder, target)
    assert prepared.prepare(config, folder, target)
    assert not list(target.rglob(".lock"))


def test_temporary_folders_are_tidied_up(folder, monkeypatch, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    prepared.prepare(config_of(folder), folder, tmp_path / "prepared")
    assert list(temporary.iterdir()) == []


def test_two_datasets_do_not_share_a_name(folder):
    dataset = open_dataset(folder)
    names = {
        builder.make_config(dataset, *options).name
        for options in [
            (None, "float16", 8, "gameTime"),
            (None, "bfloat16", 8, "gameTime"),
            (None, "float16", 16, "gameTime"),
            (None, "float16", 8, "position"),
            (Transform(resample=1.0), "float16", 8, "gameTime"),
            (Transform(normalize="max_abs"), "float16", 8, "gameTime"),
        ]
    }
    assert len(names) == 6
    with pytest.raises(InputError, match="storage is 'int8'"):
        builder.make_config(dataset, storage="int8")


def test_shards_are_cleaned_up_of_other_splits(folder):
    target = folder / "prepared"
    config = config_of(folder)
    version = target / "soccernet_v2" / config.name / "1.0.0"
    version.mkdir(parents=True)
    (version / "soccernet_v2-train.tfrecord-00000-of-00007").write_bytes(b"of an earlier split")
    prepared.prepare(config, folder, target)
    assert len(list(version.glob("*.tfrecord*"))) == 3
    assert os.listdir(version).count("partial_info") == 0
