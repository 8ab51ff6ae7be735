"""Makes small data sets and run directories, so that the report has something to read.

The runs are no trainings: their spots are the labels, moved, dropped and mixed with false alarms.
"""

import json
from pathlib import Path

import numpy as np

from spotting.base.files import write_json_atomic
from spotting.data.annotations import RESULTS_FILE, Prediction, read_events, write_results
from spotting.data.dataset import describe_dataset
from spotting.scoring import metrics

CLASSES = ("Goal", "Foul", "Corner")


def make_dataset(root: Path, games: int = 2, seconds: float = 300.0) -> Path:
    """A data set of `games` labelled test games of two halves, 2 frames per second."""
    generator = np.random.default_rng(0)
    names = [f"league/2026/match {i}" for i in range(games)]
    for name in names:
        annotations = []
        for half in (1, 2):
            for position in np.sort(generator.uniform(0, 1000 * seconds, 24)).astype(int):
                minutes, rest = divmod(int(position) // 1000, 60)
                annotations.append(
                    {
                        "gameTime": f"{half} - {minutes:02d}:{rest:02d}",
                        "label": str(generator.choice(CLASSES)),
                        "position": str(position),
                        "visibility": str(generator.choice(["visible", "not shown"])),
                    }
                )
            (root / name).mkdir(parents=True, exist_ok=True)
            np.save(root / name / f"{half}_toy.npy", np.zeros((int(2 * seconds), 4), np.float16))
        write_json_atomic(root / name / "Labels-v2.json", {"annotations": annotations})
    description = {"name": "toy", "frame_rate": 2.0, "features": "toy", "feature_dim": 4}
    description |= {"classes": list(CLASSES), "splits": {"test": names}}
    write_json_atomic(root / "dataset.json", description)
    return root


def make_run(
    path: Path, root: Path, paper_row: str = "", seed: int = 0, skill: float = 0.7, note: str = ""
) -> Path:
    """A finished run directory; `skill`, from 0 to 1, is how good its spots are."""
    generator = np.random.default_rng([seed, int(1000 * skill)])
    dataset = describe_dataset(root)
    events = {game: read_events(dataset.labels_path(game)) for game in dataset.splits["test"]}
    scores = {}
    for folder, spread in (("results", 0.4), ("results_without_displacement", 1.3)):
        found = {
            game: _spots(in_game, dataset.classes, skill, spread, generator)
            for game, in_game in events.items()
        }
        for game, spots in found.items():
            write_results(path / folder / game / RESULTS_FILE, game, spots)
        variant = "with_displacement" if folder == "results" else "without_displacement"
        scores[variant] = _scores(events, found, dataset.classes)
    write_json_atomic(path / "metrics.json", {"test": scores, "valid": scores})
    config = {"data": {"root": str(root), "features": "", "test": "test"}, "paper_row": paper_row}
    config["training"] = {"epochs": 40, "chunks_per_epoch": 8192}
    write_json_atomic(path / "config.json", config | {"scale_note": note, "seeds": [seed]})
    write_json_atomic(path / "thresholds.json", dict.fromkeys(dataset.classes, 0.45))
    (path / "log.jsonl").write_text("\n".join(map(json.dumps, _log(skill, generator))) + "\n")
    return path


def _spots(events, classes, skill, spread, generator) -> list[Prediction]:
    spots = []
    for event in events:
        if event.label not in classes or generator.random() > 0.6 + 0.4 * skill:
            continue
        seconds = max(0.0, round(2 * generator.normal(event.position, spread / skill)) / 2)
        confidence = float(generator.beta(4 * skill + 1, 2))
        spots.append(Prediction(event.half, event.label, seconds, confidence))
    end = max(event.position for event in events)
    for half in (1, 2):
        for label in classes:
            for position in generator.uniform(0, end, int(end / 30)):
                confidence = float(generator.beta(1, 4 + 8 * skill))
                spots.append(Prediction(half, label, round(2 * position) / 2, confidence))
    return spots


def _scores(events, found, classes) -> dict:
    def halves(items):
        return [[e for e in items[game] if e.half == half] for game in events for half in (1, 2)]

    truths = metrics.truths_from_events(halves(events), classes)
    spots = metrics.spots_from_predictions(halves(found), classes)
    figures = {}
    per_class: dict[str, dict[str, float]] = {name: {} for name in classes}
    for kind, tolerances in (("loose", metrics.LOOSE), ("tight", metrics.TIGHT)):
        result = metrics.average_map(truths, spots, len(classes), tolerances)["all"]
        figures[kind] = 100 * result.map
        for name, value in zip(classes, result.per_class, strict=True):
            per_class[name][kind] = 100 * float(value)
    return figures | {"per_class": per_class}


def _log(skill, generator) -> list[dict]:
    entries = [{"kind": "start", "device": "cpu", "seed": 0, "revision": "abc1234"}]
    for model in ("confidence", "displacement"):
        for epoch in range(1, 41):
            loss = float(np.exp(-epoch / 12) + 0.3 - 0.1 * skill + generator.normal(0, 0.02))
            train = {"epoch": epoch, "loss": loss, "chunks_per_s": 100.0}
            entries.append({"kind": "train", "model": model, **train})
            if epoch % 5 == 0:
                score = float(skill * (1 - np.exp(-epoch / 9)) + generator.normal(0, 0.01))
                entries.append({"kind": "valid", "model": model, "epoch": epoch, "score": score})
    return entries
