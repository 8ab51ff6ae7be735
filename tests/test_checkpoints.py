import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting.base.errors import InputError
from spotting.training.checkpoints import Checkpoints, stack, unstack
from spotting.training.loop import Saved


def _tree(value):
    return Saved({"w": jnp.full((2, 3), value), "key": jax.random.key(int(value))}, float(value))


def test_restores_what_was_saved(tmp_path):
    keeper = Checkpoints(tmp_path)
    assert keeper.step("latest") is None
    keeper.save("latest", 3, _tree(7.0))
    restored = Checkpoints(tmp_path).restore("latest", _tree(0.0))
    assert restored.best == 7.0
    np.testing.assert_array_equal(restored.state["w"], np.full((2, 3), 7.0))
    draw = jax.random.normal(restored.state["key"], (4,))
    np.testing.assert_array_equal(draw, jax.random.normal(jax.random.key(7), (4,)))


def test_keeps_the_newest_two_and_one_best(tmp_path):
    keeper = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        keeper.save("latest", step, _tree(step))
        keeper.save("best", step, _tree(step))
    assert keeper.step("latest") == 3
    assert keeper.restore("latest", _tree(0.0), 2).best == 2.0
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["3"]


def test_saving_a_step_again_changes_nothing(tmp_path):
    keeper = Checkpoints(tmp_path)
    keeper.save("best", 1, _tree(1.0))
    keeper.save("best", 1, _tree(1.0))
    assert keeper.restore("best", _tree(0.0)).best == 1.0


def test_says_what_is_missing_or_unfit(tmp_path):
    keeper = Checkpoints(tmp_path)
    with pytest.raises(InputError, match="no checkpoint there"):
        keeper.restore("best", _tree(0.0))
    keeper.save("best", 1, _tree(1.0))
    other = Saved({"w": jnp.zeros((4, 4)), "key": jax.random.key(0)}, 0.0)
    with pytest.raises(InputError, match="not a checkpoint of this model"):
        keeper.restore("best", other)


def test_stack_and_unstack_are_inverse():
    trees = [{"a": jnp.arange(3) + i} for i in range(2)]
    np.testing.assert_array_equal(unstack(stack(trees), 1)["a"], trees[1]["a"])
