import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from configs import common, te_base_resnet_pca, unet_combination, unet_resnet_pca
from spotting import benchmark
from spotting.base import cli
from spotting.base.errors import InputError
from spotting.benchmarks import device, row, scoring, work
from spotting.runs.setup import chunk_frames, make_network

pytestmark = pytest.mark.slow


def test_products_are_counted():
    def function(x, y):
        return jax.jit(lambda x: x @ y)(x) + jnp.einsum("bij,kij->bk", x[None], y[None])

    program = jax.jit(function).trace(jnp.ones((3, 3)), jnp.ones((3, 3)))
    assert work.product_flop(program.jaxpr) == 2 * 27 + 2 * 9


@pytest.mark.parametrize(
    ("config", "gigaflop"),
    # Combination: 112 x 8576 x 512 x 2 in its first layer alone.
    [(unet_resnet_pca, 0.46), (unet_combination, 1.11), (te_base_resnet_pca, 4.85)],
)
def test_work_of_the_paper_s_networks(config, gigaflop):
    config = config.get_config()
    dataset = row.describe(config)
    model = make_network(config, "confidence", len(dataset.classes))
    shape = (1, chunk_frames(config, dataset.frame_rate), dataset.feature_dim)
    chunks = jax.ShapeDtypeStruct(shape, jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), chunks)
    program = jax.jit(model.apply).trace(params, chunks)
    assert work.product_flop(program.jaxpr) == pytest.approx(gigaflop * 1e9, rel=0.02)


def test_functions_take_turns(monkeypatch):
    monkeypatch.setattr(device, "_ROUNDS", (2, 2))
    calls = []
    times = device.median_seconds(lambda: calls.append("a"), lambda: calls.append("b"))
    assert calls == ["a", "b"] * 3
    assert all(0 <= taken < 1 for taken in times)


@pytest.fixture(scope="module")
def config():
    """Of a network that is measured within seconds."""
    config = unet_resnet_pca.get_config()
    config.model.update(reduction=(8, 4), unet={"levels": 1})
    config.anchors.chunk = 4.0
    config.training.batch_size = 4
    return config


@pytest.fixture(scope="module")
def found(config):
    """What is measured of it, two seeds together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_ROUNDS", (1, 1))
        patch.setattr(device, "_CPU_MATRIX", 64)
        patch.setattr(device, "_CPU_ARRAY", 64)
        patch.setattr(row, "_CPU_WORK", 0)
        patch.setattr(row, "_HALVES", 1)
        patch.setattr(row, "_HALF_SECONDS", 60.0)
        patch.setattr(row, "ABLATIONS", {name: row.ABLATIONS[name] for name in ("plain", "SAM")})
        return row.measure(config, seeds=2, log=lambda text: None)


def test_a_row_is_measured_in_each_way(config, found):
    assert list(found.epochs) == ["plain", "SAM"]
    assert found.batch_size == 4
    assert found.work.gradient_flop > found.work.forward_flop > 0
    for epoch in found.epochs.values():
        assert epoch.steps == 2
        assert epoch.seconds == pytest.approx(epoch.step_seconds * 2048)
        assert epoch.speed.chunks_per_s == pytest.approx(2 * 4 / epoch.step_seconds)
        assert epoch.speed.matmul_share > 0
        assert epoch.speed.bandwidth_share > 0

    every = config.training.validate_every
    for name, share in found.validation.shares.items():
        expected = found.validation.seconds / (every * found.epochs[name].seconds)
        assert share == pytest.approx(expected)

    table = benchmark.row_table(found)
    assert "1,447" in table  # the paper's chunks per second
    assert [line for line in table.splitlines() if line.endswith("8.1 s")]  # its epoch with SAM


@pytest.fixture
def run_benchmark(found, monkeypatch, capsys):
    """Runs the command with measurements that take no time; gives what was asked and printed."""

    def run(*arguments):
        asked = []
        monkeypatch.setattr(
            row, "measure", lambda config, seeds, log: asked.append((config, seeds)) or found
        )
        scored = scoring.Scoring(0.25, 0.125, 0.1875, 0.3125, 0.0625)
        monkeypatch.setattr(scoring, "measure", lambda log: scored)
        monkeypatch.setattr("sys.argv", ["benchmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.run(benchmark.main)
        return asked, ended.value.code, *capsys.readouterr()

    caches = jax.config.jax_enable_compilation_cache
    yield run
    jax.config.update("jax_enable_compilation_cache", caches)


def test_the_command_measures_all_networks_and_writes_them_down(run_benchmark, found, tmp_path):
    file = tmp_path / "speed.json"
    asked, status, out, _ = run_benchmark(
        "--all", "--dtype=bfloat16", "--seeds=3", f"--json={file}"
    )
    assert not status
    assert {config.paper_row for config, _ in asked} == {
        f"{method}+SAM+mixup {features}"
        for method, features in (
            ("DU", "ResNet+PCA"),
            ("DU", "Combination"),
            ("DTES", "ResNet+PCA"),
            ("DTEB", "ResNet+PCA"),
        )
    }
    assert {seeds for _, seeds in asked} == {3}
    dtypes = {(config.model.dtype, config.data.resident_dtype) for config, _ in asked}
    assert dtypes == {("bfloat16", "bfloat16")}
    assert out.count("matrix products alone") == 4
    figures = json.loads(file.read_text())
    assert figures["rows"] == [json.loads(json.dumps(dataclasses.asdict(found)))] * 4
    assert figures["scoring"]["average_map"] == 0.0625
    assert figures["environment"]["device"]
    assert len(figures["paper"]) == 8


def test_the_command_measures_one_row_as_its_config_has_it(run_benchmark):
    path = Path(__file__).parents[1] / "configs" / "unet_combination.py"
    asked, status, out, _ = run_benchmark(f"--config={path}")
    ((config, seeds),) = asked
    assert not status
    assert config.data.features == unet_combination.get_config().data.features
    assert (config.model.dtype, seeds) == ("float32", 1)
    assert "0.06 s" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all", f"--config={unet_combination.__file__}"], "leave --config out, or --all"),
        ([], "--config=configs/NAME.py is missing"),
        (["--config=netvladpp_resnet_pca"], "a config of the system 'netvlad'"),
        (["--dtype=float16"], "see --help"),
        (["--seeds=0"], "see --help"),
    ],
)
def test_what_the_command_does_not_take(run_benchmark, arguments, message):
    asked, status, _, err = run_benchmark(*arguments)
    assert (asked, status) == ([], 2)
    assert message in err


def test_scoring_is_measured(monkeypatch):
    monkeypatch.setattr(device, "_ROUNDS", (1, 1))
    monkeypatch.setattr(scoring, "GAMES", 1)
    found = scoring.measure(lambda text: None)
    assert found.suppression > 0
    assert found.soft_suppression > 0
    assert found.average_map > 0
    assert f"{found.average_map:.2f} s" in benchmark.scoring_table(found)


def test_features_of_no_known_size():
    config = common.get_config()
    config.data.features = "of my own"
    with pytest.raises(InputError, match=r"data\.root"):
        row.describe(config)
