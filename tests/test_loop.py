"""The order in which the loop gives epochs to the devices and reads what they report."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spotting.base import parallel
from spotting.training import loop
from spotting.training.step import StepMetrics, TrainState

SCHEDULE = loop.Schedule(epochs=6, steps=2, batch_size=4, validate_every=3, select="last")


class Watched:
    """Metrics [1 seed, 2 steps] on a device; notes when the host waits for them."""

    def __init__(self, events, epoch, value):
        self._events, self._epoch, self._value = events, epoch, value

    def __array__(self, dtype=None, copy=None):
        self._events.append(f"read {self._epoch}")
        return np.full((1, 2), self._value)


def fit(losses, seconds, monkeypatch, norms=(0.0,) * 6, weights=(0.0,) * 6):
    """What happened, in order, and what `fit` returned."""
    monkeypatch.setattr(loop, "_AHEAD_SECONDS", seconds)
    events = []

    def run_epoch(states, epoch):
        events.append(f"launch {epoch}")
        params = {"w": jnp.full((1, 3), weights[epoch])}
        states = states._replace(step=states.step + SCHEDULE.steps, params=params)
        norm = np.array([[0.0, norms[epoch]]])
        return states, StepMetrics(Watched(events, epoch, losses[epoch]), np.zeros((1, 2)), norm)

    def save(name, step, tree):
        if name == "latest":
            events.append(f"save {step}")

    checkpoints = SimpleNamespace(step=lambda name: None, save=save)
    log = SimpleNamespace(curve=lambda *arguments, **values: None)
    key = jax.random.key(0)[None]
    states = TrainState(jnp.zeros(1, jnp.int32), key, {"w": jnp.zeros((1, 3))}, ())
    member, mesh = loop.Member(checkpoints, log), parallel.make_mesh(1, 4)
    failed = loop.fit(states, run_epoch, SCHEDULE, [member], mesh, name="x", progress=False)
    return events, failed


def test_the_next_epoch_is_launched_before_this_one_is_read(monkeypatch):
    events, failed = fit([0.5] * 6, 10.0, monkeypatch)
    # How long an epoch takes is known after the first; what is saved has been read before.
    first = ["launch 0", "read 0", "launch 1", "launch 2", "read 1", "read 2"]
    second = ["launch 3", "launch 4", "read 3", "launch 5", "read 4", "read 5"]
    assert [event for event in events if "save" not in event] == [*first, *second]
    assert [event for event in events if "save" in event] == ["save 6", "save 12"]
    assert events.index("save 6") > events.index("read 2")
    assert failed == {}


def test_long_epochs_are_not_launched_ahead(monkeypatch):
    events, _ = fit([0.5] * 6, 0.0, monkeypatch)
    in_turn = [f"{what} {epoch}" for epoch in range(6) for what in ("launch", "read")]
    assert [event for event in events if "save" not in event] == in_turn


@pytest.mark.parametrize(("bad", "launched", "saved"), [(1, 3, []), (3, 5, ["save 6"])])
def test_a_loss_that_is_no_number_ends_one_epoch_later(monkeypatch, bad, launched, saved):
    losses = [0.5] * bad + [np.nan] * (6 - bad)
    events, failed = fit(losses, 10.0, monkeypatch)
    assert f"nan in epoch {bad + 1}, step 1" in failed[0]
    assert sum("launch" in event for event in events) == launched
    assert [event for event in events if "save" in event] == saved


def test_a_gradient_that_is_no_number_is_found_though_the_loss_is_one(monkeypatch):
    norms = [0.0] * 4 + [np.inf, np.nan]
    events, failed = fit([0.5] * 6, 10.0, monkeypatch, norms=norms)
    assert failed[0].startswith("the x gradient's norm is inf in epoch 5, step 2 of it: lower its")
    assert [event for event in events if "save" in event] == ["save 6"]


def test_parameters_that_are_no_numbers_are_not_saved(monkeypatch):
    events, failed = fit([0.5] * 6, 10.0, monkeypatch, weights=[0.0] * 4 + [np.inf, np.inf])
    assert failed[0].startswith("a parameter of the x model is not finite after epoch 6: lower its")
    assert [event for event in events if "save" in event] == ["save 6"]
