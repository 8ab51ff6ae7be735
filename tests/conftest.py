"""A data set of matches and a trained run, both as small as they can be, for whoever needs one."""

import collections
import fcntl
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

# Programs of tests run for milliseconds and are compiled for seconds. Read when JAX starts.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 " + os.environ.get("XLA_FLAGS", "")
).strip()

import jax
import pytest
from helpers import SPLITS, tiny_config, write_dataset

from spotting import experiment

LONGEST = (
    "test_multi_device",
    "test_end_to_end",
    "test_extract",
    "test_systems",
    "test_parity_baselines",
    "test_seeds",
    "test_killed",
    "test_export",
    "test_review_browser",
    "test_precision",
    "test_parity",
    "test_initial_weights",
)


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs: tests need the same ones, some in processes of their own."""
    # A shell that starts something in the background has it, and all that it starts, ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:  # it shares the folder of the process that started it
        folder = os.environ["XDG_CACHE_HOME"]
    else:
        temporary = tempfile.TemporaryDirectory(prefix="spotting-tests-")
        config.add_cleanup(temporary.cleanup)
        folder = temporary.name
    # What else programs keep for their next start.
    os.environ["XDG_CACHE_HOME"] = folder
    for option, value in {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.2,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }.items():
        os.environ[option.upper()] = str(value)
        jax.config.update(option, value)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest, so that no process is left with one at the end."""
    slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
    longest = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (longest.get(item.path.stem, len(longest)), -slow[item.path]))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the test run share."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder / "shared").mkdir(exist_ok=True)
    return folder / "shared"


@pytest.fixture(scope="session")
def tiny_dataset(shared_folder: Path) -> Path:
    """Folder of a data set: 5 matches of two halves of about 75 s, 16 features at 2 per second."""
    _make_once(shared_folder / "data", lambda folder: write_dataset(folder, SPLITS))
    return shared_folder / "data"


@pytest.fixture(scope="session")
def tiny_run(tiny_dataset: Path, shared_folder: Path) -> Path:
    """Run directory of a finished training on `tiny_dataset`. Not to be changed: copy it."""
    run = shared_folder / "run"
    _make_once(run, lambda folder: experiment.run(tiny_config(tiny_dataset), folder))
    return run


def _make_once(folder: Path, make: Callable[[Path], object]) -> None:
    """Makes a folder; other processes that want it wait for the first one."""
    finished = folder.with_suffix(".finished")
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            make(folder)
            finished.touch()
