"""The figures that show one method closely: classes, precision and recall, errors, learning."""

import math
from collections.abc import Sequence

import numpy as np

from spotting.reporting import curves
from spotting.reporting.games import Truth
from spotting.reporting.measures import HIT_TOLERANCE
from spotting.reporting.runs import WITH, WITHOUT, Run
from spotting.reporting.study import MeasuredRow

_LOGGED = (
    ("train", "loss", "training loss", 1),
    ("valid", "score", "validation average-mAP (%)", 100),
)
_NAMES = {WITH: "with displacement", WITHOUT: "without displacement"}


def row_details(measured: MeasuredRow, truth: Truth | None) -> str:
    """HTML with every figure that the row's files allow."""
    parts = [_classes(measured.row.runs)]
    if truth is not None and measured.measures[WITH]:
        parts += [_errors(measured), _precision_recall(measured, truth), _calibration(measured)]
    parts.append(_learning(measured.row.runs))
    return "".join(parts)


def _keys(variants: Sequence[str]) -> str:
    css = {WITH: "s0", WITHOUT: "s1 dashed"}
    return curves.legend([(css[variant], _NAMES[variant]) for variant in variants])


def _variants(measured: MeasuredRow) -> list[str]:
    return [variant for variant, found in measured.measures.items() if found]


def _classes(runs: Sequence[Run]) -> str:
    drawn = []
    for kind in ("tight", "loose"):
        scores = {variant: _mean_by_class(runs, variant, kind) for variant in (WITH, WITHOUT)}
        if scores[WITH]:
            pairs = {
                name: (score, scores[WITHOUT].get(name)) for name, score in scores[WITH].items()
            }
            drawn.append(curves.class_dumbbells(pairs, f"{kind} average AP (%)"))
    if not drawn:
        return ""
    return (
        "<h4>Average precision by class</h4>"
        "<p>Filled: with displacement; hollow: without. Mean over seeds.</p>"
        f'<figure class="panels wide">{"".join(drawn)}</figure>'
    )


def _mean_by_class(runs: Sequence[Run], variant: str, kind: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, score in run.class_scores(variant, kind).items():
            found.setdefault(name, []).append(score)
    return {name: float(np.mean(scores)) for name, scores in found.items()}


def _errors(measured: MeasuredRow) -> str:
    variants = _variants(measured)
    found = {_NAMES[variant]: measured.measures[variant] for variant in variants}
    return (
        "<h4>Temporal error of matched spots</h4>"
        "<p>The most confident spots of each class, as many as it has actions in truth; mean count"
        f" over seeds.</p>{_keys(variants)}<figure>{curves.error_histogram(found)}</figure>"
    )


def _precision_recall(measured: MeasuredRow, truth: Truth) -> str:
    events = [event for half in truth.events for event in half]
    panels = []
    variants = _variants(measured)
    for k, name in enumerate(truth.dataset.classes):
        lines = [
            (run.precision[k], run.recall[k], css)
            for variant, css in ((WITHOUT, "s1 dashed thin"), (WITH, "s0 thin"))
            for run in measured.measures[variant]
        ]
        truths = sum(event.label == name for event in events)
        panels.append(curves.precision_recall(name, lines, truths))
    return (
        f"<h4>Precision (%) against recall, tolerance {HIT_TOLERANCE} s</h4>"
        f"<p>A line for each seed.</p>{_keys(variants)}"
        f'<figure class="panels">{"".join(panels)}</figure>'
    )


def _calibration(measured: MeasuredRow) -> str:
    variants = _variants(measured)
    found = {_NAMES[variant]: measured.measures[variant] for variant in variants}
    return (
        "<h4>Are confidences probabilities?</h4>"
        "<p>Share of hits among the spots of each tenth of confidence, tolerance"
        f" {HIT_TOLERANCE} s, all seeds together; on the diagonal a spot of confidence 0.7 is right"
        " in 70 % of the cases. Training weighs rare actions up, so that confidences are not meant"
        f" to lie on it.</p>{_keys(variants)}<figure>{curves.calibration(found)}</figure>"
    )


def _learning(runs: Sequence[Run]) -> str:
    figures = []
    for model in ("confidence", "displacement"):
        panels = [
            curves.learning_curve(f"{model}: {name}", lines)
            for kind, quantity, name, scale in _LOGGED
            if (lines := _logged(runs, model, kind, quantity, scale))
        ]
        if panels:
            figures.append(f'<figure class="panels wide">{"".join(panels)}</figure>')
    if not figures:
        return '<p class="note">No learning curves: no log.jsonl with epochs.</p>'
    return (
        "<h4>Learning curves</h4><p>A line for each seed. The confidence model is validated by"
        " average-mAP over tolerances of 5 to 60 s, the displacement model over 1 to 10 s.</p>"
        + "".join(figures)
    )


def _logged(
    runs: Sequence[Run], model: str, kind: str, quantity: str, scale: float
) -> list[tuple[Sequence[int], Sequence[float], str]]:
    """Epochs and values of each run that logged them; of an epoch trained twice the last."""
    lines = []
    for run in runs:
        points = {
            entry["epoch"]: scale * entry[quantity]
            for entry in run.log
            if (entry.get("model"), entry.get("kind")) == (model, kind)
            and math.isfinite(entry.get(quantity, math.nan))
        }
        if points:
            lines.append((*zip(*sorted(points.items()), strict=True), "s0 thin"))
    return lines
