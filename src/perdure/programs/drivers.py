"""Who performs what the interpreter asks for: a driver for coroutines, and one for plain function calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from returns.context import (
    RequiresContext,
    RequiresContextFutureResult,
    RequiresContextIOResult,
    RequiresContextResult,
)
from returns.future import FutureResult
from returns.io import IO, IOFailure, IOSuccess
from returns.result import Failure, Result, Success
from returns.unsafe import unsafe_perform_io

from perdure.programs.container import Program, result_inside
from perdure.programs.errors import HaltedOutside, NoInterpreter
from perdure.programs.exit import Exit, Halted, Raised, is_closing
from perdure.programs.instructions import Call, Jitter, Log, Now, Sleep
from perdure.programs.interception import Interceptor
from perdure.programs.interpreter import Fork, Loop, interpret
from perdure.programs.parallel import run_fork
from perdure.programs.returned import call_service
from perdure.programs.watch import Watch
from perdure.programs.watched_loop import watched
from perdure.runtime.errors import WouldBlock
from perdure.runtime.record import Runtime
from perdure.values.turn_value import turn_value

if TYPE_CHECKING:
    from perdure.runtime.simulated import Simulation

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")

Handler: TypeAlias = Callable[[Any, Any], object]
"""How the instructions that no `sandbox` answered are performed: ``handler(instruction, services)``.

It may give a `Result`, `IOResult`, `FutureResult`, a reader of one (it is called with the services), an `IO` or
`Future`, an awaitable of a `Result`, ``Halted``, or any other value, which succeeds. An `Exception` that it raises is a
defect at the instruction. Anything else that it raises is like a cancellation: finalizers run, and it comes out of the
run.
"""


def default_handler(instruction: object, services: Any) -> object:
    """Perform a call of a service.

    Raises:
        NoInterpreter: the instruction is something else.
        NothingReturned: the function returned None, and its annotation does not allow that.
    """
    if type(instruction) is Call:
        return call_service(instruction, services)
    raise NoInterpreter(instruction)


async def run_async(
    program: Program[A, E, R], services: R, *, runtime: Runtime | None = None, handler: Handler = default_handler
) -> Exit[A, E]:
    """Run a program inside an event loop.

    Args:
        program: what to run.
        services: what it needs.
        runtime: answers time, concurrency and logging; by default the running asyncio loop.
        handler: performs the instructions; by default the service calls.

    Returns:
        The exit. A defect is a value too: `Raised`.

    Raises:
        BaseException: cancellation, `KeyboardInterrupt`, `SystemExit` and their like, once the finalizers have run.
    """
    return await _drive(interpret(program, services), handler, runtime)


def run_sync(
    program: Program[A, E, R],
    services: R,
    *,
    handler: Handler = default_handler,
    simulation: Simulation | None = None,
) -> Exit[A, E]:
    """Run a program in a plain call, without an event loop.

    Time is virtual: a program that sleeps, retries or runs others at once goes on in a `Simulation`, whose clock jumps.

    Args:
        program: what to run.
        services: what it needs; they must not wait for the real world.
        handler: performs the instructions; by default the service calls.
        simulation: where it runs, if its seed, its clock or its logs matter; by default a fresh one, when needed.

    Returns:
        The exit. It is ``Raised(WouldBlock(...))`` when a service waits for the real world.

    Raises:
        BaseException: `KeyboardInterrupt`, `SystemExit` and their like, once the finalizers have run.
    """
    loop = interpret(program, services)
    if simulation is not None:
        return simulation.run(_drive(loop, handler, simulation.runtime))
    try:
        instruction, scope = loop.send(None)
        while type(instruction) not in _ANSWERED_BY_RUNTIME:
            try:
                answer: Any = handler(instruction, scope)
                kind = answer.__class__
                if kind is FutureResult:
                    answer = result_inside(_without_waiting(answer.awaitable(), instruction))
                elif kind not in _SETTLED:
                    answer = _without_waiting(settle_answer(answer, scope), instruction)
            except BaseException as exception:  # noqa: BLE001 - the program decides what it means
                failure = exception
            else:
                instruction, scope = loop.send(answer)
                continue
            instruction, scope = loop.throw(failure)
    except StopIteration as stop:
        return _finished(stop.value)
    return _go_on_in_simulation(loop, (instruction, scope), handler)


@turn_value(eq=False)
class Suspended(Generic[A, E]):
    """A program that was begun by a plain call, and asks for something that has to be performed.

    Attributes:
        loop: the rest of it.
        asked: the instruction, with the services in force there.
    """

    loop: Loop[A, E]
    asked: tuple[Any, Any]

    async def resume(self, *, runtime: Runtime, handler: Handler = default_handler) -> Exit[A, E]:
        """Perform what it asks for, and go on to its end; see `run_async`."""
        return await _drive(self.loop, handler, runtime, self.asked)

    def drop(self) -> None:
        """Let it end here. Its `finally` blocks may not perform anything any more."""
        self.loop.close()


def run_until_asked(
    program: Program[A, E, R], services: R, *, interceptor: Interceptor, watch: Watch | None = None
) -> Exit[A, E] | Suspended[A, E]:
    """Run a program by a plain call, as far as it goes without anybody's help.

    Args:
        program: what to run.
        services: what it needs.
        interceptor: who is asked first.
        watch: sees which programs are built and run.

    Returns:
        The exit; or the program where it asks for what the interceptor does not answer.

    Raises:
        BaseException: cancellation, `KeyboardInterrupt`, `SystemExit` and their like, once the finalizers have run.
    """
    loop = interpret(program, services, (interceptor,))
    if watch is not None:
        loop = watched(loop, watch)
    try:
        return Suspended(loop, loop.send(None))
    except StopIteration as stop:
        return _finished(stop.value)


async def run_as_result(program: Program[A, E, R], services: R) -> Result[A, E]:
    """Run a program to a `Result`: what a `FutureResult` can express.

    Raises:
        BaseException: the cause, when it died.
        HaltedOutside: it halted.
    """
    exit_ = await run_async(program, services)
    match exit_:
        case Raised(cause):
            raise cause
        case Halted(signal):
            raise HaltedOutside(signal)
        case _:
            return exit_


async def _drive(
    loop: Loop[A, E], handler: Handler, runtime: Runtime | None, asked: tuple[Any, Any] | None = None
) -> Exit[A, E]:
    """Answer what `loop` asks until it ends; it may have asked already."""
    return _finished(await _drive_to_exit(loop, handler, runtime, asked))


async def _drive_branch(loop: Loop[A, E], handler: Handler, runtime: Runtime) -> Exit[A, E]:
    """Drive a branch that runs in a task of its own.

    Only its cancellation is raised. A task that raised `SystemExit` would stop the event loop, past the waiter.
    """
    exit_ = await _drive_to_exit(loop, handler, runtime, None)
    return _finished(exit_) if type(exit_) is Raised and isinstance(exit_.cause, runtime.cancelled) else exit_


async def _drive_to_exit(
    loop: Loop[A, E], handler: Handler, runtime: Runtime | None, asked: tuple[Any, Any] | None
) -> Exit[A, E]:
    try:
        instruction, scope = loop.send(None) if asked is None else asked
        while True:
            try:
                if type(instruction) in _ANSWERED_BY_RUNTIME:
                    answer: Any = await _ask_runtime(instruction, handler, runtime or _asyncio_runtime())
                else:
                    answer = handler(instruction, scope)
                    kind = answer.__class__
                    if kind is FutureResult:
                        answer = result_inside(await answer)
                    elif kind not in _SETTLED:
                        answer = await settle_answer(answer, scope)
            except BaseException as exception:
                if is_closing(exception):  # and the loop with it: nothing may wait any more
                    raise
                failure = exception  # the program decides what it means
            else:
                instruction, scope = loop.send(answer)
                continue
            # Outside of the handler above: what the program raises from here on is not in the context of `failure`.
            instruction, scope = loop.throw(failure)
    except StopIteration as stop:
        exit_: Exit[A, E] = stop.value
        return exit_


async def _ask_runtime(instruction: Any, handler: Handler, runtime: Runtime) -> object:
    match instruction:
        case Fork():
            return await run_fork(
                instruction, lambda program: _drive_branch(instruction.begin(program), handler, runtime), runtime
            )
        case Sleep(delay_ms):
            await runtime.sleep(delay_ms)
            return None
        case Now():
            return runtime.now_ms()
        case Jitter():
            return runtime.random()
        case Log(record):
            runtime.log(record)
            return None
        case _:
            raise NoInterpreter(instruction)


async def settle_answer(answer: Any, services: Any) -> object:
    """Turn whatever a handler gave into a `Result` or a value."""
    if type(answer) in _READERS:
        answer = answer(services)
    if inspect.isawaitable(answer):
        answer = await answer
    kind = answer.__class__
    open_up = _OPENED_BY.get(kind)
    return answer if open_up is None else open_up(answer)


def _without_waiting(coroutine: Coroutine[Any, Any, A], instruction: object) -> A:
    """Run a coroutine that waits for nothing but its turn; what waits for more gets `WouldBlock` at that `await`."""
    awaited: object = None
    try:
        awaited = coroutine.send(None)
        for _ in range(_MAX_REFUSALS):
            if awaited is None:  # a bare yield: nobody else is here
                awaited = coroutine.send(None)
            else:
                awaited = coroutine.throw(WouldBlock(who=f"{instruction!r}", waiting_for=awaited))
    except StopIteration as stop:
        value: A = stop.value
        return value
    coroutine.close()
    raise WouldBlock(who=f"{instruction!r}", waiting_for=awaited)


def _go_on_in_simulation(loop: Loop[A, E], asked: tuple[Any, Any], handler: Handler) -> Exit[A, E]:
    from perdure.runtime.simulated import Simulation  # noqa: PLC0415 - imports `random`; few programs need it

    simulation = Simulation()
    return simulation.run(_drive(loop, handler, simulation.runtime, asked))


@cache
def _asyncio_runtime() -> Runtime:
    from perdure.runtime.on_asyncio import asyncio_runtime  # noqa: PLC0415 - a pure program needs no event loop

    return asyncio_runtime()


def _finished(exit_: Exit[A, E]) -> Exit[A, E]:
    if type(exit_) is Raised and not isinstance(exit_.cause, Exception):
        raise exit_.cause
    return exit_


_MAX_REFUSALS = 1_000
"""Bare yields and refused waits after which a service that never ends is given up."""

_ANSWERED_BY_RUNTIME: frozenset[type] = frozenset({Fork, Sleep, Now, Jitter, Log})
_SETTLED: frozenset[type] = frozenset(
    {Success, Failure, Halted, Raised, type(None), int, float, str, bytes, bool, tuple, list, dict}
)
_READERS: frozenset[type] = frozenset(
    {RequiresContextFutureResult, RequiresContextIOResult, RequiresContextResult, RequiresContext}
)
_OPENED_BY: dict[type, Callable[[Any], object]] = {
    IOSuccess: result_inside,
    IOFailure: result_inside,
    IO: lambda io: Success(unsafe_perform_io(io)),
}
