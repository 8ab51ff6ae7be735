"""The loader's benchmark measures what it says it does, on a data set that takes no time."""

import numpy as np
import pytest

from spotting.data.dataset import FeatureSet
from spotting.data.halves import open_dataset, read_split

pytest.importorskip("tensorflow_datasets")

from spotting.benchmarks import loader as loader_benchmark

FEATURES = FeatureSet(2.0, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return loader_benchmark.make_folder(
        tmp_path_factory.mktemp("matches"), games=3, features=FEATURES, minutes=6
    )


def test_makes_a_folder_that_the_project_reads(folder):
    halves = read_split(open_dataset(folder), "train")[0]
    assert len(halves) == 6
    assert all(half.load().shape == (720, 8) for half in halves)


@pytest.mark.parametrize("parts", [1, 2])
def test_measures_what_a_stream_gives(folder, parts):
    prepared = loader_benchmark.prepare_folder(folder)
    found = loader_benchmark.measure_speed(prepared, 4, seconds=0.05, rounds=1, parts=parts)
    assert found.bytes_per_s == pytest.approx(found.chunks_per_s * 224 * 8 * 2)
    assert 1 <= found.blocks_per_chunk <= 4
    assert found.read_bytes_per_s > 0
    assert found.cpu_ms_per_chunk > 0


def test_reading_speed_covers_every_byte(tmp_path, monkeypatch):
    paths = [str(tmp_path / name) for name in "ab"]
    for path, length in zip(paths, (3_000_000, 5), strict=True):
        np.zeros(length, np.uint8).tofile(path)
    times = iter([10.0, 12.0])
    monkeypatch.setattr(loader_benchmark.time, "perf_counter", lambda: next(times))
    assert loader_benchmark._read_speed(paths) == 3_000_005 / 2
