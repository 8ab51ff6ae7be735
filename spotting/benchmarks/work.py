"""How much work a network does for each chunk, counted rather than timed."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.interpreters import partial_eval

from spotting.notation import Array
from spotting.training.objectives import Objective


@dataclasses.dataclass(frozen=True)
class Work:
    """What one chunk costs; bytes are what the compiled program reads and writes by XLA's count.

    Attributes:
      forward_flop: of the matrix products alone, multiply and add counted as two.
      gradient_flop: likewise, forward pass included.
      xla_forward_flop: by XLA's count, which includes everything else.
      xla_gradient_flop: likewise.
      forward_bytes: of the forward pass.
      gradient_bytes: of the gradient, forward pass included.
    """

    forward_flop: float
    gradient_flop: float
    xla_forward_flop: float
    xla_gradient_flop: float
    forward_bytes: float
    gradient_bytes: float


def count(objective: Objective, params: Any, chunks: Array) -> Work:
    """Counts the work for each of `chunks` [B, T, P]."""
    batch_size, frames, _ = chunks.shape
    targets = jnp.zeros((batch_size, frames, objective.network.num_classes))

    def loss(params: Any, chunks: Array) -> Array:
        outputs: Any = objective.network.apply(params, chunks)
        return objective.loss(outputs, targets, jnp.ones_like(targets))

    found = []
    for function in (objective.network.apply, jax.value_and_grad(loss)):
        traced = jax.jit(function).trace(params, chunks)
        xla = traced.lower().compile().cost_analysis()
        found.append((product_flop(traced.jaxpr), xla["flops"], xla["bytes accessed"]))
    per_chunk = ([value / batch_size for value in values] for values in zip(*found, strict=True))
    flop, xla_flop, xla_bytes = per_chunk
    return Work(*flop, *xla_flop, *xla_bytes)


def product_flop(program: ClosedJaxpr | Jaxpr) -> int:
    """Floating point operations of the matrix products in a traced program without loops.

    Products whose results are not used, such as the gradient of a network's input, do not count.
    """
    traced: Jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    used, _ = partial_eval.dce_jaxpr(traced, [True] * len(traced.outvars))
    total = 0
    for equation in used.eqns:
        if equation.primitive.name == "dot_general":
            (contracting, _), _ = equation.params["dimension_numbers"]
            operand: Any = equation.invars[0].aval
            result: Any = equation.outvars[0].aval
            left, out = operand.shape, result.shape
            total += 2 * math.prod(out) * math.prod(left[axis] for axis in contracting)
        elif equation.primitive.name == "conv_general_dilated":
            kernel: Any = equation.invars[1].aval
            convolved: Any = equation.outvars[0].aval
            out = convolved.shape
            outputs = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
            total += 2 * math.prod(out) * math.prod(kernel.shape) // outputs
        if "branches" in equation.params:
            # Forms of the same work for platforms; what JAX derives holds unused products.
            total += min(map(product_flop, equation.params["branches"]))
        for value in equation.params.values():
            if isinstance(value, ClosedJaxpr | Jaxpr):
                total += product_flop(value)
    return total
