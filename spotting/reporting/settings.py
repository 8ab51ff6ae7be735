"""What a training was run with: hyper-parameters, sizes, machine, versions, time."""

from collections.abc import Mapping, Sequence
from typing import Any

from spotting.reporting.runs import ReportedRow, ReportedRun
from spotting.reporting.tables import NONE, Table

_LEFT_OUT = ("scale_note", "paper_row", "seeds", "logging", "tune", "devices", "seeds_at_once")
_DATA = ("features", "concatenate", "resample", "normalize", "event_time", "loader", "train")
_OTHER_TRUNK = {
    "unet": ("layers", "width", "num_heads", "mlp_dim", "transformer"),
    "transformer": ("levels", "unet"),
}


def make_settings_table(rows: Sequence[ReportedRow]) -> Table:
    """Makes the table of what each row was trained with, a column for each row.

    Of a row's seeds the first finished one speaks, except for the time, which is their mean.
    """
    columns = [_list_settings(row) for row in rows]
    names = dict.fromkeys(name for column in columns for name in column)
    body = [(name, *(column.get(name, NONE) for column in columns)) for name in names]
    note = (
        "Time is from each start to the last line of the log before the next one; seeds that"
        " trained together share it."
    )
    return Table(("Setting", *(row.name for row in rows)), body, 1, (note,))


def list_hyper_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that decide what is computed, by their dotted names.

    Sizes of a trunk that the config does not use are left out, as are paths.
    """
    found: dict[str, Any] = {}
    for name, value in _flatten(config).items():
        first, _, rest = name.partition(".")
        if first in _LEFT_OUT or (name.endswith("initial_weights") and not value):
            continue
        if first == "data" and rest not in _DATA:
            continue
        trunk = str(_flatten(config).get("model.trunk", ""))
        if first == "model" and rest.partition(".")[0] in _OTHER_TRUNK.get(trunk, ()):
            continue
        found[name] = value
    return found


def _list_settings(row: ReportedRow) -> dict[str, str]:
    if not row.runs:
        return {}
    run = row.runs[0]
    settings = {"time": _format_time(row.runs)}
    for model in ("confidence", "displacement"):
        count = run.parameters(model)
        settings[f"parameters, {model}"] = NONE if count is None else f"{count:,}"
    device, count = run.start("device"), run.start("device_count")
    settings["device"] = NONE if device is None else f"{count or 1} x {device}"
    settings["code"] = str(run.start("revision") or NONE)
    settings["python"] = str(run.start("python") or NONE)
    versions = run.start("versions")
    for name, version in (versions if isinstance(versions, dict) else {}).items():
        settings[str(name)] = str(version)
    settings["seeds"] = ", ".join(str(run.start("seed")) for run in row.runs if run.log) or NONE
    for name, value in list_hyper_parameters(run.config).items():
        settings[name] = format_value(value)
    return settings


def _format_time(runs: Sequence[ReportedRun]) -> str:
    times = [seconds for run in runs if (seconds := run.wall_seconds()) is not None]
    return format_duration(sum(times) / len(times)) if times else NONE


def format_duration(seconds: float) -> str:
    """Formats a time as people say it: "42 s", "12 min 5 s", "3 h 12 min"."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def format_value(value: Any) -> str:
    """Formats a value of a config as a cell."""
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value)) or NONE
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value != "" else NONE


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
