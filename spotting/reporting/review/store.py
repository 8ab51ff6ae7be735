"""What people decided about a match, kept so that nothing is lost.

Three files lie in the folder of a review:

  review.json            every spot with what was decided about it: where work resumes
  Labels-v2.json         the confirmed ones, in SoccerNet's format
  review_history.jsonl   a line for each save: what changed, by whom, from what to what

Files are replaced whole, so that a killed process leaves the old one or the new one. `review.json`
goes first: it names the SHA-256 of the label file that follows, by which the next start knows its
own file from one that somebody else wrote.
"""

import fcntl
import getpass
import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from spotting import timing
from spotting.base.errors import InputError
from spotting.base.files import atomic_file, parse_json
from spotting.base.inputs import is_text, read_regular
from spotting.data.annotations import HALF_NUMBERS, LABELS_FILE, read_events
from spotting.data.exports import Moment
from spotting.reporting.review.match import Match

STATE_FILE, HISTORY_FILE, LOCK_FILE = "review.json", "review_history.jsonl", ".review.lock"
STATUSES = ("candidate", "confirmed", "rejected")

Existing = Literal["refuse", "open", "replace"]
Item = dict[str, Any]

_FORMAT = 1
_ITEM_ID = re.compile(r"[a-z][0-9a-z]{0,40}")
_LONGEST_LABEL = 200
_MOST_MS = 10 * 3600 * 1000
_KNOWN_FIELDS = {"gameTime", "label", "position", "visibility"}


class Conflict(Exception):
    """Changes that were made without knowledge of others that came before."""


class Store:
    """The spots of a match and what was decided about them; one process at a time has it open.

    `revision` counts saves.
    """

    def __init__(
        self,
        folder: Path,
        match: Match,
        digest: str = "",
        existing: Existing = "refuse",
        restart: bool = False,
    ):
        """Opens a review, or begins one.

        Args:
          folder: where its files are; made if it is not there.
          match: the spots to begin with.
          digest: SHA-256 of the file that the spots come from.
          existing: what to do with a label file that is not this review's: refuse to go on, begin
            with its events as confirmed spots, or replace it at the first save.
          restart: begin anew, even if a review is there. What it held goes into the history.

        Raises:
          InputError: somebody has the review open, it is one of another match, its folder cannot
            be written to, or labels are there and `existing` is "refuse".
        """
        self.folder, self.match = folder, match
        self.warnings: list[str] = []
        self._mutex = threading.Lock()
        self._lock = _lock_folder(folder)
        self.items: dict[str, Item] = {}
        self.revision = 0
        self._document: dict[str, Any] = {}
        self._written: list[str] = []
        self._source = digest
        try:
            self._open(digest, existing, restart)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets others open the review."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def confirmed(self) -> list[Moment]:
        """What was confirmed, in order of time, with the model's confidence where it has one."""
        return [
            Moment(item["half"], item["label"], item["position"] / 1000, item["confidence"])
            for item in _in_order(self.items.values())
            if item["status"] == "confirmed"
        ]

    def apply(self, base: int, changes: Mapping[str, Any]) -> int:
        """Takes changes and saves them; either all is saved, or nothing is changed.

        Args:
          base: the revision that the changes were made to.
          changes: by id the new values of a spot, or None to remove one that a person added.

        Returns:
          The new revision.

        Raises:
          Conflict: `base` is not the present revision.
          InputError: a change makes no sense.
          OSError: the files cannot be written.
        """
        with self._mutex:
            if base != self.revision:
                raise Conflict(f"revision {base}, but {self.revision} is saved")
            items = dict(self.items)
            record = []
            for key, value in changes.items():
                before = items.get(key)
                after = self._checked(key, value, before)
                if after == before:
                    continue
                record.append({"id": key, "before": before, "after": after})
                if after is None:
                    del items[key]
                else:
                    items[key] = after
            if record:
                self._save(items, {"changes": record})
            return self.revision

    def _open(self, digest: str, existing: Existing, restart: bool) -> None:
        state = self._read_state()
        old_state = None
        if state is not None and restart:
            old_state, state = state, None
        labels = self.folder / LABELS_FILE
        content = labels.read_bytes() if labels.is_file() else None
        known = state or old_state or {}
        ours = content is None or _digest(content) in known.get("labels", ())
        if not ours and existing == "refuse":
            raise InputError(
                f"{labels}: labels are there that this review did not write; --existing=open "
                "begins with them, --existing=replace replaces them (a copy stays in "
                f"{HISTORY_FILE}), --output=DIR leaves them alone"
            )
        if state is not None:
            self._resume(state, digest)
        else:
            self.items = _make_candidates(self.match)
        note: dict[str, Any] = {}
        if old_state is not None:
            note["restarted"] = old_state
            self.revision = int(old_state["revision"])
        if not ours and content is not None:
            document = parse_json(content, labels)
            note["labels_before"] = document
            self._written.append(_digest(content))
            if existing == "open":
                self._take_labels(labels, document)
        if note or (restart and content is not None):
            self._save(dict(self.items), note)

    def _resume(self, state: dict[str, Any], digest: str) -> None:
        if state["game"] != self.match.game:
            raise InputError(
                f"{self.folder / STATE_FILE}: the review of {state['game']!r}, not of "
                f"{self.match.game!r}; choose another --output"
            )
        self.items = {item["id"]: item for item in state["items"]}
        self.revision = state["revision"]
        self._document = state.get("document", {})
        self._written = list(state.get("labels", []))
        self._source = state.get("source", "")
        numbers = {half.number for half in self.match.halves}
        beyond = {item["half"] for item in self.items.values()} - numbers
        if beyond:
            raise InputError(
                f"{self.folder / STATE_FILE}: it has spots of half {min(beyond)}, of which there "
                "is no video now"
            )
        if digest and digest != self._source:
            self.warnings.append(
                f"the spots have changed since the review in {self.folder} began; it keeps "
                "those that it began with (--restart begins anew with the new ones)"
            )

    def _take_labels(self, path: Path, document: Any) -> None:
        """Existing labels become confirmed spots; what we do not know about them is kept."""
        events = read_events(path)
        numbers = {half.number for half in self.match.halves}
        for number, (event, entry) in enumerate(zip(events, document["annotations"], strict=True)):
            if event.half not in numbers:
                raise InputError(f"{path}: an event of half {event.half}, which has no video here")
            key = f"l{number}"
            self.items[key] = {
                "id": key,
                "half": event.half,
                "position": round(1000 * event.position),
                "label": event.label,
                "confidence": None,
                "status": "confirmed",
                "visible": event.visible,
                "by": "labels",
                "extra": {k: v for k, v in entry.items() if k not in _KNOWN_FIELDS},
            }
        self._document = {k: v for k, v in document.items() if k != "annotations"}

    def _checked(self, key: str, value: Any, before: Item | None) -> Item | None:
        if not isinstance(key, str) or not _ITEM_ID.fullmatch(key):
            raise InputError(f"{key!r:.60} is no spot's id")
        if value is None:
            if before is not None and before["by"] != "person":
                raise InputError(f"spot {key} can be rejected, but not removed")
            return None
        if before is None and not key.startswith("a"):
            raise InputError(f"there is no spot {key}")
        fields = ("half", "position", "label", "status", "visible")
        if not isinstance(value, dict) or not all(field in value for field in fields):
            raise InputError(f"spot {key}: {', '.join(fields)} are needed")
        half, position, label, status, visible = (value[field] for field in fields)
        if half not in {h.number for h in self.match.halves} or isinstance(half, bool):
            raise InputError(f"spot {key}: {half!r:.60} is no half of this match")
        if type(position) is not int or not 0 <= position <= _MOST_MS:
            raise InputError(f"spot {key}: {position!r:.60} is no time in a half")
        if not isinstance(label, str) or not label.strip() or len(label) > _LONGEST_LABEL:
            raise InputError(f"spot {key}: {label!r:.60} is no class")
        if label not in self.match.classes and (before is None or before["label"] != label):
            raise InputError(f"spot {key}: {label!r:.60} is no class here")
        if status not in STATUSES or not isinstance(visible, bool):
            raise InputError(f"spot {key}: {status!r:.60} is no status")
        kept = before or {"confidence": None, "by": "person"}
        changed = {"half": half, "position": position, "label": label, "status": status}
        return {**kept, "id": key, **changed, "visible": visible}

    def _save(self, items: dict[str, Item], note: Mapping[str, Any]) -> None:
        """Writes the history, the state and the labels; only then are `items` the present ones."""
        revision = self.revision + 1
        labels = self._labels(items)
        # The last few are known, in case the process is killed between two files.
        written = [*[d for d in self._written if d != _digest(labels)], _digest(labels)][-4:]
        state = {
            "format": _FORMAT,
            "game": self.match.game,
            "revision": revision,
            "source": self._source,
            "labels": written,
            "document": self._document,
            "classes": list(self.match.classes),
        }
        if note:
            self._append_history({"revision": revision, **note})
        with atomic_file(self.folder / STATE_FILE) as file:
            file.write(_encode_state(state, items.values()))
        # From here on the state counts: it is what the next start reads.
        self.items, self.revision, self._written = items, revision, written
        path = self.folder / LABELS_FILE
        if not path.is_file() or path.read_bytes() != labels:
            with atomic_file(path) as file:
                file.write(labels)

    def _labels(self, items: Mapping[str, Item]) -> bytes:
        annotations = [
            {
                "gameTime": timing.game_time(item["half"], item["position"]),
                "label": item["label"],
                "position": str(item["position"]),
                **item.get("extra", {}),
                "visibility": "visible" if item["visible"] else "not shown",
            }
            for item in _in_order(items.values())
            if item["status"] == "confirmed"
        ]
        document = {"UrlLocal": self.match.game, **self._document, "annotations": annotations}
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()

    def _append_history(self, entry: Mapping[str, Any]) -> None:
        path = self.folder / HISTORY_FILE
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "user": _user(), **entry}
        content = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # The line of a killed process.
                    content = b"\n" + content
            try:
                file.write(content)
                file.flush()
            except OSError:
                os.ftruncate(file.fileno(), end)
                raise

    def _read_state(self) -> dict[str, Any] | None:
        path = self.folder / STATE_FILE
        if not path.is_file():
            return None
        state = parse_json(read_regular(path), path)
        problem = _find_problem(state)
        if problem:
            raise InputError(f"{path}: {problem}; --restart begins anew, after a copy was made")
        return state


def make_state(match: Match, digest: str) -> dict[str, Any]:
    """What `review.json` holds when nothing is decided yet, for a page that has no server."""
    return {
        "format": _FORMAT,
        "game": match.game,
        "revision": 0,
        "source": digest,
        "labels": [],
        "document": {},
        "classes": list(match.classes),
        "items": list(_make_candidates(match).values()),
    }


def _make_candidates(match: Match) -> dict[str, Item]:
    items = {}
    for number, spot in enumerate(match.spots):
        key = f"s{number}"
        items[key] = {
            "id": key,
            "half": spot.half,
            "position": round(1000 * spot.position),
            "label": spot.label,
            "confidence": round(float(spot.confidence), 6),
            "status": "candidate",
            "visible": True,
            "by": "model",
        }
    return items


def _find_problem(state: Any) -> str:
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        return "not a review that this version knows"
    if not isinstance(state.get("game"), str) or type(state.get("revision")) is not int:
        return "damaged"
    written, items = state.get("labels", []), state.get("items")
    if (
        not isinstance(state.get("document", {}), dict)
        or not isinstance(state.get("source", ""), str)
        or not isinstance(written, list)
        or not all(isinstance(digest, str) for digest in written)
    ):
        return "damaged"
    if not isinstance(items, list):
        return "damaged: no list of spots"
    for item in items:
        sound = (
            isinstance(item, dict)
            and isinstance(item.get("id"), str)
            and item.get("half") in HALF_NUMBERS
            and type(item.get("position")) is int
            and 0 <= item["position"] <= _MOST_MS
            and isinstance(item.get("label"), str)
            and is_text(item["id"] + item["label"])
            and item.get("status") in STATUSES
            and isinstance(item.get("visible"), bool)
            and isinstance(item.get("confidence"), int | float | None)
            and item.get("by") in ("model", "person", "labels")
        )
        if not sound:
            return f"damaged: a spot {str(item)[:60]!r}"
    return ""


def _encode_state(state: Mapping[str, Any], items: Iterable[Item]) -> bytes:
    """A line for each spot, so that two versions can be compared."""
    head = json.dumps(state, ensure_ascii=False)[:-1]
    lines = [json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items]
    return (head + ', "items": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def _lock_folder(folder: Path) -> int | None:
    """Takes the folder; the system gives it back when the process ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"{folder}: nothing can be written there ({error.strerror}); choose another --output"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(handle, 200).decode("utf-8", "replace").strip() or "another process"
        os.close(handle)
        raise InputError(
            f"{folder}: under review already, by {holder}; end that one first, or choose another "
            "--output"
        ) from error
    except OSError:
        return handle  # Some network file systems have no locks.
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    os.ftruncate(handle, 0)
    holder = f"{_user()} on {socket.gethostname()}, process {os.getpid()}, since {since}\n"
    os.pwrite(handle, holder.encode(), 0)
    return handle


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _in_order(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item["half"], item["position"], item["label"]))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
