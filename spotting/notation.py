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
"""

from typing import TypeAlias

import jax

Array: TypeAlias = jax.Array

ChunkFeatures: TypeAlias = Array  # [B, T, P]
ChunkOutputs: TypeAlias = Array  # [B, T, K]: logits, or displacements in units of their radius
