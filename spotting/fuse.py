"""Averages trained runs and tunes their post-processing, on the validation split.

Example, the average of two feature sets with soft suppression:

    python -m spotting.fuse runs/combination runs/resnet_pca --workdir=runs/fused --nms=soft

It works on what the runs predicted for the validation and test splits (predictions/*.npz), so it
needs no model and no features. One run alone has its suppression tuned. The result is a run folder
that evaluate, report and fuse take. Runs of different frame rates meet at the finer one.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.files import hold_folder, read_object, remove_temporaries, write_json_atomic
from spotting.base.logs import log
from spotting.base.text_table import text_table
from spotting.data.annotations import read_events
from spotting.data.dataset import Dataset, describe_dataset
from spotting.data.halves import Half
from spotting.inference.nms import DECAYS
from spotting.inference.postprocessing import MOST_SPREAD, Suppression
from spotting.reporting.runs import find_data_root
from spotting.runs import results
from spotting.runs.config import load_config, save_config
from spotting.runs.layout import METRICS, locate_predictions
from spotting.runs.predictions import load_predictions, save_predictions
from spotting.runs.setup import read_suppression, read_votes
from spotting.runs.systems import find_system
from spotting.scoring import windows
from spotting.scoring.figures import make_truths
from spotting.studies import fusion

_CANDIDATES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0)
_PSEUDO_EVENTS = 30.0
_START = {"hard": 20.0, "soft": 4.0}  # the windows of the paper and of its authors' later entry


class Member(NamedTuple):
    """A run that takes part."""

    path: Path
    config: ConfigDict
    dataset: Dataset
    frame_rate: float


class Split(NamedTuple):
    """The predictions of all members for a split, at one frame rate.

    Attributes:
      halves: with their events.
      logits: for each member the confidence logits [N, K] of each half.
      displacement: for each member the displacements [N, K], in frames, of each half.
    """

    halves: list[Half]
    logits: list[list[np.ndarray]]
    displacement: list[list[np.ndarray]]


def fuse(
    paths: Sequence[Path],
    workdir: Path,
    nms: str = "hard",
    tuning: str = "common",
    measure: str = "tight",
    candidates: Sequence[float] = _CANDIDATES,
    decays: Sequence[str] = ("linear",),
    pseudo_events: float = _PSEUDO_EVENTS,
    scales: Sequence[float] = (1.0,),
    spreads: Sequence[float] = (),
) -> dict[str, Any]:
    """Averages runs with weights, and suppresses with windows, that suit the validation split.

    Args:
      paths: run folders, of one data set.
      workdir: gets config.json, metrics.json, thresholds.json, results and predictions.
      nms: "hard" or "soft".
      tuning: of windows: "common" to all classes, "per_class", or "keep" the usual one.
      measure: average-mAP that decides, "loose", "tight" or "both".
      candidates: windows in seconds.
      decays: of soft suppression, each tried with each window.
      pseudo_events: see `windows.choose_per_class`.
      scales: of the displacements, each tried with each window and decay.
      spreads: of votes, in seconds, each tried with each of these; by default that of the run with
        the finest frame rate.

    Returns:
      What metrics.json holds.

    Raises:
      InputError: a folder is no run with predictions, or they are not of one data set.
    """
    if (
        any(workdir.resolve() == path.resolve() for path in paths)
        or (workdir / "checkpoints").exists()
    ):
        raise InputError(f"{workdir}: holds a trained run; choose another --workdir")
    if pseudo_events < 0:
        raise InputError(f"--pseudo-events is {pseudo_events:g}; it must be 0 or more")
    if not all(0 <= each <= 1 for each in scales):
        raise InputError("--displacement-scales must be between 0 and 1")
    if not all(0 <= each <= MOST_SPREAD for each in spreads):
        raise InputError(f"--vote-spreads must be between 0 and {MOST_SPREAD:g}")
    members = [_member(path) for path in paths]
    finest = max(members, key=lambda member: member.frame_rate)
    classes, rate = finest.dataset.classes, finest.frame_rate
    for member in members:
        if (member.dataset.name, member.dataset.classes) != (finest.dataset.name, classes):
            raise InputError(
                f"{member.path}: on {member.dataset.name}, but {finest.path} is on "
                f"{finest.dataset.name}, or on other classes of it; fuse runs of one data set"
            )
        if any(spreads) and find_system(member.config):
            raise InputError(f"{member.path}: its system has no votes; leave --vote-spreads out")

    valid = _read(members, finest, "valid")
    truth = make_truths(valid.halves, classes)
    votes = read_votes(finest.config)
    start = Suppression(nms, (_START[nms],), votes=votes)

    def score(
        logits: Sequence[np.ndarray],
        displacement: Sequence[np.ndarray],
        suppression: Suppression = start,
    ) -> float:
        confidence = [fusion.confidences(half) for half in logits]
        return windows.average_map(confidence, displacement, truth, rate, suppression, measure).map

    alone = [score(*each) for each in zip(valid.logits, valid.displacement, strict=True)]
    leader = int(np.argmax(alone))
    weights = fusion.find_weights(
        valid.logits, lambda logits: score(logits, valid.displacement[leader])
    )
    suppression, scale = start, 1.0
    if tuning != "keep":
        averaged = [fusion.confidences(half) for half in fusion.average(valid.logits, weights)]
        tried = windows.list_candidates(nms, candidates, decays)
        tried_votes = [dataclasses.replace(votes, spread=spread) for spread in spreads] or [votes]
        found = {}
        for each, by in itertools.product(tried_votes, scales):
            scaled = _scale(valid.displacement[leader], by)
            found[each, by] = windows.score_candidates(
                averaged, scaled, truth, rate, nms, tried, measure, each
            )
        votes, scale = max(found, key=lambda each: found[each].mean(axis=1).max())
        scores = found[votes, scale]
        chosen: Sequence[windows.Candidate] = [windows.choose_common(scores, tried)]
        if tuning == "per_class":
            events = windows.count_events(truth, len(classes))
            chosen = windows.choose_per_class(scores, tried, events, pseudo_events)
        suppression = windows.make_suppression(nms, chosen, votes=votes)

    # Each run as it is, its own suppression included, is a candidate, too.
    own = [read_suppression(member.config, len(classes)) for member in members]
    as_they_are = [
        score(logits, displacement, with_own)
        for logits, displacement, with_own in zip(
            valid.logits, valid.displacement, own, strict=True
        )
    ]
    best = int(np.argmax(as_they_are))
    fused = fusion.average(valid.logits, weights)
    ours = score(fused, _scale(valid.displacement[leader], scale), suppression)
    if as_they_are[best] > ours:
        log(
            f"nothing helped: on the validation split no average and no window tried gives a "
            f"better {measure} average-mAP than {paths[best]} as it is, which is taken"
        )
        leader, suppression, weights = best, own[best], np.eye(len(members))[best]
        scale = 1.0

    config = finest.config.copy_and_resolve_references()
    config.postprocessing.update(
        nms=suppression.kind,
        window=suppression.windows,
        soft_threshold=suppression.threshold,
        decay=suppression.decays,
        vote_spread=suppression.votes.spread,
        vote_rate=suppression.votes.rate,
        displacement_scale=scale * members[leader].config.postprocessing.displacement_scale,
    )
    # What an event's votes add up to follows from these.
    config.anchors.update(
        confidence_radius=suppression.votes.radius, confidence_shape=suppression.votes.shape
    )
    config.paper_row = ""
    config.fusion = {
        "runs": [str(path) for path in paths],
        "weights": weights.tolist(),
        "displacement": str(paths[leader]),
        "measure": measure,
    }
    with hold_folder(workdir):
        remove_temporaries(workdir, recursive=True)
        save_config(config, workdir)
        result = {}
        for name in ("valid", "test"):
            if config.data[name] not in finest.dataset.splits:
                continue
            split = valid if name == "valid" else _read(members, finest, name)
            confidence = [
                fusion.confidences(half) for half in fusion.average(split.logits, weights)
            ]
            displacement = _scale(split.displacement[leader], scale)
            save_predictions(workdir, name, split.halves, confidence, displacement)
            folder = workdir if name == "test" else workdir / name
            result[name], spots = results.score_split(
                folder,
                split.halves,
                classes,
                rate,
                confidence,
                displacement,
                read_suppression(config, len(classes)),
            )
            if name == "valid":
                tolerance = config.postprocessing.f1_tolerance
                results.write_thresholds(workdir, truth, spots, classes, tolerance)
        write_json_atomic(workdir / "metrics.json", result)
    return result


def _member(path: Path) -> Member:
    config = load_config(path)
    if not (path / "metrics.json").is_file():
        raise InputError(f"{path}: metrics.json is missing; run it with --mode=evaluate")
    root = find_data_root(path, config.to_dict())
    dataset = describe_dataset(root, config.data.features or None)
    return Member(path, config, dataset, config.data.resample or dataset.frame_rate)


def _read(members: Sequence[Member], finest: Member, name: str) -> Split:
    """All members' predictions for a split, at the rate and the lengths of the finest."""
    found = [load_predictions(member.path, name) for member in members]
    lengths = {half: len(one.confidence) for half, one in found[members.index(finest)].items()}
    for member, ours in zip(members, found, strict=True):
        if ours.keys() != lengths.keys():
            raise InputError(
                f"{locate_predictions(member.path, name)}: not the same matches as {finest.path}"
            )
    dataset = finest.dataset
    halves = []
    for (game, number), num_frames in lengths.items():
        events = tuple(
            event
            for event in read_events(dataset.labels_path(game))
            if event.half == number and event.label in dataset.classes
        )
        halves.append(Half(game, number, dataset.half_path(game, number), num_frames, events))

    logits, displacement = [], []
    for member, ours in zip(members, found, strict=True):
        rates = member.frame_rate, finest.frame_rate
        scale = np.float32(rates[1] / rates[0])
        logits.append(
            [
                fusion.at_rate(fusion.logits(ours[half].confidence), *rates, num_frames)
                for half, num_frames in lengths.items()
            ]
        )
        displacement.append(
            [
                fusion.at_rate(scale * ours[half].displacement, *rates, num_frames)
                for half, num_frames in lengths.items()
            ]
        )
    return Split(halves, logits, displacement)


def _scale(displacement: Sequence[np.ndarray], factor: float) -> list[np.ndarray]:
    return [factor * half for half in displacement]


def _table(paths: Sequence[Path], workdir: Path, result: dict[str, Any]) -> str:
    """Each run as it was, beside what came of them, as text."""
    config = load_config(workdir)
    titles = [title for split in result for title in (f"{split} loose", "tight")]
    rows = []
    weights = [f"{weight:.2f}" for weight in config.fusion.weights]
    for path, weight in zip((*paths, workdir), (*weights, ""), strict=True):
        scores = read_object(path / METRICS)
        values = [scores[split]["with_displacement"] for split in result]
        cells = [f"{each[kind]:.1f}" for each in values for kind in ("loose", "tight")]
        rows.append((str(path), weight, *cells))
    lines = [text_table(rows, ("average-mAP", "weight", *titles))]
    chosen = config.postprocessing
    seconds = ", ".join(f"{window:g}" for window in chosen.window)
    shape = f", {', '.join(chosen.decay)} decay" if chosen.nms == "soft" else ""
    lines.append(f"{chosen.nms} suppression, window {seconds} s{shape}")
    if chosen.vote_spread:
        lines.append(f"votes are added up, spread by {chosen.vote_spread:g} s")
    lines.append(f"displacement of {config.fusion.displacement}")
    return "\n".join(lines)


def main() -> None:
    """Reads the command line."""
    parser = cli.Parser("python -m spotting.fuse", __doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--workdir", type=Path, required=True, help="folder for the result")
    parser.add_argument("--nms", choices=tuple(_START), default="hard", help="suppression")
    parser.add_argument(
        "--windows",
        choices=("common", "per_class", "keep"),
        default="common",
        help="tune one window for all classes, one for each, or keep the usual one",
    )
    parser.add_argument(
        "--measure",
        choices=tuple(windows.MEASURES),
        default="tight",
        help="average-mAP that decides; both: the mean of the two",
    )
    parser.add_argument(
        "--candidates",
        type=float,
        nargs="+",
        default=_CANDIDATES,
        metavar="SECONDS",
        help="windows to try",
    )
    parser.add_argument(
        "--decays",
        choices=DECAYS,
        nargs="+",
        default=("linear",),
        help="decays to try, with --nms=soft",
    )
    parser.add_argument(
        "--pseudo-events",
        type=float,
        default=_PSEUDO_EVENTS,
        metavar="N",
        help="with --windows=per_class: the gain of a class with n events counts n / (n + N), the "
        "mean gain of all classes the rest (default: 30)",
    )
    parser.add_argument(
        "--displacement-scales",
        type=float,
        nargs="+",
        default=(1.0,),
        metavar="SCALE",
        help="what to try to multiply displacements by, 0 to 1 (default: 1, as they are)",
    )
    parser.add_argument(
        "--vote-spreads",
        type=float,
        nargs="+",
        default=(),
        metavar="SECONDS",
        help="what to try to spread votes by that are added up; 0 takes the greatest vote instead "
        "(default: as the run with the finest frame rate has it)",
    )
    flags = parser.parse_args()
    result = fuse(
        flags.runs,
        flags.workdir,
        flags.nms,
        flags.windows,
        flags.measure,
        flags.candidates,
        flags.decays,
        flags.pseudo_events,
        flags.displacement_scales,
        flags.vote_spreads,
    )
    print(_table(flags.runs, flags.workdir, result))


if __name__ == "__main__":
    cli.run(main)
