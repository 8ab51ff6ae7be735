import os
import shutil
from pathlib import Path

import parity
import pytest
from test_parity import add_to_first, rewrite

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent / "data" / "parity_baselines"


def test_official_numbers(capsys):
    status = parity.main(DATA)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("FAIL")] == []
    assert status == 0


@pytest.mark.skipif("SPOTTING_BASELINES_DIR" not in os.environ, reason="the folder is optional")
def test_official_numbers_of_the_whole_folder():
    assert parity.main(os.environ["SPOTTING_BASELINES_DIR"]) == 0


@pytest.mark.parametrize(
    ("files", "change", "failure"),
    [
        (["nv_loss.npz"], add_to_first("grad_logits_hard", 1e-3), "grad_logits_hard"),
        (["nv_nms.npz"], add_to_first("nms_win40_thr0.0", 0.5), "nms_win40_thr0.0 1 0"),
        (["calf_spotting_loss.npz"], add_to_first("permutation", 1), "permutation"),
        (["calf_negative_spans.npz"], add_to_first("spans1", 1), "spans1 1 0"),
        (["nv_trainer.npz"], add_to_first("saved_epochs0", 1), "saved_epochs0 1 0"),
        (["rms_clips.npz", "rms_Labels-v2.json"], add_to_first("augmented", 1), "augmented 1 0"),
        (["rms_decode.npz"], add_to_first("decoded", 1), "decoded 1 0"),
    ],
)
def test_a_wrong_array_fails(tmp_path, capsys, files, change, failure):
    for file in files:
        shutil.copy(DATA / file, tmp_path)
    rewrite(tmp_path / files[0], change)
    assert parity.main(tmp_path) == 1
    failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert any(f"{files[0]}/{failure}" in line for line in failures)
