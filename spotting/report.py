"""Writes what runs achieved as one HTML page and as Markdown, beside the paper's numbers.

  python -m spotting.report runs/table1 --output=reports/table1

DIR is a run directory, a folder of its seeds (seed_0, seed_1, ...), or a study: a folder of such
folders. Writes report.html (one file, works offline) and report.md (the tables) to --output, by
default to the first DIR. --model-card also writes a README.md into every finished run directory, in
the form that Hugging Face shows as a model's card.
"""

from pathlib import Path

from spotting.base import cli


def main() -> None:
    """Reads the command line."""
    parser = cli.Parser("python -m spotting.report", __doc__)
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--output", type=Path, help="folder to write to (default: the first DIR)")
    parser.add_argument("--model-card", action="store_true", help="write README.md in the runs")
    arguments = parser.parse_args()

    from spotting.reporting.model_card import write_model_card
    from spotting.reporting.report import write_report
    from spotting.reporting.runs import read_rows

    print(write_report(arguments.directories, arguments.output or arguments.directories[0]))
    if arguments.model_card:
        for row in read_rows(arguments.directories):
            for run in row.runs:
                print(write_model_card(run.path))


if __name__ == "__main__":
    cli.run(main)
