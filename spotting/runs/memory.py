"""The choice between the two loaders: the split on the device, or a stream from disk."""

import os
from typing import Literal, NamedTuple

import jax
import numpy as np

from spotting.base.errors import InputError

Loader = Literal["resident", "stream"]

_SHARE = 0.5  # Of the free memory that a resident split may take; training needs the rest.


class Choice(NamedTuple):
    """A loader, and in one line why."""

    loader: Loader
    reason: str


def choose_loader(
    requested: str,
    num_frames: int,
    feature_dim: int,
    num_classes: int,
    dtype: np.dtype,
    device: jax.Device | None = None,
) -> Choice:
    """Chooses how to load a training split.

    Args:
      requested: "resident", "stream", or "auto": resident where the split takes at most half of
        the memory that is free, on the device and on the host that fills it.
      num_frames: frames in the split.
      feature_dim: P.
      num_classes: K.
      dtype: of the features of a resident split.
      device: where training takes place, by default the first.

    Raises:
      InputError: `requested` is none of these.
    """
    if requested not in ("auto", "resident", "stream"):
        raise InputError(f"data.loader is {requested!r}; it can be auto, resident or stream")
    if requested != "auto":
        return Choice(requested, "as the config asks")
    device = device or jax.local_devices()[0]
    item = np.dtype(dtype).itemsize
    needed = num_frames * (feature_dim * item + 2 * num_classes)
    free = {"this machine": _free_host_memory()}
    if device.platform == "cpu":
        needed *= 2  # JAX copies the array that it is given.
    else:
        stats = device.memory_stats()
        free[device.device_kind] = stats["bytes_limit"] - stats["bytes_in_use"]
    where, least = min(free.items(), key=lambda item: item[1])
    sizes = f"the split takes {needed / 1e9:.1f} GB, {least / 1e9:.1f} GB are free on {where}"
    if needed <= _SHARE * least:
        return Choice("resident", sizes)
    if item > 2 and needed * 2 / item <= _SHARE * least:
        sizes += "; with --config.data.resident_dtype=bfloat16 it would be resident"
    return Choice("stream", sizes)


def _free_host_memory() -> int:
    """Bytes that can still be allocated; where that is unknown, those of the whole machine."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":") for line in lines)
        return 1024 * int(fields["MemAvailable"].split()[0])
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
