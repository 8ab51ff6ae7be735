"""Scores predictions in SoccerNet's format: the SoccerNet package's evaluator, number for number.

  python -m spotting.evaluate --labels=DIR --predictions=results.zip --split=test

DIR holds <game>/Labels-v2.json; the folder or zip file of predictions <game>/results_spotting.json.
The classes are those of DIR/dataset.json, without such a file SoccerNet-v2's 17. Loose is the mean
over tolerances of 5 to 60 s, tight over 1 to 5 s; at1, at2 and at5 have one tolerance of so many s.
Halves 3 and 4, extra time, count like any other; SoccerNet's own evaluator leaves them out.

  python -m spotting.evaluate --labels=DIR --oracle

scores the truth itself, as perfect models would output it: through targets, chunks, decoding,
suppression and results files. This ceiling is under 100, as frames and windows cost something; one
that is far below tells of a wrong frame rate, an offset or a gap. A half is as long as its features
in DIR are, where there are none a minute longer than its labels.
"""

import contextlib
import math
import sys
import tempfile
import unicodedata
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.files import parse_json, write_json_atomic
from spotting.base.inputs import name_below, read_regular, walk_folders
from spotting.base.text_table import text_table
from spotting.data.annotations import (
    HALF_NUMBERS,
    LABELS_FILE,
    RESULTS_FILE,
    SOCCERNET_CLASSES,
    Event,
    Prediction,
    iterate_results,
    read_events,
)
from spotting.data.dataset import DESCRIPTION_FILE, describe_dataset
from spotting.runs.layout import check_results
from spotting.scoring import metrics

TOLERANCES: Mapping[str, Sequence[float]] = {
    "loose": metrics.LOOSE,
    "tight": metrics.TIGHT,
    "at1": (1,),
    "at2": (2,),
    "at5": (5,),
}
"""The official evaluator's metrics, by the tolerances in seconds that each averages over."""

Scores = Mapping[str, Mapping[str, metrics.AverageMap]]
"""Metric (a key of TOLERANCES) to kind of action (of metrics.KINDS) to its average-mAP."""


class Games(NamedTuple):
    """What is compared: each game's events and predictions, of any label."""

    events: dict[str, list[Event]]
    predictions: dict[str, list[Prediction]]


def score(games: Games, classes: Sequence[str]) -> Scores:
    """Computes all of SoccerNet's metrics for some games, as fractions.

    Raises:
      InputError: no event is of one of the classes.
    """
    truths = metrics.truths_from_events(_halves(games.events), classes)
    spots = metrics.spots_from_predictions(_halves(games.predictions), classes)
    if not len(truths.unit):
        raise InputError(f"no annotation of any of the {len(classes)} classes in the label files")
    return {
        name: metrics.average_map(truths, spots, len(classes), tolerances)
        for name, tolerances in TOLERANCES.items()
    }


def main() -> None:
    """Reads the command line, prints a table."""
    parser = cli.Parser("python -m spotting.evaluate", __doc__)
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR")
    parser.add_argument("--predictions", type=Path, metavar="DIR_OR_ZIP")
    parser.add_argument("--split", help="score this split (default: every game with labels)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all scores there, 0 to 1")
    parser.add_argument("--oracle", action="store_true", help="score the truth: the ceiling")
    parser.add_argument(
        "--frame-rate",
        type=_positive,
        metavar="NUMBER",
        help="with --oracle: of the features (default: dataset.json's, SoccerNet-v2's 2)",
    )
    parser.add_argument(
        "--window", type=_positive, metavar="SECONDS", help="with --oracle: of the suppression"
    )
    parser.add_config("with --oracle: whose chunks, radii and suppression (default: the paper's)")
    arguments = parser.parse_args()
    _check_options(arguments)

    if arguments.predictions is not None:
        check_results(arguments.predictions)
    classes = _read_classes(arguments.labels)
    names = _labelled_games(arguments.labels, arguments.split)
    with contextlib.ExitStack() as stack:
        if arguments.oracle:
            from spotting.runs.ceiling import write_oracle

            arguments.predictions = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings = arguments.config, arguments.frame_rate, arguments.window
            notes = write_oracle(arguments.predictions, arguments.labels, names, classes, *settings)
            print("\n".join(map(cli.as_line, notes)))
        predictions = _read_predictions(arguments.predictions, names)
    events = {game: read_events(arguments.labels / game / LABELS_FILE) for game in names}
    games = Games(events, predictions)
    _warn_of_others("annotations", games.events, classes)
    _warn_of_others("predictions", games.predictions, classes)
    _warn_of_nan(games.predictions)
    scores = score(games, classes)
    print(_table(games, classes, scores))
    if arguments.json:
        write_json_atomic(arguments.json, _document(scores, classes))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1000:
        raise ValueError
    return value


_positive.__name__ = "number above 0, at most 1000"  # argparse names a type in its errors


def _check_options(arguments: Namespace) -> None:
    if bool(arguments.predictions) == arguments.oracle:
        raise InputError("give either --predictions=DIR_OR_ZIP or --oracle; see --help")
    for name in ("frame_rate", "window", "config"):
        if getattr(arguments, name) is not None and not arguments.oracle:
            raise InputError(f"--{name.replace('_', '-')} belongs to --oracle")


def _read_classes(labels: Path) -> tuple[str, ...]:
    """Classes of a folder's `dataset.json`; what else it says is about features, of no use here."""
    path = labels / DESCRIPTION_FILE
    if not path.is_file():
        return SOCCERNET_CLASSES
    description = parse_json(read_regular(path), path)
    classes = description.get("classes") if isinstance(description, dict) else None
    if not isinstance(classes, list) or not classes:
        raise InputError(f'{path}: no list "classes" in it')
    return tuple(map(str, classes))


def _labelled_games(labels: Path, split: str | None) -> list[str]:
    if not labels.is_dir():
        raise InputError(f"{labels}: no such folder of labels")
    if split is None:
        found = [
            name_below(labels, folder)
            for folder, files in walk_folders(labels)
            if LABELS_FILE in files
        ]
        if not found:
            raise InputError(f"{labels}: no <game>/{LABELS_FILE} in it")
        return sorted(found)
    games = describe_dataset(labels).games(split)
    missing = [game for game in games if not (labels / game / LABELS_FILE).is_file()]
    if missing:
        raise InputError(
            f"{labels}: {len(missing)} of the {len(games)} games of the {split} split have no "
            f"{LABELS_FILE}, such as {missing[0]!r}; without --split every game with labels counts"
        )
    return list(games)


def _read_predictions(path: Path, games: Sequence[str]) -> dict[str, list[Prediction]]:
    """Each game's predictions, none where it has no results; tells what has no counterpart."""
    results = dict(iterate_results(path))
    found = {}
    for game in games:
        ending = "/" + unicodedata.normalize("NFC", game)
        matching = [name for name in results if f"/{name}".endswith(ending)]
        if len(matching) > 1:
            raise InputError(f"{path}: two results for {game}: {matching[0]} and {matching[1]}")
        if matching:
            found[game] = matching[0]
    if not found:
        raise InputError(
            f"{path}: no predictions for any game with labels; a game with labels is {games[0]!r}, "
            f"one with predictions {next(iter(results))!r}"
        )
    without = [game for game in games if game not in found]
    if without:
        _warn(
            f"games without {RESULTS_FILE}, which count as without predictions "
            f"({len(without)} of {len(games)}): {_some(without)}"
        )
    others = sorted(set(results) - set(found.values()))
    if others:
        _warn(f"predictions for games that are not scored ({len(others)}): {_some(others)}")
    return {game: results[found[game]] if game in found else [] for game in games}


def _warn_of_others(
    what: str, games: Mapping[str, Sequence[Event | Prediction]], classes: Sequence[str]
) -> None:
    """Counts the actions that are of none of the classes."""
    others = Counter(
        action.label
        for actions in games.values()
        for action in actions
        if action.label not in classes
    )
    if others:
        counts = [f"{label} {count}" for label, count in others.most_common()]
        _warn(f"{what} of other classes, left out ({others.total()}): {_some(counts)}")


def _warn_of_nan(games: Mapping[str, Sequence[Prediction]]) -> None:
    """Counts the predictions that the official evaluator reads, but takes for none."""
    count = sum(math.isnan(action.confidence) for actions in games.values() for action in actions)
    if count:
        _warn(f"predictions whose confidence is NaN, which count as none ({count})")


def _halves(games: Mapping[str, Sequence[Event | Prediction]]) -> Iterable[list]:
    for actions in games.values():
        for half in HALF_NUMBERS:
            yield [action for action in actions if action.half == half]


def _table(games: Games, classes: Sequence[str], scores: Scores) -> str:
    actions = Counter(event.label for events in games.events.values() for event in events)
    total = sum(actions[name] for name in classes)

    def make_row(name: str, values: Iterable[float]) -> list[str]:
        return [name, *(f"{100 * value:.2f}" for value in values)]

    rows: list[list[str] | str] = [
        make_row(kind, (scores[name][kind].map for name in scores)) for kind in metrics.KINDS
    ]
    rows += ["", ["class", *scores, "actions"]]
    for k, label in enumerate(classes):
        values = (scores[name]["all"].per_class[k] for name in scores)
        rows.append([*make_row(label, values), str(actions[label])])
    title = f"average-mAP in percent; games: {len(games.events)}, actions: {total}"
    return f"{title}\n\n{text_table(rows, ('', *scores))}\n\n{_NOTE}"


_NOTE = (
    "unshown, loose and tight: the mean over classes times 17/13, as the official evaluator has it"
    "\nfor any list of classes (13 of SoccerNet-v2's 17 have unshown actions)"
)


def _document(scores: Scores, classes: Sequence[str]) -> dict:
    return {
        kind: {
            name: {
                "map": by_kind[kind].map,
                "per_class": dict(zip(classes, by_kind[kind].per_class.tolist(), strict=True)),
            }
            for name, by_kind in scores.items()
        }
        for kind in metrics.KINDS
    }


def _warn(message: str) -> None:
    print(f"warning: {cli.as_line(message)}", file=sys.stderr)


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")


if __name__ == "__main__":
    cli.run(main)
