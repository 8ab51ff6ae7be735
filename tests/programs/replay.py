"""Replays a whole training of the official code: its weights, chunks and mixup draws, in ours.

    python tests/programs/replay.py FOLDER --config=configs/matches.py --config.data.root=DIR

FOLDER holds start.h5 (the official model's initial weights), draws.npz (half, start, lam, perm of
every step) and expected.json (its loss in each epoch and its average-mAP at the end). Prints both
losses of each epoch and, after the last, both scores; exits with 1 if an epoch's loss is off by
more than --tolerance (relative), or the loose score on the test split by more than 2 points. About
half an hour on two cores; --epochs=3 takes two minutes.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from spotting.anchors import AnchorTargets  # noqa: E402
from spotting.base import cli  # noqa: E402
from spotting.base.files import parse_json, read_npz  # noqa: E402
from spotting.data import resident  # noqa: E402
from spotting.models.keras_files import read_weights  # noqa: E402
from spotting.models.keras_names import from_keras  # noqa: E402
from spotting.runs import config_files  # noqa: E402
from spotting.runs.setup import (  # noqa: E402
    Setup,
    make_setup,
    read_hyper,
    read_optimizer,
    read_suppression,
)
from spotting.runs.validation import SplitPredictor  # noqa: E402
from spotting.scoring import figures, metrics  # noqa: E402
from spotting.training import mixup  # noqa: E402
from spotting.training.objectives import Objective  # noqa: E402
from spotting.training.step import TrainState, make_optimizer, train_step  # noqa: E402

KIND = "confidence"


def main() -> int:
    """Reads the command line; returns 1 where the replay departs from the official training."""
    arguments = _parse()
    folder: Path = arguments.folder
    setup = make_setup(config_files.load(arguments.config), folder)
    draws = read_npz(folder / "draws.npz", folder / "draws.npz", "it is not part of this program")
    expected = parse_json((folder / "expected.json").read_bytes(), folder / "expected.json")
    steps = setup.schedule.steps
    epochs = min(arguments.epochs or len(expected["loss_per_epoch"]), len(draws["half"]) // steps)
    state, run_step, split = _start(setup, folder / "start.h5")
    departed = False
    for epoch in range(epochs):
        losses = []
        for step in range(epoch * steps, (epoch + 1) * steps):
            row = {name: jnp.asarray(values[step]) for name, values in draws.items()}
            state, loss = run_step(state, split, row)
            losses.append(loss)
        ours, theirs = float(np.mean(losses)), expected["loss_per_epoch"][epoch]
        departed |= abs(ours / theirs - 1) > arguments.tolerance
        print(f"epoch {epoch + 1:3}: loss {ours:.4f}, official {theirs:.4f}", flush=True)
    if epochs < len(expected["loss_per_epoch"]):
        return int(departed)
    for name, theirs in expected["scores_without_displacement"].items():
        loose, tight = _score(setup, name, state.params)
        departed |= name == "test" and abs(loose - theirs["loose"]) > 2
        print(
            f"{name}, w/o displacement: {loose:.2f} / {tight:.2f}, official "
            f"{theirs['loose']:.2f} / {theirs['tight']:.2f} (loose / tight)"
        )
    return int(departed)


def _parse() -> argparse.Namespace:
    parser = cli.Parser("python tests/programs/replay.py", __doc__)
    parser.add_config("the protocol: configs/matches.py")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--epochs", type=cli.positive_int, help="how many; default: all")
    parser.add_argument("--tolerance", type=float, default=0.02, help="of an epoch's loss")
    return parser.parse_args()


def _start(setup: Setup, weights: Path) -> tuple[TrainState, Any, resident.ResidentSplit]:
    """The state from the official weights, the step on given draws, and the training split."""
    objective = setup.make_objective(KIND)
    assert isinstance(objective, Objective)
    hyper = read_hyper(setup.config, KIND)
    tx = make_optimizer(hyper, read_optimizer(setup.config))
    params = from_keras(read_weights(weights), setup.variable_shapes(KIND), KIND)
    params = jax.tree.map(jnp.asarray, params)
    state = TrainState(jnp.zeros([], jnp.int32), jax.random.key(0), params, tx.init(params))
    features = [half.load() for half in setup.matches.splits["train"]]
    split = resident.concatenate(features, setup.offsets, setup.chunk_frames)

    @jax.jit
    def run_step(
        state: TrainState, split: resident.ResidentSplit, row: dict[str, jax.Array]
    ) -> tuple[TrainState, jax.Array]:
        batch = resident.cut(split, row["half"], row["start"], setup.chunk_frames)
        targets, loss_weights = objective.encode(batch.offsets)
        own = (batch.features, targets, loss_weights * batch.valid[..., None])
        mixed = [mixup.mix(each, each[row["perm"]], row["lam"]) for each in own]
        given = Objective(objective.network, lambda _: AnchorTargets(*mixed[1:]), objective.loss)
        chunks = resident.Batch(mixed[0], batch.offsets, jnp.ones_like(batch.valid))
        state, found = train_step(state, chunks, None, given, tx)
        # Keras reports the mean of both passes.
        return state, (found.loss + found.perturbed_loss) / 2

    return state, run_step, jax.tree.map(jnp.asarray, split)


def _score(setup: Setup, name: str, params: Any) -> tuple[float, float]:
    """Loose and tight average-mAP of a split in percent, without displacement."""
    halves, classes = setup.matches.splits[name], setup.matches.classes
    predictions = SplitPredictor(setup, KIND, halves, setup.config.inference.border)(params)
    truth = figures.make_truths(halves, classes)
    rate, suppression = (
        setup.matches.dataset.frame_rate,
        read_suppression(setup.config, len(classes)),
    )
    loose, tight = (
        100 * figures.score_predictions(truth, predictions, None, rate, suppression, over).map
        for over in (metrics.LOOSE, metrics.TIGHT)
    )
    return loose, tight


if __name__ == "__main__":
    cli.run(main)
