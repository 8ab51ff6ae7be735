"""Runs the server of a review until it is told to end, at an address that stays the same."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import sys
import webbrowser
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from spotting.base.errors import InputError
from spotting.data.exports import FORMATS, LAG, LEAD, make_exports, parse_formats, write_exports
from spotting.reporting.review.match import Match, parse_spans
from spotting.reporting.review.page import write_page
from spotting.reporting.review.playable import VideoFacts, read_video_facts
from spotting.reporting.review.store import STATE_FILE, Store

_TERMINATED = 143
_GRACE_SECONDS = 2


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the flags that `review` and `annotate` share."""
    parser.add_argument(
        "--video",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE",
        help="the match's video, or one file for each half",
    )
    parser.add_argument(
        "--halves",
        type=parse_spans,
        metavar="START-END,...",
        help="where the halves lie in the video: 0:05:12-0:51:40,1:07:03-1:55:00",
    )
    parser.add_argument(
        "--existing",
        choices=("open", "replace"),
        default="refuse",
        help="labels that are there already, and not from here: begin with them, or replace them",
    )
    parser.add_argument("--restart", action="store_true", help="begin anew; the history keeps all")
    parser.add_argument(
        "--page", type=Path, metavar="FILE.html", help="write a page that needs no server, and end"
    )
    parser.add_argument(
        "--export",
        type=parse_formats,
        metavar="LIST",
        help=f"write what is confirmed, and end: of {','.join(FORMATS)}, with commas between",
    )
    parser.add_argument(
        "--clips", action="store_true", help="cut the video around what is confirmed, and end"
    )
    parser.add_argument(
        "--lead",
        type=_seconds,
        default=LEAD,
        metavar="SECONDS",
        help=f"of exported clips, default {LEAD:g}",
    )
    parser.add_argument(
        "--lag", type=_seconds, default=LAG, metavar="SECONDS", help=f"default {LAG:g}"
    )
    parser.add_argument("--port", type=_port, help="default: the last one, or a free one")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def read_videos(paths: Sequence[Path]) -> tuple[VideoFacts, ...]:
    """Looks into the videos; says of each that browsers do not play what to do about it.

    Raises:
      InputError: one is not there, or is no video.
    """
    videos = tuple(map(read_video_facts, paths))
    for video in videos:
        if video.problem:
            print(
                f"note: {video.path.name}: {video.problem}; the page works without the picture. "
                f"For the picture: {video.command}",
                file=sys.stderr,
            )
    return videos


def run(
    arguments: Namespace, folder: Path, match: Match, digest: str = "", threshold: float = 0.5
) -> int:
    """Does what a command line asks for: a page, exports, clips, or the server.

    Args:
      arguments: see `add_arguments`.
      folder: of the review's files.
      match: what is under review.
      digest: SHA-256 of the file that the spots come from.
      threshold: from which confidence on spots are shown at first.
    """
    if arguments.page is not None:
        write_page(arguments.page, match, digest, threshold)
        print(arguments.page)
        return 0
    ends = bool(arguments.export) or arguments.clips
    if ends and not (folder / STATE_FILE).is_file():
        raise InputError(f"{folder}: nothing is confirmed there yet; review it first")
    if not ends:
        _import_server()
    store = Store(folder, match, digest, arguments.existing, arguments.restart)
    try:
        for warning in store.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        if ends:
            return _write(store, arguments)
        return _serve(store, arguments, threshold)
    finally:
        store.close()


def _write(store: Store, arguments: Namespace) -> int:
    match = store.match
    if arguments.export:
        files = make_exports(
            arguments.export,
            match.game,
            store.confirmed(),
            match.places(),
            match.classes,
            arguments.lead,
            arguments.lag,
        )
        # The model's results keep their name.
        folder = store.folder / "exports"
        print(*write_exports(folder, files), sep="\n")
    if arguments.clips:
        from spotting.reporting.review.server import cut_confirmed

        print(*cut_confirmed(store, arguments.lead, arguments.lag), sep="\n")
    return 0


def _serve(store: Store, arguments: Namespace, threshold: float) -> int:
    import uvicorn

    from spotting.reporting.review.server import make_app

    remembered, token = _recall(store.folder)
    with _listen(arguments.port, remembered) as listener:
        port = listener.getsockname()[1]
        _remember(store.folder, port, token)
        config = uvicorn.Config(
            make_app(store, token, threshold),
            log_level="error",
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        address = f"http://127.0.0.1:{port}/{token}/"
        print(f"{address}\nCtrl-C ends; everything is saved in {store.folder}", flush=True)
        if arguments.open:
            webbrowser.open(address)
        with _signals() as received:
            uvicorn.Server(config).run(sockets=[listener])
    if signal.SIGTERM in received:
        print(f"ended; everything is saved in {store.folder}", file=sys.stderr)
        return _TERMINATED
    if signal.SIGINT in received:
        print(f"\nended; everything is saved in {store.folder}", file=sys.stderr)
        return 130
    return 0


def _import_server() -> None:
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise InputError(
            f"the page's server needs {error.name}; pip install 'spotting[review]', or write a "
            "page that needs no server with --page=FILE.html"
        ) from error
    del starlette, uvicorn


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Remembers signals that the server repeats when it has ended, instead of dying of them."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(asked: int | None, remembered: int | None) -> socket.socket:
    ports = [asked] if asked else [remembered, 0] if remembered else [0]
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            listener.close()
            if port == ports[-1]:
                raise InputError(f"port {port}: {error.strerror}; choose another --port") from error
            continue
        return listener
    raise AssertionError


def _memory(folder: Path) -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]
    return caches / "spotting" / "review" / f"{name}.json"


def _recall(folder: Path) -> tuple[int | None, str]:
    """The port and the token of the last time, so that a page that is still open finds us again."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
        value = json.loads(_memory(folder).read_text())
        if re.fullmatch(r"[0-9a-f]{32}", value["token"]) and 0 < int(value["port"]) < 65536:
            return int(value["port"]), value["token"]
    return None, secrets.token_hex(16)


def _remember(folder: Path, port: int, token: str) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        path = _memory(folder)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump({"port": port, "token": token}, file)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3600:
        raise ValueError
    return value


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError
    return port


_seconds.__name__ = "number of seconds"
_port.__name__ = "port"
