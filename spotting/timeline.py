"""Makes a page of what any system spotted when, beside the labels if there are any.

  python -m spotting.timeline --predictions=results.zip --labels=DIR --output=timeline.html

The folder or zip file of predictions holds <game>/results_spotting.json, in SoccerNet's format. DIR
holds <game>/Labels-v2.json, and a dataset.json if the classes are not SoccerNet-v2's; with it the
games that have labels are shown, and which spots are hits. The page is one file and works offline.
"""

from pathlib import Path

from spotting.base import cli


def main() -> None:
    """Reads the command line."""
    parser = cli.Parser("python -m spotting.timeline", __doc__)
    parser.add_argument("--predictions", type=Path, required=True, metavar="DIR_OR_ZIP")
    parser.add_argument("--labels", type=Path, metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--title", default="What was spotted when", help="heading of the page")
    arguments = parser.parse_args()

    from spotting.base.errors import InputError
    from spotting.reporting.external import read_external_games
    from spotting.reporting.timeline import write_timeline_page
    from spotting.runs.layout import check_results

    if arguments.output.is_dir():
        raise InputError(f"{arguments.output}: a folder; --output names the page, such as t.html")
    check_results(arguments.predictions)
    games, classes = read_external_games(arguments.predictions, arguments.labels)
    write_timeline_page(arguments.output, games, classes, title=arguments.title)
    halves = sum(len(game.halves) for game in games)
    print(f"{arguments.output}: {len(games)} games, {halves} halves")


if __name__ == "__main__":
    cli.run(main)
