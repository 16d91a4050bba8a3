"""The suite that a store's author runs, and its report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Literal, TypeAlias

import attrs

from perdure.stores.values import Capabilities
from perdure.testing.conformance.assertions import RequirementViolated
from perdure.testing.conformance.attribute_cases import ATTRIBUTE_CASES
from perdure.testing.conformance.differential import killable, take_steps
from perdure.testing.conformance.harness import Case, NewHarness, NotApplicable, StoreHarness, opened
from perdure.testing.conformance.histories import History, search, steps
from perdure.testing.conformance.histories import kills as histories_with_kills
from perdure.testing.conformance.instance_cases import INSTANCE_CASES, KEY_CASES
from perdure.testing.conformance.lifecycle_cases import (
    CORRUPTION_CASES,
    KILL_CASES,
    LIFECYCLE_CASES,
    OWNERSHIP_CASES,
    UNCOMMITTED_READ_CASES,
)
from perdure.testing.conformance.message_and_event_cases import (
    CURSOR_CASES,
    EVENT_LOG_CASES,
    HISTORY_CASES,
    MESSAGE_CASES,
)
from perdure.testing.conformance.optional_operation_cases import COPYING_CASES, HOLD_CASES, JOURNAL_CASES, QUEUE_CASES
from perdure.testing.conformance.sharing_cases import MEMBERSHIP_CASES, SHARE_CASES, TAKEOVER_CASES
from perdure.testing.conformance.stream_cases import STREAM_CASES
from perdure.testing.conformance.stress_cases import CANCELLATION_CASES, CONCURRENCY_CASES, PAGE_CASES, TEXT_CASES


@attrs.frozen
class Outcome:
    """One check's result.

    Attributes:
        name: the case's name.
        verdict: ``not applicable`` when the store's capabilities, or its harness, exclude the case.
        detail: how the store failed.
    """

    name: str
    verdict: Literal["passed", "failed", "not applicable"]
    detail: str = ""


@attrs.frozen
class ConformanceReport:
    """The result of each check in the suite. Its text is human-readable."""

    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The checks that failed."""
        return tuple(one for one in self.outcomes if one.verdict == "failed")

    def __str__(self) -> str:
        verdicts = ("passed", "failed", "not applicable")
        counts = {verdict: sum(one.verdict == verdict for one in self.outcomes) for verdict in verdicts}
        lines = [", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
        lines += [f"\n{one.name}: {one.detail}" for one in self.failed]
        return "\n".join(lines)


Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]
"""Runs a coroutine to its end."""

_PATIENCE_S = 120  # on the slowest machine; a store that hangs must not hang its tests

_MODEL_SHRINKS = 500  # runs after the first failure; each takes milliseconds
_KILL_SHRINKS = 25  # each starts processes

CASES: tuple[Case, ...] = (
    *INSTANCE_CASES,
    *KEY_CASES,
    *MESSAGE_CASES,
    *EVENT_LOG_CASES,
    *CURSOR_CASES,
    *HISTORY_CASES,
    *HOLD_CASES,
    *JOURNAL_CASES,
    *STREAM_CASES,
    *TEXT_CASES,
    *PAGE_CASES,
    *QUEUE_CASES,
    *ATTRIBUTE_CASES,
    *CONCURRENCY_CASES,
    *CANCELLATION_CASES,
    *LIFECYCLE_CASES,
    *OWNERSHIP_CASES,
    *MEMBERSHIP_CASES,
    *SHARE_CASES,
    *TAKEOVER_CASES,
    *CORRUPTION_CASES,
    *KILL_CASES,
    *UNCOMMITTED_READ_CASES,
    *COPYING_CASES,
)
"""Examples for the requirements in ``stores.contract``, listed in `perdure.testing.conformance.requirements`."""


def check_store(new_harness: NewHarness, *, run: Run = asyncio.run, max_examples: int = 30) -> ConformanceReport:
    """Check a store against all requirements in ``perdure.stores.contract``: the cases, the model, the kills.

    Args:
        new_harness: creates an empty harness.
        run: runs a coroutine to its end.
        max_examples: how many histories are compared with the model. A tenth as many are killed.

    Returns:
        Each check's result.

    Raises:
        RequirementViolated: all failures, one after the other.
    """
    outcomes = [_outcome(case.name, partial(check_case, case, new_harness, run=run)) for case in CASES]
    killed = max(1, max_examples // 10)
    machines: dict[str, Callable[[], bool]] = {
        "agrees_with_the_model": lambda: check_model(new_harness, run=run, max_examples=max_examples),
        "agrees_with_the_model_when_it_is_killed": lambda: check_kills(new_harness, run=run, max_examples=killed),
    }
    outcomes += [_outcome(name, check) for name, check in machines.items()]
    report = ConformanceReport(tuple(outcomes))
    if report.failed:
        raise RequirementViolated(str(report))
    return report


def check_case(case: Case, new_harness: NewHarness, *, run: Run = asyncio.run) -> bool:
    """Check one case.

    Args:
        case: one of `CASES`.
        new_harness: creates an empty harness.
        run: runs a coroutine to its end. Each case is one run.

    Returns:
        Whether the case applies to the store. If not, nothing was checked.

    Raises:
        RequirementViolated: the store fails the case.
    """
    if not case.applies(*_opened_once(new_harness, run)):
        return False

    try:
        run(_in_time(case.check(new_harness)))
    except NotApplicable:
        return False
    return True


def check_model(new_harness: NewHarness, *, run: Run = asyncio.run, max_examples: int = 50) -> bool:
    """Compare a store with the memory store, operation by operation, over histories that hypothesis draws and shrinks.

    Some operations in a history are concurrent: executing them in some order must explain their answers. The histories
    are the same on every run, unless a Hypothesis profile that draws new ones is loaded.

    Args:
        new_harness: creates an empty harness. Called for each history.
        run: runs a coroutine to its end. Each history is one run.
        max_examples: how many histories, with up to 30 steps each.

    Returns:
        True.

    Raises:
        RequirementViolated: the two differ. Hypothesis has shrunk the history.
    """

    def agree(history: History) -> None:
        run(_taken(new_harness(), history))

    search(steps(), agree, max_examples=max_examples, max_shrinks=_MODEL_SHRINKS)
    return True


def check_kills(new_harness: NewHarness, *, run: Run = asyncio.run, max_examples: int = 10) -> bool:
    """Compare a store with the memory store over histories in which its process is killed with SIGKILL.

    Acknowledged commits must be found when the store is opened again. The others may be found completely or not at all.

    Args:
        new_harness: makes a harness with an empty store. Unless it can ``kill``, it is pickled, and the store is opened
            in another process.
        run: runs a coroutine to its end on asyncio. Each history is one run.
        max_examples: how many histories, with one or two kills each.

    Returns:
        Whether the store must survive a kill. If not, nothing was checked.

    Raises:
        RequirementViolated: it does not survive. Hypothesis has shrunk the history.
    """
    capabilities, _ = _opened_once(new_harness, run)
    if capabilities.durability == "none":
        return False

    def survive(history: History) -> None:
        run(_taken(killable(new_harness()), history))

    search(histories_with_kills(), survive, max_examples=max_examples, max_shrinks=_KILL_SHRINKS)
    return True


async def _taken(harness: StoreHarness, history: History) -> None:
    await _in_time(take_steps(harness, history))


async def _in_time(check: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await check
    except TimeoutError as error:
        raise RequirementViolated(f"the store did not answer within {_PATIENCE_S} seconds") from error


def _opened_once(new_harness: NewHarness, run: Run) -> tuple[Capabilities, StoreHarness]:
    """Return a store's capabilities, and its harness, whose data is deleted again."""
    harness, found = new_harness(), list[Capabilities]()

    async def look() -> None:
        async with opened(harness) as store:
            found.append(store.capabilities)

    run(look())
    return found[0], harness


def _outcome(name: str, check: Callable[[], bool]) -> Outcome:
    try:
        return Outcome(name, "passed" if check() else "not applicable")
    except RequirementViolated as broken:
        return Outcome(name, "failed", str(broken))
