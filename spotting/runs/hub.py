"""Runs on Hugging Face's hub, by names such as hf://owner/name or hf://owner/name@revision."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from spotting.base.errors import InputError
from spotting.data.dataset import DESCRIPTION_FILE
from spotting.runs import layout

FILES = (
    layout.CONFIG,
    DESCRIPTION_FILE,
    layout.METRICS,
    layout.THRESHOLDS,
    layout.WEIGHTS,
    layout.CARD,
)
"""What is pushed, and the only files that are downloaded."""

_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
# A pathlib.Path makes one slash of two.
_SPEC = re.compile(rf"hf:/{{1,2}}({_REPOSITORY})(?:@(.+))?")


def find_run(workdir: str | os.PathLike) -> Path:
    """The folder of a run; one of the hub is downloaded first, if it is not there yet.

    Args:
      workdir: a folder, or hf://owner/name[@revision].

    Raises:
      InputError: huggingface_hub is not installed, the download failed, or what is there is no run
        that `spotting push` wrote.
    """
    text = os.fspath(workdir)
    if not re.match("hf:/", text):
        return Path(workdir)
    match = _SPEC.fullmatch(text)
    if match is None:
        raise InputError(f"{text}: not of the form hf://owner/name or hf://owner/name@revision")
    repository, revision = match.groups()
    name = f"hf://{repository}" + (f"@{revision}" if revision else "")
    hub = import_hub()
    try:
        folder = hub.snapshot_download(repository, revision=revision, allow_patterns=list(FILES))
    except Exception as error:  # its HTTP client is another one from version to version
        raise InputError(f"{name}: could not download it: {_shorten(error)}") from error
    for needed in (layout.CONFIG, DESCRIPTION_FILE, layout.WEIGHTS):
        if not Path(folder, needed).is_file():
            raise InputError(
                f"{name}: no {needed} in it; `spotting push` writes what can be loaded"
            )
    return Path(folder)


def remove_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config's values without folders of the machine that trained, to be given away.

    Of the weights that a training started from the last part of the path stays.
    """
    kept = {name: dict(v) if isinstance(v, Mapping) else v for name, v in values.items()}
    kept["data"] |= {name: "" for name in ("root", "prepared_dir") if name in kept["data"]}
    for kind in ("confidence", "displacement"):
        values_of_kind = kept.get(kind)
        if isinstance(values_of_kind, dict) and "initial_weights" in values_of_kind:
            values_of_kind["initial_weights"] = Path(str(values_of_kind["initial_weights"])).name
    return kept


def check_repository(repository: str) -> None:
    """Raises InputError where a name is not owner/name."""
    if not re.fullmatch(_REPOSITORY, repository):
        raise InputError(f"{repository}: a repository is called owner/name")


def upload(folder: Path, repository: str, private: bool) -> str:
    """Uploads a folder's `FILES` as one commit; makes the repository if it is new.

    Args:
      folder: of `published.publish`, with a card.
      repository: owner/name.
      private: whether a new repository is to be seen by its owner alone.

    Returns:
      The address of the repository.

    Raises:
      InputError: huggingface_hub is not installed, or it failed.
    """
    hub = import_hub()
    try:
        api = hub.HfApi()
        url = api.create_repo(repository, private=private or None, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message="A run of spotting",
        )
    except Exception as error:  # see find_run
        raise InputError(f"{repository}: could not upload it: {_shorten(error)}") from error
    return str(url)


def import_hub() -> ModuleType:
    """The package huggingface_hub; InputError where it is not installed."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            "Hugging Face's hub needs two packages: pip install huggingface_hub safetensors"
        ) from error
    return huggingface_hub


def _shorten(error: Exception) -> str:
    """An error of the library in one line; it explains at length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
