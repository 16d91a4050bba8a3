"""The suite: what an author of a store runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings

from perdure.stores.store import Store
from perdure.testing.conformance import concurrency, instances, keys, lifecycle, log, mail
from perdure.testing.conformance.pair import Pair
from perdure.testing.conformance.place import Place, opened
from perdure.testing.conformance.steps import Step, steps


@attrs.frozen
class Case:
    """One promise, as a check that can fail.

    Attributes:
        name: the promise in a few words.
        check: does it, in a place that is empty.
    """

    name: str
    check: Callable[[Place], Awaitable[None]]

    def __str__(self) -> str:
        return self.name


def _with_store(check: Callable[[Store], Awaitable[None]]) -> Case:
    async def in_place(place: Place) -> None:
        async with opened(place) as store:
            await check(store)

    return Case(check.__name__, in_place)


_MODULES = (instances, keys, mail, log, concurrency)

CASES: tuple[Case, ...] = (
    *(_with_store(check) for module in _MODULES for check in module.CASES),
    *(Case(check.__name__, check) for check in lifecycle.CASES),
)
"""Every promise of ``perdure.stores.store``, one case each."""


def check_case(
    case: Case, new_place: Callable[[], Place], *, run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
) -> None:
    """Check one promise.

    Args:
        case: one of `CASES`.
        new_place: makes an empty place for the store.
        run: runs a coroutine to its end; each case is one run.

    Raises:
        BrokenPromise: the store does not keep it.
    """

    async def main() -> None:
        await case.check(new_place())

    run(main())


def check_model(
    new_place: Callable[[], Place],
    *,
    run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run,
    max_examples: int = 50,
) -> None:
    """Compare a store with the memory store, operation by operation, over histories that hypothesis draws and shrinks.

    Args:
        new_place: makes an empty place for the store; called for each history.
        run: runs a coroutine to its end; each history is one run.
        max_examples: how many histories, of up to 25 steps.

    Raises:
        BrokenPromise: the two differ; hypothesis has shrunk the history.
    """

    @settings(max_examples=max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(steps())
    def agree(history: list[Step]) -> None:
        run(_agree(new_place(), history))

    agree()


async def _agree(place: Place, history: list[Step]) -> None:
    pair = Pair(place, await place.open())
    try:
        for step in history:
            await pair.take(step)
    finally:
        await pair.tested.store.close()
        await place.discard()
