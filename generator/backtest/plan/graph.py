"""The graph of a batch: primitive steps, each stored once for all expressions that use it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

Param: TypeAlias = int | float | bool | str | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One primitive applied to the results of earlier steps; `op` is a key of `primitives.PRIMITIVES`.

    `sign` is 1, or -1 for the negated result, which only a `signed` primitive can compute.
    """

    op: str
    inputs: tuple[int, ...] = ()
    params: tuple[Param, ...] = ()
    sign: float = 1.0


@dataclass(slots=True)
class Graph:
    """Steps in an order in which each follows its inputs; equal steps share one number."""

    steps: list[Step] = field(default_factory=list)
    _numbers: dict[tuple[object, ...], int] = field(default_factory=dict)

    def emit(self, op: str, *inputs: int, params: tuple[Param, ...] = ()) -> int:
        """Return the number of the step; add the step if it is new."""
        step = Step(op, inputs, params)
        # By type and repr: 1, 1.0 and True are different parameters, and NaN equals itself.
        key = (op, inputs, tuple((type(p), repr(p)) for p in params))
        number = self._numbers.get(key)
        if number is None:
            number = len(self.steps)
            self.steps.append(step)
            self._numbers[key] = number
        return number

    def ancestors(self, roots: Iterable[int], done: frozenset[int] | set[int] = frozenset()) -> list[int]:
        """Return the roots and all their inputs, in order, without the steps in `done` and their inputs."""
        found: set[int] = set()
        stack = [root for root in roots if root not in done]
        while stack:
            number = stack.pop()
            if number not in found:
                found.add(number)
                stack.extend(i for i in self.steps[number].inputs if i not in done)
        return sorted(found)
