"""Clips of spots: which pieces of which video, by what names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from spotting.data.exports import LAG, LEAD, HalfPlace, Moment
from spotting.video.clips import Clip, Span, cut_clips, file_name

CLIPS_FOLDER = "clips"


def write_clips(
    folder: Path,
    moments: Sequence[Moment],
    places: Mapping[int, HalfPlace],
    lead: float = LEAD,
    lag: float = LAG,
) -> list[Clip]:
    """Cuts videos around moments into `folder`/clips, in the order of the moments' times.

    Args:
      folder: of the game.
      moments: what to show, each from `lead` seconds before it to `lag` seconds after it.
      places: where each half lies; a video's path is that of its file.
      lead: see `moments`.
      lag: see `moments`.

    Raises:
      InputError: a video cannot be cut.
      OSError: a clip cannot be written.
    """
    ordered = sorted(moments, key=lambda moment: (moment.half, moment.position))
    spans: dict[str, list[Span]] = {}
    for number, (half, label, position, _) in enumerate(ordered, 1):
        place = places[half]
        seconds = place.start + position
        name = clip_name(number, half, position, label)
        span = Span(name, max(0.0, seconds - lead), seconds + lag)
        spans.setdefault(place.video.path, []).append(span)
    target = folder / CLIPS_FOLDER
    return [clip for path, cut in spans.items() for clip in cut_clips(Path(path), cut, target)]


def clip_name(number: int, half: int, position: float, label: str) -> str:
    """The name of a moment's clip, "0007_2_1305_Corner", by which files sort as moments do.

    Args:
      number: of the moment, in order of time.
      half: its half.
      position: in seconds from the start of the half.
      label: its class.
    """
    minutes, seconds = divmod(int(position), 60)
    return f"{number:04d}_{half}_{minutes:02d}{seconds:02d}_{file_name(label)}"
