"""A folder in SoccerNet-v2's layout as halves: features [N, P] and the events in them.

<root>/<league>/<season>/<game>/1_<features>.npy, 2_<features>.npy, Labels-v2.json

Games of other data sets may have halves 1 to 4, or one alone, <features>.npy.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from spotting import timing
from spotting.base.errors import InputError
from spotting.base.inputs import name_below, walk_folders
from spotting.data import checks
from spotting.data.annotations import Event, read_events
from spotting.data.checks import (
    MissingData,
    check_game,
    describe_expected_tree,
    find_nonfinite,
    list_halves,
    raise_first,
    require_files,
)
from spotting.data.dataset import (
    DESCRIPTION_FILE,
    LABELLED_SPLITS,
    Dataset,
    describe_dataset,
    find_half_files,
)
from spotting.data.feature_statistics import map_threads

TimeSource = Literal["gameTime", "position", "evaluation"]


@dataclass(frozen=True)
class Half:
    """One half of a game: its feature file of `num_frames` frames, and its events.

    `events` are those of the dataset's classes, in the order of the label file.
    """

    game: str
    number: int
    path: Path
    num_frames: int
    events: tuple[Event, ...]

    def load(self) -> np.ndarray:
        """Features [N, P], float16 or float32 as stored, memory-mapped and read-only."""
        return np.load(self.path, mmap_mode="r")

    def list_raw_files(self) -> tuple[Path, ...]:
        """The feature files that `load` reads and `check_finite` must have seen."""
        return (self.path,)


@dataclass(frozen=True)
class Problems:
    """What is odd in a split, though no error.

    `unknown_labels` counts annotations outside the dataset's classes, by label; they are ignored.
    `beyond_end` counts events after the end of their half; its last frame takes them.
    `empty_classes` have no event in the split.
    """

    split: str
    unknown_labels: Mapping[str, int]
    beyond_end: int
    empty_classes: tuple[str, ...]

    def warnings(self) -> list[str]:
        """One line for each kind of problem that there is."""
        lines = []
        if self.unknown_labels:
            most_common = Counter(self.unknown_labels).most_common()
            labels = ", ".join(f"{label} ({count})" for label, count in most_common)
            total = sum(self.unknown_labels.values())
            lines.append(f"{total} annotations ignored, their labels are no classes here: {labels}")
        if self.beyond_end:
            lines.append(
                f"{self.beyond_end} events after the end of their half, moved to its last frame"
            )
        if self.empty_classes:
            lines.append(f"no events of {', '.join(self.empty_classes)}")
        return [f"{self.split} split: {line}" for line in lines]


def open_dataset(root: str | os.PathLike | None, features: str | None = None) -> Dataset:
    """What a folder is, once it is sure that at least one game of it is there.

    Args:
      root: a folder with a `dataset.json`, or SoccerNet-v2.
      features: name of the feature files, as for `describe_dataset`.

    Raises:
      MissingData: no folder given, none there, or none of its games in it.
      InputError: as `describe_dataset`.
    """
    dataset = describe_dataset(root or "DIR", features)
    path = dataset.root
    feature_file = f"<game>/1_{dataset.features}.npy"
    if not root:
        problem = "no data folder given; set --config.data.root=DIR"
    elif not path.exists():
        problem = f"{path}: no such folder; expected {dataset.name} there, {feature_file}"
    elif not path.is_dir():
        problem = f"{path}: not a folder; expected the one that holds {feature_file}"
    elif not _any_game(dataset):
        problem = (
            f"{path}: no game of {dataset.name} in it; expected {feature_file}, or a "
            f"{DESCRIPTION_FILE} that lists the games"
        )
    else:
        return dataset
    raise MissingData(problem, describe_expected_tree(dataset))


def read_split(dataset: Dataset, split: str, labels: bool = True) -> tuple[list[Half], Problems]:
    """Reads what a split holds: headers of feature files, and labels.

    Features themselves are not read; `check_finite` does that.

    Args:
      dataset: see `open_dataset`.
      split: one of its splits.
      labels: whether to read the events. The challenge split has none in any case.

    Returns:
      The halves, game by game, and what is odd in their labels.

    Raises:
      MissingData: files are missing; its one line tells how many, and the first of them.
      InputError: a feature or label file cannot be used; tells the first, and how many games more.
    """
    require_files(dataset, split, labels)
    labels = labels and split in LABELLED_SPLITS
    halves: list[Half] = []
    annotations: list[Event] = []
    errors: list[InputError] = []
    for game in dataset.games(split):
        try:
            paths = list_halves(dataset, game)
            lengths = check_game(dataset, game, paths)
            in_game = read_events(dataset.labels_path(game)) if labels else []
            _require_halves(dataset, game, paths, in_game)
        except InputError as error:
            errors.append(error)
            continue
        annotations += in_game
        known = [event for event in in_game if event.label in dataset.classes]
        for number, path in paths.items():
            events = tuple(event for event in known if event.half == number)
            halves.append(Half(game, number, path, lengths[number], events))
    raise_first(errors, f"games of the {split} split that cannot be read")
    return halves, find_problems(dataset, split, halves, annotations, labels)


def find_problems(
    dataset: Dataset,
    split: str,
    halves: Sequence[Half],
    annotations: Sequence[Event] = (),
    labels: bool = True,
) -> Problems:
    """What is odd in a split, though no error.

    Args:
      dataset: whose classes and frame rate count.
      split: one of its splits.
      halves: of the split.
      annotations: of the split, of any label; the halves of prepared data have no others than
        those of the classes.
      labels: whether the halves have their events.
    """
    counts = Counter(event.label for event in annotations)
    unknown = {label: n for label, n in counts.items() if label not in dataset.classes}
    there = {event.label for half in halves for event in half.events}
    empty = tuple(label for label in dataset.classes if label not in there) if labels else ()
    beyond_end = sum(_count_beyond_end(half, dataset.frame_rate) for half in halves)
    return Problems(split, unknown, beyond_end, empty)


def check_features(
    halves: Sequence[Half], progress: Callable[[int, int], None] | None = None
) -> None:
    """As `check_finite`, but reads only files that have not passed it on this machine before.

    Which files passed, of what size and time of last change, is kept in the user's cache folder
    (`checked_features.json`); a file that was changed since is read again. Deleting the record, or
    a cache folder that cannot be written, costs time alone.
    """
    check_finite(halves, progress, checks.locate_record())


def check_finite(
    halves: Sequence[Half],
    progress: Callable[[int, int], None] | None = None,
    record: Path | None = None,
) -> None:
    """Reads all features once, in blocks, to find NaN or infinity in them.

    Halves of prepared data have no files to read: they were checked when they were stored.

    Args:
      halves: see `read_split`.
      progress: called after each file with the number of files read and of all.
      record: where to keep which files passed, which are then not read again; None for nowhere.

    Raises:
      InputError: names the first such file, frame and column, and how many files more have some.
    """
    passed = checks.read_record(record)
    paths = list(dict.fromkeys(path for half in halves for path in half.list_raw_files()))
    # Taken before: a file that changes while it is read has not passed.
    states = {path: checks.describe_state(path) for path in paths}
    unread = [path for path in paths if passed.get(os.path.abspath(path)) != states[path]]
    done = len(paths) - len(unread)
    errors = []
    try:
        for path, error in zip(unread, map_threads(_find_nonfinite, unread), strict=True):
            if error is None:
                passed[os.path.abspath(path)] = states[path]
            else:
                errors.append(error)
            done += 1
            if progress is not None:
                progress(done, len(paths))
    finally:
        if unread:
            checks.write_record(record, passed)
    raise_first(errors, "files with NaN or infinity")


def _find_nonfinite(path: Path) -> InputError | None:
    features = np.load(path, mmap_mode="r")
    where = find_nonfinite(features)
    if where is None:
        return None
    return InputError(
        f"{path}: frame {where[0]}, column {where[1]} (from 0) is {features[where]}; extract or "
        "download it again"
    )


def compute_offsets(
    halves: Sequence[Half], classes: Sequence[str], frame_rate: float, source: TimeSource
) -> tuple[list[np.ndarray], int]:
    """What training on some halves goes by; arguments are those of `make_label_matrix`.

    Returns:
      Of each half the offsets of its anchors, int16 [N, K], of `anchors.event_offsets`; and the
      number of events that were moved to the last frame of their half. Nobody need be told of
      those: `Problems.warnings` counts the events that are really after the end.
    """
    # Most commands look for files here, and do without JAX.
    from spotting.anchors import event_offsets

    offsets, moved = [], 0
    for half in halves:
        labels, moved_here = make_label_matrix(half, classes, frame_rate, source)
        offsets.append(event_offsets(labels))
        moved += moved_here
    return offsets, moved


def make_label_matrix(
    half: Half, classes: Sequence[str], frame_rate: float, source: TimeSource
) -> tuple[np.ndarray, int]:
    """Where the events of a half are, for training.

    Args:
      half: its events are of these classes.
      classes: the K classes, in the order of the columns.
      frame_rate: of the half's features, in frames per second.
      source: what to go by: "gameTime", its whole seconds (yahoo/spivak); "position", its
        milliseconds, to the nearest frame; or "evaluation", its milliseconds, to the frame that
        began last, where SoccerNet's evaluator places the event.

    Returns:
      uint8 [N, K], 1 at each event's frame, which several events may share; and the number of
      events that fell beyond the last frame and were moved there.
    """
    place = timing.frame_at if source == "evaluation" else timing.event_frame
    matrix = np.zeros((half.num_frames, len(classes)), np.uint8)
    clamped = 0
    for event in half.events:
        seconds = event.game_time if source == "gameTime" else event.position
        frame = place(seconds, frame_rate, half.num_frames)
        # In a half of one frame more, an event beyond the end would fall later.
        clamped += frame < place(seconds, frame_rate, half.num_frames + 1)
        matrix[frame, classes.index(event.label)] = 1
    return matrix, clamped


class FeatureFile(NamedTuple):
    """A feature file found in a folder: its game, its half's number and its path."""

    game: str
    half: int
    path: Path


def find_games(root: str | os.PathLike, features: str) -> list[FeatureFile]:
    """All feature files `1_<features>.npy` to `4_<features>.npy` and `<features>.npy` in a folder.

    The game is the file's folder relative to `root`; a file without a number is a half 1. They come
    in the order of games, then halves.

    Raises:
      InputError: `root` is not a folder, no such file is in it, or one bears another number.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: not a folder")
    found = []
    for folder, names in walk_folders(root):
        for number, path in find_half_files(folder, names, features).items():
            found.append(FeatureFile(name_below(root, folder), number, path))
    if not found:
        raise InputError(f"{root}: no 1_{features}.npy or 2_{features}.npy at any depth")
    return sorted(found)


def _any_game(dataset: Dataset) -> bool:
    return any(dataset.find_halves(game) for games in dataset.splits.values() for game in games)


def _require_halves(
    dataset: Dataset, game: str, halves: Mapping[int, Path], events: Sequence[Event]
) -> None:
    """Raises InputError where labels speak of a half that the game does not have."""
    for event in events:
        if event.half not in halves:
            raise InputError(
                f"{dataset.labels_path(game)}: an event in half {event.half}, where games of "
                f"{dataset.name} have halves {' and '.join(map(str, halves))}"
            )


def _count_beyond_end(half: Half, frame_rate: float) -> int:
    end = int(timing.position_ms(half.num_frames, frame_rate))
    return sum(round(1000 * event.position) > end for event in half.events)
