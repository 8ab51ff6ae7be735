"""A model card: README.md of a finished run, in the form that Hugging Face reads and shows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spotting.base.files import write_text_atomic
from spotting.base.text_table import printable
from spotting.data.dataset import SOCCERNET_V2
from spotting.reporting.runs import GUESSING, ORACLE, WITH, WITHOUT, ReportedRun, read_run
from spotting.reporting.settings import list_hyper_parameters
from spotting.reporting.tables import NONE, Table, escape_markdown, format_interval, to_markdown
from spotting.runs.hub import remove_folders
from spotting.runs.layout import CARD

_LIBRARY = "spotting"
_PLACE = "THIS_FOLDER"

_VARIANTS = {
    WITH: "with displacement",
    WITHOUT: "without displacement",
    GUESSING: "guessing (confidences drawn at random)",
    ORACLE: "ceiling (the truth as a perfect model would output it)",
}
_LICENCE = (
    "The code is under Apache-2.0. The weights were made from the data named above: whoever"
    " publishes or uses them has to keep to that data's own terms, which this card cannot grant."
)
_SOCCERNET = (
    " SoccerNet's videos and features come under an agreement with its organisers, for research."
)


def write_model_card(workdir: Path) -> Path:
    """Writes README.md into a finished run's folder.

    It says what the model spots and in which features, how well, with 95 % intervals where
    metrics.json has them, and the whole config. What the folder does not know it leaves out.

    Args:
      workdir: A finished run directory.

    Returns:
      The path of the card.

    Raises:
      InputError: the folder holds no finished run.
    """
    run = read_run(Path(workdir))
    path = Path(workdir, CARD)
    write_text_atomic(path, make_model_card(run))
    return path


def make_model_card(run: ReportedRun) -> str:
    """Makes a card's text: YAML between two lines of dashes, then Markdown.

    Source: https://huggingface.co/docs/hub/model-cards, of the fields and the model index.
    """
    name, data = _name_model(run), _name_data(run)
    front = "\n".join(["---", *_to_yaml(_list_metadata(run, name, data)), "---"])
    parts = [front, f"# {escape_markdown(name)}", _describe(run, data)]
    parts += ["## Results", _tabulate_results(run)]
    classes = _list_classes(run)
    if classes:
        parts += ["## Classes", to_markdown(_tabulate_classes(run, classes))]
    parts += ["## Input", _describe_input(run)]
    parts += ["## Use", _describe_use()]
    parts += ["## Training", _describe_training(run)]
    parts += ["## Licence", _LICENCE + (_SOCCERNET if data == SOCCERNET_V2 else "")]
    parts += ["## Config", f"```json\n{_print_config(run.config)}\n```"]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def fill_card(text: str, repository: str | None) -> str:
    """A card's text with a repository of the hub, owner/name, as the place where the run is."""
    return text.replace(_PLACE, f"hf://{repository}") if repository else text


def is_card(path: Path) -> bool:
    """Whether a file is a card of this package, which may be written again."""
    return f'library_name: "{_LIBRARY}"' in path.read_text("utf-8", errors="replace")


def _name_model(run: ReportedRun) -> str:
    folder = run.path.resolve()
    return f"{folder.parent.name}/{folder.name}" if folder.name.startswith("seed_") else folder.name


def _name_data(run: ReportedRun) -> str:
    name = run.description.get("name")
    return name if isinstance(name, str) and name else "unknown data"


def _list_classes(run: ReportedRun) -> list[str]:
    classes = run.description.get("classes")
    if isinstance(classes, list) and all(isinstance(name, str) for name in classes):
        return classes
    return list(run.class_scores(WITH, "loose"))


def _list_metadata(run: ReportedRun, name: str, data: str) -> dict[str, Any]:
    metrics = [
        {"type": f"{kind}_average_map", "name": f"{kind} average-mAP (%)", "value": round(score, 2)}
        for kind in ("loose", "tight")
        if (score := run.score(WITH, kind)) is not None
    ]
    result = {
        "task": {"type": "video-classification", "name": "Action spotting"},
        "dataset": {"type": data, "name": data, "split": run.split},
        "metrics": metrics,
    }
    return {
        "license": "other",
        "license_name": "terms-of-the-training-data",
        "library_name": _LIBRARY,
        "tags": ["action-spotting", "soccer", "video", "jax", "flax"],
        "model-index": [{"name": name, "results": [result]}],
    }


def _describe(run: ReportedRun, data: str) -> str:
    config = run.config.get("model", {})
    name = str(config.get("trunk")) if isinstance(config, dict) else ""
    words = {"unet": "a U-net", "transformer": "a transformer encoder"}
    trunk = words.get(name, "a network")
    return (
        "Spots actions in soccer video: which class happened when. Two networks, each"
        f" {trunk}, read features of the video in overlapping chunks: one gives a confidence for"
        " every class and frame, the other a displacement in time from that frame to the action"
        ' (Soares, Shah, Biswas, "Temporally Precise Action Spotting in Soccer Videos Using Dense'
        f' Detection Anchors", ICIP 2022). Trained on {escape_markdown(data)}.'
    )


def _tabulate_results(run: ReportedRun) -> str:
    body = []
    for variant, words in _VARIANTS.items():
        cells = []
        for kind in ("loose", "tight"):
            score, interval = run.score(variant, kind), run.interval(variant, kind)
            text = NONE if score is None else f"{score:.1f} {format_interval(interval)}".rstrip()
            cells.append(text)
        if cells != [NONE, NONE]:
            body.append((words, *cells))
    split = {"test": "test split", "valid": "validation split, which chose the model"}[run.split]
    notes = [
        f"Average-mAP in percent on the {split}: loose over tolerances of 5 to 60 s, tight over 1"
        " to 5 s, as SoccerNet's evaluator computes it."
    ]
    if run.interval(WITH, "loose"):
        notes.append("[low, high]: 95 % interval, bootstrap over games.")
    return to_markdown(Table(("", "loose", "tight"), body, 1, tuple(notes)))


def _tabulate_classes(run: ReportedRun, classes: Sequence[str]) -> Table:
    scores = {kind: run.class_scores(WITH, kind) for kind in ("loose", "tight")}
    limits = run.thresholds or {}
    body = []
    for name in classes:
        cells = [scores[kind].get(name) for kind in ("loose", "tight")]
        limit = limits.get(name)
        texts = [NONE if cell is None else f"{cell:.1f}" for cell in cells]
        body.append((name, *texts, NONE if limit is None else f"{limit:.3f}"))
    note = "Threshold: the confidence with the best F1 on the validation split."
    return Table(("Class", "loose", "tight", "threshold"), body, 1, (note,))


def _describe_input(run: ReportedRun) -> str:
    described = run.description
    lines = []
    if "features" in described:
        dim, rate = described.get("feature_dim"), described.get("frame_rate")
        lines.append(
            f"- features `{printable(str(described['features'])).replace('`', '')}`: {dim} values"
            f" a frame, {_shorten(rate)} frames per second"
        )
    data, anchors = run.config["data"], run.config.get("anchors", {})
    if data.get("resample"):
        lines.append(f"- resampled to {_shorten(data['resample'])} frames per second")
    if data.get("normalize", "none") != "none":
        lines.append(f"- normalised: {escape_markdown(str(data['normalize']))}")
    if isinstance(anchors, dict) and "chunk" in anchors:
        lines.append(f"- in chunks of {_shorten(anchors['chunk'])} s")
    return "\n".join(lines) or "The folder does not tell which features it takes."


def _describe_use() -> str:
    return (
        f"```sh\nspotting predict --workdir={_PLACE} --features=FOLDER_OF_FEATURES --output=spots"
        "\n```\n\n```python\nimport numpy as np\nfrom spotting import Spotter\n\n"
        f'spotter = Spotter.load("{_PLACE}")\n'
        'spots = spotter.spot(np.load("1_features.npy"))\n```'
    )


def _describe_training(run: ReportedRun) -> str:
    words = {
        "seed": run.start("seed"),
        "device": run.start("device"),
        "code": run.start("revision"),
        "parameters of the confidence network": run.parameters("confidence"),
        "parameters of the displacement network": run.parameters("displacement"),
    }
    rows = [(name, _shorten(value)) for name, value in words.items() if value is not None]
    for name, value in list_hyper_parameters(remove_folders(run.config)).items():
        if name.startswith(("training.", "confidence.", "displacement.")):
            rows.append((name, _shorten(value)))
    return to_markdown(Table(("Setting", "value"), rows))


def _print_config(config: Mapping[str, Any]) -> str:
    """The config without folders of the machine that trained."""
    return json.dumps(remove_folders(config), indent=1, sort_keys=True).replace("```", "` ` `")


def _shorten(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _to_yaml(value: Any, indent: str = "") -> list[str]:
    """Lines of YAML; texts are quoted as JSON does, which YAML reads as it is."""
    lines = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict | list):
                lines += [f"{indent}{key}:", *_to_yaml(inner, indent + "  ")]
            else:
                lines.append(f"{indent}{key}: {json.dumps(inner)}")
    else:
        for inner in value:
            if isinstance(inner, dict):
                first, *rest = _to_yaml(inner, indent + "  ")
                lines += [f"{indent}- {first.strip()}", *rest]
            else:
                lines.append(f"{indent}- {json.dumps(inner)}")
    return lines
