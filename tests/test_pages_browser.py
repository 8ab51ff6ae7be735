"""The report's and the timeline's pages in a real browser: on a phone, and on paper."""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_fixture

from spotting.data.annotations import Event, Prediction
from spotting.reporting.report import write_report
from spotting.reporting.timeline import TimelineGame, TimelineHalf, write_timeline_page

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium; apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        flags = ["--disable-gpu", *(["--no-sandbox"] if root else [])]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    run = report_fixture.make_run(folder / "run", report_fixture.make_dataset(folder / "data"))
    return write_report([run], folder)


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A game of two halves of 625 s: ticks of 10 minutes come close to the boundary."""
    events = [Event(1, "Goal", 300.0, 300.0, True)]
    halves = [
        TimelineHalf(half, 625.0, {"ours": [Prediction(half, "Goal", 300.0, 0.9)]}, events)
        for half in (1, 2)
    ]
    path = tmp_path_factory.mktemp("timeline") / "timeline.html"
    write_timeline_page(path, [TimelineGame("a", halves)], ["Goal", "Corner"])
    return path


@pytest.fixture
def phone(chromium) -> Iterator[Any]:
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    context.set_default_timeout(60000)
    yield context
    context.close()


def test_no_page_is_wider_than_a_phone(phone, report, timeline):
    for path in (report, timeline):
        page = phone.new_page()
        page.goto(path.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0


def test_each_half_has_the_label_of_its_start(phone, timeline):
    page = phone.new_page()
    page.goto(timeline.as_uri())
    page.locator(".timeline select").nth(1).select_option(label="both")
    labels = page.locator("text.tick.mid").filter(has_text=":")
    texts = labels.all_text_contents()
    assert texts.count("00:00") == 2
    boxes = sorted(
        (box["x"], box["x"] + box["width"])
        for box in (label.bounding_box() for label in labels.all())
    )
    assert all(left[1] < right[0] for left, right in itertools.pairwise(boxes))


def test_two_fingers_zoom(phone, timeline):
    page = phone.new_page()
    page.goto(timeline.as_uri())
    lanes = page.locator(".timeline .lanes").first
    lanes.scroll_into_view_if_needed()
    box = lanes.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 20
    devtools = phone.new_cdp_session(page)

    def touch(kind: str, apart: float | None = None) -> None:
        points = (
            [{"x": x + sign * apart, "y": y, "id": sign + 1} for sign in (-1, 1)] if apart else []
        )
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 20)
    for apart in range(25, 90, 5):
        touch("touchMove", apart)
    touch("touchEnd")
    page.wait_for_function("location.hash.includes('from=')")
    assert page.evaluate("window.visualViewport.scale") == 1


def test_paragraphs_and_short_tables_stay_in_one_piece_on_paper(chromium, report):
    page = chromium.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    broken = "(all) => all.filter((one) => getComputedStyle(one).breakInside != 'avoid').length"
    assert page.locator("p").evaluate_all(broken) == 0
    tables = page.locator("table")
    assert tables.count() > 3
    assert tables.evaluate_all(broken) == tables.evaluate_all(
        "(all) => all.filter((one) => one.rows.length > 25).length"
    )
    page.close()
