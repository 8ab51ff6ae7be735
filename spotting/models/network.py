"""The whole network: input reduction, trunk, head.

The confidence model and the displacement model are two of these, trained apart.

Source: paper, section 2; the projection and all sizes as in yahoo/spivak.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from spotting.models.layers import Conv3, Dense, glorot_uniform
from spotting.models.transformer import TransformerEncoder
from spotting.models.unet import UNet
from spotting.notation import Array, ChunkFeatures, ChunkOutputs


class Reduction(nn.Module):
    """Frame-wise MLP from the feature dimension P to what the trunk takes, ReLU after each layer.

    Features wider than `projection` first go through a layer of that width: this is what
    makes Table 1's 8.9M parameters for Combination, and the paper does not mention it.
    """

    projection: int
    widths: Sequence[int]
    dtype: jnp.dtype = jnp.float32

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
            x = nn.relu(Dense(units, self.dtype, init, name=name)(x))
        return x


class Network(nn.Module):
    """Features of a chunk to one output per anchor.

    Attributes:
      trunk: the trunk, a UNet or a TransformerEncoder.
      reduction: the input reduction.
      num_classes: K.
      kind: "confidence", whose outputs are logits, or "displacement", whose outputs are in [-1, 1],
        a fraction of the displacement radius.
    """

    trunk: nn.Module
    reduction: Reduction
    num_classes: int
    kind: str

    def setup(self) -> None:
        """Makes the head, which is small enough to be float32 always."""
        self.head = Conv3(self.num_classes, jnp.float32)

    def __call__(self, features: ChunkFeatures) -> ChunkOutputs:
        """[B, T, P] -> float32 [B, T, K]."""
        return self.spot(self.reduce(features))

    def reduce(self, features: Array) -> Array:
        """The part that sees one frame at a time, [..., P] -> [..., C]."""
        return self.reduction(features)

    def spot(self, reduced: Array) -> ChunkOutputs:
        """The part that sees a chunk, [B, T, C] -> float32 [B, T, K]."""
        outputs = self.head(self.trunk(reduced))
        return jnp.tanh(outputs) if self.kind == "displacement" else outputs


def build_network(
    kind: str,
    num_classes: int,
    trunk: str,
    projection: int,
    reduction: Sequence[int],
    dtype: jnp.dtype = jnp.float32,
    *,
    levels: int = 6,
    layers: int = 4,
    width: int = 128,
    num_heads: int = 4,
    mlp_dim: int = 512,
) -> Network:
    """A Network from plain values.

    Args:
      kind: "confidence" or "displacement".
      num_classes: K.
      trunk: "unet", which takes `levels`, or "transformer", which takes the arguments after it.
      projection: features wider than this are projected to it first.
      reduction: widths of the reduction MLP; the last one is what the trunk takes, and the width of
        the U-net's first level.
      dtype: of the computation; parameters and outputs are float32.
      levels: time scales of the U-net, each half as long as the one before.
      layers: encoder layers of the transformer.
      width: hidden size of the transformer.
      num_heads: attention heads.
      mlp_dim: hidden size of the feed-forward layers.
    """
    if trunk == "unet":
        module = UNet(levels, reduction[-1], dtype)
    elif trunk == "transformer":
        module = TransformerEncoder(layers, width, num_heads, mlp_dim, dtype)
    else:
        raise ValueError(f"unknown trunk {trunk!r}; it is 'unet' or 'transformer'")
    return Network(module, Reduction(projection, tuple(reduction), dtype), num_classes, kind)
