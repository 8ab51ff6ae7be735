"""Training the systems that the paper compares with: what they draw, their losses, their epoch.

A `Recipe` says how a system goes over its data; `train_epoch` is the same for all of them, one scan
over the steps, and returns what `training.loop.fit` takes. What the paper's own models draw and
minimise is in `objectives.py` and `step.py`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from spotting.data import clips, context_chunks, windows
from spotting.data.clips import Clips
from spotting.data.context_chunks import ChunkAnchors
from spotting.data.resident import ResidentSplit, cut
from spotting.models.calf import Calf
from spotting.models.netvlad import NetVLAD
from spotting.models.rmsnet import RmsNetHead
from spotting.notation import Array
from spotting.training import context_aware, losses
from spotting.training.schedules import Plateau, step_plateau
from spotting.training.step import TrainState


class Source(NamedTuple):
    """A split on the device, and what can be drawn from it.

    Attributes:
      split: its halves; `offsets` are the event offsets, or CALF's time shifts.
      table: of windows (half, start), `ChunkAnchors`, or (`Clips`, places of `choose_places`).
      num_examples: int32 [], in an epoch.
    """

    split: ResidentSplit
    table: Any
    num_examples: Any


class Example(NamedTuple):
    """A batch: what the network takes, what it should give, and which of it counts.

    Attributes:
      features: [B, T, P].
      targets: arrays [B, ...], as the system's loss takes them.
      weights: float32 [B], 0 for what only fills the last batch.
    """

    features: Array
    targets: Any
    weights: Array


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a system is trained.

    Attributes:
      network: of the system.
      draw: (key, source, steps, B) to what each step is given, arrays [steps, B].
      begin: (source) to what the steps of an epoch hand on to each other.
      cut: (source, what a step is given, what was handed on) to the example, and what to hand on.
      loss: (variables, example, key) to a scalar and the variables that the pass changed; without a
        key nothing is dropped, and nothing changes.
      frames: T.
      part: examples whose gradient is taken at once, where the loss is a mean over examples; None
        for the whole batch. Small parts stay in a CPU's cache.
    """

    network: nn.Module
    draw: Callable[[Array, Source, int, int], Any]
    begin: Callable[[Source], Any]
    cut: Callable[[Source, Any, Any], tuple[Example, Any]]
    loss: Callable[[Any, Example, Array | None], tuple[Array, dict[str, Any]]]
    frames: int
    part: int | None = None


class RecipeState(NamedTuple):
    """What stands in a `TrainState` in the place of the optimiser's state.

    Attributes:
      optimizer: its state.
      plateau: the learning rate, and when it fell.
      best: the variables of the least validation loss, if these are to be kept.
    """

    optimizer: Any
    plateau: Plateau
    best: Any


class EpochMetrics(NamedTuple):
    """What an epoch reports.

    Attributes:
      loss: [steps].
      grad_norm: [steps].
      learning_rate: [], of the last step.
      valid_loss: [], after the epoch; NaN without a validation split.
      finished: [], whether there is nothing more to train.
    """

    loss: Array
    grad_norm: Array
    learning_rate: Array
    valid_loss: Array
    finished: Array


@dataclasses.dataclass(frozen=True)
class Descent:
    """How gradients become steps.

    Attributes:
      direction: gradients to a direction, which the learning rate then scales.
      factor: of the learning rate, by step.
      patience: epochs without a lower validation loss before the rate falls; None for never.
      keeps_best: whether the variables of the least validation loss are kept.
    """

    direction: optax.GradientTransformation
    factor: optax.Schedule
    patience: int | None
    keeps_best: bool

    def init(self, variables: Any) -> RecipeState:
        """The state before the first step."""
        # The learning rate is given with the first epoch.
        plateau = Plateau(*map(jnp.asarray, (0.0, jnp.inf, 0, False, jnp.inf)))
        best = jax.tree.map(jnp.copy, variables) if self.keeps_best else ()
        return RecipeState(self.direction.init(variables["params"]), plateau, best)


def train_epoch(
    state: TrainState,
    source: Source,
    valid: Source | None,
    recipe: Recipe,
    descent: Descent,
    learning_rate: float | Array,
    *,
    num_steps: int,
    valid_steps: int,
    batch_size: int,
    shard: Callable[[Any], Any] = lambda arrays: arrays,
) -> tuple[TrainState, EpochMetrics]:
    """An epoch as one program: the steps as a scan, the validation loss, the learning rate.

    A training that is finished stays as it is, while others in the same program go on.

    Args:
      state: before the epoch; `opt_state` is a `RecipeState`.
      source: the training split.
      valid: the validation split; without it the training loss takes its place.
      recipe: of the system.
      descent: how gradients become steps.
      learning_rate: at the start of the training.
      num_steps: in the epoch.
      valid_steps: batches of the validation loss.
      batch_size: B.
      shard: tells the compiler to shard arrays [B, ...] over devices.
    """
    old = state.opt_state.plateau
    rate = jnp.where(state.step == 0, learning_rate, old.learning_rate)
    plateau = old._replace(learning_rate=rate.astype(jnp.float32))
    draw_key, step_key, valid_key = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
    plan = recipe.draw(draw_key, source, num_steps, batch_size)

    def step(carry: tuple[Any, Any, Any], given: tuple[Array, Any]) -> tuple[Any, Any]:
        variables, optimizer, memory = carry
        index, row = given
        example, memory = recipe.cut(source, shard(row), memory)
        example = shard(example)
        key = jax.random.fold_in(step_key, index)

        (loss, changed), gradients = _differentiate(recipe, variables, example, key)
        updates, optimizer = descent.direction.update(gradients, optimizer, variables["params"])
        scale = -plateau.learning_rate * descent.factor(state.step + index)
        updates = jax.tree.map(lambda update: scale * update, updates)
        params = optax.apply_updates(variables["params"], updates)
        variables = {**variables, **changed, "params": params}
        return (variables, optimizer, memory), (loss, optax.global_norm(gradients), -scale)

    start = state.params, state.opt_state.optimizer, recipe.begin(source)
    given = jnp.arange(num_steps), plan
    (variables, optimizer, _), (loss, grad_norm, rates) = jax.lax.scan(step, start, given)

    valid_loss = jnp.asarray(jnp.nan)
    if valid is not None:
        valid_loss = _validate(variables, valid, recipe, valid_key, valid_steps, batch_size, shard)
    judged = jnp.mean(loss) if valid is None else valid_loss
    best = state.opt_state.best
    if descent.keeps_best:
        best = jax.tree.map(
            lambda new, kept: jnp.where(judged < plateau.least, new, kept), variables, best
        )
    if descent.patience is not None:
        plateau = step_plateau(plateau, judged, descent.patience)
    else:
        plateau = plateau._replace(least=jnp.minimum(plateau.least, judged))
    new = RecipeState(optimizer, plateau, best)
    kept = jax.tree.map(
        lambda before, after: jnp.where(old.finished, before, after),
        (state.params, state.opt_state),
        (variables, new),
    )
    state = TrainState(state.step + num_steps, state.key, *kept)
    finished = state.opt_state.plateau.finished
    return state, EpochMetrics(loss, grad_norm, rates[-1], valid_loss, finished)


def _differentiate(
    recipe: Recipe, variables: Any, example: Example, key: Array
) -> tuple[tuple[Array, dict[str, Any]], Any]:
    """The loss with what it changed, and its gradients."""

    @functools.partial(jax.value_and_grad, has_aux=True)
    def of(params: Any, example: Example, key: Array) -> tuple[Array, dict[str, Any]]:
        return recipe.loss({**variables, "params": params}, example, key)

    params, size = variables["params"], len(example.weights)
    if recipe.part is None or size % recipe.part or size == recipe.part:
        return of(params, example, key)
    parts = jax.tree.map(lambda a: a.reshape(-1, recipe.part, *a.shape[1:]), example)

    def add(total: Any, given: tuple[Array, Example]) -> tuple[Any, None]:
        number, part = given
        weight = jnp.sum(part.weights)
        # A part of nothing but filling has no mean.
        part = part._replace(weights=jnp.where(weight > 0, part.weights, 1.0))
        (loss, _), gradients = of(params, part, jax.random.fold_in(key, number))
        return jax.tree.map(lambda t, g: t + weight * g, total, (loss, gradients)), None

    nothing = jnp.zeros([]), jax.tree.map(jnp.zeros_like, params)
    total, _ = jax.lax.scan(add, nothing, (jnp.arange(size // recipe.part), parts))
    loss, gradients = jax.tree.map(lambda each: each / jnp.sum(example.weights), total)
    return (loss, {}), gradients


def _validate(
    variables: Any,
    source: Source,
    recipe: Recipe,
    key: Array,
    num_steps: int,
    batch_size: int,
    shard: Callable[[Any], Any],
) -> Array:
    """The mean loss over a split, of batches in proportion to their size."""
    plan = recipe.draw(key, source, num_steps, batch_size)

    def step(memory: Any, row: Any) -> tuple[Any, tuple[Array, Array]]:
        example, memory = recipe.cut(source, shard(row), memory)
        example = shard(example)
        return memory, (recipe.loss(variables, example, None)[0], jnp.sum(example.weights))

    _, (loss, weight) = jax.lax.scan(step, recipe.begin(source), plan)
    return jnp.sum(loss * weight) / jnp.sum(weight)


def count_steps(examples: int, batch_size: int) -> int:
    """Steps of an epoch, the last of which may be part empty."""
    return -(-examples // batch_size)


def _fill(order: Array, num_steps: int, batch_size: int) -> tuple[Array, Array]:
    """Indices [M] as batches [steps, B], and which of them count."""
    missing = num_steps * batch_size - len(order)
    index = jnp.concatenate([order, jnp.zeros(missing, order.dtype)])
    weights = jnp.concatenate([jnp.ones(len(order)), jnp.zeros(missing)])
    return index.reshape(num_steps, -1), weights.reshape(num_steps, -1)


def _nothing(source: Source) -> tuple[()]:
    return ()


def make_netvlad_recipe(network: NetVLAD, window_frames: int, part: int | None = None) -> Recipe:
    """NetVLAD++: every window once an epoch, in random order; `part` as of `Recipe`."""

    def draw(key: Array, source: Source, num_steps: int, batch_size: int) -> Any:
        half, start = source.table
        index, weights = _fill(jax.random.permutation(key, len(half)), num_steps, batch_size)
        return half[index], start[index], weights

    def cut_batch(source: Source, row: Any, memory: Any) -> tuple[Example, Any]:
        half, start, weights = row
        batch = windows.cut_windows(source.split, half, start, window_frames)
        return Example(batch.features, windows.encode_windows(batch.offsets), weights), memory

    def loss(variables: Any, example: Example, key: Array | None) -> tuple[Array, dict[str, Any]]:
        logits: Any = network.apply(variables, example.features, key)
        each = losses.window_loss(logits, example.targets)
        return jnp.sum(example.weights * each) / jnp.sum(example.weights), {}

    return Recipe(network, draw, _nothing, cut_batch, loss, window_frames, part)


def make_calf_recipe(
    network: Calf,
    chunk_frames: int,
    slices: Array,
    segmentation_weight: float = 0.000367,
    overwrite_labels: bool = False,
    last_frame_unseen: bool = False,
) -> Recipe:
    """CALF: chunks around events, drawn class by class, and in between.

    Args:
      network: the network.
      chunk_frames: T.
      slices: float32 [4, K], of `context_chunks.slice_frames`.
      segmentation_weight: of the context-aware loss, beside the detections'.
      overwrite_labels: see `context_chunks.erase_drawn`; here one process draws.
      last_frame_unseen: see `context_chunks.clamp_starts`.
    """
    receptive = network.receptive_frames

    def draw(key: Array, source: Source, num_steps: int, batch_size: int) -> Any:
        table: ChunkAnchors = source.table
        half, start = context_chunks.draw_chunks(
            key,
            table,
            source.split.lengths,
            num_steps * batch_size,
            network.num_classes,
            chunk_frames,
            receptive,
            last_frame_unseen,
        )
        weights = (jnp.arange(num_steps * batch_size) < source.num_examples).astype(jnp.float32)
        return tuple(array.reshape(num_steps, batch_size) for array in (half, start, weights))

    def begin(source: Source) -> Any:
        return jnp.zeros(len(source.split.offsets), bool) if overwrite_labels else ()

    def cut_batch(source: Source, row: Any, memory: Any) -> tuple[Example, Any]:
        half, start, weights = row
        batch = cut(source.split, half, start, chunk_frames)
        seen = batch.valid
        if overwrite_labels:
            rows = (source.split.starts[half] + start)[:, None] + jnp.arange(chunk_frames)
            erased, memory = context_chunks.erase_drawn(memory, rows, receptive)
            seen = seen & ~erased
        shifts = batch.offsets.astype(jnp.float32)
        shifts = jnp.where(seen[..., None], shifts, context_chunks.BEFORE_EVENT)
        shifts = context_chunks.mask_borders(shifts, receptive)
        slots = context_chunks.detection_targets(shifts, network.num_detections)
        return Example(batch.features, (shifts, slots), weights), memory

    def loss(variables: Any, example: Example, key: Array | None) -> tuple[Array, dict[str, Any]]:
        shifts, slots = example.targets
        outputs: Any
        changed: Any = {}
        if key is None:
            outputs = network.apply(variables, example.features)
        else:
            outputs, changed = network.apply(
                variables, example.features, train=True, mutable=["batch_stats"]
            )
        segmentation = context_aware.context_aware_loss(outputs.segmentation, shifts, slices)
        each = segmentation_weight * jnp.sum(segmentation, axis=(1, 2))
        each = each + context_aware.detection_loss(outputs.detections, slots)
        return jnp.sum(example.weights * each), dict(changed)

    return Recipe(network, draw, begin, cut_batch, loss, chunk_frames)


def make_rmsnet_recipe(network: RmsNetHead, clip_frames: int) -> Recipe:
    """RMS-Net's head: as many clips of each class, drawn anew each epoch."""

    def draw(key: Array, source: Source, num_steps: int, batch_size: int) -> Any:
        table: Clips
        table, places = source.table
        order = clips.draw_clips(key, table.label, places)
        index, weights = _fill(order, num_steps, batch_size)
        return jax.tree.map(lambda array: array[index], table), weights

    def cut_batch(source: Source, row: Any, memory: Any) -> tuple[Example, Any]:
        drawn, weights = row
        batch = windows.cut_windows(source.split, drawn.half, drawn.start, clip_frames)
        return Example(batch.features, (drawn.label, drawn.place), weights), memory

    def loss(variables: Any, example: Example, key: Array | None) -> tuple[Array, dict[str, Any]]:
        outputs: Any = network.apply(variables, example.features, key)
        label, place = example.targets
        logits, offset = outputs
        return losses.clip_loss(logits, offset, label, place, example.weights), {}

    return Recipe(network, draw, _nothing, cut_batch, loss, clip_frames)
