import json

import numpy as np
import pytest

from configs import common, matches_study, table1, table2
from spotting import experiment
from spotting.base.errors import InputError
from spotting.reporting import paper, report
from spotting.studies import study

FIGURES = {"loose": 60.0, "tight": 40.0}


def plan(rows, **given):
    """A study of these rows with these fields set."""
    config = common.study(rows)
    config.update_from_flattened_dict(given)
    return config


@pytest.fixture
def row_files(tmp_path, tiny_dataset):
    """Config files of rows: tiny experiments, of which :bad cannot be."""
    path = tmp_path / "tiny_row.py"
    path.write_text(
        "from pathlib import Path\n"
        "from helpers import tiny_config\n"
        "def get_config(argument=''):\n"
        f"    config = tiny_config(Path({str(tiny_dataset)!r}))\n"
        "    config.paper_row = 'DU ResNet+PCA' if not argument else ''\n"
        "    if argument == 'bad':\n"
        "        config.model.unet.levels = 7\n"
        "    return config\n"
    )
    return str(path)


def test_rows_are_the_papers():
    for module, rows in ((table1, paper.TABLE_1), (table2, paper.TABLE_2)):
        config = module.get_config()
        assert len(config.seeds) == 5
        configs = [study.row_config(config, spec) for spec in config.rows]
        names = [row.paper_row for row in configs]
        assert len(set(names)) == len(names)
        ours = {row.name for row in rows if row.method.startswith("D") and "w/o" not in row.method}
        compared = {"NetVLAD++ ResNet+PCA", "NetVLAD++ ResNet", "CALF ResNet+PCA"}
        assert set(names) == (ours if module is table1 else ours | compared)
        assert {row.scale_note for row in configs} == {""}


def test_a_row_is_its_own_config_but_for_what_the_study_sets():
    spec = "configs/te_base_resnet_pca.py:sam_mixup"
    own = study.row_config(plan((spec,)), spec)
    given = {"data.root": "somewhere", "training.epochs": 40, "seeds": (3, 4)}
    given |= {"data.resample": 1.0, "inference.segment_chunks": 8, "logging.tensorboard": False}
    given |= {"scale.width": 0.25, "scale.depth": 0.5, "displacement.rho": 0.1}
    row = study.row_config(plan((spec,), **given), spec)
    assert row.scale_note == (
        "1/4 width, transformers at 1/2 depth, 40 of 1,000 epochs, data.resample=1.0, "
        "displacement.rho=0.1, 2 of 5 seeds"
    )
    expected = own.copy_and_resolve_references()
    expected.update(seeds=(3, 4), scale_note=row.scale_note)
    expected.data.update(root="somewhere", resample=1.0)
    expected.inference.segment_chunks = 8
    expected.logging.tensorboard = False
    expected.training.epochs = 40
    expected.displacement.rho = 0.1
    expected.model.reduction = (64, 16)
    expected.model.transformer.update(width=64, num_heads=2, mlp_dim=256, layers=6)
    assert row.to_dict() == expected.to_dict()


def test_rows_of_the_matches_study():
    config = matches_study.get_config()
    rows = [study.row_config(config, spec) for spec in config.rows]
    assert [row.paper_row for row in rows[:3]] == [row.name for row in paper.TABLE_1[:3]]
    assert [row.scale_note for row in rows] == [
        *["1/4 width, 3 of 5 seeds"] * 4,
        "1/4 width, DTEB at 1/3 depth, 3 of 5 seeds",
    ]
    config.scale.update(width=0.25, depth=0.5)
    config.training.epochs = 6
    rows = [study.row_config(config, spec) for spec in config.rows]
    assert rows[0].scale_note == "1/16 width, 6 of 40 epochs, 3 of 5 seeds"
    assert rows[4].scale_note == ("1/16 width, DTEB at 1/6 depth, 6 of 40 epochs, 3 of 5 seeds")
    assert [row.model.trunk for row in rows] == ["unet"] * 3 + ["transformer"] * 2
    with pytest.raises(ValueError, match="'te_large'"):
        matches_study.get_config("te_large")


def test_the_study_goes_on_past_a_failed_row(row_files, tmp_path, monkeypatch, capsys):
    def run(config, workdir, mode):
        if workdir.name == "tiny_row_broken":
            raise RuntimeError("out of memory\nwith many details")
        figures = {name: dict(FIGURES) for name in ("with_displacement", "without_displacement")}
        figures["without_displacement"]["tight"] = 30.0 + config.seeds[-1]
        other = {name: {"loose": 62.0, "tight": 42.0} for name in figures}
        return {0: {"test": figures}, 1: {"test": other}}

    monkeypatch.setattr(experiment, "run", run)
    monkeypatch.setattr(report, "write_report", lambda folders, output: output / "report.html")
    config = plan((f"{row_files}:broken", row_files), seeds=(0, 1))
    assert study.run(config, tmp_path / "study") == 1
    out, err = capsys.readouterr()
    header, broken, fine, page = out.strip().splitlines()
    assert " ".join(header.split()) == "row seeds loose tight loose w/o D tight w/o D"
    assert broken.split(maxsplit=1) == ["tiny_row_broken", "failed: out of memory"]
    figures = "61.0 ± 1.4 41.0 ± 1.4 61.0 ± 1.4 36.5 ± 7.8"
    assert " ".join(fine.split()) == f"DU ResNet+PCA 2 {figures}"
    assert page.endswith("report.html")
    assert "tiny_row_broken failed: out of memory" in err
    assert "RuntimeError" in (tmp_path / "study/tiny_row_broken/traceback.txt").read_text()


@pytest.mark.slow
def test_a_real_study_resumes(row_files, tiny_run, tmp_path, monkeypatch, capsys):
    config = plan((f"{row_files}:bad", row_files), seeds=(0, 1), seeds_at_once=2)
    assert study.run(config, tmp_path / "study") == 1
    err = capsys.readouterr().err
    assert "warning: tiny_row_bad cannot run" in err
    row = tmp_path / "study" / "tiny_row"
    first = json.loads((row / "seed_0" / "metrics.json").read_text())
    # Seed 0 of the study is the lone run of the same config, which has seed 0.
    alone = json.loads((tiny_run / "metrics.json").read_text())
    for kind in ("loose", "tight"):
        ours, its = (scores["test"]["with_displacement"][kind] for scores in (first, alone))
        assert ours == pytest.approx(its, abs=1e-3)
    note = "2 of 5 seeds"  # Epochs and chunks are the row's own, and the data is not the paper's.
    assert json.loads((row / "seed_1" / "config.json").read_text())["scale_note"] == note
    title = (tmp_path / "study" / "report.md").read_text().splitlines()[0]
    assert title.endswith("(2 of 5 seeds)")
    # Again, with one seed more: only that one trains.
    trained = []
    original = experiment.train

    def train(setup, runs, kind, *rest):
        trained.append(([run.seed for run in runs], kind))
        return original(setup, runs, kind, *rest)

    monkeypatch.setattr(experiment, "train", train)
    study.run(plan((row_files,), seeds=(0, 1, 2)), tmp_path / "study")
    assert trained == [([2], "confidence"), ([2], "displacement")]
    scores = [
        json.loads((row / f"seed_{k}" / "metrics.json").read_text())["test"] for k in range(3)
    ]
    mean = np.mean([score["with_displacement"]["loose"] for score in scores])
    assert f"{mean:.1f} ± " in capsys.readouterr().out


def test_a_study_that_cannot_run_says_so(tmp_path):
    for rows, message in (
        (("configs/none.py",), "no such file"),
        (("configs/unet_combination.py:plain",), "unknown config argument 'plain'"),
        ((), "at least one"),
        (("configs/unet_combination.py:du",), "no data folder given"),
    ):
        with pytest.raises(InputError, match=message):
            study.run(plan(rows), tmp_path)
    assert not list(tmp_path.iterdir())
