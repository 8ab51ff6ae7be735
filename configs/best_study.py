"""Ideas of after the paper, each alone on the same base: DU+SAM+mixup on a folder of matches.

    python -m spotting.main --config=configs/best_study.py --config.data.root=DIR \
        --workdir=runs/best_study

    row              what it changes
    :base            nothing: configs/matches.py at a schedule at which it has settled
    :position        training events are placed by their milliseconds, on the nearest frame
    :evaluation      by their milliseconds, on the frame where the evaluator has them
    :gaussian        confidence targets fall off around an event
    :narrow          confidence targets of 1.5 s instead of 3 s
    :near            displacement targets of 3 s instead of 6 s
    :average         validated, saved and used are moving averages of the weights
    :augmented       features of the confidence model change by chance, anew in each step
    :kept            `KEPT`, added votes, soft suppression and fewer chunks: best_matches.py

Without an argument it is the study of all of them, three trainings each; with one it is that row
alone. What needs no training, votes and suppression, is tuned on the base's own predictions:

    python -m spotting.fuse runs/best_study/best_study_base/seed_0 --workdir=runs/soft_0 \
        --nms=soft --measure=both --decays linear quadratic gaussian \
        --displacement-scales 0.25 0.5 0.75 1 --vote-spreads 0 0.5 1 1.5 2

    python -m spotting.compare runs/best_study/best_study_base runs/best_study/best_study_*
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from configs import common, matches


def _place_by_position(config: ConfigDict) -> None:
    config.data.event_time = "position"


def _place_as_evaluated(config: ConfigDict) -> None:
    config.data.event_time = "evaluation"


def _shape_targets(config: ConfigDict) -> None:
    config.anchors.confidence_shape = "gaussian"


def _narrow_confidence(config: ConfigDict) -> None:
    config.anchors.confidence_radius = 1.5


def _narrow_displacement(config: ConfigDict) -> None:
    config.anchors.displacement_radius = 3.0


def _average_weights(config: ConfigDict) -> None:
    config.training.average_decay = 0.998


def _augment_features(config: ConfigDict) -> None:
    config.confidence.augmentation.update(
        repeat_frames=0.1, drop_frames=0.1, drop_features=0.1, shift_frames=0.5
    )


IDEAS: dict[str, Callable[[ConfigDict], None]] = {
    "position": _place_by_position,
    "evaluation": _place_as_evaluated,
    "gaussian": _shape_targets,
    "narrow": _narrow_confidence,
    "near": _narrow_displacement,
    "average": _average_weights,
    "augmented": _augment_features,
}
"""What each row changes in a config of the full method."""

KEPT: tuple[str, ...] = ("evaluation", "gaussian", "near", "average", "augmented")
"""The ideas of the best configs, by the validation split of the engine matches (BUILD_NOTES.md)."""

VOTE_SPREAD, DISPLACEMENT_SCALE = 0.75, 0.5
"""How their votes are added up, and how far displacements are followed, chosen there, too."""

WINDOW, DECAY = (12.0,), ("linear",)
"""Their soft suppression, likewise."""

LEAST_SCORE = 1e-3
"""What it drops: half of all spots, which neither average-mAP misses."""

BORDER = 45.0
"""Seconds of a chunk's output dropped on either side: half of the chunks of the paper's 50 s."""


def improve(config: ConfigDict) -> ConfigDict:
    """Puts what was kept into a config of the full method, which is then no row of the paper's."""
    for name in KEPT:
        IDEAS[name](config)
    config.postprocessing.update(
        nms="soft",
        soft_threshold=LEAST_SCORE,
        window=WINDOW,
        decay=DECAY,
        displacement_scale=DISPLACEMENT_SCALE,
        vote_spread=VOTE_SPREAD,
    )
    config.inference.border = BORDER
    config.paper_row = ""
    return config


def get_config(row: str | None = None) -> ConfigDict:
    if row is None:
        rows = ("base", *IDEAS, "kept")
        config = common.study(tuple(f"configs/best_study.py:{each}" for each in rows))
        config.seeds = (0, 1, 2)
        return config
    if row not in ("base", *IDEAS, "kept"):
        raise ValueError(f"unknown row {row!r}; one of base, {', '.join(IDEAS)}, kept")
    config = matches.get_config()
    config.training.epochs = 160
    if row == "kept":
        return improve(config)
    if row != "base":
        IDEAS[row](config)
    return config
