"""What the same training gives on 1, 2 and 8 (fake) devices and on one core or all.

    python tests/programs/equal_bits.py

Trains two seeds of the tiny transformer of multi_device.py for three steps of SAM with mixup, in
one process for each number of cores, and prints by how much the parameters differ from those of
one device on all cores. Exit status 1 if a repetition gives other bits.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
DEVICES = (1, 1, 2, 8)  # the second one is a repetition


def train_all(output: Path) -> None:
    """Writes the parameters of each training, in the order of DEVICES."""
    import jax
    from multi_device import compile_and_run

    arrays = {}
    for number, devices in enumerate(DEVICES):
        states, _ = compile_and_run(devices)
        for place, leaf in enumerate(jax.tree.leaves(states.params)):
            arrays[f"{number} {place}"] = np.asarray(leaf)
    np.savez(output, **arrays)


def start(cores: int, output: Path) -> None:
    """Trains in a process that may use some of the cores."""
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={max(DEVICES)}",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
    }
    subprocess.run(
        [sys.executable, __file__, str(output)],
        env=environment,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )


def main() -> int:
    """Compares; returns the exit status."""
    reference, repeats = np.zeros(0), True
    with tempfile.TemporaryDirectory() as folder:
        for cores in sorted({1, len(os.sched_getaffinity(0))}, reverse=True):
            path = Path(folder) / f"{cores}.npz"
            start(cores, path)
            with np.load(path) as arrays:
                found = [
                    np.concatenate([v.ravel() for k, v in arrays.items() if k.split()[0] == str(n)])
                    for n in range(len(DEVICES))
                ]
            if not reference.size:
                reference = found[0]
                print(f"{reference.size:,} parameters, the greatest {np.abs(reference).max():.3g}")
            same = np.array_equal(found[0], found[1])
            repeats = repeats and same
            print(f"{cores} cores, 1 device, twice: {'equal' if same else 'other'} bits")
            for devices, params in zip(DEVICES, found, strict=True):
                print(
                    f"{cores} cores, {devices} devices: {np.count_nonzero(params != reference):,} "
                    f"parameters differ, by {np.abs(params - reference).max():.2g} at most",
                    flush=True,
                )
    return int(not repeats)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train_all(Path(sys.argv[1]))
    else:
        sys.exit(main())
