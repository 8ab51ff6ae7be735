"""Measures on this device what is only estimated without one; needs no more than eight minutes.

    python tests/programs/on_device.py --json=on_device.json

Parity with the official code at float32, every row of the benchmark, each form of attention, of the
convolution over three frames and of upsampling, one seed against five in a program, the vectors of
all parameters that a GPU is given against each parameter alone, and the network that extracts
features. Needs jax, flax, optax, orbax-checkpoint, chex and numpy; neither TensorFlow nor
ml-collections. What is found is written after each part, so that a machine that is taken away
leaves what it has done. `--tiny` tries all of it on a CPU.
"""

import argparse
import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import io
import json
import os
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp

from spotting.training import flattening

ROOT = Path(__file__).parents[2]
SECONDS = 480
FIVE = 5
# B, T, heads, C of the two transformers; T and C of some of the U-net's 3-tap convolutions, and of
# what is upsampled.
ATTENTIONS = {"DTES": (256, 224, 4, 32), "DTEB": (64, 224, 8, 64)}
CONVOLUTIONS = ((224, 16), (56, 64), (7, 512))
UPSAMPLINGS = ((112, 128), (7, 2048))
ROWS = ("unet_resnet_pca", "te_small_resnet_pca", "te_base_resnet_pca", "unet_combination")


class Fields(dict):
    """In the place of ml_collections.ConfigDict where that is not installed."""

    def __init__(self, values: Mapping[str, Any] | None = None):
        super().__init__()
        self.update(values or {})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        is_mapping = isinstance(value, Mapping) and not isinstance(value, Fields)
        super().__setitem__(name, Fields(value) if is_mapping else value)

    def update(self, *values: Mapping[str, Any], **fields: Any) -> None:
        """Sets fields; those of groups that are there already are set one by one."""
        for name, value in (pair for each in (*values, fields) for pair in each.items()):
            if isinstance(value, Mapping) and isinstance(self.get(name), Fields):
                self[name].update(value)
            else:
                self[name] = value

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts."""
        return {
            name: value.to_dict() if isinstance(value, Fields) else value
            for name, value in self.items()
        }


def use_stand_in() -> None:
    """Lets `import ml_collections` find `Fields`."""
    module = types.ModuleType("ml_collections")
    module.ConfigDict = Fields  # type: ignore[attr-defined]
    inner = types.ModuleType("ml_collections.config_dict")
    inner.placeholder = lambda kind: None  # type: ignore[attr-defined]
    sys.modules |= {"ml_collections": module, "ml_collections.config_dict": inner}


def check_parity() -> dict[str, Any]:
    """The checks of tests/parity.py on the arrays that ship."""
    import parity

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = parity.main(ROOT / "tests" / "data" / "parity")
    lines = printed.getvalue().splitlines()
    return {
        "status": status,
        "summary": lines[-1],
        "failed": [line for line in lines if line.startswith("FAIL")][:50],
    }


def time_layer(function: Callable[..., Any], *inputs: Any) -> float:
    """Seconds of a function's value and gradients, of 20 calls in one program."""
    from spotting.benchmarks.device import median_seconds

    repeats = 20

    @jax.jit
    def run(inputs: Any) -> Any:
        def once(_: int, values: Any) -> Any:
            outputs, back = jax.vjp(function, *values)
            # Each call waits for the one before it.
            return jax.tree.map(lambda a, g: a + 1e-30 * g.astype(a.dtype), values, back(outputs))

        return jax.lax.fori_loop(0, repeats, once, inputs)

    (seconds,) = median_seconds(lambda: run(inputs))
    return seconds / repeats


def measure_attention(shape: tuple[int, ...]) -> dict[str, Any]:
    """Each form, with its greatest difference from the first."""
    from spotting.models.transformer import ATTENTION

    keys = jax.random.split(jax.random.key(0), 3)
    inputs = tuple(jax.random.normal(key, shape, jnp.bfloat16) for key in keys)
    return compare({name: (lambda *x, f=form: f(*x)) for name, form in ATTENTION.items()}, inputs)


def measure_forms(
    forms: Mapping[str, Any], x_shape: tuple[int, ...], kernel_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Each form of a layer of `models.layers`."""
    from spotting.models.layers import by_platform

    x = jax.random.normal(jax.random.key(0), x_shape, jnp.bfloat16)
    kernel = jax.random.normal(jax.random.key(1), kernel_shape) / kernel_shape[-1]
    layers = {name: by_platform(form, form) for name, form in forms.items()}
    functions = {
        name: functools.partial(lambda x, k, f: f(x, k, None), f=layer)
        for name, layer in layers.items()
    }
    return compare(functions, (x, kernel))


def compare(functions: Mapping[str, Callable[..., Any]], inputs: tuple[Any, ...]) -> dict[str, Any]:
    """Time of each function's value and gradients, and how far it is from the first."""
    found: dict[str, Any] = {}
    first = None
    for name, function in functions.items():
        try:
            outputs = jax.jit(function)(*inputs).astype(jnp.float32)
            first = outputs if first is None else first
            seconds = time_layer(function, *inputs)
        except Exception as error:  # A form that a platform does not have.
            found[name] = {"error": str(error).splitlines()[0][:300]}
            continue
        difference = float(jnp.abs(outputs - first).max())
        found[name] = {"microseconds": 1e6 * seconds, "difference": difference}
    return found


def measure_row(config: Any, seeds: int, ways: tuple[str, ...]) -> dict[str, Any]:
    """A row as `python -m spotting.benchmark` measures it."""
    from spotting.benchmarks import row

    return dataclasses.asdict(row.measure(config, seeds, lambda text: None, ways))


def measure_each_alone(config: Any, ways: tuple[str, ...]) -> dict[str, Any]:
    """A row of which no device is taken to like vectors of all parameters, as GPUs are."""
    with mock.patch.object(flattening, "suits", return_value=False):
        return measure_row(config, 1, ways)


def measure_extraction(pictures: int, dtype: str) -> dict[str, Any]:
    """ResNet-152 on random pictures, with weights that only have its shapes."""
    from spotting.benchmarks.device import median_seconds
    from spotting.video import resnet

    model = resnet.ResNet152(jnp.dtype(dtype))
    shown = jax.random.randint(jax.random.key(0), (pictures, 224, 224, 3), 0, 256, jnp.uint8)
    shapes = jax.eval_shape(model.init, jax.random.key(0), resnet.preprocess(shown))["params"]
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1e-2, dtype), shapes)
    precision = "highest" if dtype == "float32" else "default"  # As network.load_network.

    @jax.jit
    def extract(params: Any, shown: jax.Array) -> jax.Array:
        with jax.default_matmul_precision(precision):
            return model.apply({"params": params}, resnet.preprocess(shown))

    (seconds,) = median_seconds(lambda: extract(params, shown))
    return {"pictures_per_s": pictures / seconds}


def load_row(name: str, is_tiny: bool) -> Any:
    """The config of a row in bfloat16; a tiny network of its kind for a try on a CPU."""
    config = importlib.import_module(f"configs.{name}").get_config()
    config.model.dtype = config.data.resident_dtype = "bfloat16"
    if is_tiny:
        config.model.reduction = (8, 4)
        config.model.unet.levels = 1
        config.model.transformer.update(layers=1, width=8, num_heads=2, mlp_dim=8)
        config.anchors.chunk = 4.0
        config.training.batch_size = 4
    return config


def list_parts(is_tiny: bool) -> dict[str, Callable[[], Any]]:
    """What is measured, in the order of its worth."""
    from spotting.benchmarks.row import ABLATIONS
    from spotting.models.layers import CONVOLVE3, UPSAMPLE2

    batch, ways = (2, ("SAM",)) if is_tiny else (256, tuple(ABLATIONS))
    parts: dict[str, Callable[[], Any]] = {"parity": check_parity}

    def add_row(name: str, seeds: int, ways: tuple[str, ...]) -> None:
        parts[f"row {name}, {seeds} seed(s)"] = lambda: measure_row(
            load_row(name, is_tiny), seeds, ways
        )

    add_row(ROWS[0], 1, ways)
    for name, shape in ATTENTIONS.items():
        shape = (1, 8, 2, 8) if is_tiny else shape
        parts[f"attention {name}"] = functools.partial(measure_attention, shape)
    for frames, channels in CONVOLUTIONS[: 1 if is_tiny else None]:
        parts[f"convolve3 {frames} x {channels}"] = functools.partial(
            measure_forms, CONVOLVE3, (batch, frames, channels), (3, channels, channels)
        )
    for frames, channels in UPSAMPLINGS[: 1 if is_tiny else None]:
        parts[f"upsample2 {frames} x {channels}"] = functools.partial(
            measure_forms, UPSAMPLE2, (batch, frames, channels), (channels, 2, channels // 2)
        )
    add_row(ROWS[0], FIVE, ways[-1:])
    parts[f"row {ROWS[0]}, each parameter alone"] = lambda: measure_each_alone(
        load_row(ROWS[0], is_tiny), ways[-1:]
    )
    for name in ROWS[1 : 2 if is_tiny else None]:
        add_row(name, 1, ways[-1:])
    for dtype in ("float32", "bfloat16"):
        parts[f"ResNet-152, {dtype}"] = functools.partial(
            measure_extraction, 1 if is_tiny else 64, dtype
        )
    if not is_tiny:
        add_row(ROWS[1], FIVE, ways[-1:])
    return parts


def shorten() -> None:
    """Has what a tiny try measures take no time."""
    from spotting.benchmarks import device, row

    device._ROUNDS, device._CPU_MATRIX, device._CPU_ARRAY = (1, 1), 64, 64
    row._CPU_WORK, row._HALVES, row._HALF_SECONDS = 0, 1, 60.0


def main(arguments: argparse.Namespace) -> int:
    """Measures each part while there is time."""
    if importlib.util.find_spec("ml_collections") is None or arguments.stand_in:
        use_stand_in()
    if arguments.tiny:
        shorten()
    # A program from the cache would seem to compile at once.
    jax.config.update("jax_enable_compilation_cache", False)
    began = time.monotonic()
    device = jax.devices()[0]
    found: dict[str, Any] = {
        "device": device.device_kind,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "memory": device.memory_stats(),
        "parts": {},
    }
    failed = 0
    for name, measure in list_parts(arguments.tiny).items():
        passed = time.monotonic() - began
        if arguments.part not in name:
            continue
        if passed > arguments.seconds:
            found["parts"][name] = {"skipped": f"{passed:.0f} s had passed"}
        else:
            try:
                found["parts"][name] = measure()
            except Exception as error:  # The other parts are worth measuring all the same.
                failed += 1
                found["parts"][name] = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(f"{time.monotonic() - began:4.0f} s  {name}", file=sys.stderr, flush=True)
        partial = Path(f"{arguments.json}.part")
        partial.write_text(json.dumps(found, indent=1, default=str))
        os.replace(partial, arguments.json)
    failed += found["parts"].get("parity", {}).get("status", 0)
    print(json.dumps(found["parts"], default=str)[:2000])
    return int(failed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", default="on_device.json", metavar="FILE")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which nothing begins")
    parser.add_argument(
        "--part", default="", metavar="TEXT", help="only parts with this in the name"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try it on a CPU")
    parser.add_argument(
        "--stand-in", action="store_true", help="do without ml-collections, though it is there"
    )
    sys.exit(main(parser.parse_args()))
