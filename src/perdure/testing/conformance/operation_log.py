"""Records the operations of a store, for failure reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from returns.future import FutureResult
from returns.io import IOResult
from returns.result import Result

from perdure.stores.contract import Store
from perdure.testing.conformance.describe import asked, outcome
from perdure.testing.conformance.requirement import RequirementViolated, answer
from perdure.testing.conformance.requirements import FAILURES_ARE_VALUES

_FACTS = {"name", "epoch", "capabilities"}

OPERATIONS = tuple(
    field.name for field in attrs.fields(Store) if field.default is attrs.NOTHING and field.name not in _FACTS
)
"""The functions that every store has."""

_Operation = Callable[..., Awaitable[IOResult[Any, Any]]]


def recorded(store: Store, story: list[str]) -> Store:
    """Return the same store, which records its operations and their results.

    Args:
        store: the store.
        story: the records, a line for each operation.
    """
    operations: dict[str, Any] = {name: _recorded(name, getattr(store, name), story) for name in OPERATIONS}
    return attrs.evolve(store, **operations)


def _recorded(name: str, operation: _Operation, story: list[str]) -> Callable[..., FutureResult[Any, Any]]:
    async def ask(*arguments: object) -> Result[Any, Any]:
        call = asked(name, *arguments)
        try:
            found = await answer(operation(*arguments))
        except Exception as error:
            story.append(f"{call}  raised {type(error).__name__}")
            raise RequirementViolated(f"{name} raised {error!r}", requirements=(FAILURES_ARE_VALUES,)) from error
        story.append(f"{call}  ->  {outcome(found)}")
        return found

    return lambda *arguments: FutureResult(ask(*arguments))
