"""A server that speaks as much of Hugging Face's hub as pushing and loading a run need."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"


class Hub(http.server.ThreadingHTTPServer):
    """Repositories in memory.

    Attributes:
      private: whether each repository, owner/name, is private.
      commits: of each repository, commit hash to path to content; the last one is `main`.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.private: dict[str, bool] = {}
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serve_hub() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        if path == "/api/validate-yaml":
            return self._reply({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._reply({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            url = {"url": f"{self.server.endpoint}/{repository}", "id": repository}
            if repository in self.server.private:
                return self._reply(url | {"error": "You already created this repo"}, 409)
            private = asked.get("private") or asked.get("visibility") == "private"
            self.server.private[repository] = bool(private)
            self.server.commits[repository] = {"0" * 40: {}}
            return self._reply(url)
        match = re.fullmatch(r"/api/models/(\w+/[\w.-]+)/(preupload|commit)/main", path)
        assert match, path
        commits = self.server.commits[match[1]]
        if match[2] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._reply({"files": files})
        files = dict(list(commits.values())[-1])
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                assert line["value"]["encoding"] == "base64"
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        sha = hashlib.sha1(body).hexdigest()
        commits[sha] = files
        url = f"{self.server.endpoint}/{match[1]}/commit/{sha}"
        self._reply({"success": True, "commitUrl": url, "commitOid": sha, "hookOutput": ""})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api = re.fullmatch(r"/api/models/(\w+/[\w.-]+)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/(\w+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        match = api or file
        assert match, path
        repository, revision = match[1], (api[3] if api else match[2]) or "main"
        commits = self.server.commits.get(repository)
        if commits is None:
            return self._reply({"error": "Repository not found"}, 404, "RepoNotFound")
        sha = list(commits)[-1] if revision == "main" else revision
        if sha not in commits:
            return self._reply({"error": "Invalid rev id"}, 404, "RevisionNotFound")
        files = commits[sha]
        if file:
            if match[3] not in files:
                return self._reply({"error": "Entry not found"}, 404, "EntryNotFound")
            return self._send(files[match[3]], {"X-Repo-Commit": sha})
        if api and api[2] == "tree":
            return self._reply(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": _hash(content)}
                    for name, content in files.items()
                ]
            )
        siblings = [{"rfilename": name} for name in files]
        self._reply({"id": repository, "sha": sha, "siblings": siblings, "private": False})

    do_HEAD = do_GET

    def _reply(self, value: object, status: int = 200, error: str = "") -> None:
        headers = {"X-Error-Code": error} if error else {}
        self._send(
            json.dumps(value).encode(), {"Content-Type": "application/json", **headers}, status
        )

    def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("ETag", f'"{_hash(content)}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
