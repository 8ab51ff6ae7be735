"""What a finished experiment prints and draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spotting.base.files import hold_folder, remove_temporaries
from spotting.base.logs import log
from spotting.reporting.games import MissingTruth
from spotting.reporting.model_card import is_card, write_model_card
from spotting.runs.layout import CARD, REPORT, REPORT_TEXT, TIMELINE
from spotting.scoring.figures import format_scores


def present(
    title: str,
    workdir: Path,
    folders: Mapping[int, Path],
    results: Mapping[int, dict[str, Any]],
    is_new: bool = True,
) -> None:
    """Prints the metrics, draws a half of the matches for each seed, writes cards and report.

    A README.md that is no model card of this package's stays as it is.

    Args:
      title: Of the tables; default: the folder's name.
      workdir: The experiment's folder.
      folders: The run folder of each seed.
      results: What metrics.json holds, for each seed.
      is_new: Whether figures, model cards and report are to be made anew; else only those that are
        missing, or empty as a full disk leaves them.
    """
    show(title or workdir.name, folders, results)
    scored = [folder for seed, folder in folders.items() if results[seed]]
    figures = [folder for folder in scored if is_new or _lacks(folder / TIMELINE)]
    cards = [
        folder for folder in scored if _lacks(folder / CARD) or (is_new and is_card(folder / CARD))
    ]
    is_due = is_new or any(_lacks(workdir / name) for name in (REPORT, REPORT_TEXT))
    reports = [workdir] if scored and is_due else []
    if not figures and not reports and not cards:
        return
    # The plotting library takes a second to load.
    from spotting.reporting import report, snapshot

    log("")
    with hold_folder(workdir, wait=True):
        for folder in {*figures, *cards}:
            remove_temporaries(folder)
        for folder in figures:
            try:
                log(f"what was spotted when: {snapshot.write_snapshot(folder)}")
            except MissingTruth as error:
                log(f"no figure of a half: {error}")
        for folder in cards:
            log(f"model card: {write_model_card(folder)}")
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


def _lacks(path: Path) -> bool:
    return not path.is_file() or path.stat().st_size == 0
