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
                                 video_seconds (where `extract` has seen the video)
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

import csv
import hashlib
import io
import os
import re
import time
import traceback
import unicodedata
import zipfile
from argparse import SUPPRESS, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from spotting import timing
from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.files import (
    atomic_file,
    hold_folder,
    is_disk_error,
    read_object,
    remove_temporaries,
    write_json_atomic,
    write_text_atomic,
)
from spotting.data.annotations import (
    HALF_LIST,
    HALF_NUMBERS,
    RESULTS_FILE,
    Prediction,
    read_results,
    write_results,
)
from spotting.data.checks import read_header
from spotting.data.dataset import SOCCERNET_V2
from spotting.data.exports import (
    EXTRACTION_FILE,
    HalfPlace,
    Moment,
    make_exports,
    parse_formats,
    read_places,
    write_exports,
)
from spotting.data.halves import FeatureFile, find_games
from spotting.reporting.clips import write_clips
from spotting.reporting.timeline import (
    LEAST_CONFIDENCE,
    TimelineGame,
    TimelineHalf,
    write_timeline_page,
)
from spotting.runs import layout

if TYPE_CHECKING:
    from spotting import Spotter

CSV_FILE, TIMELINE_FILE, ZIP_FILE = "spots.csv", "timeline.html", "submission.zip"
RECORD_FILE = "predict.json"
FEATURES_FOLDER = "features"
"""Within --output: what was extracted of --video."""
CSV_HEADER = ("game", "half", "time", "seconds", "class", "confidence", "video_seconds")

# A half of a match at another frame rate than its own would last as long as none does.
_SOCCER_MINUTES = (30, 80)
_LONGEST_HOURS = 3


class Game(NamedTuple):
    """A game to spot: its name and the feature file of each half."""

    name: str
    halves: Mapping[int, Path]


class SpottedGame(NamedTuple):
    """A game whose results are written, and how many seconds each half lasts."""

    name: str
    seconds: Mapping[int, float]


class Record:
    """predict.json: which run and options made the results of a folder, game by game.

    With it the same command resumes: a game is finished if it is in the record with the same
    feature files and its results are there.
    """

    def __init__(self, output: Path, made_by: Mapping[str, Any]):
        """Reads what an earlier command left, if it was the same one.

        Args:
          output: the folder of results.
          made_by: of this command: the run and the options.

        Raises:
          InputError: the folder holds results of another run or of other options.
        """
        self._output, self._path, self._made_by = output, output / RECORD_FILE, dict(made_by)
        self._games: dict[str, Any] = {}
        if not self._path.is_file():
            return
        earlier = read_object(self._path)
        theirs, games = earlier.get("made_by"), earlier.get("games")
        if not isinstance(theirs, dict) or not isinstance(games, dict):
            raise InputError(f"{self._path}: not a record of predictions; --overwrite replaces it")
        differing = [name for name in self._made_by if theirs.get(name) != self._made_by[name]]
        if differing:
            raise InputError(
                f"{output}: holds results of another {', '.join(differing)}; choose another "
                "--output, or replace them with --overwrite"
            )
        self._games = games

    def finished(self, game: Game) -> SpottedGame | None:
        """A game as an earlier command left it; None if it is to be spotted."""
        entry = self._games.get(game.name)
        if not isinstance(entry, dict) or entry.get("files") != _describe_files(game):
            return None
        return self._read(game.name)

    def others(self, games: Sequence[Game]) -> list[SpottedGame]:
        """Games of earlier commands, by the same run and options, that are not among these."""
        names = {game.name for game in games}
        found = (self._read(name) for name in self._games if name not in names)
        return [game for game in found if game]

    def _read(self, name: str) -> SpottedGame | None:
        if not (self._output / name / RESULTS_FILE).is_file():
            return None
        seconds = {int(half): float(value) for half, value in self._games[name]["seconds"].items()}
        return SpottedGame(name, seconds)

    def add(self, game: Game, spotted: SpottedGame) -> None:
        """Notes a game whose results are then to be written; older ones are deleted first.

        So there is no moment at which a killed process leaves results that nobody owns, or older
        ones that pass for these.
        """
        (self._output / game.name / RESULTS_FILE).unlink(missing_ok=True)
        remove_temporaries(self._output / game.name)
        seconds = {str(half): value for half, value in spotted.seconds.items()}
        self._games[game.name] = {"files": _describe_files(game), "seconds": seconds}
        write_json_atomic(self._path, {"made_by": self._made_by, "games": self._games})

    def __contains__(self, game: object) -> bool:
        return game in self._games


def _describe_files(game: Game) -> dict[str, list[Any]]:
    """Path, size and time of change of each half's file: enough to notice another one."""
    found = {}
    for half, path in game.halves.items():
        status = path.stat()
        found[str(half)] = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    return found


def identify_run(workdir: Path) -> str:
    """A hash of what a run's predictions follow from: its config, thresholds and best weights."""
    digest = hashlib.sha256()
    files = [workdir / layout.CONFIG, workdir / layout.THRESHOLDS]
    for kind in ("confidence", "displacement"):
        files += sorted((layout.locate_checkpoints(workdir, kind) / "best").rglob("*"))
    for path in files:
        if path.is_file():
            digest.update(path.relative_to(workdir).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def main() -> int:
    """Reads the command line, spots game by game."""
    arguments = _parse()
    for path in arguments.features:
        _check_features(path)
    for path in arguments.video:
        if not path.exists():
            raise InputError(f"{path}: no such video")
    # JAX takes a second, which --help and a mistyped flag need not wait for.
    from spotting import Spotter
    from spotting.base.logs import log

    spotter = Spotter.load(arguments.workdir, arguments.nms, arguments.window)
    spotter.floor(arguments.threshold)  # Not there? Better said now than for each game.
    failed = 0
    if arguments.video:
        spotter.check_extractable()
        _check_options(arguments)
        games, failed = _extract(arguments, spotter)
    else:
        games = find(arguments.features, spotter.features)
    record = _open_record(arguments)
    _check_output(arguments, games, record)
    for warning in odd_lengths(games, spotter.frame_rate, spotter.data == SOCCERNET_V2):
        log(f"warning: {warning}")

    with hold_folder(arguments.output):
        return _spot_games(arguments, spotter, games, record, failed)


def _spot_games(
    arguments: Namespace,
    spotter: "Spotter",
    games: Sequence[Game],
    record: Record,
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
            _export(arguments, game, within, spotter.classes)
            # Last: a game with results is finished.
            write_results(arguments.output / game.name / RESULTS_FILE, game.name, within)
        except (InputError, OSError) as error:
            if is_disk_error(error):
                raise  # As it would be for all others.
            line.show(now, final=True)
            if arguments.debug:
                traceback.print_exc()
            log(f"error: {game.name}: {error}")
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
        write_csv(arguments.output / CSV_FILE, arguments.output, spotted)
        _write_timeline(arguments.output, spotted, spotter)
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
            log(f"error: {result.error}")
            failed += 1
            continue
        halves = {record.half: folder / record.file for record in result.records}
        name = unicodedata.normalize("NFC", folder.relative_to(root).as_posix())
        games.append(Game(name, dict(sorted(halves.items()))))
    return sorted(games), failed


def _check_features(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder of features")


def _open_record(arguments: Namespace) -> Record:
    options = {
        "run": identify_run(arguments.workdir),
        "threshold": arguments.threshold,
        "nms": arguments.nms,
        "window": arguments.window,
        "offset": _describe_offset(arguments.offset),
    }
    if arguments.overwrite:
        (arguments.output / RECORD_FILE).unlink(missing_ok=True)
    return Record(arguments.output, options)


def _describe_offset(offset: Mapping[int, float] | float) -> Any:
    if isinstance(offset, Mapping):
        return {str(half): seconds for half, seconds in sorted(offset.items())}
    return offset


def find(paths: Sequence[Path], features: str) -> list[Game]:
    """The games in some folders and files, in the order given.

    Args:
      paths: folders, searched for files of the given features, and feature files.
      features: name of the feature files, without the half and .npy.

    Raises:
      InputError: a path does not exist or has no such file, or two files are one half of one game.
    """
    games: dict[str, dict[int, Path]] = {}
    for path in paths:
        _check_features(path)
        for game, half, file in find_games(path, features) if path.is_dir() else [_single(path)]:
            # A folder without a name of its own lends its files the one that it has outside; and
            # SoccerNet composes accents, which macOS takes apart.
            name = unicodedata.normalize("NFC", path.resolve().name if game == "." else game)
            halves = games.setdefault(name, {})
            if half in halves:
                raise InputError(
                    f"two files for half {half} of game {name!r}: {halves[half]} and {file}; a "
                    "file's half is the leading 1_ to 4_ of its name, else 1, and its folder is "
                    "the game: rename one, or move it to a folder of its own"
                )
            halves[half] = file
    return [Game(name, halves) for name, halves in games.items()]


def odd_lengths(games: Sequence[Game], frame_rate: float, soccer: bool) -> list[str]:
    """Warnings of halves that last as if their features had another frame rate.

    Args:
      games: see `find`.
      frame_rate: that their features should have.
      soccer: whether a first and a second half together are known to be a match of soccer.
    """
    odd = []
    for game in games:
        try:
            minutes = [read_header(p)[0] / frame_rate / 60 for p in game.halves.values()]
        except (InputError, OSError):
            continue  # The game's own turn tells.
        short, long = max(minutes) < _SOCCER_MINUTES[0], min(minutes) > _SOCCER_MINUTES[1]
        whole_match = soccer and len(minutes) == 2
        if (whole_match and (short or long)) or max(minutes) > 60 * _LONGEST_HOURS:
            odd.append((game.name, max(minutes)))
    if not odd:
        return []
    name, longest = odd[0]
    return [
        f"{len(odd)} of {len(games)} games, such as {name!r}, have halves of {longest:.0f} minutes "
        f"at the model's {frame_rate:g} frames per second; were they extracted at another rate?"
    ]


def write_csv(path: Path, folder: Path, games: Sequence[SpottedGame]) -> None:
    """Writes the results that `folder` holds for some games as one table."""
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(CSV_HEADER)
        for game in games:
            places = read_places(folder / game.name)
            for spot in read_results(folder / game.name / RESULTS_FILE):
                place = places.get(spot.half)
                in_video = f"{place.start + spot.position:.3f}" if place else ""
                clock, seconds = timing.clock(spot.position), f"{spot.position:.3f}"
                confidence = f"{spot.confidence:.6f}"
                table.writerow(
                    (game.name, spot.half, clock, seconds, spot.label, confidence, in_video)
                )
        text.detach()


def write_zip(path: Path, folder: Path, games: Sequence[SpottedGame]) -> None:
    """Packs the results that `folder` holds for some games as SoccerNet's servers take them."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for game in games:
            archive.write(folder / game.name / RESULTS_FILE, f"{game.name}/{RESULTS_FILE}")


def _parse() -> Namespace:
    parser = cli.Parser("python -m spotting.predict", __doc__)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run")
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


def _single(path: Path) -> FeatureFile:
    half = re.match(r"(\d)_", path.name)
    number = half[1] if half else "1"
    if number not in map(str, HALF_NUMBERS):
        raise InputError(f"{path}: half {number} is not one of {HALF_LIST}; rename the file")
    return FeatureFile(path.resolve().parent.name, int(number), path)


def _check_options(arguments: Namespace) -> None:
    """Raises InputError for options that do not go together, or an output of no use."""
    if arguments.clips and arguments.threshold == 0:
        raise InputError("--clips needs --threshold=auto or a number: without it all spots count")
    output = arguments.output
    parent = next(p for p in (output, *output.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{output}: nothing can be written there; choose another --output")


def _check_output(arguments: Namespace, games: Sequence[Game], record: Record) -> None:
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


def _export(
    arguments: Namespace, game: Game, spots: Sequence[Prediction], classes: Sequence[str]
) -> None:
    """Writes a game's spots for analysts' tools, and clips, as far as they are asked for."""
    folder = arguments.output / game.name
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
    # results_spotting.json is there.
    formats = [name for name in arguments.export if name != "soccernet"]
    if formats:
        write_exports(folder, make_exports(formats, game.name, moments, places, classes))
    if arguments.clips:
        write_clips(folder, moments, places)


def _write_timeline(output: Path, games: Sequence[SpottedGame], spotter: "Spotter") -> None:
    pages = []
    for game in games:
        spots = [
            spot
            for spot in read_results(output / game.name / RESULTS_FILE)
            if spot.confidence >= LEAST_CONFIDENCE
        ]
        halves = [
            TimelineHalf(
                half,
                max(0.0, seconds),
                {str(spotter.workdir): [spot for spot in spots if spot.half == half]},
            )
            for half, seconds in game.seconds.items()
        ]
        pages.append(TimelineGame(game.name, halves))
    write_timeline_page(output / TIMELINE_FILE, pages, spotter.classes, spotter.thresholds)


if __name__ == "__main__":
    cli.run(main)
