"""Feeds every reader of files with bad input, mutated and made by hand.

    python tests/programs/fuzz.py --seconds=300

Whatever is in a file, a reader either takes it or raises an InputError of one line. Beyond that
  - no pickle is loaded that could run something, and no process or connection is started;
  - nothing is written outside the program's own temporary folder;
  - no input takes 300 MB more memory, or 10 s of processor time;
  - no reader written in C ends the process (videos, .h5 files and TensorFlow's checkpoints are read
    in child processes for this).
Each input follows from --seed, the name of its target and its number, so that --only=TARGET
--first=NUMBER --inputs=1 shows one again, with its traceback. The exit status is 1 if there was a
problem; the input is then kept in --keep.
"""

import argparse
import copy
import faulthandler
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from spotting.base.errors import InputError  # noqa: E402
from spotting.runs.prediction_record import PredictionRecord  # noqa: E402

_CPU_SECONDS = 10.0
_MEMORY = 300 << 20
_CHILD_MEMORY = 6 << 30  # address space; TensorFlow and FFmpeg map much that they never touch
_CHILD_BATCH = 400


class Target(NamedTuple):
    """A reader: what files are made for it, and how it is called.

    Attributes:
      make: writes a file, or several, into a folder.
      read: reads what is in the folder.
      share: of the time, relative to the others.
      in_child: whether a crash would take the process along.
    """

    make: Callable[[random.Random, Path], None]
    read: Callable[[Path], Any]
    share: float = 1.0
    in_child: bool = False


# What inputs are made of

NASTY: tuple[Any, ...] = (
    None,
    True,
    [],
    {},
    "",
    " ",
    -1,
    0,
    1,
    2,
    3,
    5,
    0.5,
    -0.0,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    2**31,
    2**53 + 1,
    2**63,
    10**30,
    10**400,
    "1",
    "-1",
    "1e400",
    "nan",
    "inf",
    "1" * 5000,
    "..",
    "../../outside",
    "/tmp/outside",
    "a/../../../outside",
    "C:\\outside",
    "\\\\server\\outside",
    "a\0b",
    "\ud800",
    "\udcff",
    "\u202eevil",
    "<script>alert(1)</script>",
    "=1+1",
    "$x_{2$",
    "\x1b[2J\n\r\t",
    "'\";--",
    "x" * 300,
    "y" * 20_000,
    "Ä" * 200,
    "1 - 0:0",
    "1 - 99999999999999999999:00",
    "5 - 00:01",
    "\uff11 - \uff10\uff10:\uff10\uff11",  # digits of full width
    [[[[]]]],
    [1, "2", None],
    {"a": {"b": []}},
    {"__class__": "os.system"},
)


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Bytes with some of them changed, left out, repeated or put in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            return bytes(data)
        at = rng.randrange(len(data))
        span = min(len(data) - at, rng.choice((1, 1, 2, 4, 8, 64)))
        what = rng.randrange(7)
        if what == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at : at + span] = rng.randbytes(span)
        elif what == 2:
            data[at : at + span] = rng.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * span
        elif what == 3:
            del data[at : at + span]
        elif what == 4:
            data[at:at] = data[at : at + span]
        elif what == 5:
            data[at:at] = rng.choice((b"{", b"[", b'"', b"\\ud800", b"1e999", b"\xef\xbb\xbf"))
        else:
            del data[at:]
    return bytes(data)


def mutate_json(rng: random.Random, value: Any) -> Any:
    """A document with some of its values replaced by nasty ones, or left out."""
    document = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(document))
        if not places:
            return copy.deepcopy(rng.choice(NASTY))
        container, key = rng.choice(places)
        what = rng.randrange(6)
        if what == 0:
            del container[key]
        elif what == 1 and isinstance(container, dict):
            container[str(rng.choice(NASTY))] = container.pop(key)
        elif what == 2 and isinstance(container, list):
            container.extend(copy.deepcopy(container[:2]) * rng.choice((1, 2, 50)))
        else:
            container[key] = copy.deepcopy(rng.choice(NASTY))
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def dump(rng: random.Random, value: Any) -> bytes:
    """JSON of a mutated document, whose bytes are sometimes mutated too."""
    if rng.random() < 0.02:
        depth = rng.choice((500, 100_000))
        return rng.choice((b"[", b'{"a":')) * depth
    content = json.dumps(mutate_json(rng, value), ensure_ascii=rng.random() < 0.7)
    data = content.encode("utf-8", "surrogatepass")
    if rng.random() < 0.02:
        data = content.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")), "surrogatepass")
    return mutate_bytes(rng, data) if rng.random() < 0.3 else data


LABELS = {
    "UrlLocal": "league/2026/a - b/",
    "annotations": [
        {
            "gameTime": f"{half} - 00:{second:02d}",
            "label": label,
            "position": str(1000 * second),
            "team": "home",
            "visibility": visibility,
        }
        for half, second, label, visibility in (
            (1, 3, "Goal", "visible"),
            (1, 9, "Corner", "not shown"),
            (2, 5, "Throw-in", "visible"),
        )
    ],
}
RESULTS = {
    "UrlLocal": "league/2026/a - b/",
    "predictions": [
        {
            "gameTime": f"{half} - 0:{second:02d}",
            "half": str(half),
            "position": str(1000 * second),
            "label": label,
            "confidence": str(confidence),
        }
        for half, second, label, confidence in (
            (1, 3, "Goal", 0.9),
            (1, 8, "Corner", 0.25),
            (2, 5, "Throw-in", 1.0),
        )
    ],
}
DESCRIPTION = {
    "name": "tiny",
    "frame_rate": 2.0,
    "features": "toy",
    "feature_dim": 3,
    "classes": ["Goal", "Corner", "Throw-in"],
    "splits": {"train": ["m0"], "valid": ["m1"], "test": ["league/2026/m2"]},
}
GAMES = ("m0", "m1", "league/2026/m2")


def make_npy(rng: random.Random, hostile: bool = True) -> bytes:
    """An .npy file of [20, 3] values, or one whose header says something else."""
    array = np.linspace(-1, 1, 60, dtype=rng.choice(("<f2", "<f4"))).reshape(20, 3)
    file = io.BytesIO()
    np.save(file, array)
    if not hostile:
        return file.getvalue()
    what = rng.randrange(4)
    if what == 0:
        return mutate_bytes(rng, file.getvalue())
    if what == 1:
        return mutate_bytes(rng, file.getvalue()[:128]) + file.getvalue()[128:]
    descr = rng.choice(
        ("<f4", "<f2", "<f8", "|O", "|S0", "|V0", "<U9", ">f4", "<c8", "<M8[s]", [("a", "<f4")])
    )
    sizes = (0, 1, 3, 20, -1, 2**31, 2**40, 2**62, 2**63, 10**30, 3.0, True, None, "3")
    shape: Any = tuple(rng.choice(sizes) for _ in range(rng.choice((0, 1, 2, 2, 2, 3, 40))))
    header = repr({"descr": descr, "fortran_order": rng.choice((False, True, 1)), "shape": shape})
    if what == 3:
        header = rng.choice(
            (
                "__import__('os').system('touch outside')",
                "(" * rng.choice((10, 300, 5000)),
                "{" * 200 + "}" * 200,
                "9" * 5000,
                header.replace("}", ", 'more': 1}"),
                header + "\0",
                "-" * 3000 + "1",
                "",
            )
        )
    version = rng.choice(((1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    text = header.encode("latin1") + b"\n"
    length = rng.choice((len(text), len(text), len(text), 0, 65535, len(text) - 1))
    form = "<H" if version == (1, 0) else "<I"
    size = struct.pack(form, min(length, 65535))
    return b"\x93NUMPY" + bytes(version) + size + text + array.tobytes()


def make_zip(rng: random.Random, members: dict[str, bytes]) -> bytes:
    """A zip file of members, with names, attributes and sizes that sound ones do not have."""
    file = io.BytesIO()
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in members.items():
            if rng.random() < 0.3:
                name = rng.choice(("../", "/", "..\\", "C:/", "a/../../", "__MACOSX/", "./")) + name
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
            info.compress_type = packing
            if rng.random() < 0.1:
                info.external_attr = 0o120777 << 16  # a symbolic link
            archive.writestr(info, content)
        if rng.random() < 0.05:
            archive.writestr(f"bomb/{next(iter(members))}", b" " * (40 << 20), zipfile.ZIP_DEFLATED)
    data = file.getvalue()
    if rng.random() < 0.5:
        # Numbers of the directory at the end rather than of the members' contents.
        at = max(0, data.rfind(b"PK\1\2") - rng.choice((0, 0, 200)))
        data = data[:at] + mutate_bytes(rng, data[at:])
    return data


# The targets


def _write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _make_labels(rng: random.Random, folder: Path) -> None:
    _write(folder, "Labels-v2.json", dump(rng, LABELS))


def _read_labels(folder: Path) -> None:
    from spotting.data.annotations import read_events

    read_events(folder / "Labels-v2.json")


def _make_results(rng: random.Random, folder: Path) -> None:
    _write(folder, "a/results_spotting.json", dump(rng, RESULTS))


def _read_results(folder: Path) -> None:
    from spotting.data.annotations import iterate_results
    from spotting.data.exports import FORMATS, Moment, make_exports
    from spotting.reporting.review.match import read_spots

    for game, spots in iterate_results(folder):
        moments = [Moment(*spot) for spot in spots]
        files = make_exports(FORMATS, game, moments, {}, ("Goal",))
        assert not any("/" in name for name in files)
    read_spots(folder)


def _make_results_zip(rng: random.Random, folder: Path) -> None:
    one = json.dumps(RESULTS).encode()
    content = dump(rng, RESULTS) if rng.random() < 0.3 else one
    members = {"g/results_spotting.json": content, "h/results_spotting.json": one}
    _write(folder, "results.zip", make_zip(rng, members))


def _read_results_zip(folder: Path) -> None:
    from spotting.data.annotations import iterate_results

    list(iterate_results(folder / "results.zip"))


def _make_dataset(rng: random.Random, folder: Path) -> None:
    _write(folder, "dataset.json", dump(rng, DESCRIPTION))
    for game in GAMES:
        for half in (1, 2):
            _write(folder, f"{game}/{half}_toy.npy", make_npy(rng, rng.random() < 0.05))
        _write(folder, f"{game}/Labels-v2.json", json.dumps(LABELS).encode())


def _read_dataset(folder: Path) -> None:
    from spotting.data.halves import check_finite, compute_offsets, open_dataset, read_split
    from spotting.data.survey import describe_events, describe_problems, survey_split

    dataset = open_dataset(folder)
    surveys = {split: survey_split([dataset], split) for split in dataset.splits}
    describe_events(dataset, surveys)
    describe_problems(surveys)
    for split in dataset.splits:
        halves, _ = read_split(dataset, split)
        check_finite(halves)
        compute_offsets(halves, dataset.classes, dataset.frame_rate, "gameTime")


def _make_npy_file(rng: random.Random, folder: Path) -> None:
    _write(folder, "1_toy.npy", make_npy(rng))


def _read_npy_file(folder: Path) -> None:
    from spotting.data.checks import find_nonfinite, read_header

    read_header(folder / "1_toy.npy")
    find_nonfinite(np.load(folder / "1_toy.npy", mmap_mode="r"))


def _make_predictions(rng: random.Random, folder: Path) -> None:
    names = [f"a/b|1|{kind}.npy" for kind in ("confidence", "displacement")]
    members = {name: make_npy(rng, rng.random() < 0.5) for name in names}
    if rng.random() < 0.2:
        members[f"{rng.choice(NASTY)}.npy"] = make_npy(rng)
    _write(folder, "predictions/test.npz", make_zip(rng, members))


def _read_predictions(folder: Path) -> None:
    from spotting.runs.predictions import load_predictions

    load_predictions(folder, "test")


class _Run:
    """A run folder's sound files, made once."""

    files: ClassVar[dict[str, Any]] = {}

    @classmethod
    def get(cls) -> dict[str, Any]:
        if not cls.files:
            from helpers import tiny_config

            from spotting.runs.config import save_config

            with tempfile.TemporaryDirectory() as folder:
                save_config(tiny_config(Path(folder) / "data"), Path(folder))
                cls.files["config.json"] = json.loads(Path(folder, "config.json").read_text())
            scores = {"loose": 60.0, "tight": 40.0, "interval": {"loose": [50.0, 70.0]}}
            scores["per_class"] = {"Goal": {"loose": 60.0, "tight": 40.0}}
            variants = ("with_displacement", "without_displacement", "guessing", "oracle")
            cls.files["metrics.json"] = {"test": dict.fromkeys(variants, scores)}
            cls.files["thresholds.json"] = {"Goal": 0.5, "Corner": 0.25, "Throw-in": 1.0}
            cls.files["dataset.json"] = DESCRIPTION
            cls.files["log.jsonl"] = [
                {"time": "2026-01-01T10:00:00+00:00", "kind": "start", "seed": 0, "device": "cpu"},
                {"time": "2026-01-01T10:00:01+00:00", "kind": "model", "model": "confidence"},
                {
                    "time": "2026-01-01T10:00:09+00:00",
                    "kind": "train",
                    "model": "confidence",
                    "epoch": 1,
                    "loss": 0.5,
                    "chunks_per_s": 9.0,
                },
            ]
        return cls.files


def _make_run(rng: random.Random, folder: Path) -> None:
    files = _Run.get()
    damaged = rng.choice(list(files))
    for name, value in files.items():
        if name == "log.jsonl":
            lines = [dump(rng, v) if name == damaged else json.dumps(v).encode() for v in value]
            _write(folder, name, b"\n".join(lines))
        else:
            content = dump(rng, value) if name == damaged else json.dumps(value).encode()
            _write(folder, name, content)


def _read_run(folder: Path) -> None:
    from spotting.reporting.curves import draw_learning
    from spotting.reporting.runs import read_log, read_number, read_rows, scale_notes
    from spotting.runs.config import check_workdir, load_config
    from spotting.runs.folders import read_scored
    from spotting.scoring.figures import format_scores, summarize
    from spotting.spotter import _read_thresholds

    rows = read_rows([folder])
    scale_notes(rows)
    for run in (run for row in rows for run in row.runs):
        for variant in ("with_displacement", "oracle"):
            for kind in ("loose", "tight"):
                run.score(variant, kind)
                run.interval(variant, kind)
                run.class_scores(variant, kind)
        run.wall_seconds()
        run.epoch_seconds()
        run.start("device")
        run.parameters("confidence")
    losses = [read_number(entry, "loss") for entry in read_log(folder / "log.jsonl")]
    known = [loss for loss in losses if loss is not None]
    if known:
        draw_learning("loss", [(range(len(known)), known, "s0")])
    config = load_config(folder)
    check_workdir(config, folder)
    _read_thresholds(folder / "thresholds.json")
    for scores in read_scored({0: folder})[0].values():
        summarize(scores)
        format_scores(scores, "test")


def _make_extraction(rng: random.Random, folder: Path) -> None:
    from spotting.video.record import VERSION

    half: dict[str, Any] = {"half": 1, "features": "toy", "file": "1_toy.npy", "rows": 20, "dim": 3}
    half |= {"dtype": "float32", "frame_rate": 2.0, "video": "/a.mkv", "video_sha256": "0" * 64}
    half |= {"start": 5.0, "end": 15.0, "requested_end": None, "rule": "timestamps", "columns": 224}
    half |= {"network": {"name": "toy"}, "lost_seconds": 0.0, "notes": [], "versions": {"av": "18"}}
    value = {"version": VERSION, "halves": [half, half | {"half": 2, "start": 20.0, "end": 40.0}]}
    _write(folder, "extraction.json", dump(rng, value))


def _read_extraction(folder: Path) -> None:
    from spotting.data.exports import FORMATS, Moment, make_exports, read_places
    from spotting.video.record import read_records

    places = read_places(folder)
    moments = [Moment(half, "Goal", 1.0, 0.5) for half in (1, 2)]
    make_exports(FORMATS, "game", moments, places, ("Goal",))
    read_records(folder)


def _make_record(rng: random.Random, folder: Path) -> None:
    game = {"files": {"1": ["/a/1_toy.npy", 10, 20]}, "seconds": {"1": 60.0}}
    value = {"made_by": {"run": "abc", "threshold": 0.0}, "games": {"a": game, "b": game}}
    _write(folder, "predict.json", dump(rng, value))
    _write(folder, "a/results_spotting.json", json.dumps(RESULTS).encode())


def _read_record(folder: Path) -> None:
    from spotting import predict

    record = PredictionRecord(folder, {"run": "abc", "threshold": 0.0})
    games = record.others([])
    predict.write_overview(folder, games, "run", ["Goal"], None)


def _make_review(rng: random.Random, folder: Path) -> None:
    item = {"id": "s0", "half": 1, "position": 1000, "label": "Goal", "confidence": 0.5}
    item |= {"status": "confirmed", "visible": True, "by": "model"}
    value = {"format": 1, "game": "g", "revision": 3, "source": "", "labels": ["0" * 64]}
    value |= {"document": {"UrlLocal": "g"}, "classes": ["Goal"], "items": [item]}
    _write(folder, "review.json", dump(rng, value))
    if rng.random() < 0.3:
        _write(folder, "Labels-v2.json", dump(rng, LABELS))


def _read_review(folder: Path) -> None:
    from spotting.reporting.review.match import HalfVideo, Match
    from spotting.reporting.review.playable import VideoFacts
    from spotting.reporting.review.store import Store

    halves = tuple(HalfVideo(number, 0, 0.0, 60.0) for number in (1, 2))
    facts = VideoFacts(Path("v.mp4"), "video/mp4", 25.0, 120.0, "", "")
    match = Match("g", ("Goal", "Corner"), (facts,), halves)
    store = Store(folder, match, "", "open")
    try:
        change = {"half": 1, "position": 1000, "label": "Goal", "visible": True}
        store.apply(store.revision, {"s0": change | {"status": "rejected"}})
        store.confirmed()
    finally:
        store.close()


def _make_flags(rng: random.Random, folder: Path) -> None:
    names = ("anchors.chunk", "model.reduction", "seeds", "postprocessing.window", "data.root")
    names += ("training.epochs", "logging.tensorboard", "model.unet.levels", "model.unet", "a.b")
    names += ("model.dtype", "tune.window", "inference.border", "logging.profile", "..", "")
    texts = ("[" * 3000, "(1,", "{}", "{1:2}", "1,2,,", "0x", "1_0", "--", "None", "9" * 5000, "1,")
    text = str(rng.choice((*NASTY, *texts)))
    _write(folder, "flag", json.dumps([rng.choice(names), text]).encode())


def _read_flags(folder: Path) -> None:
    from helpers import tiny_config

    from spotting.runs.config import check_config
    from spotting.runs.config_files import override

    config = tiny_config(folder)
    override(config, *json.loads((folder / "flag").read_bytes()))
    check_config(config)


def _make_list(rng: random.Random, folder: Path) -> None:
    _write(folder, "a.mkv", b"")
    good = ["a.mkv", "0:00:01-0:00:09,0:01:00-", "league/game"]
    fields = [rng.choice((each, str(rng.choice(NASTY)))) for each in good]
    content = "\t".join(fields).encode("utf-8", "surrogatepass") + b"\n"
    _write(folder, "list", mutate_bytes(rng, content) if rng.random() < 0.3 else content)


def _read_list(folder: Path) -> None:
    from spotting.video.games import find_games

    for game in find_games([], folder / "out", listing=folder / "list"):
        inside = (folder / "out").resolve() in game.folder.resolve().parents
        assert inside, f"{game.folder} is outside"


def _make_pickle(rng: random.Random, folder: Path) -> None:
    import pickle

    class Harmful:
        def __reduce__(self) -> tuple:
            return os.system, ("touch outside",)

    values = (Harmful(), np.arange(6.0), {"a": [1, 2, "x" * 100]}, [Harmful()], 2**80)
    content = pickle.dumps(rng.choice(values), rng.randrange(6))
    if rng.random() < 0.2:
        number = struct.pack("<I", rng.choice((2**31, 2**28, 2**32 - 1, 5)))
        content = content[:-1] + b"r" + number + b"."
    if rng.random() < 0.2:
        opcode = rng.choice((b"\x8e", b"B", b"X", b"\x8d", b"\x96"))
        content = b"\x80\x05" + opcode + rng.randbytes(8) + content
    _write(folder, "a.pkl", mutate_bytes(rng, content) if rng.random() < 0.8 else content)


def _read_pickle(folder: Path) -> None:
    from spotting.video.efficientnet import read_tensors
    from spotting.video.pca import _names
    from spotting.video.restricted_pickle import RestrictedUnpickler

    content = (folder / "a.pkl").read_bytes()
    _read_all(
        lambda: RestrictedUnpickler(io.BytesIO(content), "a.pkl", _names()).read(),
        lambda: read_tensors(content, "a.pkl"),
    )


def _read_all(*reads: Callable[[], Any]) -> None:
    """Reads in several ways, the errors of one not keeping the others from it."""
    errors = []
    for read in reads:
        try:
            read()
        except InputError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _h5_seed(folder: Path, whole: bool) -> bytes:
    import h5py

    with h5py.File(folder / "seed.h5", "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = [b"dense", b"head"]
        for layer in ("dense", "head"):
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/kernel:0".encode(), f"{layer}/bias:0".encode()]
            group.create_dataset(f"{layer}/kernel:0", data=np.ones((4, 3), np.float32))
            group.create_dataset(f"{layer}/bias:0", data=np.zeros(3, np.float32))
    return (folder / "seed.h5").read_bytes()


_SEEDS: dict[str, bytes] = {}


def _make_h5(rng: random.Random, folder: Path) -> None:
    whole = rng.random() < 0.5
    key = f"h5 {whole}"
    if key not in _SEEDS:
        _SEEDS[key] = _h5_seed(folder, whole)
        (folder / "seed.h5").unlink()
    _write(folder, "a.h5", mutate_bytes(rng, _SEEDS[key]))


def _read_h5(folder: Path) -> None:
    from spotting.models.keras_files import read_weights
    from spotting.video.weights import read_keras_weights

    shapes = {"dense": {"kernel": (4, 3), "bias": (3,)}, "head": {"kernel": (4, 3)}}
    _read_all(
        lambda: read_weights(folder / "a.h5"),
        lambda: read_keras_weights(folder / "a.h5", shapes),
    )


def _make_checkpoint(rng: random.Random, folder: Path) -> None:
    if "checkpoint" not in _SEEDS:
        import tensorflow as tf

        class Module(tf.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kernel = tf.Variable(np.ones((4, 3), np.float32), name="dense/kernel")

        with tempfile.TemporaryDirectory() as seed:
            tf.train.Checkpoint(model=Module()).write(f"{seed}/c")
            for path in Path(seed).iterdir():
                _SEEDS[f"checkpoint {path.name}"] = path.read_bytes()
        _SEEDS["checkpoint"] = b""
    names = [key for key in _SEEDS if key.startswith("checkpoint ")]
    damaged = rng.choice(names)
    for key in names:
        content = mutate_bytes(rng, _SEEDS[key]) if key == damaged else _SEEDS[key]
        _write(folder, key.removeprefix("checkpoint "), content)


def _read_checkpoint(folder: Path) -> None:
    from spotting.models.keras_files import read_weights

    read_weights(folder / "c")


def _make_video(rng: random.Random, folder: Path) -> None:
    from video_fixture import write_video

    suffix = rng.choice((".mkv", ".mp4", ".ts", ".mov"))
    if suffix not in _SEEDS:
        path = write_video(folder / f"seed{suffix}", 30, audio=1.0 * (suffix == ".mkv"))
        _SEEDS[suffix] = path.read_bytes()
        path.unlink()
    content = _SEEDS[suffix]
    what = rng.random()
    if what < 0.4:  # what is said of the streams is at the start, or at the end
        cut = rng.choice((600, 2000))
        head, rest = content[:cut], content[cut:]
        content = mutate_bytes(rng, head) + rest
        if what < 0.1:
            content = content[:-cut] + mutate_bytes(rng, content[-cut:])
    elif what < 0.9:
        content = mutate_bytes(rng, content)
    else:
        content = rng.choice(
            (
                b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
                b"ffconcat version 1.0\nfile /etc/passwd\n",
                b"<?xml version='1.0'?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>",
                rng.randbytes(3000),
            )
        )
        suffix = rng.choice((suffix, ".m3u8", ".mpd", ".txt"))
    _write(folder, f"a{suffix}", content)


def _read_video(folder: Path) -> None:
    from spotting.video import decoding

    (path,) = folder.glob("a.*")
    scanned = decoding.scan(path)
    wanted = np.linspace(0, len(scanned.stamps) - 1, 4).astype(int)
    list(decoding.decode(scanned, wanted, decoding.Damage()))


TARGETS: dict[str, Target] = {
    "labels": Target(_make_labels, _read_labels),
    "results": Target(_make_results, _read_results),
    "results.zip": Target(_make_results_zip, _read_results_zip),
    "dataset.json": Target(_make_dataset, _read_dataset, 1.5),
    "features.npy": Target(_make_npy_file, _read_npy_file),
    "predictions.npz": Target(_make_predictions, _read_predictions),
    "run folder": Target(_make_run, _read_run, 1.5),
    "extraction.json": Target(_make_extraction, _read_extraction, 0.7),
    "predict.json": Target(_make_record, _read_record, 0.7),
    "review.json": Target(_make_review, _read_review),
    "flags": Target(_make_flags, _read_flags, 0.7),
    "video list": Target(_make_list, _read_list, 0.7),
    "pickle": Target(_make_pickle, _read_pickle),
    "keras .h5": Target(_make_h5, _read_h5, 1.5, in_child=True),
    "checkpoint": Target(_make_checkpoint, _read_checkpoint, 1.0, in_child=True),
    "video": Target(_make_video, _read_video, 2.0, in_child=True),
}


# Running them


class Watch:
    """Sees what Python does while a reader runs: files written, code run, pickles loaded."""

    _WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    _FORBIDDEN = ("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "ftplib.connect")
    _FORBIDDEN += ("subprocess.Popen", "socket.connect", "urllib.Request", "pickle.find_class")
    _PATHS = ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.chmod")
    _PATHS += ("os.truncate", "shutil.rmtree", "shutil.move", "shutil.copyfile", "os.utime")

    def __init__(self) -> None:
        self.inside: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple) -> None:
        if self.inside is None:
            return
        if event in self._FORBIDDEN:
            self.seen.append(f"{event} {arguments!r:.100}")
        elif event == "open":
            path, _, flags = arguments
            # Modules that are imported for the first time leave their bytecode.
            writes = isinstance(flags, int) and flags & self._WRITES
            if writes and isinstance(path, str | bytes) and "__pycache__" not in str(path):
                self._check(event, path)
        elif event in self._PATHS:
            for path in arguments[:2]:
                if isinstance(path, str | bytes) and "__pycache__" not in str(path):
                    self._check(event, path)

    def _check(self, event: str, path: str | bytes) -> None:
        whole = os.path.realpath(os.fsdecode(path))
        allowed = (self.inside or "", os.devnull, "/proc/")
        if not whole.startswith(allowed):
            self.seen.append(f"{event} {whole}")


class Outcome(NamedTuple):
    """What became of the inputs of a target."""

    inputs: int = 0
    refused: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: "Outcome") -> "Outcome":  # type: ignore[override]
        return Outcome(
            self.inputs + other.inputs,
            self.refused + other.refused,
            self.problems + other.problems,
        )


class _TooLong(BaseException):
    """An input took too much processor time; no Exception, which readers may handle."""


@contextmanager
def _limit_time() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _TooLong

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _begin_peak() -> int:
    """Forgets the most memory that the process had; returns what it has now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_memory()


def _peak_memory() -> int:
    """The most memory that the process had since `_begin_peak`, in bytes."""
    match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return 1024 * int(match[1])


def try_input(
    name: str, seed: int, number: int, root: Path, watch: Watch, verbose: bool = False
) -> tuple[bool, str]:
    """Makes one input and reads it.

    Returns:
      Whether it was refused, and what was wrong about that, if anything.
    """
    target = TARGETS[name]
    folder = root / "input"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    target.make(random.Random(f"{seed} {name} {number}"), folder)
    refused, problem = False, ""
    before = _begin_peak()
    watch.seen.clear()
    watch.inside = os.path.realpath(root)
    try:
        with _limit_time():
            target.read(folder)
    except InputError as error:
        refused = True
        if verbose:
            print(f"{name} {number}: {error!r:.300}", file=sys.stderr)
        if not str(error).strip():
            problem = "an error without words"
    except _TooLong:
        problem = f"more than {_CPU_SECONDS:g} s of processor time"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        if verbose:
            traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "/spotting/" in f.filename]
        at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else place.name
        problem = f"{type(error).__name__} at {at}: {str(error)[:120]!r}"
    finally:
        watch.inside = None
    if watch.seen:
        problem = problem or watch.seen[0]
    if not problem and _peak_memory() - before > _MEMORY:
        problem = f"{(_peak_memory() - before) >> 20} MB of memory"
    return refused, problem and f"{name} {number}: {problem}"


def fuzz_here(
    name: str,
    seed: int,
    first: int,
    count: int,
    until: float,
    keep: Path | None = None,
    verbose: bool = False,
    progress: Callable[[int], None] = lambda number: None,
) -> Outcome:
    """Feeds one target in this process, until `count` inputs or the time are over."""
    watch = _watch()
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder)
        os.environ["XDG_CACHE_HOME"] = folder
        # What a reader imports the first time does not count.
        refused, _ = try_input(name, seed, first, root, watch)
        for number in range(first, first + count):
            if time.monotonic() > until:
                break
            progress(number)
            refused, problem = try_input(name, seed, number, root, watch, verbose)
            outcome += Outcome(1, int(refused), (problem,) if problem else ())
            if problem and keep is not None:
                target = keep / re.sub(r"\W+", "_", f"{name}_{number}")
                shutil.copytree(root / "input", target, dirs_exist_ok=True)
    return outcome


_WATCHES: list[Watch] = []


def _watch() -> Watch:
    """The one watch of a process: audit hooks cannot be taken away."""
    if not _WATCHES:
        _WATCHES.append(Watch())
    return _WATCHES[0]


def fuzz_in_children(
    name: str, seed: int, first: int, count: int, until: float, keep: Path | None = None
) -> Outcome:
    """Feeds one target in child processes; what ends one of them is a problem of its input."""
    outcome, number = Outcome(), first
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        at, result = Path(folder, "at"), Path(folder, "result")
        while number < first + count and time.monotonic() < until:
            batch = min(_CHILD_BATCH, first + count - number)
            at.write_text(str(number))
            result.unlink(missing_ok=True)
            command = [sys.executable, __file__, f"--only={name}", f"--seed={seed}"]
            command += [f"--first={number}", f"--inputs={batch}", f"--child={folder}"]
            command += [f"--seconds={until - time.monotonic():.1f}"]
            command += [f"--keep={keep}"] if keep else []
            try:
                done = subprocess.run(
                    command,
                    capture_output=True,
                    check=False,
                    timeout=max(30.0, until - time.monotonic() + 60),
                    env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
                )
                code: int | str = done.returncode
                words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            except subprocess.TimeoutExpired:
                code, words = "no end", []
            if result.is_file():
                inputs, refused, problems = json.loads(result.read_text())
                outcome += Outcome(inputs, refused, tuple(problems))
                if not inputs:
                    break
                number += inputs
                continue
            last = int(at.read_text())
            reason = f"{name} {last}: ended the process ({code}) {words}"
            outcome += Outcome(last - number + 1, 0, (reason,))
            number = last + 1
    return outcome


def fuzz(
    names: list[str], seconds: float, seed: int, first: int, inputs: int, keep: Path | None
) -> dict[str, Outcome]:
    """Feeds some targets, each for its share of the time."""
    whole = sum(TARGETS[name].share for name in names)
    outcomes = {}
    for name in names:
        until = time.monotonic() + seconds * TARGETS[name].share / whole
        feed = fuzz_in_children if TARGETS[name].in_child else fuzz_here
        outcomes[name] = feed(name, seed, first, inputs, until, keep)
    return outcomes


def main() -> int:
    """Reads the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="TARGET,...", help=", ".join(TARGETS))
    parser.add_argument("--first", type=int, default=0, help="number of each target's first input")
    parser.add_argument("--inputs", type=int, default=1 << 40, help="of each target, at most")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="for inputs with problems")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(TARGETS)
    if arguments.child:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_CHILD_MEMORY, _CHILD_MEMORY))
        until = time.monotonic() + arguments.seconds
        found = fuzz_here(
            names[0],
            arguments.seed,
            arguments.first,
            arguments.inputs,
            until,
            arguments.keep,
            progress=lambda number: (arguments.child / "at").write_text(str(number)) and None,
        )
        (arguments.child / "result").write_text(json.dumps(found))
        return 0
    if arguments.inputs == 1 and len(names) == 1 and not TARGETS[names[0]].in_child:
        until = time.monotonic() + arguments.seconds
        found = fuzz_here(
            names[0], arguments.seed, arguments.first, 1, until, arguments.keep, verbose=True
        )
        return int(bool(found.problems))
    outcomes = fuzz(
        names, arguments.seconds, arguments.seed, arguments.first, arguments.inputs, arguments.keep
    )
    for name, found in outcomes.items():
        print(f"{name:<16} {found.inputs:>7,} inputs, {found.refused:>7,} refused", end="")
        print(f", {len(found.problems)} PROBLEMS" if found.problems else "")
        kinds = {re.sub(r"\d+", "#", problem): problem for problem in found.problems}
        for problem in list(kinds.values())[:20]:
            print(f"    {problem}")
    total = sum(found.inputs for found in outcomes.values())
    problems = sum(len(found.problems) for found in outcomes.values())
    print(f"{total:,} inputs, {problems} problems")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
