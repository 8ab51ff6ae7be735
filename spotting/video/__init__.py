"""Phase 1 of the paper: from a match's video to rows of features, two per second.

`extract_video` writes files of features, `stream_rows` yields rows while a video is coming in, both
with a network from `load_network`. Nothing here knows of runs or configs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spotting.video.extraction import (
        Game,
        Options,
        Progress,
        extract_games,
        extract_video,
        stream_rows,
    )
    from spotting.video.halves import Half, parse_halves
    from spotting.video.network import FEATURES, FRAME_RATE, FeatureNetwork, load_network
    from spotting.video.record import HalfRecord, read_records

_MODULES = {
    "extraction": (
        *("Game", "Options", "Progress"),
        *("extract_games", "extract_video", "stream_rows"),
    ),
    "halves": ("Half", "parse_halves"),
    "network": ("FEATURES", "FRAME_RATE", "FeatureNetwork", "load_network"),
    "record": ("HalfRecord", "read_records"),
}

__all__ = [
    "FEATURES",
    "FRAME_RATE",
    "FeatureNetwork",
    "Game",
    "Half",
    "HalfRecord",
    "Options",
    "Progress",
    "extract_games",
    "extract_video",
    "load_network",
    "parse_halves",
    "read_records",
    "stream_rows",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: commands that only read halves or records do without JAX.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"spotting.video.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
