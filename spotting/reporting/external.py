"""Anyone's predictions, and labels if there are any, in the timeline's form."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from spotting.base.errors import InputError
from spotting.base.files import parse_json
from spotting.base.inputs import name_below, read_regular, walk_folders
from spotting.data.annotations import (
    LABELS_FILE,
    SOCCERNET_CLASSES,
    Event,
    Prediction,
    iterate_results,
    read_events,
)
from spotting.data.dataset import DESCRIPTION_FILE, HALVES
from spotting.data.exports import begin_minutes
from spotting.reporting.timeline import TimelineGame, TimelineHalf

SYSTEM = "predictions"

_MARGIN = 10.0  # seconds after the last action, where the length is unknown


def read_external_games(
    predictions: Path, labels: Path | None = None
) -> tuple[list[TimelineGame], tuple[str, ...]]:
    """Reads predictions in SoccerNet's format, of any system, beside the labels of their games.

    Args:
      predictions: Folder or zip file with <game>/results_spotting.json.
      labels: Folder with <game>/Labels-v2.json, and with a dataset.json where the classes are not
        SoccerNet-v2's; a game may lie deeper in the predictions than here.

    Returns:
      The games, in the order of their names, and the classes in the order of the lanes: those of
      `dataset.json`, or SoccerNet-v2's that occur and any others by name.

    Raises:
      InputError: a file is missing or broken, or no game with predictions has labels.
    """
    found = dict(iterate_results(predictions))
    events = {} if labels is None else _read_labels(labels, found)
    classes = _read_classes(labels) if labels else None
    if classes is None:
        occurring = {spot.label for spots in found.values() for spot in spots}
        occurring |= {event.label for in_game in events.values() for event in in_game}
        known = [name for name in SOCCERNET_CLASSES if name in occurring]
        classes = (*known, *sorted(occurring - set(known)))
    if not classes:
        raise InputError(f"{predictions}: no prediction in any of its {len(found)} games")
    names = sorted(events) if labels else sorted(found)
    return [_make_game(name, found[name], events.get(name)) for name in names], classes


def _read_labels(labels: Path, games: Iterable[str]) -> dict[str, list[Event]]:
    """The events of every game with predictions that has labels."""
    if not labels.is_dir():
        raise InputError(f"{labels}: no such folder of labels")
    paths = {
        unicodedata.normalize("NFC", name_below(labels, folder)): folder
        for folder, files in walk_folders(labels)
        if LABELS_FILE in files
    }
    if not paths:
        raise InputError(f"{labels}: no <game>/{LABELS_FILE} in it")
    events = {}
    for game in games:
        matching = [name for name in paths if f"/{game}".endswith("/" + name) or name == "."]
        if matching:
            events[game] = read_events(paths[max(matching, key=len)] / LABELS_FILE)
    if not events:
        raise InputError(
            f"{labels}: no labels of any game with predictions; one with labels is"
            f" {min(paths)!r}, one with predictions {min(games)!r}"
        )
    return events


def _read_classes(labels: Path) -> tuple[str, ...] | None:
    path = labels / DESCRIPTION_FILE
    if not path.is_file():
        return None
    description = parse_json(read_regular(path), path)
    classes = description.get("classes") if isinstance(description, Mapping) else None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InputError(f'{path}: no list "classes" of names in it')
    return tuple(dict.fromkeys(classes))


def _make_game(
    name: str, spots: Sequence[Prediction], events: Sequence[Event] | None
) -> TimelineGame:
    numbers = {spot.half for spot in spots} | {event.half for event in events or ()}
    found: list[tuple[int, list[Prediction], list[Event] | None]] = []
    seconds: dict[int, float] = {}
    for number in sorted(numbers or HALVES):
        of_half = [spot for spot in spots if spot.half == number]
        happened = None if events is None else [event for event in events if event.half == number]
        times = [action.position for action in (*of_half, *(happened or ()))]
        seconds[number] = max(times, default=0.0) + _MARGIN
        found.append((number, of_half, happened))
    begins = begin_minutes(seconds)
    return TimelineGame(
        name,
        [
            TimelineHalf(
                number, seconds[number], {SYSTEM: spots}, happened, begins[number] is not None
            )
            for number, spots, happened in found
        ],
    )
