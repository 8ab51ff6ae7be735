"""The review's page: served in parts, or one HTML file that holds all but the video."""

import html
import json
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spotting.base.files import write_text_atomic
from spotting.data.exports import LAG, LEAD
from spotting.reporting.review.match import Match
from spotting.reporting.review.store import make_state

STYLE = "review.css"
SCRIPTS = (
    "model.js",
    "formats.js",
    "storage.js",
    "player.js",
    "timeline.js",
    "list.js",
    "review.js",
)
ASSETS = (STYLE, *SCRIPTS)


def asset(name: str) -> str:
    """Text of one of the page's parts."""
    return resources.files("spotting.reporting.review").joinpath("assets", name).read_text("utf-8")


def served_page(game: str) -> str:
    """The page for a server: its parts and data are addresses relative to its own."""
    links = f'<link rel="stylesheet" href="assets/{STYLE}">'
    scripts = "\n".join(f'<script src="assets/{name}" defer></script>' for name in SCRIPTS)
    return _fill(game, links + "\n" + scripts, "")


def write_page(path: Path, match: Match, digest: str, threshold: float) -> None:
    """Writes the page as one file that works without a server.

    Videos are named relative to the file's folder; the page can also be given them by hand.
    """
    folder = path.resolve().parent
    videos = []
    for video in match.videos:
        relative = os.path.relpath(video.path.resolve(), folder)
        videos.append(quote(relative.replace(os.sep, "/")))
    data = make_data(match, videos, threshold) | make_state(match, digest)
    # The same spots as another page's, but other decisions: they are kept by what they belong to.
    data |= {"server": False, "id": f"{match.game} {digest}", "warnings": []}
    # A "</script>" in a name would end the element; JSON may spell its "<" otherwise.
    embedded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    style = f"<style>{asset(STYLE)}</style>"
    scripts = [f'<script type="application/json" id="data">{embedded}</script>']
    scripts += [f"<script>{asset(name)}</script>" for name in SCRIPTS]
    write_text_atomic(path, _fill(match.game, style, "\n".join(scripts)))


def make_data(match: Match, videos: Sequence[str], threshold: float) -> dict[str, Any]:
    """What the page's script has to know of a match, but for its spots.

    Args:
      match: the match.
      videos: address of each video, relative to the page's.
      threshold: from which confidence on spots are shown at first.
    """
    places = match.places()
    return {
        "game": match.game,
        "classes": list(match.classes),
        "threshold": threshold,
        "annotate": not match.spots,
        "lead": LEAD,
        "lag": LAG,
        "videos": [
            {
                "source": source,
                "name": facts.path.name,
                "frameRate": facts.frame_rate,
                "seconds": facts.seconds,
                "problem": facts.problem,
                "command": facts.command,
            }
            for source, facts in zip(videos, match.videos, strict=True)
        ],
        "halves": [
            {
                "number": half.number,
                "video": half.video,
                "start": half.start,
                "seconds": half.seconds,
                "minute": places[half.number].first_minute,
            }
            for half in match.halves
        ],
    }


def _fill(game: str, head: str, end: str) -> str:
    parts = {"title": html.escape(game), "head": head, "end": end}
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], asset("review.html"))
