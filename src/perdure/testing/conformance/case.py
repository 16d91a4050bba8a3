"""A case of the suite: promises, and a check that can fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeAlias

import attrs

from perdure.stores.store import Capabilities, Store
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.operation_log import recorded
from perdure.testing.conformance.requirement import Requirement, RequirementViolated

Need: TypeAlias = Literal["any", "owned", "shared", "durable", "damage"]
"""What a store must be for a case to apply: its ownership, a durability other than ``none``, or that its place can
damage a row."""


@attrs.frozen(kw_only=True)
class Case:
    """A few promises, as a check that can fail.

    Attributes:
        name: what is checked, in a few words.
        keeps: the promises that a store breaks when it fails.
        check: does it, in places that are empty.
        needs: which stores it is for.
    """

    name: str
    keeps: tuple[Requirement, ...]
    check: Callable[[NewHarness], Awaitable[None]]
    needs: Need = "any"

    def __str__(self) -> str:
        return self.name

    def applies(self, capabilities: Capabilities, place: object) -> bool:
        """Whether a store of this kind promises what the case checks."""
        match self.needs:
            case "any":
                return True
            case "owned" | "shared":
                return capabilities.ownership == self.needs
            case "durable":
                return capabilities.durability != "none"
            case "damage":
                return hasattr(place, "damage")


def in_store(*promises: Requirement) -> Callable[[Callable[[Store], Awaitable[None]]], Case]:
    """Make a case of a function that needs one open store."""

    def of(check: Callable[[Store], Awaitable[None]]) -> Case:
        async def in_a_place(new_harness: NewHarness) -> None:
            story: list[str] = []
            async with opened(new_harness()) as store:
                await _explained(check(recorded(store, story)), promises, story)

        return Case(name=check.__name__, keeps=promises, check=in_a_place)

    return of


def in_harness(
    *promises: Requirement, needs: Need = "any"
) -> Callable[[Callable[[NewHarness], Awaitable[None]]], Case]:
    """Make a case of a function that opens stores itself."""

    def of(check: Callable[[NewHarness], Awaitable[None]]) -> Case:
        async def in_places(new_harness: NewHarness) -> None:
            await _explained(check(new_harness), promises, ())

        return Case(name=check.__name__, keeps=promises, check=in_places, needs=needs)

    return of


async def _explained(check: Awaitable[None], promises: tuple[Requirement, ...], story: Iterable[str]) -> None:
    """Wait for a check, and say of its failure which promises it was about and what had been done."""
    try:
        await check
    except RequirementViolated as broken:
        raise broken.within(promises, story) from broken.__cause__
    except (LookupError, ValueError) as error:  # an answer was taken apart that has too much in it, or too little
        what = f"the last answer is not of the form that the case expects: {error}"
        raise RequirementViolated(what, promises=promises, story=story) from error
