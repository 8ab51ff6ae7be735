"""The truth as perfect models would output it, in files: what `evaluate --oracle` scores."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from spotting.base.cli import ConfigArgument
from spotting.base.errors import InputError
from spotting.data.annotations import HALF_NUMBERS, LABELS_FILE, Event, read_events
from spotting.data.checks import read_header
from spotting.data.dataset import Dataset, describe_dataset
from spotting.data.halves import Half, compute_offsets, find_problems
from spotting.inference.oracle import predict_truth
from spotting.runs import config_files
from spotting.runs.config import check_config
from spotting.runs.results import write_split
from spotting.runs.setup import read_oracle, read_suppression
from spotting.runs.systems import check_system
from spotting.scoring.figures import spot_split

_PAPER = ConfigArgument("common")
_MARGIN = 60.0  # seconds that a half is taken to last after its last event
_LONGEST = 4 * 3600.0  # seconds of a half; the evaluator's times end after two hours


def write_oracle(
    folder: Path,
    labels: Path,
    games: Sequence[str],
    classes: Sequence[str],
    config_argument: ConfigArgument | None = None,
    frame_rate: float | None = None,
    window: float | None = None,
) -> list[str]:
    """Writes `<game>/results_spotting.json` of each game, as perfect models would have it.

    Args:
      folder: to write to.
      labels: folder of the games' labels, and perhaps of their features.
      games: to write.
      classes: names of the K classes.
      config_argument: whose chunks, radii and suppression; the paper's if None.
      frame_rate: of the features; that of the folder's data set if None.
      window: of the suppression, in seconds, instead of the config's.

    Returns:
      What was done, and what is odd, in a line each.

    Raises:
      InputError: the config, the labels or the features are unfit.
    """
    config = config_files.load(config_argument or _PAPER)
    if window is not None:
        config.postprocessing.window = (window,)
    check_config(config)
    check_system(config)
    found = describe_dataset(labels)
    file_rate = frame_rate or found.frame_rate
    rate = config.data.resample or file_rate
    dataset = dataclasses.replace(found, frame_rate=rate, classes=tuple(classes))
    halves = [half for game in games for half in _read_halves(dataset, game, file_rate)]
    if not halves:
        raise InputError(f"{labels}: no event in its labels")
    offsets, _ = compute_offsets(halves, classes, rate, config.data.event_time)
    suppression = read_suppression(config, len(classes))
    outputs = predict_truth(offsets, read_oracle(config, rate))
    spotted = spot_split(*outputs, rate, suppression)
    write_split(folder, halves, spotted.score_maps, classes, spotted.frame_rate)
    windows = ", ".join(f"{each:g}" for each in suppression.windows)
    settings = f"{rate:g} frames per second, {suppression.kind} NMS of {windows} s"
    problems = find_problems(dataset, "labelled", halves, labels=False).warnings()
    return [f"the truth as perfect models output it: {settings}", *problems]


def _read_halves(dataset: Dataset, game: str, file_rate: float) -> list[Half]:
    """The halves of a game that have an event, each as long as its features or its labels say."""
    events = read_events(dataset.root / game / LABELS_FILE)
    files = dataset.find_halves(game)
    halves = []
    for number in HALF_NUMBERS:
        of_half = tuple(
            event for event in events if event.half == number and event.label in dataset.classes
        )
        if not of_half:
            continue
        seconds = _last(of_half) + _MARGIN
        if number in files:
            seconds = read_header(files[number])[0] / file_rate
        length = max(1, round(min(seconds, _LONGEST) * dataset.frame_rate))
        halves.append(Half(game, number, dataset.half_path(game, number), length, of_half))
    return halves


def _last(events: Sequence[Event]) -> float:
    return max(max(event.position, event.game_time) for event in events)
