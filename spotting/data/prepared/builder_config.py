"""What the TFDS data set `soccernet_v2` stores of a folder of matches, and under which name."""

import dataclasses

from spotting import timing
from spotting.base.errors import InputError
from spotting.data.dataset import SOCCERNET_V2, Dataset
from spotting.data.halves import TimeSource
from spotting.data.prepared.storage import STORAGE_DTYPES
from spotting.data.prepared.tensorflow_import import tfds
from spotting.data.transforms import Transform, describe_transformed

CHUNK_SECONDS = 112.0


@dataclasses.dataclass(eq=False, kw_only=True)
class SoccerNetConfig(tfds.core.BuilderConfig):
    """What is stored, and how.

    Attributes:
      dataset: name of the data set.
      features: name of its feature files.
      frame_rate: frames per second of what is stored.
      feature_dim: P of what is stored.
      classes: the K classes.
      transform: of the features before they are stored.
      storage: a key of STORAGE_DTYPES.
      block_frames: T.
      time_source: which time of an event its offsets go by, see `make_label_matrix`.
    """

    dataset: str
    features: str
    frame_rate: float
    feature_dim: int
    classes: tuple[str, ...]
    transform: Transform
    storage: str
    block_frames: int
    time_source: TimeSource


def build_config(
    dataset: Dataset,
    transform: Transform,
    storage: str,
    chunk_frames: int | None = None,
    time_source: TimeSource = "gameTime",
) -> SoccerNetConfig:
    """A config of its own name; `builder.make_config` gives the builder's where it lists one.

    Raises:
      InputError: unknown storage type.
    """
    if storage not in STORAGE_DTYPES:
        raise InputError(f"storage is {storage!r}; it can be {', '.join(STORAGE_DTYPES)}")
    stored = describe_transformed(dataset, transform)
    usual_frames = timing.whole_frames(CHUNK_SECONDS, stored.frame_rate)
    chunk_frames = chunk_frames or usual_frames
    parts = [] if dataset.name == SOCCERNET_V2 else [dataset.name]
    parts += [stored.features, storage]
    parts += [f"{chunk_frames}frames"] if chunk_frames != usual_frames else []
    parts += [time_source] if time_source != "gameTime" else []
    # TFDS allows letters, digits and +-._ in names.
    name = "".join(c if c.isalnum() or c in "+-._" else "-" for c in "_".join(parts))
    return SoccerNetConfig(
        name=name,
        description=f"{stored.features} of {dataset.name}, {storage}, in blocks of {chunk_frames}",
        dataset=dataset.name,
        features=dataset.features,
        frame_rate=stored.frame_rate,
        feature_dim=stored.feature_dim,
        classes=stored.classes,
        transform=transform,
        storage=storage,
        block_frames=chunk_frames,
        time_source=time_source,
    )
