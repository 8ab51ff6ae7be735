"""A trained run's two models as what spots a half while it is coming in."""

import numpy as np

from spotting import timing
from spotting.base.errors import InputError
from spotting.inference.chunks import segment_span, spot_segments
from spotting.inference.live import ChunkModel, LiveSettings, LiveSpotter
from spotting.inference.postprocessing import Suppression
from spotting.runs.config import read_transform
from spotting.runs.setup import output_unit
from spotting.runs.systems import find_system
from spotting.runs.trained import Model, TrainedRun


def make_live_spotter(
    run: TrainedRun,
    suppression: Suppression,
    floor: np.ndarray,
    delay: float | None,
    step: float,
) -> tuple[LiveSpotter, float]:
    """Makes what takes a half's frames as they come.

    Args:
      run: whose models spot.
      suppression: which NMS.
      floor: [K], least confidence of a spot of each class.
      delay: seconds after which a spot is given at the latest; None for as long as the spots of a
        whole half take.
      step: seconds between two runs of the networks.

    Returns:
      It, and the seconds of delay from which on its spots are those of a whole half.

    Raises:
      InputError: a delay shorter than a step, or a run that can only spot whole halves.
    """
    transform = read_transform(run.config)
    if find_system(run.config) or transform.concatenate or transform.resample:
        raise InputError(
            f"{run.workdir}: of another system, or on joined or resampled features, which can only "
            "spot whole halves; live spotting is for the paper's own"
        )
    rate, frames = run.dataset.frame_rate, run.chunk_frames
    inference = run.config.inference
    least = timing.whole_frames(step, rate)
    waits = None if delay is None else timing.whole_frames(delay, rate)
    if least < 1 or (waits is not None and waits < least):
        raise InputError(f"a delay of {delay} s with steps of {step} s; it is at least a step")
    settings = LiveSettings(
        frames,
        timing.border_frames(inference.border, inference.min_kept, rate, frames),
        rate,
        output_unit(run.config, "displacement", rate) if run.displacement else 0.0,
        suppression,
        floor,
        waits,
        least,
    )
    # A program for another number of chunks rounds otherwise: where spots are to be those of a
    # whole half, the program of a long one runs, with one chunk of interest.
    chunks = inference.segment_chunks if settings.is_exact else 1
    confidence = _make_chunk_model(run.confidence, settings, chunks)
    displacement = None
    if run.displacement:
        displacement = _make_chunk_model(run.displacement, settings, chunks)
    return LiveSpotter(settings, confidence, displacement), settings.exact_delay / rate


def _make_chunk_model(model: Model, settings: LiveSettings, chunks: int) -> ChunkModel:
    """A model of one chunk, run by the program for segments of so many chunks."""
    frames = settings.chunk_frames
    span = segment_span(chunks, frames, settings.border)
    offsets, source = np.zeros((1, chunks), np.int32), np.zeros((1, span), np.int32)
    source[0, :frames] = np.arange(frames)

    def predict(chunk: np.ndarray) -> np.ndarray:
        block = np.pad(chunk, ((0, span - frames), (0, 0)))
        outputs = spot_segments(model.network, model.params, block[None], offsets, source, frames)
        return np.asarray(outputs[0, :frames])

    return predict
