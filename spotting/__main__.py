"""`spotting COMMAND`, or `python -m spotting COMMAND`: runs a command; lists them without one."""

import ast
import importlib
import sys
from pathlib import Path

from spotting.base import cli
from spotting.base.errors import InputError

COMMANDS = (
    "main",
    "report",
    "evaluate",
    "predict",
    "live",
    "extract",
    "review",
    "annotate",
    "timeline",
    "prepare",
    "tune",
    "fuse",
    "compare",
    "export",
    "push",
    "import_keras",
    "benchmark",
)


def main() -> None:
    """Runs the command that the first argument names, or prints a line for each command."""
    cli.run(_dispatch)


def _dispatch() -> int | None:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(describe_commands())
        return 0
    if name not in COMMANDS:
        hint = cli.did_you_mean(name, COMMANDS) or f"; the commands are {', '.join(COMMANDS)}"
        raise InputError(f"no such command: {name}{hint}")
    sys.argv[:2] = [f"spotting {name}"]
    status: int | None = importlib.import_module(f"spotting.{name}").main()
    return status


def describe_commands() -> str:
    """A line for each command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {describe(name)}" for name in COMMANDS]
    return "\n".join(
        [
            "spotting COMMAND [--help], or python -m spotting.COMMAND\n",
            *lines,
            "\nStart with: spotting main --config=demo",
        ]
    )


def describe(command: str) -> str:
    """The first line of a command's documentation, read without importing what it needs."""
    source = Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
