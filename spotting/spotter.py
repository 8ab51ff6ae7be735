"""A trained run as one object, features in and spots out: `from spotting import Spotter`."""

import numbers
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spotting import timing
from spotting.base.errors import InputError
from spotting.base.files import read_object
from spotting.data import transforms
from spotting.data.annotations import list_scores
from spotting.data.checks import find_nonfinite
from spotting.inference.chunks import shared_chunks, spot_half
from spotting.inference.live import LiveSpot, LiveSpotter
from spotting.inference.nms import NO_SPOT
from spotting.inference.postprocessing import Suppression, score_map
from spotting.runs.config import read_transform
from spotting.runs.layout import THRESHOLDS
from spotting.runs.live import make_live_spotter
from spotting.runs.setup import output_unit, read_suppression, read_votes
from spotting.runs.systems import find_system, read_values
from spotting.runs.trained import Model, TrainedRun, load_run
from spotting.video import (
    FeatureNetwork,
    Half,
    extract_video,
    load_network,
    parse_halves,
)
from spotting.video.network import find_feature_set

_WINDOWS = {"hard": 20.0, "half_open": 20.0, "soft": 4.0}


class Spot(NamedTuple):
    """An action found: seconds from the start of the half, its class, and how sure, 0 to 1."""

    seconds: float
    label: str
    confidence: float


class VideoSpot(NamedTuple):
    """A `Spot` of a video: `video_seconds` counts from the video's first picture."""

    seconds: float
    label: str
    confidence: float
    video_seconds: float


class Spotter:
    """Spots actions in the features of whole halves, with both models of a trained run.

    >>> import numpy as np
    >>> from spotting import Spotter
    >>> spotter = Spotter.load("runs/matches")
    >>> features = np.load("1_features.npy")  # [frames, spotter.feature_dim]
    >>> spots = spotter.spot(features, threshold="auto")

    A `Spot` is a named tuple: `pandas.DataFrame(spots)` is a table of them, and `spot._asdict()` a
    dictionary.

    Without a threshold it returns all that non-maximum suppression leaves, down to confidence 0:

    >>> spots = spotter.spot(features)
    >>> max(spots, key=lambda spot: spot.confidence)  # doctest: +ELLIPSIS
    Spot(seconds=..., label='...', confidence=0...)

    An object never changes once it is loaded: threads may share one. The first half compiles the
    two networks; halves of any other length then use the same programs, in bounded memory (but for
    runs whose config resamples or normalises features: those take a half as a whole).

    Attributes:
      workdir: the run's folder.
      classes: names of the K classes.
      frame_rate: frames per second that features must have.
      feature_dim: P, the values a frame that they must have.
      features: name of the feature files that the run was trained on.
      data: name of the data set that it was trained on.
      thresholds: for each class the confidence that gave the best F1 on the validation split, or
        None where the run has no such split.
    """

    def __init__(self, run: TrainedRun, suppression: Suppression | None = None):
        """Makes one from a run already read, by default with the run's own suppression."""
        self.workdir = run.workdir
        self.classes = run.source.classes
        self.frame_rate = run.source.frame_rate
        self.feature_dim = run.source.feature_dim
        self.features = run.source.features
        self.data = run.source.name
        self.thresholds: Mapping[str, float] | None = _read_thresholds(run.workdir / THRESHOLDS)
        self._run = run
        self._suppression = suppression or read_suppression(run.config, len(run.dataset.classes))

    @classmethod
    def load(
        cls,
        workdir: str | os.PathLike,
        nms: Literal["hard", "soft"] | None = None,
        window: float | Iterable[float] | None = None,
    ) -> "Spotter":
        """Reads a run that `python -m spotting.main` wrote.

        Args:
          workdir: its folder, of one seed; what `spotting push` made of it; or
            hf://owner/name[@revision], which is downloaded from Hugging Face's hub.
          nms: "hard" or "soft" non-maximum suppression; by default the run's.
          window: seconds, for all classes or for each: the full width of what hard suppression
            removes around a spot, the radius of what soft suppression decays. By default the run's,
            with another `nms` than the run's 20 (hard, the paper) or 4 (soft, Soares and Shah
            2022).

        Raises:
          InputError: `workdir` is no finished run, or the suppression is unfit.
        """
        run = load_run(workdir)
        values = run.config.postprocessing
        kind = nms or values.nms
        is_own = kind == values.nms
        windows = tuple(values.window) if is_own else (_WINDOWS.get(kind, 0.0),)
        decays = tuple(values.decay) if is_own else ("linear",)
        if window is not None:
            windows = tuple(map(float, window if isinstance(window, Iterable) else (window,)))
        if len(windows) not in (1, len(run.dataset.classes)):
            raise InputError(
                f"{len(windows)} NMS windows for the {len(run.dataset.classes)} classes of "
                f"{workdir}; give one, or one for each"
            )
        votes = read_votes(run.config)
        return cls(run, Suppression(kind, windows, values.soft_threshold, decays, votes))

    def spot(self, features: ArrayLike, threshold: float | Literal["auto"] = 0.0) -> list[Spot]:
        """Spots the actions of one half.

        Args:
          features: [N, P], any float type, at `frame_rate` frames per second; it may be
            memory-mapped, since it is read in parts.
          threshold: least confidence of a spot; "auto" takes each class's of `thresholds`.

        Returns:
          The spots in the order of time, then class.

        Raises:
          InputError: the features have another shape, or a NaN or infinity among them; or there
            are no thresholds to take.
        """
        floor = self.floor(threshold)
        features = self.transformed(self.checked(features))
        rate = self._run.dataset.frame_rate
        confidence = self._outputs(self._run.confidence, features)
        displacement, unit = None, 0.0
        if self._run.displacement:
            unit = output_unit(self._run.config, "displacement", rate)
            displacement = unit * self._outputs(self._run.displacement, features)
        scores = score_map(confidence, displacement, rate, self._suppression, furthest=unit)
        rate = self._suppression.votes.output_rate(rate)
        scores = np.where(scores >= floor, scores, NO_SPOT)
        rows = list_scores(scores, rate)
        return [Spot(seconds, self.classes[k], score) for seconds, k, score in rows]

    def score(self, features: ArrayLike) -> np.ndarray:
        """Confidences of every frame and class of one half, before votes and suppression.

        Args:
          features: as for `spot`.

        Returns:
          float32 [N', K] in [0, 1], in the order of `classes`; N' frames at the rate that the
          models see, which is `frame_rate` unless the run's config resamples.

        Raises:
          InputError: as `spot`, of the features.
        """
        return self._outputs(self._run.confidence, self.transformed(self.checked(features)))

    def __repr__(self) -> str:
        return (
            f"<Spotter of {self.workdir}: {len(self.classes)} classes of {self.data}, from "
            f"{self.features} [frames, {self.feature_dim}] at {self.frame_rate:g} a second>"
        )

    def spot_many(
        self, halves: Iterable[ArrayLike], threshold: float | Literal["auto"] = 0.0
    ) -> list[list[Spot]]:
        """Spots the actions of many halves, of any lengths; a generator keeps one in memory."""
        return [self.spot(features, threshold) for features in halves]

    def spot_video(
        self,
        path: str | os.PathLike,
        halves: str | Sequence[Half] | None = None,
        threshold: float | Literal["auto"] = 0.0,
        network: FeatureNetwork | None = None,
        folder: str | os.PathLike | None = None,
    ) -> dict[int, list[VideoSpot]]:
        """Spots the actions of a video: extracts the features that the run takes, then spots.

        Args:
          path: of the video.
          halves: places of the halves in it, "0:05:12-0:51:40,1:07:03-1:55:00" or a list of `Half`;
            the whole video is half 1 by default.
          threshold: see `spot`.
          network: of `load_feature_network`, to load it once for many videos.
          folder: keeps the features there, for the next call; by default they are not kept.

        Returns:
          The spots of each half, by its number, as `spot` gives them.

        Raises:
          InputError: the run's features cannot be extracted, or the video or halves are at fault.
        """
        self.floor(threshold)
        places = parse_halves(halves) if isinstance(halves, str) else halves or (Half(1),)
        network = network or self.load_feature_network()
        found = {}
        with tempfile.TemporaryDirectory() as temporary:
            target = Path(folder or temporary)
            for record in extract_video(Path(path), network, target, places):
                spots = self.spot(np.load(target / record.file, mmap_mode="r"), threshold)
                found[record.half] = [
                    VideoSpot(*spot, record.seconds(spot.seconds)) for spot in spots
                ]
        return dict(sorted(found.items()))

    def check_extractable(self) -> None:
        """InputError, in one line, if the run's features cannot be extracted from videos."""
        try:
            find_feature_set(self.features, self.feature_dim, self.frame_rate)
        except InputError as error:
            raise InputError(f"{self.workdir}: its features {error}") from error

    def load_feature_network(
        self,
        weights: str | os.PathLike | None = None,
        pca: str | os.PathLike | None = None,
        log: Callable[[str], None] = lambda text: None,
    ) -> FeatureNetwork:
        """The network that extracts the run's features; arguments as `video.load_network`'s.

        Raises:
          InputError: the features cannot be extracted, or a file is missing or unsound.
        """
        self.check_extractable()
        return load_network(self.features, weights, pca, log=log)

    def stream(
        self,
        delay: float | None = None,
        threshold: float | Literal["auto"] = 0.0,
        step: float = 2.0,
    ) -> "Stream":
        """Spots a half while its features are coming in.

        Args:
          delay: seconds after which a spot is given at the latest. From `Stream.exact_delay` on, or
            with None, spots wait for all that has a say in them, and are those of `spot`; with less
            they follow from what has come in by then.
          threshold: see `spot`.
          step: seconds between two runs of the networks.

        Raises:
          InputError: a delay shorter than a step, or a run that can only spot whole halves.
        """
        live, exact_delay = make_live_spotter(
            self._run, self._suppression, self.floor(threshold), delay, step
        )
        return Stream(self, live, exact_delay)

    def floor(self, threshold: float | Literal["auto"]) -> np.ndarray:
        """Least confidence of a spot of each class, [K].

        Args:
          threshold: see `spot`.

        Raises:
          InputError: it is neither of both, or there are no thresholds to take.
        """
        if threshold != "auto":
            if not isinstance(threshold, numbers.Real) or not 0 <= threshold <= 1:
                raise InputError(
                    f"threshold is {threshold!r}; it must be a confidence from 0 to 1, or 'auto'"
                )
            return np.full(len(self.classes), float(threshold))
        if self.thresholds is None:
            raise InputError(
                f"{self.workdir}: no {THRESHOLDS}, which a run with a validation split has; "
                f"give the threshold as a number"
            )
        return np.array([self.thresholds.get(name, 1.0) for name in self.classes])

    def _outputs(self, model: Model, features: np.ndarray) -> np.ndarray:
        setting, chunk_frames = self._run.config.inference, self._run.chunk_frames
        rate = self._run.dataset.frame_rate
        if system := find_system(self._run.config):
            spot = system.spot(read_values(self._run.config), model.network, rate)
            return spot(model.params, features)
        border = timing.border_frames(setting.border, setting.min_kept, rate, chunk_frames)
        chunks = shared_chunks(len(features), chunk_frames, border, setting.segment_chunks)
        return spot_half(model.network, model.params, features, chunk_frames, border, chunks)

    def checked(self, features: ArrayLike) -> np.ndarray:
        """[N, P] float features as the models take them; InputError if they are none."""
        features = np.asanyarray(features)
        if not np.issubdtype(features.dtype, np.number):
            raise InputError(
                f"features of type {features.dtype}, not numbers; give the array, as np.load reads "
                "it from the file"
            )
        if features.dtype not in (np.float16, np.float32):
            features = features.astype(np.float32)
        if features.ndim != 2 or not len(features):
            raise InputError(f"features of shape {features.shape}, not (frames, values a frame)")
        if features.shape[1] != self.feature_dim:
            raise InputError(
                f"{features.shape[1]} values a frame, where the models of {self.workdir} take the "
                f"{self.feature_dim} of {self.features}"
            )
        where = find_nonfinite(features)
        if where is not None:
            raise InputError(
                f"frame {where[0]}, column {where[1]} (from 0) is {features[where]}; extract or "
                f"download it again"
            )
        return features

    def transformed(self, features: np.ndarray) -> np.ndarray:
        """Features as the models see them, where the run's config resamples or normalises."""
        run = self._run
        if not read_transform(run.config).changes:
            return features  # Perhaps memory-mapped; the transform would read it all.
        rates = run.source.frame_rate, run.dataset.frame_rate
        return transforms.apply_transform([features], rates[:1], rates[1], run.normalization)


class Stream:
    """A half that is coming in; made by `Spotter.stream`.

    >>> stream = spotter.stream(delay=30)  # doctest: +SKIP
    >>> for rows in source:  # doctest: +SKIP
    ...     spots = stream.push(rows)
    >>> spots = stream.finish()  # doctest: +SKIP

    Attributes:
      exact_delay: seconds of delay from which on spots are those of `Spotter.spot`.
    """

    def __init__(self, spotter: Spotter, live: LiveSpotter, exact_delay: float):
        self._spotter, self._live, self.exact_delay = spotter, live, exact_delay

    @property
    def seconds(self) -> float:
        """How much of the half has come in."""
        return self._live.num_frames / self._spotter.frame_rate

    def push(self, features: ArrayLike) -> list[Spot]:
        """Takes frames [n, P]; returns the spots that became certain, in the order of time.

        Raises:
          InputError: the features are unfit, see `Spotter.spot`.
        """
        if not len(np.asanyarray(features)):
            return []
        rows = self._spotter.transformed(self._spotter.checked(features))
        return self._name(self._live.push(rows))

    def finish(self) -> list[Spot]:
        """Ends the half; returns the spots that are left."""
        return self._name(self._live.finish())

    def _name(self, spots: list[LiveSpot]) -> list[Spot]:
        rate, classes = self._live.spot_rate, self._spotter.classes
        return [
            Spot(float(timing.position_ms(frame, rate)) / 1000, classes[label], confidence)
            for frame, label, confidence in spots
        ]


def _read_thresholds(path: Path) -> dict[str, float] | None:
    """Each class's threshold as a run left it; None without the file."""
    if not path.is_file():
        return None
    thresholds = read_object(path)
    if not all(isinstance(value, float | int) for value in thresholds.values()):
        raise InputError(f"{path}: not a number for each class; run --mode=evaluate again")
    return thresholds
