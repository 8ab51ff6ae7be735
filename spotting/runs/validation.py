"""Scoring parameters on the validation split while they are trained."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from spotting.scoring import figures as evaluation, metrics
from spotting.inference import chunks as inference, on_device as split_inference
from spotting.runs import settings
from spotting import timing
from spotting.data.halves import Half
from spotting.training.loop import Validate
from spotting.runs.matches import Matches
from spotting.inference.postprocessing import Suppression, score_map

_SHARE = 0.25  # of an accelerator's memory that the features of a split may take

SpotHalves = Callable[[Any], list[np.ndarray]]


def make_validation(
    config: ConfigDict, matches: Matches, kind: str, best_confidence: Callable[[int], Any]
) -> Validate | None:
    """What scores parameters on the validation split; None if there is no such split.

    Confidence is judged by loose average-mAP at the final window; displacement by average-mAP over
    1 to 10 s at a narrow window, on the scores of the best confidence model.

    Args:
      config: of the experiment.
      matches: the data.
      kind: of the model that is trained.
      best_confidence: index of a training to the parameters of its confidence model.
    """
    halves = matches.splits.get("valid")
    if not halves:
        return None
    rate = matches.dataset.frame_rate
    truth = evaluation.truths(halves, matches.classes)
    border = config.inference.valid_border
    spot = make_spotting(config, matches, kind, halves, border)
    if kind == "confidence":
        windows, tolerances = tuple(config.postprocessing.window), metrics.LOOSE
    else:
        windows, tolerances = (config.postprocessing.displacement_window,), metrics.MEDIUM
    suppression = Suppression("hard", windows)

    @functools.cache
    def confidence(index: int) -> list[np.ndarray]:
        spot_confidence = make_spotting(config, matches, "confidence", halves, border)
        return spot_confidence(best_confidence(index))

    def pairs(index: int, params: Any) -> list[tuple[np.ndarray, np.ndarray | None]]:
        outputs = spot(params)
        if kind == "confidence":
            return [(scores, None) for scores in outputs]
        return list(zip(confidence(index), outputs, strict=True))

    def score(predictions: Sequence[tuple[np.ndarray, np.ndarray | None]]) -> float:
        maps = [score_map(*pair, rate, suppression) for pair in predictions]
        spots = metrics.spots_from_score_maps(maps, rate)
        return metrics.average_map(truth, spots, len(matches.classes), tolerances)["all"].map

    def validate(members: list[Any]) -> Callable[[], list[float]]:
        predictions = [pairs(index, params) for index, params in enumerate(members)]

        def scores() -> list[float]:
            with jax.default_device(_host()):
                return [score(one) for one in predictions]

        return scores

    return validate


def make_spotting(
    config: ConfigDict,
    matches: Matches,
    kind: str,
    halves: Sequence[Half],
    border_seconds: float,
) -> SpotHalves:
    """A function of parameters that spots halves, which may be called for many.

    Its results are predictions [N, K] of each half: confidences in [0, 1], or displacements in
    frames. On accelerators that have the memory the features stay there between calls.
    """
    rate = matches.dataset.frame_rate
    chunk_frames = settings.check_chunk(config, rate)
    border = timing.border_frames(border_seconds, config.inference.min_kept, rate, chunk_frames)
    longest = max(half.num_frames for half in halves)
    chunks = inference.balanced_chunks(
        longest, chunk_frames, border, config.inference.segment_chunks
    )
    model = settings.network(config, kind, len(matches.classes))
    radius = timing.frames(config.anchors.displacement_radius, rate)
    unit = radius if kind == "displacement" else 1.0
    devices = jax.local_devices()[: len(halves)]
    dtype = jnp.dtype(config.model.dtype)
    if _fits(halves, matches.dataset.feature_dim * dtype.itemsize, devices):
        features = [half.load() for half in halves]
        shares = split_inference.place(features, chunk_frames, border, chunks, dtype, devices)

        def spot_all(params: Any) -> list[np.ndarray]:
            return split_inference.spot_split(model, params, shares, chunk_frames)

    else:

        def spot_all(params: Any) -> list[np.ndarray]:
            return [
                inference.spot_half(model, params, half.load(), chunk_frames, border, chunks)
                for half in halves
            ]

    return lambda params: [unit * outputs for outputs in spot_all(params)]


def _fits(halves: Sequence[Half], frame_bytes: int, devices: Sequence[jax.Device]) -> bool:
    """Whether the features are worth keeping on the devices; a CPU reads them where they are."""
    if devices[0].platform == "cpu":
        return False
    needed = sum(half.num_frames for half in halves) * frame_bytes / len(devices)
    return needed < _SHARE * devices[0].memory_stats()["bytes_limit"]


def _host() -> jax.Device | None:
    """The CPU, unless JAX was started without."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
