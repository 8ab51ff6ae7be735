"""Finds and reads run directories: single runs, seeds of one row, whole studies."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spotting.base.errors import InputError
from spotting.base.files import read_object
from spotting.reporting import paper

WITH, WITHOUT = "with_displacement", "without_displacement"
"""The two kinds of post-processing, as metrics.json calls them."""

REPORT_FILE, PICTURE_FILE = "report.html", "timeline.png"
"""What a finished run's folder gets."""


@dataclass(frozen=True)
class Run:
    """One finished training: the contents of its run directory."""

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    log: tuple[dict[str, Any], ...]
    thresholds: dict[str, float] | None  # of each class, the best on validation

    @property
    def data_root(self) -> Path:
        """Folder of the matches; simulated ones may lie beside the seeds, or beside the rows."""
        if self.config["data"]["root"]:
            return Path(self.config["data"]["root"])
        seasons = [folder / "season" for folder in (self.path, *self.path.parents[:2])]
        return next((season for season in seasons if season.is_dir()), seasons[0])

    @property
    def split(self) -> str:
        """Which split the figures are of: "test", or "valid" where there is no other."""
        return "test" if "test" in self.metrics else "valid"

    def score(self, variant: str, kind: str) -> float | None:
        """Average-mAP in percent; None where the run did not measure it.

        Args:
          variant: WITH, WITHOUT, or "guessing" for confidences drawn at random.
          kind: "loose" or "tight".
        """
        return self.metrics.get(self.split, {}).get(variant, {}).get(kind)

    def start(self, key: str) -> Any:
        """What the log says of the machine and the code that the training began on."""
        return next((entry.get(key) for entry in self.log if entry.get("kind") == "start"), None)

    def epoch_seconds(self) -> float | None:
        """Time that 8,192 chunks took in training the confidence model; None without a log.

        The median over epochs, so that compilation does not count. Seeds that trained together
        share their time.
        """
        speeds = [
            entry["chunks_per_s"]
            for entry in self.log
            if (entry.get("kind"), entry.get("model")) == ("train", "confidence")
            and entry.get("chunks_per_s")
        ]
        return paper.CHUNKS_PER_EPOCH / float(np.median(speeds)) if speeds else None

    def class_scores(self, variant: str, kind: str) -> dict[str, float]:
        """Average precision of each class, percent, averaged over tolerances."""
        classes = self.metrics.get(self.split, {}).get(variant, {}).get("per_class", {})
        return {name: scores[kind] for name, scores in classes.items()}


@dataclass(frozen=True)
class Row:
    """The trainings (seeds) of one method, a row of the tables."""

    name: str
    paper_row: str
    path: Path
    runs: tuple[Run, ...]
    unfinished: tuple[str, ...]  # one line for each seed that has no result, and why

    def spread(self, variant: str, kind: str) -> "Spread | None":
        """Mean and spread over the seeds of an average-mAP; None if no seed has it."""
        scores = [run.score(variant, kind) for run in self.runs]
        return spread([score for score in scores if score is not None])


def any_of_paper(rows: Sequence["Row"]) -> bool:
    """Whether a row reproduces one of the paper, so that its figures belong beside ours."""
    return any(row.paper_row for row in rows)


class Spread(NamedTuple):
    """Mean over seeds and their sample standard deviation (None for a single seed)."""

    mean: float
    std: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.std is None else f"{self.mean:.1f} ± {self.std:.1f}"


def spread(values: Sequence[float]) -> Spread | None:
    """Summary of one value per seed; None for none."""
    if not len(values):
        return None
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), std, len(values))


def read_rows(directories: Sequence[Path]) -> list[Row]:
    """Every row below `directories`: each a run, a folder of seeds, or a study of such rows.

    Rows come in the order of the paper's tables, others after them by folder.

    Raises:
      InputError: a directory is none of these.
    """
    paths: list[Path] = []
    for directory in directories:
        if not directory.is_dir():
            raise InputError(f"no such directory: {directory}")
        found = [directory] if _is_row(directory) else _study(directory)
        if not found:
            raise InputError(
                f"{directory} is no run directory: neither it nor its folders hold a config.json;"
                " name a folder that spotting.main wrote"
            )
        paths += [path for path in found if path not in paths]
    rows = [_read_row(path) for path in paths]
    order = {row.name: place for place, row in enumerate(paper.TABLE_1)}
    rows.sort(key=lambda row: order.get(row.paper_row, len(order)))
    return _distinct_names(rows)


def _study(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if path.is_dir() and _is_row(path)]


def _seeds(directory: Path) -> list[Path]:
    found = [path for path in directory.glob("seed_*") if path.name[5:].isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _is_row(directory: Path) -> bool:
    return (directory / "config.json").is_file() or bool(_seeds(directory))


def read_run(path: Path) -> Run:
    """The finished run in a run directory.

    Raises:
      InputError: its config.json or metrics.json is missing or broken.
    """
    config, metrics = (_read_json(path / name) for name in ("config.json", "metrics.json"))
    data = config.get("data")
    if not (isinstance(data, dict) and {"root", "test"} <= data.keys()):
        raise InputError(f"{path / 'config.json'}: no config of a run; run the training again")
    thresholds = path / "thresholds.json"
    limits = _read_json(thresholds) if thresholds.is_file() else None
    return Run(path, config, metrics, read_log(path / "log.jsonl"), limits)


def _read_row(path: Path) -> Row:
    runs, unfinished = [], []
    paper_row = ""
    for leaf in _seeds(path) or [path]:
        try:
            paper_row = paper_row or _read_json(leaf / "config.json").get("paper_row", "")
            runs.append(read_run(leaf))
        except InputError as error:
            unfinished.append(str(error))
    return Row(paper_row or path.resolve().name, paper_row, path, tuple(runs), tuple(unfinished))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path.parent}: no {path.name}; failed, or not finished")
    return read_object(path)


def read_log(path: Path) -> tuple[dict[str, Any], ...]:
    """The objects of a log.jsonl; a line cut short by a kill is left out, a missing file is ()."""
    if not path.is_file():
        return ()
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return tuple(entry for entry in entries if isinstance(entry, dict))


def _distinct_names(rows: list[Row]) -> list[Row]:
    """Of rows that reproduce one row of the paper the first stands in its place in the tables.

    The others follow under a name that tells their folder.
    """
    seen: set[str] = set()
    distinct = []
    for row in rows:
        if row.name in seen:
            row = replace(row, name=f"{row.name} ({row.path})", paper_row="")
        seen.add(row.name)
        distinct.append(row)
    return distinct


def scale_notes(rows: Sequence[Row]) -> list[str]:
    """What makes the rows other than the paper's, each note once; empty at full scale.

    A row that was run by itself says less than its study, and what another note says too is left
    out. Seeds are counted as they are: of a study's some may be missing.
    """
    notes = dict.fromkeys(_scale_note(row, run) for row in rows for run in row.runs)
    parts = {note: set(note.split(", ")) for note in notes if note}
    kept = [note for note, own in parts.items() if not any(own < other for other in parts.values())]
    counts = [len(row.runs) for row in rows if row.paper_row and row.runs]
    seeds = paper.seeds_note(min(counts), max(counts)) if counts else ""
    return [*kept, seeds] if seeds else kept


def _scale_note(row: Row, run: Run) -> str:
    """A run's own note, completed where it is to reproduce a row of the paper; without seeds."""
    own = [part for part in run.config.get("scale_note", "").split(", ") if part]
    training = run.config.get("training")
    if row.paper_row and training:
        own += paper.scale_notes(training["epochs"], training["chunks_per_epoch"])
    return ", ".join(part for part in dict.fromkeys(own) if not part.endswith(" seeds"))
