"""What corrected matches bring: spots on another broadcaster's pictures, before and after.

    python -m spotting.main --config=configs/demo_video.py
    python tests/programs/correct.py runs/demo_video FOLDER

Draws six matches of another season and gives them the look of another broadcaster: a closer picture
of less light and colour. RUN spots them all; the spots of two are corrected as somebody would in
`review` (accepted, moved, rejected, missing ones added); a training on these two and on the matches
that RUN was trained on starts from RUN's weights; and the other four are spotted again. So they are
after as long a training on the earlier matches alone, and on the corrected ones alone, by which
classes that do not occur in them are forgotten. Runs the commands that README gives. What is there
already in FOLDER is kept.
"""

import collections
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import av.filter

from spotting.base.files import read_object, write_json_atomic
from spotting.data.annotations import LABELS_FILE, Event, read_events
from spotting.data.dataset import DESCRIPTION_FILE
from spotting.data.simulated.season_video import write_season_videos
from spotting.reporting.review.match import Match, place_halves, read_spots
from spotting.reporting.review.serve import read_videos
from spotting.reporting.review.store import STATE_FILE, Item, Store
from spotting.runs.layout import SEASON

SEED, CORRECTED, OTHERS = 2, 2, 4
FEATURES = "EfficientNetLite0"
LOOK = (
    "crop=iw*0.8:ih*0.8,scale=398:224,lutyuv=y=0.75*val+4:u=0.5*(val-128)+128:v=0.5*(val-128)+128"
)
"""ffmpeg's filters from one broadcaster's pictures to the other's."""

EPOCHS = 10

THRESHOLD = 0.1
"""Spots of less confidence are not looked at; what they are right in is added by hand."""

REACH = 5.0
"""A spot is moved by no more than this, in seconds; it is rejected otherwise."""


def main() -> None:
    run, folder = map(Path, sys.argv[1:])
    drawn, truth, data = folder / "drawn", folder / "truth", folder / "data"
    files = write_season_videos(drawn, FEATURES, 2.0, 1280, SEED, (CORRECTED, 0, OTHERS))
    description = read_object(drawn / DESCRIPTION_FILE)
    games = list(files)
    corrected, others = games[:CORRECTED], games[CORRECTED:]
    for game, videos in files.items():
        kind = "corrected" if game in corrected else "others"
        for video in videos:
            path = folder / "videos" / kind / game / video.name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                film_again(video, path)
    for game in others:
        (truth / game).mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn / game / LABELS_FILE, truth / game / LABELS_FILE)
    common = {key: value for key, value in description.items() if key not in ("season", "splits")}
    write_json_atomic(truth / DESCRIPTION_FILE, {**common, "splits": {"test": others}})

    call("extract", f"--video={folder}/videos/corrected", f"--output={data}")
    call("predict", f"--workdir={run}", f"--features={data}", f"--output={folder}/spots")
    for game in corrected:
        if not (data / game / STATE_FILE).exists():
            videos = [folder / "videos" / "corrected" / game / video.name for video in files[game]]
            events = read_events(drawn / game / LABELS_FILE)
            work = correct(folder / "spots" / game, videos, data / game, events, common["classes"])
            print(f"{game}: " + ", ".join(f"{n} {what}" for what, n in work.items()), flush=True)
    season = run / SEASON
    earlier = read_object(season / DESCRIPTION_FILE)["splits"]["train"]
    for game in earlier:
        (data / game).mkdir(parents=True, exist_ok=True)
        for path in (*(season / game).glob("*.npy"), season / game / LABELS_FILE):
            shutil.copy(path, data / game / path.name)
    splits = {"earlier": earlier, "corrected": corrected, "both": earlier + corrected}

    unseen = f"--video={folder}/videos/others"
    call("predict", f"--workdir={run}", unseen, f"--output={folder}/before")
    unseen = f"--features={folder}/before/features"
    for split, trained_on in splits.items():
        write_json_atomic(data / DESCRIPTION_FILE, {**common, "splits": {"train": trained_on}})
        call(
            "main",
            "--config=configs/demo_video.py",
            f"--workdir={folder}/run_{split}",
            f"--config.data.root={data}",
            "--config.data.simulated=False",
            f"--config.confidence.initial_weights={run}",
            f"--config.displacement.initial_weights={run}",
            f"--config.training.epochs={EPOCHS}",
        )
        call("predict", f"--workdir={folder}/run_{split}", unseen, f"--output={folder}/{split}")
    for what in ("before", *splits):
        print(f"\n{OTHERS} other matches, {what}", flush=True)
        call("evaluate", f"--labels={truth}", f"--predictions={folder}/{what}")


def film_again(video: Path, path: Path) -> None:
    """Writes a video with the look of the other broadcaster."""
    temporary = path.with_name(f".{path.name}")
    with av.open(str(video)) as source, av.open(str(temporary), "w", format="mp4") as target:
        stream = source.streams.video[0]
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(template=stream)]
        for text in LOOK.split(","):
            name, _, arguments = text.partition("=")
            nodes.append(graph.add(name, arguments))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        options = {"preset": "ultrafast", "crf": "30", "g": "50"}
        written = target.add_stream("libx264", stream.average_rate, options=options)
        written.width, written.height, written.pix_fmt = stream.width, stream.height, "yuv420p"
        for frame in source.decode(stream):
            graph.push(frame)
            target.mux(written.encode(graph.pull()))
        target.mux(written.encode())
    os.replace(temporary, path)


def correct(
    spots: Path, videos: Sequence[Path], output: Path, events: Sequence[Event], classes: list[str]
) -> dict[str, int]:
    """Corrects a match in `review`, for somebody who knows its events; says what it took."""
    found = read_spots(spots)
    facts = read_videos(videos)
    halves = place_halves(facts, None, found.spots, output)
    store = Store(output, Match(found.game, tuple(classes), facts, halves, tuple(found.spots)))
    work: collections.Counter[str] = collections.Counter()
    changes: dict[str, Item] = {}
    shown = [item for item in store.items.values() if item["confidence"] >= THRESHOLD]
    missing = list(events)
    for item in sorted(shown, key=lambda item: -item["confidence"]):
        near = [event for event in missing if is_near(item, event)]
        if not near:
            work["rejected"] += 1
            changes[item["id"]] = {**item, "status": "rejected"}
            continue
        event = min(near, key=lambda event: abs(1000 * event.position - item["position"]))
        missing.remove(event)
        position = round(1000 * event.position)
        work["accepted" if abs(position - item["position"]) <= 500 else "moved"] += 1
        changes[item["id"]] = {**item, "status": "confirmed", "position": position}
    for number, event in enumerate(missing):
        work["added"] += 1
        changes[f"a{number}"] = {
            "half": event.half,
            "position": round(1000 * event.position),
            "label": event.label,
            "status": "confirmed",
            "visible": True,
        }
    store.apply(store.revision, changes)
    store.close()
    return dict(work)


def is_near(item: Item, event: Event) -> bool:
    """Whether a spot may be meant for an event."""
    distance = abs(1000 * event.position - item["position"])
    return (item["half"], item["label"]) == (event.half, event.label) and distance <= 1000 * REACH


def call(command: str, *arguments: str) -> None:
    """Runs a command of this package, and shows it."""
    print(f"$ spotting {command} {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", f"spotting.{command}", *arguments], check=True)


if __name__ == "__main__":
    main()
