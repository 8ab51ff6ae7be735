"""How fast three parts are on this machine: the U-net's gradient, hard NMS, and average-mAP.

    python tests/programs/speed.py

The gradient is compared, in turn within one run, with the same network in nn.Conv and
nn.ConvTranspose. Medians; the inputs are random.
"""

import statistics
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from spotting import timing
from spotting.inference.nms import hard_nms
from spotting.models.network import build_network
from spotting.scoring import metrics

CHUNKS, T, P, K = 32, 224, 512, 17


class ConvBlock(nn.Module):
    """spotting.models.unet.Bottleneck with general convolutions."""

    features: int

    @nn.compact
    def __call__(self, x):
        h = nn.relu(x)
        shortcut = x if x.shape[-1] == self.features else nn.Conv(self.features, (1,))(h)
        h = nn.Conv(self.features // 4, (1,))(h)
        h = nn.Conv(self.features // 4, (3,))(nn.relu(h))
        return shortcut + nn.Conv(self.features, (1,))(nn.relu(h))


class ConvUNet(nn.Module):
    """DU ResNet+PCA with general convolutions."""

    levels: int = 6
    width: int = 64

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(256, (1,))(x))
        x = nn.relu(nn.Conv(64, (1,))(x))
        skips = []
        for level in range(self.levels):
            x = nn.max_pool(x, (2,), (2,)) if level else x
            for _ in range(2):
                x = ConvBlock(self.width * 2**level)(x)
            skips.append(x)
        for level in reversed(range(self.levels - 1)):
            channels = self.width * 2**level
            x = nn.ConvTranspose(channels, (2,), (2,))(nn.relu(x)) + skips[level]
            for _ in range(2):
                x = ConvBlock(channels)(x)
        return nn.Conv(K, (3,))(nn.relu(x))


def seconds(*functions: Callable[[], object], repeats: int = 5) -> list[float]:
    """Median seconds of each function, called in turn so that all see the same machine."""
    times = [[] for _ in functions]
    for _ in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(function())
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in times]  # the first one compiles


def gradient() -> None:
    """Prints the time of a gradient in both forms."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((CHUNKS, T, P), np.float32))
    calls = []
    for model in (build_network("confidence", K, "unet", 512, (256, 64)), ConvUNet()):
        params = jax.jit(model.init)(jax.random.key(0), x[:1])
        loss = jax.jit(jax.grad(lambda p, m=model: jnp.mean(m.apply(p, x) ** 2)))
        calls.append(lambda f=loss, p=params: f(p))
    square = jnp.ones((2048, 2048))
    product = jax.jit(lambda: square @ square)
    ours, general, matmul = seconds(*calls, product)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"gradient of DU ResNet+PCA ({size:,} parameters), {CHUNKS} chunks: {ours:.3f} s")
    print(f"  with nn.Conv: {general:.3f} s, {general / ours:.1f} times as long")
    print(f"  matrix product measured beside it: {2 * 2048**3 / matmul / 1e9:.0f} GFLOP/s")


def suppression() -> None:
    """Prints the time of hard NMS over 200 halves."""
    rng = np.random.default_rng(0)
    halves = jnp.asarray(rng.random((200, K, 5400), np.float32))
    radius = timing.hard_nms_radius(20.0, 2.0)
    one_by_one = jax.jit(lambda x: jax.lax.map(lambda half: hard_nms(half, radius), x))
    (taken,) = seconds(lambda: one_by_one(halves))
    print(f"hard NMS of 200 halves x {K} classes x 5,400 frames: {taken:.2f} s")


def average_map() -> None:
    """Prints the time of loose and tight average-mAP of 100 games with 2,000 predictions each."""
    rng = np.random.default_rng(0)

    def table(count: int, kind: type, last: np.ndarray) -> metrics.Spots | metrics.Truths:
        return kind(
            rng.integers(0, 200, count),
            rng.integers(0, 5400, count),
            rng.integers(0, K, count),
            last,
        )

    truths = table(22_500, metrics.Truths, rng.random(22_500) < 0.8)
    spots = table(200_000, metrics.Spots, rng.random(200_000))

    def both() -> None:
        metrics.average_map(truths, spots, K, metrics.LOOSE)
        metrics.average_map(truths, spots, K, metrics.TIGHT)

    (taken,) = seconds(both)
    print(f"average-mAP, loose and tight, 100 games of 2,000 predictions: {taken:.2f} s")


if __name__ == "__main__":
    gradient()
    suppression()
    average_map()
