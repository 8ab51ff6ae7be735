"""The season that is there as video: drawn, then seen by the network that makes its features."""

import jax.numpy as jnp
import numpy as np
import pytest
from video_fixture import write_video

from spotting import video
from spotting.data.simulated import season_video
from spotting.runs import video_season
from spotting.video import FeatureNetwork
from spotting.video.network import NetworkDetails


@pytest.fixture
def drawn(monkeypatch):
    """Two short clips in the place of the drawn season, and a network of three mean colours."""
    given = []

    def write(root, features, frame_rate, feature_dim, seed, progress):
        given.append((features, frame_rate, feature_dim, seed))
        paths = [root / "league/game" / f"{half}.mp4" for half in (1, 2)]
        for done, path in enumerate(paths, 1):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_video(path, 75)
            progress(done, len(paths))
        return {"league/game": paths}

    def load(features, log):
        details = NetworkDetails(features, "small", "none", "", "", "", "float32", False)
        return FeatureNetwork(details, lambda params, x: x.astype(jnp.float32).mean((1, 2)), {})

    monkeypatch.setattr(season_video, "write_season_videos", write)
    monkeypatch.setattr(video, "load_network", load)
    small = video.FEATURES[video_season.FEATURES]._replace(dim=3)
    monkeypatch.setitem(video.FEATURES, video_season.FEATURES, small)
    return given


def test_features_come_from_the_pictures_of_every_half(drawn, tmp_path):
    video_season.prepare_season(tmp_path, show_progress=False)
    assert drawn == [("EfficientNetLite0", video.FRAME_RATE, 3, 1)]
    files = sorted(tmp_path.rglob("*.npy"))
    assert [path.name[:2] for path in files] == ["1_", "2_"]
    features = np.load(files[0])
    assert features.dtype == np.float16
    assert features.shape == (6, 3)
    assert features.std() > 0
    before = [path.stat().st_mtime_ns for path in files]
    video_season.prepare_season(tmp_path, show_progress=False)
    assert [path.stat().st_mtime_ns for path in files] == before
