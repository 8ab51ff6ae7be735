"""A study: the rows of a table, each an experiment of its own, one after another.

A study's config (`study` in configs/common.py) lists the configs of its rows and says what to
change in all of them. Every row leaves a run folder, so an interrupted study resumes,
and a row can be run, resumed and looked at alone.
"""

import contextlib
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from spotting import experiment
from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.base.files import hold_folder, write_text_atomic
from spotting.base.logs import log
from spotting.base.text_table import text_table
from spotting.data.halves import open_dataset
from spotting.reporting import paper, report
from spotting.reporting.runs import summarize
from spotting.runs.config import check_config, flatten, is_free
from spotting.runs.config_files import load_config
from spotting.runs.setup import chunk_frames

# Has words of its own in a row's note, or changes no score.
_NOT_NOTED = (
    "seeds",
    "training.epochs",
    "training.chunks_per_epoch",
    "inference.segment_chunks",
    "inference.save_predictions",
)
_COLUMNS = (
    ("loose", "with_displacement", "loose"),
    ("tight", "with_displacement", "tight"),
    ("loose w/o D", "without_displacement", "loose"),
    ("tight w/o D", "without_displacement", "tight"),
)


class Row(NamedTuple):
    """A row: the name of its folder, and its own config with the study's changes."""

    name: str
    config: ConfigDict


class Outcome(NamedTuple):
    """What became of a row: metrics.json of each seed, or why there is none."""

    row: Row
    results: dict[int, dict[str, Any]]
    error: str


def run(config: ConfigDict, workdir: Path, mode: str = "run") -> int:
    """Runs all rows, prints their means and spreads over seeds, and writes the report.

    A row that fails does not stop the others; the same command tries it again.

    Args:
      config: of `configs.common.study`.
      workdir: the study's folder; each row has a run folder in it, named as its config.
      mode: "train", "evaluate" or "run", as for an experiment.

    Returns:
      1 if a row failed, else 0.

    Raises:
      InputError: the study's config is unfit, or not a single row can run.
    """
    rows = [Row(row_name(spec), row_config(config, spec)) for spec in config.rows]
    _check(rows)
    outcomes = []
    for number, row in enumerate(rows, 1):
        log(f"\nrow {number} of {len(rows)}, {row.name}: {row.config.scale_note or 'full scale'}")
        outcomes.append(_run_row(row, workdir / row.name, mode))
    if parallel.is_process_0():
        print(f"\n{table(outcomes)}")
        if any(outcome.results for outcome in outcomes):
            with hold_folder(workdir, wait=True):
                print(report.write_report([workdir], workdir))
    return int(any(outcome.error for outcome in outcomes))


def row_name(spec: str) -> str:
    """The folder of a row: the stem of its config file and the argument."""
    file, _, argument = spec.partition(":")
    return "_".join(filter(None, (Path(file).stem, argument)))


def row_config(study: ConfigDict, spec: str) -> ConfigDict:
    """A row's own config with the study's changes, which `scale_note` puts in words.

    Args:
      study: of `configs.common.study`.
      spec: the row's config as --config takes it, FILE[:ARGUMENT].
    """
    try:
        config = load_config(spec)
    except InputError as error:
        raise InputError(f"config.rows names {error}") from error
    own = flatten(config.to_dict())
    given = {
        name: value
        for name, value in flatten(study.to_dict()).items()
        if name in own and value is not None
    }
    config.update_from_flattened_dict(given)
    _resize(config.model, study.scale.width, study.scale.depth)
    changed = {name: value for name, value in given.items() if own[name] != value}
    config.scale_note = ", ".join(_scale_notes(config, own, changed, study))
    return config


def _resize(model: ConfigDict, width: float, depth: float) -> None:
    """Makes a network narrower and a transformer shallower; attention heads keep their size."""
    if width <= 0 or depth <= 0:
        raise InputError(f"config.scale is {width} by {depth}; both must be greater than 0")
    # The projection stays: it would otherwise also take features that it leaves alone.
    model.reduction = tuple(max(1, round(width * units)) for units in model.reduction)
    sizes = model.transformer
    head_size = sizes.width // sizes.num_heads
    sizes.num_heads = max(1, round(width * sizes.num_heads))
    sizes.width = sizes.num_heads * head_size
    sizes.mlp_dim = max(1, round(width * sizes.mlp_dim))
    sizes.layers = max(1, round(depth * sizes.layers))


def _scale_notes(
    config: ConfigDict, own: dict[str, Any], changed: dict[str, Any], study: ConfigDict
) -> list[str]:
    """Says what makes a row smaller than the paper's, or other than its own config.

    Args:
      config: the row's, changed.
      own: the row's own values, by dotted name.
      changed: those that the study gave other values.
      study: of `configs.common.study`.
    """
    depth = study.scale.depth if config.model.trunk == "transformer" else 1.0
    notes = paper.multiply_sizes(config.scale_note, study.scale.width, depth)
    notes += paper.scale_notes(
        config.training.epochs,
        config.training.chunks_per_epoch,
        own["training.epochs"],
        own["training.chunks_per_epoch"],
    )
    for name, value in changed.items():
        if name not in _NOT_NOTED and not is_free(name):
            notes.append(f"{name}={value}")
    notes.append(paper.seeds_note(len(config.seeds), len(config.seeds)))
    return [note for note in notes if note]


def _check(rows: Sequence[Row]) -> None:
    """Says at the start which rows cannot run; raises if none can."""
    if len({row.name for row in rows}) < len(rows) or not rows:
        raise InputError("config.rows must name at least one config, and none of them twice")
    errors = {}
    for row in rows:
        try:
            check_config(row.config)
            if not row.config.data.simulated:
                data = row.config.data
                dataset = open_dataset(data.root or None, data.features or None)
                chunk_frames(row.config, data.resample or dataset.frame_rate)
        except InputError as error:
            errors[row.name] = error
    if len(errors) == len(rows):
        raise errors[rows[0].name]
    for name, reason in errors.items():
        log(f"warning: {name} cannot run: {reason}")


def _run_row(row: Row, folder: Path, mode: str) -> Outcome:
    try:
        return Outcome(row, experiment.run(row.config, folder, mode), "")
    except Exception as error:
        # Whatever it is, out of memory or a defect here, the other rows may still succeed.
        if parallel.is_process_0():
            with contextlib.suppress(OSError):  # Where the disk is full, the row's error says so.
                write_text_atomic(folder / "traceback.txt", traceback.format_exc())
        reason = str(error).strip().splitlines() or [type(error).__name__]
        log(f"{row.name} failed: {reason[0]} (more in {folder / 'traceback.txt'})")
        return Outcome(row, {}, reason[0])


def _summarize(scores: Sequence[Mapping[str, Any]], variant: str, kind: str) -> Any:
    """Mean and deviation over seeds, or a dash where the system has no such variant."""
    found = [score[variant][kind] for score in scores if variant in score]
    return summarize(found) if found else "-"


def table(outcomes: Sequence[Outcome]) -> str:
    """Mean and standard deviation over seeds of each row's average-mAP, in percent, as text.

    The scores are of the test split, of the validation split where there is no other.
    """
    names = [outcome.row.config.paper_row or outcome.row.name for outcome in outcomes]
    rows: list[tuple[str, ...] | str] = []
    for name, outcome in zip(names, outcomes, strict=True):
        if outcome.error:
            rows.append(f"{name}  failed: {outcome.error}")
        elif not outcome.results:
            rows.append(f"{name}  trained")
        else:
            scores: list[Any] = [
                each.get("test", each.get("valid")) for each in outcome.results.values()
            ]
            cells = [str(_summarize(scores, variant, kind)) for _, variant, kind in _COLUMNS]
            rows.append((name, str(len(scores)), *cells))
    return text_table(rows, ("row", "seeds", *(title for title, _, _ in _COLUMNS)))
