"""The plots that show one method closely: classes, precision and recall, errors, learning."""

from collections.abc import Sequence

import numpy as np

from spotting.reporting import curves
from spotting.reporting.games import Truth
from spotting.reporting.measures import HIT_TOLERANCE
from spotting.reporting.runs import WITH, WITHOUT, ReportedRun, read_number
from spotting.reporting.study import MeasuredRow

_LOGGED = (
    ("train", "loss", "training loss", 1),
    ("valid", "score", "validation average-mAP (%)", 100),
)
_NAMES = {WITH: "with displacement", WITHOUT: "without displacement"}


def make_details(measured: MeasuredRow, truth: Truth | None) -> str:
    """Makes HTML with every plot that the row's files allow."""
    parts = [_show_classes(measured.row.runs)]
    if truth is not None and measured.measures[WITH]:
        parts += [
            _show_errors(measured),
            _show_precision_recall(measured, truth),
            _show_calibration(measured),
        ]
    parts.append(_show_learning(measured.row.runs))
    return "".join(parts)


def _make_keys(variants: Sequence[str]) -> str:
    css = {WITH: "s0", WITHOUT: "s1 dashed"}
    return curves.make_legend([(css[variant], _NAMES[variant]) for variant in variants])


def _over(runs: Sequence[ReportedRun], text: str = "Mean over seeds.") -> str:
    """A sentence about seeds, where there are several."""
    return f" {text}" if len(runs) > 1 else ""


def _variants(measured: MeasuredRow) -> list[str]:
    return [variant for variant, found in measured.measures.items() if found]


def _show_classes(runs: Sequence[ReportedRun]) -> str:
    drawn = []
    for kind in ("tight", "loose"):
        scores = {variant: _average_by_class(runs, variant, kind) for variant in (WITH, WITHOUT)}
        if scores[WITH]:
            pairs = {
                name: (score, scores[WITHOUT].get(name)) for name, score in scores[WITH].items()
            }
            drawn.append(curves.draw_classes(pairs, f"{kind} average AP (%)"))
    if not drawn:
        return ""
    return (
        "<h4>Average precision by class</h4>"
        f"<p>Filled: with displacement; hollow: without.{_over(runs)}</p>"
        f'<figure class="panels wide">{"".join(drawn)}</figure>'
    )


def _average_by_class(runs: Sequence[ReportedRun], variant: str, kind: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, score in run.class_scores(variant, kind).items():
            found.setdefault(name, []).append(score)
    return {name: float(np.mean(scores)) for name, scores in found.items()}


def _show_errors(measured: MeasuredRow) -> str:
    variants = _variants(measured)
    found = {_NAMES[variant]: measured.measures[variant] for variant in variants}
    return (
        "<h4>Temporal error of matched spots</h4>"
        "<p>The most confident spots of each class, as many as it has actions in truth."
        f"{_over(measured.row.runs, 'Mean count over seeds.')}</p>"
        f"{_make_keys(variants)}<figure>{curves.draw_errors(found)}</figure>"
    )


def _show_precision_recall(measured: MeasuredRow, truth: Truth) -> str:
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
        panels.append(curves.draw_precision_recall(name, lines, truths))
    return (
        f"<h4>Precision (%) against recall, tolerance {HIT_TOLERANCE} s</h4>"
        f"<p>{_over(measured.row.runs, 'A line for each seed.')}</p>{_make_keys(variants)}"
        f'<figure class="panels">{"".join(panels)}</figure>'
    )


def _show_calibration(measured: MeasuredRow) -> str:
    variants = _variants(measured)
    found = {_NAMES[variant]: measured.measures[variant] for variant in variants}
    together = ", all seeds together" if len(measured.row.runs) > 1 else ""
    return (
        "<h4>Are confidences probabilities?</h4>"
        "<p>Share of hits among the spots of each tenth of confidence, tolerance"
        f" {HIT_TOLERANCE} s{together}; on the diagonal a spot of confidence 0.7 is right in 70 %"
        " of the cases. Training weighs rare actions up, so that confidences are not meant to lie"
        f" on it.</p>{_make_keys(variants)}<figure>{curves.draw_calibration(found)}</figure>"
    )


def _show_learning(runs: Sequence[ReportedRun]) -> str:
    figures = []
    for model in ("confidence", "displacement"):
        panels = [
            curves.draw_learning(f"{model}: {name}", lines)
            for kind, quantity, name, scale in _LOGGED
            if (lines := _read_curves(runs, model, kind, quantity, scale))
        ]
        if panels:
            figures.append(f'<figure class="panels wide">{"".join(panels)}</figure>')
    if not figures:
        return '<p class="note">No learning curves: no log.jsonl with epochs.</p>'
    seeds = _over(runs, "A line for each seed.")
    return (
        f"<h4>Learning curves</h4><p>{seeds} The confidence model is validated by average-mAP over"
        " tolerances of 5 to 60 s, the displacement model over 1 to 10 s.</p>" + "".join(figures)
    )


def _read_curves(
    runs: Sequence[ReportedRun], model: str, kind: str, quantity: str, scale: float
) -> list[tuple[Sequence[int], Sequence[float], str]]:
    """Reads epochs and values of each run that logged them; of an epoch trained twice the last."""
    lines: list[tuple[Sequence[int], Sequence[float], str]] = []
    for run in runs:
        points = {
            int(epoch): scale * value
            for entry in run.log
            if (entry.get("model"), entry.get("kind")) == (model, kind)
            and (epoch := read_number(entry, "epoch")) is not None
            and (value := read_number(entry, quantity)) is not None
        }
        if points:
            epochs = sorted(points)
            lines.append((epochs, [points[epoch] for epoch in epochs], "s0 thin"))
    return lines
