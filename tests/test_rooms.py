"""The directions in which rooms import each other, as imports say, those inside functions too."""

import ast
from pathlib import Path

import pytest

import spotting

ROOT = Path(spotting.__file__).parent

# From left to right; a room imports itself and what stands in an earlier group.
ORDER = (
    ("base", "notation", "timing"),
    ("anchors",),
    ("models", "data", "video"),
    ("inference", "training"),
    ("scoring",),
    ("runs",),
    ("reporting",),
    ("experiment", "spotter", "benchmarks"),
    ("studies",),
)
LEVELS = {room: level for level, group in enumerate(ORDER) for room in group}

DOORS = {
    path.stem for path in ROOT.glob("*.py") if path.stem not in {*LEVELS, "__init__", "__main__"}
}
TENSORFLOW = ("data/prepared/", "models/keras_files.py")
BELOW_RUNS = {room for room, level in LEVELS.items() if level < LEVELS["runs"]}


def list_imports(path: Path) -> set[str]:
    """Names of modules that a file imports, anywhere in it, but not only for types."""
    found: set[str] = set()
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            skipped.update(each for child in node.body for each in ast.walk(child))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


FILES = {path.relative_to(ROOT).as_posix(): list_imports(path) for path in ROOT.rglob("*.py")}


def find_room(name: str) -> str:
    """The room of a file, as `data/checks.py`, or of a module, as `spotting.data.checks`."""
    parts = name.removesuffix(".py").removeprefix("spotting.").replace("/", ".").split(".")
    return parts[0]


def list_own(imports: set[str]) -> set[str]:
    """What is imported of this project, without the lazy names of the package itself."""
    own = {name for name in imports if name.startswith("spotting.")}
    return {name for name in own if find_room(name) in {*LEVELS, *DOORS}}


def test_every_file_has_a_room():
    folders = {path.name for path in ROOT.iterdir() if any(path.glob("*.py"))}
    assert folders <= LEVELS.keys()
    assert {"main", "evaluate", "predict", "prepare"} <= DOORS
    assert len(FILES) > 60
    # Imports were found at all, inside functions too.
    assert "spotting.data.annotations.read_events" in FILES["data/halves.py"]
    assert "huggingface_hub" in FILES["data/download.py"]


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_room_imports_what_stands_left_of_it(file):
    room = find_room(file)
    if room in DOORS or room in ("__main__", "__init__"):
        return
    against = set()
    for name in list_own(FILES[file]):
        other = find_room(name)
        if other != room and not (other in LEVELS and LEVELS[other] < LEVELS[room]):
            against.add((file, name))
    assert against == set()


def test_nothing_imports_a_door():
    # The package's own names are those of the rooms; __main__ opens every door.
    found = {
        (file, name)
        for file, imports in FILES.items()
        for name in list_own(imports)
        if find_room(name) in DOORS and file != "__main__.py"
    }
    assert found == set()


def test_configs_are_for_runs():
    found = {
        (file, name)
        for file, imports in FILES.items()
        for name in imports
        if find_room(file) in BELOW_RUNS and name.partition(".")[0] == "ml_collections"
    }
    assert found == set()


def test_tensorflow_has_two_places():
    names = ("tensorflow", "tensorflow_datasets")
    using = {
        file
        for file, imports in FILES.items()
        if any(name.partition(".")[0] in names for name in imports)
    }
    assert using
    assert {file for file in using if not file.startswith(TENSORFLOW)} == set()
