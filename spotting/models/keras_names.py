"""The weights of the official code, by their Keras names and layouts, and ours.

yahoo/spivak sees a chunk as an image of T x 1 pixels with channels: its convolutions have a second
axis of size one, and its first reduction layer spans the P features of a frame as if they were an
axis of the image. A transposed convolution holds its outputs before its inputs. The values are the
same.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from spotting.base.errors import InputError

Params = Mapping[str, Any]

HEADS = {"confidence": "confidence_convolution", "displacement": "delta_convolution"}
"""Keras name of the head of each kind of model."""

# Path of a layer in our tree -> name of the layer in Keras.
_TRUNK_LAYERS = (
    (r"down(\d+)_block(\d)/shortcut", r"bu_layer\1_block\2_shortcut_conv"),
    (r"down(\d+)_block(\d)/(\w+)", r"bu_layer\1_block\2_\3"),
    (r"up(\d+)", r"td_layer\1_transpose"),
    (r"up(\d+)_block(\d)/(\w+)", r"td_layer\1_block\2_\3"),
    (r"embed", r"encoder/embedding_hidden_mapping_in"),
    (r"layer(\d+)/attention_norm", r"encoder/layer_groups.\1/layer_norm"),
    (r"layer(\d+)/(q)uery", r"encoder/layer_groups.\1/attention/\2_proj"),
    (r"layer(\d+)/(k)ey", r"encoder/layer_groups.\1/attention/\2_proj"),
    (r"layer(\d+)/(v)alue", r"encoder/layer_groups.\1/attention/\2_proj"),
    (r"layer(\d+)/out", r"encoder/layer_groups.\1/attention/out_proj"),
    (r"layer(\d+)/mlp_norm", r"encoder/layer_groups.\1/final_layer_norm"),
    (r"layer(\d+)/mlp_in", r"encoder/layer_groups.\1/feed_forward/intermediate_dense"),
    (r"layer(\d+)/mlp_out", r"encoder/layer_groups.\1/feed_forward/output_dense"),
    (r"norm", r"encoder/layer_norm"),
)
_POSITION = "trunk/position"
_KERAS_POSITION = "encoder/pos_learned_embed/position_embeddings/embeddings"

_MOST_NAMED = 10  # in one error line


class KerasWeight(NamedTuple):
    """Name of a weight, without the ":0" that Keras appends, and its shape."""

    name: str
    shape: tuple[int, ...]


def kind_of(names: Iterable[str]) -> str:
    """The kind of model that weights of these Keras names are, "confidence" or "displacement".

    Raises:
      InputError: they have neither head, or both.
    """
    layers = {name.split("/")[0] for name in names}
    kinds = [kind for kind, head in HEADS.items() if head in layers]
    if len(kinds) != 1:
        raise InputError(
            f"not a model of the official code: its layers are {', '.join(sorted(layers)[:5])}, "
            f"..., with {'both' if kinds else 'neither'} of {' and '.join(HEADS.values())}"
        )
    return kinds[0]


def keras_weights(params: Params, kind: str) -> dict[str, KerasWeight]:
    """What the official code calls our parameters.

    Args:
      params: variables of a `Network`, arrays or anything else with a shape.
      kind: "confidence" or "displacement".

    Returns:
      Path of each parameter, such as "trunk/up0/kernel", to its Keras counterpart.
    """
    flat = flatten_dict(params["params"], sep="/")
    reduction = _reduction_layers(flat)
    counterparts = {}
    for path, array in flat.items():
        blank = np.broadcast_to(np.float32(0), array.shape)
        shape = _to_layout(path, blank, reduction).shape
        counterparts[path] = KerasWeight(_keras_name(path, kind, reduction), shape)
    return counterparts


def from_keras(weights: Mapping[str, np.ndarray], params: Params, kind: str) -> Params:
    """Our parameters from weights of the official code.

    Args:
      weights: arrays in Keras layout by their Keras names, with or without ":0".
      params: variables of the `Network` to fill; only their shapes are read.
      kind: "confidence" or "displacement".

    Returns:
      Variables like `params`, of float32 arrays.

    Raises:
      InputError: a parameter has no weight, a weight has no parameter, or their shapes differ.
    """
    given = {name.removesuffix(":0"): np.asarray(array) for name, array in weights.items()}
    expected = keras_weights(params, kind)
    require_fit({name: array.shape for name, array in given.items()}, expected.values())
    shapes = flatten_dict(params["params"], sep="/")
    flat = {
        path: _from_layout(path, given[name], shapes[path].shape)
        for path, (name, _) in expected.items()
    }
    return {"params": unflatten_dict(flat, sep="/")}


def to_keras(params: Params, kind: str) -> dict[str, np.ndarray]:
    """The inverse of `from_keras`: arrays in Keras layout by their Keras names, with ":0"."""
    flat = flatten_dict(params["params"], sep="/")
    reduction = _reduction_layers(flat)
    return {
        f"{_keras_name(path, kind, reduction)}:0": _to_layout(path, np.asarray(array), reduction)
        for path, array in flat.items()
    }


def require_fit(given: Mapping[str, tuple[int, ...]], expected: Iterable[KerasWeight]) -> None:
    """Raises InputError, with the first names, unless names and shapes are the expected ones."""
    wanted = dict(expected)
    problems = [
        f"{name} is {given[name]} but the model has {shape}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]
    problems += [f"no {name} {shape}" for name, shape in wanted.items() if name not in given]
    problems += [
        f"{name} {shape} is unknown" for name, shape in given.items() if name not in wanted
    ]
    if problems:
        more = f"; and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        named = "; ".join(problems[:_MOST_NAMED])
        raise InputError(f"the weights do not fit the model: {named}{more}")


def _reduction_layers(flat: Mapping[str, Any]) -> list[str]:
    """Names of the reduction's layers, in order."""
    names = {path.split("/")[1] for path in flat if path.startswith("reduction/")}
    return sorted(names, key=lambda name: (name != "projection", name))


def _keras_name(path: str, kind: str, reduction: list[str]) -> str:
    if path == _POSITION:
        return _KERAS_POSITION
    layer, leaf = path.rsplit("/", 1)
    part, _, rest = layer.partition("/")
    if part == "head":
        name = HEADS[kind]
    elif part == "reduction":
        if rest == "projection":
            name = "optional_projection"
        elif rest == reduction[-1]:
            name = "input_reduction_out"
        else:
            name = f"input_reduction_{int(rest.removeprefix('layer')) + 1}"
    else:
        pattern, replacement = next(rule for rule in _TRUNK_LAYERS if re.fullmatch(rule[0], rest))
        name = re.sub(pattern, replacement, rest)
    if name.endswith("_norm"):
        leaf = {"scale": "gamma", "bias": "beta"}[leaf]
    return f"{name}/{leaf}"


def _to_layout(path: str, array: np.ndarray, reduction: list[str]) -> np.ndarray:
    if re.fullmatch(r"trunk/up\d+/kernel", path):
        return array.transpose(1, 2, 0)[:, None]  # [C, 2, C'] to 2, 1, C', C
    if path == f"reduction/{reduction[0]}/kernel":
        return array[None, :, None]  # [P, C] to 1, P, 1, C
    if re.fullmatch(r"(reduction|head|trunk/(up|down)\d+_block\d)/.*kernel", path):
        return array[None, None] if array.ndim == 2 else array[:, None]
    return array


def _from_layout(path: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if re.fullmatch(r"trunk/up\d+/kernel", path):
        array = array[:, 0].transpose(2, 0, 1)
    return array.reshape(shape).astype(np.float32)
