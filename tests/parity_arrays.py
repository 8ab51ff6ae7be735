"""Checks of what surrounds the models: targets, losses, schedules, inference, post-processing."""

import json
import math
import re
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from parity_report import Arrays, Folder, Report

from configs import common
from spotting import anchors, timing
from spotting.data import annotations
from spotting.data import halves as soccernet
from spotting.data.annotations import SOCCERNET_CLASSES
from spotting.inference import chunks as inference
from spotting.inference import nms
from spotting.training import losses, mixup
from spotting.training.optimizer import adam_with_decay, linear_decay

FRAME_RATE = 2.0  # of the files that do not say
UNDEFINED = 10.0  # of a displacement target
METHOD = common.get_config()
BORDERS = {"test": METHOD.inference.border, "val": METHOD.inference.valid_border}
POSITIVE_SHARES = {"conf": METHOD.anchors.positive_share, "delta": 1.0}


def check_labels(folder: Folder, name: str, report: Report) -> None:
    events = annotations.read_events(folder.path("labels_example_Labels-v2.json"))
    events = [event for event in events if event.label in SOCCERNET_CLASSES]
    for key, matrix in folder.arrays(name).items():
        rate, number = re.fullmatch(r"fr([\d.]+)_half(\d)", key).groups()
        in_half = tuple(event for event in events if event.half == int(number))
        half = soccernet.Half("game", int(number), Path(), len(matrix), in_half)
        ours, _ = soccernet.make_label_matrix(half, SOCCERNET_CLASSES, float(rate), "gameTime")
        report.exact(f"{name}/{key}", ours, matrix)


def check_targets(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    offsets = anchors.event_offsets(arrays["labels"])
    for key in arrays:
        if match := re.fullmatch(r"(conf|delta)_r([\d.]+)", key):
            _check_target(f"{name}/{key}", offsets, match[1], float(match[2]), arrays[key], report)

    videos = [anchors.event_offsets(labels) for labels in arrays.under("w_labels_video").values()]
    for kind, share in POSITIVE_SHARES.items():
        radii = {}
        for key in arrays:
            if match := re.fullmatch(rf"{kind}_targets_video(\d+)_r([\d.]+)", key):
                video, radius = int(match[1]), float(match[2])
                radii[video] = radius
                _check_target(f"{name}/{key}", videos[video], kind, radius, arrays[key], report)
        near = np.concatenate([anchors.is_near(video, radii[0]) for video in videos])
        counts = {"pos": np.sum(near, axis=0), "neg": np.sum(~near, axis=0)}
        for sign, count in counts.items():
            if (key := f"{kind}_{sign}_counts") in arrays:
                report.exact(f"{name}/{key}", count, arrays[key])
        weights = anchors.class_weights(counts["pos"], counts["neg"], share)
        for sign, ours in zip(("pos", "neg"), weights, strict=True):
            key = f"{kind}_w_{sign}"
            report.relative(f"{name}/{key}", ours, arrays[key], 1e-6)
        encode = {"conf": anchors.encode_confidence, "delta": anchors.encode_displacement}[kind]
        for video, radius in radii.items():
            key = f"{kind}_weights_video{video}"
            ours = encode(videos[video], radius, weights).weights
            report.relative(f"{name}/{key}", ours, arrays[key], 1e-6)


def _check_target(
    name: str, offsets: np.ndarray, kind: str, radius: float, theirs: np.ndarray, report: Report
) -> None:
    if kind == "conf":
        unweighted = anchors.ClassWeights(np.float32(1), np.float32(1))
        report.exact(name, anchors.encode_confidence(offsets, radius, unweighted).targets, theirs)
    else:
        where_defined = anchors.ClassWeights(np.float32(1), np.float32(0))
        ours = anchors.encode_displacement(offsets, radius, where_defined)
        report.absolute(name, np.where(ours.weights == 1, ours.targets, UNDEFINED), theirs, 1e-6)


def check_stitching(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    columns = arrays["row_columns"].tolist()
    for key in arrays:
        if match := re.fullmatch(r"(case\d+)_N_T_border", key):
            rows = inference.stitching(*arrays[key].tolist())
            ours = [[getattr(row, column) for column in columns] for row in rows]
            report.exact(f"{name}/{match[1]}_rows", ours, arrays[f"{match[1]}_rows"])
        elif match := re.fullmatch(r"border_frames_(test|val)_fr([\d.]+)", key):
            rate = float(match[2])
            chunk_frames = timing.whole_frames(METHOD.anchors.chunk, rate)
            min_kept = METHOD.inference.min_kept
            ours = timing.border_frames(BORDERS[match[1]], min_kept, rate, chunk_frames)
            report.exact(f"{name}/{key}", ours, arrays[key])


def check_postprocess(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    with jax.enable_x64(True):
        confidence, shift = arrays["confidence"].T, arrays["delta_frames"].T
        max_shift = math.ceil(max(arrays["delta_radius_frames"], np.abs(shift).max()))
        displaced = anchors.decode(confidence, shift, confidence.shape[-1], max_shift)
        report.exact(f"{name}/displaced", displaced.T, arrays["displaced"])
        # Where the vote of each frame goes when it is alone amid a half just long enough.
        alone = np.eye(1, 2 * max_shift + 1, max_shift)
        votes = anchors.decode(
            np.broadcast_to(alone, (*shift.shape, alone.size)),
            np.broadcast_to(shift[..., None], (*shift.shape, alone.size)),
            alone.size,
            max_shift,
        )
        rounded = jnp.argmax(votes, axis=-1) - max_shift
        report.exact(f"{name}/rounded_delta", rounded.T, arrays["rounded_delta"])

        for key in arrays:
            if match := re.fullmatch(r"nms_(suppress|linear)_win([\d.]+)s_(\w+)", key):
                scores, window = arrays[match[3]].T, float(match[2])
                if match[1] == "suppress":
                    kept = nms.hard_nms(scores, timing.hard_nms_radius(window, FRAME_RATE))
                else:
                    kept = nms.soft_nms(scores, timing.soft_nms_radius(window, FRAME_RATE))
                report.exact(f"{name}/{key}", kept.T, arrays[key])


def check_json_writer(folder: Folder, name: str, report: Report) -> None:
    theirs = json.loads(folder.path(name).read_text())
    frames = [round(int(entry["position"]) * FRAME_RATE / 1000) for entry in theirs]
    scores = np.full((max(frames) + 1, len(SOCCERNET_CLASSES)), nms.NO_SPOT)
    for frame, entry in zip(frames, theirs, strict=True):
        scores[frame, SOCCERNET_CLASSES.index(entry["label"])] = float(entry["confidence"])
    half = int(theirs[0]["half"])
    predictions = annotations.make_predictions(scores, half, SOCCERNET_CLASSES, FRAME_RATE)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, annotations.RESULTS_FILE)
        annotations.write_results(path, "game", predictions)
        ours = json.loads(path.read_text())["predictions"]
    report.exact(
        name, *(np.array([json.dumps(e, sort_keys=True) for e in x]) for x in (ours, theirs))
    )


def check_losses(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    weights = arrays["weights"]
    for key in arrays:
        if match := re.fullmatch(r"conf_loss_(gamma0(?:\.0*)?_(hard|soft))", key):
            inputs = arrays["logits"], arrays[f"targets_{match[2]}"], weights
            _check_loss(arrays, f"{name}/conf", match[1], losses.confidence_loss, inputs, report)
        elif match := re.fullmatch(r"delta_loss_(h([\d.]+)_(posonly|allw))", key):
            targets = arrays["delta_targets"]
            if match[3] == "posonly":
                inputs = arrays["delta_pred"], targets, arrays["delta_weights"]
            else:
                inputs = arrays["delta_pred"], np.clip(targets, -1, 1), weights

            def loss(*inputs: np.ndarray, threshold: float = float(match[2])) -> jax.Array:
                return losses.displacement_loss(*inputs, threshold)

            _check_loss(arrays, f"{name}/delta", match[1], loss, inputs, report)


def _check_loss(
    arrays: Arrays, name: str, case: str, loss, inputs: tuple[np.ndarray, ...], report: Report
) -> None:
    kind = name.rsplit("/", 1)[1]
    outputs, targets, weights = inputs
    outputs = outputs[..., 0]
    value, grad = jax.value_and_grad(loss)(outputs, targets, weights)
    # Of a batch of one, the mean over the batch is the example's loss.
    examples = [a[:, None] for a in (outputs, targets, weights)]
    per_example = jax.vmap(loss)(*examples)
    report.absolute(f"{name}_loss_{case}", value, arrays[f"{kind}_loss_{case}"], 1e-5)
    key = f"{kind}_loss_per_example_{case}"
    report.absolute(f"{name}_loss_per_example_{case}", per_example, arrays[key], 1e-5)
    theirs = arrays[f"{kind}_grad_{case}"][..., 0]
    report.relative(f"{name}_grad_{case}", grad, theirs, 1e-4)


def check_mixup(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    shares, partners = arrays["lambdas"], arrays["permutation"]
    for key in ("features", "targets_and_weights"):
        ours = mixup.mix(arrays[key], arrays[key][partners], shares)
        report.relative(f"{name}/mixed_{key}", ours, arrays[f"mixed_{key}"], 1e-6)


def check_schedules(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    num_steps = int(arrays["steps_per_epoch"] * arrays["linear_epochs"])
    for key in ("lr", "wd"):
        start, end = float(arrays[f"initial_{key}"]), float(arrays["end_fraction"])
        ours = np.asarray(linear_decay(start, end, num_steps)(arrays["steps"]), np.float64)
        report.absolute(f"{name}/{key}", ours / arrays[key], np.ones_like(ours), 1e-5)


def check_adamw(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    start = {key: float(arrays[f"{key}0"]) for key in ("lr", "wd")}
    num_steps = int(arrays["steps_per_epoch"] * arrays["linear_epochs"])
    end = METHOD.training.end_fraction
    optimizer = adam_with_decay(start["lr"], start["wd"], num_steps, end)
    weights = arrays.under("w0_")
    state = optimizer.init(weights)
    for step in range(sum(key.startswith("lr_step") for key in arrays)):
        for key, value in start.items():
            ours = linear_decay(value, end, num_steps)(step)
            report.relative(f"{name}/{key}_step{step}", ours, arrays[f"{key}_step{step}"], 1e-5)
        updates, state = optimizer.update(arrays.under(f"g{step}_"), state, weights)
        weights = optax.apply_updates(weights, updates)
        for key, theirs in arrays.under(f"w{step + 1}_").items():
            report.absolute(f"{name}/w{step + 1}_{key}", weights[key], theirs, 1e-5)
