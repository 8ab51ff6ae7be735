import json
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from configs import (
    best_combination,
    best_matches,
    best_resnet_pca,
    best_study,
    calf_matches,
    common,
    matches,
    table1,
    te_base_resnet_pca,
    te_small_resnet_pca,
    unet_combination,
    unet_resnet_pca,
)
from spotting.base import cli
from spotting.base.errors import InputError
from spotting.models import network
from spotting.models.network import Trunk
from spotting.runs import config as runs_config
from spotting.runs import config_files, setup


@pytest.mark.parametrize(
    ("module", "argument", "row"),
    [
        (unet_resnet_pca, "du", "DU ResNet+PCA"),
        (unet_resnet_pca, "sam", "DU+SAM ResNet+PCA"),
        (unet_resnet_pca, None, "DU+SAM+mixup ResNet+PCA"),
        (te_small_resnet_pca, None, "DTES+SAM+mixup ResNet+PCA"),
        (te_base_resnet_pca, None, "DTEB+SAM+mixup ResNet+PCA"),
        (unet_combination, "du", "DU Combination"),
        (unet_combination, "sam", "DU+SAM Combination"),
        (unet_combination, None, "DU+SAM+mixup Combination"),
    ],
)
def test_the_eight_rows_of_table_1(module, argument, row):
    config = module.get_config(argument)
    runs_config.check_config(config)
    assert config.paper_row == row
    assert (config.confidence.rho > 0) == (config.displacement.rho > 0) == ("SAM" in row)
    assert (config.confidence.mixup_alpha > 0) == ("mixup" in row)
    assert setup.steps_per_epoch(config) == (128 if "DTEB" in row else 32)
    assert setup.chunk_frames(config, 1.0 if "Combination" in row else 2.0) in (112, 224)


def test_unknown_ablation():
    with pytest.raises(ValueError, match="unknown config argument 'mixup'"):
        unet_resnet_pca.get_config("mixup")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("confidence.rho", -0.5, "0 or more"),
        ("training.epochs", 0, "greater than 0"),
        ("training.chunks_per_epoch", 1000, "a multiple of training.batch_size"),
        ("anchors.positive_share", 1.5, "between 0 and 1"),
        ("model.trunk", "lstm", "one of unet, transformer"),
        ("model.reduction", (256, 0), "positive"),
        ("seeds", (1, 1), "distinct"),
        ("seeds", (), "distinct"),
        ("seeds", ("a",), "whole numbers"),
        ("seeds", (1.5,), "whole numbers"),
        ("seeds", (-1,), "from 0 to"),
        ("seeds", (2**32,), "from 0 to"),
        ("model.reduction", (1.5, 8), "whole numbers"),
        ("postprocessing.window", (0.0,), "greater than 0"),
        ("postprocessing.window", (), "greater than 0"),
        ("postprocessing.window", ("a",), "numbers"),
        ("postprocessing.window", (math.nan,), "finite"),
        ("tune.window", (0.0,), "greater than 0"),
        ("tune.confidence.learning_rate", ("a",), "numbers"),
        ("tune.displacement.rho", (math.nan,), "finite"),
        ("anchors.chunk", math.inf, "finite"),
        ("inference.border", math.inf, "finite"),
        ("confidence.mixup_alpha", math.inf, "finite"),
        ("training.adam_b1", 1.0, "less than 1"),
        ("training.average_decay", 1.0, "less than 1"),
        ("confidence.augmentation.drop_frames", 1.0, "less than 1"),
        ("confidence.augmentation.shift_frames", 1.5, "between 0 and 1"),
        ("anchors.confidence_shape", "cone", "one of box, gaussian"),
        ("data.event_time", "position_ms", "one of gameTime, position, evaluation"),
        ("postprocessing.decay", ("cubic",), "of linear, quadratic, gaussian"),
        ("postprocessing.decay", (), "one or more"),
        ("tune.decay", ("cubic",), "of linear, quadratic, gaussian"),
        ("tune.pseudo_events", -1.0, "0 or more"),
        ("postprocessing.vote_spread", -1.0, "0 or more"),
        ("postprocessing.vote_spread", 61.0, "60 or less"),
        ("postprocessing.vote_rate", -1.0, "0 or more"),
        ("postprocessing.vote_rate", 1e9, "1000 or less"),
        ("tune.vote_spread", (0.5, -1.0), "0 or more"),
        ("tune.vote_spread", (61.0,), "60 or less"),
        ("data.resample", 1e9, "1000 or less"),
        ("data.stream_parts", 3, "a divisor of training.batch_size"),
    ],
)
def test_values_out_of_range_are_named(field, value, message):
    config = common.get_config()
    config.update_from_flattened_dict({field: value})
    pattern = re.escape(f"config.{field} is ") + f".*{message}"
    with pytest.raises(InputError, match=pattern):
        runs_config.check_config(config)


@pytest.mark.parametrize("field", ["vote_spread", "vote_rate"])
def test_a_system_without_votes_cannot_count_them(field):
    config = calf_matches.get_config()
    config.postprocessing[field] = 2.0
    with pytest.raises(InputError, match="must be 0 for a system without votes"):
        runs_config.check_config(config)


def test_a_study_is_no_experiment():
    with pytest.raises(InputError, match=r"a study.* name the config of a row, such as configs/"):
        runs_config.check_config(table1.get_config())


def test_chunk_that_the_trunk_cannot_take():
    config = common.get_config()
    config.model.unet.levels = 8
    with pytest.raises(InputError, match="8 U-net levels cannot halve"):
        setup.chunk_frames(config, 2.0)
    config.model.trunk = "transformer"
    config.model.transformer.update(width=100, num_heads=3)
    with pytest.raises(InputError, match=r"not a multiple of model.transformer.num_heads"):
        setup.chunk_frames(config, 2.0)


def test_a_folder_belongs_to_one_config(tmp_path):
    config = common.get_config()
    runs_config.check_workdir(config, tmp_path)
    runs_config.save_config(config, tmp_path)
    runs_config.check_workdir(config, tmp_path)

    config.data.root = "elsewhere"
    config.data.loader = "stream"
    config.devices.count = 3
    config.logging.progress = False
    runs_config.check_workdir(config, tmp_path)

    config.confidence.rho = 0.1
    with pytest.raises(InputError, match=r"differs in confidence\.rho; choose another --workdir"):
        runs_config.check_workdir(config, tmp_path)


def test_a_saved_config_describes_the_same_run(tmp_path):
    config = unet_combination.get_config()
    runs_config.save_config(config, tmp_path)
    loaded = runs_config.load_config(tmp_path)
    runs_config.check_config(loaded)
    assert json.dumps(loaded.to_dict()) == json.dumps(config.to_dict())
    assert setup.make_network(loaded, "confidence", 17) == setup.make_network(
        config, "confidence", 17
    )
    with pytest.raises(InputError, match="not a run folder"):
        runs_config.load_config(tmp_path / "nothing")


def test_the_data_s_folder_is_written_from_the_root_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = common.get_config()
    for root, expected in (("data", str(tmp_path / "data")), ("gs://a/b", "gs://a/b"), ("", "")):
        config.data.root = root
        runs_config.save_config(config, tmp_path)
        assert runs_config.load_config(tmp_path).data.root == expected
    assert config.data.root == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a JSON object"),
        ("3", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ("{}", "no config of a run"),
        ('{"model": 3}', "no config of a run"),
    ],
)
def test_a_damaged_config_is_named(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        runs_config.load_config(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def get_config(:", "SyntaxError"),
        ("import nothing_there", "No module named 'nothing_there'"),
        ("def get_config(): 1 / 0", "ZeroDivisionError"),
        ("def get_config(): return {}", "returns no ConfigDict"),
    ],
)
def test_a_config_file_that_fails_is_one_line(tmp_path, monkeypatch, capsys, source, message):
    path = tmp_path / "broken.py"
    path.write_text(source)
    monkeypatch.setattr("sys.argv", ["program", f"--config={path}"])
    parser = cli.Parser("program", "What it does.")
    parser.add_config("a file")
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: config_files.load(parser.parse_args().config))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_run_folder_of_the_version_before_is_the_same_run(tmp_path):
    """It had the sizes of both trunks in `model` itself, and fewer fields."""
    config = unet_combination.get_config()
    runs_config.save_config(config, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    for trunk in ("unet", "transformer"):
        values["model"] |= values["model"].pop(trunk)
    for name in runs_config._LATER_FIELDS:
        # What was a trunk's own lay in `model` itself.
        group, _, leaf = name.replace("model.transformer", "model").rpartition(".")
        del (values[group] if group else values)[leaf]
    values["confidence"]["balanced_partners"] = False
    (tmp_path / "config.json").write_text(json.dumps(values))
    loaded = runs_config.load_config(tmp_path)
    assert loaded.model.unet.levels == 5
    assert setup.make_network(loaded, "confidence", 17) == setup.make_network(
        config, "confidence", 17
    )
    runs_config.check_workdir(config, tmp_path)
    config.model.unet.levels = 4
    with pytest.raises(InputError, match=r"differs in model\.unet\.levels"):
        runs_config.check_workdir(config, tmp_path)
    # One that the version before could do, and this cannot.
    config.model.unet.levels = 5
    values["confidence"]["balanced_partners"] = True
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"differs in confidence\.balanced_partners"):
        runs_config.check_workdir(config, tmp_path)


@pytest.mark.parametrize("text", ["3", "a:b", "0:2", "5:2", ":"])
def test_steps_to_profile_are_first_and_last(text):
    config = common.get_config()
    config.logging.profile = text
    with pytest.raises(InputError, match=r"config\.logging\.profile .* FIRST:LAST"):
        runs_config.check_config(config)


class Doubling(nn.Module):
    """A trunk as a reader would add one."""

    width: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(jnp.concatenate([x, x], axis=-1))


def test_a_trunk_of_ones_own(monkeypatch):
    """A module, a line in the table, and its sizes in the config."""
    trunk = Trunk(
        lambda input_width, dtype, precision, *, width: Doubling(width),
        lambda frames, *, width: None,
    )
    monkeypatch.setattr(network, "TRUNKS", {**network.TRUNKS, "doubling": trunk})
    monkeypatch.setattr(setup, "TRUNKS", network.TRUNKS)
    monkeypatch.setitem(runs_config._CHOICES, "model.trunk", tuple(network.TRUNKS))
    config = common.get_config()
    config.model.trunk, config.model.doubling = "doubling", ConfigDict({"width": 6})
    runs_config.check_config(config)
    assert setup.chunk_frames(config, 2.0) == 224
    model = setup.make_network(config, "displacement", 3)
    outputs = model.init_with_output(jax.random.key(0), jnp.ones((1, 8, 12)))[0]
    assert outputs.shape == (1, 8, 3)
    config.model.doubling.width = 0
    with pytest.raises(InputError, match=r"model\.doubling\.width is 0"):
        runs_config.check_config(config)


@pytest.mark.parametrize("module", [best_matches, best_resnet_pca, best_combination])
def test_the_best_configs_change_what_was_kept_alone(module):
    config = module.get_config()
    runs_config.check_config(config)
    base = {
        best_matches: matches,
        best_resnet_pca: unet_resnet_pca,
        best_combination: unet_combination,
    }[module]
    changed = runs_config.flatten(config.to_dict()).items()
    usual = runs_config.flatten(base.get_config().to_dict())
    kept = {"anchors.confidence_shape", "anchors.displacement_radius", "training.average_decay"}
    kept |= set() if module is best_combination else {"data.event_time"}
    names = ("nms", "window", "soft_threshold", "displacement_scale", "vote_spread")
    kept |= {f"postprocessing.{name}" for name in names} | {"inference.border"}
    kept |= {"postprocessing.vote_rate"} if module is best_combination else set()
    kept |= {name for name in usual if name.startswith("confidence.augmentation.")}
    found = {name for name, value in changed if usual[name] != value}
    assert found - {"training.epochs", "paper_row"} == kept


@pytest.mark.parametrize("row", best_study.IDEAS)
def test_a_row_of_the_best_study_changes_one_field_or_group(row):
    config, base = (best_study.get_config(each) for each in (row, "base"))
    runs_config.check_config(config)
    usual = runs_config.flatten(base.to_dict())
    changed = [n for n, v in runs_config.flatten(config.to_dict()).items() if usual[n] != v]
    group = "confidence.augmentation."
    assert len({group if name.startswith(group) else name for name in changed}) == 1
    with pytest.raises(ValueError, match="unknown row 'other'"):
        best_study.get_config("other")
