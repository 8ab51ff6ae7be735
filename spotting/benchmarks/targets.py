"""Accelerators that programs can be compiled for without having them.

XLA's compilers run on any machine; `libtpu` and `jax[cuda13]` bring them.
"""

import dataclasses
import importlib.util
import os
import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from spotting.base.errors import InputError
from spotting.base.parallel import AXIS, SEEDS, count_side_by_side

# What libtpu asks for where no TPU is; the last lets a second process compile beside a first.
_TPU_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_EXAMPLES = "tpu-v5e:4x4, tpu-v5e:4x4,slices=2 or h100:1x1x8"
_SYNTAX = re.compile(r"(?:tpu-)?(\w+):(\d+(?:x\d+)*)(?:,slices=(\d+))?")


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a device can do at best, as its vendor states it.

    Attributes:
      name: of the device.
      platform: "tpu" or "cuda".
      memory_bytes: of a device.
      matrix_flop_per_s: of bfloat16 products summed in float32, without sparsity.
      bandwidth_bytes_per_s: of its memory.
      clock_hz: by which the compiler's cycles become time; None if that is not known.
    """

    name: str
    platform: str
    memory_bytes: int
    matrix_flop_per_s: float
    bandwidth_bytes_per_s: float
    clock_hz: float | None = None


CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        "v5e": Chip("TPU v5e", "tpu", 16 << 30, 197e12, 819e9, 1.5e9),
        "v5p": Chip("TPU v5p", "tpu", 95 << 30, 459e12, 2765e9, 1.75e9),
        "v6e": Chip("TPU v6e", "tpu", 32 << 30, 918e12, 1640e9),
        "h100": Chip("H100 SXM", "cuda", 84942979072, 989e12, 3352e9),
    }
)


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for.

    Attributes:
      name: as it was asked for.
      chip: what they are.
      devices: all of them.
      devices_of_a_host: how many of them one process has.
    """

    name: str
    chip: Chip
    devices: tuple[Any, ...]
    devices_of_a_host: int

    def make_mesh(
        self, count: int, batch_size: int, trainings: int = 1, min_chunks: int = 1
    ) -> Mesh:
        """The first `count` devices, or all if it is 0, divided as a run of several seeds does.

        Raises:
          InputError: there are fewer, or a batch of `batch_size` chunks cannot be spread evenly.
        """
        if count > len(self.devices):
            raise InputError(f"devices.count is {count}, but {self.name} has {len(self.devices)}")
        count = count or len(self.devices)
        side_by_side = count_side_by_side(count, batch_size, trainings, min_chunks)
        devices = np.array(self.devices[:count]).reshape(side_by_side, -1)
        return Mesh(devices, (SEEDS, AXIS), axis_types=(AxisType.Auto, AxisType.Auto))


def find_target(name: str) -> Target:
    """The devices that a name stands for.

    Args:
      name: tpu-KIND:TOPOLOGY[,slices=N], a topology as Cloud TPU names it, or
        h100:SLICESxHOSTSxGPUS, where each of the hosts has as many GPUs.

    Raises:
      InputError: there is no such device, or its compiler is not installed.
    """
    match = _SYNTAX.fullmatch(name)
    if not match or match[1] not in CHIPS:
        raise InputError(f"--compile-for={name}: no device of that name; say {_EXAMPLES}")
    chip, topology, slices = CHIPS[match[1]], match[2], int(match[3] or 1)
    is_tpu = chip.platform == "tpu"
    package, install = ("libtpu", "libtpu") if is_tpu else ("jax_cuda13_plugin", "'jax[cuda13]'")
    if importlib.util.find_spec(package) is None:
        raise InputError(
            f"--compile-for={name} needs the compiler of {chip.name}: pip install {install} (no "
            "such device is needed)"
        )
    from jax.experimental import topologies

    # Nothing else is to look for devices that are not there.
    jax.config.update("jax_platforms", "cpu")
    options: dict[str, Any]
    if is_tpu:
        for variable, value in _TPU_ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        options = {"topology_name": f"{match[1]}:{topology}"}
        if slices > 1:
            options["num_slices"] = slices
    else:
        text = resources.files(__package__).joinpath("h100.txtpb").read_text(encoding="utf-8")
        options = {"target_config": text, "topology": topology}
    try:
        described = topologies.get_topology_desc(platform=chip.platform, **options)
    except Exception as error:  # Each plugin has its own.
        raise InputError(f"--compile-for={name}: {str(error).splitlines()[0]}") from error
    devices = tuple(described.devices)
    first = getattr(devices[0], "process_index", 0)
    of_a_host = sum(getattr(each, "process_index", 0) == first for each in devices)
    return Target(name, chip, devices, of_a_host)
