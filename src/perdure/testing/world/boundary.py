"""The border of a worker: what every store operation and every effect crosses, going and coming back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar, assert_never

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.jobs.step import Execute
from perdure.programs import default_handler
from perdure.programs.drivers import settle_answer
from perdure.programs.future import Telling, answer_of, answered_by, asked, known_answer
from perdure.programs.instructions import Call
from perdure.runtime.record import Future, Runtime
from perdure.stores.store import Store
from perdure.testing.fault import STORE_OPERATIONS, Crash, Delay, Fail, Fault, Hang, Raise
from perdure.testing.simulation.declared import error_declared_by
from perdure.testing.world.pending_fault import PendingFault
from perdure.testing.world.trace_event import (
    EffectCall,
    EffectPerformed,
    FaultInjected,
    MessagesRead,
    TraceDetail,
    TransitionCommitted,
    WorkerKilled,
)
from perdure.values.address import Address
from perdure.values.errors import OutcomeUnknown

Interleaving: TypeAlias = Literal["turns", "operations"]
"""Where the seed may let another task go first: where a turn waits anyway, or at every store operation and effect."""

Work: TypeAlias = Callable[[], Awaitable[Any]]  # of any operation

AnswerMode: TypeAlias = Literal["told", "awaited"]
"""How a store answers: the engine is told, as by SQLite's; or it awaits the answer in a task, as of any other store."""

A = TypeVar("A")

_YIELDS: Final = 0.5
"""How often a task gives way at a crossing, when it may."""


@attrs.define(kw_only=True)
class Boundary:
    """What stands between one worker and everything that outlives it.

    Attributes:
        runtime: how the worker waits.
        note: told what happens here.
        faults: what is to go wrong; shared by the workers of one world.
        interleaving: where other tasks may go first.
        die_at: the crossing at which the worker dies, counted from its opening; None: it does not.
        crash_points: what crossed so far.
        died_at: where the worker died; None while it lives.
        held: who waits to be released, by where.
    """

    runtime: Runtime
    note: Callable[[TraceDetail], None]
    faults: list[PendingFault]
    interleaving: Interleaving
    die_at: int | None = None
    crash_points: list[str] = attrs.Factory(list[str])
    died_at: str | None = None
    held: dict[str, list[Future[Any]]] = attrs.Factory(dict[str, list[Future[Any]]])

    # ------------------------------------------------------------ life and death
    def die(self, at: str) -> None:
        """Let nothing cross from now on."""
        if self.died_at is None:
            self.shut(at)
            self.note(WorkerKilled(at))

    def shut(self, at: str) -> None:
        """Let nothing cross from now on, as when the test is over, which is no death."""
        self.died_at = self.died_at or at

    def release(self, at: str) -> None:
        """Let what is held there come back."""
        for waiting in self.held.pop(at, ()):
            if not waiting.done():
                waiting.set_result(None)

    def release_all(self) -> None:
        """Let everything that is held come back."""
        for at in tuple(self.held):
            self.release(at)

    def is_quiet(self, at: str) -> bool:
        """Whether whatever crosses there now crosses unhindered."""
        if self.die_at is not None or self.died_at is not None or self.interleaving != "turns":
            return False
        return not any(pending.waits_for(at) for pending in self.faults)

    # ------------------------------------------------------------ crossing
    async def around(self, at: str, work: Callable[[], Awaitable[A]], whose: Address | None = None) -> A:
        """Cross, do something outside, cross back; unless something goes wrong there.

        Args:
            at: what is crossed to.
            work: does it.
            whose: the instance whose run reaches outside, if it is one.
        """
        await self._cross(f"before {at}")
        fault = self._fault_at(at) if self.faults else None
        if fault is None:
            answer = await work()
        else:
            self.note(FaultInjected(fault, whose))
            answer = await self._disturbed(at, fault, work)
        await self._cross(f"after {at}")
        return answer

    def _fault_at(self, at: str) -> Fault | None:
        """Give what strikes this call. Every fault counts it; one that comes second strikes the next call instead."""
        due = [pending for pending in self.faults if pending.is_due(at)]
        if not due:
            return None
        due[0].times -= 1
        return due[0].fault

    async def _cross(self, what: str) -> None:
        """Let something pass, unless this is where the worker dies: then nothing passes any more."""
        if len(self.crash_points) == self.die_at:
            self.die(what)
        if self.died_at is not None:
            await self._never()
        self.crash_points.append(what)
        if self.interleaving == "operations" and self.runtime.random() < _YIELDS:
            await self.runtime.sleep(0)

    async def _never(self) -> None:
        await self.runtime.future()

    async def _disturbed(self, at: str, fault: Fault, work: Work) -> Any:
        answer = await work() if fault.when == "after" else None
        match fault:
            case Crash():
                self.die(f"{fault.when} {at}")
                await self._never()
            case Raise():
                raise fault.exception()
            case Fail(error=error):
                return Failure(error)
            case Hang():
                await self._released(at)
            case Delay():
                await self.runtime.sleep(fault.ms)
            case _:
                assert_never(fault)
        return answer if fault.when == "after" else await work()

    async def _released(self, at: str) -> None:
        waiting = self.runtime.future()
        self.held.setdefault(at, []).append(waiting)
        await waiting


# ---------------------------------------------------------------- what crosses
def store_behind(border: Boundary, store: Store, *, answers: AnswerMode) -> Store:
    """Put a store behind a border, and note what is committed.

    Args:
        border: what is crossed.
        store: what lies behind it.
        answers: how whoever asks hears of an answer that is not there at once.
    """
    wrap = partial(_awaited if answers == "awaited" else _Crossing, border)
    changed: dict[str, Any] = {
        name: partial(_cross_to_store, border, wrap, name, getattr(store, name)) for name in STORE_OPERATIONS
    }
    return attrs.evolve(store, **changed)


def _cross_to_store(
    border: Boundary,
    wrap: Callable[[str, Work], Awaitable[Result[Any, Any]]],
    name: str,
    operation: Callable[..., FutureResult[Any, Any]],
    *args: Any,
) -> FutureResult[Any, Any]:
    if not border.is_quiet(name):
        return answered_by(wrap(name, lambda: _answered(border, name, args, operation(*args))))
    begun = operation(*args)
    result = known_answer(begun)
    if result is None:
        return answered_by(wrap(name, lambda: _answered(border, name, args, begun)))
    border.crash_points += (f"before {name}", f"after {name}")  # nothing waits, so nothing comes between
    _note_answer(border, name, args, result)
    return begun


def _awaited(border: Boundary, at: str, work: Work) -> Awaitable[Result[Any, Any]]:
    return answer_of(asked(border.around(at, work)))


class _Crossing(Telling):
    """An operation of the store on its way across the border. It sets out when its answer is first asked for."""

    __slots__ = ("_answer", "_at", "_border", "_work")

    def __init__(self, border: Boundary, at: str, work: Work) -> None:
        self._border = border
        self._at = at
        self._work = work
        self._answer: Result[Any, Any] | None = None

    def __await__(self) -> Generator[Any, Any, Result[Any, Any]]:
        answer = self._answer
        if answer is None:
            answer = self._answer = yield from self._border.around(self._at, self._work).__await__()
        return answer

    def tell(self, listener: Callable[[Result[Any, Any]], None]) -> None:
        """Tell of the answer from a task of its own: whoever is told runs while others wait, in the seed's order."""
        self._border.runtime.spawn(self._told(listener), name=f"answer of {self._at}")

    async def _told(self, listener: Callable[[Result[Any, Any]], None]) -> None:
        try:
            answer = await self
        except Exception as defect:  # noqa: BLE001 - a store that tells has nobody to raise to
            answer = Failure(OutcomeUnknown(f"the store broke: {defect!r}"))
        listener(answer)


async def _answered(
    border: Boundary, name: str, args: tuple[Any, ...], operation: FutureResult[Any, Any]
) -> Result[Any, Any]:
    result = await answer_of(operation)
    _note_answer(border, name, args, result)
    return result


def _note_answer(border: Boundary, name: str, args: tuple[Any, ...], result: Result[Any, Any]) -> None:
    """Note what an operation of the store did, if it is worth telling."""
    if name == "commit" and isinstance(result, Success):
        border.note(TransitionCommitted(args[0], result.unwrap()))
    elif name == "messages" and isinstance(result, Success) and result.unwrap():
        border.note(MessagesRead(result.unwrap()))


def perform_behind(border: Boundary) -> Callable[[object, Any, Execute], object]:
    """Give the function that performs effects behind a border, and records them."""

    def perform(instruction: object, services: Any, execute: Execute) -> object:
        if type(instruction) is not Call:
            return default_handler(instruction, services)
        call = _described(instruction, execute)
        work = partial(_performed, border, call, instruction, services)
        return border.around(f"effect {call.name}", work, call.address)

    return perform


def _described(call: Call, execute: Execute) -> EffectCall:
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
    )


async def _performed(border: Boundary, call: EffectCall, instruction: Call, services: Any) -> object:
    border.note(EffectPerformed(call))
    try:
        call.outcome = await settle_answer(default_handler(instruction, services), services)
    except BaseException as exception:
        call.outcome = exception
        raise
    return call.outcome
