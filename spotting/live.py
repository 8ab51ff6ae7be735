"""Spots actions while a video is coming in.

Examples:

  python -m spotting.live --workdir=runs/demo_video --video=rtsp://camera/1 --delay=30 \\
      --threshold=auto --output=spots.jsonl
  ffmpeg ... -f matroska - | python -m spotting.live --workdir=runs/demo_video --video=-

Prints a line of JSON for each spot as soon as it is known, and appends it to --output:
  {"seconds": 312.5, "time": "05:12.500", "class": "Goal", "confidence": 0.93, "known_at": 342.0}
seconds and known_at count from the first picture that came in. A spot is known --delay seconds
after its moment at the latest. Without --delay spots wait until they are those that `predict`
finds in the whole video; the first line on stderr says how long that is. Ctrl-C ends it.
"""

import json
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from spotting import timing
from spotting.base import cli
from spotting.base.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spotting import Spot

_INTERRUPTED = 130
_STANDARD_INPUT = "-"


def main() -> int:
    """Reads the command line, spots as pictures come in."""
    parser = cli.Parser("python -m spotting.live", __doc__)
    add = parser.add_argument
    add("--workdir", type=Path, required=True, metavar="DIR", help="the run")
    add("--video", required=True, metavar="FILE|ADDRESS|-", help="a file, rtsp://..., or - (stdin)")
    add("--output", type=Path, metavar="FILE", help="lines are appended to it")
    add("--delay", type=float, metavar="SECONDS", help="default: as long as the best spots take")
    add("--step", type=float, default=2.0, metavar="SECONDS", help="between runs of the networks")
    threshold_help = "least confidence of a spot (default 0.5), or auto: the best of its class"
    add("--threshold", default="0.5", metavar="FLOAT|auto", help=threshold_help)
    add("--weights", metavar="FILE", help="of the extracting network, as extract's")
    add("--pca", metavar="PATH", help="as extract's")
    arguments = parser.parse_args()
    threshold = _read_threshold(arguments.threshold)
    source = arguments.video
    if source != _STANDARD_INPUT and "://" not in source and not Path(source).is_file():
        raise InputError(f"{source}: no such video")
    # JAX takes a second, which --help and a mistyped flag need not wait for.
    from spotting import Spotter
    from spotting.base.logs import log
    from spotting.video import FRAME_RATE, stream_rows

    spotter = Spotter.load(arguments.workdir)
    stream = spotter.stream(arguments.delay, threshold, arguments.step)
    network = spotter.load_feature_network(arguments.weights, arguments.pca, log)
    exact, delay = stream.exact_delay, arguments.delay
    if delay is None or delay >= exact:
        log(f"spots come about {exact:g} s after their moments, as exact as those of predict")
    else:
        log(f"spots come {delay:g} s after their moments at the latest; exact ones take {exact:g}")
    file: IO[str] | None = None
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        file = open(arguments.output, "a", encoding="utf-8")  # noqa: SIM115
    busy, count, interrupted = 0.0, 0, False
    size = max(1, timing.whole_frames(arguments.step, FRAME_RATE))
    try:
        rows = stream_rows(source, network, batch_size=size)
        while True:
            began = time.process_time()
            _, features = next(rows, (0, None))
            if features is None:
                break
            spots = stream.push(features)
            busy += time.process_time() - began
            count += _write(spots, stream.seconds, file)
    except KeyboardInterrupt:
        interrupted = True
    try:
        count += _write(stream.finish(), stream.seconds, file)
    finally:
        if file:
            file.close()
    seconds = stream.seconds
    cost = f", {busy / seconds:.2f} s of processor time per second of video" if seconds else ""
    ended = "interrupted: " if interrupted else ""
    log(f"{ended}{count} spots in {timing.clock(seconds)} of video{cost}")
    return _INTERRUPTED if interrupted else 0


def _read_threshold(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"--threshold={text}: a confidence, from 0 to 1, or auto")
    return value


def _write(spots: "Sequence[Spot]", now: float, file: IO[str] | None) -> int:
    """Prints spots and appends them; returns how many they are."""
    for spot in spots:
        entry = {
            "seconds": spot.seconds,
            "time": timing.clock(spot.seconds),
            "class": spot.label,
            "confidence": round(spot.confidence, 6),
            "known_at": now,
        }
        line = json.dumps(entry, ensure_ascii=False)
        print(line, flush=True)
        if file:
            file.write(line + "\n")
            file.flush()
    return len(spots)


if __name__ == "__main__":
    cli.run(main)
