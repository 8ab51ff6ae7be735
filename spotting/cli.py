"""What every command line here has in common: exit codes and one-line errors.

Exit status 0 is success, 1 a failed item or check, 2 bad usage or bad input. An error is one line
on stderr; `--debug` shows the traceback as well.
"""

import sys
from collections.abc import Callable

from spotting.errors import InputError

_USAGE_OR_INPUT = 2


def run(main: Callable[[], int | None]) -> None:
    """Runs an argparse style `main` and exits with its status."""
    sys.exit(_guarded(main, debug="--debug" in sys.argv))


def run_flags(main: Callable[[], int | None]) -> None:
    """Runs a `main` that reads absl flags (`--config` and the like) and exits with its status."""
    from absl import flags

    flags.DEFINE_bool("debug", False, "Show the traceback of an error.", allow_override=True)

    def parse_and_run() -> int | None:
        try:
            left_over = flags.FLAGS(sys.argv)
            if left_over[1:]:
                raise InputError(f"unknown argument {left_over[1]!r}; see --help")
        except flags.Error as error:
            raise InputError(f"{_one_line(error)}; see --help") from error
        if flags.FLAGS.help or "--helpfull" in sys.argv:
            return 0
        return main()

    if {"--help", "-help", "-h", "--helpfull", "--helpshort", "-?"} & set(sys.argv):
        module = sys.modules["__main__"]
        print((module.__doc__ or "").strip(), "\n\nflags:")
        print(flags.FLAGS.module_help(sys.argv[0]) or flags.FLAGS.main_module_help())
        sys.exit(0)
    sys.exit(_guarded(parse_and_run, debug="--debug" in sys.argv))


def _guarded(main: Callable[[], int | None], debug: bool) -> int:
    try:
        return main() or 0
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except (InputError, OSError) as error:
        if debug:
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return _USAGE_OR_INPUT


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
