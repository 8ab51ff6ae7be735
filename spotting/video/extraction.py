"""From videos to files of features: decoding beside the network, in bounded memory, resumable.

Threads scan and decode videos and put batches of pictures into a bounded queue; the caller's thread
runs the network on them and keeps the rows. `extract_video` does all for one video, `extract_games`
for many, and `stream_rows` gives rows while a video is still coming in.
"""

import contextlib
import dataclasses
import importlib.metadata
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spotting.base.errors import InputError
from spotting.base.files import hold_folder
from spotting.base.signals import defer_stop
from spotting.video import choice, decoding, weights
from spotting.video.decoding import Damage, Scan, StoppedError, check_stop
from spotting.video.folders import PartialRows, has_parts
from spotting.video.halves import Half, check_half
from spotting.video.network import FRAME_RATE, FeatureNetwork
from spotting.video.record import HalfRecord, read_records, write_record

DTYPES = ("float32", "float16")

_QUEUED_BATCHES = 4
_PATIENCE = 0.2  # seconds between looks at whether to stop
_PACKAGES = ("spotting", "av", "jax", "numpy")

Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Options:
    """How pictures are chosen and rows are written.

    Attributes:
      rule: for choosing pictures, one of `choice.RULES`.
      dtype: of the files, one of DTYPES.
      columns: of pictures whose width is odd at 224 lines, see `pictures.fit`.
      overwrite: replace files that were made otherwise.
      decoders: videos that are decoded at once.
    """

    rule: str = "timestamps"
    dtype: str = "float32"
    columns: int = 224
    overwrite: bool = False
    decoders: int = 1

    def __post_init__(self) -> None:
        for option, value, known in (
            ("--rule", self.rule, choice.RULES),
            ("--dtype", self.dtype, DTYPES),
            ("--odd-width", self.columns, (224, 225)),
        ):
            if value not in known:
                raise InputError(f"{option}={value}: there is {', '.join(map(str, known))}")
        if self.decoders < 1:
            raise InputError(f"--decoders={self.decoders}: at least 1")


@dataclasses.dataclass(frozen=True)
class Game:
    """A game's videos, and the folder for its features.

    Attributes:
      folder: for the features.
      videos: path and halves of each.
    """

    folder: Path
    videos: tuple[tuple[Path, tuple[Half, ...]], ...]


@dataclasses.dataclass
class Progress:
    """How far an extraction is; what is shown to the user.

    Attributes:
      games: of this extraction.
      games_done: finished or failed.
      games_planned: whose videos were scanned.
      rows: known of all videos that were scanned.
      rows_done: that are there, kept ones of an earlier run included.
      rows_computed: by this run.
      seconds: since its start.
    """

    games: int
    games_done: int = 0
    games_planned: int = 0
    rows: int = 0
    rows_done: int = 0
    rows_computed: int = 0
    seconds: float = 0.0

    @property
    def rows_per_second(self) -> float:
        """Speed of this run."""
        return self.rows_computed / self.seconds if self.seconds else 0.0


class Result(NamedTuple):
    """What became of a game: its records, or the reason why there are none."""

    game: Game
    records: list[HalfRecord]
    error: InputError | None


def extract_video(
    video: Path,
    network: FeatureNetwork,
    folder: Path,
    halves: Sequence[Half] = (Half(1),),
    options: Options = Options(),
    log: Log = lambda text: None,
    progress: Callable[[Progress], None] = lambda state: None,
) -> list[HalfRecord]:
    """Writes `<folder>/{half}_{features}.npy` for the halves of a video, and extraction.json.

    What is there already, made of the same video in the same way, is kept.

    Args:
      video: path of the video.
      network: see `network.load_network`.
      folder: of the game; made if need be.
      halves: their places in the video.
      options: see there.
      log: is told what the user should know.
      progress: is called after every batch.

    Returns:
      A record of each half.

    Raises:
      InputError: the video, the halves or what is in the folder is at fault; one line says why.
      OSError: a file cannot be read or written.
    """
    game = Game(Path(folder), ((Path(video), tuple(halves)),))
    for result in extract_games([game], network, options, log, progress):
        if result.error is not None:
            raise result.error
        return result.records
    return []


def extract_games(
    games: Sequence[Game],
    network: FeatureNetwork,
    options: Options = Options(),
    log: Log = lambda text: None,
    progress: Callable[[Progress], None] = lambda state: None,
) -> Generator[Result, None, None]:
    """Extracts features of many games; a game whose video is at fault does not stop the others.

    Args:
      games: to extract.
      network: see `network.load_network`.
      options: see there.
      log: is told what the user should know.
      progress: is called after every batch.

    Yields:
      What became of each game, as they end.

    Raises:
      OSError: a file cannot be written; what was computed is kept.
    """
    state = Progress(len(games))
    start = time.monotonic()
    with _Decoders(games, network, options) as decoders:
        rows_to_come: deque[tuple[_HalfWork, jax.Array]] = deque()
        records: dict[int, list[HalfRecord]] = {}
        open_work: dict[int, _HalfWork] = {}
        planned: set[int] = set()

        def store(most_left: int) -> None:
            while len(rows_to_come) > most_left:
                work, rows = rows_to_come.popleft()
                work.rows.add(np.asarray(rows))
                state.rows_done += len(rows)
                state.rows_computed += len(rows)
                state.seconds = time.monotonic() - start
                progress(state)

        try:
            while state.games_done < len(games):
                event = decoders.next_event()
                if isinstance(event, _Planned):
                    planned.add(event.game)
                    state.games_planned = len(planned)
                    state.rows += event.rows
                    state.rows_done += event.kept
                elif isinstance(event, _Batch):
                    open_work[id(event.work)] = event.work
                    # The device computes one batch while the next is being handed over. The first
                    # is compiled for; a signal's exception in the midst of that may crash it.
                    with defer_stop() as stop:
                        rows_to_come.append((event.work, network(event.pictures)))
                    stop.raise_if_made("")
                    store(most_left=1)
                elif isinstance(event, _HalfEnd):
                    store(most_left=0)
                    record = event.work.finish(event.damage, log)
                    open_work.pop(id(event.work), None)
                    records.setdefault(event.game, []).append(record)
                elif isinstance(event, _Kept):
                    records.setdefault(event.game, []).append(event.record)
                elif isinstance(event, _Note):
                    log(event.text)
                else:
                    state.games_done += 1
                    found = records.pop(event.game, [])
                    yield Result(games[event.game], found, event.error)
        finally:
            decoders.stop()
            with contextlib.suppress(Exception):
                store(most_left=0)
            for work in open_work.values():
                with contextlib.suppress(OSError):
                    work.rows.flush()


@dataclasses.dataclass
class _HalfWork:
    """A half whose rows are being computed."""

    game: int
    folder: Path
    scanned: Scan
    half: Half
    record: HalfRecord
    rows: PartialRows
    wanted: np.ndarray
    written: threading.Event = dataclasses.field(default_factory=threading.Event)

    def finish(self, damage: Damage, log: Log) -> HalfRecord:
        """Writes the file of features and its record."""
        lost, notes = self.record.lost_seconds, list(self.record.notes)
        name = f"{self.scanned.path}: half {self.half.number}"
        missing_rows = len(self.wanted) - self.rows.rows
        if missing_rows:
            lost += missing_rows / self.record.frame_rate
            notes.append(
                f"{name}: the last {missing_rows / self.record.frame_rate:.1f} s cannot be "
                "decoded; what comes before is kept"
            )
            log(notes[-1])
        if damage.corrupt or damage.packets:
            count = damage.corrupt + damage.packets
            seconds = count / self.scanned.timeline.picture_rate
            notes.append(
                f"{name}: {count} pictures are damaged, about {seconds:.1f} s; their rows show "
                "what could be decoded"
            )
            log(notes[-1])
        end = self.record.end
        if missing_rows:
            end = self.record.start + self.rows.rows / self.record.frame_rate
        self.rows.finish()
        record = dataclasses.replace(
            self.record,
            rows=self.rows.rows,
            end=end,
            lost_seconds=round(lost, 3),
            notes=notes,
        )
        write_record(self.folder, record)
        self.rows.remove()
        self.written.set()
        return record


class _Planned(NamedTuple):
    game: int
    rows: int
    kept: int


class _Batch(NamedTuple):
    work: _HalfWork
    pictures: np.ndarray


class _HalfEnd(NamedTuple):
    game: int
    work: _HalfWork
    damage: Damage


class _Kept(NamedTuple):
    game: int
    record: HalfRecord


class _Note(NamedTuple):
    text: str


class _GameEnd(NamedTuple):
    game: int
    error: InputError | None


_Event = _Planned | _Batch | _HalfEnd | _Kept | _Note | _GameEnd


class _Decoders:
    """Threads that turn games into events, and the queue between them and the network."""

    def __init__(self, games: Sequence[Game], network: FeatureNetwork, options: Options):
        self._network, self._options = network, options
        self._stop = threading.Event()
        self._games = enumerate(games)
        self._lock = threading.Lock()
        count = min(options.decoders, len(games))
        self._queue: queue.Queue[_Event | BaseException] = queue.Queue(_QUEUED_BATCHES + count)
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self) -> "_Decoders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def next_event(self) -> _Event:
        """The next event; what a thread could not cope with is raised here."""
        event = self._queue.get()
        if isinstance(event, BaseException):
            raise event
        return event

    def stop(self) -> None:
        """Ends the threads and waits for them: FFmpeg must not run while Python ends."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _put(self, event: _Event | BaseException) -> None:
        while True:
            check_stop(self._stop)
            with contextlib.suppress(queue.Full):
                self._queue.put(event, timeout=_PATIENCE)
                return

    def _run(self) -> None:
        try:
            while True:
                with self._lock:
                    number, game = next(self._games, (-1, None))
                if game is None:
                    return
                error = None
                try:
                    self._decode_game(number, game)
                except InputError as reason:
                    error = reason
                self._put(_GameEnd(number, error))
        except StoppedError:
            return
        except BaseException as reason:
            with contextlib.suppress(StoppedError):
                self._put(reason)

    def _decode_game(self, number: int, game: Game) -> None:
        with hold_folder(game.folder):
            begun: list[_HalfWork] = []
            for video, halves in game.videos:
                for work in self._plan(number, game, video, halves):
                    begun.append(work)
                    damage = self._decode_half(work)
                    self._put(_HalfEnd(number, work, damage))
            # The folder is held until the last of its files is written.
            for work in begun:
                while not work.written.wait(_PATIENCE):
                    check_stop(self._stop)

    def _plan(
        self, number: int, game: Game, video: Path, halves: Sequence[Half]
    ) -> list[_HalfWork]:
        """What is to be done for a video; all that can be refused is refused here."""
        scanned = decoding.scan(video, self._stop)
        for note in scanned.notes:
            self._put(_Note(note))
        hashed = weights.digest(video, each_block=lambda: check_stop(self._stop))
        known = {(one.half, one.features): one for one in read_records(game.folder)}
        works = []
        for half in halves:
            record, wanted = self._make_record(scanned, half, hashed)
            target = game.folder / record.file
            previous = known.get((record.half, record.features))
            if target.is_file() and previous and _identity(previous) == _identity(record):
                self._put(_Planned(number, previous.rows, previous.rows))
                self._put(_Kept(number, previous))
                continue
            resumes = has_parts(target, _identity(record))
            if target.exists() and not resumes and not self._options.overwrite:
                raise InputError(
                    f"{target}: there already, made of another video or with other options; "
                    "--overwrite replaces it"
                )
            for note in record.notes[len(scanned.notes) :]:
                self._put(_Note(note))
            size = len(wanted) * record.dim * np.dtype(record.dtype).itemsize
            _check_space(game.folder, 2 * size)
            rows = PartialRows(target, _identity(record), record.dim, record.dtype)
            self._put(_Planned(number, len(wanted), rows.kept_rows))
            works.append(_HalfWork(number, game.folder, scanned, half, record, rows, wanted))
        return works

    def _make_record(self, scanned: Scan, half: Half, hashed: str) -> tuple[HalfRecord, np.ndarray]:
        options, network = self._options, self._network
        check_half(scanned, half, options.rule, FRAME_RATE)
        timeline = scanned.timeline
        wanted = choice.choose(timeline, options.rule, FRAME_RATE, half.start, half.end)
        notes = list(scanned.notes)
        name = f"{scanned.path}: half {half.number}"
        if timeline.picture_rate > FRAME_RATE and half.start * FRAME_RATE % 1 == 0:
            difference = choice.describe_difference(timeline, FRAME_RATE, half.start, half.end)
            if difference:
                notes.append(f"{name}: {difference}; --rule={options.rule} is used")
        elif timeline.picture_rate < FRAME_RATE:
            notes.append(
                f"{name}: {timeline.picture_rate:g} pictures per second; rows repeat pictures"
            )
        lost = scanned.missing if half.end is None else max(0.0, half.end - timeline.end)
        lost = lost if scanned.missing else 0.0
        if lost and half.end is not None:
            notes.append(f"{name}: its last {lost:.1f} s are not in the file")
        features = network.details.features
        record = HalfRecord(
            half=half.number,
            features=features,
            file=f"{half.number}_{features}.npy",
            rows=len(wanted),
            dim=network.feature_set.dim,
            dtype=options.dtype,
            frame_rate=FRAME_RATE,
            video=str(scanned.path),
            video_sha256=hashed,
            start=half.start,
            end=timeline.end if half.end is None else min(half.end, timeline.end),
            requested_end=half.end,
            rule=options.rule,
            columns=options.columns,
            network=dataclasses.asdict(network.details),
            lost_seconds=lost,
            notes=notes,
            versions={package: _version(package) for package in _PACKAGES},
        )
        return record, wanted

    def _decode_half(self, work: _HalfWork) -> Damage:
        damage = Damage()
        wanted = work.wanted[work.rows.kept_rows :]
        pictures = decoding.decode(work.scanned, wanted, damage, self._options.columns, self._stop)
        for batch in _batches(pictures, self._network.batch_size):
            self._put(_Batch(work, batch))
        return damage


def stream_rows(
    source: str | Path, network: FeatureNetwork, batch_size: int = 1, columns: int = 224
) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of features of a video as its pictures come in, chosen by their time stamps.

    On a file these are the rows that `extract_video` writes for it.

    Args:
      source: a file, "-" for standard input, or an address that FFmpeg can open (rtsp://...).
      network: see `network.load_network`.
      batch_size: rows that are waited for; 1 gives each as early as possible.
      columns: see `pictures.fit`.

    Yields:
      Number of the first row, and rows [n, P] float32; n is `batch_size`, or less at the end.

    Raises:
      InputError: no video.
    """
    first = 0
    pictures = decoding.stream(source, FRAME_RATE, columns)
    for batch in _batches(pictures, min(batch_size, network.batch_size)):
        yield first, np.asarray(network(batch))
        first += len(batch)


def _identity(record: HalfRecord) -> dict[str, Any]:
    """What makes two files of features the same."""
    network = {key: value for key, value in record.network.items() if key != "weights"}
    return {
        "video_sha256": record.video_sha256,
        "start": record.start,
        "requested_end": record.requested_end,
        "rule": record.rule,
        "columns": record.columns,
        "dtype": record.dtype,
        "frame_rate": record.frame_rate,
        "network": network,
    }


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: no space: the features need {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
            "free"
        )


def _batches(pictures: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Stacks pictures into batches of `size`; the last one may be smaller."""
    batch: list[np.ndarray] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
