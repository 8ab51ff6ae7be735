"""The letters of this project, the same in every signature, comment and test.

    B   chunks in a batch
    T   frames in a chunk (112 s: 224 at 2 frames per second, 112 at 1)
    P   feature dimension (512 for ResNet+PCA, 8576 for Combination)
    K   classes (17 in SoccerNet-v2)
    N   frames in a half, or in an array of halves padded to one length
    H   halves
    S   seeds, trainings of one configuration that run together
    f   frames per second

A *half* is one feature file, the unit of time. A *chunk* is T frames of one half. An *anchor* is a
pair (frame, class): the model gives each one a *confidence* and a *displacement*. A *spot* is an
anchor that survived decoding and non-maximum suppression: an action and its time.

The arrays that travel between modules have names, too. They are for the reader: type checkers see
an array.
"""

from typing import TypeAlias

import jax
import numpy as np

Array: TypeAlias = jax.Array

HalfFeatures: TypeAlias = np.ndarray
"""[N, P] float16 or float32, perhaps memory-mapped: the features of a half."""

Labels: TypeAlias = np.ndarray
"""[N, K] uint8: 1 where an event of the class falls on the frame."""

Offsets: TypeAlias = np.ndarray
"""[N, K] int16: frames from each anchor to the nearest event of its class, NO_EVENT for none."""

ChunkFeatures: TypeAlias = Array
"""[B, T, P]: the features of a batch of chunks."""

ChunkOutputs: TypeAlias = Array
"""[B, T, K] float32: logits, or displacements in units of their radius."""

Targets: TypeAlias = Array
"""[B, T, K] float32: what the outputs should be."""

LossWeights: TypeAlias = Array
"""[B, T, K] float32: how much each anchor counts in the loss, 0 for not at all."""

Confidence: TypeAlias = np.ndarray
"""[N, K] float32 in [0, 1], of every anchor of a half."""

Displacement: TypeAlias = np.ndarray
"""[N, K] float32 in frames, positive where the action is later than the anchor."""

ScoreMap: TypeAlias = np.ndarray
"""[N, K] float32: the confidence of each spot of a half, -1 (`nms.NO_SPOT`) where there is none."""
