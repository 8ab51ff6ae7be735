"""Weights that a training starts from instead of fresh ones: fine-tuning, or the official start.

They are those of a finished run or of a model of the official code. The trunk has to fit. The head
is taken over class by class: of a run, the classes of the same name; of an official model, which
names none, all of them if there are as many. Other classes start fresh.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from spotting.base.errors import InputError
from spotting.base.logs import log
from spotting.models.keras_files import read_weights
from spotting.models.keras_names import HEADS, KerasWeight, from_keras, kind_of, require_fit
from spotting.runs import layout
from spotting.runs.folders import SeedRun
from spotting.runs.hub import find_run
from spotting.runs.setup import Setup
from spotting.runs.trained import load_run


def load_initial_weights(setup: Setup, kind: str, seed: int, fresh: Any) -> Any:
    """The weights that the config says a model of a seed starts from; `fresh` if it says nothing.

    Errors are those of `read_initial_weights`.
    """
    path = setup.config[kind].initial_weights
    if not path:
        return fresh
    path = Path(path.replace("{seed}", str(seed)))
    return read_initial_weights(path, kind, fresh, setup.matches.classes)


def check_initial_weights(setup: Setup, runs: Iterable[SeedRun]) -> None:
    """Reads what trainings are to start from: the second model's turn may be hours away."""
    for kind in setup.kinds:
        shapes = setup.variable_shapes(kind)
        for run in runs:
            if not run.checkpoints[kind].step("latest"):
                load_initial_weights(setup, kind, run.seed, shapes)


def read_initial_weights(path: Path, kind: str, fresh: Any, classes: tuple[str, ...]) -> Any:
    """Weights in place of fresh ones.

    Args:
      path: a run folder, hf://owner/name[@revision], or what `models.keras_files.read_weights`
        takes.
      kind: "confidence" or "displacement".
      fresh: variables of the `Network` as they were drawn, or their shapes.
      classes: the K classes to be spotted.

    Returns:
      Variables like `fresh`. If those are shapes, so is the head: weights are then only checked.

    Raises:
      InputError: there is no such model, it is of the other kind, or its trunk does not fit.
    """
    try:
        path = find_run(path)
        if (path / layout.CONFIG).is_file():
            run = load_run(path)
            weights, known = getattr(run, kind).params, run.dataset.classes
        else:
            weights = _read_official(path, kind, fresh)
            # Unnamed: the same ones, if they are as many.
            count = weights["params"]["head"]["bias"].size
            known = classes if count == len(classes) else ()
        return _replace_weights(
            weights, fresh, classes, tuple(known), f"{kind}: starts from {path}"
        )
    except InputError as error:
        prefix = "" if str(error).startswith(str(path)) else f"{path}: "
        raise InputError(f"{prefix}{error}") from error


def _read_official(path: Path, kind: str, fresh: Any) -> Any:
    """Variables of an official model, with as many classes as it has."""
    named = read_weights(path)
    if kind_of(named) != kind:
        raise InputError(f"a {kind_of(named)} model, and not a {kind} model")
    bias = next(array for name, array in named.items() if name.startswith(f"{HEADS[kind]}/bias"))
    head = {
        name: jax.ShapeDtypeStruct((*leaf.shape[:-1], bias.size), leaf.dtype)
        for name, leaf in fresh["params"]["head"].items()
    }
    return from_keras(named, {"params": {**fresh["params"], "head": head}}, kind)


def _replace_weights(
    weights: Any, fresh: Any, classes: tuple[str, ...], known: tuple[str, ...], what: str
) -> Any:
    given, wanted = (flatten_dict(tree["params"], sep="/") for tree in (weights, fresh))
    require_fit(
        {name: leaf.shape for name, leaf in given.items() if not name.startswith("head/")},
        [
            KerasWeight(name, leaf.shape)
            for name, leaf in wanted.items()
            if not name.startswith("head/")
        ],
    )
    here, there = (
        jnp.array([names.index(label) for label in classes if label in known], int)
        for names in (classes, known)
    )
    only_checked = isinstance(wanted["head/bias"], jax.ShapeDtypeStruct)
    for name in ("head/kernel", "head/bias"):
        if only_checked:
            given[name] = wanted[name]
        else:
            given[name] = wanted[name].at[..., here].set(given[name][..., there])
    new = len(classes) - len(here)
    if not only_checked:
        log(what + (f", but for {new} new classes" if new else ""))
    return {"params": unflatten_dict(given, sep="/")}
