"""Fetches SoccerNet-v2's features and labels from Hugging Face, where its authors publish them.

Neither needs a password. The videos, which nothing here reads, ask for a signed NDA.
"""

from collections.abc import Sequence

from spotting.base.errors import InputError
from spotting.data.annotations import LABELS_FILE
from spotting.data.dataset import HALVES, LABELLED_SPLITS, SOCCERNET_V2, Dataset

FEATURES_REPOSITORY = "SoccerNet/SN-Features"
LABELS_REPOSITORY = "SoccerNet/SN-Labels"

BRANCHES = {
    "ResNET_TF2_PCA512": "resnet-tf2-pca512",
    "baidu_soccer_embeddings": "baidu-soccer-embeddings",
    "ResNET_TF2": "resnet-tf2",
}
"""Branch of the features' repository that holds a feature set."""

LICENCE_NOTE = (
    "Features and labels are free to download. The videos are not needed here; to get them, sign "
    "the NDA at https://www.soccer-net.org/data. The labels of the challenge split are not public."
)


def download(dataset: Dataset, features: Sequence[str], splits: Sequence[str]) -> None:
    """Downloads features and labels into the dataset's folder; resumes a stopped download.

    What is there already is not fetched again. The bytes of a file appear under its name when all
    of them are there.

    Args:
      dataset: SoccerNet-v2, as `describe_dataset` has it; the folder need not exist.
      features: names of feature sets, keys of BRANCHES.
      splits: which splits.

    Raises:
      InputError: another dataset, unknown features, huggingface_hub is not installed, or it failed.
    """
    if dataset.name != SOCCERNET_V2:
        raise InputError(f"{dataset.root}: only SoccerNet-v2 can be downloaded, not {dataset.name}")
    unknown = [name for name in features if name not in BRANCHES]
    if unknown:
        raise InputError(f"no download for features {unknown[0]!r}; there is {', '.join(BRANCHES)}")
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise InputError(
            "--download needs huggingface_hub: pip install 'spotting[download]'"
        ) from error

    def fetch(repository: str, branch: str, files: list[str]) -> None:
        try:
            huggingface_hub.snapshot_download(
                repository,
                repo_type="dataset",
                revision=branch,
                local_dir=dataset.root,
                allow_patterns=files,
            )
        except (HfHubHTTPError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"could not download from {repository} on Hugging Face: {reason}; run the same "
                "command again to resume"
            ) from error

    labelled = [
        game for split in splits if split in LABELLED_SPLITS for game in dataset.games(split)
    ]
    fetch(LABELS_REPOSITORY, "main", [f"{game}/{LABELS_FILE}" for game in labelled])
    games = [game for split in splits for game in dataset.games(split)]
    for name in features:
        files = [f"{game}/{number}_{name}.npy" for game in games for number in HALVES]
        fetch(FEATURES_REPOSITORY, BRANCHES[name], files)
