"""Description of a folder of games: feature files, frame rate, classes and splits.

A folder with a `dataset.json` describes itself. Any other one is SoccerNet-v2 with the official
splits.
"""

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from spotting.base.errors import InputError
from spotting.base.files import parse_json, write_json_atomic
from spotting.base.inputs import is_below, is_text, read_regular
from spotting.data.annotations import (
    HALF_LIST,
    HALF_NUMBERS,
    LABELS_FILE,
    SOCCERNET_CLASSES,
)

DESCRIPTION_FILE = "dataset.json"
SOCCERNET_V2 = "SoccerNet-v2"
HALVES = (1, 2)
"""The halves of every match of SoccerNet-v2, and of any match without extra time."""

LABELLED_SPLITS = ("train", "valid", "test")
SPLITS = (*LABELLED_SPLITS, "challenge")
"""The challenge split is the one whose labels its organisers keep."""


class FeatureSet(NamedTuple):
    """Frames per second and feature dimension P of one kind of feature file."""

    frame_rate: float
    dim: int


FEATURE_SETS: Mapping[str, FeatureSet] = {
    "ResNET_TF2_PCA512": FeatureSet(2.0, 512),
    "baidu_soccer_embeddings": FeatureSet(1.0, 8576),
    "ResNET_TF2": FeatureSet(2.0, 2048),
}
"""The features published with SoccerNet-v2, by the name of their files.

The paper calls the first ResNet+PCA and the second, of Zhou et al. (2021), Combination.
"""


@dataclass(frozen=True)
class Dataset:
    """A folder of games: what is in its files, and which game belongs to which split.

    `features` names the feature files, `<game>/1_<features>.npy`, `2_...` and so on, of
    `frame_rate` frames per second and `feature_dim` values a frame. `classes` are in the order of
    the label matrix's columns. `splits` maps split to game paths, relative to `root`.
    """

    root: Path
    name: str
    frame_rate: float
    features: str
    feature_dim: int
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]

    def half_path(self, game: str, number: int) -> Path:
        """Feature file that half `number` of a game should have."""
        return self.root / game / f"{number}_{self.features}.npy"

    def find_halves(self, game: str) -> dict[int, Path]:
        """The feature files of a game that are there, by the number of their half.

        Of SoccerNet-v2 halves 1 and 2 count. Of other data sets any of HALF_NUMBERS does, and a
        lone `<features>.npy` is half 1.

        Raises:
          InputError: a feature file bears another number, or two are of half 1.
        """
        folder = self.root / game
        if self.name == SOCCERNET_V2:
            paths = {number: self.half_path(game, number) for number in HALVES}
            return {number: path for number, path in paths.items() if path.is_file()}
        if not folder.is_dir():
            return {}
        return find_half_files(folder, os.listdir(folder), self.features)

    def labels_path(self, game: str) -> Path:
        """Label file of a game."""
        return self.root / game / LABELS_FILE

    def games(self, split: str) -> tuple[str, ...]:
        """Game paths of a split; raises InputError where the dataset has no such split."""
        if split not in self.splits:
            raise InputError(
                f"{self.root}: {self.name} has no split {split!r}, only {', '.join(self.splits)}"
            )
        return self.splits[split]


def find_half_files(folder: Path, names: Iterable[str], features: str) -> dict[int, Path]:
    """The feature files among the files of one folder, by the number of their half.

    They are `1_<features>.npy` to `4_<features>.npy`; `<features>.npy` is half 1.

    Raises:
      InputError: one bears another number, or two are of half 1.
    """
    pattern = re.compile(rf"(?:(\d+)_)?{re.escape(features)}\.npy")
    halves: dict[int, Path] = {}
    for match in filter(None, map(pattern.fullmatch, sorted(names))):
        path, number = folder / match[0], int(match[1] or 1)
        if number not in HALF_NUMBERS or (match[1] or "1") != str(number):
            raise InputError(f"{path}: half {match[1]} is not one of {HALF_LIST}; rename the file")
        if number in halves:
            raise InputError(
                f"two files for half {number} of game {folder.resolve().name!r}: "
                f"{halves[number]} and {path}"
            )
        halves[number] = path
    return dict(sorted(halves.items()))


@functools.cache
def read_official_splits() -> Mapping[str, tuple[str, ...]]:
    """SoccerNet-v2's game paths: 300 train, 100 valid, 100 test and 50 challenge games.

    Source: the game lists of the SoccerNet package, version 0.2.0.
    """
    text = resources.files("spotting.data").joinpath("soccernet_v2_games.json").read_text("utf-8")
    return {split: tuple(games) for split, games in json.loads(text).items()}


def describe_dataset(root: str | os.PathLike, features: str | None = None) -> Dataset:
    """Describes a folder without reading its games.

    Args:
      root: the folder; with a `dataset.json` in it, or SoccerNet-v2.
      features: name of the feature files. SoccerNet-v2: a key of FEATURE_SETS, by default
        ResNET_TF2_PCA512. With a `dataset.json`: the name given there, or None.

    Raises:
      InputError: `dataset.json` is wrong, or `features` is not among the dataset's.
    """
    path = Path(root) / DESCRIPTION_FILE
    if path.is_file():
        dataset = _read_description(path)
        if features not in (None, dataset.features):
            raise InputError(
                f"{path}: the features of {dataset.name} are {dataset.features!r}, not "
                f"{features!r}; ask for these, or for none in particular"
            )
        return dataset
    features = features or next(iter(FEATURE_SETS))
    if features not in FEATURE_SETS:
        raise InputError(
            f"unknown features {features!r}: SoccerNet-v2 has {', '.join(FEATURE_SETS)}; for "
            f"others write a {path}"
        )
    frame_rate, dim = FEATURE_SETS[features]
    splits = read_official_splits()
    return Dataset(Path(root), SOCCERNET_V2, frame_rate, features, dim, SOCCERNET_CLASSES, splits)


def write_description(dataset: Dataset, folder: str | os.PathLike) -> None:
    """Writes a `dataset.json` that describes `dataset` into a folder."""
    description = {
        "name": dataset.name,
        "frame_rate": dataset.frame_rate,
        "features": dataset.features,
        "feature_dim": dataset.feature_dim,
        "classes": list(dataset.classes),
        "splits": {split: list(games) for split, games in dataset.splits.items()},
    }
    write_json_atomic(Path(folder, DESCRIPTION_FILE), description)


def _read_description(path: Path) -> Dataset:
    fields = parse_json(read_regular(path), path)
    if not isinstance(fields, dict):
        raise InputError(f"{path}: should be a JSON object with {', '.join(_FIELDS)}")
    for field, (is_valid, expected) in _FIELDS.items():
        if field not in fields:
            raise InputError(f'{path}: no "{field}" in it, {expected}')
        if not is_valid(fields[field]):
            shown = json.dumps(fields[field], ensure_ascii=False)
            raise InputError(f'{path}: "{field}" should be {expected}, not {shown:.80}')
    return Dataset(
        root=path.parent,
        name=fields["name"],
        frame_rate=float(fields["frame_rate"]),
        features=fields["features"],
        feature_dim=fields["feature_dim"],
        classes=tuple(fields["classes"]),
        splits={
            split: _read_games(path, split, fields["splits"][split]) for split in fields["splits"]
        },
    )


def _read_games(path: Path, split: str, games: Any) -> tuple[str, ...]:
    field = f'{path}: "splits": "{split}"'
    if split not in SPLITS:
        raise InputError(f"{field} is none of {', '.join(SPLITS)}")
    if not isinstance(games, list) or not games:
        raise InputError(f"{field} should be a list of game paths, one at least")
    for game in games:
        if not _is_game(game):
            shown = json.dumps(game, ensure_ascii=False)
            raise InputError(
                f"{field}: {shown:.80} is not a path below the folder, like league/game"
            )
    repeated = sorted({game for game in games if games.count(game) > 1})
    if repeated:
        raise InputError(f"{field} lists {repeated[0]!r} more than once")
    return tuple(games)


def _is_game(value: Any) -> bool:
    return _is_text(value) and is_below(value) and PurePosixPath(value).as_posix() == value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and is_text(value)


def _is_file_name(value: Any) -> bool:
    return _is_text(value) and is_below(value) and not {"/", "\\"} & set(value)


def _is_frame_rate(value: Any) -> bool:
    # A JSON true is a Python int.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value <= sys.float_info.max


def _is_dim(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_class_list(value: Any) -> bool:
    if not isinstance(value, list) or not all(map(_is_text, value)):
        return False
    return 0 < len(value) == len(set(value))


def _is_split_map(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_is_text, "the dataset's name"),
    "frame_rate": (_is_frame_rate, "frames per second, above 0"),
    "features": (_is_file_name, "the feature files' name without the leading 1_ and the .npy"),
    "feature_dim": (_is_dim, "values a frame, a whole number above 0"),
    "classes": (_is_class_list, "a list of class names, each once"),
    "splits": (_is_split_map, "an object of split to list of game paths"),
}
