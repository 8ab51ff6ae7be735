"""A data set of matches and a trained run, both as small as they can be, for whoever needs one."""

import os
import tempfile
from pathlib import Path

import jax
import pytest
from helpers import SPLITS, tiny_config, write_dataset

from spotting import experiment


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs: tests need the same ones, some in processes of their own."""
    folder = tempfile.TemporaryDirectory(prefix="spotting-tests-")
    config.add_cleanup(folder.cleanup)
    # What else programs keep for their next start.
    os.environ["XDG_CACHE_HOME"] = folder.name
    for option, value in {
        "jax_compilation_cache_dir": folder.name,
        "jax_persistent_cache_min_compile_time_secs": 0.2,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }.items():
        os.environ[option.upper()] = str(value)
        jax.config.update(option, value)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a data set: 5 matches of two halves of about 75 s, 16 features at 2 per second."""
    return write_dataset(tmp_path_factory.mktemp("tiny") / "data", SPLITS)


@pytest.fixture(scope="session")
def tiny_run(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of a finished training on `tiny_dataset`. Not to be changed: copy it."""
    workdir = tmp_path_factory.mktemp("tiny_run") / "run"
    experiment.run(tiny_config(tiny_dataset), workdir)
    return workdir
