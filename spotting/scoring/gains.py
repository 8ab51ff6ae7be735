"""How much better one method is than another, and how sure that is with so few games.

Games are drawn anew, with replacement, and both methods are scored on the same draw. What the games
have in common, as that some are hard, then cancels, and what is left is the doubt in the gain.

Source: the paired bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.scoring import metrics
from spotting.scoring.metrics import Counts


class Gain(NamedTuple):
    """Average-mAP of one method over that of another, as a fraction.

    Attributes:
      mean: over seeds and all games.
      spread: standard deviation of the gain over seeds; NaN with one seed.
      low: end of the 95 % interval over games.
      high: its other end.
    """

    mean: float
    spread: float
    low: float
    high: float


def score_games(counts: Counts, times: np.ndarray) -> float:
    """The average-mAP of games, each counted so many times.

    Args:
      counts: of `metrics.count_by_game`.
      times: [G].
    """
    drawn = (np.tensordot(times, each, axes=1) for each in counts)
    curve = metrics.interpolate_precision(*metrics.divide(*drawn))
    return float(metrics.average_over_tolerances(curve).mean())


def measure_gain(
    base: Sequence[Counts], other: Sequence[Counts], draws: int = 1000, seed: int = 0
) -> Gain:
    """The gain of `other` over `base`, with what seeds and games leave in doubt.

    Args:
      base: counts by game of each seed.
      other: of the same seeds, in the same order, or of as many others.
      draws: of games, for the interval.
      seed: of the draws.
    """

    def find_gains(times: np.ndarray) -> np.ndarray:
        pairs = zip(base, other, strict=True)
        return np.array([score_games(b, times) - score_games(a, times) for a, b in pairs])

    count = len(base[0].hits)
    own = find_gains(np.ones(count))
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=draws)
    means = [find_gains(times).mean() for times in drawn]
    low, high = np.quantile(means, [0.025, 0.975])
    spread = float(own.std(ddof=1)) if len(own) > 1 else float("nan")
    return Gain(float(own.mean()), spread, float(low), float(high))
