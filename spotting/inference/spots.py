"""From the features of a half to its spots, around an exported model. Needs NumPy alone.

`python -m spotting.export` writes this file beside model.stablehlo and signature.json:

    import jax
    import numpy as np
    import spots

    model = jax.export.deserialize(bytearray(open("served/model.stablehlo", "rb").read()))
    signature = spots.read_signature("served/signature.json")
    features = np.load("1_features.npy")  # [N, P], as the run's own feature files
    for seconds, label, confidence in spots.spot_half(features, model.call, signature, "auto"):
        print(seconds, label, confidence)

Instead of `model.call` any function may run the model, on a server or in another framework: chunks,
float32 [B, T, P], to confidences and displacements in seconds, both [B, T, K].
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

RunModel = Callable[[np.ndarray], tuple[Any, Any]]

NO_SPOT = -1.0


class Spot(NamedTuple):
    """An action found: seconds from the start of the half, its class, and how sure, 0 to 1."""

    seconds: float
    label: str
    confidence: float


def read_signature(path: str | os.PathLike) -> dict[str, Any]:
    """What signature.json says."""
    with open(path, encoding="utf-8") as file:
        signature: dict[str, Any] = json.load(file)
    return signature


def spot_half(
    features: np.ndarray,
    run_model: RunModel,
    signature: Mapping[str, Any],
    threshold: float | str = 0.0,
    batch_size: int = 32,
) -> list[Spot]:
    """Spots the actions of one half of any length.

    Args:
      features: [N, P], any float type, at the frame rate of `signature["features"]`.
      run_model: runs the exported model on chunks [B, T, P].
      signature: see `read_signature`.
      threshold: least confidence of a spot; "auto" takes each class's of the signature.
      batch_size: B; the last batch may be smaller.

    Returns:
      The spots in the order of time, then class.

    Raises:
      ValueError: features of another width, or "auto" where the signature has no thresholds.
    """
    classes, rate = signature["classes"], signature["frame_rate"]
    if features.ndim != 2 or not len(features) or features.shape[1] != signature["features"]["dim"]:
        raise ValueError(
            f"features of shape {features.shape}, not (frames, {signature['features']['dim']})"
        )
    features = resample(features, signature["features"]["frame_rate"], rate)
    confidence, displacement = predict_half(features, run_model, signature, batch_size)
    counted = signature.get("votes", {"spread": 0.0})
    finer = counted.get("frame_rate", rate)
    confidence, displacement = (resample(each, rate, finer) for each in (confidence, displacement))
    rate = finer
    shift = displacement * np.float32(rate)
    if counted["spread"]:
        votes = add_votes(confidence, shift, counted["spread"], counted["full"])
    else:
        votes = vote(confidence, np.rint(shift).astype(np.int64))
    windows = signature["suppression"]["windows"]
    scores = np.stack(
        [
            suppress(votes[:, k], windows[k % len(windows)], rate, signature["suppression"], k)
            for k in range(len(classes))
        ],
        axis=1,
    )
    if threshold == "auto":
        if not signature["thresholds"]:
            raise ValueError("the run had no validation split to choose thresholds on")
        floors = np.array([signature["thresholds"].get(name, 1.0) for name in classes])
    else:
        floors = np.full(len(classes), float(threshold))
    return [
        Spot(round(1000 * int(frame) / rate) / 1000, classes[k], float(scores[frame, k]))
        for frame, k in np.argwhere((scores >= floors) & (scores >= 0))
    ]


def predict_half(
    features: np.ndarray, run_model: RunModel, signature: Mapping[str, Any], batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and displacement in seconds of every frame, both [N, K].

    Chunks overlap; each keeps all but a border on either side. The first keeps its left border, the
    last, which is moved back to end with the half, its right one.
    """
    num_frames, chunk = len(features), signature["chunks"]["frames"]
    if num_frames < chunk:
        padding = np.broadcast_to(
            np.asarray(signature["chunks"]["padding"], np.float32),
            (chunk - num_frames, features.shape[1]),
        )
        features = np.concatenate([features.astype(np.float32), padding])
    border, last = signature["chunks"]["border"], len(features) - chunk
    starts = [*range(0, last, chunk - 2 * border), last]
    shape = len(features), len(signature["classes"])
    confidence, displacement = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for first in range(0, len(starts), batch_size):
        group = starts[first : first + batch_size]
        chunks = np.stack([features[start : start + chunk] for start in group])
        outputs = [np.asarray(output) for output in run_model(chunks.astype(np.float32))]
        for index, start in enumerate(group):
            low = 0 if start == 0 else border
            high = chunk if start == last else chunk - border
            confidence[start + low : start + high] = outputs[0][index, low:high]
            displacement[start + low : start + high] = outputs[1][index, low:high]
    return confidence[:num_frames], displacement[:num_frames]


def resample(features: np.ndarray, from_rate: float, to_rate: float) -> np.ndarray:
    """Features [N, P] at another frame rate, interpolated linearly."""
    if from_rate == to_rate:
        return features
    num_frames = max(1, round(len(features) * to_rate / from_rate))
    position = np.minimum(np.arange(num_frames) * (from_rate / to_rate), len(features) - 1)
    before = np.floor(position).astype(np.int64)
    after = np.minimum(before + 1, len(features) - 1)
    share = (position - before).astype(np.float32)[:, None]
    features = np.asarray(features, np.float32)
    result: np.ndarray = features[before] + share * (features[after] - features[before])
    return result


def vote(confidence: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Every frame votes with its confidence [N, K] at the frame `shift` away; the greatest counts.

    Frames without votes score 0.
    """
    num_frames, num_classes = confidence.shape
    frame = np.clip(np.arange(num_frames)[:, None] + shift, 0, num_frames - 1)
    scores = np.zeros_like(confidence)
    np.maximum.at(scores, (frame, np.broadcast_to(np.arange(num_classes), frame.shape)), confidence)
    return scores


def add_votes(confidence: np.ndarray, shift: np.ndarray, spread: float, full: float) -> np.ndarray:
    """The votes [N, K] of all frames, `shift` frames away, are added up and smoothed.

    A vote between two frames is shared by them; the smoothing is exp(-x^2 / (2 spread^2)) at x
    frames, up to three spreads. A score is the root of a sum as a share of `full`, at most 1.
    """
    num_frames, num_classes = confidence.shape
    place = np.clip(np.arange(num_frames)[:, None] + shift, 0, num_frames - 1)
    first = np.floor(place).astype(np.int64)
    columns = np.broadcast_to(np.arange(num_classes), place.shape)
    reach = math.floor(3 * spread)
    sums = np.zeros((num_frames + 2 * reach + 1, num_classes))
    for frame in (first, first + 1):
        share = np.maximum(1 - np.abs(place - frame), 0)
        np.add.at(sums, (reach + frame, columns), share * np.maximum(confidence, 0))
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-((steps / spread) ** 2) / 2)
    total = sum(kernel[i] * sums[i : i + num_frames] for i in range(len(steps)))
    return np.sqrt(np.minimum(total / full, 1)).astype(np.float32)


def suppress(
    scores: np.ndarray,
    window: float,
    frame_rate: float,
    suppression: Mapping[str, Any],
    label: int = 0,
) -> np.ndarray:
    """Greedy non-maximum suppression of one class's scores [N]; -1 where there is no spot.

    Hard: a kept score removes all within half the window, in seconds, on either side; half open: in
    a window of whole frames that ends before its last one. Soft: it multiplies those within the
    window by a factor that grows with their distance, by default distance over window; `label` is
    the index of the class, which may have a decay of its own.
    """
    if suppression["kind"] == "hard":
        radius = math.floor(window * frame_rate / 2)
        return _suppress_hard(scores, radius, radius)
    if suppression["kind"] == "half_open":
        width = math.floor(window * frame_rate)
        return _suppress_hard(scores, -(-width // 2), width // 2 - 1)
    decays = suppression.get("decays", ["linear"])
    decay, least = decays[label % len(decays)], suppression["soft_threshold"]
    return _suppress_soft(scores, window * frame_rate, least, decay)


def _suppress_hard(scores: np.ndarray, before: int, after: int) -> np.ndarray:
    kept = np.full_like(scores, NO_SPOT)
    waiting = np.ones(len(scores), bool)
    for frame in np.argsort(-scores, kind="stable"):  # the earliest of equals first
        if waiting[frame]:
            kept[frame] = scores[frame]
            waiting[max(0, frame - before) : frame + after + 1] = False
    return kept


def _suppress_soft(scores: np.ndarray, radius: float, least: float, decay: str) -> np.ndarray:
    kept, remaining = np.full_like(scores, NO_SPOT), scores.copy()
    reach = math.floor(radius)
    x = np.abs(np.arange(-reach, reach + 1)) / radius
    shapes = {"linear": x, "quadratic": x**2, "gaussian": 1 - np.exp(-4.5 * x**2)}
    factors = shapes[decay].astype(scores.dtype)
    while True:
        frame = int(np.argmax(remaining))
        if remaining[frame] < least:
            return kept
        kept[frame] = remaining[frame]
        low, high = max(0, frame - reach), min(len(scores), frame + reach + 1)
        near = remaining[low:high]
        decayed = near * factors[low - frame + reach : high - frame + reach]
        remaining[low:high] = np.where(near >= 0, decayed, near)
        remaining[frame] = NO_SPOT
