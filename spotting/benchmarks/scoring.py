"""What comes after the networks: displacement, suppression and average-mAP of a test split."""

import dataclasses
from collections.abc import Callable

import numpy as np

from spotting.benchmarks.device import median_seconds
from spotting.inference.postprocessing import Suppression, Votes, score_map
from spotting.scoring import metrics

GAMES, CLASSES, FRAMES, RATE = 100, 17, 5400, 2.0
PREDICTIONS = 2000  # a game
SPREAD = 0.75  # seconds, of added votes
_ACTIONS = 225  # a game, as in SoccerNet-v2


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Seconds for 100 games of 17 classes at 2 frames per second.

    Attributes:
      suppression: hard NMS of 20 s on 200 halves, transfers to and from the device included.
      displacement: what moving the confidences first adds to that.
      added_votes: what adding up their votes adds instead.
      soft_suppression: linear soft NMS of 12 s on the same confidences, instead of the hard one.
      average_map: loose and tight average-mAP of 2,000 predictions a game.
    """

    suppression: float
    displacement: float
    added_votes: float
    soft_suppression: float
    average_map: float


def measure(log: Callable[[str], None]) -> Scoring:
    """Measures all of them on random predictions."""
    rng = np.random.default_rng(0)
    log("suppression and displacement")
    confidence = rng.random((FRAMES, CLASSES), np.float32)
    displacement = rng.uniform(-12, 12, (FRAMES, CLASSES)).astype(np.float32)
    suppression = Suppression("hard", (20.0,))
    adding = dataclasses.replace(suppression, votes=Votes(SPREAD))
    decaying = Suppression("soft", (12.0,), 1e-3)

    def all_halves(shifts: np.ndarray | None, how: Suppression) -> None:
        for _ in range(2 * GAMES):
            score_map(confidence, shifts, RATE, how)

    without, greatest, added, soft = median_seconds(
        lambda: all_halves(None, suppression),
        lambda: all_halves(displacement, suppression),
        lambda: all_halves(displacement, adding),
        lambda: all_halves(None, decaying),
    )

    log("average-mAP")
    truth = metrics.Truths(*_places(rng, GAMES * _ACTIONS), np.ones(GAMES * _ACTIONS, bool))
    count = GAMES * PREDICTIONS
    spots = metrics.Spots(*_places(rng, count), rng.random(count))

    def score() -> None:
        for tolerances in (metrics.LOOSE, metrics.TIGHT):
            metrics.average_map(truth, spots, CLASSES, tolerances)

    (scored,) = median_seconds(score)
    return Scoring(without, greatest - without, added - without, soft, scored)


def _places(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half, frame and class of actions."""
    half, frame, label = (rng.integers(0, top, count) for top in (2 * GAMES, FRAMES, CLASSES))
    return half, frame, label
