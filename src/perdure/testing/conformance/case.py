"""A case of the suite: requirements, and a check that can fail.

It records the operations of its store, for the report of a failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeAlias

import attrs
from returns.future import FutureResult
from returns.io import IOResult
from returns.result import Result

from perdure.stores.contract import Store
from perdure.stores.values import Capabilities
from perdure.testing.conformance.assertions import Requirement, RequirementViolated, answer, asked, outcome
from perdure.testing.conformance.harness import NewHarness, opened
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


Applicability: TypeAlias = Literal["any", "owned", "shared", "durable", "damage", "clocked", "copies"]
"""Which stores a case applies to: by ownership, by a durability other than ``none``, or by abilities of a harness."""


@attrs.frozen(kw_only=True)
class Case:
    """A few requirements, and a check that can fail.

    Attributes:
        name: the name of the check.
        requirements: those that a store violates when the check fails.
        check: opens stores in empty harnesses and checks them.
        needs: which stores it applies to.
    """

    name: str
    requirements: tuple[Requirement, ...]
    check: Callable[[NewHarness], Awaitable[None]]
    needs: Applicability = "any"

    def __str__(self) -> str:
        return self.name

    def applies(self, capabilities: Capabilities, harness: object) -> bool:
        """Whether the case applies to a store of this kind."""
        match self.needs:
            case "any":
                return True
            case "owned" | "shared":
                return capabilities.ownership == self.needs
            case "durable":
                return capabilities.durability != "none"
            case "damage":
                return hasattr(harness, "damage")
            case "copies":
                return hasattr(harness, "copy_target")
            case "clocked":
                return capabilities.ownership == "shared" and hasattr(harness, "pass_time")


class NotApplicable(Exception):
    """Raised by a check of an optional operation that the store does not have."""


def in_store(*requirements: Requirement) -> Callable[[Callable[[Store], Awaitable[None]]], Case]:
    """Make a case from a function that needs one open store."""

    def of(check: Callable[[Store], Awaitable[None]]) -> Case:
        async def in_a_harness(new_harness: NewHarness) -> None:
            story: list[str] = []
            async with opened(new_harness()) as store:
                await _explained(check(recorded(store, story)), requirements, story)

        return Case(name=check.__name__, requirements=requirements, check=in_a_harness)

    return of


def in_harness(
    *requirements: Requirement, needs: Applicability = "any"
) -> Callable[[Callable[[NewHarness], Awaitable[None]]], Case]:
    """Make a case from a function that opens stores itself."""

    def of(check: Callable[[NewHarness], Awaitable[None]]) -> Case:
        async def in_harnesses(new_harness: NewHarness) -> None:
            await _explained(check(new_harness), requirements, ())

        return Case(name=check.__name__, requirements=requirements, check=in_harnesses, needs=needs)

    return of


async def _explained(check: Awaitable[None], requirements: tuple[Requirement, ...], story: Iterable[str]) -> None:
    """Wait for a check, and add to its failure the requirements and the operations."""
    try:
        await check
    except RequirementViolated as broken:
        raise broken.within(requirements, story) from broken.__cause__
    except (LookupError, ValueError) as error:  # a result with too many or too few items was unpacked
        what = f"the last answer is not of the form that the case expects: {error}"
        raise RequirementViolated(what, requirements=requirements, story=story) from error
