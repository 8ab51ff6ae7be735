"""The paper's comparison on a small folder of matches, sized for two CPU cores.

    python -m spotting.main --config=configs/matches_study.py --config.data.root=DIR \
        --workdir=runs/matches_study

    row          what
    :du          DU, at the size and schedule of configs/matches.py
    :sam         DU+SAM
    :sam_mixup   DU+SAM+mixup
    :te_small    DTES+SAM+mixup
    :te_base     DTEB+SAM+mixup

Without an argument it is the study of all five, three trainings each; with one it is that row
alone. All networks have a quarter of the paper's width and DTEB a third of its layers. DIR is a
folder with a dataset.json, 2 frames per second.
"""

from ml_collections import ConfigDict

from configs import common, matches

ROWS = ("du", "sam", "sam_mixup", "te_small", "te_base")


def get_config(row: str | None = None) -> ConfigDict:
    if row is None:
        config = common.study(tuple(f"configs/matches_study.py:{row}" for row in ROWS))
        config.seeds = (0, 1, 2)
        return config
    trunk = {"te_small": "DTES", "te_base": "DTEB"}.get(row, "DU")
    ablation = row if trunk == "DU" else "sam_mixup"
    config = matches.get_config(ablation)
    sizes = config.model.transformer
    if trunk == "DTES":
        sizes.update(layers=4, width=32, num_heads=1, mlp_dim=128)
    elif trunk == "DTEB":
        sizes.update(layers=4, width=64, num_heads=2, mlp_dim=256)
    if trunk != "DU":
        config.model.trunk = "transformer"
        # At the U-net's rate transformers of this size have learned nothing after 20 of 40 epochs,
        # whether rho is 0.5 or 0.1. Of 1e-3, 4e-3 and 1e-2 the last did best on the validation
        # split, after 10 epochs of DTES; the displacement model's rate has not been searched.
        config.confidence.update(learning_rate=1e-2, rho=0.1)
        config.displacement.learning_rate = 5e-3
    config.scale_note = "1/4 width, DTEB at 1/3 depth" if row == "te_base" else "1/4 width"
    return common.ablate(config, ablation, trunk + "{} ResNet+PCA")
