"""Which pictures of a video become rows of features: by time stamps, or as SoccerNet counted.

Row k of a table at f rows per second shows the LAST picture before (k+1)/f seconds, which is what
SoccerNet's published features show, although labels and predictions place row k at k/f seconds.
Networks trained on those features have absorbed this lead of half a second; rows that showed the
picture at k/f would move every spot.

Both rules are functions of the time stamps alone, so that the rows are known before a picture is
decoded.
"""

import dataclasses

import numpy as np

SLACK = 0.0005
"""Seconds; containers round time stamps, Matroska to milliseconds."""

RULES = ("timestamps", "soccernet")


@dataclasses.dataclass(frozen=True)
class Timeline:
    """When the pictures of a video are shown.

    Attributes:
      times: [n] seconds since the first picture, ascending.
      picture_rate: the container's average rate, pictures per second.
      duration: the container's, in seconds to hundredths; sound counts, too.
    """

    times: np.ndarray
    picture_rate: float
    duration: float

    @property
    def end(self) -> float:
        """Seconds from the first picture to the end of the last."""
        return float(self.times[-1]) + 1 / self.picture_rate


def choose_by_time(
    timeline: Timeline, rate: float, start: float = 0.0, end: float | None = None
) -> np.ndarray:
    """Row k is the last picture before start + (k+1)/rate, for as long as there are pictures.

    Args:
      timeline: of the video.
      rate: rows per second.
      start: seconds into the video at which the half starts.
      end: seconds at which it ends; the video's end if None.

    Returns:
      [rows] indices of pictures, counted from zero. A picture may serve several rows.
    """
    last = timeline.end if end is None else min(end, timeline.end)
    num_rows = max(0, int(np.floor((last - start + SLACK) * rate)))
    limits = start + np.arange(1, num_rows + 1) / rate - SLACK
    # A gap at the start leaves nothing before the first limit but the first picture.
    return np.maximum(np.searchsorted(timeline.times, limits, side="left") - 1, 0)


def choose_by_count(
    num_pictures: int,
    picture_rate: float,
    duration: float,
    rate: float,
    start: float | None = None,
    length: float | None = None,
) -> tuple[np.ndarray, float]:
    """SoccerNet's own rule (class FrameCV of its package), which counts pictures.

    Pictures are counted from one; number i is taken where i mod (picture_rate/rate) < 1. Where the
    container promises three or more pictures beyond those that came, their rate is taken to be
    their number over the duration, which spreads the rows over the wrong times if it is the sound
    that is longer.

    Args:
      num_pictures: pictures that can be decoded.
      picture_rate: the container's average.
      duration: the container's, in seconds to hundredths.
      rate: rows per second.
      start: seconds, or None; it does not restart the count: the first row is the last picture
        before `start`, one row earlier than in a file that was cut there.
      length: seconds from `start`, or None.

    Returns:
      [rows] indices, counted from zero, and the rate of pictures that was used.
    """
    if int(duration * picture_rate) - (num_pictures + 1) > 1:
        picture_rate = (num_pictures + 1) / duration
    numbers = np.arange(1, num_pictures + 1)
    taken = np.mod(numbers.astype(np.float64), picture_rate / rate) < 1
    if start is not None:
        taken &= numbers >= picture_rate * start
        if length is not None:
            taken &= numbers <= picture_rate * (start + length)
    return numbers[taken] - 1, picture_rate


def choose(
    timeline: Timeline, rule: str, rate: float, start: float = 0.0, end: float | None = None
) -> np.ndarray:
    """The pictures of a half by one of RULES, as if the half had been cut into its own file.

    Args:
      timeline: of the video.
      rule: one of RULES. "soccernet" keeps its grid: `start` should be a multiple of 1/rate.
      rate: rows per second.
      start: seconds into the video at which the half starts.
      end: seconds at which it ends; the video's end if None.

    Returns:
      [rows] indices of pictures, counted from zero.
    """
    if rule == "timestamps":
        return choose_by_time(timeline, rate, start, end)
    if start == 0 and end is None:
        first = length = None
    else:
        # The row whose picture is the last before `start` belongs to the time before the half.
        first = start + 1 / rate
        length = None if end is None else end - first
    count = len(timeline.times)
    fps, duration = timeline.picture_rate, timeline.duration
    return choose_by_count(count, fps, duration, rate, first, length)[0]


def describe_difference(timeline: Timeline, rate: float, start: float, end: float | None) -> str:
    """Says how far the two rules are apart; an empty string where they agree.

    Args:
      timeline: of the video.
      rate: rows per second.
      start: seconds into the video at which the half starts.
      end: seconds at which it ends; the video's end if None.
    """
    ours = choose(timeline, "timestamps", rate, start, end)
    theirs = choose(timeline, "soccernet", rate, start, end)
    common = min(len(ours), len(theirs))
    if len(ours) == len(theirs) and np.array_equal(ours, theirs):
        return ""
    times = timeline.times
    apart = np.max(np.abs(times[ours[:common]] - times[theirs[:common]]), initial=0)
    text = f"rows by time stamps and by SoccerNet's counting differ by up to {apart:.2f} s"
    if len(ours) != len(theirs):
        text += f", {len(ours):,} rows against {len(theirs):,}"
    return text
