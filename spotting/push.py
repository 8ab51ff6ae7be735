"""Packs a finished run to be given away, and uploads it to Hugging Face's hub.

  python -m spotting.push --workdir=runs/unet_resnet_pca --repo=owner/name

  python -m spotting.push --workdir=runs/unet_resnet_pca --output=given_away

Then hf://owner/name (or the folder) takes the place of the run's folder: in --workdir of predict,
live and export, and in Spotter.load. A revision may follow: hf://owner/name@v1.

Written or uploaded are model.safetensors (both networks' weights and what normalises features),
config.json without the folders of this machine, dataset.json (classes, frame rate, and the names of
the games in each split), metrics.json, thresholds.json and README.md, the model card: the run's
own, which may be edited before. Uploading needs an account: `hf auth login`, or HF_TOKEN.
"""

import tempfile
from pathlib import Path

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.runs import hub, layout


def main() -> None:
    """Reads the command line, writes the folder, uploads it."""
    parser = cli.Parser("python -m spotting.push", __doc__)
    add = parser.add_argument
    add("--workdir", type=Path, required=True, metavar="DIR", help="the run, of one seed")
    add("--repo", metavar="OWNER/NAME", help="where to upload it; made if it is new")
    add("--private", action="store_true", help="make a new repository a private one")
    add("--output", type=Path, metavar="DIR", help="a new folder to write it to as well, or only")
    arguments = parser.parse_args()
    if not arguments.repo and not arguments.output:
        raise InputError("give --repo=owner/name to upload the run, --output=DIR to write it")
    if arguments.private and not arguments.repo:
        raise InputError("--private belongs to --repo")
    if arguments.repo:
        hub.check_repository(arguments.repo)
        hub.import_hub()
    output = arguments.output
    if output and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: there already; choose a new folder")
    if arguments.output:
        pack(arguments.workdir, output, arguments.repo)
        print(output)
        if arguments.repo:
            print(hub.upload(output, arguments.repo, arguments.private))
        return
    with tempfile.TemporaryDirectory() as folder:
        pack(arguments.workdir, Path(folder), arguments.repo)
        print(hub.upload(Path(folder), arguments.repo, arguments.private))


def pack(workdir: Path, folder: Path, repository: str | None = None) -> None:
    """Writes a run to be given away into a folder, and reads it back.

    Args:
      workdir: the run's folder.
      folder: a new one, or an empty one.
      repository: owner/name, for the card.

    Raises:
      InputError: `workdir` is no finished run of one seed, or safetensors is not installed.
    """
    import jax
    import numpy as np

    from spotting.base.files import write_text_atomic
    from spotting.reporting.model_card import fill_card, make_model_card
    from spotting.reporting.runs import read_run
    from spotting.runs.published import publish
    from spotting.runs.trained import load_run

    run = load_run(workdir)
    publish(run, folder)
    card = run.workdir / layout.CARD
    text = card.read_text("utf-8") if card.is_file() else make_model_card(read_run(run.workdir))
    write_text_atomic(folder / layout.CARD, fill_card(text, repository))
    written = load_run(folder)

    arrays, again = (
        jax.tree.leaves([each.confidence.params, each.displacement and each.displacement.params])
        for each in (run, written)
    )
    if not all(map(np.array_equal, arrays, again)):
        raise ArithmeticError(f"{folder}: what was written is not what the run has")


if __name__ == "__main__":
    cli.run(main)
