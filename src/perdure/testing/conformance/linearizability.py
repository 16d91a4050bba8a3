"""Whether operations that were under way together can be told as if they came one after the other.

That is what atomic means to those who look from outside: some order of the operations, done one by one by the model,
gives every answer that the store gave, and leaves what the store holds. An operation that was not answered may have
been done or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from perdure.testing.conformance.describe import shown
from perdure.testing.conformance.model import ModelStore, Operation, comparable
from perdure.testing.conformance.requirement import RequirementViolated
from perdure.testing.conformance.requirements import ATOMIC, CONCURRENT, DURABLE

_SHOWN = 2  # differences


@attrs.frozen
class _End:
    """An order that gives the answers, and how what it leaves differs from what the store holds."""

    model: ModelStore
    order: tuple[int, ...]
    differences: tuple[tuple[str, str, str], ...]

    def shown(self) -> list[str]:
        """Say the first differences: where, what the model has, what the store has."""
        lines: list[str] = []
        for what, model, store in self.differences[:_SHOWN]:
            lines += [f"{what}: the model has {model}", f"{' ' * len(what)}  the store has {store}"]
        more = len(self.differences) - _SHOWN
        return [*lines, f"and {more} more"] if more > 0 else lines


async def in_some_order(model: ModelStore, operations: Sequence[Operation], holds: dict[str, Any]) -> ModelStore:
    """Find an order of operations that explains what a store answered and holds.

    Args:
        model: the model, as it was before them; it is left as it is.
        operations: those that were under way together, few.
        holds: all that can be seen in the store now.

    Returns:
        The model after them, in such an order.

    Raises:
        RequirementViolated: there is no such order.
    """
    search = _Search(operations, holds)
    found = await search.after(model, ())
    if found is None:
        raise search.broken()
    return found


class _Search:
    """Goes through the orders, and keeps the one that comes nearest."""

    def __init__(self, operations: Sequence[Operation], holds: dict[str, Any]) -> None:
        self._operations = operations
        self._holds = holds
        self._nearest: _End | None = None

    async def after(self, model: ModelStore, done: tuple[int, ...]) -> ModelStore | None:
        """Look for an order that begins with some operations."""
        left = [number for number in range(len(self._operations)) if number not in done]
        if all(self._operations[number].answered is None for number in left):
            end = _End(model, done, _differences(self._holds, (await model.side.look()).shown))
            if not end.differences:
                return model
            self._keep(end)
        for number in left:
            found = await self._with(model, number, done)
            if found is not None:
                return found
        return None

    async def _with(self, model: ModelStore, number: int, done: tuple[int, ...]) -> ModelStore | None:
        operation, next_ = self._operations[number], await model.again()
        found = await next_.ask(operation.asked)
        if operation.answered is not None and comparable(found) != comparable(operation.answered):
            return None
        return await self.after(next_, (*done, number))

    def _keep(self, end: _End) -> None:
        if self._nearest is None or len(end.differences) < len(self._nearest.differences):
            self._nearest = end

    def broken(self) -> RequirementViolated:
        """Say what no order explains."""
        unanswered = any(one.answered is None for one in self._operations)
        promises = (ATOMIC, DURABLE) if unanswered else (ATOMIC, CONCURRENT)
        if self._nearest is None:
            return RequirementViolated("no order of the operations gives these answers", promises=promises)
        return RequirementViolated(
            "no order of the operations leaves what the store holds",
            details=(f"nearest comes {self._told(self._nearest.order)}; but then", *self._nearest.shown()),
            promises=promises,
        )

    def _told(self, order: tuple[int, ...]) -> str:
        done = " then ".join(self._operations[number].letter for number in order)
        lost = [one.letter for number, one in enumerate(self._operations) if number not in order]
        return " ".join([done, *(["without", ", ".join(lost)] if lost else [])]).strip()


def _differences(store: dict[str, Any], model: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (what, shown(expected), shown(store[what])) for what, expected in model.items() if store[what] != expected
    )
