"""Shows a match's spots beside its video, to be corrected and exported.

  python -m spotting.review --spots=spots/league/game --video=match.mp4

DIR is a game's folder that `predict` wrote. The command prints an address of this machine; open it
in a browser. Press ? there for the keys. Where the halves lie in the video is taken from the
extraction.json beside the spots or in --extraction, or told by --halves, unless each half has a
--video of its own.

Writes to --output (by default the folder of the spots)
  review.json            every spot and what was decided about it; the same command resumes
  Labels-v2.json         what is confirmed, in SoccerNet's format, to train on
  review_history.jsonl   every change
  exports/, clips/       with --export and --clips
"""

from argparse import SUPPRESS, Namespace
from pathlib import Path

from spotting.base import cli
from spotting.data.exports import EXTRACTION_FILE
from spotting.reporting.review import serve
from spotting.reporting.review.match import (
    Match,
    choose_classes,
    place_halves,
    read_classes,
    read_spots,
)


def main() -> int:
    """Reads the command line, opens the review and serves its page."""
    arguments = _parse()
    folder, game, spots, digest = read_spots(arguments.spots)
    videos = serve.read_videos(arguments.video)
    classes = read_classes(arguments.classes) if arguments.classes else choose_classes(spots)
    extraction = arguments.extraction or folder
    if extraction.name == EXTRACTION_FILE:
        extraction = extraction.parent
    halves = place_halves(videos, arguments.halves, spots, extraction)
    match = Match(game, classes, videos, halves, tuple(spots))
    return serve.run(arguments, arguments.output or folder, match, digest, arguments.threshold)


def _parse() -> Namespace:
    parser = cli.Parser("python -m spotting.review", __doc__)
    parser.add_argument(
        "--spots", type=Path, required=True, metavar="DIR", help="folder of one game's spots"
    )
    serve.add_arguments(parser)
    parser.add_argument("more_videos", type=Path, nargs="*", help=SUPPRESS)
    parser.add_argument(
        "--extraction", type=Path, metavar="DIR", help=f"game's folder with an {EXTRACTION_FILE}"
    )
    parser.add_argument(
        "--classes", type=Path, metavar="dataset.json", help="classes to choose from"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: the folder of spots")
    parser.add_argument(
        "--threshold",
        type=_confidence,
        default=0.5,
        metavar="FLOAT",
        help="confidence from which on spots are shown at first, default 0.5",
    )
    # Intermixed, so that --video=A B means what it looks like.
    arguments = parser.parse_intermixed_args()
    arguments.video += arguments.more_videos
    return arguments


def _confidence(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


_confidence.__name__ = "confidence, 0 to 1,"


if __name__ == "__main__":
    cli.run(main)
