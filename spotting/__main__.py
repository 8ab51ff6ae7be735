"""`python -m spotting` lists the commands."""

import ast
from pathlib import Path

COMMANDS = (
    "main",
    "report",
    "evaluate",
    "predict",
    "timeline",
    "prepare",
    "tune",
    "fuse",
    "export",
    "import_keras",
    "benchmark",
)


def describe(command: str) -> str:
    """The first line of a command's documentation, read without importing what it needs."""
    source = Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def main() -> None:
    """Prints a line for each command."""
    width = max(map(len, COMMANDS))
    print("python -m spotting.COMMAND [--help]\n")
    for command in COMMANDS:
        print(f"  {command:{width}}  {describe(command)}")
    print("\nStart with: python -m spotting.main --config=configs/demo.py")


if __name__ == "__main__":
    main()
