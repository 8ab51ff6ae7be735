"""What a run folder holds, every file name once.

    config.json          the resolved config
    dataset.json         what the data was: classes, frame rate, features
    log.jsonl            a line for each start, epoch and validation
    tensorboard/         the same as curves
    checkpoints/         confidence/ and displacement/, each with best/ and latest/
    metrics.json         scores of the splits, in percent
    thresholds.json      for each class the confidence of the best F1 on the validation split
    results/             <game>/results_spotting.json of the test split
    results_without_displacement/
    valid/               the same two folders of the validation split
    predictions/         <split>.npz: confidence and displacement of every frame
    timeline.png         what was spotted when, in one half
    report.html, report.md

Nothing here needs JAX.
"""

from pathlib import Path

CONFIG = "config.json"
LOG = "log.jsonl"
TENSORBOARD = "tensorboard"
METRICS = "metrics.json"
THRESHOLDS = "thresholds.json"
RESULTS = "results"
RESULTS_WITHOUT_DISPLACEMENT = "results_without_displacement"
TIMELINE = "timeline.png"
REPORT = "report.html"
REPORT_TEXT = "report.md"
PROFILE = "profile"
SEASON = "season"
"""Matches that a run simulates, where its config names no other folder."""


def locate_checkpoints(workdir: Path, kind: str) -> Path:
    """Folder of the checkpoints of one kind of model."""
    return workdir / "checkpoints" / kind


def locate_predictions(workdir: Path, split: str) -> Path:
    """File of the predictions for a split."""
    return workdir / "predictions" / f"{split}.npz"


def locate_split(workdir: Path, split: str) -> Path:
    """Folder that holds the results of a split: the test split's are in the run folder itself."""
    return workdir if split == "test" else workdir / split


def locate_seeds(workdir: Path, seeds: tuple[int, ...]) -> dict[int, Path]:
    """Run folder of each seed: `workdir` itself, or seed_<seed> in it where there are several."""
    if len(seeds) == 1:
        return {seeds[0]: workdir}
    return {seed: workdir / f"seed_{seed}" for seed in seeds}


def list_seeds(workdir: Path) -> list[str]:
    """Names of the seeds' folders in the folder of a run of several seeds."""
    return sorted(path.parent.name for path in workdir.glob(f"seed_*/{CONFIG}"))
