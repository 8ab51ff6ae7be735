"""From pictures to rows of features: the networks, on all devices of this machine."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from spotting.base.errors import InputError
from spotting.video import efficientnet, pca, resnet, weights, winograd

FRAME_RATE = 2.0
"""Rows per second of all features here."""

PRECISIONS = ("float32", "bfloat16")
_PICTURES_PER_DEVICE = {"cpu": 8}
_DEFAULT_PICTURES = 64


class FeatureSet(NamedTuple):
    """A kind of features: what their files are called, and how they are made."""

    name: str
    backbone: str
    dim: int
    has_pca: bool = False


FEATURES = {
    one.name: one
    for one in (
        FeatureSet("ResNET_TF2", "ResNet-152", resnet.FEATURE_DIM),
        FeatureSet("ResNET_TF2_PCA512", "ResNet-152", pca.OUTPUT_DIM, has_pca=True),
        FeatureSet("EfficientNetLite0", "EfficientNet-Lite0", efficientnet.FEATURE_DIM),
    )
}


def find_feature_set(features: str, dim: int, frame_rate: float) -> FeatureSet:
    """The feature set of that name, for those who need features of that kind.

    Raises:
      InputError: they cannot be extracted here.
    """
    found = FEATURES.get(features)
    if found is None:
        raise InputError(
            f"{features} cannot be extracted from videos, only {', '.join(FEATURES)}; make feature "
            "files with their own program, and give these"
        )
    if (dim, frame_rate) != (found.dim, FRAME_RATE):
        raise InputError(
            f"{features} of {dim} values at {frame_rate:g} frames per second cannot be extracted "
            f"from videos, only {found.dim} at {FRAME_RATE:g}"
        )
    return found


@dataclasses.dataclass(frozen=True)
class NetworkDetails:
    """What made the features; goes into extraction.json.

    Attributes:
      features: name of the feature set.
      backbone: name of the network.
      weights: name of its file.
      weights_sha256: of that file.
      pca_sha256: of the projection; empty where there is none.
      channels: see `resnet.CHANNELS`; empty for other networks.
      precision: of the computation.
      published: whether weights and projection are the published files.
    """

    features: str
    backbone: str
    weights: str
    weights_sha256: str
    pca_sha256: str
    channels: str
    precision: str
    published: bool


class FeatureNetwork:
    """Computes features of pictures; made by `load_network`.

    Batches are split evenly over the devices.

    Args:
      details: what it is.
      function: (params, [B, H, W, 3] uint8) to [B, P] float32.
      params: its arrays.
      pictures_per_device: in a batch; 0 for what suits the device.
    """

    def __init__(
        self,
        details: NetworkDetails,
        function: Callable[[Any, jax.Array], jax.Array],
        params: Any,
        pictures_per_device: int = 0,
    ):
        devices = jax.local_devices()
        default = _PICTURES_PER_DEVICE.get(devices[0].platform, _DEFAULT_PICTURES)
        self.details = details
        self.feature_set = FEATURES[details.features]
        self.batch_size = (pictures_per_device or default) * len(devices)
        mesh = jax.make_mesh((len(devices),), ("pictures",), (AxisType.Auto,), devices=devices)
        self._sharding = _shard(mesh)
        self._params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        self._function = jax.jit(function, out_shardings=self._sharding)

    def __call__(self, pictures: np.ndarray) -> jax.Array:
        """Features of at most `batch_size` pictures; returns before they are computed.

        Args:
          pictures: [B, 224, columns, 3] uint8 in the order blue, green, red.

        Returns:
          [B, P] float32.
        """
        count = len(pictures)
        if count < self.batch_size:  # One shape, one compilation.
            widths = ((0, self.batch_size - count), *((0, 0),) * 3)
            pictures = np.pad(pictures, widths)
        rows = self._function(self._params, jax.device_put(pictures, self._sharding))
        return rows[:count]


def load_network(
    features: str,
    weights_file: str | os.PathLike | None = None,
    pca_file: str | os.PathLike | None = None,
    precision: str = "float32",
    channels: str = "soccernet",
    pictures_per_device: int = 0,
    log: Callable[[str], None] = lambda text: None,
) -> FeatureNetwork:
    """Reads weights and makes the network that computes a feature set.

    Args:
      features: a key of FEATURES.
      weights_file: the network's; None for the published ones, which are downloaded if need be.
      pca_file: see `pca.load_pca`.
      precision: of the computation, one of PRECISIONS.
      channels: see `resnet.preprocess`; of ResNet features.
      pictures_per_device: in a batch; 0 for what suits the device.
      log: is told what is being done.

    Raises:
      InputError: an unknown name, or a file that is missing or unsound.
    """
    for name, value, known in (
        ("--features", features, tuple(FEATURES)),
        ("--precision", precision, PRECISIONS),
        ("--channels", channels, resnet.CHANNELS),
    ):
        if value not in known:
            raise InputError(f"{name}={value}: there is {', '.join(known)}")
    dtype = jnp.dtype(precision)
    if FEATURES[features].backbone == "EfficientNet-Lite0":
        if pca_file is not None:
            raise InputError(f"--pca belongs to ResNET_TF2_PCA512, not to {features}")
        path, params = read_efficientnet(weights_file)
        published = weights.digest(path) == efficientnet.SHA256
        model: Any = efficientnet.EfficientNetLite0(dtype)
        preprocess: Callable[[jax.Array], jax.Array] = efficientnet.preprocess
        channels = ""
    else:
        path = Path(weights_file) if weights_file else weights.find_resnet_weights(log)
        layers = weights.read_resnet_weights(path)
        by_winograd = winograd.is_faster(dtype)
        params = resnet.make_params(layers, by_winograd)
        known_files = (weights.RESNET152, weights.RESNET152_WITH_TOP)
        published = weights.is_published(path, *known_files)
        model = resnet.ResNet152(dtype, by_winograd)
        preprocess = functools.partial(resnet.preprocess, channels=channels)
    if not published:
        log(f"{path}: not the published weights: features differ from those of others")
    projection = None
    if FEATURES[features].has_pca:
        projection = pca.load_pca(pca_file, log)
        if not projection.published:
            log(f"{features}: not SoccerNet's projection: features differ from the published ones")
        published = published and projection.published
    elif pca_file is not None:
        raise InputError(f"--pca belongs to ResNET_TF2_PCA512, not to {features}")

    def compute(tree: Any, pictures: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest" if precision == "float32" else "default"):
            rows = model.apply({"params": tree["network"]}, preprocess(pictures))
            return project(rows, tree["pca"]) if projection else rows

    tree: dict[str, Any] = {"network": jax.tree.map(lambda a: a.astype(dtype), params)}
    if projection:
        tree["pca"] = (projection.average, projection.mean, projection.components)
    details = NetworkDetails(
        features,
        FEATURES[features].backbone,
        path.name,
        weights.digest(path),
        projection.digest if projection else "",
        channels,
        precision,
        published,
    )
    return FeatureNetwork(details, compute, tree, pictures_per_device)


def read_efficientnet(
    path: str | os.PathLike | None = None,
) -> tuple[Path, dict[str, dict[str, np.ndarray]]]:
    """Path and parameters of EfficientNet-Lite0, by default the installed package's.

    Raises:
      InputError: it is not there, or holds something else.
    """
    path = Path(path) if path else efficientnet.find_weights()
    if not path.is_file():
        raise InputError(f"{path}: no such file; leave --weights out to use the package's")
    tensors = efficientnet.read_tensors(path.read_bytes(), str(path))
    try:
        params = efficientnet.fold(tensors)
    except KeyError as error:
        raise InputError(f"{path}: weights of another network: it has no {error}") from error
    except ValueError as error:
        raise InputError(f"{path}: weights of another network: {error}") from error
    model = efficientnet.EfficientNetLite0()
    pictures = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    wanted = jax.eval_shape(model.init, jax.random.key(0), pictures)["params"]
    for layer, arrays in wanted.items():
        for name, array in arrays.items():
            if params[layer][name].shape != array.shape:
                raise InputError(
                    f"{path}: weights of another network: {layer}/{name} is "
                    f"{params[layer][name].shape}, not {array.shape}"
                )
    return path, params


def project(rows: jax.Array, projection: tuple[Any, Any, Any]) -> jax.Array:
    """((x - average) - mean) @ components.T in float32.

    Args:
      rows: [B, 2048].
      projection: average, mean [2048] and components [512, 2048].

    Returns:
      [B, 512].
    """
    average, mean, components = projection
    centred = (rows - average) - mean
    return jnp.matmul(centred, components.T, precision=jax.lax.Precision.HIGHEST)


def _shard(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("pictures"))
