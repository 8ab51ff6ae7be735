"""Measures how fast this device is: a row of the paper's tables, what follows it, or the loader.

    python -m spotting.benchmark --config=configs/unet_resnet_pca.py
    python -m spotting.benchmark --all --dtype=bfloat16 --json=speed.json
    python -m spotting.benchmark --what=loader
    python -m spotting.benchmark --what=extraction
    python -m spotting.benchmark --all --dtype=bfloat16 --compile-for=tpu-v5e:4x4

A row's network is measured in inference and in an epoch of training, plain, with SAM, and with SAM
and mixup; then the displacement, suppression and scoring of a test split. Beside them stands what
the paper measured on one V100. Inputs are random, figures are medians, and every rate is compared
with a plain matrix product and with the memory's bandwidth, measured in turn with it.

With --compile-for nothing is measured: the same programs are compiled for an accelerator that need
not be here, and what they would need and do there is read from them.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.base.files import write_json_atomic
from spotting.base.text_table import text_table
from spotting.reporting import paper
from spotting.runs import config_files
from spotting.runs.config import check_config

if TYPE_CHECKING:
    from spotting.benchmarks.row import Row
    from spotting.benchmarks.scoring import Scoring

ALL = ("unet_resnet_pca", "te_small_resnet_pca", "te_base_resnet_pca", "unet_combination")


def main() -> int:
    """Reads the command line."""
    arguments = _parse()
    if arguments.what == "loader":
        from spotting.benchmarks import loader as loader_benchmark

        loader_benchmark.benchmark("speed")
        return 0
    if arguments.what == "extraction":
        from spotting.benchmarks import extraction

        extracted = extraction.measure(_say)
        print(extraction.describe(extracted))
        if arguments.json:
            write_json_atomic(arguments.json, dataclasses.asdict(extracted))
        return 0
    if arguments.compile_for:
        return _compile(arguments)
    import jax

    from spotting.base.logs import environment
    from spotting.benchmarks import row, scoring

    # A program from the cache would seem to compile at once.
    jax.config.update("jax_enable_compilation_cache", False)
    rows = []
    for config in _configs(arguments):
        _say(config.paper_row)
        rows.append(row.measure(config, arguments.seeds, lambda text: _say(f"  {text}")))
        print(row_table(rows[-1]) + "\n", flush=True)
    scored = scoring.measure(_say)
    print(scoring_table(scored))
    if arguments.json:
        measured = {
            "environment": environment(),
            "rows": [dataclasses.asdict(one) for one in rows],
            "scoring": dataclasses.asdict(scored),
            "paper": [one._asdict() for one in paper.TABLE_1],
        }
        write_json_atomic(arguments.json, measured)
    return 0


def _compile(arguments: argparse.Namespace) -> int:
    """Compiles rows for devices that are not here."""
    import jax

    from spotting.benchmarks import compile_for
    from spotting.benchmarks.targets import find_target

    names = arguments.programs.split(",") if arguments.programs else compile_for.PROGRAMS
    if unknown := sorted(set(names) - set(compile_for.PROGRAMS)):
        known = ", ".join(compile_for.PROGRAMS)
        raise InputError(f"--programs: no program {', '.join(unknown)}; there are {known}")
    configs = list(_configs(arguments))
    target = find_target(arguments.compile_for)
    jax.config.update("jax_enable_compilation_cache", False)
    size = compile_for.Size(arguments.seeds, arguments.halves or compile_for.HALVES)
    rows = []
    for config in configs:
        _say(config.paper_row)
        found = compile_for.compile_row(config, target, size, names, lambda text: _say(f"  {text}"))
        rows.append(found)
        print(compile_for.describe(found) + "\n", flush=True)
    if arguments.json:
        versions = {"jax": jax.__version__}
        compiled = {"versions": versions, "rows": [dataclasses.asdict(one) for one in rows]}
        write_json_atomic(arguments.json, compiled)
    return 0


def _parse() -> argparse.Namespace:
    parser = cli.Parser("python -m spotting.benchmark", __doc__)
    parser.add_config("the row to measure")
    parser.add_argument(
        "--all",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="measure all of the paper's networks",
    )
    parser.add_argument(
        "--what",
        choices=("row", "loader", "extraction"),
        default="row",
        help="a row, the streaming loader, or features of videos",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of the computation and of the features on the device; default: the config's",
    )
    parser.add_argument(
        "--seeds", type=cli.positive_int, default=1, metavar="N", help="trainings in one program"
    )
    parser.add_argument(
        "--compile-for",
        metavar="TARGET",
        help="compile the row for devices that are not here, such as tpu-v5e:4x4, "
        "tpu-v5e:4x4,slices=2 or h100:1x2x8 (slices x hosts x GPUs)",
    )
    parser.add_argument(
        "--programs",
        metavar="LIST",
        help="which to compile: plain,SAM,SAM+mixup,validation,suppression; default: all",
    )
    parser.add_argument(
        "--halves",
        type=cli.positive_int,
        metavar="N",
        help="of the training split to compile for; default: 600, as SoccerNet-v2 has",
    )
    parser.add_argument("--json", metavar="FILE", help="file for what was measured or compiled")
    return parser.parse_args()


def _configs(arguments: argparse.Namespace) -> Iterable[ConfigDict]:
    if arguments.all:
        if arguments.config:
            raise InputError("--all measures every network: leave --config out, or --all")
        configs = [config_files.load_config(name) for name in ALL]
    else:
        configs = [config_files.load(arguments.config)]
    for config in configs:
        check_config(config)
        if config.system != "anchors":
            raise InputError(
                f"a config of the system {config.system!r}; the benchmark knows the networks of "
                "the anchors alone, such as --config=configs/unet_resnet_pca.py"
            )
        if arguments.dtype:
            config.model.dtype = config.data.resident_dtype = arguments.dtype
    return configs


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def row_table(row: "Row") -> str:
    """What was measured of a row, as text."""
    lines = [
        f"{row.paper_row or 'network'}: {row.parameters:,} parameters, "
        f"chunks of {row.chunk_frames} x {row.feature_dim}",
        f"on {row.devices} x {row.device}, {row.dtype}, {row.batch_size} chunks a batch, "
        f"{row.seeds} training(s) in a program",
        f"matrix products alone: {row.matmul_flop_per_s / 1e9:,.0f} GFLOP/s; "
        f"memory: {row.bandwidth_bytes_per_s / 1e9:,.0f} GB/s",
        "",
    ]
    work = row.work
    rows = []
    for name in ("forward", "gradient"):
        flop, xla_flop, moved = (
            getattr(work, field) for field in (f"{name}_flop", f"xla_{name}_flop", f"{name}_bytes")
        )
        rows.append(
            (f"  {name}", f"{flop / 1e9:.2f}", f"{xla_flop / 1e9:.2f}", f"{moved / 1e6:.1f}")
        )
    header: tuple[str, ...] = ("a chunk", "GFLOP, products", "GFLOP, all", "MB moved")
    lines += [text_table(rows, header), ""]
    cells = [f"{row.inference.chunks_per_s:,.0f}", *_shares(row.inference), *[""] * 4]
    speeds = [("  inference", *cells, _paper_inference(row))]
    for name, epoch in row.epochs.items():
        cells = [
            f"{epoch.speed.chunks_per_s:,.0f}",
            *_shares(epoch.speed),
            f"{epoch.step_seconds:.3g}",
            f"{epoch.seconds:,.0f}" if epoch.seconds >= 100 else f"{epoch.seconds:.3g}",
            f"{epoch.compile_seconds:.1f}",
            f"{epoch.memory_bytes / 1e9:.2f}",
            _paper_epoch(row, name),
        ]
        speeds.append((f"  training, {name}", *cells))
    header = ("chunks/s", "products", "bandwidth", "step s", "epoch s", "compile s", "GB", "V100")
    lines.append(text_table(speeds, ("", *header)))
    steps = "/".join(str(epoch.steps) for epoch in row.epochs.values())
    lines.append(f"Epochs: {steps} steps at once were timed. V100: the paper's chunks/s or epoch.")
    shares = " / ".join(f"{100 * share:.1f} %" for share in row.validation.shares.values())
    lines.append(
        f"Validation, the network over 100 games: {row.validation.seconds:,.3g} s (from "
        f"{row.validation.halves} halves), {shares} of the training between two."
    )
    return "\n".join(lines)


def _shares(speed: Any) -> list[str]:
    return [f"{100 * share:.0f} %" for share in (speed.matmul_share, speed.bandwidth_share)]


def _paper_rows(row: "Row") -> dict[str, paper.PaperSpeed]:
    """The paper's rows of the same network, by how it was trained."""
    method, features = paper.split_name(row.paper_row)
    network = method.partition("+")[0]
    return {
        one.method.removeprefix(network).removeprefix("+") or "plain": one
        for one in paper.TABLE_1
        if one.features == features and one.method.partition("+")[0] == network
    }


def _paper_inference(row: "Row") -> str:
    return next((f"{one.chunks_per_second:,}" for one in _paper_rows(row).values()), "")


def _paper_epoch(row: "Row", ablation: str) -> str:
    one = _paper_rows(row).get(ablation)
    return f"{one.epoch_seconds} s" if one else ""


def scoring_table(scored: "Scoring") -> str:
    """The times of what comes after the networks."""
    title = "scoring a test split of 100 games, 17 classes, 2 frames per second"
    rows = [
        ("hard NMS of 20 s", f"{scored.suppression:.2f} s"),
        ("displacement before it", f"{scored.displacement:.2f} s"),
        ("the same, votes added up", f"{scored.added_votes:.2f} s"),
        ("soft NMS of 12 s in the place of the hard one", f"{scored.soft_suppression:.2f} s"),
        ("loose and tight average-mAP, 2,000 predictions a game", f"{scored.average_map:.2f} s"),
    ]
    return f"{title}\n{text_table(rows, indent='  ')}"


if __name__ == "__main__":
    cli.run(main)
