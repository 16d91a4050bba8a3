"""A worker's boundary: every store operation and every effect passes it, before and after it takes place.

There the seed chooses who runs next, and pending faults are injected. Store operations pass it alone and in groups, as
the engine sends them. Behind it are a world's store backends: they keep the data that outlives workers, and run the
simulation.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar, assert_never, cast

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.jobs.step import Execute
from perdure.programs import default_handler
from perdure.programs.drivers import settle_answer
from perdure.programs.effect_results import error_declared_by
from perdure.programs.future import answer_of, asked
from perdure.programs.instructions import ServiceCall
from perdure.runtime.record import Future, Runtime, WouldBlock
from perdure.runtime.simulated import Simulation
from perdure.runtime.tasks import start_eagerly
from perdure.stores.contract import Store, fence_after, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.sqlite import open_sqlite
from perdure.stores.url import open_store
from perdure.stores.values import LoadRequest
from perdure.testing.fault import (
    CAPABILITY_OPERATIONS,
    STORE_OPERATIONS,
    STORE_PREFIX,
    Crash,
    Delay,
    Fail,
    Fault,
    Hang,
    Raise,
    Succeed,
    When,
)
from perdure.testing.world.errors import EventLoopRunning
from perdure.testing.world.trace import (
    EffectCall,
    EffectPerformed,
    FaultInjected,
    MessagesRead,
    TraceDetail,
    TransitionCommitted,
    WorkerKilled,
)
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, OutcomeUnknown, StoreUnavailable
from perdure.values.transition import Transition

Opener: TypeAlias = Callable[[Runtime], Awaitable[Store]]
"""Opens a store again, over the data of earlier openings."""


class Backend(Protocol):
    """Keeps the data, and runs the simulation that uses it."""

    def check(self) -> None:
        """Check that a worker can be opened now."""
        ...

    async def open(self, runtime: Runtime) -> Store:
        """Open the store, after the previous worker has ended."""
        ...

    def run_until(self, simulation: Simulation, reached: Callable[[], bool], within_ms: float) -> bool:
        """Run as `Simulation.run_until` does."""
        ...

    def close(self) -> None:
        """Release all resources."""
        ...


@attrs.frozen
class InMemory:
    """Data in memory. No store operation waits, so no event loop is needed."""

    backend: MemoryBackend = attrs.Factory(MemoryBackend)

    def check(self) -> None:
        """Return: there is no requirement."""

    async def open(self, runtime: Runtime) -> Store:
        """Open the store. It refuses an earlier worker's later operations."""
        return self.backend.open()

    def run_until(self, simulation: Simulation, reached: Callable[[], bool], within_ms: float) -> bool:
        """Run the simulation."""
        return simulation.run_until(reached, within_ms=within_ms)

    def close(self) -> None:
        """Return: there is nothing to release."""


@attrs.define
class Hosted:
    """Data outside this process. Store operations wait for I/O, one at a time, in the world's own event loop."""

    opener: Opener
    _loop: asyncio.Runner | None = None

    def check(self) -> None:
        """Check that no event loop is running.

        Raises:
            EventLoopRunning: one is.
        """
        import asyncio  # noqa: PLC0415 - a world in memory needs no event loop

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise EventLoopRunning

    async def open(self, runtime: Runtime) -> Store:
        """Open the store."""
        return await self.opener(runtime)

    def run_until(self, simulation: Simulation, reached: Callable[[], bool], within_ms: float) -> bool:
        """Run the simulation inside the event loop."""
        return self._runner().run(simulation.run_until_hosted(reached, within_ms=within_ms))

    def close(self) -> None:
        """End the event loop."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _runner(self) -> asyncio.Runner:
        if self._loop is None:
            import asyncio  # noqa: PLC0415 - a world in memory needs no event loop

            self._loop = asyncio.Runner()
        return self._loop


def backend_of(store: str | os.PathLike[str] | Opener) -> Backend:
    """Return the backend for a world's ``store`` argument.

    Args:
        store: ``memory://``, another store's URL, a SQLite file's path, or a function that opens a store.

    Raises:
        DefinitionError: it is none of these.
    """
    match store:
        case "memory://":
            return InMemory()
        case str() if "://" in store:
            return Hosted(lambda runtime: open_store(store, runtime=runtime))
        case os.PathLike():
            return Hosted(lambda runtime: open_sqlite(store, durability="relaxed", runtime=runtime))
        case _ if callable(store):
            return Hosted(store)
        case _:
            expected = "'memory://', the URL of a store, the path of a SQLite file, or a function that opens a store"
            raise DefinitionError("store of a World", store, expected)


def crossing_of(at: str) -> str:
    """Return a fault's location as crossings name it: ``commit`` for ``store.commit``, ``effect send_mail``."""
    return at.removeprefix(STORE_PREFIX) if at.startswith(STORE_PREFIX) else f"effect {at}"


@attrs.define
class PendingFault:
    """A fault with its counters, which change. So it is not a value.

    Attributes:
        crossing: the location where it takes effect.
        after: how many calls to skip.
        times: how many calls to affect.
    """

    fault: Fault
    crossing: str
    after: int
    times: int

    @classmethod
    def of(cls, fault: Fault) -> PendingFault:
        """Return a fault with its initial counters."""
        return cls(fault, crossing_of(fault.at), fault.call - 1, fault.times)

    def waits_for(self, crossing: str) -> bool:
        """Return whether the fault may affect calls at this crossing."""
        return crossing == self.crossing and self.times > 0

    def is_due(self, crossing: str) -> bool:
        """Count a call, and return whether the fault affects it. Call this once for every call at its location."""
        if not self.waits_for(crossing):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        return True


Interleaving: TypeAlias = Literal["turns", "operations"]
"""Where the seed may run another task first: where a turn waits anyway, or at every store operation and effect."""

Requests: TypeAlias = Literal["single", "grouped"]
"""How loads and commits reach the store: each on its own, or in groups, as the engine sends them to a real store."""

A = TypeVar("A")

_BATCHES: Final = ("load", "commit")

LINK: Final = "the link"
"""The location of calls that wait for a link that is cut."""

_NO_LOOP: Final = ("no running event loop", "There is no current event loop")
_OF_LIBRARIES: Final = frozenset({"AsyncLibraryNotFoundError", "NoEventLoopError"})
"""The errors of sniffio and anyio, and so of HTTP clients, where no event loop runs."""

_ASYNCIO: Final = str(Path(asyncio.__file__).parent)

_YIELDS: Final = 0.5
"""The maximum number of times that a task yields at a crossing."""


@attrs.define(kw_only=True)
class Boundary:
    """The boundary between one worker and everything that outlives it.

    Attributes:
        note: called with each event at the boundary.
        faults: the pending faults. A world's workers share them.
        interleaving: where other tasks may run first.
        requests: how loads and commits cross.
        die_at: the crossing at which the worker dies, counted from its opening. None: it does not die.
        crash_points: the crossings so far.
        died_at: where the worker died. None while it lives.
        held: the calls that wait for a release, by location.
        latency_ms: how much virtual time a crossing takes at most. The seed decides how much.
        lease: returns whether the worker has a lease, by the store's clock.
        link: whether the store and the services can be reached. Calls and answers wait while they cannot.
    """

    runtime: Runtime
    note: Callable[[TraceDetail], None]
    faults: list[PendingFault]
    interleaving: Interleaving
    requests: Requests = "single"
    die_at: int | None = None
    crash_points: list[str] = attrs.Factory(list[str])
    died_at: str | None = None
    held: dict[str, list[Future[Any]]] = attrs.Factory(dict[str, list[Future[Any]]])
    latency_ms: float = 0.0
    lease: Callable[[], Literal["good", "ended"]] = lambda: "good"
    link: Literal["up", "cut"] = "up"

    # ------------------------------------------------------------ life and death
    def die(self, at: str) -> None:
        """Kill the worker: no call crosses from now on."""
        if self.died_at is None:
            self.shut(at)
            self.note(WorkerKilled(at))

    def shut(self, at: str) -> None:
        """Stop all crossings without a death, as at the end of a test."""
        self.died_at = self.died_at or at

    def release(self, at: str) -> None:
        """Release the calls that are held at a location."""
        for waiting in self.held.pop(at, ()):
            if not waiting.done():
                waiting.set_result(None)

    def cut(self, duration_ms: float) -> None:
        """Cut the link to the store and the services for a while."""
        self.link = "cut"
        self.runtime.call_later(duration_ms, self._heal)

    def _heal(self) -> None:
        self.link = "up"
        self.release(LINK)

    def release_all(self) -> None:
        """Release all held calls."""
        for at in tuple(self.held):
            self.release(at)

    # ------------------------------------------------------------ crossing
    async def around(self, at: str, work: Callable[[], Awaitable[A]], whose: Address | None = None) -> A:
        """Cross the boundary, perform work outside and cross back, unless a fault prevents that.

        Args:
            at: the location.
            work: the work.
            whose: the instance whose run performs an effect, if it is one.
        """
        # Before the fault is looked up: a worker that dies here must not use it up.
        await self.cross(f"before {at}")
        fault = self.fault_at(at)
        if fault is None:
            answer = await work()
        else:
            self.note(FaultInjected(fault, whose))
            answer = await self.disturbed(at, fault, work)
        await self.cross(f"after {at}")
        return answer

    def fault_at(self, at: str) -> Fault | None:
        """Return this call's fault. Every fault counts the call. A second due fault affects the next call."""
        if not self.faults:
            return None
        # A list, so that every fault counts this call: `any` would stop at the first.
        due = [pending for pending in self.faults if pending.is_due(at)]
        if not due:
            return None
        due[0].times -= 1
        return due[0].fault

    async def cross(self, what: str) -> None:
        """Pass the boundary, unless the worker dies at this crossing: then no call passes again."""
        if len(self.crash_points) == self.die_at:
            self.die(what)
        if self.died_at is not None:
            await self._never()
        self.crash_points.append(what)
        if self.latency_ms:
            await self.runtime.sleep(self.runtime.random() * self.latency_ms)
        # A loop: the link may be cut again in the step in which it heals.
        while self.link == "cut":
            await self._released(LINK)
        # Half of the crossings: a task that always yields gives each interleaving the same shape.
        if self.interleaving == "operations" and self.runtime.random() < _YIELDS:
            await self.runtime.sleep(0)

    @property
    def dies_next(self) -> bool:
        """Return whether the worker dies at the next crossing, or is dead."""
        return self.died_at is not None or len(self.crash_points) == self.die_at

    async def pass_within(self, what: str) -> None:
        """Pass a crash point within an operation, where no other task may run."""
        if self.dies_next:
            await self.cross(what)
        self.crash_points.append(what)

    async def _never(self) -> None:
        await self.runtime.future()

    async def disturbed(self, at: str, fault: Fault, work: Callable[[], Awaitable[A]]) -> A:
        """Perform work with a fault."""
        # The work has its effect, and only then does the fault hide its answer.
        answer: Any = await work() if fault.when == "after" else None
        match fault:
            case Crash():
                self.die(f"{fault.when} {at}")
                await self._never()
            case Raise():
                raise fault.exception()
            case Fail(error=error):
                failed: Any = Failure(error)
                return cast("A", failed)
            case Succeed(value=value):
                succeeded: Any = Success(value)
                return cast("A", succeeded)
            case Hang():
                await self._released(at)
            case Delay():
                await self.runtime.sleep(fault.ms)
            case _:
                assert_never(fault)
        return cast("A", answer) if fault.when == "after" else await work()

    async def _released(self, at: str) -> None:
        waiting = self.runtime.future()
        self.held.setdefault(at, []).append(waiting)
        await waiting


# ---------------------------------------------------------------- effects
def perform_behind(boundary: Boundary) -> Callable[[object, Any, Execute], object]:
    """Return the function that performs effects behind a boundary, and records them."""

    def perform(instruction: object, services: Any, execute: Execute) -> object:
        if type(instruction) is not ServiceCall:
            return default_handler(instruction, services)
        call = _described(instruction, execute, boundary.lease())
        work = partial(_performed, boundary, call, instruction, services)
        return boundary.around(f"effect {call.name}", work, call.address)

    return perform


def _described(call: ServiceCall, execute: Execute, lease: Literal["good", "ended"]) -> EffectCall:
    claim = execute.claim
    return EffectCall(
        name=call.name,
        args=call.args,
        kwargs=call.kwargs,
        address=execute.instance.address,
        run_id=claim.run_id,
        attempt=claim.attempt,
        delivery=claim.deliveries,
        declares="no_errors" if error_declared_by(call) is None else "errors",
        lease=lease,
    )


async def _performed(boundary: Boundary, call: EffectCall, instruction: ServiceCall, services: Any) -> object:
    boundary.note(EffectPerformed(call))
    try:
        call.outcome = await settle_answer(default_handler(instruction, services), services)
    # Any exception is the outcome that the trace shows, also a cancellation. It is raised again.
    except BaseException as exception:
        call.outcome = _real_io(call, exception) or exception
        if call.outcome is not exception:
            raise call.outcome from exception
        raise
    return call.outcome


def _real_io(call: EffectCall, exception: BaseException) -> WouldBlock | None:
    """Return the error for an effect that needs an event loop, which a world does not have. Else None."""
    if isinstance(exception, WouldBlock):
        return WouldBlock(f"effect {call.name}", exception.waiting_for)
    has_no_loop = (isinstance(exception, RuntimeError) and str(exception).startswith(_NO_LOOP)) or (
        isinstance(exception, AttributeError) and _raised_in(exception).startswith(_ASYNCIO)  # a queue or an event
    )
    if has_no_loop or type(exception).__name__ in _OF_LIBRARIES:
        return WouldBlock(f"effect {call.name}", "an asyncio event loop")
    return None


def _raised_in(exception: BaseException) -> str:
    frames = list(traceback.walk_tb(exception.__traceback__))
    return frames[-1][0].f_code.co_filename if frames else ""


R = TypeVar("R")

Answers: TypeAlias = Sequence[Result[Any, Any]]


@attrs.frozen(kw_only=True)
class BatchCrossing(Generic[R]):
    """One operation's requests, which cross the boundary in the engine's batches.

    Each commit is atomic, and its batch is not: a worker may die within a batch, when only its first transitions are
    written. A fault affects one request in a batch. Its neighbours are carried out, but all answers in the batch arrive
    together, so a slow or hanging request delays them.

    Attributes:
        operation: the location: ``load`` or ``commit``.
        send: carries out requests together.
        lost: makes the error for a request during which the store raised.
        is_divisible: whether a worker may die within a batch: a read changes nothing.
    """

    boundary: Boundary
    operation: Literal["load", "commit"]
    send: Callable[[Sequence[R], Callable[[Answers], None]], None]
    lost: Callable[[str], Exception]
    is_divisible: bool

    def __call__(self, requests: Sequence[R], answered: Callable[[Answers], None], /) -> None:
        """Carry out a batch, and call back with the answers."""
        name = f"{self.operation} of {len(requests)}"
        start_eagerly(self._cross(requests, answered), self.boundary.runtime, name=name)

    async def _cross(self, requests: Sequence[R], answered: Callable[[Answers], None]) -> None:
        await self.boundary.cross(f"before {self.operation}")
        answers = await self._carried_out(requests)
        await self.boundary.cross(f"after {self.operation}")
        answered(answers)

    async def _carried_out(self, requests: Sequence[R]) -> Answers:
        boundary, answers, together = self.boundary, list[Result[Any, Any]](), list[R]()
        # All drawn before the first request is sent: the n-th call has its fault, whatever the group does.
        faults = [boundary.fault_at(self.operation) for _ in requests]
        await self._slow_down(faults, "before")
        for place, (request, fault) in enumerate(zip(requests, faults, strict=True)):
            if place and self.is_divisible:
                # The requests before the death are written: the store has a part of the batch, as after a real one.
                if boundary.dies_next:
                    await self._together(together)
                await boundary.pass_within(f"within {self.operation}")
            if fault is None or isinstance(fault, Delay | Hang):
                together.append(request)
            else:
                answers += await self._together(together)
                together = []
                answers.append(await self._disturbed(request, fault))
        answers += await self._together(together)
        await self._slow_down(faults, "after")
        return answers

    async def _slow_down(self, faults: Sequence[Fault | None], when: When) -> None:
        """Wait as long as the slowest request in the batch."""
        slow = [fault for fault in faults if isinstance(fault, Delay | Hang) and fault.when == when]
        if not slow:
            return
        slowest = max(slow, key=lambda fault: fault.ms if isinstance(fault, Delay) else float("inf"))
        self.boundary.note(FaultInjected(slowest))
        await self.boundary.disturbed(self.operation, attrs.evolve(slowest, when="before"), _nothing)

    async def _together(self, requests: Sequence[R]) -> Answers:
        if not requests:
            return ()
        future = self.boundary.runtime.future()
        self.send(requests, future.set_result)
        answers: Answers = await future
        for request, answer in zip(requests, answers, strict=True):
            _note_answer(self.boundary, self.operation, (request,), answer)
        return answers

    async def _disturbed(self, request: R, fault: Fault) -> Result[Any, Any]:
        self.boundary.note(FaultInjected(fault))
        try:
            answer: Result[Any, Any] = await self.boundary.disturbed(self.operation, fault, lambda: self._one(request))
        # A store answers with an error and does not raise. The engine is to survive one that does.
        except Exception as raised:  # noqa: BLE001 - of the fault
            return Failure(self.lost(f"the store raised: {raised!r}"))
        return answer

    async def _one(self, request: R) -> Result[Any, Any]:
        return (await self._together((request,)))[0]


def _batches_behind(boundary: Boundary, store: Store) -> dict[str, Any]:
    """Return the store operations that take batches, behind a boundary."""
    return {
        "load": BatchCrossing[LoadRequest](
            boundary=boundary,
            operation="load",
            send=store.load,
            lost=partial(StoreUnavailable, "load"),
            is_divisible=False,
        ),
        "commit": BatchCrossing[Transition](
            boundary=boundary,
            operation="commit",
            send=store.commit,
            lost=OutcomeUnknown,
            is_divisible=True,
        ),
    }


async def _nothing() -> None:
    """Do nothing."""


# ---------------------------------------------------------------- the store
def store_behind(boundary: Boundary, store: Store) -> Store:
    """Return a store behind a boundary, and record its commits."""

    def crossing(at: str, operation: Any) -> Any:
        return partial(_cross_to_store, boundary, at, operation)

    changed: dict[str, Any] = {
        name: crossing(name, getattr(store, name)) for name in (*STORE_OPERATIONS, "set_hold") if name not in _BATCHES
    }
    changed["search"] = crossing("find", store.search)  # a fault of ``find`` affects both
    for capability, names in CAPABILITY_OPERATIONS.items():
        below: Any = getattr(store, capability)
        if below is not None:
            functions = {name: crossing(f"{capability}.{name}", getattr(below, name)) for name in names}
            if capability == "sharing":  # the share of an operation of every store
                functions |= {name: crossing(name, getattr(below, name)) for name in ("due", "messages")}
            changed[capability] = overlay(below, **functions)
    # A store that says that it answers within the call gets each request alone.
    single = boundary.requests == "single"
    return overlay(store, **changed, **_batches_behind(boundary, store), synchronous=single, runtime=boundary.runtime)


def _cross_to_store(
    boundary: Boundary, name: str, operation: Callable[..., FutureResult[Any, Any]], *args: Any
) -> FutureResult[Any, Any]:
    return asked(boundary.around(name, lambda: _answered(boundary, name, args, operation(*args))))


async def _answered(
    boundary: Boundary, name: str, args: tuple[Any, ...], operation: FutureResult[Any, Any]
) -> Result[Any, Any]:
    result = await answer_of(operation)
    _note_answer(boundary, name, args, result)
    return result


def _note_answer(boundary: Boundary, name: str, args: tuple[Any, ...], result: Result[Any, Any]) -> None:
    """Record a store operation's result, if the trace shows it."""
    if name == "commit" and isinstance(result, Success):
        boundary.note(TransitionCommitted(args[0], fence_after(args[0], result.unwrap())))
    elif name == "messages" and isinstance(result, Success) and result.unwrap():
        boundary.note(MessagesRead(result.unwrap()))
