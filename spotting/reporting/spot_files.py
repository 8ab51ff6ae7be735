"""Files of spotted games: one table, the timeline's page, SoccerNet's zip, analysts' formats."""

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

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


def write_csv(path: Path, folder: Path, games: Sequence[SpottedGame]) -> None:
    """Writes the results that `folder` holds for some games as one table.

    Names are those of `make_cell`: of one line, and no formulas.
    """
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(CSV_HEADER)
        for game in games:
            places = read_places(folder / game.name)
            begins = begin_minutes(game.seconds, places)
            for spot in read_results(folder / game.name / RESULTS_FILE):
                place = places.get(spot.half)
                in_video = f"{place.start + spot.position:.3f}" if place else ""
                clock, seconds = timing.clock(spot.position), f"{spot.position:.3f}"
                confidence = f"{spot.confidence:.6f}"
                minute = match_minute(spot.half, spot.position, begins.get(spot.half))
                name, label = make_cell(game.name), make_cell(spot.label)
                row = (name, spot.half, clock, seconds, label, confidence)
                table.writerow((*row, in_video, minute))
        text.detach()


def write_zip(path: Path, folder: Path, games: Sequence[SpottedGame]) -> None:
    """Packs the results that `folder` holds for some games as SoccerNet's servers take them."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for game in games:
            archive.write(folder / game.name / RESULTS_FILE, f"{game.name}/{RESULTS_FILE}")


def write_timeline(
    output: Path,
    games: Sequence[SpottedGame],
    system: str,
    classes: Sequence[str],
    thresholds: Mapping[str, float] | None,
) -> None:
    """Writes the page of the results that `output` holds for some games.

    Args:
      output: the folder.
      games: which.
      system: what to call the run that spotted them.
      classes: its classes.
      thresholds: of each class, if it has them.
    """
    pages = []
    for game in games:
        spots = [
            spot
            for spot in read_results(output / game.name / RESULTS_FILE)
            if spot.confidence >= LEAST_CONFIDENCE
        ]
        begins = begin_minutes(game.seconds, read_places(output / game.name))
        halves = [
            TimelineHalf(
                half,
                max(0.0, seconds),
                {system: [spot for spot in spots if spot.half == half]},
                starts_match_clock=begins[half] is not None,
            )
            for half, seconds in game.seconds.items()
        ]
        pages.append(TimelineGame(game.name, halves))
    write_timeline_page(output / TIMELINE_FILE, pages, classes, thresholds)


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
