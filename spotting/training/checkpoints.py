"""The latest and the best state of a training, with Orbax.

`latest` is what an interrupted run resumes from, `best` what the validation split chose. They are
two managers, because one that keeps the best may delete the newest.

With its arrays a checkpoint holds their checksums, which are verified when it is read: the storage
format notices most damages, but not all. Two of `latest` are kept for that.

Arrays are stored whole, so a run may resume on another number of devices or processes. Orbax is
told of a single process: of several the first one writes, and each reads for itself.
"""

import contextlib
import errno
import gc
import logging
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from spotting.base import parallel
from spotting.base.errors import InputError
from spotting.base.files import read_object

_METADATA_FILE = "_CHECKPOINT_METADATA"
_CHECKSUMS = "checksums"
_UNFINISHED = "*.orbax-checkpoint-tmp*"
_KEPT = {"latest": 2, "best": 1}
_REASON_LENGTH = 200
_LAST_READS = 0.1  # seconds
_DISK_FULL = ("RESOURCE_EXHAUSTED", os.strerror(errno.ENOSPC))


class DamagedCheckpointError(InputError):
    """A checkpoint whose files are not as they were written.

    Attributes:
      problem: which one, and what is wrong with it.
    """

    def __init__(self, place: Path, reason: object):
        text = " ".join(str(reason).split()) or type(reason).__name__
        self.problem = f"{place}: damaged: {text[:_REASON_LENGTH]}"
        super().__init__(
            f"{self.problem}; delete {place.parents[1]} and the run's metrics.json, and run the "
            "training again: it trains this model anew"
        )


class Checkpoints:
    """Checkpoints of one model in one folder: `latest/<step>` and `best/<step>`.

    Trees may hold arrays (random keys included), each on one device, and numbers. Writing is
    atomic; a killed write leaves what was there before.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = Path(directory).absolute()
        self._managers: dict[str, ocp.CheckpointManager] = {}

    def save(self, which: str, step: int, tree: Any) -> None:
        """Writes `tree` as the "latest" or "best" of `step`; an older one goes.

        So do those of later steps: the training resumed from a step before them.

        Raises:
          OSError: it cannot be written; the ones before it stay.
        """
        place = self.directory / which / str(step)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            manager, plain = self._manager(which), _plain(tree)
            sums = _compute_checksums(plain)
            if step in manager.all_steps():
                if self._holds(which, step, tree, sums):
                    # A run killed between its two writes comes by this step again, perhaps before
                    # the ones that this one replaced were deleted.
                    for older in sorted(manager.all_steps())[: -_KEPT[which]]:
                        manager.delete(older)
                    return
                manager.delete(step)
            for later in [each for each in manager.all_steps() if each > step]:
                manager.delete(later)
            with _silenced():
                manager.save(
                    step,
                    args=ocp.args.StandardSave(plain),
                    custom_metadata={_CHECKSUMS: sums},
                )
                manager.wait_until_finished()
        except Exception as error:
            # What there is of it takes room where there may be none.
            self._remove_unfinished(which)
            raise _name_place(error, place) from error

    def step(self, which: str) -> int | None:
        """The step of the newest checkpoint, if any; several processes ask together."""
        own = max(self.steps(which), default=-1)
        step = int(parallel.from_process_0(np.asarray(own)))
        return None if step < 0 else step

    def steps(self, which: str) -> list[int]:
        """The steps of all checkpoints, as this process sees them."""
        there = (self.directory / which).is_dir()
        return sorted(self._manager(which).all_steps()) if there else []

    def restore(self, which: str, template: Any, step: int | None = None) -> Any:
        """Reads a checkpoint.

        Args:
          which: "latest" or "best".
          template: a tree of the same structure; of its arrays, shape and dtype count.
          step: which one; default: the newest.

        Raises:
          DamagedCheckpointError: its files are damaged, or some are missing.
          InputError: there is none, or its arrays are not the template's.
        """
        step = max(self.steps(which), default=None) if step is None else step
        if step is None:
            raise InputError(f"{self.directory / which}: no checkpoint there; train first")
        place = self.directory / which / str(step)
        plain = _plain(template)
        sums = _read_checksums(place)
        if sums is not None:
            _require_same_arrays(place, plain, sums)
        wanted = jax.tree.map(_abstract, plain)
        try:
            with _silenced():
                tree = self._manager(which).restore(step, args=ocp.args.StandardRestore(wanted))
            jax.tree_util.tree_map_with_path(_require_shape, wanted, tree)
        except PermissionError:
            raise
        except Exception as error:
            # Whatever a parser makes of damaged bytes.
            if sums is not None or not isinstance(error, ValueError | KeyError | TypeError):
                raise DamagedCheckpointError(place, error) from error
            # One of an earlier version does not say what it should hold.
            raise InputError(
                f"{self.directory / which}: not a checkpoint of this model: {error}"
            ) from error
        restored = jax.tree.map(_like, template, tree)
        if sums is not None:
            found = _compute_checksums(_plain(restored))
            # What is of another type now was converted.
            wrong = [
                name
                for name, values in sums.items()
                if found[name] != values and found[name][0] == values[0]
            ]
            if wrong:
                raise DamagedCheckpointError(place, f"the checksum of {wrong[0]} differs")
        return restored

    def remove_unfinished(self) -> None:
        """Deletes what killed processes left half-written or undeleted; for who alone writes here.

        Which of two `best` is the right one is known when the training has come by the newer.
        """
        for which in ("latest", "best"):
            self._remove_unfinished(which)
        for step in self.steps("latest")[: -_KEPT["latest"]]:
            self._manager("latest").delete(step)

    def close(self) -> None:
        """Ends the managers' threads."""
        for manager in self._managers.values():
            manager.close()
        self._managers.clear()

    def _remove_unfinished(self, which: str) -> None:
        for path in (self.directory / which).glob(_UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)

    def _holds(self, which: str, step: int, tree: Any, sums: dict[str, Any]) -> bool:
        """Whether a checkpoint is sound and of this very tree."""
        try:
            return _compute_checksums(_plain(self.restore(which, tree, step))) == sums
        except InputError:
            return False

    def _manager(self, which: str) -> ocp.CheckpointManager:
        if which not in self._managers:
            alone = jax.process_index()
            # Two of `latest`: seeds that train together resume from the newest step they share.
            options = ocp.CheckpointManagerOptions(
                max_to_keep=_KEPT[which],
                enable_async_checkpointing=False,
                create=False,
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=alone,
                    active_processes={alone},
                    barrier_sync_key_prefix=f"process{alone}",
                ),
            )
            with _silenced():
                self._managers[which] = ocp.CheckpointManager(
                    self.directory / which, options=options
                )
        return self._managers[which]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(tree: Any) -> Any:
    """The tree with its arrays as NumPy's, which Orbax ties to no device."""

    def plain(leaf: Any) -> Any:
        if _is_key(leaf):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf

    return jax.tree.map(plain, tree)


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, int | float):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _compute_checksums(plain: Any) -> dict[str, list[Any]]:
    """Of each array of a tree of `_plain`, by its path: dtype, shape and CRC-32."""
    sums: dict[str, list[Any]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(plain):
        array = np.asarray(leaf)
        content = np.atleast_1d(np.ascontiguousarray(array)).view(np.uint8)
        sums[jax.tree_util.keystr(path)] = [*_describe(leaf), zlib.crc32(content.data)]
    return sums


def _describe(leaf: Any) -> list[Any]:
    """dtype and shape of an array, of what stands for one, or of a number."""
    array = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return [np.dtype(array.dtype).name, list(array.shape)]


def _read_checksums(place: Path) -> dict[str, list[Any]] | None:
    """What `_compute_checksums` gave when a checkpoint was written.

    None if that was by an earlier version, which stored none.

    Raises:
      DamagedCheckpointError: the file that holds them is damaged or missing.
    """
    try:
        sums = read_object(place / _METADATA_FILE).get("custom_metadata", {}).get(_CHECKSUMS)
        if sums is not None and not all(len(values) == 3 for values in sums.values()):
            raise TypeError(f"{_METADATA_FILE} is no list of checksums")
    except (FileNotFoundError, InputError, AttributeError, TypeError) as error:
        raise DamagedCheckpointError(place, error) from error
    return sums


def _require_same_arrays(place: Path, plain: Any, sums: dict[str, list[Any]]) -> None:
    """Raises InputError unless a checkpoint's arrays have the names and shapes of a tree's."""
    wanted = {
        jax.tree_util.keystr(path): _describe(leaf)[1]
        for path, leaf in jax.tree_util.tree_leaves_with_path(plain)
    }
    found = {name: values[1] for name, values in sums.items()}
    for name in sorted(wanted.keys() | found.keys()):
        theirs, ours = found.get(name, "missing"), wanted.get(name, "missing")
        if theirs != ours:
            raise InputError(
                f"{place.parent}: not a checkpoint of this model: {name} is {theirs} there, {ours} "
                "in the model"
            )


def _name_place(error: Exception, place: Path) -> Exception:
    """An error of writing a checkpoint, as one that names it."""
    if any(text in str(error) for text in _DISK_FULL):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
    if isinstance(error, OSError) and error.errno:
        return OSError(error.errno, os.strerror(error.errno), str(place))
    return error


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """A block in which Orbax's threads do not print what the block raises anyway, at length."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [logger.level for logger in loggers]
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception:
        # Reads that were under way end now, and find nobody who waits for them.
        time.sleep(_LAST_READS)
        gc.collect()
        raise
    finally:
        sys.unraisablehook = hook
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _require_shape(path: tuple, wanted: Any, leaf: Any) -> None:
    if np.shape(leaf) != np.shape(wanted):
        name = jax.tree_util.keystr(path)
        raise ValueError(f"{name} is {np.shape(leaf)} there, {np.shape(wanted)} in the model")


def _like(template: Any, leaf: Any) -> Any:
    if _is_key(template):
        return jax.random.wrap_key_data(leaf)
    return type(template)(leaf) if isinstance(template, int | float) else jnp.asarray(leaf)


def unstack(tree: Any, index: int) -> Any:
    """One seed's part of a tree whose arrays have a leading axis S."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def stack(trees: list[Any]) -> Any:
    """The reverse of `unstack` over all seeds."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def count_parameters(params: Any) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
