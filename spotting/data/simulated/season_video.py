"""Writes a simulated season as video files, with labels, in SoccerNet-v2's layout.

    <root>/dataset.json
    <root>/<game>/1.mp4  2.mp4  Labels-v2.json

The files are H.264 of SoccerNet-v2's low-resolution size. Feature files come from an extractor that
sees nothing but their pictures; `dataset.json` names them already.

Each half is drawn from its own numbers, so that halves are drawn by several processes, and a season
that was interrupted keeps the files that are there.
"""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from spotting.base.errors import InputError
from spotting.base.files import atomic_file, write_json_atomic
from spotting.data.dataset import DESCRIPTION_FILE, HALVES
from spotting.data.simulated import drawing
from spotting.data.simulated.broadcast import FRAME_RATE, Broadcast, plan_broadcast
from spotting.data.simulated.play import Action, play_half
from spotting.data.simulated.season import (
    CLASSES,
    describe_season,
    is_described,
    make_annotation,
    name_game,
    write_labels,
)

VERSION = 1
"""Of the drawing: another one draws other pictures from the same seed."""

IDLE = 0.5
"""How long pauses and open play last: a short season needs many events a minute."""

KEY_FRAMES = 50
"""Pictures from one key frame of the video to the next; players can seek to these."""


class VideoHalf(NamedTuple):
    """A half that has been played and directed, but not drawn."""

    actions: tuple[Action, ...]
    broadcast: Broadcast


def plan_half(seed: int, index: int, half: int, duration: float) -> VideoHalf:
    """Plays and directs half 1 or 2, of at least `duration` seconds, of match `index`."""
    rng = np.random.default_rng([seed, index, half])
    play = play_half(rng, half, duration, IDLE)
    return VideoHalf(tuple(play.actions), plan_broadcast(play, rng))


def annotate_half(half: int, planned: VideoHalf) -> list[dict[str, str]]:
    """The half's events, as the entries of SoccerNet's `Labels-v2.json`."""
    return [
        make_annotation(half, action, planned.broadcast.is_live(action.time))
        for action in planned.actions
        if action.kind in CLASSES
    ]


def draw_half(seed: int, index: int, half: int, duration: float) -> Iterator[np.ndarray]:
    """The pictures of a half, RGBA, uint8 [H, W, 4], `FRAME_RATE` a second."""
    broadcast = plan_half(seed, index, half, duration).broadcast
    # Both halves of a match are played in one stadium, in the same kits.
    stadium = drawing.build_stadium(np.random.default_rng([seed, index]))
    for picture in broadcast.pictures(stadium):
        yield drawing.unpack(picture)


def encode(pictures: Iterator[np.ndarray], file: IO[bytes]) -> None:
    """Writes pictures, RGBA, uint8 [H, W, 4], as H.264 in MP4."""
    import av

    with av.open(file, "w", format="mp4") as container:
        options = {"preset": "ultrafast", "crf": "30", "g": str(KEY_FRAMES)}
        stream = container.add_stream("libx264", rate=Fraction(FRAME_RATE), options=options)
        stream.width, stream.height = drawing.PICTURE_WIDTH, drawing.PICTURE_HEIGHT
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # halves are drawn side by side
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        container.mux(stream.encode())


def write_half(path: Path, seed: int, index: int, half: int, duration: float) -> None:
    """Draws half 1 or 2 of match `index` into a video file, atomically."""
    for unfinished in path.parent.glob(f".{path.name}.*"):  # of a process that was killed
        unfinished.unlink()
    with atomic_file(path) as file:
        encode(draw_half(seed, index, half, duration), file)


def write_season_videos(
    root: str | os.PathLike,
    features: str,
    frame_rate: float,
    feature_dim: int,
    seed: int = 0,
    games: tuple[int, int, int] = (11, 2, 5),
    duration: float = 120.0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[Path]]:
    """Draws a season; files that are there already are kept.

    Args:
      root: the folder, made if it is not there.
      features: name of the feature files that an extractor will put beside the videos, of
      frame_rate: rows per second and
      feature_dim: values a row.
      seed: of the season.
      games: how many matches are for training, validation and test.
      duration: least length of a half in seconds; a half ends when what has begun is over.
      workers: processes that draw; as many as there are processors by default.
      progress: called with the number of files that are there, and that there will be.

    Returns:
      For each game its video files, one per half.

    Raises:
      InputError: the folder holds another data set or another season, or PyAV is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise InputError("drawing videos needs PyAV: pip install '.[video]'") from error
    root = Path(root)
    season = {
        "version": VERSION,
        "seed": seed,
        "games": list(games),
        "duration": duration,
        "features": features,
    }
    described = is_described(root / DESCRIPTION_FILE, season)
    names, files, todo = [], {}, []
    for index in range(sum(games)):
        annotations, goals = [], [0, 0]
        for half in HALVES:
            planned = plan_half(seed, index, half, duration)
            annotations += annotate_half(half, planned)
            for action in planned.actions:
                if action.kind == "Goal":
                    goals[action.team] += 1
        name = name_game(seed, index, (goals[0], goals[1]))
        names.append(name)
        files[name] = [root / name / f"{half}.mp4" for half in HALVES]
        for half, path in zip(HALVES, files[name], strict=True):
            if not path.exists():
                todo.append(functools.partial(write_half, path, seed, index, half, duration))
        if not described:
            (root / name).mkdir(parents=True, exist_ok=True)
            write_labels(root / name, name, annotations)
    if not described:
        # It comes before the videos, so that a folder never mixes two seasons.
        description = describe_season(
            "simulated_video_season", features, frame_rate, feature_dim, names, games
        )
        write_json_atomic(root / DESCRIPTION_FILE, {**description, "season": season})
    total = sum(map(len, files.values()))
    for done, _ in enumerate(_call_all(todo, workers or os.cpu_count() or 1), 1):
        if progress is not None:
            progress(total - len(todo) + done, total)
    return files


def _call_all(calls: Sequence[Callable[[], None]], workers: int) -> Iterator[None]:
    """Makes all calls, `workers` at a time, and yields after each."""
    if min(workers, len(calls)) <= 1:
        for call in calls:
            yield call()
        return
    # A fork of a process that runs JAX may hang.
    context = multiprocessing.get_context("spawn")
    workers_end, own_end = context.Pipe(duplex=False)
    with concurrent.futures.ProcessPoolExecutor(
        min(workers, len(calls)), context, _end_with, (workers_end,)
    ) as pool:
        try:
            for future in concurrent.futures.as_completed([pool.submit(call) for call in calls]):
                yield future.result()
        except BaseException:
            own_end.close()
            raise


def _end_with(connection: multiprocessing.connection.Connection) -> None:
    """Ends this worker when the other end of a pipe is closed, by its owner or by its owner's end.

    The terminal sends an interrupt to all; it is the owner's to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def await_end() -> None:
        with contextlib.suppress(EOFError, OSError):
            connection.recv()
        os._exit(1)

    threading.Thread(target=await_end, daemon=True).start()
