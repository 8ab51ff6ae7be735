"""`python -m spotting` names every command."""

import subprocess
import sys
from pathlib import Path

import spotting
from spotting.__main__ import COMMANDS

ROOT = Path(spotting.__file__).parent


def test_names_every_module_that_is_a_command():
    modules = {
        path.stem
        for path in ROOT.glob("[a-z]*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert set(COMMANDS) == modules


def test_lists_a_line_for_each_without_importing_jax():
    program = (
        "import runpy, sys\n"
        "runpy.run_module('spotting', run_name='__main__')\n"
        "assert 'jax' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    listed = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [name for name, _ in listed] == list(COMMANDS)
    assert all(description.endswith(".") for _, description in listed)
