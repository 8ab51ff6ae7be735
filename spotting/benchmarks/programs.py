"""What a compiled program does, read from its text: kernels, bytes, collectives, loops.

XLA's own counts differ by platform and leave most of this out. A *step* is an iteration of the
program's longest loop, the scan over the steps of an epoch, or the whole program if it has none.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

_SIZES = {"pred": 1, "s4": 1, "u4": 1, "bf16": 2} | {
    f"{kind}{bits}": bits // 8
    for kind, widths in {"s": (8, 16, 32, 64), "u": (8, 16, 32, 64), "f": (16, 32, 64)}.items()
    for bits in widths
}
_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "collective-permute",
    "all-to-all",
    "collective-broadcast",
)
# What is no work of its own on a device.
_FREE = frozenset(
    (
        *("parameter", "constant", "iota", "tuple", "get-tuple-element", "bitcast"),
        *("while", "conditional", "call", "async-start", "async-done", "after-all"),
        *("partition-id", "replica-id", "opt-barrier", "domain", "add-dependency"),
    )
)
_MARKS = ("AllocateBuffer", "AssumeGatherIndicesInBound", "Sharding", "annotate_device_placement")
_SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_CYCLES = re.compile(r'"estimated_cycles":"?(\d+)')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Collective:
    """Collectives of a kind and a dtype in a step; `bytes` are those of all of them together."""

    kind: str
    dtype: str
    count: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop; `trips` is None where only the running program knows."""

    name: str
    trips: int | None


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What one device does, and needs.

    Attributes:
      peak_bytes: of memory: arguments, results and scratch.
      argument_bytes: of these, the arguments.
      kept_bytes: of results that do not take the place of a donated argument.
      donated_bytes: of results that do.
      steps: iterations of the program's longest loop, 1 without a loop.
      kernels: that a step launches, collectives included, those of inner loops once a round.
      moved_bytes: that the kernels of a step read and write in the device's memory.
      cycles: of a step by the compiler's model, None where it has none.
      collectives: of a step.
      loops: in a step.
      other_collectives: outside of the steps, in the whole program.
      other_loops: outside of the steps.
    """

    peak_bytes: int
    argument_bytes: int
    kept_bytes: int
    donated_bytes: int
    steps: int
    kernels: int
    moved_bytes: int
    cycles: int | None
    collectives: tuple[Collective, ...]
    loops: tuple[Loop, ...]
    other_collectives: tuple[Collective, ...]
    other_loops: tuple[Loop, ...]


def inspect(program: jax.stages.Compiled, steps: int = 1) -> Compiled:
    """Reads a program that may have been compiled for a device that is not here.

    Args:
      program: compiled.
      steps: iterations of its scan, 1 where it has none.
    """
    memory: Any = program.memory_analysis()
    text = program.as_text()
    assert text is not None
    module = _Module(text)
    body = module.find_scan() if steps > 1 else None
    inside = _Tally(module)
    inside.add(body or module.entry)
    outside = _Tally(module)
    if body:
        outside.add(module.entry, without=body)
    donated = memory.alias_size_in_bytes
    arguments = memory.argument_size_in_bytes
    kept = memory.output_size_in_bytes - donated
    return Compiled(
        peak_bytes=arguments + memory.temp_size_in_bytes + kept,
        argument_bytes=arguments,
        kept_bytes=kept,
        donated_bytes=donated,
        steps=steps,
        kernels=inside.kernels,
        moved_bytes=inside.bytes,
        cycles=inside.cycles or None,
        collectives=inside.group_collectives(),
        loops=tuple(inside.loops),
        other_collectives=outside.group_collectives(),
        other_loops=tuple(outside.loops),
    )


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str

    def find_called(self, *names: str) -> list[str]:
        return [
            match[1]
            for name in names
            if (match := re.search(rf"\b{name}=%?([\w.\-]+)", self.attributes))
        ]


class _Module:
    """The computations of a program's text, each a list of instructions."""

    def __init__(self, text: str):
        self.computations: dict[str, list[_Instruction]] = {}
        self.entry = ""
        name = ""
        for line in text.splitlines():
            if header := _HEADER.match(line):
                name = header[2]
                self.computations[name] = []
                self.entry = name if header[1] else self.entry
            elif name and (found := _parse_line(line)):
                self.computations[name].append(found)

    def find_scan(self) -> str:
        """The body of the loop with the most instructions, inner computations included."""
        loops = [
            each.find_called("body")[0] for each in self.walk(self.entry) if each.opcode == "while"
        ]
        return max(loops, key=self.count)

    def count(self, computation: str) -> int:
        """Instructions of a computation and of what it calls."""
        return sum(1 for _ in self.walk(computation))

    def walk(self, computation: str) -> Iterator[_Instruction]:
        """The instructions of a computation and of loops, branches and calls in it."""
        for each in self.computations[computation]:
            yield each
            for inner in self.find_inner(each):
                yield from self.walk(inner)

    def find_inner(self, instruction: _Instruction) -> list[str]:
        """The computations that an instruction runs as a sequence of kernels."""
        if instruction.opcode == "while":
            return instruction.find_called("body")
        if instruction.opcode in ("call", "async-start"):
            return instruction.find_called("to_apply", "calls", "called_computations")
        if instruction.opcode == "conditional":
            # The costliest branch is unknown; the first counts.
            branches = re.search(r"branch_computations=\{%?([\w.\-]+)", instruction.attributes)
            return [branches[1]] if branches else instruction.find_called("true_computation")
        return []

    def find_trips(self, loop: _Instruction) -> int | None:
        """How often a loop runs, if the text tells."""
        if known := _TRIPS.search(loop.attributes):
            return int(known[1])
        (condition,) = loop.find_called("condition")
        instructions = self.computations[condition]
        root = instructions[-1]
        by_name = {each.name: each for each in instructions}
        constants = [
            by_name[operand].attributes
            for operand in root.operands
            if operand in by_name and by_name[operand].opcode == "constant"
        ]
        plain = root.opcode == "compare" and "direction=LT" in root.attributes
        return int(constants[0]) if plain and len(constants) == 1 else None


class _Tally:
    """Adds up what computations do."""

    def __init__(self, module: _Module):
        self.kernels = self.bytes = self.cycles = 0
        self.loops: list[Loop] = []
        self._module = module
        self._collectives: dict[tuple[str, str], list[int]] = {}

    def add(self, computation: str, times: int = 1, without: str = "") -> None:
        """Adds a computation that runs `times` times; a loop over `without` is left out."""
        instructions = self._module.computations[computation]
        by_name = {each.name: each for each in instructions}
        for each in instructions:
            rounds = times
            inner = self._module.find_inner(each)
            if without in inner:
                continue
            if each.opcode == "while":
                trips = self._module.find_trips(each)
                self.loops.append(Loop(_name_origin(each), trips))
                rounds = times * (trips or 1)
            for name in inner:
                self.add(name, rounds, without)
            if cycles := _CYCLES.search(each.attributes):
                self.cycles += times * int(cycles[1])
            self._add_collective(each, times)
            if _is_kernel(each):
                self.kernels += times
                self.bytes += times * self._count_bytes(each, by_name)

    def group_collectives(self) -> tuple[Collective, ...]:
        """The collectives that were met."""
        return tuple(
            Collective(kind, dtype, *counted)
            for (kind, dtype), counted in sorted(self._collectives.items())
        )

    def _add_collective(self, each: _Instruction, times: int) -> None:
        kind = each.opcode.removesuffix("-start")
        if kind not in _COLLECTIVES:
            return
        # A start's result may hold its operands too; an all-reduce gives what it is given.
        dtypes: dict[str, int] = {}
        for dtype, size, _ in _list_arrays(each.shape):
            dtypes[dtype] = dtypes.get(dtype, 0) + size
        for dtype, size in dtypes.items():
            counted = self._collectives.setdefault((kind, dtype), [0, 0])
            counted[0] += times
            counted[1] += times * size

    def _count_bytes(self, each: _Instruction, by_name: Mapping[str, _Instruction]) -> int:
        """Bytes of the device's memory that a kernel reads and writes."""
        read = self._find_parts(each)
        total = 0
        for index, operand in enumerate(each.operands):
            if operand in by_name:
                size = _memory_bytes(by_name[operand].shape)
                total += min(size, read.get(index, size))
        written = _memory_bytes(each.shape)
        return total + min(written, read.get(-1, written))

    def _find_parts(self, each: _Instruction) -> dict[int, int]:
        """Bytes read of operands of which only rows are, and written (-1) if only a part is."""
        if each.opcode in ("gather", "dynamic-slice"):
            return {0: _all_bytes(each.shape)}
        called = each.find_called("calls") if each.opcode == "fusion" else []
        if not called:
            return {}
        instructions = self._module.computations[called[0]]
        by_name = {one.name: one for one in instructions}
        users: dict[str, list[_Instruction]] = {}
        for one in instructions:
            for operand in one.operands:
                users.setdefault(operand, []).append(one)
        parts: dict[int, int] = {}
        for one in instructions:
            if one.opcode == "parameter":
                uses = dict(_follow(one, users))
                sliced = {user: first and user.opcode in _SLICES for user, first in uses.items()}
                if uses and all(sliced.values()):
                    size = 0
                    for user in sliced:
                        is_update = user.opcode == "dynamic-update-slice"
                        of = by_name.get(user.operands[1], user) if is_update else user
                        size += _all_bytes(of.shape)
                    parts[int(one.attributes)] = size
        root = instructions[-1]
        if root.opcode == "dynamic-update-slice" and root.operands[1] in by_name:
            parts[-1] = _all_bytes(by_name[root.operands[1]].shape)
        return parts


_SLICES = ("gather", "slice", "dynamic-slice", "dynamic-update-slice")


_ELEMENTWISE = frozenset(
    (
        *("add", "subtract", "multiply", "divide", "maximum", "minimum", "negate"),
        *("sqrt", "rsqrt", "power", "select", "convert"),
    )
)
"""What gives as many values as it takes: a part of its result needs that part of its operands."""


def _follow(
    value: _Instruction, users: Mapping[str, list[_Instruction]]
) -> Iterator[tuple[_Instruction, bool]]:
    """What reads a value or what was computed of it elementwise, and whether as first operand."""
    for user in users.get(value.name, ()):
        if user.opcode == "bitcast" or user.opcode in _ELEMENTWISE:
            yield from _follow(user, users) if users.get(user.name) else ((user, False),)
        else:
            yield user, user.operands[0] == value.name


def _parse_line(line: str) -> _Instruction | None:
    name, equals, rest = line.strip().removeprefix("ROOT ").partition(" = ")
    if not equals:
        return None
    end = _find_close(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    shape, rest = rest[:end], rest[end:].lstrip()
    opcode, parenthesis, _ = rest.partition("(")
    if not parenthesis or " " in opcode:
        return None
    start = len(opcode)
    end = _find_close(rest, start)
    inside = rest[start + 1 : end]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    # Constants and parameters have their value or number where others have operands.
    attributes = inside if opcode in ("constant", "parameter") else rest[end + 1 :]
    return _Instruction(name.removeprefix("%"), shape, opcode, operands, attributes)


def _find_close(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return len(text)


def _is_kernel(each: _Instruction) -> bool:
    opcode = each.opcode
    if opcode in _FREE or opcode.endswith("-done"):
        return False
    return opcode != "custom-call" or not any(mark in each.attributes for mark in _MARKS)


def _name_origin(each: _Instruction) -> str:
    """Where in the Python program an instruction comes from."""
    origin = re.search(r'op_name="([^"]*)"', each.attributes)
    return origin[1] if origin else each.name


def _list_arrays(shape: str) -> Iterable[tuple[str, int, str]]:
    """Dtype, bytes and layout of the arrays of a shape."""
    for dtype, dims, layout in _SHAPE.findall(shape):
        count = 1
        for dim in filter(None, dims.split(",")):
            count *= int(dim)
        yield dtype, count * _SIZES.get(dtype, 1), layout


def _all_bytes(shape: str) -> int:
    return sum(size for _, size, _ in _list_arrays(shape))


def _memory_bytes(shape: str) -> int:
    """Bytes in the device's main memory; S(1) is what a TPU keeps beside its units."""
    return sum(size for _, size, layout in _list_arrays(shape) if "S(1)" not in layout)
