"""Checks of the models: forward, gradients, training steps, sizes and initialisation."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from parity_report import Arrays, Folder, Report

from configs import (
    common,
    te_base_resnet_pca,
    te_small_resnet_pca,
    unet_combination,
    unet_resnet_pca,
)
from spotting.anchors import AnchorTargets
from spotting.data.resident import Batch
from spotting.models.keras_names import HEADS, from_keras, kind_of, to_keras
from spotting.models.network import Network
from spotting.runs.setup import make_network
from spotting.training import losses
from spotting.training.objectives import Objective
from spotting.training.optimizer import linear_decay
from spotting.training.sam import sam
from spotting.training.step import (
    Hyper,
    OptimizerSettings,
    TrainState,
    make_optimizer,
    train_step,
)

FORWARD, GRADIENT, LOSS, WEIGHT = 1e-5, 1e-4, 1e-5, 1e-5
KINDS = {"confidence": "confidence", "delta": "displacement"}

FULL_SIZE = {
    "DU_RNPCA": unet_resnet_pca.get_config(),
    "DU_COMB": unet_combination.get_config(),
    "DTES_RNPCA": te_small_resnet_pca.get_config(),
    "DTEB_RNPCA": te_base_resnet_pca.get_config(),
}
NUM_DRAWS = 3  # of each initial weight

# Official name of an activation -> the module of ours that it enters or leaves.
ACTIVATIONS = (
    (r"optional_projection_relu", r"reduction/layer0 in"),
    (r"input_reduction_(\d+)_relu", r"reduction/layer\1 in"),
    (r"input_reduction_out_relu", r"reduction out"),
    (r"bu_layer(\d+)_max_pooling", r"trunk/down\1_block0 in"),
    (r"bu_layer(\d+)_block(\d)_shortcut_add", r"trunk/down\1_block\2 out"),
    (r"td_layer(\d+)_transpose_relu", r"trunk/up\1 in"),
    (r"td_layer(\d+)_transpose", r"trunk/up\1 out"),
    (r"td_layer(\d+)_combine_add", r"trunk/up\1_block0 in"),
    (r"td_layer(\d+)_block(\d)_shortcut_add", r"trunk/up\1_block\2 out"),
    (r"td_post_relu", r"trunk out"),
)


def check_small(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    features, targets, weights = _batch(arrays)
    model = _small_model(arrays, targets.shape[-1])
    params = from_keras(arrays.under("w::"), _shapes(model, features.shape[1:]), model.kind)
    loss_of = _loss(model.kind)

    @jax.jit
    def run(params: Any) -> tuple:
        def loss(params: Any) -> tuple[jax.Array, tuple]:
            outputs, seen = _apply_watched(model, params, features)
            return loss_of(outputs, targets, weights), (outputs, seen)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (value, (outputs, seen)), grads = run(params)
    for key in ("y", "y_predict"):
        report.relative(f"{name}/{key}", outputs, arrays[key][..., 0], FORWARD)
    report.absolute(f"{name}/loss", value, arrays["loss"], LOSS)
    for pattern, path in ACTIVATIONS:
        for key in arrays:
            if match := re.fullmatch(f"a::{pattern}", key):
                ours, theirs = seen[match.expand(path)], arrays[key][:, :, 0]
                report.relative(f"{name}/{key}", ours, theirs, FORWARD)
    _check_gradients(name, "g::", to_keras(grads, model.kind), arrays, report)


def check_full(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    size, kind = re.fullmatch(r"full_(\w+)_(\w+)\.npz", name).groups()
    _, frames, num_classes, _ = arrays["y"].shape
    names, shapes = arrays["weight_names"].tolist(), arrays["weight_shapes"].tolist()
    weights = {
        key: _drawn_weight(key, json.loads(shape), int(arrays["w_seed0"]) + index)
        for index, (key, shape) in enumerate(zip(names, shapes, strict=True))
    }
    first_values = [array.flat[0] for array in weights.values()]
    report.relative(f"{name}/first_values", first_values, arrays["first_values"], 1e-6)

    model = make_network(FULL_SIZE[size], KINDS[kind], num_classes)
    num_features = weights[names[0]].shape[1]
    chunks = _generator(arrays["x_seed"]).standard_normal((2, frames, num_features))
    template = _shapes(model, chunks.shape[1:])
    count = sum(leaf.size for leaf in jax.tree.leaves(template))
    report.exact(f"{name}/n_params", count, arrays["n_params"])
    params = from_keras(weights, template, model.kind)
    outputs = jax.jit(model.apply)(params, chunks.astype(np.float32))
    report.relative(f"{name}/y", outputs, arrays["y"][..., 0], FORWARD)


def check_training(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    model = _small_model(arrays, arrays["targets0"].shape[-1])
    weights = arrays.under("w0::")
    params = from_keras(weights, _shapes(model, arrays["x0"].shape[1:3]), model.kind)
    rho = float(arrays["rho"])
    hyper = Hyper(float(arrays["lr0"]), float(arrays["wd0"]), rho, mixup_alpha=0.0)
    num_steps = int(arrays["steps_per_epoch"] * arrays["linear_epochs"])
    optimizer = OptimizerSettings(num_steps, sam_eps=float(arrays["sam_eps"]))
    tx = make_optimizer(hyper, optimizer)
    _check_sam_gradients(arrays, name, model, params, rho, report)

    @jax.jit
    def step_on(state: TrainState, features: Any, targets: Any, weights: Any) -> tuple:
        batch = Batch(features, None, np.ones(features.shape[:2], bool))
        objective = Objective(model, lambda _: AnchorTargets(targets, weights), _loss(model.kind))
        return train_step(state, batch, None, objective, tx)

    state = TrainState(jnp.zeros([], jnp.int32), None, params, tx.init(params))
    for step in range(sum(key.startswith("lr_step") for key in arrays)):
        for key, start in (("lr", hyper.learning_rate), ("wd", hyper.weight_decay)):
            ours = linear_decay(start, optimizer.end_fraction, num_steps)(step)
            report.relative(f"{name}/{key}_step{step}", ours, arrays[f"{key}_step{step}"], 1e-5)
        state, metrics = step_on(state, *_batch(arrays, str(step)))
        for key, value in (
            ("loss_clean", metrics.loss),
            ("loss_perturbed", metrics.perturbed_loss),
            ("reported_loss", (metrics.loss + metrics.perturbed_loss) / 2),
        ):
            report.absolute(f"{name}/{key}{step}", value, arrays[f"{key}{step}"], LOSS)
        key = f"grad_norm{step}"
        report.relative(f"{name}/{key}", metrics.grad_norm, arrays[key], GRADIENT)
        after = to_keras(state.params, model.kind)
        for key, theirs in arrays.under(f"w{step + 1}::").items():
            report.absolute(f"{name}/w{step + 1}::{key}", after[key], theirs, WEIGHT)


def _check_sam_gradients(
    arrays: Arrays, name: str, model: Network, params: Any, rho: float, report: Report
) -> None:
    features, targets, weights = _batch(arrays, "0")
    loss_of = _loss(model.kind)

    @jax.jit
    @jax.value_and_grad
    def loss_and_grad(params: Any) -> jax.Array:
        return loss_of(model.apply(params, features), targets, weights)

    clean = loss_and_grad(params)[1]
    # With an optimiser that does nothing, the update is the second pass's gradient.
    optimizer = sam(optax.identity(), rho, float(arrays["sam_eps"]))
    perturbed, _ = optimizer.update(clean, optimizer.init(params), params, grad_fn=loss_and_grad)
    for prefix, grads in (("g_clean0::", clean), ("g_perturbed0::", perturbed)):
        _check_gradients(name, prefix, to_keras(grads, model.kind), arrays, report)


def _check_gradients(
    name: str, prefix: str, ours: Mapping[str, np.ndarray], arrays: Arrays, report: Report
) -> None:
    theirs = arrays.under(prefix)
    greatest = max(np.abs(grad).max() for grad in theirs.values())
    for key, grad in theirs.items():
        # What should be zero (attention does not depend on the keys' biases) is rounding noise,
        # which is small beside the other gradients, not beside itself.
        scale = max(np.abs(grad).max(), 1e-3 * greatest)
        report.relative(f"{name}/{prefix}{key}", ours[key], grad, GRADIENT, scale)


def check_initialisation(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    for size in sorted({key.split("/", 1)[0] for key in arrays}):
        theirs = arrays.under(f"{size}/")
        shapes = {
            key.removesuffix("/shape"): tuple(shape.tolist())
            for key, shape in theirs.items()
            if key.endswith("/shape")
        }
        ours = _initial_weights(size, shapes)
        report.exact(f"{name}/{size}", sorted(ours), sorted(shapes))
        for key, shape in shapes.items():
            report.exact(f"{name}/{size}/{key}/shape", ours[key].shape[1:], shape)
            statistics = {what: theirs[f"{key}/{what}"] for what in ("std", "max", "mean")}
            _check_statistics(f"{name}/{size}/{key}", ours[key], statistics, report)


def _check_statistics(
    name: str, ours: np.ndarray, theirs: Mapping[str, np.ndarray], report: Report
) -> None:
    """`ours` are several draws of a weight, `theirs` the statistics of one."""
    std, mean, greatest = np.std(ours), np.mean(ours), np.max(np.abs(ours))
    if std == 0:
        bounds = {"std": 0, "max": 0, "mean": 0}
    else:
        # Both sides are estimates, and for other seeds to pass they may be five deviations apart.
        spread = 5 * (1 / ours[0].size + 1 / ours.size) ** 0.5
        kurtosis = np.mean(np.square(np.square((ours - mean) / std)))
        bounds = {
            "std": max(0.03, spread * (kurtosis - 1) ** 0.5 / 2),
            "max": 0.03,
            "mean": spread,
        }
    scale = std or None
    report.relative(f"{name}/std", std, theirs["std"], bounds["std"])
    report.relative(f"{name}/max", greatest, theirs["max"], bounds["max"])
    report.relative(f"{name}/mean", mean, theirs["mean"], bounds["mean"], scale)


def _initial_weights(size: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Draws of all weights of a full-size model, [draws, ...] each, in Keras layout."""
    num_classes = shapes[f"{HEADS[kind_of(shapes)]}/bias:0"][0]
    model = make_network(FULL_SIZE[size], kind_of(shapes), num_classes)
    positions = (shape for key, shape in shapes.items() if "position_embeddings" in key)
    frames = next(positions, (2 ** FULL_SIZE[size].model.unet.levels,))[0]
    chunk = jax.ShapeDtypeStruct((1, frames, next(iter(shapes.values()))[1]), jnp.float32)
    draws = [
        to_keras(model.lazy_init(jax.random.key(seed), chunk), model.kind)
        for seed in range(NUM_DRAWS)
    ]
    return {key: np.stack([draw[key] for draw in draws]) for key in draws[0]}


def _drawn_weight(name: str, shape: list[int], seed: int) -> np.ndarray:
    """A weight of the full-size models, as the folder's README says how to make it."""
    values = _generator(seed).standard_normal(shape)
    leaf = name.removesuffix(":0").rsplit("/", 1)[1]
    if leaf in ("bias", "beta"):
        values = 0.1 * values
    elif leaf == "gamma":
        values = 1 + 0.1 * values
    elif "transpose" in name:
        values = values / np.sqrt(shape[0] * shape[1] * shape[3])
    else:
        values = values / np.sqrt(np.prod(shape[:-1]))
    return values.astype(np.float32)


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(int(seed)))


def _small_model(arrays: Arrays, num_classes: int) -> Network:
    """The model that the official arguments describe."""
    args = json.loads(str(arrays["args"]))
    config = common.get_config()
    config.model.reduction = (16 * args["width"], 4 * args["width"])
    if args["backbone"] == "unet":
        config.model.unet.levels = args["unet_layers_end"]
    else:
        config.model.trunk = "transformer"
        config.model.transformer.update(
            layers=args["transformer_hidden_layers"],
            width=args["transformer_hidden_size"],
            num_heads=args["transformer_attention_heads"],
            mlp_dim=args["transformer_intermediate_size"],
        )
    return make_network(config, kind_of(arrays["weight_names"].tolist()), num_classes)


def _shapes(model: Network, chunk_shape: tuple[int, ...]) -> Any:
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *chunk_shape)))


def _batch(arrays: Arrays, step: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features, targets, weights = (arrays[key + step] for key in ("x", "targets", "loss_weights"))
    return features[..., 0], targets, weights


def _loss(kind: str) -> Callable[..., jax.Array]:
    return losses.confidence_loss if kind == "confidence" else losses.displacement_loss


def _apply_watched(
    model: Network, params: Any, features: np.ndarray
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Outputs, and what enters and leaves every module."""
    seen = {}

    def watch(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        result = call(*args, **kwargs)
        if context.method_name == "__call__":
            path = "/".join(context.module.path)
            seen[f"{path} in"], seen[f"{path} out"] = args[0], result
        return result

    with nn.intercept_methods(watch):
        return model.apply(params, features), seen
