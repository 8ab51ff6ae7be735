"""Kills commands (SIGKILL) at random moments, runs them again, and compares what they leave.

    python tests/programs/kill.py FOLDER resident streamed --kills=30
    python tests/programs/kill.py FOLDER prepare tune study predict fuse extract --kills=10

Each command is run once undisturbed. Then it is started, killed and started again until it ends by
itself, and again from the beginning, until it has been killed as often as asked. Half of the kills
come at a random time, half at a random one of the operations on files that Python's audit events
tell of, so that some hit a checkpoint, the results or the report while they are written. What is
left must equal, bit for bit, what the undisturbed command left: parameters and optimiser states,
metrics.json, thresholds, results, predictions, figures, tables, and the report but for its times.

The commands are forked from a process that has imported what they need, since importing takes far
longer than these trainings. FOLDER keeps the inputs, the undisturbed runs, and compiled programs;
`--seconds` ends the program early. Exit status 1 if anything differed.
"""

import argparse
import contextlib
import functools
import importlib
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

EVENTS = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree")
PLACES = (
    ("a checkpoint", r"/checkpoints/"),
    ("the report", r"report\.(html|md)|timeline\.(png|html)|search\.png|/trials\.csv"),
    ("the results", r"results|metrics\.json|thresholds|predictions|score\.json|spots\.csv|\.zip"),
    ("prepared data", r"/prepared/"),
    ("parts of features", r"\.parts/|\.npy"),
    ("logs", r"log\.jsonl|tensorboard"),
)
_TIMES = r"(\d[\d,.]* ?(s|min|h|chunks/s)\b ?)+|\d+:\d\d(:\d\d)?|\d{4}-\d\d-\d\d"


class Case(NamedTuple):
    """A command: its module, its arguments for a folder, and which inputs it needs."""

    module: str
    arguments: Callable[[Path, Path], list[str]]
    needs: tuple[str, ...] = ()


def _main(inputs: Path, work: Path, *more: str) -> list[str]:
    return [f"--config={inputs / 'tiny.py'}", f"--workdir={work / 'run'}", *more]


CASES = {
    "resident": Case("main", lambda i, w: _main(i, w, "--config.seeds_at_once=2")),
    "streamed": Case(
        "main",
        lambda i, w: _main(
            i, w, "--config.data.loader=stream", f"--config.data.prepared_dir={w / 'prepared'}"
        ),
    ),
    "prepare": Case(
        "prepare",
        lambda i, w: [
            f"--config={i / 'tiny.py'}",
            f"--config.data.root={i / 'many'}",
            f"--config.data.prepared_dir={w / 'prepared'}",
        ],
    ),
    "tune": Case("tune", lambda i, w: _main(i, w)),
    "study": Case(
        "main",
        lambda i, w: [f"--config={i / 'study.py'}", f"--workdir={w / 'run'}"],
    ),
    "predict": Case(
        "predict",
        lambda i, w: [
            f"--workdir={i.parent / 'resident' / 'undisturbed' / 'run' / 'seed_0'}",
            f"--features={i / 'many'}",
            f"--output={w / 'spots'}",
            "--zip",
            "--export=csv,sportscode",
        ],
        ("resident",),
    ),
    "fuse": Case(
        "fuse",
        lambda i, w: [
            *(str(i.parent / "resident" / "undisturbed" / "run" / f"seed_{n}") for n in (0, 1)),
            f"--workdir={w / 'fused'}",
        ],
        ("resident",),
    ),
    "extract": Case(
        "extract",
        lambda i, w: [f"--video={i / 'match.mkv'}", f"--output={w / 'features'}"],
    ),
}


def main() -> int:
    """Reads the command line; kills, compares, and prints figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="+", choices=tuple(CASES))
    parser.add_argument("--kills", type=int, default=30, help="of each case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most, in all")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    _set_environment(folder)
    from helpers import SPLITS, write_dataset

    inputs = folder / "inputs"
    if not (inputs / "tiny.py").exists():
        shutil.rmtree(inputs, ignore_errors=True)
        write_dataset(inputs / "data", SPLITS)
        many = {"train": [f"train {i}" for i in range(12)], "valid": ["v"], "test": ["t"]}
        write_dataset(inputs / "many", many)
        _write_configs(inputs)
    if "extract" in arguments.cases and not (inputs / "match.mkv").exists():
        from video_fixture import write_video

        write_video(inputs / "match.mkv", 6000, 10, size=(160, 90))

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kill"])
    deadline = time.monotonic() + arguments.seconds
    worst = 0
    for name in arguments.cases:
        for needed in (*CASES[name].needs, name):
            reference = _run_undisturbed(context, folder, needed)
        generator = random.Random(f"{name} {arguments.seed}")
        kills, cycles, where, wrong = _kill_and_compare(
            context, folder, name, reference, arguments.kills, generator, deadline
        )
        found = ", ".join(f"{count} at {place}" for place, count in where.most_common())
        print(
            f"{name}: {kills} kills ({found}), {cycles} commands ended, "
            f"{len(wrong)} of them with other files than undisturbed",
            flush=True,
        )
        for line in wrong:
            print(f"  {line}")
        worst = worst or int(bool(wrong) or not cycles)
    return worst


def _set_environment(folder: Path) -> None:
    """Of all processes: one cache of compiled programs, and this directory for imports."""
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.02",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join([str(TESTS / "programs"), str(TESTS), str(TESTS.parent)]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _write_configs(inputs: Path) -> None:
    body = (
        f"import sys\nfrom pathlib import Path\nsys.path.append({str(TESTS)!r})\n"
        "from helpers import tiny_config\n"
        f"def get_config(only=None):\n    config = tiny_config(Path({str(inputs / 'data')!r}))\n"
        "    config.seeds = (0, 1)\n    config.training.epochs = 3\n"
        "    config.confidence.rho = config.displacement.rho = 0.0  # compiled in half the time\n"
        "    config.tune.confidence.update(\n"
        "        learning_rate=(1e-3, 2e-3), rho=(), weight_decay=(), mixup_alpha=())\n"
        "    config.tune.displacement.update(learning_rate=(), rho=(), weight_decay=())\n"
        "    config.tune.window = (2.0, 20.0)\n"
        "    if only:\n        config.confidence.mixup_alpha = 0.0\n"
        "    return config\n"
    )
    row = str(inputs / "tiny.py")
    (inputs / "study.py").write_text(
        "from configs import common\n"
        "def get_config():\n"
        f"    config = common.study(({row!r}, {row + ':du'!r}))\n"
        "    config.seeds = (0,)\n    config.training.epochs = 2\n    return config\n"
    )
    (inputs / "tiny.py").write_text(body)


# In a process of its own.


def _import_all() -> None:
    for module in {case.module for case in CASES.values()}:
        importlib.import_module(f"spotting.{module}")
    # What commands import when they need it.
    for module in ("experiment", "data.prepared.stream", "studies.study", "studies.search"):
        importlib.import_module(f"spotting.{module}")
    for module in ("reporting.report", "reporting.snapshot", "video", "runs.preparation"):
        importlib.import_module(f"spotting.{module}")


if __name__ == "kill":  # the server that forks
    with contextlib.suppress(ImportError):
        _import_all()


def _work(module: str, arguments: Sequence[str], work: Path, last: int | None) -> None:
    """Runs a command in `work`, up to the operation on files of number `last`."""
    work.mkdir(parents=True, exist_ok=True)
    output = os.open(work / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    note = os.open(work.parent / f"{work.name}.killed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    inside, count = f"{work}{os.sep}", 0

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in EVENTS or not given:
            return
        if event == "open" and not (len(given) > 2 and given[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = os.fsdecode(given[0]) if isinstance(given[0], str | bytes | os.PathLike) else ""
        if not path.startswith(inside):
            return
        count += 1
        if last is None:
            os.pwrite(note, f"{count:8d}".encode(), 0)
        elif count == last:
            os.write(note, f"{event} {path}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    sys.argv = [module, *arguments]
    os.chdir(work)
    from spotting.base import cli

    cli.run(importlib.import_module(f"spotting.{module}").main)


def _start(context: Any, folder: Path, name: str, work: Path, last: int | None) -> Any:
    case = CASES[name]
    arguments = case.arguments(folder / "inputs", work)
    process = context.Process(target=_work, args=(case.module, arguments, work, last))
    process.start()
    return process


def _run_undisturbed(context: Any, folder: Path, name: str) -> dict[str, Any]:
    """Runs a command once, unless that was done; its duration, operations, and files."""
    work = folder / name / "undisturbed"
    known = folder / name / "undisturbed.json"
    if not known.exists():
        shutil.rmtree(folder / name, ignore_errors=True)
        began = time.monotonic()
        process = _start(context, folder, name, work, None)
        process.join()
        if process.exitcode:
            sys.exit(f"{name}: status {process.exitcode}, see {work / 'output.txt'}")
        operations = int((folder / name / "undisturbed.killed").read_text())
        seconds = time.monotonic() - began
        known.write_text(json.dumps({"seconds": seconds, "operations": operations}))
        print(f"{name}: undisturbed in {seconds:.1f} s, {operations} operations", flush=True)
    return {**json.loads(known.read_text()), "content": read_content(work)}


def _kill_and_compare(
    context: Any,
    folder: Path,
    name: str,
    reference: dict[str, Any],
    wanted: int,
    generator: random.Random,
    deadline: float,
) -> tuple[int, int, Counter, list[str]]:
    """Kills, commands that ended, where operations were killed, and what differed."""
    kills = cycles = 0
    where: Counter = Counter()
    wrong = []
    work = folder / name / "killed"
    while kills < wanted and time.monotonic() < deadline:
        shutil.rmtree(work, ignore_errors=True)
        while True:
            # The last start of all is left alone.
            by_time = generator.random() < 0.5
            last = None if by_time else generator.randint(1, reference["operations"])
            if kills >= wanted or time.monotonic() > deadline:
                by_time, last = False, None
            process = _start(context, folder, name, work, last)
            began = time.monotonic()
            if by_time:
                process.join(generator.uniform(0, reference["seconds"]))
                process.kill()
            process.join()
            if not kills and process.exitcode == 0:
                # The undisturbed one had to compile.
                reference["seconds"] = time.monotonic() - began
            if process.exitcode != -signal.SIGKILL:
                break
            kills += 1
            note = "" if by_time else (work.parent / "killed.killed").read_text()
            where[_classify(note)] += 1
        cycles += 1
        if process.exitcode:
            wrong.append(f"status {process.exitcode}, see {work / 'output.txt'}")
            shutil.copytree(work, folder / name / f"wrong {cycles}", dirs_exist_ok=True)
            continue
        content, expected = read_content(work), reference["content"]
        differing = [
            path
            for path in sorted(content.keys() | expected.keys())
            if content.get(path) != expected.get(path)
        ]
        if differing:
            wrong.append(f"cycle {cycles}: {', '.join(differing[:9])}")
            shutil.copytree(work, folder / name / f"wrong {cycles}", dirs_exist_ok=True)
    return kills, cycles, where, wrong


def _classify(note: str) -> str:
    if not note:
        return "a random time"
    return next((place for place, pattern in PLACES if re.search(pattern, note)), "other files")


def read_content(work: Path) -> dict[str, Any]:
    """What a command left, by path, with nothing in it that tells times."""
    content: dict[str, Any] = {}
    for path in sorted(work.rglob("*")):
        name = path.relative_to(work).as_posix()
        if "/checkpoints/" in name:
            if path.name == "default":
                content[name] = _read_arrays(path)
        elif path.is_dir() or re.search(r"output\.txt|log\.jsonl|tensorboard|\.html$", name):
            content[name] = None
        elif path.name in ("report.md", "tuned.py", "config.json", "predict.json", "trials.csv"):
            text = path.read_text().replace(str(work), "")
            content[name] = re.sub(_TIMES, "TIME", text)
        elif re.search(r"\.tfrecord-\d+-of-\d+$", name):
            content[name] = _read_records(path)
        elif path.suffix in (".npz", ".zip"):
            content[name] = _read_zip(path)
        elif "/prepared/" in f"/{name}" and path.suffix == ".json":
            content[name] = path.read_text().replace(str(work), "")
        else:
            content[name] = path.read_bytes()
    # Event files of TensorBoard are one for each start. Prepared data that is complete stays as it
    # is, even if the tidying up was killed.
    passing = r"tensorboard/|prepared/.*(\.lock|\.report\.json|/partial_info(/.*)?)$"
    return {name: value for name, value in content.items() if not re.search(passing, name)}


def _read_arrays(path: Path) -> list[tuple[str, Any]]:
    import jax

    arrays = _open_checkpointer().restore(path)
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    return [(jax.tree_util.keystr(key), _as_bytes(leaf)) for key, leaf in leaves]


@functools.cache
def _open_checkpointer() -> Any:
    import orbax.checkpoint as ocp

    return ocp.StandardCheckpointer()


def _as_bytes(leaf: Any) -> tuple[str, bytes]:
    import numpy as np

    array = np.asarray(leaf)
    return f"{array.dtype} {array.shape}", array.tobytes()


def _read_records(path: Path) -> list[dict[str, bytes]]:
    """Records without the order of their fields, which is another in each process."""
    import tensorflow as tf

    examples = map(tf.train.Example.FromString, tf.compat.v1.io.tf_record_iterator(str(path)))
    return [
        {name: value.SerializeToString() for name, value in example.features.feature.items()}
        for example in examples
    ]


def _read_zip(path: Path) -> dict[str, bytes]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


if __name__ == "__main__":
    sys.exit(main())
