import json
import os
import shutil
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint._src.path import atomicity

from spotting.base.errors import InputError
from spotting.runs.folders import group_runs
from spotting.training.checkpoints import Checkpoints, DamagedCheckpointError, stack, unstack
from spotting.training.loop import Saved, _restore_newest


def _tree(value):
    value = float(value)
    return Saved({"w": jnp.full((2, 3), value), "key": jax.random.key(int(value))}, value)


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


def test_what_a_killed_run_had_not_deleted_yet_goes(tmp_path):
    keeper, kept = Checkpoints(tmp_path / "run"), tmp_path / "kept"
    for step in (1, 2, 3):
        keeper.save("latest", step, _tree(step))
        keeper.save("best", step, _tree(step))
        shutil.copytree(tmp_path / "run", kept, dirs_exist_ok=True)
    again = Checkpoints(kept)
    assert (again.steps("latest"), again.steps("best")) == ([1, 2, 3], [1, 2, 3])
    again.remove_unfinished()
    again.save("best", 3, _tree(3))
    for keeper in (again, Checkpoints(kept)):
        assert (keeper.steps("latest"), keeper.steps("best")) == ([2, 3], [3])


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


def _equal(one, other):
    pairs = jax.tree.leaves(one), jax.tree.leaves(other)
    return all(map(np.array_equal, *pairs))


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = (_flip, _truncate, os.unlink)


@pytest.mark.slow
def test_damages_are_found_whatever_the_file(tmp_path):
    generator = np.random.default_rng(0)
    tree = {"w": jnp.asarray(generator.normal(size=(40, 9)), jnp.float32), "n": 3}
    Checkpoints(tmp_path / "sound").save("best", 1, tree)
    files = [path for path in (tmp_path / "sound").rglob("*") if path.is_file()]
    errors = []
    for number, path in enumerate(files):
        for damage in DAMAGES:
            folder = tmp_path / f"{number} {damage.__name__}"
            shutil.copytree(tmp_path / "sound", folder)
            damage(folder / path.relative_to(tmp_path / "sound"))
            try:
                restored = Checkpoints(folder).restore("best", tree)
            except DamagedCheckpointError as error:
                errors.append((folder, str(error)))
            else:
                # Not every byte of every file counts.
                assert _equal(restored, tree)
    assert len(errors) >= 5 * len(DAMAGES)
    for folder, error in errors:
        assert error.startswith(f"{folder / 'best' / '1'}: damaged: ")
        assert f"delete {folder} and the run's metrics.json" in error
        assert "\n" not in error


def test_values_that_no_format_would_notice(tmp_path):
    keeper = Checkpoints(tmp_path / "a")
    keeper.save("best", 1, _tree(1.0))
    Checkpoints(tmp_path / "b").save("best", 1, _tree(2.0))
    metadata = tmp_path / "a" / "best" / "1" / "_CHECKPOINT_METADATA"
    shutil.copy(metadata, tmp_path / "b" / "best" / "1")
    with pytest.raises(DamagedCheckpointError, match=r"the checksum of .*key.* differs"):
        Checkpoints(tmp_path / "b").restore("best", _tree(0.0))


def test_a_checkpoint_of_an_earlier_version_has_no_checksums(tmp_path):
    Checkpoints(tmp_path).save("best", 1, _tree(1.0))
    path = tmp_path / "best" / "1" / "_CHECKPOINT_METADATA"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"custom_metadata": {}}))
    assert Checkpoints(tmp_path).restore("best", _tree(0.0)).best == 1.0
    other = Saved({"w": jnp.zeros((4, 4)), "key": jax.random.key(0)}, 0.0)
    with pytest.raises(InputError, match="not a checkpoint of this model"):
        Checkpoints(tmp_path).restore("best", other)


@pytest.mark.slow
def test_seeds_resume_from_the_newest_step_that_is_sound(tmp_path, capsys):
    seeds = [Checkpoints(tmp_path / name) for name in "ab"]
    for step in (1, 2):
        for seed in seeds:
            seed.save("latest", step, _tree(step))
    templates = [_tree(0.0)] * 2
    assert _restore_newest(seeds, templates)[0] == 2
    assert capsys.readouterr().err == ""
    _flip(tmp_path / "b" / "latest" / "2" / "default" / "manifest.ocdbt")
    step, saved = _restore_newest(seeds, templates)
    assert (step, [each.best for each in saved]) == (1, [1.0, 1.0])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'b' / 'latest' / '2'}: damaged: " in line
    assert line.endswith("the one before it is used, of step 1")
    # Trained again, the step takes the damaged one's place.
    seeds[1].save("latest", 2, _tree(2.0))
    assert _restore_newest(seeds, templates)[0] == 2
    _truncate(tmp_path / "b" / "latest" / "2" / "default" / "_METADATA")
    shutil.rmtree(tmp_path / "a" / "latest" / "1" / "default")
    with pytest.raises(DamagedCheckpointError, match=r"b/latest/2: damaged: .*; delete .*/b and"):
        _restore_newest(seeds, templates)


def test_a_training_that_resumed_earlier_replaces_what_came_later(tmp_path):
    keeper = Checkpoints(tmp_path)
    for step in (2, 4):
        keeper.save("best", step, _tree(step))
    keeper.save("best", 3, _tree(3.0))
    assert keeper.steps("best") == [3]
    keeper.save("best", 3, _tree(5.0))
    assert keeper.restore("best", _tree(0.0)).best == 5.0


@pytest.mark.parametrize("finalize", [None, KeyboardInterrupt])
def test_a_checkpoint_that_was_never_finalized_is_not_taken(tmp_path, finalize):
    keeper = Checkpoints(tmp_path)
    keeper.save("latest", 1, _tree(1.0))
    path = atomicity.AtomicRenameTemporaryPath
    with mock.patch.object(path, "finalize", side_effect=finalize):
        if finalize is None:
            keeper.save("latest", 2, _tree(2.0))
        else:
            with pytest.raises(finalize):
                keeper.save("latest", 2, _tree(2.0))
    keeper = Checkpoints(tmp_path)
    assert keeper.step("latest") == 1
    assert keeper.restore("latest", _tree(0.0)).best == 1.0
    assert len(list((tmp_path / "latest").iterdir())) == 2
    keeper.remove_unfinished()
    assert [each.name for each in (tmp_path / "latest").iterdir()] == ["1"]
    keeper.save("latest", 2, _tree(2.0))
    assert Checkpoints(tmp_path).restore("latest", _tree(0.0)).best == 2.0


def test_seeds_that_were_killed_while_they_saved_still_train_together():
    def runs(*steps):
        checkpoints = [SimpleNamespace(steps=lambda which, own=own: own) for own in steps]
        return [SimpleNamespace(checkpoints={"confidence": each}) for each in checkpoints]

    def sizes(*steps, most=9):
        return [len(group) for group in group_runs(runs(*steps), most)]

    assert sizes([2, 4], [4, 6], [2, 4]) == [3]
    assert sizes([2], []) == [2]
    assert sizes([], [], []) == [3]
    assert sizes([2, 4], []) == [1, 1]
    assert sizes([2, 4], [6, 8], [4, 6]) == [2, 1]
    assert sizes([2, 4], [2, 4], [2, 4], most=2) == [2, 1]
