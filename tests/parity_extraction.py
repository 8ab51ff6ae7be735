"""Checks of phase 1: pictures of videos, their sizes, the network on them, the projection."""

import functools
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
from parity_report import Arrays, Folder, Report

from spotting.video import choice, decoding, network, pca, pictures, resnet, weights, winograd

RATE = 2.0
FEATURES_BOUND, ACTIVATIONS_BOUND, PCA_BOUND = 2e-6, 1e-5, 1e-5
SKLEARN_BOUND = 5e-4  # of what was computed before the components were rounded
BARCODE_BITS, CELL_WIDTH, CELL_HEIGHT, CELL_START = 12, 16, 24, 16


def check_frame_choice(folder: Folder, name: str, report: Report) -> None:
    values = folder.arrays(name)
    values["opencv"]  # the release that is repeated here
    for file in _videos(folder, values):
        _check_video(folder, values, file, f"{name}/{file}", report)


def _videos(folder: Folder, values: Arrays) -> list[str]:
    """Names of the videos that are described and there; names contain no slash."""
    found = {key.split("/")[1] for key in values if key.startswith("videos/")}
    return sorted(found & {Path(file).name for file in folder.files})


def _check_video(folder: Folder, values: Arrays, file: str, name: str, report: Report) -> None:
    prefix = f"videos/{file}/"
    path = folder.path(f"videos/{file}")
    scanned = decoding.scan(path)
    timeline = scanned.timeline
    for key, ours in (
        ("opencv_fps", timeline.picture_rate),
        ("pts", scanned.stamps),
        ("frames_read", len(scanned.stamps)),
        ("frame_shape", (scanned.height, scanned.width, 3)),
    ):
        report.exact(f"{name}/{key}", ours, values[prefix + key])
    report.relative(
        f"{name}/time_base", scanned.time_base, np.divide(*values[prefix + "time_base"]), 1e-12
    )
    official = float(values[prefix + "duration_moviepy"])
    newer = prefix + "duration_moviepy_ffmpeg7"
    reported = float(values[newer]) if newer in values else official
    report.exact(f"{name}/duration", timeline.duration, reported)
    by_time = choice.choose_by_time(timeline, RATE)
    report.exact(
        f"{name}/timestamps_mode_indices", by_time, values[prefix + "timestamps_mode_indices"]
    )
    key = prefix + "timestamps_equals_official"
    if key in values:
        counted = choice.choose_by_count(
            len(timeline.times), timeline.picture_rate, official, RATE
        )[0]
        report.exact(f"{name}/timestamps_equals_official", np.array_equal(by_time, counted),
                     values[key])  # fmt: skip
    report.exact(
        f"{name}/sha256_all_frames_bgr",
        _digest(decoding.to_array(frame) for frame in _all_frames(path)),
        values[prefix + "sha256_all_frames_bgr"],
    )
    for group, duration in (("cases", official), ("cases_ffmpeg7", reported)):
        cases = {key.split("/")[3] for key in values if key.startswith(f"{prefix}{group}/")}
        for case in sorted(cases):
            _check_case(
                scanned, duration, values, f"{prefix}{group}/{case}", f"{name}/{group}/{case}",
                int(values[prefix + "barcode_of_frame_0"]), report,
            )  # fmt: skip


def _check_case(
    scanned: decoding.Scan,
    duration: float,
    values: Arrays,
    prefix: str,
    name: str,
    barcode: int,
    report: Report,
) -> None:
    def option(key: str) -> Any:
        return values[f"{prefix}/{key}"].item() if f"{prefix}/{key}" in values else None

    timeline = scanned.timeline
    if f"{prefix}/frame_indices" not in values:  # another resize of the frames of "whole"
        whole = values[f"{prefix.rpartition('/')[0]}/whole/rows"]
        shape = (int(whole), pictures.SIZE, pictures.SIZE, 3)
        report.exact(f"{name}/shape", shape, values[f"{prefix}/shape"])
        return
    indices, used = choice.choose_by_count(
        len(timeline.times),
        timeline.picture_rate,
        duration,
        option("FPS") or RATE,
        option("start"),
        option("duration"),
    )
    report.exact(f"{name}/frame_indices", indices, values[f"{prefix}/frame_indices"])
    if (key := f"{prefix}/fps_used") in values:
        report.exact(f"{name}/fps_used", used, values[key])
    if (key := f"{prefix}/rows") in values:
        report.exact(f"{name}/rows", len(indices), values[key])
    if (key := f"{prefix}/sha256_frames_bgr_uint8") in values:
        rows = np.stack(_decode(scanned, indices))
        report.exact(f"{name}/barcodes", _barcodes(rows), (indices + barcode) % 2**BARCODE_BITS)
        report.exact(f"{name}/sha256_frames_bgr_uint8", _digest([rows]), values[key])
        if (key := f"{prefix}/shape") in values:
            report.exact(f"{name}/shape", rows.shape, values[key])


def _decode(scanned: decoding.Scan, indices: np.ndarray) -> list[np.ndarray]:
    return list(decoding.decode(scanned, indices, decoding.Damage(), columns=225))


def _all_frames(path: Path) -> Iterator[Any]:
    with decoding.open_video(path) as (container, stream):
        yield from container.decode(stream)


def _digest(arrays: Any) -> str:
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def _barcodes(rows: np.ndarray) -> np.ndarray:
    """The numbers that pictures [n, 224, 224, 3] carry."""
    # An odd width moves the row of cells by half a pixel.
    strip = rows[:, CELL_START : CELL_START + CELL_HEIGHT, CELL_START:]
    strip = strip[:, 4:-4, : BARCODE_BITS * CELL_WIDTH].mean((1, 3))
    cells = strip.reshape(len(rows), BARCODE_BITS, CELL_WIDTH)[..., 4:-4].mean(-1)
    return (cells > 125) @ (1 << np.arange(BARCODE_BITS)[::-1])


def check_video_frames(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    values = json.loads((folder.root / "frame_choice.json").read_text())["videos"]
    for key in arrays:
        file = key.partition("|")[0]
        scanned = decoding.scan(folder.path(f"videos/{file}"))
        count, fps = len(scanned.stamps), scanned.timeline.picture_rate
        duration = values[file]["duration_moviepy"]
        indices = choice.choose_by_count(count, fps, duration, RATE)[0]
        report.exact(f"{name}/{key}", _decode(scanned, indices[[0, 1, -1]]), arrays[key])


def check_resize(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    for size in sorted({key.partition("|")[0] for key in arrays}):
        given = arrays.under(f"{size}|")
        width, height = map(int, size.split("x"))
        tiled = "input_tile" in given
        picture = given["input_tile" if tiled else "input"]
        repeats = (-(-height // picture.shape[0]), -(-width // picture.shape[1]), 1)
        picture = np.tile(picture, repeats)[:height, :width]
        crop = pictures.fit(picture, columns=225)
        fitted = (pictures.SIZE, pictures.fitted_width(width, height), 3)
        sums = crop.sum(1, dtype=np.int64)
        prepared = np.asarray(resnet.preprocess(crop[None]))[0, ::56]
        cubic = pictures.resize_cubic(picture, pictures.SIZE, pictures.SIZE)
        for key, ours in (
            ("resized_shape", fitted),
            ("crop", crop[:, 64:128] if tiled else crop),
            ("crop_sum", sums),
            ("crop_shape", crop.shape),
            ("preprocessed_rows", prepared),
        ):
            report.exact(f"{name}/{size}|{key}", ours, given[key])
        # OpenCV leaves this one to Intel's library, which may round otherwise on a tie.
        report.absolute(f"{name}/{size}|cubic224", cubic[::8], given["cubic224"], 1)


def check_pca(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    arrays["explained_variance"]  # what whitening would need
    projection = arrays["average"], arrays["mean"], arrays["components"]
    ours = jax.jit(network.project)(arrays["x"], projection)
    report.relative(f"{name}/y", ours, arrays["y"], PCA_BOUND)
    key = "y_sklearn_exact_components"
    report.relative(f"{name}/{key}", ours, arrays[key], SKLEARN_BOUND)


def check_average(folder: Folder, name: str, report: Report) -> None:
    average = folder.arrays(name)["average"]
    report.exact(f"{name}/shape", average.shape, (pca.INPUT_DIM,))


def check_layers(folder: Folder, name: str, report: Report) -> None:
    model = json.loads(folder.path(name).read_text())
    layers = {layer["name"]: layer for layer in model["layers"]}
    ours, theirs = _describe_layers(), {}
    for key, layer in layers.items():
        if layer["class"] != "InputLayer" and key != "predictions":
            theirs[key] = (layer["class"], tuple(layer.get("strides", ())), tuple(layer["inputs"]))
    first = next(key for key, layer in layers.items() if layer["class"] == "InputLayer")
    ours["conv1_pad"] = ("ZeroPadding2D", (), (first,))
    report.exact(f"{name}/names", sorted(ours), sorted(theirs))
    wrong = [key for key in ours if ours[key] != theirs.get(key)]
    report.exact(f"{name}/layers", len(wrong), 0)
    shapes = {
        f"{layer}/{key}:0": list(shape)
        for layer, named in resnet.weight_shapes().items()
        for key, shape in named.items()
    }
    given = {
        key: shape
        for layer in layers.values()
        if layer["name"] != "predictions"
        for key, shape in layer["weights"]
    }
    report.exact(f"{name}/weights", int(shapes != given), 0)
    top = sum(int(np.prod(shape)) for _, shape in layers["predictions"]["weights"])
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    report.exact(f"{name}/count_params", count + top, model["count_params"])


def _describe_layers() -> dict[str, tuple[str, tuple[int, ...], tuple[str, ...]]]:
    """Class, strides and inputs of the layers of our network, by the names that Keras gives."""
    layers: dict[str, tuple[str, tuple[int, ...], tuple[str, ...]]] = {
        "conv1_conv": ("Conv2D", (2, 2), ("conv1_pad",)),
        "conv1_bn": ("BatchNormalization", (), ("conv1_conv",)),
        "conv1_relu": ("Activation", (), ("conv1_bn",)),
        "pool1_pad": ("ZeroPadding2D", (), ("conv1_relu",)),
        "pool1_pool": ("MaxPooling2D", (2, 2), ("pool1_pad",)),
    }
    before = "pool1_pool"
    for name, _, _, stride in resnet.block_names():
        shortcut, x = before, before
        if name.endswith("_block1"):
            layers[f"{name}_0_conv"] = ("Conv2D", (stride, stride), (before,))
            layers[f"{name}_0_bn"] = ("BatchNormalization", (), (f"{name}_0_conv",))
            shortcut = f"{name}_0_bn"
        for number in (1, 2, 3):
            own = stride if number == 1 else 1
            layers[f"{name}_{number}_conv"] = ("Conv2D", (own, own), (x,))
            layers[f"{name}_{number}_bn"] = (
                "BatchNormalization",
                (),
                (f"{name}_{number}_conv",),
            )
            x = f"{name}_{number}_bn"
            if number < 3:
                layers[f"{name}_{number}_relu"] = ("Activation", (), (x,))
                x = f"{name}_{number}_relu"
        layers[f"{name}_add"] = ("Add", (), (shortcut, x))
        layers[f"{name}_out"] = ("Activation", (), (f"{name}_add",))
        before = f"{name}_out"
    layers["avg_pool"] = ("GlobalAveragePooling2D", (), (before,))
    return layers


def check_h5_layout(folder: Folder, name: str, report: Report) -> None:
    """Writes a file of that layout and reads it by name."""
    layout = json.loads(folder.path(name).read_text())
    datasets = next(value for value in layout.values() if _is_datasets(value))
    rng = np.random.default_rng(0)
    marks = {path: np.float32(rng.normal()) for _, _, path, _, _ in datasets}
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "weights.h5")
        write_h5(
            file,
            layout["layer_names"],
            [(layer, key, marks[path], shape) for layer, key, path, shape, _ in datasets],
        )
        with h5py.File(file) as written:
            missing = [path for path in marks if path not in written]
        read = weights.read_keras_weights(file, resnet.weight_shapes())
    report.exact(f"{name}/paths", len(missing), 0)
    expected = {
        (layer, key.rpartition("/")[2].partition(":")[0]): marks[path]
        for layer, key, path, _, _ in datasets
        if layer != "predictions"
    }
    found = {(layer, key): array for layer, named in read.items() for key, array in named.items()}
    report.exact(f"{name}/names", sorted(found), sorted(expected))
    wrong = sum(np.any(array != expected[key]) for key, array in found.items())
    report.exact(f"{name}/values", wrong, 0)


def _is_datasets(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def write_h5(path: Path, layer_names: Sequence[str], entries: Sequence[tuple]) -> None:
    """Writes weights as Keras 2 does; entries are layer, weight's name, values, shape."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layer_names]
        file.attrs["backend"] = b"tensorflow"
        named: dict[str, list[bytes]] = {}
        for layer in layer_names:
            file.create_group(layer)
        for layer, name, values, shape in entries:
            file[layer].create_dataset(name, shape, np.float32, np.broadcast_to(values, shape))
            named.setdefault(layer, []).append(name.encode())
        for layer in layer_names:
            file[layer].attrs["weight_names"] = named.get(layer, [])


def check_network(folder: Folder, name: str, report: Report) -> None:
    arrays = folder.arrays(name)
    arrays["image_seed"]  # the pictures themselves are there
    layers, keys = arrays["weight_layers"], arrays["weight_names"]
    recipe, first = {}, []
    shapes = resnet.weight_shapes()
    for i, (layer, key) in enumerate(zip(map(str, layers), map(str, keys), strict=True)):
        key = key.rpartition("/")[2].partition(":")[0]
        value = make_weight(layer, key, shapes[layer][key], int(arrays["weight_seed0"]) + i)
        recipe.setdefault(layer, {})[key] = value
        first.append(value.flat[0])
    report.exact(f"{name}/weight_first", first, arrays["weight_first"])
    layers = resnet.fold(recipe)
    for size in sorted(key.removeprefix("frames_") for key in arrays if key.startswith("frames_")):
        inputs = np.asarray(resnet.preprocess(arrays[f"frames_{size}"]))
        if (key := f"preprocessed_{size}") in arrays:
            report.exact(f"{name}/{key}", inputs, arrays[key])
        features, kept = _run_network(layers, inputs)
        kept["conv1_conv"] = _convolve(kept["conv1_pad"], recipe["conv1_conv"])
        for suffix in ("_float64", ""):
            key = f"features_{size}{suffix}"
            report.relative(f"{name}/{key}", features, arrays[key], FEATURES_BOUND)
        for rest, theirs in arrays.under(f"act_{size}_").items():
            layer = rest.removesuffix("_mean")
            ours = kept[layer]
            ours = (
                ours.mean((1, 2), np.float64)
                if rest.endswith("_mean")
                else _at(ours[:1], theirs.shape)
            )
            scale = np.abs(kept[layer]).max()
            bound = ACTIVATIONS_BOUND
            report.relative(f"{name}/act_{size}_{rest}", ours, theirs, bound, scale)


def _run_network(layers: Any, inputs: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Features and activations, by Keras's names, of the program that `extract` runs here."""
    by_winograd = winograd.is_faster("float32")
    model = resnet.ResNet152(winograd=by_winograd)
    features, variables = jax.jit(functools.partial(model.apply, mutable=["intermediates"]))(
        {"params": resnet.make_params(layers, by_winograd)}, inputs
    )
    kept: dict[str, np.ndarray] = {}
    for name, value in variables["intermediates"].items():
        if not isinstance(value, dict):
            kept[name] = np.asarray(value[0])
        elif name.endswith("_rest"):
            stage = name.removesuffix("rest")
            outputs = enumerate(np.asarray(value["out"][0]), 2)
            kept |= {f"{stage}block{number}_out": array for number, array in outputs}
        else:
            kept[f"{name}_out"] = np.asarray(value["out"][0])
    return np.asarray(features), kept


def _convolve(x: np.ndarray, layer: dict[str, np.ndarray]) -> np.ndarray:
    """conv1_conv before its batch normalisation, which the network has folded."""
    y = jax.lax.conv_general_dilated(
        x, layer["kernel"], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return np.asarray(y + layer["bias"])


def _at(activation: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Whole, or at the rows and columns that the folder keeps."""
    if activation.shape == tuple(shape):
        return activation
    for axis in (1, 2):
        size = activation.shape[axis]
        places = sorted({0, 1, size // 2, size - 2, size - 1})
        activation = activation.take(places, axis)
    return activation


def make_weight(layer: str, key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """One of the random weights with which the folder's numbers were made."""
    g = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    first = layer == "conv1_bn"
    value = {
        "kernel": lambda: g * np.sqrt(2 / np.prod(shape[:3])),
        "bias": lambda: 0.05 * g,
        "gamma": lambda: (1 + 0.1 * g) * (0.25 if layer.endswith("_3_bn") else 1),
        "beta": lambda: 0.1 * g,
        "moving_mean": lambda: (10 if first else 0.1) * g,
        "moving_variance": lambda: (1e4 if first else 1) * np.exp(0.2 * g),
    }[key]()
    return value.astype(np.float32)
