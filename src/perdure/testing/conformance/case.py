"""A case of the suite: requirements, and a check that can fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeAlias

import attrs

from perdure.stores.contract import Store
from perdure.stores.values import Capabilities
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.operation_log import recorded
from perdure.testing.conformance.requirement import Requirement, RequirementViolated

Need: TypeAlias = Literal["any", "owned", "shared", "durable", "damage", "clocked", "copies"]
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
    needs: Need = "any"

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
    *requirements: Requirement, needs: Need = "any"
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
