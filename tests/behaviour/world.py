"""Additions of the library's own tests to `perdure.testing.World`: an outside that remembers, one test for both stores.

A scenario is a coroutine function, so that it can be written beside the `await` of the programs that it tests; it never
waits for anything real. `on_each_store` runs it over the store in memory and over a SQLite file on disk.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import attrs
import pytest
from hypothesis import settings
from kept_rows import check_kept_rows
from postgres_harness import EMPTY_SCHEMA
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.app import App
from perdure.client.client import Client
from perdure.jobs.call import Call
from perdure.programs import Program, effect
from perdure.runtime.record import DEFAULT_SIZES, Future, Sizes, SpawnedTask
from perdure.stores.contract import Store, load_one
from perdure.stores.rows import event_body, logged_event
from perdure.testing.fault import Delay, Fail
from perdure.testing.world import START, TraceEvent, WorkerDied
from perdure.testing.world import World as TheWorld
from perdure.testing.world.boundary import Boundary, Requests
from perdure.testing.world.trace import TransitionCommitted
from perdure.testing.world.worker import Worker
from perdure.testing.world.world import with_sizes
from perdure.values.address import Address
from perdure.values.event import Event
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.transition import Transition

A = TypeVar("A")
StoreKind: TypeAlias = Literal["memory", "sqlite", "postgres"]
STORES: tuple[StoreKind, ...] = ("memory", "sqlite")
ALL_ON_POSTGRES = settings.get_current_profile_name() == "nightly" or os.environ.get("PERDURE_BEHAVIOUR") == "postgres"
ON_POSTGRES = (
    "test_common_turns",
    "test_messages",
    "test_keys",
    "test_retry",
    "test_holds",
    "test_state_versions",
    "test_kept_history",
)
"""The modules whose scenarios run on PostgreSQL, too; with the profile `nightly` all do."""

ProcessDied = WorkerDied


# ---------------------------------------------------------------- the world outside
@attrs.frozen
class Refused:
    """The external system refused."""

    why: str = "no"


class HasOutside(Protocol):
    """Services that reach outside."""

    @property
    def outside(self) -> Outside: ...


@attrs.define
class Outside:
    """The external system of programs: it remembers its calls, over all crashes, and can be set to refuse.

    Attributes:
        heard: every word that arrived.
        refusals: how often each word is still refused.
        breaks: words at which it raises.
        held: words that it does not answer before they are released, with who waits.
    """

    heard: list[str] = attrs.Factory(list[str])
    refusals: dict[str, int] = attrs.Factory(dict[str, int])
    breaks: set[str] = attrs.Factory(set[str])
    held: dict[str, list[Future[Any]]] = attrs.Factory(dict[str, list[Future[Any]]])
    world: World | None = None

    @property
    def outside(self) -> Outside:
        """It serves as the whole services record."""
        return self

    @property
    def boundary(self) -> Boundary | None:
        """The boundary of the process."""
        return None if self.world is None else self.world.process.boundary

    async def hear(self, word: str) -> Result[None, Refused]:
        """Hear a word, and answer."""
        self.heard.append(word)
        if word in self.held and self.boundary is not None:
            self.held[word].append(released := self.boundary.runtime.future())
            await released
        if word in self.breaks:
            raise RuntimeError(f"broke at {word}")
        if self.refusals.get(word, 0) > 0:
            self.refusals[word] -= 1
            return Failure(Refused(word))
        return Success(None)


@effect
def say(services: HasOutside, word: str) -> FutureResult[None, Refused]:
    """Make an external call."""
    return FutureResult(services.outside.hear(word))


def die(cause: Exception) -> Program[None]:
    """Raise an undeclared exception."""

    def broken(_: object) -> None:
        raise cause

    return Program.from_value(None).map(broken)


def _as_logged(event: Event) -> object:
    """The event as a store on disk would read it."""
    return logged_event(
        sequence=1, address=event.address, type_=event.type, at_ms=event.at_ms, body=event_body(event)
    ).event


# ---------------------------------------------------------------- the world
@attrs.define
class World:
    """The world of the testing kit, in coroutines: see `perdure.testing.World`.

    Attributes:
        kind: which store.
        folder: where files go.
        seed: what interleavings, jitter and ids are drawn from.
        url: of the PostgreSQL store.
        requests: how loads and commits reach the store.
        sizes: the internal sizes.
        outside: what programs reach.
        commits: every transition that was committed, over all engines.
    """

    kind: StoreKind
    folder: Path
    seed: int = 0
    url: str = ""
    requests: Requests = "grouped"
    sizes: Sizes = DEFAULT_SIZES
    outside: Outside = attrs.Factory(Outside)
    commits: list[Transition] = attrs.Factory(list[Transition])
    world: TheWorld = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.outside.world = self
        store = {"memory": "memory://", "sqlite": self.folder / "jobs.db", "postgres": self.url}[self.kind]
        # An inspected run uses the general interpreter: on files, runs take the shorter one, as most runs of users do.
        debug = self.kind == "memory" and os.environ.get("PERDURE_DEBUG") != "0"
        world = TheWorld(App(self.outside), store=store, seed=self.seed, requests=self.requests, debug=debug)
        self.world = with_sizes(world, self.sizes)
        self.world.watch(self._watch)

    def restart_with(self, seed: int) -> None:
        """Draw everything from another seed, before an engine is open."""
        assert not self.world.is_open
        self.seed = seed
        self.__attrs_post_init__()

    def _watch(self, moment: TraceEvent) -> None:
        if isinstance(moment.what, TransitionCommitted):
            transition = moment.what.transition
            self.commits.append(transition)
            assert isinstance(transition.address, Address)
            for event in transition.events:
                assert _as_logged(event) == event, "an event logged in memory equals the one read from a disk"

    # ------------------------------------------------------------ engines
    async def open(self, app: App[Any], *, die_at: int | None = None) -> Client:
        """Open an app over the store, when no other is open.

        Args:
            app: the app to run; its services should be `outside`, or hold it.
            die_at: at which crash point, counted from here, the process dies.
        """
        if die_at is not None:
            self.world.crash_after(die_at)
        return self.world.open(app)

    async def close(self) -> None:
        """Stop the engine gracefully."""
        self.world.close()
        self.world.clear_faults()

    async def crash(self) -> None:
        """Let the process die at once: nothing of it reaches the store or external systems any more."""
        self.world.crash()
        self.world.clear_faults()

    @property
    def process(self) -> Worker:
        """The engine that is open."""
        return self.world.worker

    @property
    def jobs(self) -> Client:
        """The jobs of the engine that is open."""
        return self.world.jobs

    # ------------------------------------------------------------ calls
    async def run(self, call: Coroutine[Any, Any, A]) -> A:
        """Make a call, which must succeed, and return its answer; or run a coroutine in the world to its end.

        Raises:
            ProcessDied: the process died first.
        """
        if not isinstance(call, Call):
            return self.world.run(call)
        answer: Result[A, Any] = await self.attempt(call)
        assert isinstance(answer, Success), f"the call failed with {answer.failure()!r}"
        return answer.unwrap()

    async def error_of(self, call: Call[Any, A]) -> A:
        """Make a call that must fail, and return its error."""
        answer = await self.attempt(call)
        assert isinstance(answer, Failure), f"the call succeeded with {answer.unwrap()!r}"
        return answer.failure()

    async def attempt(self, call: Call[A, Any]) -> Result[A, Any]:
        """Make a call, and return its result once everything has settled."""
        answer = self.world.attempt(call)
        check_kept_rows(self.world)
        return answer

    async def all(self, *calls: Call[A, Any]) -> list[Result[A, Any]]:
        """Make calls at the same moment, and return the result of each."""
        answers = self.world.concurrently(*calls)
        check_kept_rows(self.world)
        return answers

    def start(self, call: Call[A, Any]) -> SpawnedTask[Result[A, Any]]:
        """Make a call without waiting for its answer; cancelling the task is the caller giving up."""
        return self.world.start(call).task

    # ------------------------------------------------------------ time
    @property
    def now_ms(self) -> int:
        """The wall clock."""
        return self.world.now_ms

    @property
    def now(self) -> datetime:
        """The wall clock."""
        return self.world.now

    async def settle(self) -> None:
        """Let all tasks continue until they wait for the clock, or for a call."""
        self.world.settle()
        check_kept_rows(self.world)

    async def advance(self, *, ms: int = 0, s: int = 0, minutes: int = 0, hours: int = 0) -> None:
        """Move the clock, and let everything that is due on the way happen."""
        self.world.advance(timedelta(milliseconds=ms, seconds=s, minutes=minutes, hours=hours))
        check_kept_rows(self.world)

    def shift_wall_clock(self, delta_ms: int) -> None:
        """Make the wall clock jump; the monotonic one continues."""
        self.world.shift_wall_clock(timedelta(milliseconds=delta_ms))

    # ------------------------------------------------------------ faults
    def suspension(self, word: str) -> None:
        """Let the external system block on a word, until it is released."""
        self.outside.held[word] = []

    def release(self, word: str) -> None:
        """Let the external system answer."""
        for waiting in self.outside.held.pop(word):
            if not waiting.done():
                waiting.set_result(None)

    def fail(self, operation: Any, error: Exception, *, applied: bool = False, after: int = 0, times: int = 1) -> None:
        """Make a store operation fail, some times, after some that succeed."""
        when: Literal["before", "after"] = "after" if applied else "before"
        self.world.inject(Fail(f"store.{operation}", error, when=when, call=after + 1, times=times))

    def slow(self, operation: Any, *, ms: int, after: int = 0) -> None:
        """Make a store operation take its time, once, after some that do not."""
        self.world.inject(Delay(f"store.{operation}", f"{ms} ms", call=after + 1))

    # ------------------------------------------------------------ looking
    async def row(self, address: Address) -> Instance | None:
        """The instance at an address of the store."""
        return (await self.inspect(lambda store: load_one(store, address, None, 0))).instance

    async def history(self, address: Address) -> list[Any]:
        """The events of an address, the oldest first."""
        logged = await self.inspect(lambda store: store.history(address, None, 1_000))
        return [entry.event for entry in reversed(logged)]

    async def happened(self, address: Address) -> list[str]:
        """The names of the events of an address, the oldest first."""
        return [event.type for event in await self.history(address)]

    async def messages(self) -> tuple[StoredMessage, ...]:
        """The heads of all messages that are not consumed."""
        return self.world.messages()

    async def inspect(self, read: Callable[[Store], FutureResult[A, Any]]) -> A:
        """Read the store directly."""
        return self.world.inspect(read)

    @property
    def logs(self) -> list[str]:
        """The log records of the engine, by message."""
        return [record.message for record in self.world.logs]

    async def finish(self) -> None:
        """Let everything that has begun end, and check that nothing remains in the engine."""
        for word in tuple(self.outside.held):
            self.release(word)
        check_kept_rows(self.world)
        self.world.finish()

    async def leave(self) -> None:
        """End all remaining work, however the test ended."""
        self.world.leave()


# ---------------------------------------------------------------- tests
Scenario: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


def play(
    kind: StoreKind,
    folder: Path,
    scenario: Callable[[World], Coroutine[Any, Any, A]],
    *,
    seed: int = 0,
    requests: Requests = "grouped",
    sizes: Sizes = DEFAULT_SIZES,
) -> A:
    """Run one scenario in a world of its own."""

    world = World(kind, folder, seed, EMPTY_SCHEMA.url() if kind == "postgres" else "", requests, sizes)
    try:
        answer = completed(scenario(world))
        completed(world.finish())
        return answer
    finally:
        completed(world.leave())


def completed(work: Coroutine[Any, Any, A]) -> A:
    """Run a coroutine that waits for nothing, as those of a `World` do."""
    try:
        work.send(None)
    except StopIteration as stop:
        value: A = stop.value
        return value
    work.close()
    raise AssertionError("a scenario waits for nothing but its world")


def on_each_store(scenario: Scenario) -> Callable[..., None]:
    """Make a test of a scenario, a coroutine function of a `World`: it runs once over each store.

    Further parameters of the scenario are parameters of the test, for ``pytest.mark.parametrize`` and fixtures.
    """
    further = [parameter for parameter in inspect.signature(scenario).parameters.values() if parameter.name != "world"]

    def test(store_kind: StoreKind, tmp_path: Path, **arguments: Any) -> None:
        play(store_kind, tmp_path, lambda world: scenario(world, **arguments))

    test.__name__, test.__doc__, test.__module__ = scenario.__name__, scenario.__doc__, scenario.__module__
    keyword = inspect.Parameter.KEYWORD_ONLY
    names = ("store_kind", "tmp_path")
    own = [inspect.Parameter(name, keyword) for name in names]
    added = [parameter.replace(kind=keyword) for parameter in further if parameter.name not in names]
    test.__signature__ = inspect.Signature(own + added)  # type: ignore[attr-defined] # read by pytest
    chosen = ALL_ON_POSTGRES or scenario.__module__.rpartition(".")[2] in ON_POSTGRES
    return pytest.mark.parametrize("store_kind", (*STORES, "postgres") if chosen else STORES)(test)


__all__ = [
    "START",
    "STORES",
    "HasOutside",
    "Outside",
    "ProcessDied",
    "Refused",
    "StoreKind",
    "World",
    "completed",
    "die",
    "on_each_store",
    "play",
    "say",
]
