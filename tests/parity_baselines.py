"""Checks of the systems that the paper compares with: NetVLAD++, CALF and RMS-Net's head.

Their official code is PyTorch's; weights come in its layout.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from parity_report import Arrays, Folder, Report

from spotting import timing
from spotting.anchors import event_offsets
from spotting.data import clips, context_chunks, windows
from spotting.data.annotations import SOCCERNET_CLASSES, Event, make_predictions, read_events
from spotting.data.halves import Half, make_label_matrix
from spotting.inference import clips as clip_inference
from spotting.inference import detections as detection_inference
from spotting.inference import windows as window_inference
from spotting.inference.nms import NO_SPOT, hard_nms
from spotting.models.calf import Calf
from spotting.models.linear import keep
from spotting.models.netvlad import NetVLAD, vlad
from spotting.models.rmsnet import RmsNetHead
from spotting.training import context_aware, losses
from spotting.training.schedules import Plateau, decayed_sgd, step_plateau, warmup_cosine

FORWARD, GRADIENT, LOSS, WEIGHT = 1e-5, 1e-4, 1e-5, 1e-5
NUM_DRAWS = 3  # of each initial weight

MODULES = {
    "feature_extractor": "reduction",
    "pool_layer": "whole",
    "pool_layer_before": "before",
    "pool_layer_after": "after",
    "fc": "classifier",
    "conv_1": "reduce0",
    "conv_2": "reduce1",
    "conv_seg": "capsules",
    "batch_seg": "norm",
    "conv_spot_1": "spot0",
    "conv_spot_2": "spot1",
    "conv_conf": "place",
    "conv_class": "classes",
    "temporal_conv1": "convolve0",
    "temporal_conv2": "convolve1",
    "fc2": "reduce",
    "fc_class": "classes",
    "fc_t_shift": "offset",
}
LEAVES = {"bias": "bias", "clusters": "assignment", "clusters2": "centres"}
CONVOLUTIONS = ("capsules", "spot", "convolve")

Path_ = tuple[str, str, str]  # collection, module, leaf


def to_ours(name: str, array: np.ndarray) -> tuple[Path_, np.ndarray]:
    """Where a PyTorch weight is in our trees, and the weight in our layout."""
    module, leaf = name.rsplit(".", 1)
    if match := re.fullmatch(r"conv_p_(\d)", module):
        level = int(match[1]) - 1
        if leaf == "weight":
            array = array.reshape(*array.shape[:2], -1).transpose(2, 1, 0)
        return ("params", "pyramid", f"{'kernel' if leaf == 'weight' else leaf}{level}"), array
    module = MODULES[module]
    if leaf.startswith("running_"):
        return ("batch_stats", module, leaf.removeprefix("running_")), array
    if module == "norm":
        return ("params", module, {"weight": "scale", "bias": "bias"}[leaf]), array
    if leaf == "weight":
        if module.startswith(CONVOLUTIONS):
            array = array.reshape(*array.shape[:2], -1).transpose(2, 1, 0)
        else:
            array = array.reshape(len(array), -1).T
        return ("params", module, "kernel"), array
    return ("params", module, LEAVES[leaf]), array[0] if leaf == "clusters2" else array


def variables(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A tree of PyTorch weights."""
    tree: dict[str, Any] = {}
    for name, weight in weights.items():
        (collection, module, leaf), array = to_ours(name, weight)
        tree.setdefault(collection, {}).setdefault(module, {})[leaf] = jnp.asarray(array)
    return tree


def pairs(ours: Any, theirs: Mapping[str, np.ndarray]) -> list[tuple[str, Any, np.ndarray]]:
    """Official name, our array and theirs, for all of theirs."""
    result = []
    for name, array in theirs.items():
        (collection, module, leaf), array = to_ours(name, array)
        result.append((name, ours[collection][module][leaf], array))
    return result


def check_gradients(
    name: str, prefix: str, ours: Any, arrays: Arrays, report: Report
) -> dict[str, np.ndarray]:
    """Compares all gradients under a prefix, and returns the official ones."""
    theirs = arrays.under(prefix)
    greatest = max(np.abs(gradient).max() for gradient in theirs.values())
    for key, gradient, official in pairs(ours, theirs):
        # What should be zero is rounding noise, small beside the others, not beside itself.
        scale = max(np.abs(official).max(), 1e-3 * greatest)
        report.relative(f"{name}/{prefix}{key}", gradient, official, GRADIENT, scale)
    return theirs


def check_weights(
    name: str,
    prefix: str,
    ours: Any,
    arrays: Arrays,
    report: Report,
    first_gradients: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Compares weights after a step, without those whose first gradient Adam made a sign of."""
    for key, weight, official in pairs(ours, arrays.under(prefix)):
        counted = np.ones(official.shape, bool)
        if first_gradients and key in first_gradients:
            gradient = np.abs(to_ours(key, first_gradients[key])[1])
            counted = gradient >= 1e-6 * gradient.max()
        weight = np.where(counted, weight, official)
        report.absolute(f"{name}/{prefix}{key}", weight, official, WEIGHT)


def drawn_weights(arrays: Arrays, name: str, report: Report) -> dict[str, np.ndarray]:
    """The weights of a full-size model, which the folder's README says how to make."""
    names, shapes = arrays["weight_names"].tolist(), arrays["weight_shapes"].tolist()
    weights = {}
    for index, (key, shape) in enumerate(zip(names, shapes, strict=True)):
        values = generator(int(arrays["w_seed0"]) + index).standard_normal(json.loads(shape))
        offset, scale = arrays["weight_offsets"][index], arrays["weight_scales"][index]
        weights[key] = (offset + scale * values).astype(np.float32)
    firsts = [weight.flat[0] for weight in weights.values()]
    report.relative(f"{name}/first_values", firsts, arrays["first_values"], 1e-6)
    return weights


def drawn_input(arrays: Arrays) -> np.ndarray:
    shape = arrays["x_shape"].tolist()
    return generator(arrays["x_seed"]).standard_normal(shape).astype(np.float32)


def generator(seed: int | np.ndarray) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(int(seed)))


def count_parameters(model: nn.Module, features: np.ndarray) -> int:
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(features[:1]))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


# NetVLAD++


def netvlad(args: Mapping[str, Any]) -> NetVLAD:
    return NetVLAD(args["num_classes"], args["pool"].lower(), args["vocab_size"])


def train_netvlad(
    model: NetVLAD, params: Any, x: np.ndarray, kept: np.ndarray, labels: np.ndarray
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Loss with a given dropout; and what is pooled, and the probabilities."""
    pooled = model.apply(params, model.apply(params, x, method="reduce"), method="pool_window")
    dropped = keep(pooled, kept == 1, model.dropout_rate)
    logits = model.apply(params, dropped, method="classify")
    loss = jnp.mean(losses.window_loss(logits, jnp.asarray(labels, jnp.float32)))
    return loss, (pooled, jax.nn.sigmoid(logits))


def check_pool(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    for case in sorted({key.rsplit("_", 1)[0] for key in arrays}):
        kind, norm = re.fullmatch(r"\w+_(NetVLAD|NetRVLAD)_norm([01])", case).groups()
        a = arrays.under(f"{case}_")
        centres = a["clusters2"][0] if kind == "NetVLAD" else None

        def pool(x: Any, clusters: Any, centres: Any, unit: bool = norm == "1") -> jax.Array:
            return vlad(x, clusters, centres, unit)

        y, pull = jax.vjp(jax.jit(pool), a["x"], a["clusters"], centres)
        report.relative(f"{name}/{case}_y", y, a["y"], FORWARD)
        gx, gclusters, gcentres = pull(jnp.asarray(a["dy"]))
        # The gradient of a zero frame is about 1e12 times the others'.
        zero = ~np.any(a["x"], axis=-1)
        for suffix, where in (("", ~zero), ("_zero_frames", zero)):
            if where.any():
                ours, theirs = np.asarray(gx)[where], a["gx"][where]
                report.relative(f"{name}/{case}_gx{suffix}", ours, theirs, GRADIENT)
        report.relative(f"{name}/{case}_gclusters", gclusters, a["gclusters"], GRADIENT)
        if kind == "NetVLAD":
            theirs = a["gclusters2"][0]
            report.relative(f"{name}/{case}_gclusters2", gcentres, theirs, GRADIENT)


def check_window_loss(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    logits = arrays["logits"]
    report.exact(f"{name}/loss_dtype", str(arrays["loss_dtype"]), "torch.float64")

    def loss(logits: Any, labels: Any) -> jax.Array:
        return jnp.mean(losses.window_loss(logits, labels))

    small = np.abs(logits) < 6
    for kind in ("hard", "soft"):
        labels = arrays[f"labels_{kind}"].astype(np.float32)
        value, gradient = jax.value_and_grad(loss)(logits, labels)
        # The official form loses the digits of 1 - p.
        bound = LOSS if small.all() else 1e-4
        report.absolute(f"{name}/loss_{kind}", value, arrays[f"loss_{kind}"], bound)
        theirs = arrays[f"grad_logits_{kind}"]
        report.relative(f"{name}/grad_logits_{kind}", gradient, theirs, GRADIENT)
        slope = np.asarray(jax.nn.sigmoid(logits)) * np.asarray(jax.nn.sigmoid(-logits))
        ours = np.where(small, gradient / slope, 0)
        theirs = np.where(small, arrays[f"grad_prob_{kind}"], 0)
        report.relative(f"{name}/grad_prob_{kind}", ours, theirs, GRADIENT)
    logit, label = arrays["saturated_logit"].reshape(1, 1), arrays["saturated_label"].reshape(1, 1)
    value, gradient = jax.value_and_grad(loss)(logit, label.astype(np.float32))
    # There they are NaN, here what they should be.
    theirs = [arrays["saturated_loss"], arrays["saturated_grad"]]
    report.exact(f"{name}/saturated (official)", np.isnan(theirs), [True, True])
    right = np.log1p(np.exp(-logit.astype(np.float64))) + (1 - label) * logit
    report.absolute(f"{name}/saturated_loss", value, right.sum(), LOSS)
    report.exact(f"{name}/saturated_grad", np.isfinite(gradient), [[True]])


def check_window_model(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    model = netvlad(json.loads(str(arrays["args"])))
    params, x = variables(arrays.under("w::")), arrays["x"]
    probabilities = jax.nn.sigmoid(jax.jit(model.apply)(params, x))
    report.relative(f"{name}/y_eval", probabilities, arrays["y_eval"], FORWARD)

    @jax.jit
    @jax.value_and_grad
    def run(params: Any) -> jax.Array:
        return train_netvlad(model, params, x, arrays["drop_keep"], arrays["labels"])[0]

    _, (pooled, y) = train_netvlad(model, params, x, arrays["drop_keep"], arrays["labels"])
    report.relative(f"{name}/pooled", pooled, arrays["pooled"], FORWARD)
    report.relative(f"{name}/y_train", y, arrays["y_train"], FORWARD)
    value, gradients = run(params)
    report.absolute(f"{name}/loss", value, arrays["loss"], LOSS)
    check_gradients(name, "g::", gradients, arrays, report)


def check_window_full(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    model = netvlad(json.loads(str(arrays["args"])))
    params, x = variables(drawn_weights(arrays, name, report)), drawn_input(arrays)
    report.exact(f"{name}/n_params", count_parameters(model, x), arrays["n_params"])
    y = jax.nn.sigmoid(jax.jit(model.apply)(params, x))
    report.relative(f"{name}/y", y, arrays["y"], FORWARD)


def check_window_labels(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    events = known_events(folder, "labels_example_Labels-v2.json")
    lengths = arrays["N_half"].tolist()
    for key in arrays:
        if not (match := re.fullmatch(r"(fr([\d.]+)_w([\d.]+))_train_labels", key)):
            continue
        case, rate = match[1], float(match[2])
        frames = round(rate * float(match[3]))
        half, start = windows.list_windows(np.array(lengths), frames, last_frame_unseen=True)
        report.exact(
            f"{name}/{case}_n_windows_half1", sum(half == 0), arrays[f"{case}_n_windows_half1"]
        )
        shown = windows.frames_of_windows(start, frames, np.array(lengths)[half])
        report.exact(f"{name}/{case}_train_idx", shown, arrays[f"{case}_train_idx"])
        # Far longer halves, so that no event is moved to a half's last frame: the official code
        # drops those in windows that do not exist.
        labels = []
        for number in range(2):
            count = int(np.sum(half == number))
            matrix = matrix_of(events, number + 1, 100_000, rate)[: count * frames]
            offsets = event_offsets(matrix).reshape(count, frames, -1)
            labels.append(windows.encode_windows(offsets))
        report.exact(f"{name}/{key}", np.concatenate(labels), arrays[key])
        for number, length in enumerate(lengths, 1):
            count = windows.count_windows(length, 1, last_frame_unseen=True)
            first = np.arange(count) - frames // 2
            shown = windows.frames_of_windows(first, frames, length)
            report.exact(
                f"{name}/{case}_test_idx_half{number}",
                shown,
                arrays[f"{case}_test_idx_half{number}"],
            )
            truth = np.zeros((length, len(SOCCERNET_CLASSES)), np.int8)
            for event in events:
                matrix = matrix_of([event], number, length, rate)
                truth = np.where(matrix, 1 if event.visible else -1, truth)
            key = f"{case}_test_labels_half{number}"
            report.exact(f"{name}/{key}", truth, arrays[key])


def known_events(folder: Folder, name: str) -> list[Event]:
    return [event for event in read_events(folder.path(name)) if event.label in SOCCERNET_CLASSES]


def matrix_of(events: list[Event], number: int, num_frames: int, rate: float) -> np.ndarray:
    in_half = tuple(event for event in events if event.half == number)
    half = Half("game", number, Path(), num_frames, in_half)
    return make_label_matrix(half, SOCCERNET_CLASSES, rate, "gameTime")[0]


def check_suppression(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    scores = arrays["scores"].T
    for key in arrays:
        if match := re.fullmatch(r"nms_(?:win|delta)(\d+)(?:_thr([\d.]+))?", key):
            reach = timing.half_open_reach(float(match[1]), 1.0)
            kept = np.asarray(hard_nms(scores, *reach, float(match[2] or 0)))
            report.exact(f"{name}/{key}", kept.T, arrays[key])
            order = key.replace("nms", "order")
            if order in arrays:
                by_score = np.argsort(-kept[0], kind="stable")[: np.count_nonzero(kept[0] >= 0)]
                report.exact(f"{name}/{order}", by_score, arrays[order])


def check_window_inference(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    args = json.loads(str(arrays["args"]))
    model, params = netvlad(args), variables(arrays.under("w::"))
    rate = args["framerate"]
    frames = args["window_size"] * rate
    predictions = []
    for number in halves_of(arrays, "feats_half"):
        features, theirs = arrays[f"feats_half{number}"], arrays[f"scores_half{number}"]
        ours = window_inference.spot_half(model, params, features, frames, last_frame_unseen=True)
        report.relative(f"{name}/scores_half{number}", ours, theirs[:, 1:], FORWARD)
        around = np.clip(np.arange(len(features) + frames - 2) - frames // 2, 0, len(features) - 1)
        background = window_inference.score_windows(model, params, features[around], frames)[:, 0]
        report.relative(f"{name}/scores_half{number} background", background, theirs[:, 0], FORWARD)
        reach = timing.half_open_reach(args["NMS_window"], rate)
        kept = np.asarray(hard_nms(theirs[:, 1:].T, *reach, args["NMS_threshold"])).T
        in_half = make_predictions(kept, number, SOCCERNET_CLASSES, rate)
        predictions += sorted(
            in_half, key=lambda spot: (SOCCERNET_CLASSES.index(spot.label), -spot.confidence)
        )
    check_json(folder, "nv_results_spotting.json", predictions, rate, report)


def halves_of(arrays: Arrays, prefix: str) -> list[int]:
    return sorted(int(key.removeprefix(prefix)) for key in arrays if key.startswith(prefix))


def check_json(folder: Folder, name: str, predictions: list, rate: float, report: Report) -> None:
    """All but the zeros of `gameTime`, which is written padded here."""
    theirs = json.loads(folder.path(name).read_text())["predictions"]
    columns = [
        (spot.label, 1000 * spot.position, spot.half, str(spot.confidence)) for spot in predictions
    ]
    official = [
        (entry["label"], float(entry["position"]), int(entry["half"]), entry["confidence"])
        for entry in theirs
    ]
    report.exact(name, np.array(columns, str), np.array(official, str))
    times = [
        f"{e['half']} - {p // 60000}:{p // 1000 % 60}" for e in theirs for p in [int(e["position"])]
    ]
    report.exact(f"{name}/gameTime", times, [entry["gameTime"] for entry in theirs])


def check_window_training(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    weights = arrays.under("w0::")
    params = variables(weights)
    pool = "NetVLAD++" if "pool_layer_before.clusters" in weights else "NetVLAD"
    clusters = next(weight.shape[1] for key, weight in weights.items() if key.endswith("clusters"))
    size = clusters * (1 + pool.endswith("++"))
    model = NetVLAD(len(weights["fc.bias"]) - 1, pool.lower(), size)
    optimizer = optax.adam(float(arrays["lr"]), eps=float(arrays["eps"]))
    state = optimizer.init(params)

    @jax.jit
    @jax.value_and_grad
    def run(params: Any, *batch: Any) -> jax.Array:
        return train_netvlad(model, params, *batch)[0]

    first_gradients = None
    for step in range(sum(key.startswith("labels") for key in arrays)):
        batch = [arrays[f"{key}{step}"] for key in ("x", "drop_keep", "labels")]
        value, gradients = run(params, *batch)
        report.absolute(f"{name}/loss{step}", value, arrays[f"loss{step}"], LOSS)
        if step == 0:
            first_gradients = check_gradients(name, "g0::", gradients, arrays, report)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        check_weights(name, f"w{step + 1}::", params, arrays, report, first_gradients)


def check_plateau(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    patience = int(arrays["patience"])
    every = int(arrays["evaluation_frequency"]) if "evaluation_frequency" in arrays else 0
    for key in arrays:
        if not (match := re.fullmatch(r"losses(\d+)", key)):
            continue
        case = match[1]
        metrics = iter(arrays[f"metrics{case}"]) if every else iter(())
        state, best, rates, saved = Plateau(1e-3), np.inf, [], []
        for epoch, loss in enumerate(arrays[key].tolist(), 1):
            rates.append(float(state.learning_rate))
            # CALF keeps the greatest metric, NetVLAD++ the least loss.
            cost = -next(metrics) if every and epoch > 1 and (epoch - 1) % every == 0 else None
            cost = cost if every else loss
            if cost is not None and cost < best:
                best = cost
                saved.append(epoch)
            with jax.enable_x64(True):
                state = step_plateau(state, loss, patience)
            if state.finished:
                break
        report.exact(f"{name}/epochs_run{case}", len(rates), arrays[f"epochs_run{case}"])
        theirs = arrays[f"lr_used{case}"]
        ratio = np.array(rates) / theirs if len(rates) == len(theirs) else np.zeros(1)
        report.absolute(f"{name}/lr_used{case}", ratio, np.ones_like(theirs), 1e-6)
        report.exact(f"{name}/saved_epochs{case}", saved, arrays[f"saved_epochs{case}"])


# CALF


def calf(args: Mapping[str, Any]) -> Calf:
    return Calf(
        args["num_classes"], args["receptive_field"], args["dim_capsule"], args["num_detections"]
    )


def check_shifts(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    names = arrays["class_names"].tolist()
    report.exact(f"{name}/class_names", names, SOCCERNET_CLASSES)
    seconds = context_chunks.slice_frames(context_chunks.SLICING_SECONDS, names, 1.0)
    report.exact(f"{name}/K_seconds_17", seconds, arrays["K_seconds_17"])
    shifts = context_chunks.time_shifts(arrays["onehot"], arrays["K_frames"])
    report.exact(f"{name}/shifts", shifts, arrays["shifts"])
    events = known_events(folder, "calf_labels_example_Labels-v2.json")
    for key in arrays:
        if match := re.fullmatch(r"(fr([\d.]+))_anchors", key):
            rate = float(match[2])
            slices = context_chunks.slice_frames(context_chunks.SLICING_SECONDS, names, rate)
            halves = []
            for number, length in enumerate(arrays["N_half"].tolist(), 1):
                matrix = matrix_of(events, number, length, rate)
                halves.append(context_chunks.time_shifts(matrix, slices))
                shifts_key = f"{match[1]}_shifts_half{number}"
                report.exact(f"{name}/{shifts_key}", halves[-1], arrays[shifts_key])
            anchors = context_chunks.find_anchors(halves, slices, round(120 * rate))
            report.exact(f"{name}/{key}", anchor_rows(anchors), arrays[key])


def anchor_rows(anchors: context_chunks.ChunkAnchors) -> np.ndarray:
    """Half, frame, end and class of each."""
    label = np.repeat(anchors.label, anchors.size)
    return np.stack([anchors.half, anchors.start, anchors.end, label], axis=1)


def check_background_runs(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    for key, shifts in arrays.under("shifts").items():
        slices, frames = arrays[f"K{key}"], int(arrays[f"chunk{key}"])
        runs = context_chunks.background_runs(shifts, slices, frames)
        report.exact(f"{name}/spans{key}", runs, arrays[f"spans{key}"])


def check_chunks(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    frames, receptive = int(arrays["chunk_size"]), int(arrays["receptive_field"])
    rate = frames / 120
    slices = context_chunks.slice_frames(context_chunks.SLICING_SECONDS, SOCCERNET_CLASSES, rate)
    events = known_events(folder, "calf_chunks_Labels-v2.json")
    lengths = arrays["N_half"]
    shifts = [
        context_chunks.time_shifts(matrix_of(events, number, length, rate), slices)
        for number, length in enumerate(lengths.tolist(), 1)
    ]
    anchors = context_chunks.find_anchors(shifts, slices, frames)
    report.exact(f"{name}/anchors", anchor_rows(anchors), arrays["anchors"])

    label, entry, draw = arrays["draws"].T
    row = anchors.first[np.searchsorted(anchors.label, label)] + entry
    half = anchors.half[row]
    start = np.where(label == slices.shape[1], draw, anchors.start[row] + draw)
    start = context_chunks.clamp_starts(start, lengths[half], frames, last_frame_unseen=True)
    rows = np.asarray(
        np.concatenate([[0], lengths])[half][:, None] + start[:, None] + np.arange(frames)
    )
    drawn = np.concatenate(shifts)[rows]
    clean = np.asarray(context_chunks.mask_borders(drawn, receptive))
    targets = np.asarray(context_chunks.detection_targets(clean, arrays["chunk0_targets"].shape[0]))
    before, after = context_chunks.erase_drawn(np.zeros(lengths.sum(), bool), rows, receptive)
    erased = np.where(before[..., None], context_chunks.BEFORE_EVENT, clean)
    left = context_chunks.detection_targets(erased, targets.shape[1])[..., 0].sum(axis=1)
    for index in range(len(label)):
        report.exact(f"{name}/chunk{index}_half", half[index], arrays[f"chunk{index}_half"])
        report.exact(f"{name}/chunk{index}_start", start[index], arrays[f"chunk{index}_start"])
        report.exact(f"{name}/chunk{index}_labels", clean[index], arrays[f"chunk{index}_labels"])
        report.exact(
            f"{name}/chunk{index}_targets", targets[index], arrays[f"chunk{index}_targets"]
        )
        key = f"inplace{index}_n_targets"
        report.exact(f"{name}/{key}", left[index], arrays[key])
    for number, part in enumerate(np.split(np.asarray(after), np.cumsum(lengths)[:-1]), 1):
        key = f"inplace_minus_one_rows_half{number}"
        report.exact(f"{name}/{key}", np.flatnonzero(part), arrays[key])
    for key in arrays:
        if match := re.fullmatch(r"tt_targets(\d+)", key):
            ours = context_chunks.detection_targets(arrays["tt_labels"], int(match[1]))
            report.exact(f"{name}/{key}", ours, arrays[key].astype(np.float32))


def check_detection_loss(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    targets, predicted = arrays["y_true"], arrays["y_pred"]
    for prefix in ("", "small_"):
        ours = context_aware.match_detections(arrays[f"{prefix}y_true"], arrays[f"{prefix}y_pred"])
        report.exact(f"{name}/{prefix}permutation", ours, arrays[f"{prefix}permutation"])
    distinct = [len(set(row)) for row in arrays["permutation"].tolist()]
    report.exact(f"{name}/distinct_rows", distinct, arrays["distinct_rows"])
    weights = float(arrays["lambda_coord"]), float(arrays["lambda_noobj"])

    @jax.jit
    def loss(predicted: Any) -> tuple[jax.Array, jax.Array]:
        per_example = context_aware.detection_loss(predicted, targets, *weights)
        return jnp.sum(per_example), per_example

    (value, per_example), gradient = jax.value_and_grad(loss, has_aux=True)(predicted)
    report.relative(f"{name}/loss", value, arrays["loss"], LOSS)
    report.relative(f"{name}/loss_per_example", per_example, arrays["loss_per_example"], LOSS)
    report.relative(f"{name}/grad", gradient, arrays["grad"], GRADIENT)


def check_context_loss(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    full = context_chunks.slice_frames(context_chunks.SLICING_SECONDS, SOCCERNET_CLASSES, 2.0)

    def loss(*inputs: Any) -> tuple[jax.Array, jax.Array]:
        elements = context_aware.context_aware_loss(*inputs)
        return jnp.sum(elements), elements

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    for prefix, slices in (("", arrays["K_frames"]), ("full_", full)):
        shifts, predicted = arrays[f"{prefix}labels"], arrays[f"{prefix}pred"]

        (value, elements), gradient = run(predicted, shifts, slices)
        report.relative(f"{name}/{prefix}loss", value, arrays[f"{prefix}loss"], LOSS)
        if not prefix:
            report.relative(f"{name}/loss_elements", elements, arrays["loss_elements"], LOSS)
        # At a loss of exactly 0 the slope depends on rounding.
        near_zero = np.abs(np.asarray(elements)) < 1e-6
        flat = near_zero & (np.asarray(gradient) != arrays[f"{prefix}grad"])
        gradient = np.where(flat, arrays[f"{prefix}grad"], gradient)
        report.relative(f"{name}/{prefix}grad", gradient, arrays[f"{prefix}grad"], GRADIENT)
    official = arrays["loss_at_pred_one_between_0_and_K2"]
    report.exact(f"{name}/loss_at_pred_one (official)", np.isnan(official), True)
    one = np.ones((1, 1, 1), np.float32)
    ours = context_aware.context_aware_loss(one, one, arrays["K_frames"][:, :1])
    report.exact(f"{name}/loss_at_pred_one_between_0_and_K2", ours, np.zeros((1, 1, 1)))


def calf_losses(
    model: Calf, weights: Any, x: Any, labels: Any, targets: Any, slices: Any
) -> tuple[jax.Array, jax.Array, Any, Any]:
    """Both losses in training mode, the outputs, and the variables that the pass changed."""
    outputs, changed = model.apply(weights, x, train=True, mutable=["batch_stats"])
    segmentation = context_aware.context_aware_loss(outputs.segmentation, labels, slices)
    detection = context_aware.detection_loss(outputs.detections, targets)
    return jnp.sum(segmentation), jnp.sum(detection), outputs, changed


CALF_ACTIVATIONS = {
    "conv_1": "reduce0",
    "conv_2": "reduce1",
    "conv_seg": "capsules",
    "conv_spot_1": "spot0",
    "conv_spot_2": "spot1",
    "conv_conf": "place",
    "conv_class": "classes",
}


def check_calf_model(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    model = calf(json.loads(str(arrays["args"])))
    weights, x = variables(arrays.under("w::")), arrays["x"]
    quiet = jax.jit(model.apply)(weights, x)
    report.relative(f"{name}/seg_eval", quiet.segmentation, arrays["seg_eval"], FORWARD)
    report.relative(f"{name}/spot_eval", quiet.detections, arrays["spot_eval"], FORWARD)
    factors = float(arrays["w_seg"]), float(arrays["w_spot"])

    def run(params: Any, x: Any, factors: tuple[float, float]) -> tuple[jax.Array, Any]:
        seen: dict[str, Any] = {}

        def watch(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
            result = call(*args, **kwargs)
            if context.method_name == "__call__" and context.module.path:
                seen[f"{context.module.path[0]} in"] = args[0]
                seen[f"{context.module.path[0]} out"] = result
            return result

        with nn.intercept_methods(watch):
            segmentation, detection, outputs, changed = calf_losses(
                model,
                weights | {"params": params},
                x,
                arrays["labels"],
                arrays["targets"],
                arrays["K_frames"],
            )
        loss = factors[0] * segmentation + factors[1] * detection
        return loss, (segmentation, detection, outputs, changed, seen)

    gradient = jax.jit(jax.value_and_grad(run, argnums=(0, 1), has_aux=True), static_argnums=2)
    (loss, more), (gradients, gx) = gradient(weights["params"], x, factors)
    segmentation, detection, outputs, changed, seen = more
    report.relative(f"{name}/seg_train", outputs.segmentation, arrays["seg_train"], FORWARD)
    report.relative(f"{name}/spot_train", outputs.detections, arrays["spot_train"], FORWARD)
    for key, ours in (("loss_seg", segmentation), ("loss_spot", detection), ("loss", loss)):
        report.relative(f"{name}/{key}", ours, arrays[key], LOSS)
    for key, module in CALF_ACTIVATIONS.items():
        theirs = arrays[f"a::{key}"][..., 0]
        ours = np.asarray(seen[f"{module} out"])
        ours = np.swapaxes(ours, 1, 2) if ours.ndim == 3 else ours[..., None]
        report.relative(f"{name}/a::{key}", ours, theirs, FORWARD)
    first = 0
    for level in range(1, 5):
        theirs = arrays[f"a::conv_p_{level}"][..., 0]
        ours = np.swapaxes(np.asarray(seen["pyramid out"]), 1, 2)[
            :, first : first + theirs.shape[1]
        ]
        report.relative(f"{name}/a::conv_p_{level}", ours, theirs, FORWARD)
        first += theirs.shape[1]
    report.relative(f"{name}/a::batch_seg", seen["norm out"], arrays["a::batch_seg"], FORWARD)
    for key, module in (("max_pool_spot", "spot0"), ("max_pool_spot_1", "spot1")):
        ours = np.swapaxes(np.asarray(seen[f"{module} in"]), 1, 2)
        report.relative(f"{name}/a::{key}", ours, arrays[f"a::{key}"][..., 0], FORWARD)
    theirs = arrays["a::max_pool_spot_2"][..., 0]
    ours = np.asarray(seen["place in"]).reshape(theirs.shape)
    report.relative(f"{name}/a::max_pool_spot_2", ours, theirs, FORWARD)
    check_gradients(name, "g::", {"params": gradients}, arrays, report)
    report.relative(f"{name}/gx", gx, arrays["gx"], GRADIENT)
    check_weights(name, "after::", changed, arrays, report)
    alone, _ = gradient(weights["params"], x, (1.0, 0.0))[1]
    check_gradients(name, "gseg::", {"params": alone}, arrays, report)


def check_calf_full(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    weights = drawn_weights(arrays, name, report)
    x = drawn_input(arrays)
    num_classes = arrays["seg_eval"].shape[-1]
    model = Calf(
        num_classes,
        weights["conv_p_4.weight"].shape[2],
        len(weights["conv_seg.bias"]) // num_classes,
        arrays["spot_eval"].shape[1],
    )
    report.exact(f"{name}/n_params", count_parameters(model, x), arrays["n_params"])
    for mode in ("eval", "train"):

        @jax.jit
        def run(weights: Any, x: Any, train: bool = mode == "train") -> Any:
            return model.apply(weights, x, train=train, mutable=["batch_stats"])[0]

        outputs = run(variables(weights), x)
        report.relative(f"{name}/seg_{mode}", outputs.segmentation, arrays[f"seg_{mode}"], FORWARD)
        report.relative(f"{name}/spot_{mode}", outputs.detections, arrays[f"spot_{mode}"], FORWARD)


def check_calf_decoding(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    frames, receptive = 240, 80
    for length in sorted({int(re.match(r"N(\d+)_", key)[1]) for key in arrays}):
        a = arrays.under(f"N{length}_")
        starts = detection_inference.published_starts(length, frames, receptive)
        report.exact(f"{name}/N{length}_window_starts", starts, a["window_starts"])
        shown = np.minimum(np.array(starts)[-2:, None] + np.arange(frames), length - 1)
        report.exact(f"{name}/N{length}_last_rows_idx", shown, a["last_rows_idx"])
        rows = detection_inference.cover_half(length, frames, receptive, misplaced_last=True)
        chunks = np.asarray(detection_inference.put_at_frames(a["spotting"], frames))
        stamps = detection_inference.stitch(chunks[: len(rows)], rows, length, NO_SPOT)
        report.exact(f"{name}/N{length}_timestamps", stamps, a["timestamps"])
        for key in a:
            if match := re.fullmatch(r"nms(\d+)", key):
                reach = timing.half_open_reach(float(match[1]), 1.0)
                report.exact(f"{name}/N{length}_{key}", hard_nms(stamps.T, *reach).T, a[key])
        one_hot = np.eye(a["segmentation"].shape[1], dtype=np.int8)[a["seg_argmax"]]
        stitched = detection_inference.stitch(one_hot[: len(rows)], rows, length, 0)
        report.exact(f"{name}/N{length}_segmentation", stitched, a["segmentation"])


def check_calf_inference(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    args = json.loads(str(arrays["args"]))
    model, weights = calf(args), variables(arrays.under("w::"))
    frames, receptive = args["chunk_size"], args["receptive_field"]
    rate = 2.0
    predictions = []
    for number in halves_of(arrays, "feats_half"):
        features = arrays[f"feats_half{number}"]
        length = len(features)
        starts = np.array(detection_inference.published_starts(length, frames, receptive))
        shown = np.minimum(starts[:, None] + np.arange(frames), length - 1)
        ours = jax.jit(model.apply)(weights, features[shown]).detections
        theirs = arrays[f"spotting_half{number}"]
        report.relative(f"{name}/spotting_half{number}", ours, theirs, FORWARD)
        rows = detection_inference.cover_half(length, frames, receptive, misplaced_last=True)
        chunks = np.asarray(detection_inference.put_at_frames(theirs, frames))
        stamps = detection_inference.stitch(chunks[: len(rows)], rows, length, NO_SPOT)
        theirs = arrays[f"timestamps_half{number}"]
        report.exact(f"{name}/timestamps_half{number}", stamps, theirs)
        ours = detection_inference.spot_half(model, weights, features, frames, misplaced_last=True)
        moved = np.count_nonzero((ours >= 0) != (theirs >= 0))
        # A time within rounding of a frame's border may fall on either side.
        report.absolute(f"{name}/timestamps_half{number} whole", moved, 0, 2)
        reach = timing.half_open_reach(args["NMS_window"], rate)
        kept = np.asarray(hard_nms(stamps.T, *reach)).T
        predictions += make_predictions(kept, number, SOCCERNET_CLASSES, rate)
    check_json(folder, "calf_Predictions-v2.json", predictions, rate, report)


def check_calf_training(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    model = calf(json.loads(str(arrays["args"])))
    weights = variables(arrays.under("w0::"))
    optimizer = optax.adam(float(arrays["lr"]), eps=float(arrays["eps"]))
    state = optimizer.init(weights["params"])

    @jax.jit
    def run(weights: Any, *batch: Any) -> Any:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            segmentation, detection, _, changed = calf_losses(
                model, weights | {"params": params}, *batch, arrays["K_frames"]
            )
            return 0.000367 * segmentation + detection, (segmentation, detection, changed)

        return jax.value_and_grad(loss, has_aux=True)(weights["params"])

    first_gradients = None
    for step in range(sum(key.startswith("labels") for key in arrays)):
        batch = [arrays[f"{key}{step}"] for key in ("x", "labels", "targets")]
        (value, (segmentation, detection, changed)), gradients = run(weights, *batch)
        for key, ours in (("loss", value), ("loss_seg", segmentation), ("loss_spot", detection)):
            report.relative(f"{name}/{key}{step}", ours, arrays[f"{key}{step}"], LOSS)
        if step == 0:
            first_gradients = check_gradients(name, "g0::", {"params": gradients}, arrays, report)
        updates, state = optimizer.update(gradients, state, weights["params"])
        weights = {"params": optax.apply_updates(weights["params"], updates)} | dict(changed)
        check_weights(name, f"w{step + 1}::", weights, arrays, report, first_gradients)


# RMS-Net


def rms_head(weights: Mapping[str, np.ndarray]) -> RmsNetHead:
    widths = tuple(
        len(weights[f"{key}.bias"]) for key in ("temporal_conv1", "temporal_conv2", "fc2")
    )
    taps = weights["temporal_conv1.weight"].shape[2]
    return RmsNetHead(len(weights["fc_class.bias"]) - 1, widths, taps)


def check_head_model(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    weights = arrays.under("w::")
    model, params, x = rms_head(weights), variables(weights), arrays["x"]
    labels, places = arrays["labels"], arrays["rel_offset"].astype(np.float32)
    factor = float(arrays["lam"])
    outputs = jax.jit(model.apply)(params, x)
    report.relative(f"{name}/logits", outputs.logits, arrays["logits"], FORWARD)
    report.relative(f"{name}/offset", outputs.offset, arrays["offset"][:, 0], FORWARD)

    def loss(params: Any, labels: Any, factor: float) -> jax.Array:
        outputs = model.apply(params, x)
        return losses.clip_loss(outputs.logits, outputs.offset, labels, places, place_weight=factor)

    value, gradients = jax.value_and_grad(loss)(params, labels, factor)
    report.absolute(f"{name}/loss", value, arrays["loss"], LOSS)
    entropy = loss(params, labels, 0.0)
    report.absolute(f"{name}/xe", entropy, arrays["xe"], LOSS)
    report.absolute(f"{name}/mse", loss(params, labels, 1.0) - entropy, arrays["mse"], LOSS)
    check_gradients(name, "g::", gradients, arrays, report)
    background = np.full_like(labels, model.num_classes)
    key = "loss_all_background"
    report.absolute(f"{name}/{key}", loss(params, background, factor), arrays[key], LOSS)


def check_head_full(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    weights, x = drawn_weights(arrays, name, report), drawn_input(arrays)
    model = rms_head(weights)
    report.exact(f"{name}/n_params_head", count_parameters(model, x), arrays["n_params_head"])
    outputs = jax.jit(model.apply)(variables(weights), x)
    report.relative(f"{name}/logits", outputs.logits, arrays["logits"], FORWARD)
    report.relative(f"{name}/offset", outputs.offset, arrays["offset"][:, 0], FORWARD)


def check_head_training(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    factor = warmup_cosine(int(arrays["it_max"]), int(arrays["warmup"]))
    theirs = arrays["schedule_factor"]
    report.absolute(f"{name}/schedule_factor", factor(np.arange(len(theirs))), theirs, 1e-6)
    weights = arrays.under("w0::")
    model, params = rms_head(weights), variables(weights)

    # The arrays' learning rate is that of a factor of 1.
    steps = sum(key.startswith("labels") for key in arrays)
    rates = [float(arrays[f"lr{step}"]) for step in range(steps)]
    optimizer = decayed_sgd(lambda step: jnp.array(rates)[step])
    state = optimizer.init(params)

    @jax.jit
    @jax.value_and_grad
    def run(params: Any, x: Any, labels: Any, places: Any) -> jax.Array:
        outputs = model.apply(params, x)
        return losses.clip_loss(outputs.logits, outputs.offset, labels, places)

    for step in range(steps):
        x, labels = arrays[f"x{step}"], arrays[f"labels{step}"]
        value, gradients = run(params, x, labels, arrays[f"rel_offset{step}"].astype(np.float32))
        report.absolute(f"{name}/loss{step}", value, arrays[f"loss{step}"], LOSS)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        check_weights(name, f"w{step + 1}::", params, arrays, report)


def check_clips(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    frames, lengths = int(arrays["frames_per_clip"]), arrays["n_frames"].tolist()
    report.exact(
        f"{name}/table_columns",
        [column.split("(")[0] for column in arrays["table_columns"].tolist()],
        ["half", "first_frame", "end_frame", "class"],
    )
    events = known_events(folder, "rms_Labels-v2.json")
    labels = [matrix_of(events, number, length, 2.0) for number, length in enumerate(lengths, 1)]
    table = clips.list_clips(labels, frames, only_between_events=True)
    # Theirs counts halves and frames from 1.
    first = table.start + 1
    rows = np.stack([table.half + 1, first, first + frames, table.label], axis=1)
    is_event = table.label < labels[0].shape[1]
    report.exact(f"{name}/augmented", rows[is_event], arrays["augmented"])
    theirs = arrays["augmented_offset"]
    report.absolute(f"{name}/augmented_offset", table.place[is_event], theirs, 1e-6)
    report.exact(f"{name}/background_train", rows[~is_event], arrays["background_train"])
    middle = rows[is_event & np.isclose(table.place, 0.5)]
    order = np.lexsort((middle[:, 1], middle[:, 0]))
    report.exact(f"{name}/events", middle[order], arrays["events"])
    report.exact(f"{name}/events_offset", np.full(len(middle), 0.5), arrays["events_offset"])


def check_clip_decoding(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    half, first, label = (arrays[key] for key in ("half", "start_frame", "cls"))
    score = arrays["score"]
    frames = 41
    spot = clip_inference.place_spots(first - 1, arrays["shift"], frames, late=True)
    position = (np.asarray(spot) / 2 * 1000).astype(np.int64)
    decoded = np.stack([half, position, label], axis=1)
    report.exact(f"{name}/decoded", decoded, arrays["decoded"])
    report.exact(f"{name}/decoded_conf", score.astype(np.float64), arrays["decoded_conf"])
    seconds = position // 1000
    times = [f"{h} - {s // 60:02d}:{s % 60:02d}" for h, s in zip(half, seconds, strict=True)]
    report.exact(f"{name}/decoded_gameTime", times, arrays["decoded_gameTime"])
    # Official suppression sorts confidences as text: their ranks as text are what ours sorts.
    text = np.array([str(value) for value in arrays["decoded_conf"].tolist()])
    rank = np.searchsorted(np.sort(text), text)
    for key in arrays:
        if match := re.fullmatch(r"standard_nms(\d+)", key):
            kept = suppress(decoded, rank, int(match[1]) - 1)
            # By label, then confidence, both descending.
            by_name = np.argsort(np.argsort(SOCCERNET_CLASSES))[label]
            order = kept[np.lexsort((-rank[kept], -by_name[kept]))]
            report.exact(f"{name}/{key}", decoded[order], arrays[key])
            conf = f"{key}_conf"
            report.exact(f"{name}/{conf}", score[order].astype(np.float64), arrays[conf])


def suppress(spots: np.ndarray, rank: np.ndarray, radius: int) -> np.ndarray:
    """Indices of the spots (half, milliseconds, class) that hard suppression keeps."""
    kept = []
    for half, label in sorted({(half, label) for half, _, label in spots.tolist()}):
        index = np.flatnonzero((spots[:, 0] == half) & (spots[:, 2] == label))
        scores = np.full(spots[:, 1].max() + 1, NO_SPOT, np.float32)
        scores[spots[index, 1]] = rank[index]
        found = np.asarray(hard_nms(scores, radius))
        kept += [i for i in index if found[spots[i, 1]] >= 0]
    return np.array(kept)


# All


def check_initialisation(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    for size in sorted({key.split("/", 1)[0] for key in arrays}):
        theirs = arrays.under(f"{size}/")
        shapes = {
            key.removesuffix("/shape"): shape.tolist()
            for key, shape in theirs.items()
            if key.endswith("/shape")
        }
        if size == "CALF":
            num_classes = shapes["conv_class.bias"][0] // 15
            model: nn.Module = Calf(num_classes, shapes["conv_p_4.weight"][2])
            features = np.zeros((1, shapes["batch_seg.weight"][0], shapes["conv_1.weight"][-1]))
        else:
            model = NetVLAD(shapes["fc.bias"][0] - 1)
            features = np.zeros((1, 4, shapes.get("feature_extractor.weight", [0, 512])[1]))
        init = jax.jit(model.init)
        draws = [init(jax.random.key(seed), features) for seed in range(NUM_DRAWS)]
        for key, shape in shapes.items():
            if key.endswith("num_batches_tracked"):
                continue
            (collection, module, leaf), array = to_ours(key, np.zeros(shape))
            ours = np.stack([draw[collection][module][leaf] for draw in draws])
            report.exact(f"{name}/{size}/{key}/shape", ours.shape[1:], array.shape)
            statistics = {what: theirs[f"{key}/{what}"] for what in ("std", "max", "mean")}
            check_statistics(f"{name}/{size}/{key}", ours, statistics, report)


def check_statistics(
    name: str, ours: np.ndarray, theirs: Mapping[str, np.ndarray], report: Report
) -> None:
    """`ours` are several draws of a weight, `theirs` the statistics of one."""
    std, mean, size = np.std(ours), np.mean(ours), ours[0].size
    if std == 0:
        bounds = {"std": 0.0, "max": 0.0, "mean": 0.0}
    else:
        # Both sides are estimates, and for other seeds to pass they may be five deviations apart.
        spread = 5 * (1 / size + 1 / ours.size) ** 0.5
        kurtosis = np.mean(np.square(np.square((ours - mean) / std)))
        bounds = {
            "std": max(0.03, spread * (kurtosis - 1) ** 0.5 / 2),
            # A uniform draw nearly reaches its limit, the greatest of normal ones is anywhere.
            "max": 0.03 + 14 / size if kurtosis < 2.5 else 0.4,
            "mean": spread,
        }
    report.relative(f"{name}/std", std, theirs["std"], bounds["std"])
    report.relative(f"{name}/max", np.max(ours), theirs["max"], bounds["max"], np.max(ours))
    report.relative(f"{name}/mean", mean, theirs["mean"], bounds["mean"], std or None)


CHECKS = (
    (r"nv_pool\.npz", check_pool),
    (r"nv_loss\.npz", check_window_loss),
    (r"nv_model_\w+\.npz", check_window_model),
    (r"nv_full_\w+\.npz", check_window_full),
    (r"nv_labels\.npz", check_window_labels),
    (r"(nv|calf)_nms\.npz", check_suppression),
    (r"nv_inference\.npz", check_window_inference),
    (r"nv_train\.npz", check_window_training),
    (r"(nv|calf)_trainer\.npz", check_plateau),
    (r"calf_shifts\.npz", check_shifts),
    (r"calf_negative_spans\.npz", check_background_runs),
    (r"calf_chunks\.npz", check_chunks),
    (r"calf_spotting_loss\.npz", check_detection_loss),
    (r"calf_segmentation_loss\.npz", check_context_loss),
    (r"calf_model_\w+\.npz", check_calf_model),
    (r"calf_full\.npz", check_calf_full),
    (r"calf_decode\.npz", check_calf_decoding),
    (r"calf_inference\.npz", check_calf_inference),
    (r"calf_train\.npz", check_calf_training),
    (r"rms_head_tiny\w*\.npz", check_head_model),
    (r"rms_head_full\.npz", check_head_full),
    (r"rms_train\.npz", check_head_training),
    (r"rms_clips\.npz", check_clips),
    (r"rms_decode\.npz", check_clip_decoding),
)

SKIPS = (
    (r"calf_inference\.npz/own_a_mAP.*", "CALF's own metric"),
    (r"rms_clips\.npz/val_.*", "labels of clips that are only spotted"),
    (r"rms_decode\.npz/new_nms.*", "a suppression that depends on the order in the file"),
    (r"rms_head_full\.npz/n_params_resnet50_with_fc", "the network that makes the features"),
)


def holds_baselines(folder: Folder) -> bool:
    """Whether a folder is of these systems."""
    return any(re.match(r"(nv|calf|rms)_", name) for name in folder.files)
