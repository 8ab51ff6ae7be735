"""Table 1 of the paper: all eight rows, five trainings each.

    row                           avg-mAP  paper's training of the confidence model, V100
    DU ResNet+PCA                 63.8       1.5 h
    DU+SAM ResNet+PCA             72.0       2.3 h
    DU+SAM+mixup ResNet+PCA       72.2       2.3 h
    DU Combination                75.7       3.8 h
    DU+SAM Combination            76.1       5.1 h
    DU+SAM+mixup Combination      77.3       6.3 h
    DTES+SAM+mixup ResNet+PCA     68.2       4.2 h
    DTEB+SAM+mixup ResNet+PCA     72.4      31.1 h

The hours are 1,000 of the paper's epochs, for one training. DIR holds both feature sets beside the
labels:

    python -m spotting.main --config=configs/table1.py --config.data.root=DIR --workdir=runs/table1

Run the same command again to resume. Each row is a run folder of its own in runs/table1,
and runs/table1/report.html puts all beside the paper. A study for a smaller machine, which its
report then says in its title:

    python -m spotting.main --config=configs/table1.py --config.data.root=DIR --workdir=runs/small \
        --config.scale.width=0.25 --config.training.epochs=40 --config.seeds=0,1,2
"""

from ml_collections import ConfigDict

from configs import common

# The long ones last.
ROWS = (
    "configs/unet_resnet_pca.py:du",
    "configs/unet_resnet_pca.py:sam",
    "configs/unet_resnet_pca.py:sam_mixup",
    "configs/unet_combination.py:du",
    "configs/unet_combination.py:sam",
    "configs/unet_combination.py:sam_mixup",
    "configs/te_small_resnet_pca.py:sam_mixup",
    "configs/te_base_resnet_pca.py:sam_mixup",
)


def get_config() -> ConfigDict:
    return common.study(ROWS)
