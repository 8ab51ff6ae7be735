"""A small folder of matches in which every frame says which half and which frame it is."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CLASSES = ("Goal", "Foul", "Corner")
FRAME_RATE = 2.0
CHUNK_FRAMES = 8
FEATURES = "marks"
DIM = 4


def write_matches(
    root: Path, splits: dict[str, Sequence[Sequence[int]]], dtype: type = np.float32
) -> Path:
    """Writes games whose halves have the given numbers of frames; of each split, game by game.

    Features of a frame are (number of its half over all games, number of the frame, 1, -1).
    """
    rng = np.random.default_rng(0)
    names: dict[str, list[str]] = {}
    count = 0
    for split, games in splits.items():
        names[split] = [f"league/{split} {index}" for index in range(len(games))]
        for name, lengths in zip(names[split], games, strict=True):
            folder = root / name
            folder.mkdir(parents=True)
            annotations = []
            for number, length in enumerate(lengths, 1):
                np.save(folder / f"{number}_{FEATURES}.npy", marks(count, length).astype(dtype))
                count += 1
                for _ in range(3):
                    position = int(rng.integers(1000 * length / FRAME_RATE))
                    annotations.append(annotation(number, position, str(rng.choice(CLASSES[:2]))))
            write_labels(folder, annotations)
    description = {
        "name": "marked matches",
        "frame_rate": FRAME_RATE,
        "features": FEATURES,
        "feature_dim": DIM,
        "classes": CLASSES,
        "splits": names,
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def marks(half: int, num_frames: int) -> np.ndarray:
    """Features [N, 4] of half number `half` over all games."""
    frames = np.arange(num_frames)
    return np.stack(
        [np.full(num_frames, half), frames, np.ones(num_frames), -np.ones(num_frames)], axis=1
    )


def annotation(half: int, position: int, label: str) -> dict[str, str]:
    """An entry of a label file, `position` in ms."""
    seconds = position // 1000
    game_time = f"{half} - {seconds // 60:02d}:{seconds % 60:02d}"
    return {
        "gameTime": game_time,
        "label": label,
        "position": str(position),
        "visibility": "visible",
    }


def write_labels(folder: Path, annotations: list[dict[str, str]]) -> None:
    """Writes a game's label file."""
    content = {"UrlLocal": folder.name, "annotations": annotations}
    (folder / "Labels-v2.json").write_text(json.dumps(content))
