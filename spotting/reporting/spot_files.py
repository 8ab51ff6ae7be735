"""Files of spotted games: one table, the timeline's page, SoccerNet's zip, analysts' formats."""

import csv
import functools
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spotting import timing
from spotting.base.files import atomic_file, write_text_atomic
from spotting.data.annotations import RESULTS_FILE, Prediction, read_results
from spotting.data.exports import (
    EXTRACTION_FILE,
    HalfPlace,
    Moment,
    begin_minutes,
    make_cell,
    make_exports,
    match_minute,
    read_places,
    write_exports,
)
from spotting.data.unlabelled import Game
from spotting.reporting.clips import write_clips
from spotting.reporting.timeline import (
    LEAST_CONFIDENCE,
    TimelineGame,
    TimelineHalf,
    write_timeline_page,
)
from spotting.runs.prediction_record import SpottedGame

CSV_FILE, TIMELINE_FILE, ZIP_FILE = "spots.csv", "timeline.html", "submission.zip"
CSV_HEADER = ("game", "half", "time", "seconds", "class", "confidence", "video_seconds", "minute")


def write_overview(
    output: Path,
    games: Sequence[SpottedGame],
    system: str,
    classes: Sequence[str],
    thresholds: Mapping[str, float] | None,
) -> None:
    """Writes the table and the page of the results that `output` holds for some games.

    Args:
      output: the folder.
      games: which.
      system: what the page calls the run that spotted them.
      classes: its classes.
      thresholds: of each class, if it has them.
    """
    pages = []
    with atomic_file(output / CSV_FILE) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(CSV_HEADER)
        for game in games:
            # Once for both: reading takes longer than writing.
            spots = read_results(output / game.name / RESULTS_FILE)
            places = read_places(output / game.name)
            begins = begin_minutes(game.seconds, places)
            table.writerows(_make_rows(game.name, spots, places, begins))
            pages.append(_make_page(game, spots, system, begins))
        text.detach()
    write_timeline_page(output / TIMELINE_FILE, pages, classes, thresholds)


def _make_rows(
    game: str,
    spots: Iterable[Prediction],
    places: Mapping[int, HalfPlace],
    begins: Mapping[int, int | None],
) -> Iterator[tuple[Any, ...]]:
    """A game's rows of the table; names are those of `make_cell`: of one line, and no formulas."""
    name, labels = make_cell(game), functools.cache(make_cell)
    for half, label, position, confidence in spots:
        place = places.get(half)
        yield (
            name,
            half,
            timing.clock(position),
            f"{position:.3f}",
            labels(label),
            f"{confidence:.6f}",
            f"{place.start + position:.3f}" if place else "",
            match_minute(half, position, begins.get(half)),
        )


def _make_page(
    game: SpottedGame,
    spots: Iterable[Prediction],
    system: str,
    begins: Mapping[int, int | None],
) -> TimelineGame:
    """A game's part of the page."""
    shown: dict[int, list[Prediction]] = {half: [] for half in game.seconds}
    for spot in spots:
        if spot.confidence >= LEAST_CONFIDENCE and spot.half in shown:
            shown[spot.half].append(spot)
    halves = [
        TimelineHalf(
            half,
            max(0.0, seconds),
            {system: shown[half]},
            starts_match_clock=begins[half] is not None,
        )
        for half, seconds in game.seconds.items()
    ]
    return TimelineGame(game.name, halves)


def write_zip(path: Path, folder: Path, games: Sequence[SpottedGame]) -> None:
    """Packs the results that `folder` holds for some games as SoccerNet's servers take them."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for game in games:
            archive.write(folder / game.name / RESULTS_FILE, f"{game.name}/{RESULTS_FILE}")


def write_for_analysts(
    folder: Path,
    game: Game,
    spots: Sequence[Prediction],
    formats: Sequence[str],
    classes: Sequence[str],
    clips: bool,
) -> None:
    """Writes a game's spots for analysts' tools, and clips, as far as they are asked for.

    Args:
      folder: the game's, in the output.
      game: where its features are, and with them what `extract` has noted of its video.
      spots: of the game.
      formats: of `data.exports.FORMATS`.
      classes: of the run.
      clips: whether to cut the video.
    """
    places: dict[int, HalfPlace] = {}
    for half, path in game.halves.items():
        recorded = read_places(path.parent)
        if half in recorded:
            places[half] = recorded[half]
            # The page of `review` finds the halves by it.
            write_text_atomic(
                folder / EXTRACTION_FILE,
                (path.parent / EXTRACTION_FILE).read_text("utf-8"),
            )
    moments = [Moment(*spot) for spot in spots]
    others = [name for name in formats if name != "soccernet"]  # results_spotting.json is there
    if others:
        write_exports(folder, make_exports(others, game.name, moments, places, classes))
    if clips:
        write_clips(folder, moments, places)
