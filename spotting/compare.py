"""Compares runs with a base: gain in average-mAP, its spread over seeds, its interval over games.

Example, two rows of a study against a third:

    python -m spotting.compare runs/best_study/best_study_base runs/best_study/best_study_kept

Each is the folder of a run, or of several seeds of it. Games are drawn anew a thousand times, and
both runs are scored on the same draw: 95 % of the gains lie within [low, high]. A gain whose
interval holds 0 is one that these games do not show. Choose with --split=valid, report once with
the test split.
"""

from pathlib import Path

from spotting.base import cli


def main() -> None:
    """Reads the command line."""
    parser = cli.Parser("python -m spotting.compare", __doc__)
    parser.add_argument("base", type=Path, metavar="BASE", help="folder of a run or of its seeds")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the same")
    parser.add_argument("--split", choices=("test", "valid"), default="test", help="which games")
    flags = parser.parse_args()
    from spotting.reporting import comparison
    from spotting.reporting.runs import read_rows

    (base,) = read_rows([flags.base])
    others = [row for path in flags.runs for row in read_rows([path])]
    print(comparison.table(comparison.compare(base, others, flags.split)))


if __name__ == "__main__":
    cli.run(main)
