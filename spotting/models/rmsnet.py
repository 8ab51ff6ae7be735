"""RMS-Net's head: the class of a clip, and where in the clip the action is.

The published system trains it together with the ResNet that makes a frame's features, on the
frames themselves. Here it is trained on stored features.

Source: Tomei et al., "RMS-Net: Regression and Masking for Soccer Event Spotting", ICPR 2021; sizes
as in aimagelab/RMSNet_Soccer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from spotting.models.linear import Linear, TimeConvolution, dropout
from spotting.notation import Array, ChunkFeatures


class ClipOutputs(NamedTuple):
    """What the network says of a clip.

    Attributes:
      logits: [B, K + 1]; the last column is that of no class.
      offset: [B] in 0..1, the action's place in the clip.
    """

    logits: Array
    offset: Array


class RmsNetHead(nn.Module):
    """Features of a clip to its class and the action's place in it.

    Attributes:
      num_classes: K.
      widths: channels of the two convolutions, and of the layer after the maximum over time.
      taps: frames of a convolution.
      dropout_rate: of the second convolution's output, in training.
    """

    num_classes: int
    widths: Sequence[int] = (512, 256, 128)
    taps: int = 9
    dropout_rate: float = 0.1

    @nn.compact
    def __call__(self, features: ChunkFeatures, dropout_key: Array | None = None) -> ClipOutputs:
        """[B, T, P] -> logits [B, K + 1] and offsets [B].

        Args:
          features: of clips.
          dropout_key: for training; without it nothing is dropped.
        """
        h = nn.relu(TimeConvolution(self.widths[0], self.taps, name="convolve0")(features))
        h = nn.relu(TimeConvolution(self.widths[1], self.taps, name="convolve1")(h))
        h = jnp.max(dropout(h, self.dropout_rate, dropout_key), axis=1)
        h = nn.relu(Linear(self.widths[2], name="reduce")(h))
        logits = Linear(self.num_classes + 1, name="classes")(h)
        offset = nn.sigmoid(Linear(1, name="offset")(h))
        return ClipOutputs(logits, offset[:, 0])
