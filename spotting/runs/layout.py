"""What a run folder holds, every file name once.

    config.json          the resolved config
    dataset.json         what the data was: classes, frame rate, features
    normalization.npz    what features are shifted and scaled by, if the config has them normalised
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
    README.md            the model card, as Hugging Face shows it

In the form in which a run is given away (published.py), model.safetensors stands for checkpoints/.

Nothing here needs JAX.
"""

from pathlib import Path

from spotting.base.errors import InputError

CONFIG = "config.json"
NORMALIZATION = "normalization.npz"
LOG = "log.jsonl"
TENSORBOARD = "tensorboard"
METRICS = "metrics.json"
THRESHOLDS = "thresholds.json"
RESULTS = "results"
RESULTS_WITHOUT_DISPLACEMENT = "results_without_displacement"
TIMELINE = "timeline.png"
REPORT = "report.html"
REPORT_TEXT = "report.md"
CARD = "README.md"
WEIGHTS = "model.safetensors"
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


def list_runs(folder: Path) -> list[Path]:
    """The run folders in a folder of several, such as a study's: one or two levels down."""
    patterns = (f"*/{CONFIG}", f"*/seed_*/{CONFIG}")
    return sorted(path.parent for pattern in patterns for path in folder.glob(pattern))


def check_results(path: Path) -> None:
    """Raises InputError for a run's folder where a folder of results is meant."""
    if (path / CONFIG).is_file() and (path / RESULTS).is_dir():
        raise InputError(
            f"{path}: a run's folder, with results of several kinds in it; name one of them, such "
            f"as {path / RESULTS}"
        )
    if runs := [run for run in list_runs(path) if (run / RESULTS).is_dir()]:
        raise InputError(
            f"{path}: a folder of {len(runs)} runs; name the results of one, such as "
            f"{runs[0] / RESULTS}"
        )


def list_seeds(workdir: Path) -> list[str]:
    """Names of the seeds' folders in the folder of a run of several seeds."""
    return sorted(path.parent.name for path in workdir.glob(f"seed_*/{CONFIG}"))
