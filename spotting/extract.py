"""Makes features of videos: the input of training and of `predict`.

Examples:

  python -m spotting.extract --video=match.mkv --output=features \\
      --halves=0:05:12-0:51:40,1:07:03-1:55:00
  python -m spotting.extract --video=SoccerNet --name='*_224p.mkv' --output=features \\
      --features=ResNET_TF2_PCA512
  python -m spotting.extract --video=SoccerNet --output=features --shard=0/8

writes <output>/<game>/{half}_{features}.npy, two rows a second, and extraction.json beside them. A
video named 1.mkv or 1_HQ.mkv is half 1 of the game that its folder is named after; any other is a
game by itself, whose halves --halves gives (the whole video is half 1 without it). What is there
already is kept; the same command resumes what was interrupted.

Features: EfficientNetLite0 needs no download. ResNET_TF2 and ResNET_TF2_PCA512 are SoccerNet's:
they need Keras's weights and SoccerNet's projection, which are downloaded unless --weights and
--pca give them.
"""

import contextlib
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spotting.base import cli
from spotting.base.errors import InputError

if TYPE_CHECKING:
    from spotting.video import Game


def main() -> int:
    """Reads the command line."""
    parser = cli.Parser("python -m spotting.extract", __doc__)
    add = parser.add_argument
    add("--video", nargs="+", action="extend", metavar="PATH", help="videos, or folders of them")
    list_help = "lines VIDEO<tab>HALVES<tab>GAME; the last two may be left out"
    add("--list", type=Path, metavar="FILE", help=list_help)
    add("--name", default="*", metavar="GLOB", help="which files of a folder, e.g. '*_224p.mkv'")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the features")
    add("--game", help="what to call the game of a single video; default: the file's name")
    add("--halves", metavar="START-END,...", help="places of the halves in a single video")
    add("--features", default="EfficientNetLite0", help="default: EfficientNetLite0")
    add("--weights", metavar="FILE", help="the network's weights; default: the published ones")
    add("--pca", metavar="PATH", help="folder of pca_512_TF2.pkl and average_512_TF2.pkl, or .npz")
    add("--dtype", default="float32", help="of the files, float32 (default) or float16")
    add("--precision", default="float32", help="of the computation, float32 (default) or bfloat16")
    rule_help = "how pictures are chosen: by their timestamps (default), or as soccernet counts"
    add("--rule", default="timestamps", help=rule_help)
    channels_help = "colours of ResNet's input: as soccernet has them (default), or imagenet"
    add("--channels", default="soccernet", help=channels_help)
    width_help = "columns of pictures of odd width: 224 (default), or 225 as SoccerNet has"
    add("--odd-width", type=int, default=224, help=width_help)
    add("--batch", type=int, default=0, help="pictures per device; default: 8 on a CPU, else 64")
    add("--decoders", type=int, default=1, help="videos that are decoded at once; default 1")
    add("--shard", default="0/1", metavar="I/N", help="every Nth game from number I (0..N-1) on")
    add("--overwrite", action="store_true", help="replace features that were made otherwise")
    return extract(parser.parse_args())


def extract(arguments: Namespace) -> int:
    """Extracts features as the command line says; returns the exit status."""
    from spotting import video
    from spotting.base.logs import ProgressLine, log
    from spotting.video.games import describe_progress, describe_record, find_games

    games = find_games(
        arguments.video or (),
        arguments.output,
        arguments.name,
        arguments.halves or "",
        arguments.game or "",
        arguments.list,
    )
    options = video.Options(
        rule=arguments.rule,
        dtype=arguments.dtype,
        columns=arguments.odd_width,
        overwrite=arguments.overwrite,
        decoders=arguments.decoders,
    )
    if arguments.batch < 0:
        raise InputError(f"--batch={arguments.batch}: at least 1")
    games = take_shard(games, arguments.shard)
    if not games:
        log(f"--shard={arguments.shard}: no games for this shard")
        return 0
    arguments.output.mkdir(parents=True, exist_ok=True)
    network = video.load_network(
        arguments.features,
        arguments.weights,
        arguments.pca,
        arguments.precision,
        arguments.channels,
        arguments.batch,
        log,
    )
    line = ProgressLine()
    failed = 0
    results = video.extract_games(
        games, network, options, log, lambda state: line.show(describe_progress(state))
    )
    with contextlib.closing(results):  # Keeps what was computed before a signal's last words.
        for result in results:
            if result.error is not None:
                if len(games) == 1:
                    raise result.error
                failed += 1
                log(f"error: {cli.as_line(result.error)}")
                continue
            for record in sorted(result.records, key=lambda one: one.half):
                print(describe_record(result.game.folder, record), flush=True)
    if failed:
        log(f"{failed} of {len(games)} games failed")
    return int(failed > 0)


def take_shard(games: Sequence["Game"], text: str) -> list["Game"]:
    """Every Nth game from number I on, of --shard=I/N; InputError if that is no shard."""
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and int(first) < int(count)):
        raise InputError(f"--shard={text}: write I/N with I from 0 to N-1, e.g. 0/8")
    return list(games[int(first) :: int(count)])


if __name__ == "__main__":
    cli.run(main)
