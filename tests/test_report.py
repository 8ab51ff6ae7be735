import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import report_fixture

from spotting.base.errors import InputError
from spotting.data.annotations import Event, Prediction
from spotting.reporting import curves, paper, sections, svg, tables
from spotting.reporting.gains import measure_gains
from spotting.reporting.measures import TOLERANCES, measure
from spotting.reporting.report import write_report
from spotting.reporting.runs import (
    WITH,
    WITHOUT,
    ReportedRow,
    ReportedRun,
    read_log,
    read_rows,
    scale_notes,
    summarize,
)
from spotting.reporting.snapshot import write_snapshot

DU, FULL = "DU ResNet+PCA", "DU+SAM+mixup ResNet+PCA"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return report_fixture.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def study(tmp_path_factory, data):
    """Two rows of two seeds, one more seed that failed, and a row without a place in the paper."""
    root = tmp_path_factory.mktemp("study")
    for seed in (0, 1):
        note = "1/4 width, 40 of 1,000 epochs, 5 of 5 seeds"
        report_fixture.make_run(root / f"du/seed_{seed}", data, DU, seed, 0.5, note)
        report_fixture.make_run(root / f"full/seed_{seed}", data, FULL, seed, 0.8, note)
    (root / "full/seed_2").mkdir()
    shutil.copy(root / "full/seed_1/config.json", root / "full/seed_2/config.json")
    report_fixture.make_run(root / "own", data)
    return root


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    output = tmp_path_factory.mktemp("report")
    write_report([study], output)
    return output


def make_row(paper_row: str, *scores: tuple[float, float], without: tuple[float, float] = (1, 1)):
    """A row whose seeds have these loose and tight scores; `without` displacement those less."""
    runs = []
    for loose, tight in scores:
        variants = {
            WITH: {"loose": loose, "tight": tight},
            WITHOUT: {"loose": loose - without[0], "tight": tight - without[1]},
        }
        runs.append(ReportedRun(Path("x"), {}, {"test": variants}, (), None))
    return ReportedRow(paper_row, paper_row, Path("x"), tuple(runs), ())


# Tables


def test_markdown_has_the_means_of_the_seeds(report, study):
    files = [study / f"full/seed_{seed}/metrics.json" for seed in (0, 1)]
    figures = [json.loads(file.read_text())["test"]["with_displacement"] for file in files]
    tight = [scores["tight"] for scores in figures]
    text = (report / "report.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| DU+SAM+mixup |"))
    assert f"{np.mean(tight):.1f} ± {np.std(tight, ddof=1):.1f}" in text
    assert "| 72.2 |" in line  # the paper's


def test_another_data_set_gets_no_differences(report):
    text = (report / "report.md").read_text()
    assert "difference |" not in text
    assert "comparing levels across data sets means nothing" in text
    assert "CALF |" not in text  # other systems were not run on it


def test_title_tells_that_a_study_was_shrunk(report):
    title = "Action spotting on toy (1/4 width, 40 of 1,000 epochs) (2 of 5 seeds)"
    for name in ("report.md", "report.html"):
        assert title in (report / name).read_text()


def test_failed_trainings_are_listed(report):
    assert "seed_2: no metrics.json; failed, or not finished" in (report / "report.md").read_text()


def test_soccernet_gets_differences_and_all_rows_of_the_paper():
    rows = [make_row(DU, (64.8, 41.0), (66.8, 43.0))]
    second = tables.to_markdown(tables.make_table_2(rows, comparable=True))
    assert "| DU | ResNet+PCA | 65.8 ± 1.4 | 63.8 | +2.0 ± 1.4 ▲ | 42.0 ± 1.4 | 41.7 |" in second
    assert "+0.3 ± 1.4 ≈" in second
    assert all(f"| {row.method}" in second for row in paper.TABLE_2)
    assert second.count("| DU |") == 2  # on both features
    first = tables.make_table_1(rows, comparable=True)
    assert len(first.rows) == len(paper.TABLE_1)
    assert first.rows[0][:5] == ("DU", "ResNet+PCA", "65.8 ± 1.4", "63.8", "+2.0 ± 1.4 ▲")


def test_gains_of_rows_and_of_displacement():
    rows = [
        make_row(DU, (60, 40), (62, 40), without=(0, 10)),
        make_row(FULL, (70, 50), (76, 50), without=(0, 12)),
    ]
    rows[1].runs[0].metrics["test"][WITHOUT]["tight"] -= 2
    both, displacement, displacement_full = measure_gains(rows)
    assert both.component == "SAM and mixup"
    assert both.loose.mean == pytest.approx(12)
    assert both.loose.std == pytest.approx(np.hypot(np.sqrt(2), np.sqrt(18)))
    assert both.paper_loose == pytest.approx(72.2 - 63.8)
    assert displacement.tight == pytest.approx((10, 0, 2))
    assert displacement_full.tight.mean == pytest.approx(13)
    assert displacement_full.tight.std == pytest.approx(np.sqrt(2))  # of 14 and 12, paired
    assert displacement_full.paper_tight == pytest.approx(50.7 - 39.3)


def test_one_seed_has_no_spread():
    assert str(summarize([3.0])) == "3.0"
    assert tables.format_signed(summarize([3.0])) == "+3.0"
    assert tables.format_signed(summarize([-1.0, 3.0])).endswith("≈")
    assert tables.format_signed(summarize([-4.0, -3.0])).endswith("▼")


# Measures


def test_spots_two_seconds_late():
    times = (20.0, 60.0, 100.0, 150.0)
    events = [[Event(1, "Goal", time, time, True) for time in times]]
    late = [[Prediction(1, "Goal", time + 2, 0.9 - i / 100) for i, time in enumerate(times)]]
    late[0].append(Prediction(1, "Goal", 20.0, 0.1))  # right, but not among the four most confident
    found = measure(events, late, ("Goal", "Foul"))
    assert found.errors.tolist() == [2.0] * 4
    reached = np.array(TOLERANCES) >= 4  # 4 s is 2 s on either side
    assert (found.map_by_tolerance[reached] == 50).all()  # the mean with Foul, which has none
    assert (found.map_by_tolerance[~reached] < 15).all()
    assert found.calibration.spots.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 3, 1]
    assert found.calibration.hits.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 3, 1]
    assert found.calibration.confidence[8] == pytest.approx(0.89 + 0.88 + 0.87)


def test_no_spots_at_all():
    found = measure([[Event(1, "Goal", 5.0, 5.0, True)]], [[]], ("Goal",))
    assert not found.map_by_tolerance.any()
    assert len(found.errors) == 0


# Files of all ages


def test_reads_what_an_old_or_cut_run_has(tmp_path, data):
    run = report_fixture.make_run(tmp_path / "run", data)
    shutil.rmtree(run / "results_without_displacement")
    (run / "log.jsonl").unlink()
    (run / "thresholds.json").unlink()
    figures = json.loads((run / "metrics.json").read_text())
    del figures["test"]["without_displacement"], figures["valid"]
    (run / "metrics.json").write_text(json.dumps(figures))
    text = write_report([run], tmp_path).read_text()
    assert "No learning curves" in text
    assert 'id="gains"' not in text


def test_runs_copied_away_from_their_data(tmp_path, data):
    run = report_fixture.make_run(tmp_path / "run", data)
    config = json.loads((run / "config.json").read_text())
    config["data"]["root"] = str(tmp_path / "gone")
    (run / "config.json").write_text(json.dumps(config))
    text = write_report([run], tmp_path).read_text()
    assert "Figures that need the truth are left out" in text
    assert "timeline-data" not in text


def test_log_lines_cut_by_a_kill(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"kind": "start"}\n{"kind": "tr')
    assert read_log(tmp_path / "log.jsonl") == ({"kind": "start"},)


def test_two_runs_of_one_row_are_both_shown(tmp_path, data):
    for name in ("a", "b"):
        report_fixture.make_run(tmp_path / name, data, DU)
    names = [row.name for row in read_rows([tmp_path / "a", tmp_path / "b", tmp_path / "a"])]
    assert names == [DU, f"{DU} ({tmp_path / 'b'})"]


def test_runs_on_two_data_sets_are_refused(tmp_path, data):
    other = report_fixture.make_dataset(tmp_path / "data", games=1)
    description = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(description | {"name": "other"}))
    runs = [
        report_fixture.make_run(tmp_path / name, root) for name, root in (("a", data), ("b", other))
    ]
    with pytest.raises(InputError, match=r"several sets of games, other \(test\), toy \(test\)"):
        write_report(runs, tmp_path)


def test_a_folder_without_runs(tmp_path):
    command = [sys.executable, "-m", "spotting.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "is no run directory" in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_finished(tmp_path, data):
    run = report_fixture.make_run(tmp_path / "run", data)
    (run / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"no training has a result yet: .*no metrics.json"):
        write_report([run], tmp_path)


# The page


def test_page_needs_no_network(report):
    text = (report / "report.html").read_text()
    assert not re.search(r'(?:src|href)="(?!#)|url\(|@import', text)
    assert 'id="timeline-data"' in text
    anchors = re.findall(r'href="#([^"]+)"', text)
    assert anchors
    assert all(text.count(f'id="{anchor}"') == 1 for anchor in anchors)


def test_every_label_is_inside_its_drawing(report):
    drawings = re.findall(r'<svg class="plot".*?</svg>', (report / "report.html").read_text())
    assert len(drawings) > 10
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        width, height = map(float, root.get("viewBox").split()[2:])
        for label in root.iter("text"):
            length = svg.text_width(label.text)
            shift = {"end": 1, "mid": 0.5}.get(
                next((c for c in ("end", "mid") if c in label.get("class").split()), ""), 0
            )
            left = float(label.get("x")) - shift * length
            assert left > -6, label.text
            assert left + length < width + 6, label.text
            assert 0 < float(label.get("y")) < height, label.text


def test_labels_of_lines_do_not_cover_each_other():
    lines = [curves.Line(f"m{i}", i, False, np.full((1, 20), 50.0 + i / 10)) for i in range(8)]
    drawing = ElementTree.fromstring(curves.draw_tolerances(lines, "x"))
    heights = [float(t.get("y")) for t in drawing.iter("text") if "name" in t.get("class")]
    assert len(heights) == 8
    assert np.diff(sorted(heights)).min() >= 14.9


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.2, 97), (-3, 44), (1e-5, 3e-5), (999, 1001)])
def test_ticks_are_round_and_inside(low, high):
    values = svg.ticks(low, high)
    assert 3 <= len(values) <= 12
    assert low <= values[0] + 1e-9
    assert values[-1] <= high + 1e-9
    assert np.ptp(np.diff(values)) < 1e-9


# Smaller things


def test_snapshot(study, data):
    path = write_snapshot(study / "own", "league/2026/match 1", 2)
    assert path == study / "own" / "timeline.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="no half 3"):
        write_snapshot(study / "own", number=3)


def test_a_split_without_actions_has_no_errors_to_show():
    nothing = SimpleNamespace(errors=np.zeros(0), looked_for=0)
    assert set(sections._summarize_errors([nothing])) == {tables.NONE}


@pytest.mark.parametrize("text", ["{}", '{"data": {}}', '{"data": 3}', "[]"])
def test_a_run_of_a_damaged_config_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json: no"):
        write_report([tmp_path], tmp_path)


def test_a_note_that_another_says_too_is_left_out():
    def row(*notes, epochs=1000, paper_row=DU):
        training = {"epochs": epochs, "chunks_per_epoch": 8192}
        configs = [{"scale_note": note, "training": training} for note in notes]
        runs = tuple(ReportedRun(Path("x"), config, {}, (), None) for config in configs)
        return ReportedRow("x", paper_row, Path("x"), runs, ())

    rows = [row("1/4 width", "1/4 width, 40 epochs"), row(""), row("1/2 width", "1/4 width")]
    assert scale_notes(rows) == ["1/4 width, 40 epochs", "1/2 width", "1 to 2 of 5 seeds"]
    assert scale_notes([row(*[""] * 5)]) == []
    # What a study planned says less than what is there; a run by itself has no note of its own.
    assert scale_notes([row("5 of 5 seeds", epochs=40)]) == ["40 of 1,000 epochs", "1 of 5 seeds"]
    assert scale_notes([row("", epochs=40, paper_row="")]) == []
