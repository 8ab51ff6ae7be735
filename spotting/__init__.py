"""Temporally precise action spotting in soccer video with dense detection anchors."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spotting.spotter import Spot, Spotter, VideoSpot

__all__ = ["Spot", "Spotter", "VideoSpot"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: JAX takes a second, and half of this package does without it.
    if name in __all__:
        from spotting import spotter as api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
