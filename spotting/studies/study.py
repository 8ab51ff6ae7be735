"""A study: the rows of a table, each an experiment of its own, one after another.

A study's config (`study` in configs/common.py) lists the configs of its rows and says what to
change in all of them. Every row leaves a run folder, so an interrupted study goes on where it was,
and a row can be run, resumed and looked at alone.
"""

import importlib.util
import traceback
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from spotting import experiment
from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.base.files import write_text_atomic
from spotting.base.logs import log
from spotting.data.halves import open_dataset
from spotting.reporting import paper, report
from spotting.reporting.runs import summarize
from spotting.runs.config import check_config, flatten, is_free
from spotting.runs.setup import chunk_frames

# Has words of its own in a row's note, or leaves its figures as they are.
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
      spec: the row's config as --config takes it, FILE[:ARGUMENT]; a relative path counts from the
        working folder or from this project.
    """
    config = load_config(spec)
    own = flatten(config.to_dict())
    given = {
        name: value
        for name, value in flatten(study.to_dict()).items()
        if name in own and value is not None
    }
    config.update_from_flattened_dict(given)
    _resize(config.model, study.scale.width, study.scale.depth)
    changed = {name: value for name, value in given.items() if own[name] != value}
    notes = [config.scale_note, *_scale_notes(config, changed, study.scale)]
    config.scale_note = ", ".join(filter(None, notes))
    return config


def load_config(spec: str) -> ConfigDict:
    """The config that --config=`spec` names, FILE[:ARGUMENT]."""
    file, _, argument = spec.partition(":")
    path = Path(file)
    if not path.exists():
        path = Path(__file__).parents[1] / file
    if not path.is_file():
        raise InputError(f"config.rows names {file}, and there is no such file")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    try:
        return module.get_config(argument) if argument else module.get_config()
    except ValueError as error:
        raise InputError(f"config.rows names {spec}: {error}") from error


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


def _scale_notes(config: ConfigDict, changed: dict[str, Any], scale: ConfigDict) -> list[str]:
    """What makes a row smaller than the paper's, or other than its own config, in words."""
    notes = []
    if scale.width != 1:
        notes.append(f"{Fraction(scale.width).limit_denominator(64)} width")
    if scale.depth != 1:
        notes.append(f"transformers at {Fraction(scale.depth).limit_denominator(64)} depth")
    notes += paper.scale_notes(config.training.epochs, config.training.chunks_per_epoch)
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
    for name, error in errors.items():
        log(f"warning: {name} cannot run: {error}")


def _run_row(row: Row, folder: Path, mode: str) -> Outcome:
    try:
        return Outcome(row, experiment.run(row.config, folder, mode), "")
    except Exception as error:
        # Whatever it is, out of memory or a defect here, the other rows may still succeed.
        if parallel.is_process_0():
            write_text_atomic(folder / "traceback.txt", traceback.format_exc())
        reason = str(error).strip().splitlines() or [type(error).__name__]
        log(f"{row.name} failed: {reason[0]} (more in {folder / 'traceback.txt'})")
        return Outcome(row, {}, reason[0])


def table(outcomes: Sequence[Outcome]) -> str:
    """Mean and standard deviation over seeds of each row's average-mAP, in percent, as text.

    The figures are of the test split, of the validation split where there is no other.
    """
    names = [outcome.row.config.paper_row or outcome.row.name for outcome in outcomes]
    width = max(len("row"), *map(len, names)) + 2
    titles = "".join(f"{title:>14}" for title, _, _ in _COLUMNS)
    lines = [f"{'row':<{width}}{'seeds':>5}{titles}"]
    for name, outcome in zip(names, outcomes, strict=True):
        if outcome.error:
            cells = f"  failed: {outcome.error}"
        elif not outcome.results:
            cells = "  trained"
        else:
            scores = [each.get("test", each.get("valid")) for each in outcome.results.values()]
            cells = f"{len(scores):>5}" + "".join(
                f"{summarize([score[variant][kind] for score in scores])!s:>14}"
                for _, variant, kind in _COLUMNS
            )
        lines.append(f"{name:<{width}}{cells}")
    return "\n".join(lines)
