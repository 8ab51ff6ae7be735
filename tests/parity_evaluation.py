"""Checks of the evaluator: SoccerNet's figures, the official code's, and the vectors below both."""

import re

import numpy as np
from parity_report import Arrays, Folder, Report

from spotting.data import annotations
from spotting.scoring import metrics

TOLERANCES = {"loose": metrics.LOOSE, "medium": metrics.MEDIUM, "tight": metrics.TIGHT}
SUFFIXES = {"all": "", "visible": "_visible", "unshown": "_unshown"}
VECTORS = "soccernet_eval/vectors_fps2.npz"


def check_evaluation(folder: Folder, name: str, report: Report) -> None:
    expected = folder.arrays(name)
    classes = expected["class_order"].tolist()
    truths, spots = _read_games(folder, expected["games"].tolist(), classes)
    for case in sorted({key.split("/")[0] for key in expected if key.startswith("official_")}):
        which = case.removeprefix("official_")
        tolerances = TOLERANCES.get(which) or [int(which.removeprefix("at"))]
        ours = metrics.average_map(truths, spots, len(classes), tolerances)
        for kind, suffix in SUFFIXES.items():
            for key, value in (
                (f"{case}/a_mAP{suffix}", ours[kind].map),
                (f"{case}/a_mAP_per_class{suffix}", ours[kind].per_class),
            ):
                report.absolute(f"{name}/{key}", value, expected[key], 1e-6)

    vectors = folder.arrays(VECTORS)
    _check_vectors(vectors, truths, spots, report)
    truths, spots = _from_vectors(vectors)
    for key in expected:
        match = re.fullmatch(r"spivak_metric_on_official_vectors/(\w+)/([\w.]+)", key)
        if match is None:
            continue
        if match[1] == "map_per_tolerance_s":
            ours = metrics.map_by_tolerance(truths, spots, len(classes), [float(match[2])])[0]
        else:
            averages = metrics.average_map(truths, spots, len(classes), TOLERANCES[match[2]])
            ours = {
                "average_map": averages["all"].map,
                "class_average_ap": averages["all"].per_class,
            }
            ours = ours[match[1]]
        report.absolute(f"{name}/{key}", ours, expected[key], 1e-6)


def _read_games(
    folder: Folder, games: list[str], classes: list[str]
) -> tuple[metrics.Truths, metrics.Spots]:
    events, predictions = [], []
    for game in games:
        labels = folder.path(f"soccernet_eval/gt/{game}/{annotations.LABELS_FILE}")
        results = folder.path(f"soccernet_eval/pred/{game}/{annotations.RESULTS_FILE}")
        for half in (1, 2):
            events.append([e for e in annotations.read_events(labels) if e.half == half])
            predictions.append([p for p in annotations.read_results(results) if p.half == half])
    truths = metrics.truths_from_events(events, classes)
    return truths, metrics.spots_from_predictions(predictions, classes)


def _check_vectors(
    vectors: Arrays, truths: metrics.Truths, spots: metrics.Spots, report: Report
) -> None:
    for kind, table, value, none in (
        ("target", truths, np.where(truths.visible, 1, -1), 0),
        ("detection", spots, spots.score, -1),
    ):
        for key in vectors:
            if match := re.fullmatch(rf"{kind}_(\d+)", key):
                theirs = vectors[key]
                ours = np.full(theirs.shape, none, theirs.dtype)
                here = (table.unit == int(match[1])) & (table.frame < len(theirs))
                # Of several in one frame the last counts, as in this assignment.
                ours[table.frame[here], table.label[here]] = value[here]
                report.exact(f"{VECTORS}/{key}", ours, theirs)


def _from_vectors(vectors: Arrays) -> tuple[metrics.Truths, metrics.Spots]:
    truths, spots = [], []
    for key, vector in vectors.items():
        kind, unit = key.split("_")
        frame, label = np.nonzero(vector if kind == "target" else vector >= 0)
        rows = np.full(len(frame), int(unit)), frame, label, vector[frame, label]
        (truths if kind == "target" else spots).append(rows)
    unit, frame, label, sign = map(np.concatenate, zip(*truths, strict=True))
    return (
        metrics.Truths(unit, frame, label, sign > 0),
        metrics.Spots(*map(np.concatenate, zip(*spots, strict=True))),
    )
