"""Data sets and configs of runs as small as they can be, for whoever needs one."""

from pathlib import Path

import numpy as np
import optax
from ml_collections import ConfigDict

from configs import common
from spotting import timing
from spotting.base.files import write_json_atomic
from spotting.data.annotations import LABELS_FILE
from spotting.data.dataset import DESCRIPTION_FILE

CLASSES = ("Goal", "Corner", "Throw-in")
SPLITS = {
    "train": ["league/2026/m0", "league/2026/m1", "league/2026/m2"],
    "valid": ["league/2026/m3"],
    # As SoccerNet's games are named.
    "test": ["league/2026/2026-05-02 - 18-30 Málaga 1 - 0 Köln"],
}
FEATURES, FRAME_RATE, FEATURE_DIM = "toy16", 2.0, 16


def write_dataset(root: Path, splits: dict[str, list[str]]) -> Path:
    """Writes a data set like `tiny_dataset` with other games; returns `root`."""
    generator = np.random.default_rng(0)
    for games in splits.values():
        for game in games:
            _write_game(root / game, generator)
    description = {"name": "tiny", "frame_rate": FRAME_RATE, "features": FEATURES}
    description |= {"feature_dim": FEATURE_DIM, "classes": list(CLASSES), "splits": splits}
    write_json_atomic(root / DESCRIPTION_FILE, description)
    return root


def tiny_config(root: Path) -> ConfigDict:
    """A training of seconds, with all that the method has."""
    config = common.get_config()
    config.data.update(root=str(root), features="")
    config.model.reduction = (16, 8)
    config.model.unet.levels = 2
    config.confidence.update(rho=0.2, mixup_alpha=1.0)
    config.displacement.rho = 0.2
    config.anchors.chunk = 16.0
    config.training.update(batch_size=8, chunks_per_epoch=16, epochs=2, validate_every=1)
    config.inference.segment_chunks = 4
    config.logging.progress = False
    return config


def _write_game(folder: Path, generator: np.random.Generator) -> None:
    """Noise, with a mark of its class in the features around every event."""
    folder.mkdir(parents=True)
    annotations = []
    for half in (1, 2):
        num_frames = 150 + int(generator.integers(-6, 7))
        features = generator.normal(size=(num_frames, FEATURE_DIM))
        for position in range(8000, 70000, 12000):
            position += int(generator.integers(0, 4000))
            k = int(generator.integers(len(CLASSES)))
            frame = timing.event_frame(position / 1000, FRAME_RATE, num_frames)
            features[frame - 2 : frame + 3, k] += 4
            annotations.append(
                {
                    "gameTime": timing.game_time(half, position),
                    "label": CLASSES[k],
                    "position": str(position),
                    "visibility": "visible",
                }
            )
        np.save(folder / f"{half}_{FEATURES}.npy", features.astype(np.float16))
    write_json_atomic(folder / LABELS_FILE, {"annotations": annotations})


def descend(tx, loss_and_grad, params, num_steps, state=None):
    """The state of an optimiser after some steps, and the parameters after each of them."""
    state = tx.init(params) if state is None else state
    path = []
    for _ in range(num_steps):
        loss, grads = loss_and_grad(params)
        updates, state = tx.update(grads, state, params, grad_fn=loss_and_grad, value=loss)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return state, path
