"""DU+SAM+mixup with what configs/best_study.py kept, on the Combination features.

    python -m spotting.main --config=configs/best_combination.py --config.data.root=DIR

Data: SoccerNet-v2 with 1_baidu_soccer_embeddings.npy and 2_baidu_soccer_embeddings.npy.

Its networks are those of the paper's row, and it is none of its rows. By the compiler's estimate a
step moves an eighth more bytes, for changing wide features; inference takes half of the chunks.
What was measured, and what was not, is in BUILD_NOTES.md.
"""

from ml_collections import ConfigDict

from configs import best_study, unet_combination


def get_config() -> ConfigDict:
    config = best_study.improve(unet_combination.get_config())
    # At 1 frame per second events lie where the evaluator has them anyway; prepared data is shared.
    config.data.event_time = "gameTime"
    # The evaluator has twice the frames.
    config.postprocessing.vote_rate = 2.0
    return config
