"""The review's page in a real browser: all that a person does there, and what then is saved."""

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from review_fixture import CLASSES, GAME, ROOT, Server, write_spots, write_video

from spotting.data.annotations import LABELS_FILE, read_events, read_results
from spotting.data.exports import FORMATS, make_webvtt
from spotting.reporting.review.store import STATE_FILE

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium; apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")

FLAGS = [
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
]
HALVES = ("--halves", "0-0:12,0:12-0:24")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def browser(chromium) -> Iterator[Any]:
    """A profile of its own, empty."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "match.mp4", 24)


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[..., Server]]:
    """Starts servers, and ends them with the test."""
    servers = []

    def start(*arguments, command: str = "review") -> Server:
        server = Server(*arguments, command=command, cache=tmp_path / "cache")
        servers.append(server.start())
        return server

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


def _open(browser: Any, address: str) -> Any:
    page = browser.new_page()
    page.goto(address)
    _wait(page, "window.review")
    return page


def _wait(page: Any, condition: str, seconds: float = 60) -> None:
    """Waits until an expression is true. Playwright's own way is against the page's policy."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(sync_api.Error):  # A page that loads anew cannot answer.
            if page.evaluate(condition):
                return
        assert time.monotonic() < until, condition
        page.wait_for_timeout(30)


def _errors(page: Any) -> list[str]:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def _saved(page: Any) -> None:
    _wait(page, "document.getElementById('saved').textContent === 'Saved'")


def _current(page: Any) -> dict:
    return page.evaluate("review.current()")


def _events(folder: Path) -> list[tuple[int, str, float]]:
    return [(e.half, e.label, e.position) for e in read_events(folder / LABELS_FILE)]


def test_a_match_is_looked_at_and_corrected(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    server = serve("--spots", folder, "--video", video, *HALVES)
    page = _open(browser, server.address)
    errors = _errors(page)
    _wait(page, "review.video.video.readyState >= 2")
    _saved(page)

    # Play and seek.
    page.keyboard.press("Space")
    _wait(page, "review.video.ms > review.current().position + 400")
    page.keyboard.press("Space")
    assert page.evaluate("review.video.video.paused")
    page.click("#timeline", position={"x": 600, "y": 40})
    clicked = page.evaluate("review.video.ms")
    assert 3000 < clicked < 8000
    _wait(page, f"Math.abs(review.video.video.currentTime * 1000 - {clicked}) < 50")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("review.video.ms") % 40 == 0
    assert 0 < page.evaluate("review.video.ms") - clicked <= 40

    # Next and previous spot; the picture follows.
    page.keyboard.press("p")
    first = _current(page)
    page.keyboard.press("n")
    second = _current(page)
    assert (second["half"], second["position"]) > (first["half"], first["position"])
    page.keyboard.press("p")
    assert _current(page)["id"] == first["id"]
    start = 12 * (first["half"] - 1)
    _wait(
        page,
        f"Math.abs(review.video.video.currentTime - {start} - {first['position'] / 1000}) < 0.05",
    )

    # Play around it, and back.
    page.keyboard.press("g")
    _wait(page, "review.video.isPlaying")
    _wait(page, "!review.video.isPlaying")
    assert page.evaluate("review.video.ms") == first["position"]

    # Accept: the next one is selected.
    page.keyboard.press("a")
    assert page.evaluate(f"review.spots.get('{first['id']}').status") == "confirmed"
    moved = _current(page)
    assert moved["id"] != first["id"]
    _saved(page)
    assert _events(folder) == [(first["half"], first["label"], first["position"] / 1000)]

    # Move by a frame, relabel, accept.
    page.keyboard.press(".")
    page.keyboard.press(".")
    frames = round(_current(page)["position"] * 25 / 1000) - moved["position"] * 25 // 1000
    assert frames == 2
    page.keyboard.press(",")
    assert _current(page)["position"] % 40 == 0
    page.keyboard.press("c")
    page.click("#palette button:has-text('Corner')")
    assert _current(page)["label"] == "Corner"
    position = _current(page)["position"]
    page.keyboard.press("Enter")
    _saved(page)
    assert (moved["half"], "Corner", position / 1000) in _events(folder)

    # Reject, undo, redo.
    rejected = _current(page)["id"]
    page.keyboard.press("r")
    assert page.evaluate(f"review.spots.get('{rejected}').status") == "rejected"
    page.keyboard.press("Control+z")
    assert page.evaluate(f"review.spots.get('{rejected}').status") == "candidate"
    page.keyboard.press("Control+y")
    assert page.evaluate(f"review.spots.get('{rejected}').status") == "rejected"

    # Add one, in the other half, by its class's key; move it to the playhead; undo the addition.
    page.click("#halves button >> nth=1")
    page.evaluate("review.video.seek(2, 5000)")
    goal = page.evaluate("review.spots.data.classes.indexOf('Goal')") + 1
    page.keyboard.press(str(goal))
    assert _current(page)["half"] == 2
    page.evaluate("review.video.seek(2, 6400)")
    page.keyboard.press("m")
    _saved(page)
    assert (2, "Goal", 6.4) in _events(folder)
    page.keyboard.press("i")
    page.keyboard.press("1")
    assert len(_wait_events(page, folder)) == 4
    page.keyboard.press("u")
    _saved(page)
    assert len(_events(folder)) == 3

    # Reload: nothing is lost.
    before = page.evaluate("[...review.spots.items.values()]")
    page.reload()
    _wait(page, "window.review")
    assert page.evaluate("[...review.spots.items.values()]") == before
    _saved(page)
    assert errors == []


def _wait_events(page: Any, folder: Path) -> list:
    _saved(page)
    return _events(folder)


def test_filters(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots", 40)
    page = _open(browser, serve("--spots", folder, "--video", video, *HALVES).address)
    spots = read_results(folder / "results_spotting.json")

    def shown() -> int:
        return page.evaluate("review.spots.shown().length")

    assert shown() == sum(spot.confidence >= 0.5 for spot in spots)
    page.fill("#threshold", "0.8")
    assert shown() == sum(spot.confidence >= 0.8 for spot in spots)
    page.keyboard.press("Escape")
    page.keyboard.press("[")
    assert page.evaluate("review.spots.threshold") == 0.75
    page.click(".classes summary")
    page.click("#no-classes")
    assert shown() == 0
    assert "No spot with these filters" in page.inner_text("#list")
    page.check("#classes input[value='Goal']")
    assert shown() == sum(s.confidence >= 0.75 and s.label == "Goal" for s in spots)
    page.click("#all-classes")
    page.keyboard.press("r")
    page.uncheck("[data-status=candidate]", force=True)
    page.check("[data-status=rejected]", force=True)
    assert shown() == 1


def test_killed_server_loses_nothing(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    arguments = ("--spots", folder, "--video", video, *HALVES)
    server = serve(*arguments)
    page = _open(browser, server.address)
    page.keyboard.press("a")
    _saved(page)
    # Killed while it saves: the change is under way.
    page.keyboard.press("a")
    server.stop(signal.SIGKILL)
    page.keyboard.press("a")
    page.keyboard.press("r")
    page.wait_for_selector("#notice:has-text('kept in this browser')")
    items = page.evaluate("[...review.spots.items.values()]")
    # The tab is closed, and later opened with a new server: it takes up what was not saved.
    page.close()
    again = serve(*arguments)
    assert again.address == server.address
    page = _open(browser, again.address)
    _saved(page)
    assert page.evaluate("[...review.spots.items.values()]") == items
    assert len(_events(folder)) == 3
    # A tab that stayed open finds the server again by itself.
    again.stop(signal.SIGKILL)
    page.keyboard.press("a")
    page.wait_for_selector("#notice:has-text('no connection')")
    serve(*arguments)
    _wait(page, "document.getElementById('saved').textContent === 'Saved'")
    assert page.is_hidden("#notice")
    assert len(_events(folder)) == 4


def test_closing_the_tab_at_once_loses_nothing(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    address = serve("--spots", folder, "--video", video, *HALVES).address
    page = _open(browser, address)
    _saved(page)
    page.keyboard.press("a")
    page.close()
    page = _open(browser, address)
    _saved(page)
    assert len(_events(folder)) == 1


def test_the_second_window_is_told(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    address = serve("--spots", folder, "--video", video, *HALVES).address
    first = _open(browser, address)
    second = _open(browser, address)
    assert "open in another window" in second.inner_text("#notice")
    second.keyboard.press("a")
    assert second.evaluate("review.spots.confirmed().length") == 0
    with second.expect_navigation():
        second.click("#notice-button")
    _wait(second, "window.review?.saving.pen")
    second.keyboard.press("a")
    _saved(second)
    _wait(first, "!review.saving.pen")
    assert "open in another window" in first.inner_text("#notice")


def test_disk_full_is_said_and_saved_later(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    page = _open(browser, serve("--spots", folder, "--video", video, *HALVES).address)
    _saved(page)
    answer = {"error": "spots: nothing can be written there: No space left on device"}
    page.route("**/changes", lambda route: route.fulfill(status=507, json=answer))
    page.keyboard.press("a")
    page.wait_for_selector("#notice:has-text('No space left on device')")
    assert page.inner_text("#saved") == "Not saved"
    page.unroute("**/changes")
    _saved(page)
    assert len(_events(folder)) == 1


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "words"),
    [
        ("match.mp4", "libx265", "yuv420p", ("HEVC", "-c:v libx264")),
        ("match.avi", "libx264", "yuv420p", ("avi files", "-c:v copy")),
        ("match.mkv", "libx265", "yuv420p10le", ("HEVC", "-c:v libx264")),
    ],
)
def test_works_without_the_picture(browser, serve, tmp_path, name, codec, pixels, words):
    folder = write_spots(tmp_path / "spots")
    path = write_video(tmp_path / name, 24, codec, pixels)
    page = _open(browser, serve("--spots", folder, "--video", path, *HALVES).address)
    page.wait_for_selector("#no-picture")
    assert words[0] in page.inner_text("#problem")
    assert words[1] in page.inner_text("#command")
    page.keyboard.press(".")
    page.keyboard.press("a")
    _saved(page)
    assert len(_events(folder)) == 1


def test_vp9_plays(browser, serve, tmp_path):
    folder = write_spots(tmp_path / "spots", seconds=3)
    path = write_video(tmp_path / "match.webm", 8, "libvpx-vp9")
    page = _open(browser, serve("--spots", folder, "--video", path, "--halves", "0-4,4-8").address)
    _wait(page, "review.video.video.readyState >= 2")
    assert page.is_hidden("#no-picture")


def test_annotate_writes_labels_to_train_on(browser, serve, video, tmp_path):
    dataset = tmp_path / "dataset.json"
    dataset.write_text(json.dumps({"classes": CLASSES}))
    output = tmp_path / "league" / "game"
    page = _open(
        browser,
        serve(
            *("--video", video, "--classes", dataset, "--output", output, *HALVES),
            command="annotate",
        ).address,
    )
    _wait(page, "review.video.video.readyState >= 2")
    for key, ms in (("1", 2000), ("2", 4480), ("5", 7000)):
        page.evaluate(f"review.video.seek(1, {ms})")
        page.keyboard.press(key)
    page.keyboard.press("h")
    _saved(page)
    assert _events(output) == [(1, "Goal", 2.0), (1, "Corner", 4.48), (1, "Shots on target", 7.0)]
    assert [event.visible for event in read_events(output / LABELS_FILE)] == [True, True, False]


def test_every_action_has_a_key(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    page = _open(browser, serve("--spots", folder, "--video", video, *HALVES).address)
    page.keyboard.press("?")
    text = page.inner_text("#help-dialog")
    for words in ("accept", "reject", "one frame earlier", "playhead", "class", "undo", "zoom"):
        assert words in text
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    assert page.is_visible("#export-dialog")
    page.keyboard.press("Escape")
    # Everything that can be pressed has a name and can be reached.
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, select, input, [role=listbox], .lanes")]
          .filter((e) => !(e.hidden || e.ariaLabel || e.textContent.trim() || e.labels?.length))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")


def test_chapters_load_as_a_track(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    page = _open(browser, serve("--spots", folder, "--video", video, *HALVES).address)
    for _ in range(4):
        page.keyboard.press("a")
    _saved(page)
    cues = page.evaluate(
        """async () => {
          const files = await (await fetch("export/webvtt")).json();
          const track = document.createElement("track");
          Object.assign(track, { kind: "chapters", default: true });
          track.src = URL.createObjectURL(new Blob([files["chapters.vtt"]], { type: "text/vtt" }));
          const loaded = new Promise((done) => track.addEventListener("load", done));
          review.video.video.append(track);
          track.track.mode = "hidden";
          await loaded;
          return [...track.track.cues].map((cue) => [cue.startTime, cue.text]);
        }"""
    )
    confirmed = _events(folder)
    assert cues == [[12 * (half - 1) + position, label] for half, label, position in confirmed]
    assert make_webvtt([], {}) == "WEBVTT\n"


def test_exports_are_downloaded(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    page = _open(browser, serve("--spots", folder, "--video", video, *HALVES).address)
    # A save that is under way when the export is asked for lacks what was confirmed since.
    page.evaluate(
        """() => {
          const send = window.fetch;
          window.fetch = async (address, options) => {
            const slow = String(address).endsWith("changes");
            if (slow) await new Promise((done) => setTimeout(done, 1000));
            return send(address, options);
          };
        }"""
    )
    page.keyboard.press("a")
    while not page.evaluate("review.saving.busy"):
        page.wait_for_timeout(20)
    for _ in range(2):
        page.keyboard.press("a")
    page.keyboard.press("e")
    with page.expect_download() as download:
        page.click("[data-format=sportscode]")
    assert download.value.suggested_filename == "sportscode.xml"
    assert Path(download.value.path()).read_bytes().count(b"<instance>") == 3
    page.click("[data-format=clips]")
    page.wait_for_selector("#export-said:has-text('3 clips in')")
    assert len(list((folder / "clips").iterdir())) == 3


def test_one_file_without_a_server(browser, video, tmp_path):
    """It plays, keeps what is decided, and exports what the server's Python would."""
    folder = write_spots(tmp_path / "spots")
    path = tmp_path / "review.html"
    arguments = ["--spots", folder, "--video", video, *HALVES, "--page", path]
    command = [sys.executable, "-m", "spotting.review", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert not (folder / STATE_FILE).exists()
    page = _open(browser, path.as_uri())
    _wait(page, "review.video.video.readyState >= 2")
    page.keyboard.press("a")
    page.keyboard.press(".")
    page.keyboard.press("a")
    page.evaluate("review.video.seek(2, 5000)")
    page.keyboard.press("1")
    assert page.inner_text("#saved") == "Kept in this browser"
    page.reload()
    _wait(page, "window.review")
    assert page.evaluate("review.spots.confirmed().length") == 3

    names = ("labels", *FORMATS)
    ours = page.evaluate(
        "(names) => names.map((name) => formats.files(name, review.spots, 7, 5))", list(names)
    )
    page.keyboard.press("e")
    with page.expect_download() as download:
        page.click("[data-format=state]")
    # The review command goes on from the file that the page gave.
    shutil.copy(download.value.path(), folder / STATE_FILE)
    arguments = ["--spots", folder, "--video", video, *HALVES, "--export", ",".join(FORMATS)]
    command = [sys.executable, "-m", "spotting.review", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    for files in ours[1:]:
        for name, text in files.items():
            theirs = (folder / "exports" / name).read_text()
            if name.endswith(".json"):
                assert json.loads(text) == json.loads(theirs)
            else:
                assert text == theirs
    labels = json.loads(ours[0][LABELS_FILE])
    assert labels["UrlLocal"] == GAME
    assert len(labels["annotations"]) == 3


def test_five_thousand_spots_are_fluid(browser, serve, video, tmp_path):
    folder = write_spots(tmp_path / "spots", 5000, seconds=11.5)
    page = _open(
        browser,
        serve("--spots", folder, "--video", video, *HALVES, "--threshold", "0").address,
    )
    assert page.evaluate("review.spots.shown().length") == 5000
    assert page.evaluate("document.querySelectorAll('.row').length") < 60
    drawn = page.evaluate(
        """async () => {
          const times = [];
          for (let k = 0; k < 60; k++) {
            review.lanes.zoom(k % 2 ? 0.9 : 1.1, 3000 + 50 * k);
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            times.push(review.lanes.drawn);
          }
          return times;
        }"""
    )
    decided = page.evaluate(
        """() => {
          const times = [];
          for (let k = 0; k < 20; k++) {
            const began = performance.now();
            document.dispatchEvent(new KeyboardEvent("keydown", { key: "a" }));
            times.push(performance.now() - began);
          }
          return times;
        }"""
    )
    print(
        f"5,000 spots: the timeline is drawn in {statistics.median(drawn):.1f} ms (median), "
        f"a decision takes {statistics.median(decided):.1f} ms"
    )
    # A picture of the screen lasts 16.7 ms. Where others use the cores too, the best tenth tells.
    assert statistics.quantiles(drawn, n=10)[0] < 17
    assert statistics.quantiles(decided, n=10)[0] < 17


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_the_screen(browser, serve, video, tmp_path, width, scheme):
    folder = write_spots(tmp_path / "spots", 60)
    page = browser.new_page()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(serve("--spots", folder, "--video", video, *HALVES).address)
    _wait(page, "window.review")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """[...document.querySelectorAll("button, select")].filter((e) => e.offsetParent)
          .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.id)"""
    )
    assert outside == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, background[4:-1].split(","))) > 382
    assert light is (scheme == "light")
