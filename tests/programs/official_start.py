"""Writes the weights that the official code's U-net starts from, as Keras draws them from a seed.

    python tests/programs/official_start.py --config=configs/matches.py --config.data.root=DIR \
        --seeds=1,2,3 --output=start
    python -m spotting.main --config=configs/matches.py --config.data.root=DIR \
        --config.seeds=1,2,3 \
        --config.confidence.initial_weights="start/confidence_{seed}.h5" \
        --config.displacement.initial_weights="start/displacement_{seed}.h5"

The second line then trains from them. This takes chance out of a comparison with the official code:
how far a short training comes depends on where it starts. Needs Keras 2 (pip install --no-deps
tf-keras, beside a TensorFlow of the same version) and h5py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras_fixture

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.data.dataset import describe_dataset
from spotting.models.keras_names import HEADS
from spotting.runs import config_files
from spotting.runs.setup import chunk_frames


def main() -> int:
    """Writes <output>/<kind>_<seed>.h5."""
    parser = cli.Parser("python tests/programs/official_start.py", __doc__)
    parser.add_config("which network and data it is for")
    parser.add_argument("--seeds", default="1", metavar="N,N", help="seeds of Keras")
    parser.add_argument("--output", type=Path, default="start", help="folder for the files")
    arguments = parser.parse_args()
    config = config_files.load(arguments.config)
    import tf_keras as keras

    dataset = describe_dataset(config.data.root, config.data.features or None)
    if config.model.trunk != "unet" or dataset.feature_dim > config.model.projection:
        raise InputError("only for U-nets on features that need no projection")
    frames = chunk_frames(config, dataset.frame_rate)
    sizes = frames, dataset.feature_dim, len(dataset.classes), config.model.reduction
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds.split(","):
        for kind, head in HEADS.items():
            keras.utils.set_random_seed(int(seed))
            model = keras_fixture.unet(keras, *sizes, config.model.unet.levels, head)
            path = folder / f"{kind}_{seed}.h5"
            model.save_weights(path)
            print(f"{path}: {model.count_params():,} parameters")
    return 0


if __name__ == "__main__":
    cli.run(main)
