"""The review's files and its server: what is decided is kept, and nobody else gets in."""

import errno
import http.client
import json
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from review_fixture import CLASSES, GAME, ROOT, Server, write_spots, write_video

from spotting.base.errors import InputError
from spotting.data.annotations import LABELS_FILE, SOCCERNET_CLASSES, Prediction, read_events
from spotting.data.exports import make_exports, write_exports
from spotting.reporting.review import match as matches
from spotting.reporting.review import store as stores
from spotting.reporting.review.match import Match, Span, place_halves, read_spots
from spotting.reporting.review.playable import VideoFacts, read_video_facts
from spotting.reporting.review.server import Pen
from spotting.reporting.review.store import Conflict, Store

HALVES = "0-0:12,0:12-0:24"


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "match.mp4", 24)


def _facts(name="match.mp4", seconds: float | None = 24.0) -> VideoFacts:
    return VideoFacts(Path(name), "video/mp4", 25.0, seconds, "", "")


def _match(game="league/game", count=6) -> Match:
    spots = [
        Prediction(1 + k % 2, CLASSES[k % len(CLASSES)], 1.5 * k + 0.04, 0.9 - 0.1 * k)
        for k in range(count)
    ]
    halves = place_halves([_facts()], [Span(0, 12), Span(12, 24)], spots, None)
    return Match(game, CLASSES, (_facts(),), halves, tuple(spots))


def _fields(store: Store, key: str, **changes) -> dict:
    item = store.items[key]
    names = ("half", "position", "label", "status", "visible")
    return {name: item[name] for name in names} | changes


def _confirm(store: Store, key: str, **changes) -> int:
    values = {key: _fields(store, key, status="confirmed", **changes)}
    return store.apply(store.revision, values)


def _history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / stores.HISTORY_FILE).read_text().splitlines()]


# The store


def test_candidates_stay_apart_until_confirmed(tmp_path):
    store = Store(tmp_path, _match())
    assert not (tmp_path / LABELS_FILE).exists()
    _confirm(store, "s3", position=4540, label="Goal")
    (event,) = read_events(tmp_path / LABELS_FILE)
    assert (event.half, event.label, event.position, event.visible) == (2, "Goal", 4.54, True)
    document = json.loads((tmp_path / LABELS_FILE).read_text())
    assert document["UrlLocal"] == "league/game"
    assert document["annotations"][0]["gameTime"] == "2 - 0:05"
    store.apply(store.revision, {"s3": _fields(store, "s3", status="rejected")})
    assert read_events(tmp_path / LABELS_FILE) == []
    store.close()


def test_a_review_resumes(tmp_path):
    store = Store(tmp_path, _match())
    _confirm(store, "s1")
    added = {
        "half": 1,
        "position": 7000,
        "label": "Corner",
        "status": "confirmed",
        "visible": False,
    }
    store.apply(store.revision, {"a1x": added, "s2": _fields(store, "s2", status="rejected")})
    items, revision = store.items, store.revision
    store.close()
    again = Store(tmp_path, _match())
    assert (again.items, again.revision) == (items, revision)
    assert again.items["a1x"]["by"] == "person"
    assert [moment.confidence for moment in again.confirmed()] == [None, 0.8]
    again.apply(revision, {"a1x": None})
    assert "a1x" not in again.items
    again.close()


def test_history_holds_every_change(tmp_path):
    store = Store(tmp_path, _match())
    before = store.items["s0"]
    _confirm(store, "s0", position=80)
    _confirm(store, "s1")
    store.close()
    # A killed process may leave half a line.
    with (tmp_path / stores.HISTORY_FILE).open("a") as file:
        file.write('{"time": "2026')
    store = Store(tmp_path, _match())
    _confirm(store, "s2")
    store.close()
    lines = (tmp_path / stores.HISTORY_FILE).read_text().splitlines()
    assert len(lines) == 4
    whole = [json.loads(line) for line in (*lines[:2], lines[3])]
    assert [entry["revision"] for entry in whole] == [1, 2, 3]
    assert whole[0]["changes"] == [{"id": "s0", "before": before, "after": store.items["s0"]}]


def test_changes_to_an_old_revision_are_refused(tmp_path):
    store = Store(tmp_path, _match())
    _confirm(store, "s0")
    with pytest.raises(Conflict):
        store.apply(0, {"s1": _fields(store, "s1", status="confirmed")})
    assert store.items["s1"]["status"] == "candidate"
    store.close()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("../x", {}, "no spot's id"),
        ("s99", {"half": 1}, "there is no spot s99"),
        ("s0", None, "rejected, but not removed"),
        ("s0", {"half": 1}, "are needed"),
        ("s0", {"half": 3}, "no half of this match"),
        ("s0", {"half": "1"}, "no half of this match"),
        ("s0", {"position": -1}, "no time"),
        ("s0", {"position": 1.5}, "no time"),
        ("s0", {"position": 1 << 60}, "no time"),
        ("s0", {"label": "Nothing"}, "no class here"),
        ("s0", {"label": ""}, "no class"),
        ("s0", {"status": "maybe"}, "no status"),
        ("s0", {"visible": 1}, "no status"),
    ],
)
def test_senseless_changes_change_nothing(tmp_path, key, value, reason):
    store = Store(tmp_path, _match())
    if value and len(value) == 1 and key == "s0" and reason != "are needed":
        value = _fields(store, "s0") | value
    if reason == "are needed":
        value = {"half": 1}
    before = dict(store.items)
    with pytest.raises(InputError, match=reason):
        store.apply(0, {"s1": _fields(store, "s1", status="confirmed"), key: value})
    assert store.items == before
    assert not (tmp_path / stores.STATE_FILE).exists()
    store.close()


def _write_labels(folder: Path) -> dict:
    event = {"gameTime": "2 - 0:03", "label": "Goal", "position": "3100", "team": "home"}
    document = {"UrlYoutube": "x", "annotations": [event | {"visibility": "not shown"}]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LABELS_FILE).write_text(json.dumps(document))
    return document


def test_labels_of_others_are_not_replaced_without_a_word(tmp_path):
    _write_labels(tmp_path)
    before = (tmp_path / LABELS_FILE).read_bytes()
    with pytest.raises(InputError, match="--existing=open begins with them"):
        Store(tmp_path, _match())
    assert (tmp_path / LABELS_FILE).read_bytes() == before


def test_labels_of_others_are_opened_with_all_that_they_hold(tmp_path):
    document = _write_labels(tmp_path)
    store = Store(tmp_path, _match(), existing="open")
    _confirm(store, "s0")
    store.close()
    after = json.loads((tmp_path / LABELS_FILE).read_text())
    assert after["UrlYoutube"] == "x"
    assert after["annotations"][1] == document["annotations"][0]
    assert _history(tmp_path)[0]["labels_before"] == document
    Store(tmp_path, _match()).close()


def test_labels_of_others_are_replaced_with_a_copy_in_the_history(tmp_path):
    document = _write_labels(tmp_path)
    store = Store(tmp_path, _match(), existing="replace")
    _confirm(store, "s0")
    store.close()
    assert len(read_events(tmp_path / LABELS_FILE)) == 1
    assert _history(tmp_path)[0]["labels_before"] == document


def test_labels_changed_by_another_program_are_noticed(tmp_path):
    store = Store(tmp_path, _match())
    _confirm(store, "s0")
    store.close()
    _write_labels(tmp_path)
    with pytest.raises(InputError, match="did not write"):
        Store(tmp_path, _match())


def test_restart_keeps_the_old_review_in_the_history(tmp_path):
    store = Store(tmp_path, _match())
    _confirm(store, "s0")
    store.close()
    store = Store(tmp_path, _match(), restart=True)
    assert store.confirmed() == []
    assert read_events(tmp_path / LABELS_FILE) == []
    store.close()
    old = _history(tmp_path)[-1]["restarted"]
    assert [item["id"] for item in old["items"] if item["status"] == "confirmed"] == ["s0"]


def test_the_second_person_is_told_who_is_there(tmp_path):
    store = Store(tmp_path, _match())
    with pytest.raises(InputError, match=r"under review already, by .+ on .+, process \d+, since"):
        Store(tmp_path, _match())
    store.close()
    Store(tmp_path, _match()).close()


def test_spots_of_another_match_are_refused(tmp_path):
    store = Store(tmp_path, _match())
    _confirm(store, "s0")
    store.close()
    with pytest.raises(InputError, match="the review of 'league/game', not of 'league/other'"):
        Store(tmp_path, _match("league/other"))


def test_changed_spots_are_mentioned(tmp_path):
    store = Store(tmp_path, _match(), "aa")
    _confirm(store, "s0")
    store.close()
    store = Store(tmp_path, _match(), "bb")
    assert "the spots have changed" in store.warnings[0]
    store.close()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 9}', '{"format": 1, "game": "x"}'])
def test_a_damaged_review_is_named(tmp_path, content):
    (tmp_path / stores.STATE_FILE).write_text(content)
    with pytest.raises(InputError, match=r"review\.json"):
        Store(tmp_path, _match())


@pytest.mark.parametrize("file", [stores.STATE_FILE, stores.HISTORY_FILE, LABELS_FILE])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, file):
    store = Store(tmp_path, _match())
    _confirm(store, "s0")
    whole = stores.atomic_file

    def fail(path):
        if Path(path).name == file:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return whole(path)

    def fail_history(self, entry):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stores, "atomic_file", fail)
        if file == stores.HISTORY_FILE:
            patch.setattr(Store, "_append_history", fail_history)
        with pytest.raises(OSError, match="No space left"):
            _confirm(store, "s1")
        assert len(read_events(tmp_path / LABELS_FILE)) == 1
    # There is room again: the page sends the same once more.
    _confirm(store, "s1", visible=False)
    assert len(read_events(tmp_path / LABELS_FILE)) == 2
    store.close()
    again = Store(tmp_path, _match())
    assert len(again.confirmed()) == 2
    again.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="nothing can be written there"):
        Store(tmp_path / "file", _match())


# Which match, which video


def test_halves_come_from_what_extract_wrote_down(tmp_path):
    halves = [
        {"half": 1, "video": "/far/match.mkv", "start": 1.0, "end": 11.0, "features": "x"},
        {"half": 2, "video": "/far/match.mkv", "start": 12.0, "end": 23.0, "features": "x"},
    ]
    (tmp_path / "extraction.json").write_text(json.dumps({"version": 1, "halves": halves}))
    placed = place_halves([_facts()], None, [Prediction(2, "Goal", 3.0, 0.5)], tmp_path)
    assert [(h.number, h.video, h.start, h.seconds) for h in placed] == [
        (1, 0, 1.0, 10.0),
        (2, 0, 12.0, 11.0),
    ]
    with pytest.raises(InputError, match=r"half 2 ends at 00:23\.000, but the video at 00:12\.500"):
        place_halves([_facts(seconds=12.5)], None, [], tmp_path)


def test_a_video_for_each_half():
    spots = [Prediction(1, "Goal", 3.0, 0.5), Prediction(2, "Goal", 3.0, 0.5)]
    placed = place_halves([_facts("1.mp4"), _facts("2.mp4")], None, spots, None)
    assert [(h.number, h.video, h.start) for h in placed] == [(1, 0, 0.0), (2, 1, 0.0)]


@pytest.mark.parametrize(
    ("videos", "spans", "spots", "reason"),
    [
        (1, None, [Prediction(2, "Goal", 3.0, 0.5)], "say where they lie in it with --halves"),
        (1, [Span(0, 12)], [Prediction(2, "Goal", 3.0, 0.5)], "of another match"),
        (1, None, [Prediction(1, "Goal", 300.0, 0.5)], "of another match"),
        (1, [Span(30, 40)], [], "but the video ends at 00:24.000"),
        (2, [Span(0, 12)], [], "there are several"),
        (5, None, [], "at most 4"),
    ],
)
def test_videos_that_do_not_fit_are_refused(videos, spans, spots, reason):
    with pytest.raises(InputError, match=reason):
        place_halves([_facts()] * videos, spans, spots, None)


def test_spans_are_parsed():
    assert matches.parse_spans("0:05:12-0:51:40,1:07:03.5-1:55:00") == [
        Span(312, 3100),
        Span(4023.5, 6900),
    ]
    for text in ("", "5", "10-5", "0-10,5-20", "a-b", "-1-5", "0-10,"):
        with pytest.raises(ValueError, match=r"^$"):
            matches.parse_spans(text)


def test_one_game_is_found_and_several_are_told(tmp_path):
    write_spots(tmp_path / "a")
    assert read_spots(tmp_path).game == GAME
    write_spots(tmp_path / "b")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="2 games in it; give the folder of one"):
        read_spots(tmp_path)
    with pytest.raises(InputError, match=r"no results_spotting\.json in it"):
        read_spots(empty)
    with pytest.raises(InputError, match="no such folder of spots"):
        read_spots(tmp_path / "c")


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "problem", "command"),
    [
        ("a.mp4", "libx264", "yuv420p", "", ""),
        ("a.webm", "libvpx-vp9", "yuv420p", "", ""),
        ("a b.mkv", "libx264", "yuv420p", "do not play mkv", "-c:v copy .*'.*a b.mp4'"),
        ("a.mp4", "libx265", "yuv420p", "HEVC", "-c:v libx264 .*yuv420p.* .*a_browser.mp4"),
        ("a.mp4", "libx264", "yuv420p10le", "10-bit H.264", "-c:v libx264 .*a_browser.mp4"),
    ],
)
def test_videos_that_browsers_do_not_play_come_with_a_command(
    tmp_path, name, codec, pixels, problem, command
):
    facts = read_video_facts(write_video(tmp_path / name, 1, codec, pixels))
    assert (problem in facts.problem) if problem else facts.problem == ""
    assert re.search(command, facts.command)
    assert facts.frame_rate == 25
    assert facts.seconds == pytest.approx(1, abs=0.1)
    if command:
        # The command does what it says.
        arguments = shlex.split(facts.command)
        arguments[0] = _ffmpeg()
        subprocess.run(arguments, check=True, capture_output=True)
        mended = read_video_facts(Path(arguments[-1]))
        assert mended.problem == ""


def _ffmpeg() -> str:
    path = shutil.which("ffmpeg")
    if path is None:
        pytest.skip("no ffmpeg")
    return path


def test_files_that_are_no_videos_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such video file"):
        read_video_facts(tmp_path / "none.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="not a video that can be read"):
        read_video_facts(tmp_path / "empty.mp4")


# The server


@pytest.fixture(scope="module")
def server(video, tmp_path_factory):
    folder = write_spots(tmp_path_factory.mktemp("served") / "spots")
    (folder / "secret.txt").write_text("secret")
    started = Server(
        *("--spots", folder, "--video", video, "--halves", HALVES),
        cache=tmp_path_factory.mktemp("cache"),
    ).start()
    started.folder = folder
    yield started
    started.stop()


def test_serves_the_page_with_its_parts(server):
    status, page, headers = server.request("GET", "")
    assert status == 200
    assert GAME.encode() in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    for name in ("review.css", "review.js", "model.js"):
        assert server.request("GET", f"assets/{name}")[0] == 200
    data = json.loads(server.request("GET", "data.json")[1])
    assert len(data["items"]) == 12
    assert [half["start"] for half in data["halves"]] == [0, 12]


def test_serves_parts_of_the_video(server, video):
    whole = video.read_bytes()
    status, content, headers = server.request("GET", "video/0", Range="bytes=100-299")
    assert (status, content) == (206, whole[100:300])
    assert headers["content-range"] == f"bytes 100-299/{len(whole)}"
    assert headers["content-type"] == "video/mp4"
    assert server.request("GET", "video/0", Range="bytes=-50")[1] == whole[-50:]
    assert server.request("GET", "video/0", Range="bytes=999999999-")[0] == 416
    assert server.request("GET", "video/0")[1] == whole
    assert server.request("GET", "video/1")[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_is_refused(server, host):
    for path in ("", "data.json", "video/0"):
        status, content, _ = server.request("GET", path, Host=host)
        assert status in (400, 403)
        assert b"position" not in content


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"]
)
def test_a_foreign_origin_is_refused(server, origin):
    body = {"window": "w", "revision": 0, "changes": {}}
    assert server.request("PUT", "changes", body, Origin=origin)[0] == 403
    assert server.request("GET", "data.json", Origin=origin)[0] == 403
    assert server.request("GET", "video/0", Sec_Fetch_Site="cross-site")[0] == 403
    own = f"http://127.0.0.1:{server.port}"
    assert server.request("GET", "data.json", Origin=own)[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/data.json", f"/{'0' * 32}/data.json", "/favicon.ico", "/video/0", "//", "/%00"],
)
def test_nothing_without_the_token(server, path):
    status, content, _ = server.request("GET", path)
    assert status == 404
    assert b"position" not in content


@pytest.mark.parametrize(
    "path",
    [
        "secret.txt",
        "../secret.txt",
        "assets/../../secret.txt",
        "assets/..%2f..%2fsecret.txt",
        "assets/%2e%2e/page.py",
        "assets//etc/passwd",
        "video//etc/passwd",
        "video/-1",
        "video/0/../../../etc/passwd",
        "export/../../../etc/passwd",
        "export/labels",
    ],
)
def test_no_path_but_the_matchs(server, path):
    status, content, _ = server.request("GET", path)
    assert status == 404
    assert b"secret" not in content
    assert b"root:" not in content


def test_other_methods_and_bodies_are_refused(server):
    assert server.request("POST", "data.json")[0] == 405
    assert server.request("PUT", "changes", [1])[0] == 400
    assert server.request("PUT", "changes", {"changes": 3})[0] == 400
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert server.request("PUT", "changes", {"changes": {}}, **form)[0] == 400


def test_one_window_writes_at_a_time(server):
    def ask(window, **more):
        return json.loads(server.request("POST", "pen", {"window": window, **more})[1])

    assert ask("one")["pen"] is True
    second = ask("two")
    assert second["pen"] is False
    data = json.loads(server.request("GET", "data.json")[1])
    item = next(item for item in data["items"] if item["status"] == "candidate")
    change = {"changes": {item["id"]: item | {"status": "confirmed"}}}
    change["revision"] = second["revision"]
    assert server.request("PUT", "changes", change | {"window": "two"})[0] == 409
    assert ask("two", take=True)["pen"] is True
    assert ask("one")["pen"] is False
    status, content, _ = server.request("PUT", "changes", change | {"window": "two"})
    assert status == 200
    assert json.loads(content)["revision"] == second["revision"] + 1
    assert server.request("PUT", "changes", change | {"window": "two"})[0] == 409
    ask("two", drop=True)
    assert ask("three")["pen"] is True
    ask("three", drop=True)


def test_the_last_words_of_a_closed_window_do_not_keep_the_pen():
    pen = Pen()
    assert pen.ask("one", opens=True)
    pen.drop("one")
    assert pen.ask("one")
    assert pen.ask("two")
    assert not pen.ask("one")
    pen.drop("two")
    assert pen.ask("two", opens=True)
    assert not pen.ask("three")


def test_exports_and_clips(server):
    labels = read_events(server.folder / LABELS_FILE)
    for name in ("sportscode", "osl", "webvtt", "csv", "soccernet"):
        status, content, _ = server.request("GET", f"export/{name}")
        assert status == 200
        assert labels[0].label in "".join(json.loads(content).values())
    assert server.request("GET", "export/csv?lead=x")[0] == 400
    status, content, _ = server.request("POST", "clips", {"lead": 1, "lag": 1})
    assert status == 200
    assert json.loads(content)["count"] == len(labels)
    assert len(list((server.folder / "clips").iterdir())) == len(labels)


def test_a_second_server_on_the_match_says_who_is_there(server, video):
    done = _run("review", "--spots", server.folder, "--video", video, "--halves", HALVES)
    assert done.returncode == 2
    assert "under review already, by" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def _run(command: str, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"spotting.{command}", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_killed_while_saving_nothing_is_lost(video, tmp_path):
    """What the server has answered to is there after kill -9, and each file is whole."""
    folder = write_spots(tmp_path / "spots", 300, seconds=11.5)
    generator = random.Random(0)
    server = Server("--spots", folder, "--video", video, "--halves", HALVES, cache=tmp_path)
    confirmed: set[str] = set()
    address = ""
    for _ in range(4):
        server.start()
        assert server.address == (address or server.address)  # An open page finds it again.
        address = server.address
        data = json.loads(server.request("GET", "data.json")[1])
        items = {item["id"]: item for item in data["items"]}
        there = {key for key, item in items.items() if item["status"] == "confirmed"}
        # One more may have been saved than was answered.
        assert confirmed <= there
        assert len(there - confirmed) <= 1
        confirmed, revision = there, data["revision"]
        timer = threading.Timer(generator.uniform(0.1, 0.6), server.process.kill)
        timer.start()
        for key in sorted(set(items) - confirmed):
            change = {key: items[key] | {"status": "confirmed"}}
            body = {"window": "w", "revision": revision, "changes": change}
            try:
                status, content, _ = server.request("PUT", "changes", body)
            except (OSError, http.client.HTTPException):  # Killed before, or within, its answer.
                break
            assert status == 200
            revision = json.loads(content)["revision"]
            confirmed.add(key)
        timer.join()
        server.process.communicate()
        events = len(read_events(folder / LABELS_FILE))
        assert len(confirmed) - 1 <= events <= len(confirmed) + 1
    server.start()
    assert len(read_events(folder / LABELS_FILE)) <= len(confirmed) + 1
    assert server.stop(signal.SIGINT)[0] == 130
    assert len(confirmed) > 8


def test_a_signal_ends_it_with_one_line(video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    server = Server("--spots", folder, "--video", video, "--halves", HALVES, cache=tmp_path)
    status, errors = server.start().stop(signal.SIGTERM)
    assert status == 143
    assert errors == f"ended; everything is saved in {folder}\n"


# The command lines


def test_labels_that_are_there_are_one_line(video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    _write_labels(folder)
    done = _run("review", "--spots", folder, "--video", video, "--halves", HALVES)
    assert done.returncode == 2
    assert "--existing=open" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_exports_from_the_command_line(video, tmp_path):
    folder = write_spots(tmp_path / "spots")
    halves = ("--spots", folder, "--video", video, "--halves", HALVES)
    done = _run("review", *halves, "--export", "csv")
    assert done.returncode == 2
    assert "nothing is confirmed there yet" in done.stderr
    spots = read_spots(folder)
    placed = place_halves([_facts()], [Span(0, 12), Span(12, 24)], spots.spots, None)
    match = Match(GAME, CLASSES, (_facts(),), placed, tuple(spots.spots))
    store = Store(folder, match, spots.digest)
    _confirm(store, "s0")
    _confirm(store, "s1")
    store.close()
    done = _run("review", *halves, "--export", "csv,sportscode", "--clips", "--lead", 1, "--lag", 1)
    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.splitlines()]
    assert [path.name for path in written[:2]] == ["sportscode.xml", "events.csv"]
    assert len(written) == 4
    assert all(path.is_file() for path in written)


def test_the_evaluator_finds_what_was_confirmed(tmp_path):
    """Labels and the SoccerNet export of one review agree fully."""
    spots = [Prediction(1, "Goal", 3.04, 0.9), Prediction(2, "Corner", 5.5, 0.8)]
    halves = place_halves([_facts()], [Span(0, 12), Span(12, 24)], spots, None)
    match = Match("league/game", SOCCERNET_CLASSES, (_facts(),), halves, tuple(spots))
    labels, predictions = tmp_path / "labels" / "league/game", tmp_path / "spots" / "league/game"
    store = Store(labels, match)
    _confirm(store, "s0", label="Foul", position=3080)
    _confirm(store, "s1")
    files = make_exports(["soccernet"], match.game, store.confirmed(), match.places(), CLASSES)
    write_exports(predictions, files)
    store.close()
    places = ("--labels", tmp_path / "labels", "--predictions", tmp_path / "spots")
    done = _run("evaluate", *places, "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())["all"]["tight"]["per_class"]
    assert {name for name, score in scores.items() if score} == {"Foul", "Corner"}
    assert scores["Foul"] == pytest.approx(1)
    assert scores["Corner"] == pytest.approx(1)


@pytest.mark.slow
def test_an_unreadable_folder_or_flag_is_one_line(video, tmp_path):
    for arguments in (
        ("--spots", tmp_path / "none", "--video", video),
        ("--spots", tmp_path, "--video", tmp_path / "none.mp4"),
        ("--spots", write_spots(tmp_path / "s"), "--video", video, "--halves", "5-1"),
        ("--spots", tmp_path / "s", "--video", video),
        ("--spots", tmp_path / "s", "--video", video, "--export", "doc"),
    ):
        done = _run("review", *arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


def test_annotate_asks_for_classes(video, tmp_path):
    (tmp_path / "dataset.json").write_text('{"classes": []}')
    classes = ("--classes", tmp_path / "dataset.json")
    done = _run("annotate", "--video", video, *classes, "--output", tmp_path / "game")
    assert done.returncode == 2
    assert '"classes" should be a list' in done.stderr
    assert not (tmp_path / "game").exists()
