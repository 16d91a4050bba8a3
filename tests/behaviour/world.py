"""A small world for an app: a store that outlives engines, a virtual clock, an outside to reach, and crashes.

A test is a coroutine that drives the world from outside; `on_each_store` runs it over the store in memory and over a
SQLite file on disk. ``ask`` lets a call of the typed client run to its answer, ``advance`` moves the clock, ``crash``
drops everything of the engine where it stands, ``open`` puts a new one over what the store kept. The engine, the client
and the stores are the real ones; only time and chance are simulated.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import attrs
import pytest
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.app import App, OpenApp
from perdure.client.jobs import Jobs
from perdure.program import Program, effect
from perdure.program.container import result_inside
from perdure.runtime.record import Future, Runtime, Task
from perdure.runtime.simulated import Simulation
from perdure.stores.memory import MemoryBackend
from perdure.stores.sqlite import open_sqlite
from perdure.stores.store import LoggedEvent, Store
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.instant import from_ms
from perdure.values.message import StoredMessage
from perdure.values.transition import Transition

A = TypeVar("A")
StoreKind: TypeAlias = Literal["memory", "sqlite"]
STORES: tuple[StoreKind, ...] = ("memory", "sqlite")
START = datetime(2026, 1, 1, tzinfo=UTC)
FOREVER_MS = 2**52
PATIENCE_MS = 172_800_000  # two days: nothing that a test asks for may take longer

MAX_STEPS = 200_000  # at one instant: more is a loop that spins

_MOMENT_MS = 0.001  # the clock moves only when nothing else can: so waiting a moment lets everything settle


# ---------------------------------------------------------------- the border of a process
class ProcessDied(Exception):
    """The process died before the call was answered."""


@attrs.define
class Fault:
    """A store operation that fails.

    Attributes:
        operation: which one.
        error: what it answers instead.
        applied: whether it is done all the same.
        after: how many succeed before.
        times: how many fail.
        takes_ms: how long it takes.
    """

    operation: str
    error: Exception | None
    applied: bool
    after: int
    times: int
    takes_ms: int = 0

    def strikes(self, operation: str) -> bool:
        """Whether this call of the operation fails."""
        if operation != self.operation or self.times == 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


@attrs.define
class Border:
    """What every store operation and every effect of one process crosses, going and coming back.

    Attributes:
        runtime: how this process waits.
        die_at: the crossing at which the process dies; None: never.
        crossings: what crossed so far.
        faults: store operations that fail.
    """

    runtime: Runtime
    die_at: int | None = None
    crossings: list[str] = attrs.Factory(list[str])
    dead: Literal["alive", "dead"] = "alive"
    on_death: list[Callable[[], None]] = attrs.Factory(list[Callable[[], None]])
    faults: list[Fault] = attrs.Factory(list[Fault])

    async def cross(self, what: str) -> None:
        """Let something pass, unless this is where the process dies: then nothing passes any more."""
        if self.dead == "alive" and len(self.crossings) == self.die_at:
            self.die()
        if self.dead == "dead":
            await self.runtime.future()
        self.crossings.append(what)

    async def around(self, what: str, work: Callable[[], Awaitable[A]]) -> A:
        """Cross, do something outside, cross back."""
        await self.cross(f"before {what}")
        answer = await work()
        await self.cross(f"after {what}")
        return answer

    def die(self) -> None:
        """Let nothing cross from now on."""
        self.dead = "dead"
        for function in self.on_death:
            function()


def behind(border: Border, store: Store, commits: list[Transition]) -> Store:
    """Put a store behind a border, and note what is committed."""

    def guarded(name: str) -> Callable[..., FutureResult[Any, Any]]:
        operation = getattr(store, name)

        async def call(*args: Any) -> Result[Any, Any]:
            async def work() -> Result[Any, Any]:
                fault = next((fault for fault in border.faults if fault.strikes(name)), None)
                if fault is not None:
                    await border.runtime.sleep(fault.takes_ms)
                if fault is not None and not fault.applied:
                    return Failure(fault.error)
                answer: Result[Any, Any] = result_inside(await operation(*args))
                if name == "commit" and isinstance(answer, Success):
                    commits.append(args[0])
                return answer if fault is None or fault.error is None else Failure(fault.error)

            return await border.around(name, work)

        return lambda *args: FutureResult(call(*args))

    plain = ("name", "epoch", "capabilities", "close")
    changed: dict[str, Any] = {
        field.name: guarded(field.name) for field in attrs.fields(Store) if field.name not in plain
    }
    return attrs.evolve(store, **changed)


# ---------------------------------------------------------------- the world outside
@attrs.frozen
class Refused:
    """The outside said no."""

    why: str = "no"


class HasOutside(Protocol):
    """Services that reach outside."""

    @property
    def outside(self) -> Outside: ...


@attrs.define
class Outside:
    """What programs reach: it remembers what was said to it, over all crashes, and can be told to refuse.

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
    border: Border | None = None

    @property
    def outside(self) -> Outside:
        """It serves as the whole services record."""
        return self

    async def hear(self, word: str) -> Result[None, Refused]:
        """Hear a word, and answer."""
        border = self.border
        assert border is not None
        return await border.around(f"effect {word}", lambda: self._answer(word))

    async def _answer(self, word: str) -> Result[None, Refused]:
        self.heard.append(word)
        if word in self.held and self.border is not None:
            self.held[word].append(released := self.border.runtime.future())
            await released
        if word in self.breaks:
            raise RuntimeError(f"broke at {word}")
        if self.refusals.get(word, 0) > 0:
            self.refusals[word] -= 1
            return Failure(Refused(word))
        return Success(None)


@effect
def say(services: HasOutside, word: str) -> FutureResult[None, Refused]:
    """Say a word to the outside."""
    return FutureResult(services.outside.hear(word))


def die(cause: Exception) -> Program[None]:
    """Break with an exception that nobody declared."""

    def broken(_: object) -> None:
        raise cause

    return Program.from_value(None).map(broken)


# ---------------------------------------------------------------- the world
@attrs.define
class Process:
    """One engine over the store."""

    simulation: Simulation
    border: Border
    open_app: OpenApp
    store: Store
    jobs: Jobs


@attrs.define
class World:
    """A store, a clock, an outside, and at most one engine.

    Attributes:
        kind: which store.
        folder: where files go.
        seed: what interleavings, jitter and ids are drawn from.
        outside: what programs reach.
        commits: every transition that was committed, over all engines.
    """

    kind: StoreKind
    folder: Path
    seed: int = 0
    outside: Outside = attrs.Factory(Outside)
    commits: list[Transition] = attrs.Factory(list[Transition])
    _backend: MemoryBackend = attrs.Factory(MemoryBackend)
    _process: Process | None = None
    _simulation: Simulation = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._simulation = Simulation(seed=self.seed, start=START, max_steps=MAX_STEPS)

    def restart_with(self, seed: int) -> None:
        """Draw everything from another seed, before an engine is open."""
        assert self._process is None
        self.seed = seed
        self._simulation = Simulation(seed=seed, start=from_ms(self.now_ms), max_steps=MAX_STEPS)

    # ------------------------------------------------------------ engines
    async def open(self, app: App[Any], *, die_at: int | None = None) -> Jobs:
        """Open an app over what the store holds, when no other is open.

        Args:
            app: what to run; its services should be `outside`, or hold it.
            die_at: at which crossing of its border, counted from here, the process dies.
        """
        assert self._process is None, "close or crash the engine that is open first"
        simulation = self._simulation
        border = Border(simulation.runtime, die_at)
        self.outside.border = border
        store = await self._drive(self._opened(simulation))
        open_app = app.open(behind(border, store, self.commits), runtime=simulation.runtime)
        self._process = Process(simulation, border, open_app, store, None)  # type: ignore[arg-type] # set below
        self._process.jobs = await self.run(open_app.__aenter__())
        await self.settle()
        return self._process.jobs

    async def _opened(self, simulation: Simulation) -> Store:
        if self.kind == "memory":
            return self._backend.open()
        return await open_sqlite(self.folder / "jobs.db", durability="relaxed", runtime=simulation.runtime)

    async def close(self) -> None:
        """Stop the engine gracefully."""
        await self.run(self.process.open_app.__aexit__(None, None, None))
        self._process = None

    async def crash(self) -> None:
        """Let the process die where it stands: nothing of it reaches the store or the outside any more."""
        process = self.process
        process.border.die()
        await self._drive(_closed(process.store))
        process.simulation.close()
        self._process = None
        self._simulation = Simulation(seed=self.seed + 1, start=from_ms(self.now_ms), max_steps=MAX_STEPS)
        self.seed += 1

    @property
    def process(self) -> Process:
        """The engine that is open."""
        assert self._process is not None, "no engine is open"
        return self._process

    @property
    def jobs(self) -> Jobs:
        """The jobs of the engine that is open."""
        return self.process.jobs

    # ------------------------------------------------------------ calls
    async def ask(self, call: FutureResult[A, Any]) -> A:
        """Make a call, and give its answer; it must succeed."""
        answer = await self.result(call)
        assert isinstance(answer, Success), f"the call failed with {answer.failure()!r}"
        return answer.unwrap()

    async def refused(self, call: FutureResult[Any, A]) -> A:
        """Make a call that must fail, and give its error."""
        answer = await self.result(call)
        assert isinstance(answer, Failure), f"the call succeeded with {answer.unwrap()!r}"
        return answer.failure()

    async def result(self, call: FutureResult[A, Any]) -> Result[A, Any]:
        """Make a call, and give how it ended once everything has settled."""
        answer = await self.run(_result(call))
        await self.settle()
        return answer

    async def all(self, *calls: FutureResult[A, Any]) -> list[Result[A, Any]]:
        """Make calls at the same moment, and give how each ended."""
        tasks = [self.begin(call) for call in calls]
        return [await self.run(_awaited(task)) for task in tasks]

    def begin(self, call: FutureResult[A, Any]) -> Task[Result[A, Any]]:
        """Make a call without waiting for its answer; cancelling the task is the caller giving up."""
        return self._simulation.runtime.spawn(_result(call), name="caller")

    async def run(self, work: Coroutine[Any, Any, A]) -> A:
        """Run a coroutine in the world to its end.

        Raises:
            ProcessDied: the process died first.
        """
        if self._process is None:
            return await self._drive(work)
        border, runtime = self._process.border, self._simulation.runtime
        task = runtime.spawn(work, name="call")
        over = runtime.future()

        def end(*_: object) -> None:
            if not over.done():
                over.set_result(None)

        task.add_done_callback(end)
        border.on_death.append(end)
        patience = runtime.call_later(PATIENCE_MS, end)
        await self._drive(_awaited(over))
        patience.cancel()
        if border.dead == "dead":
            _drop(work)
            raise ProcessDied
        assert task.done(), f"the call is not answered after {PATIENCE_MS} ms of the virtual clock"
        return task.result()

    async def _drive(self, work: Coroutine[Any, Any, A]) -> A:
        if self.kind == "memory":
            return self._simulation.run(work)
        return await self._simulation.run_hosted(work)

    # ------------------------------------------------------------ time
    @property
    def now_ms(self) -> int:
        """The wall clock."""
        return self._simulation.now_ms

    @property
    def now(self) -> datetime:
        """The wall clock."""
        return from_ms(self.now_ms)

    async def settle(self) -> None:
        """Let everything go on until it waits for the clock, or for somebody."""
        await self._drive(_sleep(self._simulation, _MOMENT_MS))

    async def advance(self, *, ms: int = 0, s: int = 0, minutes: int = 0, hours: int = 0) -> None:
        """Move the clock, and let everything that is due on the way happen."""
        await self._drive(_sleep(self._simulation, ms + 1_000 * (s + 60 * (minutes + 60 * hours))))
        await self.settle()

    def hold(self, word: str) -> None:
        """Make the outside take its time over a word, until it is released."""
        self.outside.held[word] = []

    def release(self, word: str) -> None:
        """Let the outside answer."""
        for waiting in self.outside.held.pop(word):
            if not waiting.done():
                waiting.set_result(None)

    def shift_wall_clock(self, delta_ms: int) -> None:
        """Make the wall clock jump; the monotonic one goes on."""
        self._simulation.shift_wall_clock(delta_ms)

    def fail(self, operation: str, error: Exception, *, applied: bool = False, after: int = 0, times: int = 1) -> None:
        """Make a store operation fail, some times, after some that succeed."""
        self.process.border.faults.append(Fault(operation, error, applied, after, times))

    def slow(self, operation: str, *, ms: int, after: int = 0) -> None:
        """Make a store operation take its time, once, after some that do not."""
        self.process.border.faults.append(Fault(operation, None, applied=True, after=after, times=1, takes_ms=ms))

    # ------------------------------------------------------------ looking
    async def row(self, address: Address) -> Instance | None:
        """What the store holds at an address."""
        return (await self.look(lambda store: store.load(address, None, 0))).instance

    async def history(self, address: Address) -> list[Any]:
        """The events of an address, the oldest first."""
        logged: tuple[LoggedEvent, ...] = await self.look(lambda store: store.history(address, None, 1_000))
        return [entry.event for entry in reversed(logged)]

    async def happened(self, address: Address) -> list[str]:
        """The names of the events of an address, the oldest first."""
        return [event.type for event in await self.history(address)]

    async def messages(self) -> tuple[StoredMessage, ...]:
        """The heads of all messages that are not consumed."""
        return await self.look(lambda store: store.messages(FOREVER_MS, 1_000))

    async def look(self, read: Callable[[Store], FutureResult[A, Any]]) -> A:
        """Read the store, past the border."""
        answer = await self._drive(_result(read(self.process.store)))
        return answer.unwrap()

    @property
    def logs(self) -> list[str]:
        """What the engine logged, by message."""
        return [record.message for record in self._simulation.logs]

    async def leave(self) -> None:
        """End what is left, however the test ended."""
        if self._process is not None:
            await self.crash()
        self._simulation.close()


async def _result(call: FutureResult[A, Any]) -> Result[A, Any]:
    return result_inside(await call)


async def _awaited(work: Awaitable[A]) -> A:
    return await work


def _drop(work: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine wherever it is, also where it would wait for something on its way out."""
    for _ in range(100):
        try:
            work.close()
        except RuntimeError:  # it awaited something in a `finally` block: again, from there
            continue
        return


async def _sleep(simulation: Simulation, delay_ms: float) -> None:
    await simulation.runtime.sleep(delay_ms)


async def _closed(store: Store) -> None:
    await store.close()


# ---------------------------------------------------------------- tests
Scenario: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


def play(kind: StoreKind, folder: Path, scenario: Callable[[World], Coroutine[Any, Any, A]], *, seed: int = 0) -> A:
    """Run one scenario in a world of its own."""

    async def whole() -> A:
        world = World(kind, folder, seed)
        try:
            return await scenario(world)
        finally:
            await world.leave()

    return asyncio.run(whole())


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
    return pytest.mark.parametrize("store_kind", STORES)(test)


__all__ = [
    "STORES",
    "HasOutside",
    "Outside",
    "ProcessDied",
    "Refused",
    "World",
    "die",
    "on_each_store",
    "play",
    "say",
]
