"""Changes to features before a model sees them: joined sets, another frame rate, normalisation.

The paper uses features as they are. Its authors' later entry resamples Combination to 2 frames per
second (Soares, Shah 2022, arXiv 2206.07846), and their code normalises and joins feature sets. What
a normalisation needs is fitted on the training split alone.
"""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from etils import epath

from spotting.base.errors import InputError
from spotting.base.files import read_npz
from spotting.data.checks import read_header
from spotting.data.dataset import FEATURE_SETS, SOCCERNET_V2, Dataset
from spotting.data.feature_statistics import add_moments, compute_moments, map_threads
from spotting.data.halves import Half, Problems, read_split

Normalize = Literal["none", "max_abs", "standard"]
NORMALIZE: tuple[Normalize, ...] = ("none", "max_abs", "standard")


@dataclass(frozen=True)
class Transform:
    """What to do with a dataset's features.

    Attributes:
      concatenate: names of feature sets whose values are appended to each frame.
      resample: frames per second to resample to, linearly; 0 leaves the rate alone.
      normalize: "max_abs" divides each column by its greatest magnitude on the training split;
        "standard" subtracts its mean there and divides by its standard deviation.
    """

    concatenate: tuple[str, ...] = ()
    resample: float = 0.0
    normalize: Normalize = "none"

    def __post_init__(self) -> None:
        if self.normalize not in NORMALIZE:
            raise InputError(f"normalize is {self.normalize!r}; it can be {', '.join(NORMALIZE)}")
        if not 0 <= self.resample < float("inf"):
            raise InputError(f"resample is {self.resample}; it is a frame rate, or 0")

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self != Transform()

    def name(self, features: str) -> str:
        """Name of the transformed features, fit for a file."""
        parts = ["+".join((features, *self.concatenate))]
        parts += [f"{self.resample:g}fps"] if self.resample else []
        parts += [self.normalize] if self.normalize != "none" else []
        return "_".join(parts)


@dataclass(frozen=True)
class Normalization:
    """x -> (x - offset) * scale, with one offset and one scale [P] for each column, float32."""

    offset: np.ndarray
    scale: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Normalised features, float32 [..., P]."""
        return (features - self.offset) * self.scale


@dataclass(frozen=True)
class TransformedHalf(Half):
    """A half whose `load` transforms.

    `sources` are its feature files with their frame rates; `num_frames` counts frames after the
    transform, of which there are `frame_rate` a second.
    """

    sources: tuple[Half, ...]
    source_rates: tuple[float, ...]
    frame_rate: float
    normalization: Normalization | None

    def list_raw_files(self) -> tuple[Path, ...]:
        """The feature files of all sets that are joined."""
        return tuple(source.path for source in self.sources)

    def load(self) -> np.ndarray:
        """Features [N, P] after the transform, float32."""
        parts = [source.load() for source in self.sources]
        return apply_transform(parts, self.source_rates, self.frame_rate, self.normalization)


def apply_transform(
    parts: Sequence[np.ndarray],
    part_rates: Sequence[float],
    frame_rate: float,
    normalization: Normalization | None,
) -> np.ndarray:
    """Transforms the features of one half.

    Args:
      parts: [N_i, P_i] of each feature set.
      part_rates: frames per second of each.
      frame_rate: frames per second of the result.
      normalization: of the joined columns, None for none.

    Returns:
      float32 [N, sum P_i]. N is that of the shortest part; lengths of feature sets of one video
      differ by a few frames.
    """
    parts = [resample(part, rate, frame_rate) for part, rate in zip(parts, part_rates, strict=True)]
    num_frames = min(map(len, parts))
    joined = np.empty((num_frames, sum(part.shape[1] for part in parts)), np.float32)
    column = 0
    for part in parts:
        joined[:, column : column + part.shape[1]] = part[:num_frames]
        column += part.shape[1]
    # Interpolation is linear, so it makes no difference that it came first.
    return joined if normalization is None else normalization(joined)


def resample(features: np.ndarray, from_rate: float, to_rate: float) -> np.ndarray:
    """Features at another frame rate, interpolated linearly.

    Frame i is at i / rate seconds, before and after. Frames after the last one of `features` repeat
    it.

    Args:
      features: [N, P].
      from_rate: of the features, in frames per second.
      to_rate: wanted.

    Returns:
      [round(N * to_rate / from_rate), P]; float32 where the rates differ.
    """
    if from_rate == to_rate:
        return features
    num_frames = count_resampled_frames(len(features), from_rate, to_rate)
    return interpolate(features, np.arange(num_frames) * (from_rate / to_rate))


def interpolate(features: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Features between frames, linearly.

    Args:
      features: [N, P].
      position: [M], in frames, from 0 on; beyond the last frame it is that frame.

    Returns:
      float32 [M, P].
    """
    position = np.minimum(position, len(features) - 1)
    before = np.floor(position).astype(np.int64)
    after = np.minimum(before + 1, len(features) - 1)
    share = (position - before).astype(np.float32)[:, None]
    features = np.asarray(features, np.float32)
    result = features[before]
    result += share * (features[after] - result)
    return result


def count_resampled_frames(num_frames: int, from_rate: float, to_rate: float) -> int:
    """Length of a half of `num_frames` frames after `resample`."""
    return max(1, round(num_frames * to_rate / from_rate))


def describe_transformed(dataset: Dataset, transform: Transform) -> Dataset:
    """What a dataset is after a transform: its frame rate, name of features and dimension."""
    sources = list_sources(dataset, transform)
    return dataclasses.replace(
        dataset,
        frame_rate=transform.resample or dataset.frame_rate,
        features=transform.name(dataset.features),
        feature_dim=sum(source.feature_dim for source in sources),
    )


def read_transformed_split(
    dataset: Dataset,
    split: str,
    transform: Transform,
    normalization: Normalization | None = None,
    labels: bool = True,
) -> tuple[list[Half], Problems]:
    """As `read_split`, of features after a transform.

    Args:
      dataset: as it is on disk.
      split: one of its splits.
      transform: see there.
      normalization: of `fit_normalization`, None if the transform has none.
      labels: whether to read the events.

    Raises:
      InputError: as `read_split`; feature sets of one half that differ by over 2 s in length.
    """
    halves, problems = read_split(dataset, split, labels)
    if not transform.changes:
        return halves, problems
    sources = list_sources(dataset, transform)
    others = [read_split(source, split, labels=False)[0] for source in sources[1:]]
    for source, of_source in zip(sources[1:], others, strict=True):
        _require_same_halves(dataset, halves, source, of_source)
    rates = tuple(source.frame_rate for source in sources)
    rate = transform.resample or dataset.frame_rate
    result: list[Half] = []
    for parts in zip(halves, *others, strict=True):
        seconds = [part.num_frames / r for part, r in zip(parts, rates, strict=True)]
        if max(seconds) - min(seconds) > 2:
            raise InputError(
                f"{parts[0].path}: lasts {seconds[0]:.1f} s, other features of this half "
                f"{', '.join(f'{s:.1f} s' for s in seconds[1:])}; they are of different videos"
            )
        num_frames = min(
            count_resampled_frames(part.num_frames, r, rate)
            for part, r in zip(parts, rates, strict=True)
        )
        half = parts[0]
        result.append(
            TransformedHalf(
                half.game,
                half.number,
                half.path,
                num_frames,
                half.events,
                sources=parts,
                source_rates=rates,
                frame_rate=rate,
                normalization=normalization,
            )
        )
    return result, problems


def _require_same_halves(
    dataset: Dataset, halves: Sequence[Half], other: Dataset, others: Sequence[Half]
) -> None:
    """Raises InputError where one of two feature sets has a half that the other lacks."""
    ours, theirs = ({(half.game, half.number) for half in of} for of in (halves, others))
    for lacking, numbers in ((other, ours - theirs), (dataset, theirs - ours)):
        if numbers:
            path = lacking.half_path(*min(numbers))
            raise InputError(
                f"{path}: no such file, though other features of this half are there; extract or "
                "download it"
            )


def fit_normalization(dataset: Dataset, transform: Transform) -> Normalization | None:
    """Fits a transform's normalisation on the training split; None if it has none.

    A column that is always 0 (`max_abs`) or constant (`standard`) keeps its scale.
    """
    if transform.normalize == "none":
        return None
    offsets, scales = [], []
    for source in list_sources(dataset, transform):
        halves, _ = read_split(source, "train", labels=False)
        total = add_moments(map_threads(lambda half: compute_moments(half.load()), halves))
        if transform.normalize == "max_abs":
            offsets.append(np.zeros_like(total.mean))
            size = total.max_abs
        else:
            offsets.append(total.mean)
            size = total.std()
        scales.append(np.divide(1.0, size, out=np.ones_like(size), where=size > 0))
    return Normalization(
        np.concatenate(offsets).astype(np.float32), np.concatenate(scales).astype(np.float32)
    )


def fit_normalization_once(
    dataset: Dataset, transform: Transform, prepared_dir: str | os.PathLike
) -> Normalization | None:
    """As `fit_normalization`, but keeps the result below `prepared_dir` for the next time.

    It is fitted anew where the training split's games or lengths have changed; where the folder of
    the data set is not there any more, what was kept is taken as it is. `prepared_dir` may be a
    path that needs TensorFlow to be read, such as `gs://...`. InputError if it is damaged.
    """
    if transform.normalize == "none":
        return None
    path = locate_normalization(prepared_dir, transform, dataset.features)
    if not dataset.root.is_dir() and path.exists():
        return _read_fit(path)[0]
    halves, _ = read_transformed_split(dataset, "train", transform, labels=False)
    kept = read_normalization(path, halves)
    if kept is not None:
        return kept
    normalization = fit_normalization(dataset, transform)
    assert normalization is not None  # There is something to fit, by the first line.
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_fit(path, normalization, _hash_lengths(halves))
    return normalization


def keep_normalization(path: Path, normalization: Normalization) -> None:
    """Writes the normalisation that a run trains with into its folder.

    Raises:
      InputError: the run has another one there, or a damaged one.
    """
    if path.exists():
        kept, _ = _read_fit(epath.Path(path))
        same = np.array_equal(kept.offset, normalization.offset)
        if not (same and np.array_equal(kept.scale, normalization.scale)):
            raise InputError(
                f"{path}: the run was started on other training features, normalised otherwise; "
                "start in a new --workdir"
            )
        return
    _write_fit(epath.Path(path), normalization, "")


def find_normalization(
    path: Path, dataset: Dataset, transform: Transform, prepared_dir: str | os.PathLike
) -> Normalization | None:
    """The normalisation that a run was trained with.

    Runs of earlier versions have none in their folder: theirs is `fit_normalization_once`'s.
    """
    if transform.normalize != "none" and path.exists():
        return _read_fit(epath.Path(path))[0]
    return fit_normalization_once(dataset, transform, prepared_dir)


def _write_fit(path: epath.Path, normalization: Normalization, fitted_on: str) -> None:
    content = io.BytesIO()
    np.savez(content, offset=normalization.offset, scale=normalization.scale, fitted_on=fitted_on)
    partial = path.parent / f".{path.name}.partial"
    partial.write_bytes(content.getvalue())
    partial.replace(path)


def locate_normalization(
    prepared_dir: str | os.PathLike, transform: Transform, features: str
) -> epath.Path:
    """Where `fit_normalization_once` keeps the normalisation of a transform of some features."""
    return epath.Path(prepared_dir) / "normalization" / f"{transform.name(features)}.npz"


def read_normalization(path: epath.Path, train: Sequence[Half]) -> Normalization | None:
    """A kept normalisation; None if there is none, or it was fitted on other games or lengths.

    Args:
      path: of `locate_normalization`.
      train: halves of the training split, of as many frames as after the transform.

    Raises:
      InputError: the file is damaged.
    """
    if not path.exists():
        return None
    normalization, fitted_on = _read_fit(path)
    return normalization if fitted_on == _hash_lengths(train) else None


def _hash_lengths(halves: Sequence[Half]) -> str:
    table = json.dumps([(half.game, half.number, half.num_frames) for half in halves])
    return hashlib.sha256(table.encode()).hexdigest()


def _read_fit(path: epath.Path) -> tuple[Normalization, str]:
    """A kept normalisation, and the hash of what it was fitted on."""
    remedy = "delete it to have it fitted again"
    arrays = read_npz(io.BytesIO(path.read_bytes()), path, remedy)
    try:
        return Normalization(arrays["offset"], arrays["scale"]), str(arrays["fitted_on"])
    except KeyError as error:
        raise InputError(f"{path}: not a kept normalisation, no {error} in it; {remedy}") from error


def list_sources(dataset: Dataset, transform: Transform) -> list[Dataset]:
    """The dataset once for each feature set that the transform joins."""
    return [dataset, *(_with_features(dataset, name) for name in transform.concatenate)]


def _with_features(dataset: Dataset, features: str) -> Dataset:
    if dataset.name == SOCCERNET_V2 and features in FEATURE_SETS:
        rate, dim = FEATURE_SETS[features]
        return dataclasses.replace(dataset, features=features, frame_rate=rate, feature_dim=dim)
    # Other folders' further feature sets have the rate of the first; files tell their width.
    other = dataclasses.replace(dataset, features=features)
    game = dataset.games("train")[0]
    paths = other.find_halves(game)
    if not paths:
        raise InputError(
            f"{other.half_path(game, 1)}: no such file; `concatenate` names features that are not "
            "there"
        )
    return dataclasses.replace(other, feature_dim=read_header(next(iter(paths.values())))[1])
