"""Finds and reads run directories: single runs, seeds of one row, whole studies."""

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spotting.base.errors import InputError
from spotting.base.files import read_object
from spotting.base.text_table import printable
from spotting.reporting import paper

WITH, WITHOUT = "with_displacement", "without_displacement"
"""The two kinds of post-processing, as metrics.json calls them."""

GUESSING, ORACLE = "guessing", "oracle"
"""What else metrics.json may hold: random confidences, and the truth as a model's output."""

"""What a finished run's folder gets."""

LARGEST = 1e100
"""Greater losses of a log are drawn as this: floats must not overflow on the way to a pixel."""

_TEXT_FIELDS = "scale_note", "paper_row"


@dataclass(frozen=True)
class ReportedRun:
    """One finished training: the contents of its run directory."""

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    log: tuple[dict[str, Any], ...] = ()
    thresholds: dict[str, float] | None = None  # of each class, the best on validation
    description: dict[str, Any] = field(default_factory=dict)  # dataset.json, if there is one

    @property
    def data_root(self) -> Path:
        """Folder of the matches; see `find_data_root`."""
        return find_data_root(self.path, self.config)

    @property
    def split(self) -> str:
        """Which split the metrics are of: "test", or "valid" where there is no other."""
        return "test" if "test" in self.metrics else "valid"

    def score(self, variant: str, kind: str) -> float | None:
        """Average-mAP in percent; None where the run did not measure it.

        Args:
          variant: WITH, WITHOUT, GUESSING or ORACLE.
          kind: "loose" or "tight".
        """
        return self.metrics.get(self.split, {}).get(variant, {}).get(kind)

    def interval(self, variant: str, kind: str) -> tuple[float, float] | None:
        """The 95 % interval (bootstrap over games) of `score`; None where there is none."""
        scores = self.metrics.get(self.split, {}).get(variant, {})
        ends = scores.get("interval", {}).get(kind)
        return None if ends is None else (ends[0], ends[1])

    def start(self, key: str) -> Any:
        """What the log says of the machine and the code that the training began on."""
        return next((entry.get(key) for entry in self.log if entry.get("kind") == "start"), None)

    def parameters(self, model: str) -> int | None:
        """Parameters of the "confidence" or "displacement" network; None if no log says."""
        counts = [
            entry.get("parameters")
            for entry in self.log
            if (entry.get("kind"), entry.get("model")) == ("model", model)
        ]
        return next((count for count in reversed(counts) if isinstance(count, int)), None)

    def epoch_seconds(self) -> float | None:
        """Time that 8,192 chunks took in training the confidence model; None without a log.

        The median over epochs, so that compilation does not count. Seeds that trained together
        share their time.
        """
        speeds = [
            speed
            for entry in self.log
            if (entry.get("kind"), entry.get("model")) == ("train", "confidence")
            and (speed := read_number(entry, "chunks_per_s"))
        ]
        return paper.CHUNKS_PER_EPOCH / float(np.median(speeds)) if speeds else None

    def wall_seconds(self) -> float | None:
        """Time from each start to the last line logged before the next one; None without a log.

        So interruptions do not count; work after the last line before one is lost, and not counted.
        """
        total, begin, last, known = 0.0, None, None, False
        for entry in self.log:
            time = _read_time(entry)
            if time is None:
                continue
            if entry.get("kind") == "start":
                total += (last - begin) if begin is not None and last is not None else 0.0
                begin = time
            known = known or begin is not None
            last = time
        if not known or begin is None or last is None:
            return None
        return max(0.0, total + last - begin)

    def class_scores(self, variant: str, kind: str) -> dict[str, float]:
        """Average precision of each class, percent, averaged over tolerances."""
        classes = self.metrics.get(self.split, {}).get(variant, {}).get("per_class", {})
        return {name: scores[kind] for name, scores in classes.items()}


@dataclass(frozen=True)
class ReportedRow:
    """The trainings (seeds) of one method, a row of the tables.

    `method` and `data` are what the tables' first two columns say: for a row that reproduces one of
    the paper's on its data set the paper's words; else the method and the data set's own name.
    """

    name: str
    paper_row: str
    path: Path
    runs: tuple[ReportedRun, ...]
    unfinished: tuple[str, ...] = ()  # one line for each seed that has no result, and why
    data: str = ""  # name of the data set, where it is not the paper's

    @property
    def method(self) -> str:
        """The method without what it was trained on."""
        return paper.split_name(self.paper_row)[0] if self.paper_row else self.name

    @property
    def trained_on(self) -> str:
        """The features of the paper, or the data set that stands in for them."""
        return self.data or paper.split_name(self.paper_row)[1]

    def summarize(self, variant: str, kind: str) -> "Summary | None":
        """Mean and standard deviation over seeds of an average-mAP; None if no seed has it."""
        scores = [run.score(variant, kind) for run in self.runs]
        return summarize([score for score in scores if score is not None])

    def interval(self, variant: str, kind: str) -> tuple[float, float] | None:
        """The 95 % interval of an average-mAP: of several seeds the means of its ends."""
        ends = [run.interval(variant, kind) for run in self.runs]
        known = [pair for pair in ends if pair is not None]
        if not known or len(known) < len(ends):
            return None
        low, high = np.mean(known, axis=0).tolist()
        return low, high


def is_any_of_paper(rows: Sequence[ReportedRow]) -> bool:
    """Whether a row reproduces one of the paper, so that its metrics belong beside ours."""
    return any(row.paper_row for row in rows)


def count_seeds(rows: Sequence[ReportedRow]) -> int:
    """The most trainings that a row has: with one alone nothing is a mean over seeds."""
    return max((len(row.runs) for row in rows), default=0)


class Summary(NamedTuple):
    """Mean over seeds and their sample standard deviation (None for a single seed)."""

    mean: float
    std: float | None
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.std is None else f"{self.mean:.1f} ± {self.std:.1f}"


def summarize(values: Sequence[float]) -> Summary | None:
    """Summary of one value per seed; None for none."""
    if not len(values):
        return None
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(float(np.mean(values)), std, len(values))


def find_data_root(path: Path, config: Mapping[str, Any]) -> Path:
    """Folder of a run's matches; simulated ones may lie beside the seeds, or beside the rows.

    Args:
      path: The run's folder.
      config: What its config.json holds.
    """
    if config["data"]["root"]:
        return Path(config["data"]["root"])
    seasons = [folder / "season" for folder in (path, *path.parents[:2])]
    return next((season for season in seasons if season.is_dir()), seasons[0])


def read_rows(directories: Sequence[Path]) -> list[ReportedRow]:
    """Reads every row below `directories`: each a run, a folder of seeds, or a study of such rows.

    Rows come in the order of the paper's tables, others after them by folder.

    Raises:
      InputError: a directory is none of these.
    """
    paths: list[Path] = []
    for directory in directories:
        if not directory.is_dir():
            raise InputError(f"no such directory: {directory}")
        found = [directory] if _is_row(directory) else _find_rows(directory)
        if not found:
            raise InputError(
                f"{directory} is no run directory: neither it nor its folders hold a config.json;"
                " name a folder that spotting.main wrote"
            )
        paths += [path for path in found if path not in paths]
    rows = [_read_row(path) for path in paths]
    order = {row.name: place for place, row in enumerate(paper.TABLE_1)}
    rows.sort(key=lambda row: order.get(row.paper_row, len(order)))
    return _make_names_distinct(rows)


def _find_rows(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if path.is_dir() and _is_row(path)]


def _find_seeds(directory: Path) -> list[Path]:
    found = [path for path in directory.glob("seed_*") if path.name[5:].isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _is_row(directory: Path) -> bool:
    return (directory / "config.json").is_file() or bool(_find_seeds(directory))


def read_run(path: Path) -> ReportedRun:
    """Reads the finished run in a run directory.

    Raises:
      InputError: its config.json, metrics.json, thresholds.json or dataset.json is missing, broken,
        or holds values of types that a run does not write.
    """
    config = _read_config(path)
    metrics = _read_json(path / "metrics.json")
    _check_metrics(path / "metrics.json", metrics)
    thresholds = path / "thresholds.json"
    limits = _read_json(thresholds) if thresholds.is_file() else None
    if limits is not None and not all(map(_is_number, limits.values())):
        raise InputError(f"{thresholds}: a threshold is no number; run --mode=evaluate again")
    description = path / "dataset.json"
    described = _read_json(description) if description.is_file() else {}
    return ReportedRun(path, config, metrics, read_log(path / "log.jsonl"), limits, described)


def _read_config(path: Path) -> dict[str, Any]:
    """What a run's config.json holds, sure to have what reports need, of the right types."""
    config = _read_json(path / "config.json")
    data: Any = config.get("data")
    training = config.get("training", {})
    texts = [config.get(name, "") for name in _TEXT_FIELDS]
    sound = (
        isinstance(data, dict) and {"root", "test"} <= data.keys() and isinstance(training, dict)
    )
    if sound:
        texts += [data.get(name, "") for name in ("root", "features", "train", "valid", "test")]
        counts = [training[name] for name in ("epochs", "chunks_per_epoch") if name in training]
        sound = all(isinstance(count, int) for count in counts)
    if not sound or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path / 'config.json'}: no config of a run; run the training again")
    return config


def _check_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Raises InputError where what reports read of metrics.json is of another type."""

    def fail(where: str) -> None:
        raise InputError(f"{path}: {printable(where)} is not as a run writes it; evaluate it again")

    def check(where: str, scores: Any) -> None:
        if not isinstance(scores, dict):
            fail(where)
        for kind in ("loose", "tight"):
            if kind in scores and not _is_number(scores[kind]):
                fail(f"{where}.{kind}")

    for split in ("valid", "test"):
        if split in metrics and not isinstance(metrics[split], dict):
            fail(split)
        for variant in (WITH, WITHOUT, GUESSING, ORACLE):
            if variant not in metrics.get(split, {}):
                continue
            where, scores = f"{split}.{variant}", metrics[split][variant]
            check(where, scores)
            classes, intervals = scores.get("per_class", {}), scores.get("interval", {})
            if not isinstance(classes, dict) or not isinstance(intervals, dict):
                fail(where)
            for name, values in classes.items():
                check(f"{where}.per_class.{name}", values)
                if not {"loose", "tight"} <= values.keys():
                    fail(f"{where}.per_class.{name}")
            for kind, ends in intervals.items():
                pair = isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))
                if kind in ("loose", "tight") and ends is not None and not pair:
                    fail(f"{where}.interval.{kind}")


def _is_number(value: Any) -> bool:
    # A JSON true is a Python int.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST


def read_number(entry: Mapping[str, Any], key: str) -> float | None:
    """A finite number of a log's line, limited to `LARGEST`; None where it is something else."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    if isinstance(value, float) and math.isinf(value):
        return None
    return float(max(-LARGEST, min(LARGEST, value)))


def _read_time(entry: Mapping[str, Any]) -> float | None:
    try:
        return datetime.datetime.fromisoformat(entry["time"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _read_row(path: Path) -> ReportedRow:
    runs, unfinished = [], []
    paper_row = ""
    for leaf in _find_seeds(path) or [path]:
        try:
            paper_row = paper_row or _read_config(leaf).get("paper_row", "")
            runs.append(read_run(leaf))
        except InputError as error:
            unfinished.append(str(error))
    name = paper_row or path.resolve().name
    return ReportedRow(name, paper_row, path, tuple(runs), tuple(unfinished))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path.parent}: no {path.name}; failed, or not finished")
    return read_object(path)


def read_log(path: Path) -> tuple[dict[str, Any], ...]:
    """Reads the objects of a log.jsonl; lines that are none are left out, a missing file is ().

    A kill may cut the last line short, and a full disk may leave bytes that are no text.
    """
    if not path.is_file():
        return ()
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entries.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return tuple(entry for entry in entries if isinstance(entry, dict))


def name_by_data(rows: Sequence[ReportedRow], data: str) -> list[ReportedRow]:
    """Names rows by the data set that they were trained on, where it is not the paper's.

    A row keeps its `paper_row`, which says whose place it takes; its name says the method and the
    data set, never features that the data set does not have.
    """
    named, seen = [], set()
    for row in rows:
        name = f"{row.method} on {data}" if row.paper_row else row.name
        if name in seen:
            name = f"{name} ({row.path})"
        seen.add(name)
        named.append(replace(row, name=name, data=data if row.paper_row else ""))
    return named


def _make_names_distinct(rows: list[ReportedRow]) -> list[ReportedRow]:
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


def scale_notes(rows: Sequence[ReportedRow], is_paper_data: bool = True) -> list[str]:
    """What makes the rows other than the paper's, each note once; empty at full scale.

    A row that was run by itself says less than its study, and what another note says too is left
    out. Seeds are counted as they are: of a study's some may be missing.

    Args:
      rows: What the title is to tell of.
      is_paper_data: Whether they are on the paper's data set. Only then is a run measured by the
        paper's epochs and seeds; on another one by what its study noted.
    """
    notes = dict.fromkeys(_scale_note(row, run, is_paper_data) for row in rows for run in row.runs)
    parts = {note: set(note.split(", ")) for note in notes if note}
    kept = [note for note, own in parts.items() if not any(own < other for other in parts.values())]
    counts = [len(row.runs) for row in rows if row.paper_row and row.runs]
    planned = paper.SEEDS if is_paper_data else max(map(_planned_seeds, rows), default=0)
    seeds = paper.seeds_note(min(counts), max(counts), planned) if counts else ""
    return [*kept, seeds] if seeds else kept


def _scale_note(row: ReportedRow, run: ReportedRun, is_paper_data: bool) -> str:
    """A run's own note, completed where it is to reproduce a row of the paper; without seeds."""
    own = [part for part in run.config.get("scale_note", "").split(", ") if part]
    training = run.config.get("training")
    if row.paper_row and training and is_paper_data:
        own += paper.scale_notes(training["epochs"], training["chunks_per_epoch"])
    return ", ".join(part for part in dict.fromkeys(own) if not part.endswith(" seeds"))


def _planned_seeds(row: ReportedRow) -> int:
    """Seeds of a full row as its study noted them, "2 of 5 seeds"; 0 where none did."""
    words = [
        part.split() for run in row.runs for part in run.config.get("scale_note", "").split(", ")
    ]
    return max(
        (int(each[-2]) for each in words if each[-1:] == ["seeds"] and each[-2].isdigit()),
        default=0,
    )
