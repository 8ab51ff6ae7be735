import os
import shutil
from pathlib import Path

import numpy as np
import parity
import pytest

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent / "data" / "parity"


def rewrite(path, change):
    """Changes the arrays of an .npz."""
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def add_to_first(key, amount):
    def change(arrays):
        arrays[key].flat[0] += amount

    return change


def test_official_numbers(capsys):
    status = parity.main(DATA)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("FAIL")] == []
    assert status == 0
    assert {line.split()[0] for line in lines[:-1]} == {"PASS", "SKIP"}
    passed = sum(line.startswith("PASS") for line in lines)
    assert lines[-1] == f"{passed} passed, 0 failed, {len(lines) - 1 - passed} skipped"


@pytest.mark.skipif("SPOTTING_PARITY_DIR" not in os.environ, reason="the whole folder is optional")
def test_official_numbers_of_the_whole_folder():
    assert parity.main(os.environ["SPOTTING_PARITY_DIR"]) == 0


@pytest.mark.parametrize(
    ("file", "change", "failure"),
    [
        ("mixup.npz", add_to_first("mixed_features", 1e-3), "mixed_features"),
        ("mixup.npz", add_to_first("mixed_features", np.nan), "mixed_features"),
        ("mixup.npz", lambda arrays: arrays.update(other=np.zeros(3)), "other unread"),
        ("mixup.npz", lambda arrays: arrays.pop("lambdas"), " KeyError: 'lambdas'"),
        ("stitching.npz", add_to_first("case0_rows", 1), "case0_rows 1 0"),
        ("targets.npz", add_to_first("conf_r6.0", 1), "conf_r6.0 1 0"),
        ("targets.npz", add_to_first("delta_weights_video0", 0.1), "delta_weights_video0"),
        ("adamw.npz", add_to_first("w12_bias", 1e-4), "w12_bias"),
        ("schedules.npz", add_to_first("lr", 1e-7), "lr"),
    ],
)
def test_a_wrong_or_unread_array_fails(tmp_path, capsys, file, change, failure):
    shutil.copy(DATA / file, tmp_path)
    rewrite(tmp_path / file, change)
    assert parity.main(tmp_path) == 1
    failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert any(f"{file}{'' if failure[0] == ' ' else '/'}{failure}" in line for line in failures)


def test_an_unknown_file_fails(tmp_path, capsys):
    shutil.copy(DATA / "mixup.npz", tmp_path)
    (tmp_path / "README.md").write_text("What this is.")
    assert parity.main(tmp_path) == 0
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "mixup.npz").write_bytes(b"")
    assert parity.main(tmp_path) == 1
    assert "FAIL more/mixup.npz unread" in capsys.readouterr().out
