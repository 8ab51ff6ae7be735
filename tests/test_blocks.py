import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from spotting.data.prepared import blocks


def cell_probabilities(num_frames, chunk_frames):
    """Half, start and probability of every chunk that the sampling law can give."""
    half, start, probability = [], [], []
    for i, n in enumerate(num_frames):
        choices = max(n - chunk_frames, 0) + 1
        half += [i] * choices
        start += range(choices)
        probability += [n / sum(num_frames) / choices] * choices
    return np.array(half), np.array(start), np.array(probability)


def follows_the_law(num_frames, chunk_frames, half, start):
    """p-value of drawn chunks under the sampling law; 0 if one cannot be drawn at all."""
    cell_half, cell_start, probability = cell_probabilities(num_frames, chunk_frames)
    width = int(cell_start.max()) + 1
    if np.any(np.asarray(start) >= width):
        return 0.0
    counts = np.bincount(np.asarray(half) * width + start, minlength=len(num_frames) * width)
    cells = cell_half * width + cell_start
    if counts[cells].sum() != len(half):
        return 0.0
    return chisquare(counts[cells], probability * len(half)).pvalue


def read_and_cut(layout, reads, lane):
    """What a lane cuts, by reading blocks as a stream does: pairs (half, frame) of each chunk."""
    size = layout.block_frames
    shards = {}
    for half, (n, shard) in enumerate(zip(layout.num_frames, layout.shard, strict=True)):
        for block in range(-(-n // size)):
            frames = [(half, t) if t < n else None for t in range(block * size, (block + 1) * size)]
            shards.setdefault(shard, []).append(frames)
    chunks = []
    for segment in range(reads.lane_segments[lane], reads.lane_segments[lane + 1]):
        previous = None
        first = reads.segment_blocks[segment]
        for number in range(first, reads.segment_blocks[segment + 1]):
            position = reads.first_block[segment] + number - first
            current = shards[reads.shard[segment]][position]
            for chunk in range(reads.block_chunks[number], reads.block_chunks[number + 1]):
                cut = reads.cut[chunk]
                before = [] if cut == size else previous[cut:]
                chunks.append((before + current[:cut], reads.valid[chunk]))
            previous = current
    return chunks


@given(
    games=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=2), min_size=1, max_size=6),
    block_frames=st.integers(1, 9),
    lanes=st.integers(1, 5),
    processes=st.integers(1, 3),
    seed=st.integers(0, 1000),
    left_out=st.integers(0, 2),
)
def test_reads_give_the_planned_chunks(games, block_frames, lanes, processes, seed, left_out):
    lengths = [n for game in games for n in game]
    shard = [i for i, game in enumerate(games) for _ in game]
    layout = blocks.make_layout(lengths, shard, block_frames)
    for process in range(processes):
        half, start = blocks.plan_pass(layout, seed, 3, process, processes, lanes)
        left_out = min(left_out, half.shape[1] - 1)
        half, start = half[:, left_out:], start[:, left_out:]
        reads = blocks.plan_reads(layout, half, start)
        for lane in range(lanes):
            expected = [
                (
                    [(h, t) if t < lengths[h] else None for t in range(s, s + block_frames)],
                    min(lengths[h] - s, block_frames),
                )
                for h, s in zip(half[lane], start[lane], strict=True)
            ]
            assert read_and_cut(layout, reads, lane) == expected


def test_a_pass_follows_the_sampling_law():
    lengths = [7, 30, 8, 19, 41]
    layout = blocks.make_layout(lengths, [0, 0, 1, 1, 2], 8)
    plans = [blocks.plan_pass(layout, 5, index, 0, 1, 4) for index in range(2500)]
    half, start = (np.concatenate([plan[i].ravel() for plan in plans]) for i in (0, 1))
    assert follows_the_law(lengths, 8, half, start) > 0.01
    # The test has power: starts that favour block borders, or halves drawn evenly, fail it.
    assert follows_the_law(lengths, 8, half, start // 8 * 8) < 1e-6
    even_half = np.random.default_rng(0).integers(len(lengths), size=len(half))
    even_start = np.zeros_like(start)
    assert follows_the_law(lengths, 8, even_half, even_start) < 1e-6


@pytest.mark.parametrize("turn", [0, -1])
@pytest.mark.parametrize("process", [0, 2])
def test_every_position_of_every_process_follows_the_sampling_law(process, turn):
    # Shards of very different sizes: an order by shards alone would favour the small ones.
    lengths = [5, 64, 12, 9]
    layout = blocks.make_layout(lengths, [0, 1, 2, 3], 8)
    plans = [blocks.plan_pass(layout, 1, index, process, 3, 2) for index in range(6000)]
    half, start = (np.array([plan[i][1, turn] for plan in plans]) for i in (0, 1))
    assert follows_the_law(lengths, 8, half, start) > 0.01


def test_processes_share_out_one_draw():
    # 64 blocks in all, so that 1, 2 and 4 processes draw equally many.
    layout = blocks.make_layout([256] * 16, np.arange(16) // 2, 64)

    def cut_by(num_processes):
        plans = [
            blocks.plan_pass(layout, 9, 4, process, num_processes, 2)
            for process in range(num_processes)
        ]
        chunks = [np.stack([half.ravel(), start.ravel()], 1) for half, start in plans]
        assert len({part.tobytes() for part in chunks}) == num_processes
        return np.array(sorted(np.concatenate(chunks).tolist()))

    alone = cut_by(1)
    assert len(alone) == 64
    np.testing.assert_array_equal(cut_by(2), alone)
    np.testing.assert_array_equal(cut_by(4), alone)


@pytest.mark.parametrize(("num_processes", "lanes"), [(1, 32), (4, 8), (16, 4)])
def test_a_chunk_costs_at_most_two_blocks(num_processes, lanes):
    # 300 games as long as SoccerNet-v2's.
    lengths = np.random.default_rng(0).integers(5_400, 6_000, 600)
    layout = blocks.make_layout(lengths, np.arange(600) // 2, 224)
    costs = []
    for process in range(num_processes):
        plan = blocks.plan_pass(layout, 0, 0, process, num_processes, lanes)
        costs.append(blocks.blocks_per_chunk(blocks.plan_reads(layout, *plan)))
    assert 0.9 < np.mean(costs) < 1.25
