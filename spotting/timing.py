"""Seconds outside, frames inside: every conversion between the two is in this module."""

import math

import numpy as np


def event_frame(seconds: float, frame_rate: float, num_frames: int) -> int:
    """Frame of an event at `seconds`: round-half-to-even, clamped to the half's last frame.

    This is how training targets are placed (yahoo/spivak); evaluation uses `evaluation_frame`.
    """
    return min(round(frame_rate * seconds), num_frames - 1)


def frame_at(seconds: float, frame_rate: float, num_frames: int) -> int:
    """Frame that began last at `seconds`, clamped to the half's last frame.

    At 2 frames per second this is where SoccerNet's evaluator places a truth, `evaluation_frame`.
    """
    # Whole milliseconds, as files hold them: 0.29 s * 100 would otherwise begin frame 28.
    return min(math.floor(round(1000 * seconds) * frame_rate / 1000), num_frames - 1)


def frames(seconds: float, frame_rate: float) -> float:
    """A duration in frames, not rounded: radii may fall between frames."""
    return seconds * frame_rate


def whole_frames(seconds: float, frame_rate: float) -> int:
    """A duration in whole frames, for chunk lengths and borders."""
    return round(seconds * frame_rate)


def border_frames(border: float, min_kept: float, frame_rate: float, chunk_frames: int) -> int:
    """Frames dropped on each side of a chunk's output.

    Args:
      border: in seconds (50 for testing, 20 for validation).
      min_kept: seconds of each chunk that are kept whatever the border.
      frame_rate: f.
      chunk_frames: T.
    """
    most = (chunk_frames - round(min_kept * frame_rate)) // 2
    return max(0, min(round(border * frame_rate), most))


def hard_nms_radius(window: float, frame_rate: float) -> int:
    """Frames removed on each side of a kept one by hard NMS; `window` is the full width in s."""
    return math.floor(window * frame_rate / 2)


def half_open_reach(window: float, frame_rate: float) -> tuple[int, int]:
    """Frames that the hard NMS of NetVLAD++ and CALF removes before and after a kept one.

    Of an even window it leaves out the last frame, so two kept ones may be half a window apart; of
    an odd one it removes two frames more before than after.

    Args:
      window: the full width in seconds, at least 2 frames.
      frame_rate: f.
    """
    width = math.floor(window * frame_rate)
    return -(-width // 2), width // 2 - 1


def soft_nms_radius(window: float, frame_rate: float) -> float:
    """Frames decayed on each side of a kept one by soft NMS; `window` is in seconds."""
    return window * frame_rate


def position_ms(frame: np.ndarray | int, frame_rate: float) -> np.ndarray:
    """Milliseconds from the start of the half, rounded half to even, as SoccerNet's files hold."""
    return np.rint(1000.0 * np.asarray(frame) / frame_rate).astype(np.int64)


EVALUATION_FRAME_RATE = 2.0
"""Frames per second at which SoccerNet's evaluator works, whatever the features' rate."""


def evaluation_frame(position: np.ndarray | int) -> np.ndarray:
    """SoccerNet's evaluation frame floor(2 * position / 1000) of a position in milliseconds."""
    return np.asarray(position, np.int64) * int(EVALUATION_FRAME_RATE) // 1000


def tolerance_frames(tolerance: float) -> int:
    """Greatest distance |spot - truth|, in evaluation frames, within a tolerance in seconds.

    A tolerance of d seconds is the full width of the interval: +-d/2 (SoccerNet's evaluator).
    """
    return math.floor(tolerance * EVALUATION_FRAME_RATE) // 2


def game_time(half: int, position: int) -> str:
    """SoccerNet's `gameTime`, "half - minutes:seconds", of a position in milliseconds."""
    seconds = round(position / 1000)
    return f"{half} - {seconds // 60}:{seconds % 60:02d}"


def clock(seconds: float) -> str:
    """Time as mm:ss.mmm."""
    total = round(seconds * 1000)
    return f"{total // 60000:02d}:{total // 1000 % 60:02d}.{total % 1000:03d}"
