"""--config and the fields that the command line sets."""

import subprocess
import sys
from pathlib import Path

import pytest

from spotting.base import cli
from spotting.base.errors import InputError
from spotting.runs import config_files

ROOT = Path(__file__).parents[1]
UNET = "--config=unet_resnet_pca"


@pytest.fixture
def parse():
    """Reads a command line that has a config, and its --count."""

    def parse(*arguments):
        parser = cli.Parser("program", "What it does.")
        parser.add_config("a file")
        parser.add_argument("--count", type=int)
        found = parser.parse_args(arguments)
        return config_files.load(found.config), found

    return parse


@pytest.mark.parametrize(
    ("texts", "field", "value"),
    [
        (["epochs=7"], "epochs", 7),
        (["epochs", "7"], "epochs", 7),
        (["epochs=3", "epochs=4"], "epochs", 4),
        (["adam_eps=1"], "adam_eps", 1.0),
        (["adam_eps=1e-3"], "adam_eps", 1e-3),
        (["select=last"], "select", "last"),
    ],
)
def test_numbers_and_text(parse, texts, field, value):
    flags = [f"--config.training.{text}" if text != "7" else text for text in texts]
    config, found = parse(UNET, *flags, "--count=3")
    assert config.training[field] == value
    assert type(config.training[field]) is type(value)
    assert found.count == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", (1,)),
        ("1,2", (1, 2)),
        ("(1, 2)", (1, 2)),
        ("[1, 2]", (1, 2)),
        ("1,", (1,)),
        ("", ()),
        ("()", ()),
    ],
)
def test_tuples(parse, text, value):
    assert parse(UNET, f"--config.seeds={text}")[0].seeds == value
    # The last one counts, as for any other field.
    assert parse(UNET, "--config.seeds=8,9", f"--config.seeds={text}")[0].seeds == value


def test_tuples_of_words(parse):
    config, _ = parse(UNET, "--config.data.concatenate=a,b")
    assert config.data.concatenate == ("a", "b")
    assert parse(UNET, "--config.data.concatenate=('a',)")[0].data.concatenate == ("a",)
    assert parse(UNET, "--config.data.concatenate=a/b")[0].data.concatenate == ("a/b",)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--config.logging.progress", True),
        ("--noconfig.logging.progress", False),
        ("--config.logging.progress=False", False),
        ("--config.logging.progress=true", True),
        ("--config.logging.progress=0", False),
    ],
)
def test_switches(parse, flag, value):
    config, _ = parse(UNET, f"--config.logging.progress={not value}", flag)
    assert config.logging.progress is value


def test_a_field_may_come_before_the_config(parse):
    assert parse("--config.seeds=3", UNET)[0].seeds == (3,)
    assert parse("--config", "unet_resnet_pca", "--config.seeds=3")[0].seeds == (3,)


def test_the_fields_of_a_study_without_a_value(parse):
    config, _ = parse("--config=table1", "--config.training.epochs=4", "--config.seeds=1,2")
    assert (config.training.epochs, config.seeds) == (4, (1, 2))
    assert config.data.root is None
    config, _ = parse("--config=table1", "--config.training.epochs=4", "--config.data.root=x")
    assert config.data.root == "x"
    config, _ = parse("--config=table1", "--config.training.epochs=4", "--config.seeds=None")
    assert config.seeds is None


@pytest.mark.parametrize("kind", ["list", "None"])
def test_fields_of_other_types(parse, tmp_path, kind):
    value = {"list": "[1]", "None": "None"}[kind]
    path = tmp_path / "mine.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        f"def get_config(): return ConfigDict({{'field': {value}}})\n"
    )
    config, _ = parse(f"--config={path}", "--config.field=[2, 3]")
    assert config.field == [2, 3]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--config=configs/NAME.py is missing; see --help"),
        (["--config.training.epochs=3"], "--config=configs/NAME.py is missing"),
        ([UNET, "--config.data.rot=x"], "no such field: data.rot; did you mean data.root?"),
        ([UNET, "--config.rot=x"], "no such field: rot; did you mean data.root?"),
        ([UNET, "--config.modle.levels=1"], "did you mean model.unet.levels?"),
        ([UNET, "--config.training.levels=1"], "did you mean model.unet.levels?"),
        ([UNET, "--config.seeds.x=1"], "no such field: seeds.x; "),
        ([UNET, "--config.zzz=1"], "no such field: zzz; the config has anchors, "),
        ([UNET, "--config.devices.zzz=1"], "config.devices has count, distributed"),
        (["--config=matches_study:du", "--config.scale.width=1"], "only a study has it"),
        ([UNET, "--config.data=1"], "a group of fields; set one of them: data.concatenate, "),
        ([UNET, "--config.training.epochs=x"], "epochs=x: the field takes a whole number"),
        ([UNET, "--config.training.epochs=1.5"], "takes a whole number"),
        ([UNET, "--config.training.adam_b1=x"], "takes a number"),
        ([UNET, "--config.logging.progress=x"], "takes true or false"),
        ([UNET, "--config.seeds=(1,"], "takes values with commas between"),
        ([UNET, "--config.training.epochs", "--count=3"], "needs a value"),
        ([UNET, "--cuont=3"], "unrecognized arguments: --cuont=3; did you mean --count?"),
        (["--config=demoo"], "did you mean demo?"),
        (["--config=nothing/here.py"], "no such file"),
        (["--config=table1:du"], "it takes no argument, leave :du out"),
        (["--config=demo:x"], "unknown config argument 'x'; one of du, sam, sam_mixup"),
        ([f"--config={ROOT / 'setup.cfg'}"], "not a Python file"),
    ],
)
def test_what_is_wrong_is_one_line(parse, flags, message):
    with pytest.raises(InputError) as error:
        parse(*flags)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_without_get_config(parse, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("config = 3\n")
    with pytest.raises(InputError, match=r"mine\.py: it has no get_config"):
        parse(f"--config={path}")


@pytest.mark.parametrize("spec", ["demo", "configs/demo", "configs/demo.py", "demo.py"])
def test_configs_that_ship_have_names(parse, tmp_path, monkeypatch, spec):
    monkeypatch.chdir(tmp_path)
    config, found = parse(f"--config={spec}:sam")
    assert config.data.simulated
    assert found.config.default_workdir == Path("runs/demo_sam")


def test_the_users_own_file_comes_first(parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.py").write_text(
        "from configs import common\n"
        "def get_config():\n"
        "    config = common.get_config()\n"
        "    config.seeds = (5,)\n"
        "    return config\n"
    )
    assert parse("--config=demo")[0].seeds == (5,)


def test_configs_build_upon_those_that_ship_from_any_folder(tmp_path):
    """Also where the user keeps a folder configs/ of their own."""
    mine = tmp_path / "configs" / "mine.py"
    mine.parent.mkdir()
    mine.write_text(
        "from configs import common, other\n"
        "def get_config():\n"
        "    config = common.get_config()\n"
        "    config.seeds = other.SEEDS\n"
        "    return config\n"
    )
    (tmp_path / "configs" / "other.py").write_text("SEEDS = (7,)\n")
    program = (
        "import sys\n"
        f"sys.path[:0] = [{str(tmp_path)!r}]; sys.path.append({str(ROOT)!r})\n"
        "sys.modules.pop('configs', None)\n"
        "from spotting.runs import config_files\n"
        "sys.path.pop()\n"
        "print(config_files.load_config('configs/mine.py').seeds)\n"
        "print(config_files.load_config('unet_resnet_pca').paper_row)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "(7,)\nDU+SAM+mixup ResNet+PCA\n"


def test_every_config_that_ships_loads():
    for name in config_files.shipped_names():
        assert config_files.load_config(name).is_locked
