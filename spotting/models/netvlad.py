"""NetVLAD++: a window of frames is pooled into one vector, which is classified.

The pool that gives the system its name is two NetVLAD pools, one for the frames before the middle
of the window and one for those after it. The others (one pool over all frames, NetRVLAD, maximum,
average, each in both forms) are those that its authors compared it with.

Source: Giancola, Ghanem, "Temporally-Aware Feature Pooling for Action Spotting in Soccer
Broadcasts", CVPR Workshops 2021; sizes as in SoccerNet/sn-spotting.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spotting.models.linear import Linear, dropout, normalize
from spotting.notation import Array, ChunkFeatures

POOLS = ("netvlad", "netrvlad", "max", "avg")
"""The pools over a window; each also with "++", once for each half of the window."""

WIDTH = 512
"""Features of any other width are mapped to this one first."""


def vlad(x: Array, assignment: Array, centres: Array | None, unit_frames: bool = True) -> Array:
    """Soft-assigns frames to M clusters and sums what is left of them after each cluster's centre.

    Args:
      x: [B, T, D].
      assignment: [D, M], whose product with a frame gives the logits of its clusters.
      centres: [D, M]; None subtracts nothing, which is NetRVLAD.
      unit_frames: whether each frame is first scaled to length 1.

    Returns:
      [B, D * M] of length 1, each cluster's sum scaled to length 1 before; 0 for frames that sum to
      0. D is the outer axis.
    """
    if unit_frames:
        x = normalize(x, axis=-1)
    shares = jax.nn.softmax(x @ assignment, axis=-1)
    sums = jnp.einsum("btd,btm->bdm", x, shares)
    if centres is not None:
        sums = sums - centres * jnp.sum(shares, axis=1)[:, None, :]
    return normalize(normalize(sums, axis=1).reshape(len(x), -1), axis=-1)


class Pool(nn.Module):
    """One of `POOLS` over all frames it is given; `clusters` is M of the VLAD ones."""

    kind: str
    clusters: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, D] -> [B, D * M], or [B, D] for a maximum or an average."""
        if self.kind == "max":
            return jnp.max(x, axis=1)
        if self.kind == "avg":
            return jnp.mean(x, axis=1)
        shape = x.shape[-1], self.clusters
        init = nn.initializers.normal(x.shape[-1] ** -0.5)
        assignment = self.param("assignment", init, shape, jnp.float32)
        centres = None
        if self.kind == "netvlad":
            centres = self.param("centres", init, shape, jnp.float32)
        return vlad(x, assignment, centres)


class NetVLAD(nn.Module):
    """Features of a window to one logit per class, and one for none of them.

    Attributes:
      num_classes: K.
      pool: one of `POOLS`, with or without "++".
      clusters: of a pool over the whole window; "++" has half of them on either side.
      dropout_rate: of the pooled vector, in training.
    """

    num_classes: int
    pool: str = "netvlad++"
    clusters: int = 64
    dropout_rate: float = 0.4

    def setup(self) -> None:
        """Makes the layers that the pool needs."""
        kind = self.pool.removesuffix("++")
        if kind not in POOLS:
            raise ValueError(
                f"unknown pool {self.pool!r}; one of {', '.join(POOLS)}, with or without ++"
            )
        self.reduction = Linear(WIDTH)
        if self.pool.endswith("++"):
            self.before, self.after = Pool(kind, self.clusters // 2), Pool(kind, self.clusters // 2)
        else:
            self.whole = Pool(kind, self.clusters)
        self.classifier = Linear(self.num_classes + 1)

    def __call__(self, features: ChunkFeatures, dropout_key: Array | None = None) -> Array:
        """[B, T, P] -> logits [B, 1 + K], the first column that of no class.

        Args:
          features: of windows; "++" parts them before frame T // 2.
          dropout_key: for training; without it nothing is dropped.
        """
        pooled = self.pool_window(self.reduce(features))
        return self.classify(dropout(pooled, self.dropout_rate, dropout_key))

    def reduce(self, features: Array) -> Array:
        """The part that sees one frame at a time, [..., P] -> [..., 512]; 512 stay as they are."""
        return features if features.shape[-1] == WIDTH else self.reduction(features)

    def pool_window(self, reduced: Array) -> Array:
        """The part that sees a window, [B, T, 512] -> [B, C]."""
        reduced = reduced.astype(jnp.float32)
        if not self.pool.endswith("++"):
            return self.whole(reduced)
        middle = reduced.shape[1] // 2
        halves = self.before(reduced[:, :middle]), self.after(reduced[:, middle:])
        return jnp.concatenate(halves, axis=-1)

    def classify(self, pooled: Array) -> Array:
        """[B, C] -> [B, 1 + K]."""
        return self.classifier(pooled)
