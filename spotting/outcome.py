"""What a finished experiment prints and draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spotting import evaluation
from spotting.logs import say


def present(
    title: str, workdir: Path, folders: Mapping[int, Path], results: Mapping[int, dict[str, Any]]
) -> None:
    """Shows the figures, draws a half of the test matches for each seed, and writes the report.

    Args:
      title: of the tables; default: the folder's name.
      workdir: the experiment's folder.
      folders: the run folder of each seed.
      results: what metrics.json holds, for each seed.
    """
    # The pictures' library takes a second to load.
    from spotting import report
    from spotting.reporting import snapshot

    show(title or workdir.name, folders, results)
    say("")
    for folder in folders.values():
        if (folder / "results").exists():
            say(f"what was spotted when: {snapshot.write_snapshot(folder)}")
    say(f"report: {report.write_report([workdir], workdir)}")


def show(title: str, folders: Mapping[int, Path], results: Mapping[int, dict[str, Any]]) -> None:
    """Prints each seed's table."""
    for seed, folder in folders.items():
        split = "test" if "test" in results[seed] else "valid"
        if split not in results[seed]:
            continue
        print(f"\n{title}, seed {seed}: {folder}")
        print(evaluation.table(results[seed][split], split))
