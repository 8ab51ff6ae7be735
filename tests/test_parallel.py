"""How devices are shared among the trainings of several seeds."""

import jax
import jax.numpy as jnp
import pytest

from spotting.base import parallel
from spotting.base.errors import InputError


@pytest.mark.parametrize(
    ("devices", "batch_size", "trainings", "side_by_side"),
    [
        (1, 256, 5, 1),
        (8, 256, 1, 1),
        (8, 256, 5, 1),  # 5 times 32 chunks; with a device each it would be 256 in a row
        (8, 256, 8, 8),  # as fast, without sums over devices
        (64, 256, 5, 8),  # 32 chunks once; 4 chunks take as long as 16, five times
        (64, 256, 1, 1),
        (6, 256, 3, 3),  # six devices cannot share 256 chunks, two can
        (3, 256, 2, 3),
    ],
)
def test_trainings_share_devices_where_that_is_faster(devices, batch_size, trainings, side_by_side):
    assert parallel.count_side_by_side(devices, batch_size, trainings, 16) == side_by_side


def test_a_batch_that_devices_cannot_share():
    with pytest.raises(InputError, match="batch_size 256 is not a multiple of the 6 devices"):
        parallel.count_side_by_side(6, 256, 1, 16)


def test_one_device_holds_all_trainings_as_they_are():
    mesh = parallel.make_mesh(1, 4)
    states = {"key": jax.random.split(jax.random.key(0), 3), "weights": jnp.arange(6.0)}
    states["weights"] = states["weights"].reshape(3, 2)
    spread = parallel.spread_trainings(mesh, states)
    assert spread["weights"].tolist() == states["weights"].tolist()
    assert jnp.all(jax.random.key_data(spread["key"]) == jax.random.key_data(states["key"]))
    assert parallel.gather(mesh, spread, 3) is spread
    assert parallel.describe_mesh(mesh) == "1 x cpu"
