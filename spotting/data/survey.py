"""Surveys a folder: what is missing, what is broken, what the rest adds up to."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spotting.base.errors import InputError
from spotting.base.text_table import text_table
from spotting.data.annotations import read_events
from spotting.data.checks import check_game, list_halves
from spotting.data.dataset import LABELLED_SPLITS, SOCCERNET_V2, Dataset

PUBLISHED_EVENTS: Mapping[str, int] = {
    "Penalty": 173,
    "Kick-off": 2_566,
    "Goal": 1_703,
    "Substitution": 2_839,
    "Offside": 2_098,
    "Shots on target": 5_820,
    "Shots off target": 5_256,
    "Clearance": 7_896,
    "Ball out of play": 31_810,
    "Throw-in": 18_918,
    "Foul": 11_674,
    "Indirect free-kick": 10_521,
    "Direct free-kick": 2_200,
    "Corner": 4_836,
    "Yellow card": 2_047,
    "Red card": 55,
    "Yellow->red card": 46,
}
"""Events of each class in the 500 games of SoccerNet-v2, 110,458 in all.

Source: Deliège et al., SoccerNet-v2, CVPR Workshops 2021.
"""

PUBLISHED_GAMES = 500
PUBLISHED_HOURS = 764.0
"""Of video, in the 500 games (Giancola et al., SoccerNet, CVPR Workshops 2018)."""


@dataclass
class SplitSurvey:
    """What a split of a folder holds.

    Attributes:
      games: listed for the split.
      halves: whose features can be used.
      seconds: that these last.
      events: of each class, in label files that can be read.
      missing: files that are not there.
      broken: one line for each game with a file that cannot be used.
    """

    games: int = 0
    halves: int = 0
    seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    missing: list[Path] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def survey_split(
    sources: Sequence[Dataset], split: str, progress: Callable[[int, int], None] | None = None
) -> SplitSurvey:
    """Looks at every game of a split; reads headers of feature files, and labels.

    Args:
      sources: the dataset, once for each feature set that is needed.
      split: one of its splits.
      progress: called with the number of games surveyed and of all.
    """
    dataset = sources[0]
    games = dataset.games(split)
    result = SplitSurvey(games=len(games))
    for done, game in enumerate(games, 1):
        try:
            halves = _list_all_halves(sources, game)
            files = [path for of_source in halves for path in of_source.values()]
            if split in LABELLED_SPLITS:
                files.append(dataset.labels_path(game))
            missing = [path for path in files if not path.is_file()]
            result.missing += missing
            if split in LABELLED_SPLITS and dataset.labels_path(game) not in missing:
                labels = (event.label for event in read_events(dataset.labels_path(game)))
                result.events.update(label for label in labels if label in dataset.classes)
            for source, of_source in zip(sources, halves, strict=True):
                if any(path in missing for path in of_source.values()):
                    continue
                lengths = check_game(source, game, of_source)
                if source is dataset:
                    result.halves += len(lengths)
                    result.seconds += sum(lengths.values()) / source.frame_rate
        except InputError as error:
            result.broken.append(str(error))
        if progress is not None:
            progress(done, len(games))
    return result


def _list_all_halves(sources: Sequence[Dataset], game: str) -> list[dict[int, Path]]:
    """The feature files that a game should have of each feature set: all of the same halves."""
    found = [list_halves(source, game) for source in sources]
    numbers = sorted(set().union(*found))
    return [
        {number: of_source.get(number, source.half_path(game, number)) for number in numbers}
        for source, of_source in zip(sources, found, strict=True)
    ]


def describe_splits(surveys: Mapping[str, SplitSurvey]) -> str:
    """A table of the splits, a line each."""
    rows = [
        (
            split,
            f"{found.games}",
            f"{found.halves}",
            f"{found.seconds / 3600:.1f}",
            f"{found.events.total():,}",
            f"{len(found.missing)}",
            f"{len(found.broken)}",
        )
        for split, found in surveys.items()
    ]
    return text_table(rows, ("split", "games", "halves", "hours", "events", "missing", "broken"))


def describe_problems(surveys: Mapping[str, SplitSurvey], most: int = 10) -> list[str]:
    """The first missing and broken files of each split, a line each."""
    lines = []
    for split, found in surveys.items():
        for kind, problems in (("missing", found.missing), ("broken", found.broken)):
            lines += [f"{split}: {kind}: {problem}" for problem in problems[:most]]
            if len(problems) > most:
                lines.append(f"{split}: {kind}: and {len(problems) - most} more")
    return lines


def describe_events(dataset: Dataset, surveys: Mapping[str, SplitSurvey]) -> list[str]:
    """A table of events per class, for SoccerNet-v2 beside the published counts."""
    splits = [split for split in surveys if split in LABELLED_SPLITS]
    official = dataset.name == SOCCERNET_V2
    width = max(len("hours of video"), *map(len, dataset.classes)) + 2
    header = f"{'events':<{width}}" + "".join(f"{name:>9}" for name in (*splits, "all"))
    lines = [header + (f"{'published':>11}" if official else "")]

    def add(name: str, values: Sequence[float], published: float | None, slack: float = 0) -> None:
        digits = 1 if slack else 0
        cells = "".join(f"{value:>9,.{digits}f}" for value in (*values, sum(values)))
        line = f"{name:<{width}}{cells}"
        if published is not None and official:
            differs = abs(sum(values) - published) > slack
            line += f"{published:>11,.0f}" + ("  differs" if differs else "")
        lines.append(line)

    for label in dataset.classes:
        counts = [surveys[split].events[label] for split in splits]
        add(label, counts, PUBLISHED_EVENTS.get(label))
    totals = [surveys[split].events.total() for split in splits]
    add("all events", totals, sum(PUBLISHED_EVENTS.values()))
    add("games", [surveys[split].games for split in splits], PUBLISHED_GAMES)
    hours = [surveys[split].seconds / 3600 for split in splits]
    add("hours of video", hours, PUBLISHED_HOURS, slack=5.0)
    return lines
