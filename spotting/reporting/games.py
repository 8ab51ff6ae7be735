"""The truth of a data set's split, and what a run predicted for it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.base.errors import InputError
from spotting.data.annotations import RESULTS_FILE, Event, Prediction, read_events, read_results
from spotting.data.dataset import HALVES, SOCCERNET_V2, Dataset, describe_dataset
from spotting.reporting.runs import WITH, WITHOUT, ReportedRun
from spotting.reporting.timeline import TimelineGame, TimelineHalf

HALF_NUMBERS = (1, 2, 3, 4)
"""Of a match's two halves and of its extra time."""

FOLDERS = {WITH: "results", WITHOUT: "results_without_displacement"}


class MissingTruth(InputError):
    """The labels are not where the run's config says, as when runs were copied from elsewhere."""


class LabelledHalf(NamedTuple):
    """What happened in one half of `seconds` length."""

    game: str
    number: int
    seconds: float
    events: tuple[Event, ...]


class Truth(NamedTuple):
    """The labelled halves of a split, game by game."""

    dataset: Dataset
    split: str
    halves: tuple[LabelledHalf, ...]

    @property
    def is_soccernet_v2(self) -> bool:
        """Whether this is the data set of the paper's results."""
        return self.dataset.name == SOCCERNET_V2

    @property
    def events(self) -> list[tuple[Event, ...]]:
        """The events of each half."""
        return [half.events for half in self.halves]


def read_truth(run: ReportedRun) -> Truth:
    """Reads the labels of the split that the run's metrics are of.

    Raises:
      MissingTruth: the data folder or a label file is not there.
      InputError: a label file is broken.
    """
    root, data = run.data_root, run.config["data"]
    if not root.is_dir():
        raise MissingTruth(f"{root}: the data folder of {run.path} is not there")
    dataset = describe_dataset(root, data.get("features") or None)
    split, halves = data[run.split], []
    for game in dataset.games(split):
        path = dataset.labels_path(game)
        if not path.is_file():
            raise MissingTruth(f"{path}: no such file")
        events = [event for event in read_events(path) if event.label in dataset.classes]
        for number in _list_halves(dataset, game, events):
            of_half = tuple(event for event in events if event.half == number)
            seconds = _measure_length(dataset, game, number, of_half)
            halves.append(LabelledHalf(game, number, seconds, of_half))
    return Truth(dataset, split, tuple(halves))


def _list_halves(dataset: Dataset, game: str, events: Sequence[Event]) -> list[int]:
    """The halves that a game has by its features and labels; two where neither says."""
    numbers = {event.half for event in events} | dataset.find_halves(game).keys()
    return sorted(numbers or HALVES)


def _measure_length(dataset: Dataset, game: str, number: int, events: Sequence[Event]) -> float:
    """Seconds of the half by its features; without them, at least up to its last event."""
    path = dataset.find_halves(game).get(number)
    if path is not None:
        return len(np.load(path, mmap_mode="r")) / dataset.frame_rate
    return max((event.position for event in events), default=0.0) + 10


def read_predictions(run: ReportedRun, variant: str, truth: Truth) -> list[list[Prediction]] | None:
    """Reads the predictions for each half of `truth`; None where the run has no such results.

    A game without a file of its own counts as one in which nothing was spotted.
    """
    folder = (run.path if run.split == "test" else run.path / run.split) / FOLDERS[variant]
    if not folder.is_dir():
        return None
    by_half: dict[tuple[str, int], list[Prediction]] = {}
    for game in dict.fromkeys(half.game for half in truth.halves):
        path = folder / game / RESULTS_FILE
        for prediction in read_results(path) if path.is_file() else ():
            by_half.setdefault((game, prediction.half), []).append(prediction)
    return [by_half.get((half.game, half.number), []) for half in truth.halves]


def make_timeline_games(
    truth: Truth, predictions: dict[str, list[list[Prediction]]]
) -> list[TimelineGame]:
    """Puts truth and predictions in the timeline's form.

    Args:
      truth: The labelled halves.
      predictions: For each system the predictions of each half.
    """
    games: dict[str, list[TimelineHalf]] = {}
    for i, half in enumerate(truth.halves):
        spots = {system: halves[i] for system, halves in predictions.items()}
        last = max((spot.position for of_half in spots.values() for spot in of_half), default=0.0)
        seconds = max(half.seconds, last)
        games.setdefault(half.game, []).append(
            TimelineHalf(half.number, seconds, spots, half.events)
        )
    return [TimelineGame(name, halves) for name, halves in games.items()]
