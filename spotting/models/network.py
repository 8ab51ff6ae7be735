"""The whole network: input reduction, trunk, head.

The confidence model and the displacement model are two of these, trained apart.

Source: paper, section 2; the projection and all sizes as in yahoo/spivak.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spotting.models.layers import Conv3, Dense, Precision, glorot_uniform
from spotting.models.transformer import build_transformer, check_transformer
from spotting.models.unet import build_unet, check_unet
from spotting.notation import Array, ChunkFeatures, ChunkOutputs


class Reduction(nn.Module):
    """Frame-wise MLP from the feature dimension P to what the trunk takes, ReLU after each layer.

    Features wider than `projection` first go through a layer of that width: this is what
    makes Table 1's 8.9M parameters for Combination, and the paper does not mention it.
    """

    projection: int
    widths: Sequence[int]
    dtype: jnp.dtype = jnp.float32
    precision: Precision = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., P] -> [..., widths[-1]]."""
        features = x.shape[-1]
        layers = [(f"layer{index}", units) for index, units in enumerate(self.widths)]
        if features > self.projection:
            layers.insert(0, ("projection", self.projection))
        for index, (name, units) in enumerate(layers):
            # The official first layer is a convolution over a one-channel image, so glorot counts
            # P * units outputs; it starts 13 to 22 times smaller than a Dense would.
            init = glorot_uniform(features, features * units) if index == 0 else None
            x = nn.relu(Dense(units, self.dtype, self.precision, init, name=name)(x))
        return x


class Trunk(NamedTuple):
    """A trunk that a config may name in `model.trunk`; its sizes are the fields `model.<name>`.

    Attributes:
      build: (input width, dtype, precision, **sizes) to the module, [B, T, C] -> [B, T, C'].
      check: (T, **sizes); raises InputError where the trunk cannot take such a chunk.
    """

    build: Callable[..., nn.Module]
    check: Callable[..., None]


TRUNKS: Mapping[str, Trunk] = MappingProxyType(
    {
        "unet": Trunk(build_unet, check_unet),
        "transformer": Trunk(build_transformer, check_transformer),
    }
)
"""The trunks by name. A new one is a file like unet.py, a line here, and its sizes in a config."""


class Output(NamedTuple):
    """What becomes of the head's values.

    Attributes:
      train: gives what the loss takes.
      predict: gives what is predicted, from what `train` gives.
    """

    train: Callable[[Array], Array]
    predict: Callable[[Array], Array]


OUTPUTS: Mapping[str, Output] = MappingProxyType(
    {
        # The loss takes logits, a prediction is in [0, 1].
        "confidence": Output(lambda x: x, jax.nn.sigmoid),
        # In [-1, 1], a fraction of the displacement radius.
        "displacement": Output(jnp.tanh, lambda x: x),
    }
)


class Network(nn.Module):
    """Features of a chunk to one output per anchor.

    Attributes:
      trunk: the trunk, of `TRUNKS`.
      reduction: the input reduction.
      num_classes: K.
      kind: a key of `OUTPUTS`.
    """

    trunk: nn.Module
    reduction: Reduction
    num_classes: int
    kind: str

    def setup(self) -> None:
        """Makes the head, which is small enough to be float32 always."""
        self.head = Conv3(self.num_classes, jnp.float32, self.reduction.precision)

    def __call__(self, features: ChunkFeatures) -> ChunkOutputs:
        """What the loss takes, [B, T, P] -> float32 [B, T, K]."""
        return self.spot(self.reduce(features))

    def reduce(self, features: Array) -> Array:
        """The part that sees one frame at a time, [..., P] -> [..., C]."""
        return self.reduction(features)

    def spot(self, reduced: Array) -> ChunkOutputs:
        """The part that sees a chunk, [B, T, C] -> float32 [B, T, K], as `__call__` gives."""
        return OUTPUTS[self.kind].train(self.head(self.trunk(reduced)))

    def predict(self, reduced: Array) -> ChunkOutputs:
        """Confidences in [0, 1] or displacements in [-1, 1], [B, T, C] -> float32 [B, T, K]."""
        return OUTPUTS[self.kind].predict(self.spot(reduced))


def build_network(
    kind: str,
    num_classes: int,
    trunk: str,
    projection: int,
    reduction: Sequence[int],
    dtype: jnp.dtype = jnp.float32,
    precision: Precision = None,
    **sizes: Any,
) -> Network:
    """A network from plain values.

    Args:
      kind: a key of `OUTPUTS`, "confidence" or "displacement".
      num_classes: K.
      trunk: a key of `TRUNKS`.
      projection: features wider than this are projected to it first.
      reduction: widths of the reduction MLP; the last one is what the trunk takes.
      dtype: of the computation; parameters and outputs are float32.
      precision: of float32 products, see `layers.Precision`.
      sizes: of the trunk: `levels` of a U-net; `layers`, `width`, `num_heads`, `mlp_dim` and
        `attention` of a transformer.
    """
    if trunk not in TRUNKS:
        raise ValueError(f"unknown trunk {trunk!r}; one of {', '.join(TRUNKS)}")
    module = TRUNKS[trunk].build(reduction[-1], dtype, precision, **sizes)
    first = Reduction(projection, tuple(reduction), dtype, precision)
    return Network(module, first, num_classes, kind)
