import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from configs import common, te_base_resnet_pca, unet_combination, unet_resnet_pca
from spotting import benchmark, settings
from spotting.benchmarks import device, row, scoring, work
from spotting.errors import InputError
from spotting.files import write_json_atomic


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
    model = settings.network(config, "confidence", len(dataset.classes))
    shape = (1, settings.check_chunk(config, dataset.frame_rate), dataset.feature_dim)
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


def test_a_row_is_measured_in_each_way(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "_ROUNDS", (1, 1))
    monkeypatch.setattr(row, "_CPU_WORK", 0)
    monkeypatch.setattr(device, "_CPU_MATRIX", 64)
    monkeypatch.setattr(device, "_CPU_ARRAY", 64)
    monkeypatch.setattr(row, "_HALVES", 1)
    monkeypatch.setattr(row, "_HALF_SECONDS", 60.0)
    monkeypatch.setattr(row, "ABLATIONS", {name: row.ABLATIONS[name] for name in ("plain", "SAM")})
    config = unet_resnet_pca.get_config()
    config.model.update(reduction=(8, 4), levels=1)
    config.anchors.chunk = 4.0
    config.training.batch_size = 4
    found = row.measure(config, seeds=2, say=lambda text: None)
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
    write_json_atomic(tmp_path / "row.json", dataclasses.asdict(found))
    assert json.loads((tmp_path / "row.json").read_text())["parameters"] == found.parameters


def test_scoring_is_measured(monkeypatch):
    monkeypatch.setattr(device, "_ROUNDS", (1, 1))
    monkeypatch.setattr(scoring, "GAMES", 1)
    found = scoring.measure(lambda text: None)
    assert found.suppression > 0
    assert found.average_map > 0
    assert f"{found.average_map:.2f} s" in benchmark.scoring_table(found)


def test_features_of_no_known_size():
    config = common.get_config()
    config.data.features = "of my own"
    with pytest.raises(InputError, match=r"data\.root"):
        row.describe(config)
