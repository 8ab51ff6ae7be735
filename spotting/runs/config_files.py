"""Config files: found by path or by name, loaded, and changed by the command line.

A config file is Python with a `get_config()` that returns a ConfigDict, or a `get_config(ARGUMENT)`
for --config=FILE:ARGUMENT. Those of configs/ ship with the package, and any config file may build
upon them with `from configs import common`, wherever it lies.
"""

import ast
import difflib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from spotting.base import cli
from spotting.base.errors import InputError

_PACKAGE = Path(__file__).parents[1]
_SHIPPED = next(
    (folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir()),
    _PACKAGE / "configs",
)
"""The folder of the configs that ship: in a wheel in the package, in a clone beside it."""

_TRUE, _FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")


def load(argument: cli.ConfigArgument | None) -> ConfigDict:
    """The config that a command line describes, its set of fields locked.

    Raises:
      InputError: no --config, or see `load_config` and `override`.
    """
    argument = cli.require_config(argument)
    try:
        config = load_config(argument.spec)
    except InputError as error:
        raise InputError(f"--config={error}") from error
    for name, text in argument.overrides:
        override(config, name, text)
    return config


def load_config(spec: str) -> ConfigDict:
    """The config that `spec` names, its set of fields locked.

    Args:
      spec: FILE[:ARGUMENT], where FILE is a path (with or without .py) or the name of a config that
        ships.

    Raises:
      InputError: there is no such file, it fails, or it does not take the argument; the message
        begins with `spec`.
    """
    file, _, argument = spec.partition(":")
    path = find_config(file)
    _make_configs_importable()
    module_spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise InputError(f"{spec}: not a Python file; a config file's name ends with .py")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise InputError(f"{spec}: it has no get_config(), which a config file defines")
        _check_argument(spec, module.get_config, argument)
        config = module.get_config(argument) if argument else module.get_config()
    except InputError:
        raise
    except Exception as error:  # whatever the config file may do
        reason = f"the config file fails with {type(error).__name__}: {error}"
        if type(error) is ValueError:  # its own word, as of an argument that it does not know
            reason = str(error)
        raise InputError(f"{spec}: {reason}") from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"{spec}: its get_config() returns no ConfigDict")
    config.lock()
    return config


def _check_argument(spec: str, get_config: Any, argument: str) -> None:
    """Raises InputError if a config takes no argument but has one."""
    if argument and not inspect.signature(get_config).parameters:
        raise InputError(f"{spec}: it takes no argument, leave :{argument} out")


def find_config(file: str) -> Path:
    """The path of a config file.

    Args:
      file: a path with or without .py, from the working folder; or a name, or a path that begins
        with configs/, of one that ships.

    Raises:
      InputError: there is none; tells which ship, and the nearest name.
    """
    given = Path(file)
    names = [given] if given.suffix == ".py" else [given.with_name(f"{given.name}.py")]
    if given.suffix and given.suffix != ".py" and given.is_file():
        raise InputError(f"{file}: not a Python file; a config file's name ends with .py")
    for path in names:
        shipped = path.relative_to("configs") if path.parts[:1] == ("configs",) else path
        for candidate in (path, _SHIPPED / shipped):
            if candidate.is_file():
                return candidate
    known = shipped_names()
    near = cli.did_you_mean(given.stem, known)
    raise InputError(
        f"{file}: no such file, here or among the configs that ship ({', '.join(known)}){near}"
    )


def shipped_names() -> list[str]:
    """Names that --config takes without a path."""
    return sorted(path.stem for path in _SHIPPED.glob("*.py") if not path.stem.startswith("common"))


def _make_configs_importable() -> None:
    """Lets a config file say `from configs import common`, in whatever folder it lies."""
    try:
        if importlib.util.find_spec("configs.common") is not None:
            return
    except ModuleNotFoundError:
        pass
    # A folder configs/ of the user's own stays in use.
    theirs = list(getattr(sys.modules.get("configs"), "__path__", ()))
    package = ModuleType("configs", "The configs that ship.")
    package.__path__ = [*theirs, str(_SHIPPED)]
    sys.modules["configs"] = package


def override(config: ConfigDict, name: str, text: str | None) -> None:
    """Sets a field as the command line says.

    Args:
      config: to change.
      name: dotted name of the field.
      text: of the value; None for a switch that is turned on by its name alone.

    Raises:
      InputError: there is no such field, or it takes no such value.
    """
    group, key = _find_field(config, name)
    kind = group.get_type(key)
    if issubclass(kind, ConfigDict):
        fields = ", ".join(f"{name}.{field}" for field in list(group[key])[:3])
        raise InputError(f"--config.{name} is a group of fields; set one of them: {fields}, ...")
    if text is None and not issubclass(kind, bool):
        raise InputError(f"--config.{name} needs a value: --config.{name}=VALUE")
    try:
        is_optional = "rows" in config or group[key] is None
        group[key] = _parse(kind, "true" if text is None else text, is_optional)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--config.{name}={text}: the field takes {_TAKES.get(kind, kind.__name__)}"
        ) from error


_TAKES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "values with commas between, such as 1,2",
    list: "values with commas between, such as 1,2",
}


def _find_field(config: ConfigDict, name: str) -> tuple[ConfigDict, str]:
    """The group that holds a field, and its key there; InputError if there is none."""
    group: Any = config
    *parents, key = name.split(".")
    for part in parents:
        group = group[part] if isinstance(group, ConfigDict) and part in group else None
    if not isinstance(group, ConfigDict) or key not in group:
        raise InputError(f"the config has no such field: {name}; {_hint(config, name)}")
    return group, key


def _hint(config: ConfigDict, name: str) -> str:
    """Which field was meant by a name that is none, in words."""
    known = list(_field_names(config))
    if name.startswith("scale.") and "rows" not in config:
        return "only a study has it, and this config is of a single row"
    parent, _, last = name.rpartition(".")
    parents = {field.rpartition(".")[0] for field in known} | {""}
    by_last = {field.rpartition(".")[2]: field for field in known}
    # A slip in the field's name within its group, or a name of another group's field.
    siblings = {key: field for key, field in by_last.items() if field.rpartition(".")[0] == parent}
    for candidates in (siblings, by_last):
        if near := difflib.get_close_matches(last, list(candidates), n=1):
            return f"did you mean {candidates[near[0]]}?"
    while parent not in parents:
        parent = parent.rpartition(".")[0]
    group: Any = config
    for part in filter(None, parent.split(".")):
        group = group[part]
    return f"{f'config.{parent}' if parent else 'the config'} has {', '.join(group)}"


def _field_names(group: ConfigDict, prefix: str = "") -> Iterator[str]:
    for key, value in group.items():
        if isinstance(value, ConfigDict):
            yield from _field_names(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _parse(kind: type, text: str, is_optional: bool) -> Any:
    """A value of a field's type from text; ValueError if it is none."""
    if kind is str:
        return text
    if text == "None" and is_optional:
        return None  # as a study's fields are that leave a row's own value alone
    if kind is bool:
        if text.lower() not in _TRUE + _FALSE:
            raise ValueError
        return text.lower() in _TRUE
    if kind is int:
        return int(text, 16 if text.lower().startswith("0x") else 10)
    if kind is float:
        return float(text)
    if kind in (tuple, list):
        return kind(_values(text))
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _values(text: str) -> tuple[Any, ...]:
    """The values of a list: of a Python literal, or words between commas."""
    if not text.strip():
        return ()
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        if text.strip()[0] in "([{":
            raise ValueError from None
        return tuple(part.strip() for part in text.split(","))
    return tuple(value) if isinstance(value, tuple | list | set) else (value,)
