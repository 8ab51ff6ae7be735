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
from spotting.reporting import curves, details, paper, sections, svg, tables
from spotting.reporting.gains import measure_gains
from spotting.reporting.games import read_truth
from spotting.reporting.measures import TOLERANCES, measure
from spotting.reporting.model_card import write_model_card
from spotting.reporting.report import write_report
from spotting.reporting.runs import (
    WITH,
    WITHOUT,
    ReportedRow,
    ReportedRun,
    read_log,
    read_rows,
    read_run,
    scale_notes,
    summarize,
)
from spotting.reporting.snapshot import write_snapshot
from spotting.reporting.study import MeasuredRow

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


def test_rows_are_compared_with_the_one_named_base(tmp_path, data):
    for name, skill in (("ideas_base", 0.4), ("ideas_sharper", 0.9)):
        for seed in (0, 1):
            run = report_fixture.make_run(tmp_path / name / f"seed_{seed}", data, "", seed, skill)
            config = json.loads((run / "config.json").read_text())
            config["data"]["valid"] = "valid"
            config["anchors"] = {"confidence_radius": 3.0 if name == "ideas_base" else 1.5}
            # The base is of a version that had fewer fields.
            config |= {} if name == "ideas_base" else {"confidence": {"idea": 0.0, "other": 0.1}}
            (run / "config.json").write_text(json.dumps(config))
    write_report([tmp_path], tmp_path)
    text = (tmp_path / "report.md").read_text()
    part = text.partition("## Gain over ideas_base")[2].partition("\n## ")[0]
    assert "| ideas_base | 2" not in part
    valid, test, *changes = (line for line in part.splitlines() if line.startswith("| ideas"))
    number = r"\+\d+\.\d ± \d+\.\d \[\+\d+\.\d, \+\d+\.\d\]"
    assert re.fullmatch(rf"\| ideas_sharper \| 2 \| {number} \| {number} \| 1.00 \|", test)
    # The data set has no validation split.
    assert valid == f"| ideas_sharper {f'| {tables.NONE} ' * 3}| 1.00 |"
    assert "Not compared" in part
    assert changes == [
        "| ideas_sharper | anchors.confidence_radius | 3 | 1.5 |",
        f"| ideas_sharper | confidence.other | {tables.NONE} | 0.1 |",
    ]


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
    results = (tmp_path / "report.md").read_text()
    assert "| run | " in results
    assert "| run w/o D |" not in results  # as of a system that has no displacement


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


# Other data, one seed, intervals


def add_to_metrics(run: Path, **values):
    metrics = json.loads((run / "metrics.json").read_text())
    for variant, value in values.items():
        metrics["test"].setdefault(variant, {}).update(value)
    (run / "metrics.json").write_text(json.dumps(metrics))


def test_rows_on_other_data_bear_its_name_not_the_papers_features(report, study):
    text = (report / "report.md").read_text()
    html_text = (report / "report.html").read_text()
    assert "| DU+SAM+mixup | toy |" in text
    assert "<option>DU on toy</option>" in html_text
    assert "parameters, paper" not in text
    assert "17.5M" not in text
    for name in ("DU ResNet+PCA", "DU+SAM+mixup ResNet+PCA"):
        assert name not in text


def test_parameters_come_from_the_log(tmp_path, data):
    run = report_fixture.make_run(tmp_path / "run", data, DU)
    with open(run / "log.jsonl", "a") as log:
        print('{"kind": "model", "model": "confidence", "parameters": 1121002}', file=log)
    write_report([run], tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| 1.12M |" in text
    assert "| parameters, confidence | 1,121,002 |" in text


def test_epochs_are_measured_by_the_papers_only_on_its_data():
    config = {"scale_note": "1/4 width", "training": {"epochs": 40, "chunks_per_epoch": 8192}}
    row = ReportedRow("x", DU, Path("x"), (ReportedRun(Path("x"), config, {}),))
    assert scale_notes([row], is_paper_data=False) == ["1/4 width"]
    assert scale_notes([row]) == ["1/4 width, 40 of 1,000 epochs", "1 of 5 seeds"]


def test_a_study_scaled_twice_says_the_product_once():
    assert paper.multiply_sizes("1/4 width", 0.25) == ["1/16 width"]
    assert paper.multiply_sizes("1/4 width, DTEB at 1/3 depth", 1, 0.5) == [
        "1/4 width",
        "DTEB at 1/6 depth",
    ]
    assert paper.multiply_sizes("", 0.25, 0.5) == ["1/4 width", "transformers at 1/2 depth"]
    assert paper.multiply_sizes("1/4 width, own words", 4) == ["own words"]
    assert paper.scale_notes(6, 2048, 40, 2048) == ["6 of 40 epochs"]


def test_one_seed_is_not_said_to_be_a_mean(tmp_path, data):
    run = report_fixture.make_run(tmp_path / "run", data)
    text = write_report([run], tmp_path).read_text() + (tmp_path / "report.md").read_text()
    assert "over seeds" not in text
    assert "each seed" not in text.replace("from the seeds", "")


def test_intervals_and_the_ceiling(tmp_path, data):
    run = report_fixture.make_run(tmp_path / "run", data)
    interval = {"interval": {"loose": [61.04, 75.96], "tight": [40.0, 50.0]}}
    add_to_metrics(run, with_displacement=interval, oracle={"loose": 99.5, "tight": 97.25})
    write_report([run], tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert re.search(
        r"\| run \| \d+\.\d \[61\.0, 76\.0\] \| \d+\.\d \[40\.0, 50\.0\] \| 1 \|", text
    )
    assert "95 % interval, bootstrap over games" in text
    assert "a perfect model would output it: 99.5, tight 97.2" in text


def test_settings_time_and_machine(tmp_path, data):
    run = report_fixture.make_run(tmp_path / "run", data)
    entries = [
        {"kind": "start", "device": "cpu", "device_count": 2, "versions": {"jax": "0.10.2"}},
        {"kind": "train"},
        {"kind": "start"},
        {"kind": "test"},
    ]
    times = ("10:00:00", "10:01:00", "11:00:00", "11:00:40")
    lines = [
        json.dumps(entry | {"time": f"2026-01-01T{time}+00:00"})
        for entry, time in zip(entries, times, strict=True)
    ]
    (run / "log.jsonl").write_text("\n".join(lines))
    write_report([run], tmp_path)
    text = (tmp_path / "report.md").read_text()
    for line in ("| time | 1 min 40 s |", "| device | 2 x cpu |", "| jax | 0.10.2 |"):
        assert line in text
    assert "| training.epochs | 40 |" in text


# Names and numbers of any kind


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory, data):
    return report_fixture.make_run(tmp_path_factory.mktemp("plain") / "run", data)


HOSTILE = "<script>alert(1)</script> $\\frac$ \"'\n\x1b[2J|`x`[a](b)"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run on data whose names have HTML, mathtext, quotes and control characters."""
    root = report_fixture.make_dataset(tmp_path_factory.mktemp("hostile") / "data", games=1)
    path = root / "dataset.json"
    description = json.loads(path.read_text())
    labels = next(root.glob("league/*/*/Labels-v2.json"))
    text = json.loads(labels.read_text())
    for entry in text["annotations"]:
        entry["label"] = HOSTILE if entry["label"] == "Goal" else entry["label"]
    labels.write_text(json.dumps(text))
    game = "league/2026/$x_{2$ <b>&"
    (root / "league/2026/match 0").rename(root / game)
    description |= {"name": HOSTILE, "classes": [HOSTILE, "Foul", "Corner"]}
    description["splits"] = {"test": [game]}
    path.write_text(json.dumps(description))
    return report_fixture.make_run(root.parent / "run", root)


def test_names_are_escaped_in_page_and_markdown(hostile, tmp_path):
    page = write_report([hostile], tmp_path).read_text()
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    text = (tmp_path / "report.md").read_text()
    assert "<script" not in text
    assert "\x1b" not in text
    assert "[a](b)" not in text
    tables_of_classes = [line for line in text.splitlines() if line.startswith("| &lt;script")]
    assert tables_of_classes
    assert all(line.count("|") - line.count("\\|") == 3 for line in tables_of_classes)


def test_names_are_no_formulas_in_the_figure(hostile):
    assert write_snapshot(hostile).read_bytes().startswith(b"\x89PNG")


def test_a_figure_cut_short_leaves_the_old_one(hostile, monkeypatch):
    path = hostile / "timeline.png"
    path.write_bytes(b"old")

    def fail(figure, file, **_):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="No space"):
        write_snapshot(hostile)
    assert path.read_bytes() == b"old"
    assert not list(hostile.glob(".timeline*"))


@pytest.mark.parametrize(
    ("low", "high"),
    [(1e300, 1e300), (0, 0), (-1e308, 1e308), (1e16, 1e16 + 2), (5.0, 5.0), (1e-300, 2e-300)],
)
def test_ticks_never_fail(low, high):
    assert svg.ticks(low, high)
    axes = svg.Axes(0, 0, 100, 100, (low, high), (low, high))
    assert np.isfinite([axes.px(low), axes.py(high)]).all() or high - low > 1e307


@pytest.mark.parametrize("loss", [1e300, -1e300, 0.0, 1e-320, float("inf"), "many", None, [1]])
def test_losses_of_any_kind_are_drawn_or_left_out(tmp_path, plain_run, loss):
    run = shutil.copytree(plain_run, tmp_path / "run")
    entry = {"kind": "train", "model": "confidence", "loss": loss, "chunks_per_s": loss}
    lines = [json.dumps(entry | {"epoch": epoch}) for epoch in (1, 2, "x")]
    (run / "log.jsonl").write_bytes(b"\xff\xfe{\x80\n" + "\n".join(lines).encode())
    read = read_run(run)
    assert len(read.log) == 3
    details.make_details(MeasuredRow(ReportedRow("x", "", run, (read,)), {}), None)
    sections.make_settings_table([ReportedRow("x", "", run, (read,))])
    assert read.epoch_seconds() is None or loss not in ("many", None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", '{"test": 3}'),
        ("metrics.json", '{"test": {"with_displacement": []}}'),
        ("metrics.json", '{"test": {"with_displacement": {"loose": "x"}}}'),
        ("metrics.json", '{"test": {"with_displacement": {"per_class": {"Goal": 3}}}}'),
        ("metrics.json", '{"test": {"with_displacement": {"interval": {"loose": [1]}}}}'),
        ("thresholds.json", '{"Goal": "x"}'),
        ("config.json", '{"data": {"root": 3, "test": "test"}}'),
        ("config.json", '{"data": {"root": "", "test": ["test"]}}'),
        ("config.json", '{"data": {"root": "", "test": "test"}, "training": {"epochs": "x"}}'),
        ("config.json", '{"data": {"root": "", "test": "test"}, "paper_row": 3}'),
    ],
)
def test_wrong_types_in_a_run_are_named(tmp_path, plain_run, name, content):
    run = shutil.copytree(plain_run, tmp_path / "run")
    (run / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(name)) as error:
        read_run(run)
    assert "\n" not in str(error.value)


def test_extra_time_is_in_the_truth(tmp_path):
    root = report_fixture.make_dataset(tmp_path / "data", games=1)
    game = root / "league/2026/match 0"
    shutil.copy(game / "2_toy.npy", game / "3_toy.npy")
    run = report_fixture.make_run(tmp_path / "run", root)
    truth = read_truth(read_run(run))
    assert [half.number for half in truth.halves] == [1, 2, 3]
    assert truth.halves[2].seconds == 300


def test_model_card(hostile):
    yaml = pytest.importorskip("yaml")
    add_to_metrics(hostile, with_displacement={"interval": {"loose": [10, 20], "tight": [1, 2]}})
    shutil.copy(hostile.parent / "data" / "dataset.json", hostile)
    text = write_model_card(hostile).read_text()
    assert text.startswith("---\n")
    front, body = text[4:].split("\n---\n", 1)
    metadata = yaml.safe_load(front)
    result = metadata["model-index"][0]["results"][0]
    metrics = json.loads((hostile / "metrics.json").read_text())["test"]["with_displacement"]
    assert result["metrics"][0]["value"] == round(metrics["loose"], 2)
    assert result["dataset"]["name"] == HOSTILE
    assert "<script" not in body
    assert "[10.0, 20.0]" in body
    assert "features `toy`: 4 values a frame, 2 frames per second" in body
    assert "Apache-2.0" in body
    assert str(hostile.parent) not in text
