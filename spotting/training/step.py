"""Training one model: the step, and the epoch as a scan of it.

`train_step` is a pure function. An epoch over a resident split is one compiled scan of it; with a
streaming loader it is called once per batch. The randomness of a step, chunks and mixup alike,
follows from the seed's key and the step's number alone, so a resumed run sees the same sequence.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from spotting.data.resident import Batch, ResidentSplit, cut, sample_positions
from spotting.notation import Array, ChunkFeatures, LossWeights, Targets
from spotting.training import augmentation, flattening, mixup
from spotting.training.averaging import average_weights
from spotting.training.objectives import Objective
from spotting.training.optimizer import adam_with_decay
from spotting.training.sam import sam


class Hyper(NamedTuple):
    """The four values that the paper's search tunes.

    Plain floats are compiled in. Arrays are not: a search trains several values in one program.
    """

    learning_rate: float | Array
    weight_decay: float | Array
    rho: float | Array
    mixup_alpha: float | Array


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """What the optimiser needs besides `Hyper`."""

    num_steps: int
    end_fraction: float = 0.01
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-7
    sam_eps: float = 1e-12
    average_decay: float = 0.0  # of the moving average of the weights; 0 for none
    flat: bool = False  # one vector in the place of each tree of the state, as GPUs like it


def make_optimizer(
    hyper: Hyper, settings: OptimizerSettings
) -> optax.GradientTransformationExtraArgs:
    """SAM around TensorFlow's Adam with decoupled, linearly falling decay and learning rate."""
    adam = adam_with_decay(
        hyper.learning_rate,
        hyper.weight_decay,
        settings.num_steps,
        settings.end_fraction,
        settings.b1,
        settings.b2,
        settings.eps,
    )
    if settings.flat:
        adam = flattening.flatten(adam)
    tx = sam(adam, hyper.rho, settings.sam_eps, settings.flat)
    decay = settings.average_decay
    return average_weights(tx, decay, settings.flat) if decay else tx


class TrainState(NamedTuple):
    """Everything that a training continues from."""

    step: Array  # int32 []
    key: Array  # the seed's random key
    params: optax.Params
    opt_state: optax.OptState


class StepMetrics(NamedTuple):
    """What a step reports: the loss it was given, and SAM's second pass's, and the first norm."""

    loss: Array
    perturbed_loss: Array
    grad_norm: Array


def init_state(
    seed: int | Array,
    objective: Any,
    chunk_shape: tuple[int, int],
    tx: Any,
) -> TrainState:
    """A fresh state.

    Args:
      seed: determines initialisation, chunks and mixup.
      objective: whose network to initialise; a `recipes.Recipe` has one too.
      chunk_shape: (T, P).
      tx: the optimiser, or what else has an `init`.
    """
    params_key, key = jax.random.split(jax.random.key(seed))
    # Compiled as one program, not one for each shape of a weight. As it runs once, LLVM's later
    # passes take longer than they save.
    # Where only the state's shapes are asked for, nothing is compiled, and options are refused.
    runs_here = jax.default_backend() == "cpu" and not isinstance(params_key, jax.core.Tracer)
    options = {"xla_backend_optimization_level": 1} if runs_here else None
    init = jax.jit(objective.network.init, compiler_options=options)
    params = init(params_key, jnp.zeros((1, *chunk_shape)))
    return TrainState(jnp.zeros([], jnp.int32), key, params, tx.init(params))


def train_step(
    state: TrainState,
    batch: Batch,
    pairs: mixup.Pairs | None,
    objective: Objective,
    tx: optax.GradientTransformationExtraArgs,
    pick: Callable[[Array], Batch] | None = None,
    flat: bool = False,
) -> tuple[TrainState, StepMetrics]:
    """One optimiser step; two passes if `tx` is SAM's with a rho that is not 0.

    Args:
      state: before the step.
      batch: the chunks.
      pairs: what to mix with what, the same in both of SAM's passes; None for no mixup.
      objective: what is trained for.
      tx: the optimiser, of `make_optimizer` or another whose update takes `grad_fn` and `value`
        and whose state has `perturbed_loss` and `grad_norm`.
      pick: gives the chunks of `batch` at some indices, for mixup. Without it they are taken from
        `batch`, which moves features between devices if it is sharded.
      flat: whether `tx` was made with `OptimizerSettings.flat`; gradients are then taken as GPUs
        like it, too.
    """
    features, targets, weights = _encode_batch(batch, objective)
    valid = batch.valid
    if pairs is not None:
        if pick is None:
            others = jax.tree.map(lambda array: array[pairs.partners], batch)
        else:
            others = pick(pairs.partners)
        both = zip((features, targets, weights), _encode_batch(others, objective), strict=True)
        features, targets, weights = (mixup.mix(own, other, pairs.shares) for own, other in both)
        valid = valid | others.valid
    if not objective.augmentation.is_off:
        key = jax.random.fold_in(step_keys(state.key, state.step)[1], 2)
        features = augmentation.augment(key, features, valid, objective.augmentation)

    def measure_loss(params: optax.Params) -> Array:
        outputs: Any = objective.network.apply(params, features)
        return objective.loss(outputs, targets, weights)

    loss_and_grad = jax.value_and_grad(measure_loss)
    if flat:
        casts = features.dtype != jnp.float32
        loss_and_grad = flattening.value_and_grad(measure_loss, len(features), casts)
    loss, grads = loss_and_grad(state.params)
    updates, opt_state = tx.update(
        grads, state.opt_state, state.params, grad_fn=loss_and_grad, value=loss
    )
    params = optax.apply_updates(state.params, updates)
    new_state = TrainState(state.step + 1, state.key, params, opt_state)
    return new_state, StepMetrics(loss, opt_state.perturbed_loss, opt_state.grad_norm)


def _encode_batch(batch: Batch, objective: Objective) -> tuple[ChunkFeatures, Targets, LossWeights]:
    """Features in the dtype of the computation, targets, and loss weights."""
    targets, weights = objective.encode(batch.offsets)
    features = batch.features.astype(objective.network.reduction.dtype)
    return features, targets, weights * batch.valid[..., None]


def step_keys(key: Array, step: Array) -> tuple[Array, Array]:
    """The keys of a step's chunks and of its mixup, from the seed's key."""
    chunks, mix = jax.random.split(jax.random.fold_in(key, step))
    return chunks, mix


def draw_pairs(
    state: TrainState, num_steps: int, batch_size: int, mixup_alpha: float | Array
) -> mixup.Pairs | None:
    """What each of the next steps mixes with what, arrays [num_steps, B].

    Args:
      state: before the first of them.
      num_steps: how many.
      batch_size: B.
      mixup_alpha: None is returned if it is the number 0.
    """
    if isinstance(mixup_alpha, int | float) and mixup_alpha == 0:
        return None

    def draw(step: Array) -> mixup.Pairs:
        _, key = step_keys(state.key, step)
        return mixup.draw(key, batch_size, mixup_alpha)

    return jax.vmap(draw)(state.step + jnp.arange(num_steps))


def train_epoch(
    state: TrainState,
    split: ResidentSplit,
    objective: Objective,
    tx: optax.GradientTransformationExtraArgs,
    mixup_alpha: float | Array,
    *,
    num_steps: int,
    batch_size: int,
    chunk_frames: int,
    shard: Callable[[Any], Any] = lambda arrays: arrays,
    replicate: Callable[[Any], Any] = lambda arrays: arrays,
    flat: bool = False,
) -> tuple[TrainState, StepMetrics]:
    """An epoch over a resident split, as one scan.

    Args:
      state: before the epoch.
      split: where chunks are cut.
      objective: what is trained for.
      tx: the optimiser, as for `train_step`.
      mixup_alpha: as for `draw_pairs`.
      num_steps: steps in the epoch.
      batch_size: B.
      chunk_frames: T.
      shard: tells the compiler to shard arrays [B, ...] over devices, each of which has all of
        `split`.
      replicate: tells the compiler to have arrays on each device.
      flat: whether `tx` was made with `OptimizerSettings.flat`; the states here are as without.

    Returns:
      The state after it, and the metrics of each step, [num_steps].
    """

    def draw_positions(step: Array) -> tuple[Array, Array]:
        key, _ = step_keys(state.key, step)
        return sample_positions(key, split.lengths, batch_size, chunk_frames)

    def body(
        state: TrainState, drawn: tuple[Array, Array, mixup.Pairs | None]
    ) -> tuple[TrainState, StepMetrics]:
        half, start, pairs = drawn

        def pick(index: Array) -> Batch:
            halves, starts = shard((half[index], start[index]))
            return shard(cut(split, halves, starts, chunk_frames))

        batch = pick(jnp.arange(batch_size))
        return train_step(state, batch, pairs, objective, tx, pick, flat)

    # All that is random is drawn before the first step, for all of them at once.
    half, start = jax.vmap(draw_positions)(state.step + jnp.arange(num_steps))
    pairs = draw_pairs(state, num_steps, batch_size, mixup_alpha)
    given = state
    if flat:
        opt_state = flattening.flatten_state(state.opt_state, state.params)
        state = state._replace(opt_state=opt_state)
    state, metrics = jax.lax.scan(body, state, replicate((half, start, pairs)))
    if flat:
        opt_state = flattening.restore_state(state.opt_state, given.opt_state, given.params)
        state = state._replace(opt_state=opt_state)
    return state, metrics
