"""Predictions for a split, and scores of parameters on the validation split during training."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from spotting.data.halves import Half
from spotting.inference import chunks, on_device
from spotting.inference.postprocessing import Suppression
from spotting.notation import Confidence, Displacement
from spotting.runs import memory
from spotting.runs.setup import Setup, output_unit, read_suppression
from spotting.runs.systems import find_system, read_values
from spotting.scoring import figures
from spotting.scoring.windows import TOLERANCES
from spotting.training.objectives import KINDS


class SplitPredictor:
    """Predicts halves with the parameters of a kind of model, as often as it is called.

    On accelerators that have the memory the features stay there between calls.
    """

    def __init__(self, setup: Setup, kind: str, halves: Sequence[Half], border: float):
        """Places the features where they fit.

        Args:
          setup: of the experiment.
          kind: of the model.
          halves: to predict.
          border: seconds of each chunk's predictions that are dropped on either side.
        """
        self._network = setup.make_network(kind)
        self._halves, self._frames = halves, setup.chunk_frames
        self._spot_half = None
        if system := find_system(setup.config):
            rate = setup.matches.dataset.frame_rate
            self._spot_half = system.spot(read_values(setup.config), self._network, rate)
            return
        self._unit = output_unit(setup.config, kind, setup.matches.dataset.frame_rate)
        self._border = setup.border_frames(border)
        longest = max(half.num_frames for half in halves)
        self._chunks = chunks.balanced_chunks(
            longest, self._frames, self._border, setup.config.inference.segment_chunks
        )
        devices = jax.local_devices()[: len(halves)]
        dtype = setup.config.model.dtype
        frames = sum(half.num_frames for half in halves)
        self._shares = None
        if memory.fits_on_devices(frames, setup.matches.dataset.feature_dim, dtype, devices):
            features = [half.load() for half in halves]
            self._shares = on_device.place(
                features, self._frames, self._border, self._chunks, jnp.dtype(dtype), devices
            )

    def __call__(self, params: Any) -> list[Confidence] | list[Displacement]:
        """[N, K] of each half: confidences in [0, 1], or displacements in frames."""
        network = self._network
        if self._spot_half is not None:
            return [self._spot_half(params, half.load()) for half in self._halves]
        if self._shares is not None:
            outputs = on_device.spot_split(network, params, self._shares, self._frames)
        else:
            outputs = [
                chunks.spot_half(
                    network, params, half.load(), self._frames, self._border, self._chunks
                )
                for half in self._halves
            ]
        return [self._unit * values for values in outputs]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Confidences of a split's halves, and displacements where there are any."""

    confidence: list[Confidence]
    displacement: list[Displacement] | None


class Validation:
    """Scores parameters of one kind of model on the validation split.

    Confidence is judged by loose average-mAP with the final window; displacement by average-mAP
    over 1 to 10 s with a narrow window, on the scores of the best confidence model.
    """

    def __init__(self, setup: Setup, kind: str, restore_confidence: Callable[[int], Any]):
        """Reads the truth, and places the features.

        Args:
          setup: of the experiment, which has a validation split.
          kind: of the model that is trained.
          restore_confidence: index of a training to the parameters of its confidence model.
        """
        self._setup, self._kind = setup, kind
        self._halves = setup.matches.splits["valid"]
        self._truth = figures.make_truths(self._halves, setup.matches.classes)
        self._predict = self._make_predictor(kind)
        self._restore_confidence = restore_confidence
        self._confidence: dict[int, list[Confidence]] = {}
        values = setup.config.postprocessing
        window = (values.displacement_window,) if KINDS[kind].narrow_window else values.window
        self._suppression = Suppression("hard", tuple(window))
        if find_system(setup.config):
            self._suppression = read_suppression(setup.config, len(setup.matches.classes))

    def predict(self, params: Mapping[int, Any]) -> dict[int, Predictions]:
        """The devices' part: predictions with the parameters of each training, by its index."""
        return {index: self._predict_one(index, each) for index, each in params.items()}

    def score(self, predictions: Mapping[int, Predictions]) -> dict[int, float]:
        """The host's part: average-mAP of each training's predictions, 0 to 1."""
        with jax.default_device(_get_host()):
            return {index: self._score_one(each) for index, each in predictions.items()}

    def _predict_one(self, index: int, params: Any) -> Predictions:
        outputs = self._predict(params)
        if self._kind == "confidence":
            return Predictions(outputs, None)
        if index not in self._confidence:
            predict = self._make_predictor("confidence")
            self._confidence[index] = predict(self._restore_confidence(index))
        return Predictions(self._confidence[index], outputs)

    def _score_one(self, predictions: Predictions) -> float:
        return figures.score_predictions(
            self._truth,
            predictions.confidence,
            predictions.displacement,
            self._setup.matches.dataset.frame_rate,
            self._suppression,
            TOLERANCES[KINDS[self._kind].measure],
        ).map

    def _make_predictor(self, kind: str) -> SplitPredictor:
        border = self._setup.config.inference.valid_border
        return SplitPredictor(self._setup, kind, self._halves, border)


def _get_host() -> jax.Device | None:
    """The CPU, unless JAX was started without."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
