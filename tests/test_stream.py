import itertools
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import chisquare
from stream_fixture import CHUNK_FRAMES, marks, write_matches
from test_blocks import follows_the_law

from spotting.__main__ import COMMANDS
from spotting.anchors import NO_EVENT, event_offsets
from spotting.base.errors import InputError
from spotting.data import resident
from spotting.data.halves import compute_offsets, make_label_matrix, open_dataset, read_split
from spotting.data.prepared import builder, stream
from spotting.data.prepared import reader as prepared

pytestmark = pytest.mark.slow

# Halves shorter than a chunk, of whole chunks, and of others.
GAMES = [(5, 30), (8, 16), (41, 9), (64, 3), (23, 24)]
LENGTHS = [length for game in GAMES for length in game]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_matches(tmp_path_factory.mktemp("matches"), {"train": GAMES, "valid": [(9, 4)]})


@pytest.fixture(scope="module")
def ready(folder):
    config = builder.make_config(open_dataset(folder), chunk_frames=CHUNK_FRAMES)
    return prepared.prepare(config, folder, folder / "prepared")


def make_stream(ready, share=6, seed=3, process=0, num_processes=1, shuffle_bytes=1, parts=1):
    """A stream of which each process gets `share` rows of a batch."""
    batch_size = share * num_processes
    which = (process, num_processes, parts)
    return stream.Stream(ready, "train", batch_size, seed, *which, shuffle_bytes)


def take(batches, count):
    return list(itertools.islice(batches, count))


def positions(batches):
    """Half and first frame of each chunk, as its features say."""
    first = np.concatenate([batch.features[:, 0, :2] for batch in batches]).astype(int)
    return first[:, 0], first[:, 1]


def test_chunks_and_targets_are_those_of_whole_halves(folder, ready):
    dataset = open_dataset(folder)
    halves, _ = read_split(dataset, "train")
    offsets, _ = compute_offsets(halves, dataset.classes, dataset.frame_rate, "gameTime")
    for half, computed in zip(halves, offsets, strict=True):
        labels, _ = make_label_matrix(half, dataset.classes, dataset.frame_rate, "gameTime")
        np.testing.assert_array_equal(computed, event_offsets(labels))
    seen = set()
    for batch in take(make_stream(ready).batches(), 60):
        assert batch.features.shape == (6, CHUNK_FRAMES, 4)
        assert batch.features.dtype == np.float16
        assert batch.offsets.shape == (6, CHUNK_FRAMES, 3)
        assert batch.offsets.dtype == np.int16
        for features, chunk_offsets, valid in zip(*batch, strict=True):
            half, start = int(features[0, 0]), int(features[0, 1])
            stop = min(start + CHUNK_FRAMES, LENGTHS[half])
            num_valid = stop - start
            assert valid.tolist() == [True] * num_valid + [False] * (CHUNK_FRAMES - num_valid)
            np.testing.assert_array_equal(
                features[:num_valid], marks(half, LENGTHS[half])[start:stop]
            )
            assert not features[num_valid:].any()
            np.testing.assert_array_equal(chunk_offsets[:num_valid], offsets[half][start:stop])
            assert (chunk_offsets[num_valid:] == NO_EVENT).all()
            seen.add(half)
    assert seen == set(range(len(LENGTHS)))


def test_both_loaders_follow_the_sampling_law(ready):
    count = 3_000
    streamed = take(make_stream(ready, 250, seed=0).batches(), count // 250)
    assert follows_the_law(LENGTHS, CHUNK_FRAMES, *positions(streamed)) > 0.01

    features = [marks(half, length).astype(np.float32) for half, length in enumerate(LENGTHS)]
    offsets = [np.full((length, 3), NO_EVENT, np.int16) for length in LENGTHS]
    split = resident.concatenate(features, offsets, CHUNK_FRAMES)
    half, start = resident.sample_positions(
        jax.random.key(0), np.array(LENGTHS), count, CHUNK_FRAMES
    )
    batch = resident.cut(jax.tree.map(np.asarray, split), half, start, CHUNK_FRAMES)
    assert isinstance(streamed[0], resident.Batch)
    batch = jax.tree.map(np.asarray, batch)
    assert follows_the_law(LENGTHS, CHUNK_FRAMES, *positions([batch])) > 0.01


def test_chunks_are_shuffled(ready):
    """Chunks that were cut one after the other do not stay together."""
    half, _ = positions(take(make_stream(ready, shuffle_bytes=1 << 20).batches(), 100))
    length = np.array(LENGTHS)[half]
    together = np.mean(half[1:] == half[:-1])
    expected = (length / sum(LENGTHS)).mean()
    assert together == pytest.approx(expected, abs=0.06)


def test_the_seed_gives_the_sequence(ready):
    first, again, other = (take(make_stream(ready, seed=s).batches(), 12) for s in (3, 3, 4))
    assert len(first) == 12
    for one, two in zip(first, again, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)
    assert any((a.features != b.features).any() for a, b in zip(first, other, strict=True))


# 32 chunks are a pass; in the second case they are shuffled in windows of 8.
@pytest.mark.parametrize("num_processes", [1, 4])
def test_it_goes_on_from_any_batch(ready, num_processes):
    sequence = make_stream(ready, num_processes=num_processes)
    whole = take(sequence.batches(), 20)
    assert len(whole) == 20
    for start in (1, 6, 17):
        late = take(sequence.batches(start), 2)
        for expected, batch in zip(whole[start : start + 2], late, strict=True):
            jax.tree.map(np.testing.assert_array_equal, batch, expected)


def test_processes_share_out_one_sequence(ready):
    cut_by = {}
    for num_processes in (1, 2, 4):
        parts = []
        for process in range(num_processes):
            # 32 chunks are a pass of all processes.
            part = make_stream(ready, 32 // num_processes, 3, process, num_processes)
            parts.append(np.stack(positions(take(part.batches(), 12)), 1))
        assert len({part.tobytes() for part in parts}) == num_processes
        cut_by[num_processes] = sorted(np.concatenate(parts).tolist())
    assert len(cut_by[1]) == 12 * 32
    # Together they cut each chunk that was drawn once, no more and no less.
    assert cut_by[1] == cut_by[2] == cut_by[4]


def test_batches_of_parts_are_the_same_on_one_process_and_on_two(ready):
    alone = take(make_stream(ready, 8).batches(), 12)
    whole = take(make_stream(ready, 8, shuffle_bytes=1 << 10, parts=2).batches(), 12)
    assert len(alone) == len(whole) == 12
    for start in (0, 7):
        shared = [make_stream(ready, 4, 3, process, 2, 1 << 10) for process in (0, 1)]
        batches = [take(part.batches(start), 12 - start) for part in shared]
        for expected, *rows in zip(whole[start:], *batches, strict=True):
            together = jax.tree.map(lambda *each: np.concatenate(each), *rows)
            jax.tree.map(np.testing.assert_array_equal, together, expected)
    # 32 chunks are a pass; parts cut the same ones.
    cut = [sorted(zip(*positions(batches), strict=True)) for batches in (alone, whole)]
    assert cut[0] == cut[1]


@pytest.mark.parametrize(("num_processes", "parts"), [(1, 4), (2, 3)])
def test_parts_that_cannot_be(ready, num_processes, parts):
    with pytest.raises(InputError, match=f"{parts} parts of a batch of {3 * num_processes}"):
        make_stream(ready, 3, num_processes=num_processes, parts=parts).dataset()


def test_shuffling_keeps_the_law_of_every_process(ready):
    part = make_stream(ready, 250, process=1, num_processes=4)
    half, start = positions(take(part.batches(), 16))
    counts = np.bincount(half, minlength=len(LENGTHS))
    assert chisquare(counts, np.array(LENGTHS) / sum(LENGTHS) * len(half)).pvalue > 0.01
    assert follows_the_law(LENGTHS, CHUNK_FRAMES, half, start) > 0.01


def test_batches_go_to_the_device(ready):
    host = take(make_stream(ready).batches(), 5)
    mesh = jax.make_mesh((1,), ("batch",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    for where in (None, sharding):
        device = list(stream.put_on_device(host, where))
        assert len(device) == 5
        for one, two in zip(device, host, strict=True):
            assert isinstance(one.features, jax.Array)
            jax.tree.map(np.testing.assert_array_equal, one, two)


def test_a_chunk_costs_at_most_two_blocks(tmp_path):
    # Few shards of many blocks are the costly case.
    folder = write_matches(tmp_path, {"train": [(330, 370)] * 8})
    config = builder.make_config(open_dataset(folder), chunk_frames=CHUNK_FRAMES)
    ready = prepared.prepare(config, folder, folder / "prepared")
    for num_processes in (1, 2, 4):
        parts = [make_stream(ready, 6, 0, i, num_processes) for i in range(num_processes)]
        assert 0.9 < np.mean([part.blocks_per_chunk() for part in parts]) <= 2


def test_a_damaged_shard_is_named(tmp_path):
    folder = write_matches(tmp_path, {"train": [(16, 16)]})
    config = builder.make_config(open_dataset(folder), chunk_frames=CHUNK_FRAMES)
    ready = prepared.prepare(config, folder, folder / "prepared")
    shard = Path(ready.shards("train")[0])
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    again = prepared.prepare(config, folder, folder / "prepared")
    damaged = rf"{shard.parent}: damaged: .*corrupted record.* delete it to have it made again"
    with pytest.raises(InputError, match=damaged):
        take(make_stream(again).batches(), 1)
    with pytest.raises(InputError, match=damaged):
        [half.load() for half in again.halves("train")]


def test_an_unknown_split_is_named(ready):
    with pytest.raises(ValueError, match="no test split"):
        ready.layout("test")


def run_without_tensorflow(code):
    block = (
        "import sys\nfor name in ('tensorflow', 'tensorflow_datasets'): sys.modules[name] = None\n"
    )
    return subprocess.run(
        [sys.executable, "-c", block + code], capture_output=True, text=True, check=False
    )


def test_without_tensorflow_it_says_what_to_install():
    code = """
from spotting.base import cli
def main():
    from spotting.data.prepared import stream
cli.run(main)
"""
    done = run_without_tensorflow(code)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install tensorflow-cpu" in done.stderr


def test_the_rest_does_without_tensorflow():
    modules = "resident, transforms, survey, download"
    commands = ", ".join(COMMANDS)
    code = (
        f"from spotting.data import {modules}\nfrom spotting.data.prepared import storage, blocks\n"
        f"from spotting import experiment, {commands}"
    )
    done = run_without_tensorflow(code)
    assert done.returncode == 0, done.stderr
