"""Serves a review to the browsers of this machine, and to nobody else.

Loopback only. Every address begins with a token that only the user's own files and terminal hold;
requests with a Host that is no name of this machine (another site's name that was made to point
here), or an Origin that is not this page, are refused. What is served is a fixed list: no request
names a file.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from spotting.base.errors import InputError
from spotting.data.exports import FORMATS, LAG, LEAD, HalfPlace, VideoFile, make_exports
from spotting.reporting.clips import CLIPS_FOLDER, write_clips
from spotting.reporting.review import page
from spotting.reporting.review.store import Conflict, Store

PEN_SECONDS = 30.0
"""After so long without a word from the window that holds the pen another one may take it."""

_LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
_MOST_BYTES = 32 << 20

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "media-src 'self' blob:; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Guard:
    """ASGI middleware that lets through only requests of this machine's own page."""

    def __init__(self, app: Any, token: str):
        self.app, self.token = app, token

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Passes a request on, or answers 403 (404 where the token is missing)."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        problem = self._find_problem(scope)
        if problem is not None:
            response = JSONResponse({"error": problem[1]}, problem[0], _HEADERS)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _find_problem(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        values: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            values.setdefault(name.lower(), []).append(value.decode("latin-1"))
        hosts = values.get(b"host", [])
        if len(hosts) != 1 or hosts[0].rpartition(":")[0] not in _LOOPBACK:
            return 403, "this page is for this machine only: open it as http://127.0.0.1"
        for origin in values.get(b"origin", []):
            if origin != f"http://{hosts[0]}":
                return 403, "another site asked for this; refused"
        # A link to the page is followed; nothing else of another site's is.
        is_link = values.get(b"sec-fetch-mode") == ["navigate"] and scope["method"] == "GET"
        sites = set(values.get(b"sec-fetch-site", []))
        if sites & {"cross-site", "same-site"} and not is_link:
            return 403, "another site asked for this; refused"
        first = scope["path"].lstrip("/").partition("/")[0]
        if not secrets.compare_digest(first.encode(), self.token.encode()):
            return 404, "no such page; use the address that the command printed"
        return None


class Pen:
    """Which window may write: one at a time, the last one that took the pen."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._holder, self._seen = "", 0.0
        self._closed: set[str] = set()

    def ask(self, window: str, take: bool = False, opens: bool = False) -> bool:
        """Whether `window` may write; it gets the pen if that is free, or takes it.

        Args:
          window: its id.
          take: whether it takes the pen from whoever has it.
          opens: whether it has just been opened, perhaps again.
        """
        with self._mutex:
            now = time.monotonic()
            if opens:
                self._closed.discard(window)
            free = self._holder in ("", window) or now - self._seen > PEN_SECONDS
            if window in self._closed:
                return free  # The last words of a closed window may come after its farewell.
            if take or free:
                self._holder, self._seen = window, now
            return self._holder == window

    def drop(self, window: str) -> None:
        """Frees the pen of a window that closes."""
        with self._mutex:
            self._closed.add(window)
            if self._holder == window:
                self._holder = ""


def make_app(store: Store, token: str, threshold: float) -> Starlette:
    """The application that serves one review.

    Args:
      store: the review.
      token: first part of every address.
      threshold: from which confidence on spots are shown at first.
    """
    match, pen = store.match, Pen()

    def index(request: Request) -> Response:
        return Response(page.served_page(match.game), 200, _HEADERS, "text/html")

    def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in page.ASSETS:
            return _error(404, "no such page")
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return Response(page.asset(name), 200, _HEADERS, kind)

    def data(request: Request) -> Response:
        videos = [f"video/{number}" for number in range(len(match.videos))]
        content = page.make_data(match, videos, threshold)
        content |= {"items": list(store.items.values()), "revision": store.revision}
        content |= {"server": True, "id": str(store.folder.resolve())}
        content["warnings"] = store.warnings
        return JSONResponse(content, headers=_HEADERS)

    def video(request: Request) -> Response:
        number = request.path_params["number"]
        if number >= len(match.videos):
            return _error(404, "no such video")
        facts = match.videos[number]
        if not facts.path.is_file():
            return _error(404, f"{facts.path.name} is not there any more")
        return FileResponse(facts.path, 200, _HEADERS, facts.media_type)

    async def changes(request: Request) -> Response:
        body = await _read_json(request)
        if not isinstance(body, dict) or not isinstance(body.get("changes"), dict):
            return _error(400, "no changes in it")
        if not pen.ask(str(body.get("window"))[:80]):
            return _error(409, "this match is open in another window")
        return await _in_thread(save, body)

    def save(body: dict[str, Any]) -> Response:
        try:
            revision = store.apply(body.get("revision", -1), body["changes"])
        except Conflict:
            return _error(409, "this match was changed in another window")
        except InputError as error:
            return _error(400, str(error))
        except OSError as error:
            return _error(507, _say(error, store.folder))
        return JSONResponse({"revision": revision}, headers=_HEADERS)

    async def ask_pen(request: Request) -> Response:
        body = await _read_json(request)
        if not isinstance(body, dict):
            return _error(400, "no window in it")
        window = str(body.get("window"))[:80]
        if body.get("drop"):
            pen.drop(window)
            return JSONResponse({}, headers=_HEADERS)
        held = pen.ask(window, bool(body.get("take")), bool(body.get("opens")))
        return JSONResponse({"pen": held, "revision": store.revision}, headers=_HEADERS)

    def export(request: Request) -> Response:
        name = request.path_params["format"]
        if name not in FORMATS:
            return _error(404, "no such export")
        moments, places = store.confirmed(), match.places()
        try:
            lead = float(request.query_params.get("lead", LEAD))
            lag = float(request.query_params.get("lag", LAG))
        except ValueError:
            return _error(400, "lead and lag are seconds")
        files = make_exports([name], match.game, moments, places, match.classes, lead, lag)
        return JSONResponse({n: c.decode() for n, c in files.items()}, headers=_HEADERS)

    async def clips(request: Request) -> Response:
        body = await _read_json(request)
        return await _in_thread(cut, body if isinstance(body, dict) else {})

    def cut(body: dict[str, Any]) -> Response:
        try:
            paths = cut_confirmed(store, float(body.get("lead", LEAD)), float(body.get("lag", LAG)))
        except (TypeError, ValueError) as error:
            return _error(400, str(error))
        except OSError as error:
            return _error(507, _say(error, store.folder))
        folder = str(store.folder / CLIPS_FOLDER)
        return JSONResponse({"count": len(paths), "folder": folder}, headers=_HEADERS)

    routes = [
        Route("/", index),
        Route("/assets/{name}", asset),
        Route("/data.json", data),
        Route("/video/{number:int}", video),
        Route("/changes", changes, methods=["PUT"]),
        Route("/pen", ask_pen, methods=["POST"]),
        Route("/export/{format}", export),
        Route("/clips", clips, methods=["POST"]),
    ]
    app = Starlette(routes=[Mount(f"/{token}", routes=routes)])
    app.add_middleware(Guard, token=token)
    return app


def cut_confirmed(store: Store, lead: float = LEAD, lag: float = LAG) -> list[Path]:
    """Cuts the video around every confirmed spot into the review's folder of clips.

    Raises:
      InputError: a video cannot be cut.
      OSError: a clip cannot be written.
    """
    match = store.match
    places = {
        half.number: HalfPlace(VideoFile(str(match.videos[half.video].path)), half.start)
        for half in match.halves
    }
    return [clip.path for clip in write_clips(store.folder, store.confirmed(), places, lead, lag)]


async def _read_json(request: Request) -> Any:
    """The body of a request, None if it is no JSON or too large."""
    if request.headers.get("content-type", "").partition(";")[0] not in (
        "application/json",
        "text/plain",  # What a page that is being closed can send.
    ):
        return None
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _MOST_BYTES:
            return None
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(content)
    return None


async def _in_thread(function: Callable[[dict[str, Any]], Response], body: dict) -> Response:
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(function, body)


def _say(error: OSError, folder: Path) -> str:
    return f"{folder}: nothing can be written there: {error.strerror or error}"


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": " ".join(text.split())}, status, _HEADERS)
