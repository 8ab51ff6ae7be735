"""The official U-net in Keras, by its layers' names and in the order in which it is built."""

from collections.abc import Sequence
from typing import Any


def unet(
    keras: Any,
    frames: int,
    features: int,
    classes: int,
    reduction: Sequence[int],
    levels: int,
    head: str = "confidence_convolution",
) -> Any:
    """A model of images [frames, features, 1] that gives [frames, 1, classes].

    Args:
      keras: Keras 2.
      frames: T.
      features: P, no more than 512: there is no projection.
      classes: K.
      reduction: widths of the two layers of the input MLP.
      levels: of the U-net.
      head: name of the last layer, which tells the kind of model.
    """

    def conv(x, units, name, size=(1, 1)):
        return keras.layers.Conv2D(units, size, padding="same", name=name)(x)

    def block(x, units, name):
        h = keras.layers.ReLU()(x)
        y = conv(h, units // 4, f"{name}_reduce")
        y = conv(keras.layers.ReLU()(y), units // 4, f"{name}_convolve", (3, 1))
        y = conv(keras.layers.ReLU()(y), units, f"{name}_expand")
        shortcut = x if x.shape[-1] == units else conv(h, units, f"{name}_shortcut_conv")
        return shortcut + y

    def blocks(x, units, name):
        return block(block(x, units, f"{name}_block0"), units, f"{name}_block1")

    inputs, x = reduced(keras, frames, features, reduction)
    skips = []
    for level in range(levels):
        x = keras.layers.MaxPool2D((2, 1))(x) if level else x
        x = blocks(x, reduction[-1] * 2**level, f"bu_layer{level}")
        skips.append(x)
    for level in reversed(range(levels - 1)):
        units, name = reduction[-1] * 2**level, f"td_layer{level}"
        up = keras.layers.Conv2DTranspose(units, (2, 1), (2, 1), name=f"{name}_transpose")
        x = blocks(skips[level] + up(keras.layers.ReLU()(x)), units, name)
    outputs = conv(keras.layers.ReLU()(x), classes, head, (3, 1))
    if head == "delta_convolution":
        outputs = keras.layers.Activation("tanh")(outputs)
    return keras.Model(inputs, outputs)


def reduced(keras: Any, frames: int, features: int, widths: Sequence[int]) -> tuple[Any, Any]:
    """Keras's input and what the input MLP makes of it, [frames, 1, widths[-1]]."""
    inputs = keras.Input((frames, features, 1))
    first, last = widths
    layer = keras.layers.Conv2D(first, (1, features), activation="relu", name="input_reduction_1")
    out = keras.layers.Conv2D(last, 1, activation="relu", name="input_reduction_out")
    return inputs, out(layer(inputs))
