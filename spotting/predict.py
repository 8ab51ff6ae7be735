"""Spots the actions of games that nobody has labelled.

  python -m spotting.predict --workdir=runs/unet_resnet_pca --features=MATCHES --output=spots

  python -m spotting.predict --workdir=RUN --video=match.mkv --output=spots \\
      --halves=0:05:12-0:51:40,1:07:03-1:55:00

MATCHES is a folder, searched at any depth for feature files of the kind that the run was trained
on, or one .npy file of any name; there may be several. A game is called by its files' folder,
relative to MATCHES; a file's half is the leading 1_ to 4_ of its name (3 and 4 are extra time),
else 1. Of videos, the features that the run takes are extracted first, into <output>/features,
where they are kept; videos are called as `extract` calls them.

Writes to --output
  <game>/results_spotting.json   the spots in SoccerNet's format
  spots.csv                      all games in one table: game,half,time,seconds,class,confidence,
                                 video_seconds (where `extract` has seen the video), minute (of
                                 the match, 45+2)
  timeline.html                  the spots of every half on a time axis, to look at
  submission.zip                 with --zip: for SoccerNet's challenge server and its evaluator
  <game>/sportscode.xml, chapters.vtt, osl.json, events.csv
                                 with --export: for analysts' tools
  <game>/clips/                  with --clips: the video around each spot
  predict.json                   which run and options made them, and of which files
Run the same command again to resume: games that are finished are kept. What another run, other
options or another program wrote is refused, unless --overwrite. Without --threshold all spots are
written, down to confidence 0, as average-mAP wants them.
"""

import os
import time
import traceback
import unicodedata
from argparse import SUPPRESS, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.files import hold_folder, is_disk_error
from spotting.data.annotations import (
    HALF_LIST,
    HALF_NUMBERS,
    RESULTS_FILE,
    Prediction,
    write_results,
)
from spotting.data.checks import read_header
from spotting.data.dataset import SOCCERNET_V2
from spotting.data.exports import EXTRACTION_FILE, parse_formats, read_places
from spotting.data.unlabelled import Game, check_path, list_games, warn_of_lengths
from spotting.reporting.spot_files import (
    CSV_FILE,
    TIMELINE_FILE,
    ZIP_FILE,
    write_for_analysts,
    write_overview,
    write_zip,
)
from spotting.runs.hub import find_run
from spotting.runs.prediction_record import (
    RECORD_FILE,
    PredictionRecord,
    SpottedGame,
    identify_run,
)

if TYPE_CHECKING:
    from spotting import Spotter

FEATURES_FOLDER = "features"
"""Within --output: what was extracted of --video."""


def main() -> int:
    """Reads the command line, spots game by game."""
    arguments = _parse()
    for path in arguments.features:
        check_path(path)
    for path in arguments.video:
        if not path.exists():
            raise InputError(f"{path}: no such video")
    # JAX takes a second, which --help and a mistyped flag need not wait for.
    from spotting import Spotter
    from spotting.base.logs import log

    workdir = find_run(arguments.workdir)
    spotter = Spotter.load(workdir, arguments.nms, arguments.window)
    spotter.floor(arguments.threshold)  # Not there? Better said now than for each game.
    failed = 0
    if arguments.video:
        spotter.check_extractable()
        _check_options(arguments)
        games, failed = _extract(arguments, spotter)
    else:
        games = list_games(arguments.features, spotter.features)
    record = _open_record(arguments, workdir)
    _check_output(arguments, games, record)
    for warning in warn_of_lengths(games, spotter.frame_rate, spotter.data == SOCCERNET_V2):
        log(f"warning: {warning}")

    with hold_folder(arguments.output):
        return _spot_games(arguments, spotter, games, record, failed)


def _spot_games(
    arguments: Namespace,
    spotter: "Spotter",
    games: Sequence[Game],
    record: PredictionRecord,
    failed: int,
) -> int:
    """Spots and writes all games; returns the exit status.

    Args:
      arguments: of the command line.
      spotter: of the run.
      games: to spot.
      record: of what earlier commands wrote.
      failed: games that have failed before they could be spotted.
    """
    from spotting.base.logs import ProgressLine, duration, log

    line, began = ProgressLine(), time.monotonic()
    spotted: list[SpottedGame] = []
    kept = dropped = 0
    total = len(games) + failed
    for count, game in enumerate(games):
        finished = record.finished(game)
        if finished:
            spotted.append(finished)
            kept += 1
            continue
        done, elapsed = count - kept, time.monotonic() - began
        left = elapsed / done * (len(games) - count) if done else None
        now = f"game {count + 1}/{len(games)}: {game.name}"
        line.show(now, left=left)
        try:
            predictions, seconds = _spot(spotter, game, arguments.threshold, arguments.offset)
            within = [spot for spot in predictions if spot.position >= 0]
            record.add(game, SpottedGame(game.name, seconds))
            write_for_analysts(
                arguments.output / game.name,
                game,
                within,
                arguments.export,
                spotter.classes,
                arguments.clips,
            )
            # Last: a game with results is finished.
            write_results(arguments.output / game.name / RESULTS_FILE, game.name, within)
        except (InputError, OSError) as error:
            if is_disk_error(error):
                raise  # As it would be for all others.
            line.show(now, final=True)
            if arguments.debug:
                traceback.print_exc()
            log(f"error: {cli.as_line(f'{game.name}: {error}')}")
            failed += 1
            continue
        except KeyboardInterrupt:
            log(
                f"\ninterrupted; {len(spotted)} of {len(games)} games have their {RESULTS_FILE}; "
                "run the same command again to resume"
            )
            return 130
        dropped += len(predictions) - len(within)
        spotted.append(SpottedGame(game.name, seconds))
    num_spotted = len(spotted)
    spotted = record.others(games) + spotted
    if dropped:
        log(f"warning: --offset moved {dropped} spots to before the start; they are left out")
    if spotted:
        write_overview(
            arguments.output,
            spotted,
            arguments.workdir,
            spotter.classes,
            spotter.thresholds,
        )
        if arguments.zip:
            write_zip(arguments.output / ZIP_FILE, arguments.output, spotted)
        took = duration(time.monotonic() - began)
        before = f", {kept} of them before" if kept else ""
        line.show(f"{num_spotted} of {total} games spotted in {took}{before}", final=True)
        print(arguments.output / CSV_FILE)
        print(arguments.output / TIMELINE_FILE)
        if arguments.zip:
            print(arguments.output / ZIP_FILE)
    if failed:
        log(f"error: {failed} of {total} games failed, see above")
    return 1 if failed else 0


def _extract(arguments: Namespace, spotter: "Spotter") -> tuple[list[Game], int]:
    """Extracts the features of videos; returns the games, and how many failed."""
    from spotting import video
    from spotting.base.logs import ProgressLine, log
    from spotting.video.games import describe_progress, find_games

    root = arguments.output / FEATURES_FOLDER
    videos = find_games(map(str, arguments.video), root, halves=arguments.halves or "")
    network = spotter.load_feature_network(arguments.weights, arguments.pca, log)
    options = video.Options(overwrite=arguments.overwrite)
    line, games, failed = ProgressLine(), [], 0
    for result in video.extract_games(
        videos, network, options, log, lambda state: line.show(describe_progress(state))
    ):
        folder = result.game.folder
        if result.error is not None:
            if len(videos) == 1:
                raise result.error
            log(f"error: {cli.as_line(result.error)}")
            failed += 1
            continue
        halves = {record.half: folder / record.file for record in result.records}
        name = unicodedata.normalize("NFC", folder.relative_to(root).as_posix())
        games.append(Game(name, dict(sorted(halves.items()))))
    return sorted(games), failed


def _open_record(arguments: Namespace, workdir: Path) -> PredictionRecord:
    options = {
        "run": identify_run(workdir),
        "threshold": arguments.threshold,
        "nms": arguments.nms,
        "window": arguments.window,
        "offset": _describe_offset(arguments.offset),
    }
    if arguments.overwrite:
        (arguments.output / RECORD_FILE).unlink(missing_ok=True)
    return PredictionRecord(arguments.output, options)


def _describe_offset(offset: Mapping[int, float] | float) -> Any:
    if isinstance(offset, Mapping):
        return {str(half): seconds for half, seconds in sorted(offset.items())}
    return offset


def _parse() -> Namespace:
    parser = cli.Parser("python -m spotting.predict", __doc__)
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="the run: a folder, or hf://owner/name"
    )
    parser.add_argument(
        "--features", type=Path, nargs="+", action="extend", default=[], metavar="FILE_OR_FOLDER"
    )
    parser.add_argument(
        "--video",
        type=Path,
        action="append",
        default=[],
        metavar="FILE_OR_FOLDER",
        help="instead of --features: extract them of videos; may be given several times",
    )
    parser.add_argument(
        "--halves", metavar="START-END,...", help="places of the halves in a single video"
    )
    parser.add_argument("--weights", metavar="FILE", help="of --video, as extract's")
    parser.add_argument("--pca", metavar="PATH", help="of --video, as extract's")
    parser.add_argument("more_features", type=Path, nargs="*", help=SUPPRESS)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--threshold",
        type=_threshold,
        default=0.0,
        metavar="FLOAT|auto",
        help="least confidence of a spot; auto: what was best (F1) for its class in validation",
    )
    parser.add_argument("--nms", choices=("hard", "soft"), help="default: the run's")
    parser.add_argument(
        "--window",
        type=_windows,
        metavar="SECONDS",
        help="NMS window, or one per class with commas between: full width (hard), radius (soft); "
        "default: the run's, with another --nms than the run's 20 (hard) or 4 (soft)",
    )
    parser.add_argument(
        "--offset",
        type=_offset,
        default=0.0,
        metavar="SECONDS",
        help="added to every time, or one for each half: 1:312.5,2:4020; spots that come before "
        "the start of the half are left out",
    )
    parser.add_argument("--zip", action="store_true", help=f"write {ZIP_FILE} too")
    parser.add_argument(
        "--export",
        type=parse_formats,
        default=(),
        metavar="LIST",
        help="of sportscode,osl,webvtt,csv, with commas between; halves of videos that "
        "`extract` has seen are placed in them, others count as videos of their own",
    )
    parser.add_argument(
        "--clips",
        action="store_true",
        help="cut the videos that `extract` has seen around each spot; needs --threshold",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what --output has")
    # Intermixed, so that --features=A B means what it looks like.
    arguments = parser.parse_intermixed_args()
    more = arguments.video if arguments.video and not arguments.features else arguments.features
    more += arguments.more_features
    if bool(arguments.features) == bool(arguments.video):
        raise InputError("give either --features=MATCHES or --video=FILE; see --help")
    for name in ("halves", "weights", "pca"):
        if getattr(arguments, name) and not arguments.video:
            raise InputError(f"--{name} belongs to --video")
    return arguments


def _threshold(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    value = _finite(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text}: a threshold is a confidence, from 0 to 1, or auto")
    return value


def _windows(text: str) -> list[float]:
    return [_finite(part) for part in text.split(",")]


def _offset(text: str) -> float | dict[int, float]:
    """Seconds for all halves, or for each that is named; the others then have none."""
    if ":" not in text:
        return _finite(text)
    offsets: dict[int, float] = {}
    for part in text.split(","):
        half, _, seconds = part.partition(":")
        if half not in map(str, HALF_NUMBERS) or int(half) in offsets:
            raise ArgumentTypeError(f"{text}: {part} is not HALF:SECONDS of one half, {HALF_LIST}")
        offsets[int(half)] = _finite(seconds)
    return offsets


def _finite(text: str) -> float:
    value = float(text)
    if not np.isfinite(value):
        raise ValueError
    return value


# argparse names a type in its errors.
_threshold.__name__ = "threshold"
_windows.__name__ = "window"
_offset.__name__ = "offset"
_finite.__name__ = "number"


def _check_options(arguments: Namespace) -> None:
    """Raises InputError for options that do not go together, or an output of no use."""
    if arguments.clips and arguments.threshold == 0:
        raise InputError("--clips needs --threshold=auto or a number: without it all spots count")
    output = arguments.output
    parent = next(p for p in (output, *output.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{output}: nothing can be written there; choose another --output")


def _check_output(arguments: Namespace, games: Sequence[Game], record: PredictionRecord) -> None:
    """Raises InputError where results cannot be written, or would replace others."""
    _check_options(arguments)
    for game in games if arguments.clips else ():
        for half, path in game.halves.items():
            place = read_places(path.parent).get(half)
            if place is None or not Path(place.video.path).is_file():
                missing = place.video.path if place else f"a half {half} in {EXTRACTION_FILE}"
                raise InputError(f"{path.parent}: --clips needs {missing}, which is not there")
    output = arguments.output
    names = [f"{game.name}/{RESULTS_FILE}" for game in games if game.name not in record]
    if not (output / RECORD_FILE).is_file():
        names += [CSV_FILE, TIMELINE_FILE] + ([ZIP_FILE] if arguments.zip else [])
    there = [name for name in names if (output / name).exists()]
    if there and not arguments.overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise InputError(f"{output / there[0]}{more}: there already; --overwrite replaces it")


def _spot(
    spotter: "Spotter",
    game: Game,
    threshold: float | Literal["auto"],
    offsets: Mapping[int, float] | float,
) -> tuple[list[Prediction], dict[int, float]]:
    """The spots of a game, some perhaps before the start, and how long its halves last."""
    predictions, seconds = [], {}
    for half, path in sorted(game.halves.items()):
        num_frames, _ = read_header(path)
        offset = offsets.get(half, 0.0) if isinstance(offsets, Mapping) else offsets
        try:
            spots = spotter.spot(np.load(path, mmap_mode="r"), threshold)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        seconds[half] = num_frames / spotter.frame_rate + offset
        predictions += [
            Prediction(half, label, position + offset, confidence)
            for position, label, confidence in spots
        ]
    return predictions, seconds


if __name__ == "__main__":
    cli.run(main)
