"""The interactive timeline: what happened and what was spotted, by class, for any half.

The drawing is done in the browser (assets/timeline.js) from data embedded in the page, which needs
no network. Without truth it shows the spots alone.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spotting.base.files import write_text_atomic
from spotting.data.annotations import Event, Prediction
from spotting.reporting.page import escape, fill_template, make_page

MAX_SPOTS = 300_000
"""Spots in one page, about 4.6 MB of it; beyond this the least confident are left out.

A spot at or over its system's threshold for its class never is, or the page would miscount: where
those alone are more, the page is larger. For scale: eight rows of the paper on SoccerNet-v2's
test split have 180,000 truths to find.
"""

LEAST_CONFIDENCE = 0.01

_TOLERANCES = (1, 2, 3, 4, 5, 10, 20, 30, 60)

_PERIODS = {1: (0, 45), 2: (45, 45), 3: (90, 15), 4: (105, 15)}
"""The minute that a half begins at, and its minutes before stoppage time."""

_KEYS = (
    ("truth", "M9 1V17", "in truth (dashed: not shown on the picture)"),
    ("hit", "M4 9a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z", "hit, joined to its truth"),
    ("miss", "M9 3l6 6l-6 6l-6-6Z", "miss"),
    ("false", "M5 5l8 8m0-8l-8 8", "false alarm"),
)


@dataclass(frozen=True)
class TimelineHalf:
    """One half: its spots by each system, and the truth if there is any.

    `seconds` is its length. `spots` maps the name of a system to what it predicted for this half;
    every half of a page has the same systems. `events` is None where nobody has labelled the half.
    `starts_match_clock` says that the match's clock stood at the usual minute when the half began,
    0, 45, 90 or 105; it is to be False for a recording that is no half.
    """

    number: int
    seconds: float
    spots: Mapping[str, Sequence[Prediction]]
    events: Sequence[Event] | None = None
    starts_match_clock: bool = True


@dataclass(frozen=True)
class TimelineGame:
    """A game by its name (shown to the reader) and its halves."""

    name: str
    halves: Sequence[TimelineHalf]


def write_timeline_page(
    path: str | os.PathLike,
    games: Sequence[TimelineGame],
    classes: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
    title: str = "What was spotted when",
) -> None:
    """Writes a self-contained HTML page with the timeline of any of the games.

    Args:
      path: The file to write.
      games: At least one, each with at least one half.
      classes: The classes in the order of the lanes; spots of others are left out.
      thresholds: For each class the confidence from which on spots are shown, if known; without
        them one threshold, which the reader moves, holds for all classes.
      title: Heading of the page.
    """
    systems = dict.fromkeys(name for game in games for half in game.halves for name in half.spots)
    every_threshold = dict.fromkeys(systems, thresholds) if thresholds else {}
    body = make_timeline(games, classes, every_threshold)
    write_text_atomic(path, make_page(title, body, timeline=True))


def make_timeline(
    games: Sequence[TimelineGame],
    classes: Sequence[str],
    thresholds: Mapping[str, Mapping[str, float]],
) -> str:
    """Makes the timeline as HTML, with its data, to stand in a page made with `timeline=True`.

    Args:
      games: See `write_timeline_page`.
      classes: See `write_timeline_page`.
      thresholds: Of the systems that have them, a threshold for each class.
    """
    data, floor = make_timeline_data(games, classes, thresholds)
    # A "</script>" in a name would end the element; JSON may spell its "<" otherwise.
    embedded = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    has_truth = any(half.events is not None for game in games for half in game.halves)
    keys = "".join(
        f'<span><svg viewBox="0 0 18 18" aria-hidden="true"><path class="{css}" d="{shape}"/></svg>'
        f"{name}</span>"
        for css, shape, name in (_KEYS if has_truth else [(*_KEYS[1][:2], "spot")])
    )
    spared = ", but for those at or over the threshold of their own class" if thresholds else ""
    note = (
        f"To keep this file small, spots of confidence under {floor:.2f} are left out{spared}; the"
        " slider begins there. Minutes are the match's, where a half begins at the usual one."
    )
    if has_truth:
        note += (
            " Hits are found as SoccerNet's evaluator finds them: a tolerance of 5 s accepts 2.5 s"
            " to either side, counted in half seconds; truths in order of time take the most"
            " confident free spot in reach."
        )
    tolerances = "".join(
        f"<option value={d}{' selected' if d == 5 else ''}>{d} s (±{d / 2:g} s)</option>"
        for d in _TOLERANCES
    )
    return fill_template(
        "timeline.html",
        keys=keys,
        floor=f"{floor:.2f}",
        start=f"{max(floor, 0.5):.2f}",
        tolerances=tolerances,
        note=escape(note),
        data=embedded,
    )


def make_timeline_data(
    games: Sequence[TimelineGame],
    classes: Sequence[str],
    thresholds: Mapping[str, Mapping[str, float]],
) -> tuple[dict[str, Any], float]:
    """Makes what the page's script reads, and the floor: below it spots were left out.

    Spots at or over their own threshold are there even if below the floor. Truth and spots are flat
    lists of (class index, milliseconds, value); the value of a truth is whether it is visible, that
    of a spot its confidence in ten-thousandths. Thresholds are rounded alike, or a
    spot just at its threshold could fall below it.
    """
    index = {name: k for k, name in enumerate(classes)}
    systems = list(dict.fromkeys(s for game in games for half in game.halves for s in half.spots))
    limits = {
        system: {
            name: thresholds[system].get(name, 1.0) if system in thresholds else math.inf
            for name in classes
        }
        for system in systems
    }
    floor = _find_floor(games, limits)

    def spots(half: TimelineHalf, system: str) -> list[int]:
        flat: list[int] = []
        for spot in half.spots.get(system, ()):
            limit = limits[system].get(spot.label)
            if limit is not None and spot.confidence >= min(floor, limit):
                flat += (
                    index[spot.label],
                    round(1000 * spot.position),
                    round(10000 * spot.confidence),
                )
        return flat

    def truth(half: TimelineHalf) -> list[int] | None:
        if half.events is None:
            return None
        known = [event for event in half.events if event.label in index]
        return [
            value
            for event in known
            for value in (index[event.label], round(1000 * event.position), int(event.visible))
        ]

    data = {
        "classes": list(classes),
        "systems": [
            {
                "name": system,
                "thresholds": [round(10000 * limit) / 10000 for limit in limits[system].values()]
                if system in thresholds
                else None,
            }
            for system in systems
        ],
        "games": [
            {
                "name": game.name,
                "halves": [
                    {
                        "number": half.number,
                        "seconds": half.seconds,
                        "period": _PERIODS.get(half.number) if half.starts_match_clock else None,
                        "truth": truth(half),
                        "spots": [spots(half, system) for system in systems],
                    }
                    for half in game.halves
                ],
            }
            for game in games
        ],
    }
    return data, floor


def _find_floor(games: Sequence[TimelineGame], limits: Mapping[str, Mapping[str, float]]) -> float:
    """Finds the confidence, in hundredths, from which on all spots fit in a page.

    Args:
      games: See `write_timeline_page`.
      limits: For each system and class the confidence from which on spots take their place first.
    """
    first, rest = 0, []
    for half in (half for game in games for half in game.halves):
        for system, spots in half.spots.items():
            for spot in spots:
                limit = limits[system].get(spot.label)
                if limit is None:
                    continue
                if spot.confidence >= limit:
                    first += 1
                elif spot.confidence >= LEAST_CONFIDENCE:
                    rest.append(spot.confidence)
    room = max(0, MAX_SPOTS - first)
    if len(rest) <= room:
        return LEAST_CONFIDENCE
    rest.sort(reverse=True)
    return min(1.0, int(100 * rest[room] + 1) / 100)
