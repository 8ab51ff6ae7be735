"""How far an average-mAP could be another on other games: bootstrap over games.

Games are drawn with replacement, as many as there are, and scored as if they were the split. What
the score follows from are counts, which add up over games, so that a draw needs no matching.
"""

from collections.abc import Sequence

import numpy as np

from spotting.scoring import metrics
from spotting.scoring.metrics import Counts, Spots, Truths

DRAWS = 500
LEVEL = 0.95


def bootstrap_interval(
    truths: Truths,
    spots: Spots,
    games: Sequence[int],
    num_classes: int,
    tolerances: Sequence[float],
) -> tuple[float, float] | None:
    """The 95 % interval of the average-mAP of all actions, 0 to 1.

    Its ends are percentiles of 500 draws of games, the same in every call. A class that has truths
    in the split but none in a draw has no average precision there, and is left out of the draw's
    mean; classes without truths in the split count 0, as in the average-mAP itself.

    Args:
      truths: of the split.
      spots: of the split.
      games: of each half, the index of its game from 0 on.
      num_classes: K.
      tolerances: such as `metrics.LOOSE`.

    Returns:
      Low and high end; None for fewer than two games, which say nothing of others.
    """
    num_games = len(set(games))
    if num_games < 2 or not len(truths.unit):
        return None
    counts = metrics.count_by_game(truths, spots, games, num_classes, tolerances)
    generator = np.random.default_rng(0)
    draws = generator.multinomial(num_games, np.full(num_games, 1 / num_games), DRAWS)
    scores = score_draws(counts, draws)
    low, high = np.nanpercentile(scores, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def score_draws(counts: Counts, draws: np.ndarray) -> np.ndarray:
    """Average-mAP [B] of draws of games, NaN for a draw without any truth.

    Args:
      counts: of each game.
      draws: int [B, G], how often each game is in each draw.
    """
    weights = draws.astype(np.float32)  # sums of counts are exact in it up to 16 million

    def add_up(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1).astype(np.float32)
        return (weights @ flat).reshape(-1, *values.shape[1:]).astype(np.float64)

    predicted, existing = add_up(counts.predicted), add_up(counts.existing)
    curve = np.stack(
        [
            metrics.interpolate_precision(*metrics.divide(add_up(hits), predicted, existing))
            for hits in np.moveaxis(counts.hits, 1, 0)
        ]
    )
    per_class = metrics.average_over_tolerances(curve)
    drawn, there = existing[..., 0] > 0, counts.existing.sum(axis=0)[:, 0] > 0
    share = there.mean()  # of the classes that can have an average precision above 0
    with np.errstate(invalid="ignore"):
        return share * (per_class * drawn).sum(axis=1) / drawn.sum(axis=1)
