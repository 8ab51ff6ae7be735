"""Compares this project with the official code (yahoo/spivak), number by number.

    python tests/parity.py DIR

DIR holds inputs and outputs of the official code, as tests/data/parity does. Prints one line for
each check, "PASS|FAIL name error bound", and "SKIP name reason" for options that the method does
not use. Exits with status 1 if a check fails, or if any file or array in DIR was left unread.
"""

import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # for configs/, which is outside the package

import jax
import parity_arrays
import parity_baselines
import parity_evaluation
import parity_extraction
import parity_models
from parity_report import Folder, Report

from spotting.base import cli
from spotting.base.errors import InputError


def check_initialisation(folder: Folder, name: str, report: Report) -> None:
    """Both kinds of folder have an init_stats.json."""
    of = parity_baselines if parity_baselines.holds_baselines(folder) else parity_models
    of.check_initialisation(folder, name, report)


CHECKS = (
    (r"labels\.npz", parity_arrays.check_labels),
    (r"targets\.npz", parity_arrays.check_targets),
    (r"losses\.npz", parity_arrays.check_losses),
    (r"mixup\.npz", parity_arrays.check_mixup),
    (r"schedules\.npz", parity_arrays.check_schedules),
    (r"adamw\.npz", parity_arrays.check_adamw),
    (r"stitching\.npz", parity_arrays.check_stitching),
    (r"postprocess\.npz", parity_arrays.check_postprocess),
    (r"json_writer_example\.json", parity_arrays.check_json_writer),
    (r"model_\w+\.npz", parity_models.check_small),
    (r"full_\w+\.npz", parity_models.check_full),
    (r"train_[\w.]+\.npz", parity_models.check_training),
    (r"init_stats\.json", check_initialisation),
    (r"soccernet_eval/expected\.json", parity_evaluation.check_evaluation),
    (r"frame_choice\.json", parity_extraction.check_frame_choice),
    (r"video_frames\.npz", parity_extraction.check_video_frames),
    (r"resize\.npz", parity_extraction.check_resize),
    (r"network\.npz", parity_extraction.check_network),
    (r"resnet152_layers\.json", parity_extraction.check_layers),
    (r"h5_layout\.json", parity_extraction.check_h5_layout),
    (r"pca\.npz", parity_extraction.check_pca),
    (r"average_512_TF2\.npz", parity_extraction.check_average),
    *parity_baselines.CHECKS,
)

SKIPS = (
    (r"losses\.npz/conf_\w+_gamma(?!0\.0_).*", "focal loss"),
    (r"postprocess\.npz/nms_linear_min.*", "soft NMS with a floor"),
    (r"targets\.npz/bias_init.*", "initial bias of the head"),
    (r"soccernet_eval/expected\.json/spivak_full_pipeline/.*", "truths placed by gameTime"),
    (r"frame_choice\.json/videos/.*/cases/whole_resize/.*", "resize to a square, without a crop"),
    *parity_baselines.SKIPS,
)


def main(directory: str | Path) -> int:
    """Checks everything in a folder; returns the exit status."""
    # TPUs and GPUs round the factors of float32 products otherwise.
    with jax.default_matmul_precision("highest"):
        return _check(Path(directory))


def _check(directory: Path) -> int:
    folder, report = Folder(directory), Report()
    if not folder.files:
        raise InputError(f"{directory}: no files in it")
    for name in folder.files:
        for pattern, check in CHECKS:
            if re.fullmatch(pattern, name):
                try:
                    check(folder, name, report)
                except Exception as error:  # The other files are worth checking all the same.
                    report.fail(name, f"{type(error).__name__}: {error}")
    for name in folder.unread():
        reason = next((why for pattern, why in SKIPS if re.fullmatch(pattern, name)), None)
        if reason:
            report.skip(name, f"{reason}: not used by the method")
        else:
            report.fail(name, "unread")
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    return int(report.failed > 0)


if __name__ == "__main__":
    parser = cli.Parser("python tests/parity.py", __doc__)
    parser.add_argument("directory", metavar="DIR")
    cli.run(lambda: main(parser.parse_args().directory))
