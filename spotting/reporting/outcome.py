"""What a finished experiment prints and draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spotting.base.logs import log
from spotting.reporting.games import MissingTruth
from spotting.reporting.runs import PICTURE_FILE, REPORT_FILE
from spotting.scoring.figures import format_scores


def present(
    title: str,
    workdir: Path,
    folders: Mapping[int, Path],
    results: Mapping[int, dict[str, Any]],
    is_new: bool = True,
) -> None:
    """Shows the figures, draws a half of the matches for each seed, and writes the report.

    Args:
      title: of the tables; default: the folder's name.
      workdir: the experiment's folder.
      folders: the run folder of each seed.
      results: what metrics.json holds, for each seed.
      is_new: whether pictures and report are to be made anew; else only those that are missing.
    """
    show(title or workdir.name, folders, results)
    scored = [folder for seed, folder in folders.items() if results[seed]]
    pictures = [folder for folder in scored if is_new or not (folder / PICTURE_FILE).exists()]
    reports = [workdir] if scored and (is_new or not (workdir / REPORT_FILE).exists()) else []
    if not pictures and not reports:
        return
    # The pictures' library takes a second to load.
    from spotting import report
    from spotting.reporting import snapshot

    log("")
    for folder in pictures:
        try:
            log(f"what was spotted when: {snapshot.write_snapshot(folder)}")
        except MissingTruth as error:
            log(f"no picture: {error}")
    for folder in reports:
        log(f"report: {report.write_report([folder], folder)}")


def show(title: str, folders: Mapping[int, Path], results: Mapping[int, dict[str, Any]]) -> None:
    """Prints each seed's table."""
    for seed, folder in folders.items():
        if not results[seed]:
            log(f"{folder}: trained; there is neither a test nor a validation split to score")
            continue
        split = "test" if "test" in results[seed] else "valid"
        print(f"\n{title}, seed {seed}: {folder}")
        print(format_scores(results[seed][split], split))
