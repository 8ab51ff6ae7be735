"""What every command line here has in common: exit codes, one-line errors, --config.

Programs that JAX compiles are kept in the user's cache folder ($XDG_CACHE_HOME/spotting/jax, unless
JAX_COMPILATION_CACHE_DIR says otherwise), so that the next start need not wait for them.

Exit status 0 is success, 1 a failed item or check, 2 bad usage or bad input. An error is one line
on stderr; `--debug` shows the traceback as well.
"""

import argparse
import contextlib
import difflib
import logging
import os
import re
import select
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from spotting.base.errors import InputError
from spotting.base.inputs import is_text
from spotting.base.signals import Terminated, raise_on_sigterm
from spotting.base.text_table import printable

_FAILED, _USAGE_OR_INPUT, _INTERRUPTED, _TERMINATED = 1, 2, 130, 143
_LAST_WORDS = 1.0  # seconds between a failure of one process and its end
_LONGEST, _END = 1000, 300  # characters of an error, and of its end, which says what to do
_OVERRIDE = re.compile(r"--(no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)
_ANOTHER_FLAG = re.compile(r"--?[A-Za-z]")
_CONFIG_EXAMPLE = "--config=configs/NAME.py is missing"


class Override(NamedTuple):
    """A field of a config that the command line sets: its dotted name and the text of its value.

    The text is None for a bare `--config.name`, which only a switch takes.
    """

    name: str
    text: str | None


class ConfigArgument(NamedTuple):
    """What --config and --config.NAME=VALUE said, for `runs.config_files.load`.

    Attributes:
      spec: FILE[:ARGUMENT].
      overrides: fields to set, in the order given.
    """

    spec: str
    overrides: tuple[Override, ...] = ()

    @property
    def default_workdir(self) -> Path:
        """runs/<config file's stem>[_<argument>]."""
        return Path("runs", config_name(self.spec))


class Parser(argparse.ArgumentParser):
    """Parses a command line, with --debug; its errors are one line like all others."""

    def __init__(self, prog: str, description: str | None):
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._takes_config = False
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def add_config(self, what: str) -> None:
        """Adds --config, and --config.NAME=VALUE for any field of the config.

        The parsed `config` is a `ConfigArgument`, or None where the command line has no --config.
        """
        self._takes_config = True
        self.add_argument(
            "--config",
            metavar="FILE[:ARG]",
            help=f"{what}; a file, or the name of a config that ships, such as demo. "
            "--config.NAME=VALUE sets a field of it: --config.training.epochs=10",
        )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, with the overrides of the config taken out first."""
        arguments = list(sys.argv[1:] if args is None else args)
        for argument in arguments:
            if not is_text(argument):
                self.error(f"{argument}: not UTF-8, in which results could name it; rename it")
        overrides: list[Override] = []
        if self._takes_config:
            arguments, overrides = _take_overrides(arguments)
        found, unknown = super().parse_known_args(arguments, namespace)
        if self._takes_config and not isinstance(found.config, ConfigArgument):
            found.config = found.config and ConfigArgument(found.config, tuple(overrides))
            if overrides and not found.config:
                self.error(f"--config.{overrides[0].name} sets a field, but {_CONFIG_EXAMPLE}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Raises what argparse has to say as an InputError."""
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown:
            message += did_you_mean(unknown[1], self._option_string_actions)
        raise InputError(f"{message}; see --help")


def _take_overrides(arguments: Sequence[str]) -> tuple[list[str], list[Override]]:
    """Parts a command line from the config's fields that it sets."""
    others, overrides = [], []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        match = _OVERRIDE.fullmatch(argument)
        if match is None:
            others.append(argument)
            continue
        switched_off, name, text = match.groups()
        if switched_off:
            text = "false" if text is None else text
        elif text is None and waiting and not _ANOTHER_FLAG.match(waiting[0]):
            text = waiting.pop(0)
        overrides.append(Override(name, text))
    return others, overrides


def require_config(argument: ConfigArgument | None) -> ConfigArgument:
    """The value of --config; InputError if there is none."""
    if argument is None:
        raise InputError(f"{_CONFIG_EXAMPLE}; see --help")
    return argument


def config_name(spec: str) -> str:
    """Name of what --config names, for folders: its file's stem and its argument."""
    file, _, argument = spec.partition(":")
    return "_".join(filter(None, [Path(file).stem, argument]))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Words for the end of an error that name what is most like `word`; empty if nothing is."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def positive_int(text: str) -> int:
    """A whole number from 1 on, as argparse's `type`."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


positive_int.__name__ = "whole number from 1 on"  # argparse names a type in its errors


def run(main: Callable[[], Any]) -> NoReturn:
    """Runs a command's `main` and exits with its status, an int or None."""
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


def _guarded(main: Callable[[], Any], debug: bool) -> int:
    # Libraries' notes belong to those who debug them.
    logging.getLogger("absl").setLevel(logging.ERROR)
    if not debug:
        # On some processors XLA takes its own tuning hints for missing features, and says so at
        # length for each kept program that it loads.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _keep_compiled_programs()
    raise_on_sigterm()
    try:
        status = main() or 0
        sys.stdout.flush()  # Here, where a closed pipe or a full disk is known what to do with.
        return status
    except KeyboardInterrupt as stop:
        _end_progress()
        print(f"\n{_say_stopped('interrupted', stop)}", file=sys.stderr)
        return _INTERRUPTED
    except Terminated as stop:
        _end_progress()
        print(_say_stopped("terminated", stop), file=sys.stderr)
        return _TERMINATED
    except (InputError, OSError, ArithmeticError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return _FAILED
        _end_progress()
        if debug:
            raise
        print(f"error: {as_line(error)}", file=sys.stderr)
        return _FAILED if isinstance(error, ArithmeticError) else _USAGE_OR_INPUT


def as_line(message: object) -> str:
    """What an error says in one line that a terminal can show; a long one without its middle."""
    text = printable(" ".join(str(message).split()))
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - _END]} [...] {text[-_END:]}"
    return text


def _say_stopped(how: str, stop: BaseException) -> str:
    """What was saved, if that is known, and how to resume."""
    return "; ".join(filter(None, [how, str(stop), "run the same command again to resume"]))


def _nobody_reads() -> bool:
    """Whether the other end of standard output is closed, as by `| head`; it is then given up."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # Errors are told without being asked for.
    if not poll.poll(0):
        return False
    # What is still buffered would fail once more when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _end_progress() -> None:
    """Completes a progress line that the error would otherwise be glued to."""
    logs = sys.modules.get("spotting.base.logs")
    if logs:
        logs.end_progress()


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
