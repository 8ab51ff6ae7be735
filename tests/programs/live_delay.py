"""Measures what live spotting loses: average-mAP by delay, beside that of whole halves.

    python tests/programs/live_delay.py RUN DATA [SPLIT] [DELAY ...]

RUN is a finished run, DATA its data set with feature files, SPLIT "test" unless given, delays are
in seconds (10, 30 and 50 unless given). Prints a line for each delay, with the processor time that
the two networks and the suppression take per second of video.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spotting import Spot, Spotter
from spotting.data.annotations import LABELS_FILE, Prediction, read_events
from spotting.data.dataset import describe_dataset
from spotting.evaluate import Games, score

MINUTE = 120  # frames that are pushed at once, at 2 per second


def main() -> None:
    run, data, *more = sys.argv[1:]
    split = more.pop(0) if more and not more[0].replace(".", "").isdecimal() else "test"
    spotter = Spotter.load(run)
    dataset = describe_dataset(Path(data))
    halves = [
        (game, number, np.load(path))
        for game in dataset.games(split)
        for number, path in dataset.find_halves(game).items()
    ]
    events = {game: read_events(dataset.root / game / LABELS_FILE) for game in dataset.games(split)}
    seconds = sum(len(features) for _, _, features in halves) / spotter.frame_rate

    def measure(name: str, spot: Callable[[np.ndarray], list[Spot]]) -> None:
        predictions: dict[str, list[Prediction]] = {game: [] for game in events}
        spot(halves[0][2])  # compiles
        began = time.process_time()
        for game, number, features in halves:
            predictions[game] += [Prediction(number, s[1], s[0], s[2]) for s in spot(features)]
        cost = 1000 * (time.process_time() - began) / seconds
        maps = score(Games(events, predictions), spotter.classes)
        loose, tight = (100 * maps[kind]["all"].map for kind in ("loose", "tight"))
        print(f"{name:22}{loose:7.1f}{tight:7.1f}{cost:9.2f}", flush=True)

    def follow(features: np.ndarray, delay: float | None) -> list[Spot]:
        stream = spotter.stream(delay)
        spots: list[Spot] = []
        for start in range(0, len(features), MINUTE):
            spots += stream.push(features[start : start + MINUTE])
        return spots + stream.finish()

    print(f"{len(halves)} halves\n{'':22}{'loose':>7}{'tight':>7}  ms per s")
    measure("whole halves", spotter.spot)
    for delay in map(float, more or ("10", "30", "50")):
        measure(f"delay {delay:g} s", lambda features, wait=delay: follow(features, wait))
    exact = spotter.stream().exact_delay
    measure(f"exact, delay {exact:g} s", lambda features: follow(features, None))


if __name__ == "__main__":
    main()
