"""What every command line here has in common: exit codes, one-line errors, the --config flag.

Programs that JAX compiles are kept in the user's cache folder ($XDG_CACHE_HOME/spotting/jax, unless
JAX_COMPILATION_CACHE_DIR says otherwise), so that the next start need not wait for them.

Exit status 0 is success, 1 a failed item or check, 2 bad usage or bad input. An error is one line
on stderr; `--debug` shows the traceback as well.
"""

import argparse
import contextlib
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from spotting.base.errors import InputError

_FAILED, _USAGE_OR_INPUT, _INTERRUPTED = 1, 2, 130
_LAST_WORDS = 1.0  # seconds between a failure of one process and its end
_HELP = {"-h", "-help", "--help", "-helpshort", "--helpshort", "-helpfull", "--helpfull"}


class Parser(argparse.ArgumentParser):
    """Parses an argparse style command line, with --debug; its errors are one line like others."""

    def __init__(self, prog: str, description: str):
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def error(self, message: str) -> NoReturn:
        """Raises what argparse has to say as an InputError."""
        raise InputError(f"{message}; see --help")


def run(main: Callable[[], int | None]) -> None:
    """Runs an argparse style `main` and exits with its status."""
    _exit(main)


def new_flags(config_help: str) -> flags.FlagValues:
    """A command line's own flags, --config and --debug among them.

    They are not absl's global ones, so that one program may use the modules of several command
    lines.
    """
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, config_help, flag_values=values)
    flags.DEFINE_bool("debug", False, "Show the traceback of an error.", flag_values=values)
    return values


def run_flags(main: Callable[[], int | None], values: flags.FlagValues) -> None:
    """Runs a `main` that reads the flags of `new_flags` and exits with its status."""
    # A config file may import its neighbours, from whatever folder the program is started in.
    sys.path.append(str(Path(__file__).parents[1]))

    def parse_and_run() -> int | None:
        try:
            unknown = values(sys.argv)[1:]
        except (KeyError, AttributeError) as error:  # a flag like --config.data.rot
            # Its text was quoted once by each of the objects that it went through.
            reason = re.sub(r"[\\'\"]", "", re.sub(r"\\+n|\n", "; ", str(error)))
            raise InputError(f"the config has no such field: {reason}") from error
        except flags.Error as error:
            raise InputError(f"{_last_line(error)}; see --help") from error
        except Exception as error:  # whatever the config file may do
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"the config file fails with {reason}") from error
        if unknown:
            raise InputError(f"unknown argument {unknown[0]!r}; see --help")
        return main()

    if _HELP & set(sys.argv):
        print((sys.modules["__main__"].__doc__ or "").strip())
        for name in sorted(set(values) - {"flagfile", "undefok"}):
            print(f"\n  --{name}\n      {values[name].help}", end="")
        print()
        sys.exit(0)
    _exit(parse_and_run)


def required_config(values: flags.FlagValues) -> ConfigDict:
    """The value of --config; InputError if none was given or it cannot be read."""
    if not values["config"].present:
        raise InputError("--config=configs/NAME.py is missing; see --help")
    if not isinstance(values.config, ConfigDict):
        name = config_flags.get_config_filename(values["config"])
        is_there = Path(name.partition(":")[0]).is_file()
        reason = "its get_config() returns no ConfigDict" if is_there else "no such file"
        raise InputError(f"--config={name}: {reason}")
    return values.config


def default_workdir(values: flags.FlagValues) -> Path:
    """runs/<config file's stem>[_<argument>] of --config."""
    name = config_flags.get_config_filename(values["config"])
    file, _, argument = name.partition(":")
    return Path("runs", "_".join(filter(None, [Path(file).stem, argument])))


def _exit(main: Callable[[], int | None]) -> NoReturn:
    """Ends the program with the status of `main`."""
    try:
        status = _guarded(main, debug="--debug" in sys.argv)
    except Exception:
        traceback.print_exc()
        status = _FAILED
    jax = sys.modules.get("jax")
    if status and jax and jax.distributed.is_initialized():
        # JAX would wait for the other processes of the run, which are waiting for this one. They
        # are told that it ended, and end: what they have to say themselves comes first.
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(_LAST_WORDS)
        os._exit(status)
    sys.exit(status)


def _guarded(main: Callable[[], int | None], debug: bool) -> int:
    # Libraries' notes belong to those who debug them.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("absl").setLevel(logging.ERROR)
    if not debug:
        # On some processors XLA takes its own tuning hints for missing features, and says so at
        # length for each kept program that it loads.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _keep_compiled_programs()
    try:
        return main() or 0
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return _INTERRUPTED
    except (InputError, OSError, ArithmeticError) as error:
        if debug:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return _FAILED if isinstance(error, ArithmeticError) else _USAGE_OR_INPUT


def _last_line(error: BaseException) -> str:
    """Config errors come as whole tracebacks; what is wrong stands at their end."""
    return str(error).strip().splitlines()[-1].removeprefix("ValueError: ")


def _keep_compiled_programs() -> None:
    """Tells JAX, which commands import later than this, where to keep what it compiles."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    # Some accounts have no home, or may not write there.
    with contextlib.suppress(OSError, RuntimeError):
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        folder = caches / "spotting" / "jax"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
            os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
