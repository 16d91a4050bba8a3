"""Checks that concurrent operations are linearizable.

They are if the model, executing them one by one in some order, returns the results of the store and ends with the
content of the store. An operation without a result may have happened or not.
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
    """An order that returns the results of the store, and how its content differs from that of the store."""

    model: ModelStore
    order: tuple[int, ...]
    differences: tuple[tuple[str, str, str], ...]

    def shown(self) -> list[str]:
        """Describe the first differences."""
        lines: list[str] = []
        for what, model, store in self.differences[:_SHOWN]:
            lines += [f"{what}: the model has {model}", f"{' ' * len(what)}  the store has {store}"]
        more = len(self.differences) - _SHOWN
        return [*lines, f"and {more} more"] if more > 0 else lines


async def in_some_order(model: ModelStore, operations: Sequence[Operation], holds: dict[str, Any]) -> list[ModelStore]:
    """Find the orders of operations that explain the results and the content of a store.

    Args:
        model: the model, as it was before them; it is left as it is.
        operations: the concurrent operations, few.
        holds: the content of the store now.

    Returns:
        The model after them, once for each such order. They may differ in rows that no read shows yet, such as a
        message behind another.

    Raises:
        RequirementViolated: there is no such order.
    """
    search = _Search(operations, holds)
    await search.after(model, ())
    if not search.found:
        raise search.broken()
    return search.found


class _Search:
    """Goes through the orders, and keeps the one that comes nearest."""

    def __init__(self, operations: Sequence[Operation], holds: dict[str, Any]) -> None:
        self._operations = operations
        self._holds = holds
        self._nearest: _End | None = None
        self.found: list[ModelStore] = []

    async def after(self, model: ModelStore, done: tuple[int, ...]) -> None:
        """Look for the orders that begin with some operations."""
        left = [number for number in range(len(self._operations)) if number not in done]
        if all(self._operations[number].answered is None for number in left):
            end = _End(model, done, _differences(self._holds, (await model.side.look()).shown))
            if end.differences:
                self._keep(end)
            else:
                self.found.append(model)
        for number in left:
            operation, next_ = self._operations[number], await model.again()
            found = await next_.ask(operation.asked)
            if operation.answered is None or comparable(found) == comparable(operation.answered):
                await self.after(next_, (*done, number))

    def _keep(self, end: _End) -> None:
        if self._nearest is None or len(end.differences) < len(self._nearest.differences):
            self._nearest = end

    def broken(self) -> RequirementViolated:
        """Describe the nearest order."""
        if not self._operations and self._nearest is not None:
            return RequirementViolated(
                "a kill and the next opening change the content of the store", details=self._nearest.shown()
            )
        unanswered = any(one.answered is None for one in self._operations)
        requirements = (ATOMIC, DURABLE) if unanswered else (ATOMIC, CONCURRENT)
        if self._nearest is None:
            return RequirementViolated("no order of the operations returns these results", requirements=requirements)
        return RequirementViolated(
            "no order of the operations leaves the content of the store",
            details=(f"nearest comes {self._told(self._nearest.order)}; but then", *self._nearest.shown()),
            requirements=requirements,
        )

    def _told(self, order: tuple[int, ...]) -> str:
        done = " then ".join(self._operations[number].letter for number in order)
        lost = [one.letter for number, one in enumerate(self._operations) if number not in order]
        return " ".join([done, *(["without", ", ".join(lost)] if lost else [])]).strip()


def _differences(store: dict[str, Any], model: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (what, shown(expected), shown(store[what])) for what, expected in model.items() if store[what] != expected
    )
