import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spotting.inference import chunks as inference
from spotting.models.network import build_network

T, P = 16, 5


@given(st.integers(1, 400), st.integers(2, 60), st.integers(0, 29), st.integers(1, 9))
def test_every_frame_is_decided_once_by_a_chunk_that_sees_it(num_frames, chunk, border, chunks):
    assume(2 * border < chunk)
    rows = inference.stitching(num_frames, chunk, border)
    decided = np.full(num_frames, -1)
    for index, row in enumerate(rows):
        assert row.result_start - row.output_start == row.chunk_start
        assert row.result_end - row.output_end == row.chunk_start
        assert 0 <= row.chunk_start <= max(num_frames - chunk, 0)
        decided[row.result_start : row.result_end] = index
    assert (decided >= 0).all()
    assert (np.diff(decided) >= 0).all()
    # Away from the ends of the half, no output within the border of its chunk's ends is kept.
    for frame, index in enumerate(decided):
        inside = frame - rows[index].chunk_start
        assert inside >= border or rows[index].chunk_start == 0
        assert inside < chunk - border or index == len(rows) - 1


@given(st.integers(1, 4000), st.integers(2, 60), st.integers(0, 29), st.integers(1, 40))
def test_few_programs_serve_all_halves_and_short_ones_no_more_than_twice_their_chunks(
    num_frames, chunk, border, most
):
    assume(2 * border < chunk)
    rows = len(inference.stitching(num_frames, chunk, border))
    count = inference.shared_chunks(num_frames, chunk, border, most)
    assert count in {8, 16, 32, most}
    assert count == most or rows <= count < max(2 * rows, 9)


@given(st.integers(1, 400), st.integers(2, 60), st.integers(0, 29), st.integers(1, 9))
def test_segments_decide_every_frame_as_the_chunks_do(num_frames, chunk, border, chunks):
    assume(2 * border < chunk)
    expected = np.full((num_frames, 2), -1)
    for row in inference.stitching(num_frames, chunk, border):
        inside = np.arange(row.output_start, row.output_end)
        expected[row.result_start : row.result_end] = np.stack(
            [np.full_like(inside, row.chunk_start), inside], axis=1
        )
    decided = np.full((num_frames, 2), -1)
    span = inference.segment_span(chunks, chunk, border)
    for segment in inference.segments(num_frames, chunk, border, chunks):
        assert (segment.offsets + chunk <= max(span, chunk)).all()
        kept = segment.source[segment.low - segment.start : segment.high - segment.start]
        starts = segment.start + segment.offsets[kept // chunk]
        decided[segment.low : segment.high] = np.stack([starts, kept % chunk], axis=1)
    np.testing.assert_array_equal(decided, expected)


@pytest.mark.parametrize(("kind", "num_frames"), [("confidence", 70), ("displacement", 11)])
def test_spot_half_is_the_model_chunk_by_chunk(kind, num_frames):
    model = build_network(kind, 3, trunk="unet", projection=512, reduction=(8, 4), levels=2)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, T, P)))
    run = jax.jit(model.apply)
    half = np.random.default_rng(0).standard_normal((num_frames, P)).astype(np.float16)
    expected = np.zeros((num_frames, 3), np.float32)
    for row in inference.stitching(num_frames, T, 5):
        chunk = np.zeros((1, T, P), np.float32)
        chunk[0, : row.valid_chunk_size] = half[row.chunk_start :][: row.valid_chunk_size]
        outputs = run(params, chunk)[0]
        outputs = jax.nn.sigmoid(outputs) if kind == "confidence" else outputs
        kept = outputs[row.output_start : row.output_end]
        expected[row.result_start : row.result_end] = kept
    ours = inference.spot_half(model, params, half, T, 5, chunks=3)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
