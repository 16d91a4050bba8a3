"""The harness that a store's author passes to the suite, and a case: a check that takes a harness.

A case names the requirements that it checks. The harnesses for this package's own stores are here too.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import attrs
from returns.future import FutureResult
from returns.io import IOResult
from returns.result import Failure, Result

from perdure.stores.contract import Answered, Store, overlay
from perdure.stores.copying import CopySource, CopyTarget
from perdure.stores.memory import MemoryBackend, SharedMemoryBackend
from perdure.stores.sqlite import copying, open_sqlite
from perdure.stores.values import Capabilities
from perdure.testing.conformance.assertions import Requirement, RequirementViolated, answer, asked, asked_of, outcome
from perdure.testing.conformance.requirements import FAILURES_ARE_VALUES
from perdure.values.address import Address


class StoreHarness(Protocol):
    """Holds one store's data: a file, a schema, a dictionary. It is empty when a case starts.

    The harness keeps the data over ``close`` and ``open``, whatever the store's durability.
    """

    async def open(self) -> Store:
        """Open a store over the existing data.

        While another store is open, a shared store is opened beside it. An owned store raises ``StoreLocked`` or ends
        the other.
        """
        ...

    async def discard(self) -> None:
        """Delete the data. Every store has been closed or killed."""
        ...


@runtime_checkable
class KillableHarness(StoreHarness, Protocol):
    """A harness that can kill the open store. `SubprocessHarness` makes one from any harness that can be pickled."""

    async def kill(self) -> None:
        """End the open store as a process crash would, in the middle of its operations.

        Operations without a result then return a failure. Writes that had not happened never happen.
        """
        ...


@runtime_checkable
class ClockedHarness(StoreHarness, Protocol):
    """A harness for a shared store that can let leases end."""

    async def pass_time(self, duration_ms: float) -> None:
        """Let this much time pass on the store's clock: wait, or move the clock."""
        ...


@runtime_checkable
class CorruptibleHarness(StoreHarness, Protocol):
    """A harness that can damage stored rows, for the requirements about rows that cannot be read."""

    async def damage(self, address: Address) -> None:
        """Make an instance's row unreadable. No store is open."""
        ...


@runtime_checkable
class CopyableHarness(StoreHarness, Protocol):
    """A harness for a store that can be copied."""

    async def copy_source(self) -> CopySource:
        """Open the data as the source of a copy."""
        ...

    async def copy_target(self) -> CopyTarget:
        """Open the data as the target of a copy."""
        ...


NewHarness: TypeAlias = Callable[[], StoreHarness]
"""Creates an empty harness; usually it is a class."""


@asynccontextmanager
async def opened(harness: StoreHarness) -> AsyncGenerator[Store]:
    """Open a store for one case, then close it and delete its data."""
    store = await harness.open()
    try:
        yield store
    finally:
        await store.close()
        await harness.discard()


@contextmanager
def must_open() -> Generator[None]:
    """Open a store that has no reason to refuse.

    Raises:
        RequirementViolated: it raised.
    """
    try:
        yield
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
        raise RequirementViolated(f"the store does not open again: it raised {raised}") from error


class MemoryHarness:
    """A memory store."""

    def __init__(self) -> None:
        self._backend = MemoryBackend()

    async def open(self) -> Store:
        """Open it over the same tables."""
        return self._backend.open()

    async def discard(self) -> None:
        """Do nothing: the garbage collector frees the tables."""


class SharedMemoryHarness:
    """A memory store that several openings share, with a clock that only the cases move."""

    def __init__(self) -> None:
        self._now_ms = 0.0
        self._backend = SharedMemoryBackend(lambda: self._now_ms)

    async def open(self) -> Store:
        """Open it beside its other openings."""
        return self._backend.open()

    async def pass_time(self, duration_ms: float) -> None:
        """Move the store's clock."""
        self._now_ms += duration_ms

    async def discard(self) -> None:
        """Do nothing: the garbage collector frees the tables."""


class SqliteHarness:
    """A SQLite file in a temporary folder.

    Args:
        durability: as for `open_sqlite`. The requirements are the same for both. ``relaxed`` is faster.
    """

    def __init__(self, durability: Literal["full", "relaxed"] = "relaxed") -> None:
        self._durability: Literal["full", "relaxed"] = durability
        self._folder = Path(tempfile.mkdtemp(prefix="perdure-"))

    async def open(self) -> Store:
        """Open the file."""
        return await open_sqlite(self._folder / "jobs.db", durability=self._durability)

    async def copy_source(self) -> CopySource:
        """Lock and read the file."""
        return await copying.open_source(str(self._folder / "jobs.db"))

    async def copy_target(self) -> CopyTarget:
        """Write the file."""
        return await copying.open_target(str(self._folder / "jobs.db"))

    async def discard(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder)

    async def damage(self, address: Address) -> None:
        """Write something that is not JSON into an instance's row."""
        with closing(sqlite3.connect(self._folder / "jobs.db")) as database, database:
            # A column that every read of the row decodes, and that no index holds.
            sql = "UPDATE instances SET pending_retry = 'not JSON' WHERE kind = ? AND name = ? AND id = ?"
            database.execute(sql, (address.kind, address.name, address.id))


OPERATIONS = tuple(name for name in vars(Store) if name in Store.__abstractmethods__)
"""The functions that every store has."""

BATCHES: Final = ("load", "commit")
"""Those that take a batch, and call back."""

T = TypeVar("T")

_Operation = Callable[..., Awaitable[IOResult[Any, Any]]]


def recorded(store: Store, story: list[str]) -> Store:
    """Return the same store, which records its operations and their results.

    Args:
        store: the store.
        story: the records, a line for each operation.
    """
    operations: dict[str, Any] = {
        name: (_recorded_batch if name in BATCHES else _recorded)(name, getattr(store, name), story)
        for name in OPERATIONS
    }
    return overlay(store, **operations)


def _recorded_batch(
    name: str, operation: Callable[[Sequence[Any], Answered[Any, Any]], None], story: list[str]
) -> Callable[[Sequence[Any], Answered[Any, Any]], None]:
    def ask(requests: Sequence[Any], answered: Answered[Any, Any]) -> None:
        def tell(answers: Sequence[Result[Any, Any]]) -> None:
            # Reported as failed answers: a case that unpacks them would otherwise blame its own request.
            if len(answers) != len(requests):
                answers = [Failure(f"{len(answers)} answers to {len(requests)} requests")] * len(requests)
            story.extend(
                f"{asked_of(name, request)}  ->  {outcome(found)}"
                for request, found in zip(requests, answers, strict=True)
            )
            answered(answers)

        try:
            operation(requests, tell)
        except Exception as error:
            story.extend(f"{asked_of(name, request)}  raised {type(error).__name__}" for request in requests)
            raise RequirementViolated(f"{name} raised {error!r}", requirements=(FAILURES_ARE_VALUES,)) from error

    return ask


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
        name: the check's name.
        requirements: the requirements that a store violates when the check fails.
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
        """Whether the case applies to such a store."""
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
    """Raised by a check for a capability that the store does not have."""


def present(capability: T | None) -> T:
    """Return a capability.

    Raises:
        NotApplicable: the store does not have it.
    """
    if capability is None:
        raise NotApplicable
    return capability


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
        # From the original cause: the wrapper of this suite says nothing about the store.
        raise broken.within(requirements, story) from broken.__cause__
    except (LookupError, ValueError) as error:  # a result with too many or too few items was unpacked
        what = f"the last answer is not of the form that the case expects: {error}"
        raise RequirementViolated(what, requirements=requirements, story=story) from error
