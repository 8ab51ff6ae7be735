"""How much better one method is than another, and how sure that is with so few games.

Games are drawn anew, with replacement, and both methods are scored on the same draw. What the games
have in common, as that some are hard, then cancels, and what is left is the doubt in the gain.

Source: the paired bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.scoring.intervals import score_draws
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


def draw_scores(counts: Sequence[Counts], draws: int = 1000, seed: int = 0) -> np.ndarray:
    """Average-mAP of a method's trainings on its games, and on draws of these.

    Args:
      counts: by game, of each of S trainings.
      draws: how many.
      seed: of the draws, which are the same for all methods with the same games.

    Returns:
      [S, 1 + draws], the games themselves first.
    """
    games = len(counts[0].hits)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(games, np.full(games, 1 / games), size=draws)
    times = np.concatenate([np.ones((1, games), int), drawn])
    return np.stack([score_draws(each, times) for each in counts])


def measure_gain(base: np.ndarray, other: np.ndarray) -> Gain:
    """The gain of `other` over `base`, with what seeds and games leave in doubt.

    Args:
      base: of `draw_scores`, [S, 1 + draws].
      other: of the same seeds, in the same order, or of as many others, on the same draws.
    """
    gains = other - base
    own, means = gains[:, 0], gains[:, 1:].mean(axis=0)
    low, high = np.nanquantile(means, [0.025, 0.975])
    spread = float(own.std(ddof=1)) if len(own) > 1 else float("nan")
    return Gain(float(own.mean()), spread, float(low), float(high))
