"""The systems that the paper compares with, against plain loops over what they say they do."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting import timing
from spotting.anchors import event_offsets
from spotting.data import clips, context_chunks, resident, windows
from spotting.inference import clips as clip_inference
from spotting.inference import detections as detection_inference
from spotting.inference import windows as window_inference
from spotting.inference.nms import NO_SPOT, hard_nms
from spotting.inference.postprocessing import Suppression, score_map
from spotting.models.calf import Calf
from spotting.models.linear import convolve, convolve_long, keep
from spotting.models.netvlad import POOLS, NetVLAD, vlad
from spotting.models.rmsnet import ClipOutputs, RmsNetHead
from spotting.training import context_aware, losses
from spotting.training.schedules import Plateau, step_plateau, warmup_cosine

RNG = np.random.default_rng(0)
SLICES = np.array([[-20, -12], [-10, -6], [8, 6], [16, 14]], np.float32)


def random_labels(num_frames=160, num_classes=2, share=0.03):
    return (RNG.random((num_frames, num_classes)) < share).astype(np.uint8)


# Suppression


def loop_nms(scores, before, after, threshold):
    remaining, kept = scores.copy(), np.full_like(scores, NO_SPOT)
    while remaining.max() >= threshold:
        frame = int(np.argmax(remaining))
        kept[frame] = remaining[frame]
        remaining[max(frame - before, 0) : frame + after + 1] = NO_SPOT
    return kept


@pytest.mark.parametrize("reach", [(5, 5), (5, 4), (4, 2), (2, 4), (1, 0), (0, 0)])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_suppression_that_is_not_symmetric(reach, threshold):
    scores = np.round(RNG.random((6, 90)), 1).astype(np.float32)  # with many ties
    scores[0] = 0
    kept = hard_nms(scores, *reach, threshold)
    for row, ours in zip(scores, np.asarray(kept), strict=True):
        np.testing.assert_array_equal(ours, loop_nms(row, *reach, threshold))


def test_half_open_suppression_is_an_option():
    confidence = np.zeros((80, 1), np.float32)
    confidence[[20, 30], 0] = 0.9, 0.8  # half a window apart
    kept = {
        kind: np.flatnonzero(score_map(confidence, None, 2.0, Suppression(kind, (10.0,))) > 0)
        for kind in ("hard", "half_open")
    }
    assert kept["hard"].tolist() == [20]
    assert kept["half_open"].tolist() == [20, 30]
    assert timing.half_open_reach(30, 2.0) == (30, 29)
    assert timing.half_open_reach(7.5, 2.0) == (8, 6)


# NetVLAD++


def test_windows_see_every_frame_and_the_published_ones_do_not():
    lengths = np.array([61, 60, 1])
    half, start = windows.list_windows(lengths, 30)
    assert list(zip(half, start, strict=True)) == [
        (0, 0),
        (0, 30),
        (0, 60),
        (1, 0),
        (1, 30),
        (2, 0),
    ]
    half, start = windows.list_windows(lengths, 30, last_frame_unseen=True)
    assert list(zip(half, start, strict=True)) == [(0, 0), (0, 30), (1, 0), (1, 30)]


def test_labels_of_windows():
    labels = random_labels(95, 3)
    split = resident.concatenate(
        [RNG.normal(size=(95, 4))], [event_offsets(labels)], chunk_frames=20
    )
    half, start = windows.list_windows(split.lengths, 20)
    batch = jax.jit(windows.cut_windows, static_argnums=3)(split, half, start, 20)
    targets = windows.encode_windows(batch.offsets)
    for row, first in enumerate(start):
        present = labels[first : first + 20].any(axis=0)
        np.testing.assert_array_equal(targets[row], [not present.any(), *present])
    np.testing.assert_array_equal(batch.features[-1, -1], split.features[94])  # repeated


@pytest.mark.slow
@pytest.mark.parametrize("pool", [name + more for name in POOLS for more in ("", "++")])
def test_every_pool_spots_halves_of_any_length(pool):
    network = NetVLAD(3, pool, clusters=4)
    features = RNG.normal(size=(41, 6)).astype(np.float32)
    params = network.init(jax.random.key(0), features[None, :8])
    scores = window_inference.spot_half(network, params, features, 8, at_once=16)
    assert scores.shape == (41, 3)
    for frame in (0, 3, 20, 40):
        shown = np.clip(np.arange(frame - 4, frame + 4), 0, 40)
        logits = network.apply(params, features[None, shown])
        np.testing.assert_allclose(scores[frame], jax.nn.sigmoid(logits[0, 1:]), atol=1e-6)
    published = window_inference.spot_half(network, params, features, 8, True, at_once=16)
    np.testing.assert_array_equal(published, scores[:-1])


@pytest.mark.slow
def test_an_empty_frame_has_a_finite_gradient():
    frames = RNG.normal(size=(2, 5, 4)).astype(np.float32)
    frames[0, 1] = 0
    frames[1] = 0
    assignment, centres = RNG.normal(size=(2, 4, 3)).astype(np.float32)

    def total(frames, assignment, centres):
        return jnp.sum(vlad(frames, assignment, centres) ** 3)

    for gradient in jax.grad(total, argnums=(0, 1, 2))(frames, assignment, centres):
        assert np.isfinite(gradient).all()


def test_dropout_keeps_the_mean():
    kept = keep(jnp.ones(8), jnp.array([1, 1, 1, 0, 1, 1, 0, 1]) == 1, 0.25)
    np.testing.assert_allclose(jnp.sum(kept), 8)
    network = NetVLAD(3, "max")
    features = RNG.normal(size=(2, 8, 6)).astype(np.float32)
    params = network.init(jax.random.key(0), features)
    plain = network.apply(params, features)
    dropped = [network.apply(params, features, jax.random.key(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert not np.allclose(dropped[0], dropped[2])
    assert not np.allclose(dropped[0], plain)


# CALF


def loop_shifts(labels, slices):
    num_frames, num_classes = labels.shape
    shifts = np.zeros(labels.shape)
    for label in range(num_classes):
        k0, k1, k2, k3 = slices[:, label]
        events = np.flatnonzero(labels[:, label])
        for frame in range(num_frames):
            if len(events) == 0:
                shifts[frame, label] = k0
            elif len(events) == 1:
                shifts[frame, label] = frame - events[0]
            else:
                behind = frame - max((e for e in events if e <= frame), default=-k3)
                ahead = frame - min((e for e in events if e > frame), default=num_frames - k0)
                if behind < k2:
                    shift = behind
                elif behind >= k3:
                    shift = ahead
                elif ahead <= k0 or (behind - k2) / (k3 - k2) < (k1 - ahead) / (k1 - k0):
                    shift = behind
                else:
                    shift = ahead
                shifts[frame, label] = shift
    return shifts


@pytest.mark.parametrize("share", [0.0, 0.005, 0.02, 0.1])
def test_time_shifts(share):
    labels = random_labels(share=share)
    labels[40, 0] = 1
    shifts = context_chunks.time_shifts(labels, SLICES)
    np.testing.assert_array_equal(shifts, loop_shifts(labels, SLICES))


def test_chunks_are_drawn_by_class():
    # Class 0 has many events, class 1 one, class 2 none; half 1 is all background.
    labels = np.zeros((400, 3), np.uint8)
    labels[::20, 0] = 1
    labels[200, 1] = 1
    slices = np.array([[-20.0] * 3, [-10.0] * 3, [8.0] * 3, [16.0] * 3], np.float32)
    halves = [labels, np.zeros((300, 3), np.uint8)]
    shifts = [context_chunks.time_shifts(half, slices) for half in halves]
    anchors = context_chunks.find_anchors(shifts, slices, 48)
    assert anchors.label.tolist() == [0, 1, 3]
    assert anchors.size.tolist() == [20, 1, 1]
    lengths = jnp.array([400, 300])
    half, start = jax.jit(context_chunks.draw_chunks, static_argnums=(3, 4, 5, 6))(
        jax.random.key(0), anchors, lengths, 6000, 3, 48, 12
    )
    half, start = np.asarray(half), np.asarray(start)
    in_run = half == 1
    assert abs(in_run.mean() - 1 / 3) < 0.03
    assert start[in_run].min() == 0
    assert start[in_run].max() == 300 - 48
    # The rare event is drawn as often as all the others together, at frames 13 to 36.
    place = 200 - start[~in_run]
    rare = (place > 12) & (place <= 36)
    assert rare.mean() > 0.5
    assert set(range(13, 37)) <= set(place[rare])
    assert start[~in_run].max() == 400 - 48


def test_a_chunk_that_reaches_beyond_its_half_is_moved():
    start = jnp.array([-5, 10, 60, 60, 52])
    lengths = jnp.array([100, 100, 100, 30, 100])
    moved = context_chunks.clamp_starts(start, lengths, 48)
    assert moved.tolist() == [0, 10, 52, 0, 52]
    moved = context_chunks.clamp_starts(start, lengths, 48, last_frame_unseen=True)
    assert moved.tolist() == [0, 10, 51, 0, 51]


def test_erasing_follows_the_order_of_drawing():
    erased = RNG.random(90) < 0.1
    start = RNG.integers(0, 90 - 24, 7)
    rows = start[:, None] + np.arange(24)
    before, after = jax.jit(context_chunks.erase_drawn, static_argnums=2)(erased, rows, 7)
    state = erased.copy()
    for chunk, seen in zip(rows, np.asarray(before), strict=True):
        np.testing.assert_array_equal(seen, state[chunk])
        state[chunk[:4]] = state[chunk[-4:]] = True
    np.testing.assert_array_equal(after, state)


@pytest.mark.slow
def test_targets_of_detections():
    shifts = np.where(random_labels(40, 3, 0.05), 0.0, 7.0)[None]
    for count in (3, 15):
        targets = np.asarray(context_chunks.detection_targets(shifts, count))[0]
        events = np.argwhere(shifts[0] == 0)
        for slot in range(count):
            if slot < len(events):
                frame, label = events[slot]
                one_hot = np.eye(3)[label]
                np.testing.assert_array_equal(targets[slot], [1, np.float32(frame / 40), *one_hot])
            else:
                assert not targets[slot].any()


def loop_matching(targets, detections):
    """Rounds of proposals, slot by slot; then empty slots in order of time."""
    count = len(targets)
    matched, free = {}, set(range(count))
    events = [slot for slot in range(count) if targets[slot, 0] == 1]
    closeness = 1 - np.abs(targets[:, None, 1] - detections[None, :, 1])
    while len(matched) < len(events):
        proposals = {}
        for slot in events:
            if slot not in matched:
                best = min(sorted(free), key=lambda j: (-closeness[slot, j], j))
                proposals.setdefault(best, []).append(slot)
        for detection, slots in proposals.items():
            winner = min(slots, key=lambda i: (-closeness[i, detection], i))
            matched[winner] = detection
            free.discard(detection)
    left = sorted(free, key=lambda j: (-(np.float32(1) - detections[j, 1]), j))
    for slot in range(count):
        if slot not in matched:
            matched[slot] = left.pop(0)
    return [matched[slot] for slot in range(count)]


def test_matching_is_one_to_one_and_by_time():
    targets = np.zeros((40, 6, 4), np.float32)
    for example in targets:
        events = RNG.integers(0, 7)
        example[:events, 0] = 1
        example[:events, 1] = np.sort(np.round(RNG.random(events), 1))  # with ties
    detections = RNG.random((40, 6, 4)).astype(np.float32)
    detections[:20, :, 1] = np.round(detections[:20, :, 1], 1)
    found = np.asarray(jax.jit(context_aware.match_detections)(targets, detections))
    for example in range(40):
        assert sorted(found[example]) == list(range(6))
        assert found[example].tolist() == loop_matching(targets[example], detections[example])


def test_context_aware_loss_case_by_case():
    shifts = np.arange(-30, 30, dtype=np.float32)[None, :, None].repeat(2, 2)
    predicted = RNG.uniform(0.01, 0.99, shifts.shape).astype(np.float32)
    ours = context_aware.context_aware_loss(predicted, shifts, SLICES)
    for index, loss in np.ndenumerate(ours):
        x, p = float(shifts[index]), float(predicted[index])
        k0, k1, k2, k3 = SLICES[:, index[2]].tolist()
        if x < k0 or x >= k3:
            expected = math.log(0.9) - math.log(1 - p)
        elif x < k1:
            expected = math.log(0.9) - math.log(1 - p + p * (x - k0) / (k1 - k0))
        elif x < 0:
            expected = 0
        elif x < k2:
            expected = math.log(0.9) - math.log(p + (1 - p) * x / k2)
        else:
            expected = math.log(0.9) - math.log(1 - p + p * (x - k3) / (k2 - k3))
        assert loss == pytest.approx(max(0, expected), abs=2e-6)


def test_losses_are_finite_at_the_ends():
    shifts = np.arange(-30, 30, dtype=np.float32)[None, :, None].repeat(2, 2)
    for value in (0.0, 1.0):
        predicted = np.full(shifts.shape, value, np.float32)
        loss = context_aware.context_aware_loss(predicted, shifts, SLICES)
        gradient = jax.grad(lambda p: jnp.sum(context_aware.context_aware_loss(p, shifts, SLICES)))
        assert np.isfinite(loss).all()
        assert np.isfinite(gradient(predicted)).all()


@pytest.mark.slow
def test_long_convolution_is_the_short_one():
    x = RNG.normal(size=(2, 30, 3)).astype(np.float32)
    for taps in (1, 2, 7, 16):
        kernel = RNG.normal(size=(taps, 3, 4)).astype(np.float32)
        padded = np.pad(x, ((0, 0), ((taps - 1) // 2, taps // 2), (0, 0)))
        loop = sum(padded[:, tap : tap + 30] @ kernel[tap] for tap in range(taps))
        np.testing.assert_allclose(convolve(x, kernel), loop, atol=1e-4)
        np.testing.assert_allclose(convolve_long(x, kernel), loop, atol=1e-4)


def test_detections_are_put_at_their_frames():
    detections = RNG.random((5, 9, 5)).astype(np.float32)
    detections[:, ::2, 1] = 0.5  # several at one frame
    scores = np.asarray(detection_inference.put_at_frames(detections, 16))
    expected = np.full((5, 16, 3), NO_SPOT, np.float32)
    for chunk in range(5):
        for confidence, time, *classes in detections[chunk]:
            expected[chunk, int(time * 15), np.argmax(classes)] = confidence
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("num_frames", [30, 47, 48, 49, 70, 79, 80, 81, 111, 112, 113, 200])
def test_every_frame_of_a_half_is_shown_where_it_is(num_frames):
    rows = detection_inference.cover_half(num_frames, 48, 16)
    chunks = np.stack([np.minimum(row.chunk_start + np.arange(48), num_frames - 1) for row in rows])
    shown = detection_inference.stitch(chunks[..., None], rows, num_frames, -1)
    np.testing.assert_array_equal(shown[:, 0], np.arange(num_frames))


def test_the_published_last_chunk_is_misplaced():
    # N - T is 20 after the second stride of 32: the chunk that is read third starts there, but what
    # the half ends with is said by the one before.
    rows = detection_inference.cover_half(48 + 32 + 20, 48, 16, misplaced_last=True)
    assert rows[-1].chunk_start == 64
    assert rows[-1].result_start == 52 + 8
    # N - T is 1 after the third: there is none between.
    rows = detection_inference.cover_half(48 + 96 + 1, 48, 16, misplaced_last=True)
    assert rows[-1].chunk_start + 8 == rows[-1].result_start


@pytest.mark.slow
def test_calf_spots_halves_of_any_length():
    network = Calf(3, 16, capsules=4, num_detections=5)
    features = RNG.normal(size=(130, 6)).astype(np.float32)
    variables = network.init(jax.random.key(0), features[None, :48])
    for length in (20, 48, 130):
        scores = detection_inference.spot_half(network, variables, features[:length], 48, at_once=4)
        assert scores.shape == (length, 3)
        assert ((scores == NO_SPOT) | ((scores >= 0) & (scores <= 1))).all()


# RMS-Net


def test_clips_are_everywhere_around_events_and_away_from_them():
    labels = np.zeros((200, 2), np.uint8)
    labels[60, 1] = 1
    empty = np.zeros((40, 2), np.uint8)
    table = clips.list_clips([labels, empty], 9)
    events = table.label == 1
    assert np.count_nonzero(events) == 9
    # Wherever the clip begins, its place says where the event is.
    frame = clip_inference.place_spots(table.start, table.place, 9)
    np.testing.assert_allclose(frame[events], 60, atol=1e-5)
    background = table.start[(table.label == 2) & (table.half == 0)]
    assert background.min() >= 0
    assert background.max() + 9 <= 200
    assert np.all((background + 9 <= 60 - 4 - 4) | (background > 60 + 4 + 4))
    assert np.any(table.half == 1)
    published = clips.list_clips([labels, empty], 9, only_between_events=True)
    assert not np.any(published.label == 2)


def test_an_epoch_of_clips():
    labels = np.repeat([0, 1, 2], [5, 30, 12]).astype(np.int32)
    places = clips.choose_places(labels, 10)
    draws = [np.asarray(clips.draw_clips(jax.random.key(k), labels, places)) for k in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert set(draws[0]) != set(draws[2])
    for draw in draws:
        assert len(set(draw)) == len(draw)
        assert np.bincount(labels[draw]).tolist() == [5, 10, 10]


def test_clips_become_scores():
    logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.2, 0.6, 0.2]]).astype(np.float32)
    outputs = ClipOutputs(logits, np.array([0.5, 0.5, 0.99], np.float32))
    frame, label, confidence = clip_inference.score_clips(outputs, np.array([0, 9, 18]), 24, 9)
    assert frame.tolist() == [4, 13, 23]
    assert label.tolist() == [0, 2, 1]
    np.testing.assert_allclose(confidence, [0.7, NO_SPOT, 0.6], atol=1e-6)
    late = clip_inference.place_spots(np.array([0]), np.array([0.5]), 9, late=True)
    assert late.tolist() == [5.5]


@pytest.mark.slow
def test_head_spots_halves_of_any_length():
    network = RmsNetHead(3, (8, 8, 4))
    features = RNG.normal(size=(50, 6)).astype(np.float32)
    params = network.init(jax.random.key(0), features[None, :9])
    scores = clip_inference.spot_half(network, params, features, 9, at_once=4)
    assert scores.shape == (50, 3)
    assert np.count_nonzero(scores >= 0) <= 6


@pytest.mark.slow
def test_clip_loss_without_the_clips_that_do_not_count():
    logits = RNG.normal(size=(6, 4)).astype(np.float32)
    offset, place = RNG.random((2, 6)).astype(np.float32)
    labels = np.array([0, 3, 1, 3, 2, 0])
    weights = np.array([1, 1, 1, 1, 0, 0], np.float32)
    ours = losses.clip_loss(logits, offset, labels, place, weights)
    kept = losses.clip_loss(logits[:4], offset[:4], labels[:4], place[:4])
    np.testing.assert_allclose(ours, kept, rtol=1e-6)
    background = losses.clip_loss(logits, offset, np.full(6, 3), place)
    assert background == pytest.approx(np.mean(jax.nn.logsumexp(logits, axis=1) - logits[:, 3]))


# Schedules


def test_plateau_ends_after_the_last_rate():
    state, rates = Plateau(1e-3), []
    for _ in range(100):
        rates.append(float(state.learning_rate))
        state = step_plateau(state, 1.0, patience=3)
        if state.finished:
            break
    assert state.finished
    np.testing.assert_allclose(sorted(set(np.round(np.log10(rates), 3))), range(-8, -2))


def test_cosine_starts_with_a_step_of_nothing():
    factor = warmup_cosine(100, 10)
    np.testing.assert_allclose(factor(np.array([0, 5, 100])), [0, 0.5, 0], atol=1e-6)
    assert float(factor(10)) == pytest.approx(0.5 * (math.cos(0.1 * math.pi) + 1))
