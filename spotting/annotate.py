"""Labels a match from nothing, beside its video.

  python -m spotting.annotate --video=match.mp4 --classes=data/dataset.json \\
    --halves=0:05:12-0:51:40,1:07:03-1:55:00 --output=data/league/game

The same page as `review`, without spots: each class has a key. The command prints an address of
this machine; open it in a browser. Press ? there for the keys.

Writes to --output, a game's folder in a dataset
  Labels-v2.json         in SoccerNet's format, to train on
  review.json            the same with what the page needs; the same command resumes
  review_history.jsonl   every change
  exports/, clips/       with --export and --clips
"""

from argparse import SUPPRESS, Namespace
from pathlib import Path

from spotting.base import cli
from spotting.reporting.review import serve
from spotting.reporting.review.match import Match, place_halves, read_classes


def main() -> int:
    """Reads the command line and serves the page."""
    arguments = _parse()
    classes = read_classes(arguments.classes)
    videos = serve.read_videos(arguments.video)
    halves = place_halves(videos, arguments.halves, (), arguments.output)
    game = arguments.game or arguments.output.resolve().name
    match = Match(game, classes, videos, halves)
    return serve.run(arguments, arguments.output, match)


def _parse() -> Namespace:
    parser = cli.Parser("python -m spotting.annotate", __doc__)
    serve.add_arguments(parser)
    parser.add_argument("more_videos", type=Path, nargs="*", help=SUPPRESS)
    parser.add_argument(
        "--classes",
        type=Path,
        required=True,
        metavar="dataset.json",
        help="file, or its folder, with the list of classes",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="the game's folder"
    )
    parser.add_argument("--game", metavar="NAME", help="the game's name, default: its folder's")
    # Intermixed, so that --video=A B means what it looks like.
    arguments = parser.parse_intermixed_args()
    arguments.video += arguments.more_videos
    return arguments


if __name__ == "__main__":
    cli.run(main)
