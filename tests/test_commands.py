"""`spotting` and `python -m spotting` name every command, and run it."""

import subprocess
import sys
from pathlib import Path

import pytest

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
        "sys.argv[1:] = []\n"
        "try: runpy.run_module('spotting', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'jax' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    listed = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [name for name, _ in listed] == list(COMMANDS)
    assert all(description.endswith(".") for _, description in listed)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "spotting", *arguments], capture_output=True, text=True, check=False
    )


def test_runs_a_command():
    done = run("main", "--config=demoo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --config=demoo: no such file")
    done = run("report", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python -m spotting.report" in done.stdout


def test_an_unknown_command_is_one_line():
    done = run("mian", "--config=demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no such command: mian; did you mean main?\n"
    done = run("zzz")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no such command: zzz; the commands are main, report, ")


def test_the_package_shows_what_it_has():
    assert {"Spot", "Spotter"} <= set(dir(spotting))


@pytest.mark.parametrize("then", ["while True: print('a spot', flush=True)", "print('the last')"])
def test_nobody_reads_what_it_prints(then):
    program = (
        "from spotting.base import cli\n"
        "def main():\n"
        "    print('a spot', flush=True)\n"
        "    input()\n"
        f"    {then}\n"
        "cli.run(main)\n"
    )
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as process:
        assert process.stdout.readline() == "a spot\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1
