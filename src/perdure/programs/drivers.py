"""Drivers that perform the interpreter's instructions: one for coroutines, and one for synchronous calls.

`run_fork` runs `gather`, `race` and `timeout` on the tasks of a `Runtime`. `run_inline` runs a do-block whose
instructions are all answered at once, without the interpreter's loop.
"""

from __future__ import annotations

import enum
import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from datetime import timedelta
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, Never, TypeAlias, TypeVar, assert_never, final

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

from perdure.programs.container import Program, node, result_inside
from perdure.programs.effect_results import CalledElsewhere, call_service
from perdure.programs.future import close_unawaited
from perdure.programs.instructions import (
    ASK,
    DO,
    HALT,
    PERFORM,
    PURE,
    RESULT,
    Apart,
    Deadline,
    EffectTimeout,
    Exit,
    Gather,
    Halted,
    HaltedOutside,
    Jitter,
    Log,
    NoInterpreter,
    Now,
    Orders,
    Race,
    Raised,
    ServiceCall,
    Sleep,
    SleepUntil,
    Supervision,
    is_closing,
)
from perdure.programs.interpreter import PASS, Fork, Interceptor, Loop, interpret
from perdure.runtime.record import LogRecord, Runtime, SpawnedTask, WouldBlock, perform_here
from perdure.runtime.tasks import Branches
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import turn_value

if TYPE_CHECKING:
    from perdure.runtime.simulated import Simulation


AnyExit: TypeAlias = Exit[Any, Any]
Begin: TypeAlias = Callable[[Any], Coroutine[Any, Any, AnyExit]]
"""Makes the coroutine that drives one program of the plan to its exit."""


TIMER = "timeout.timer"
"""The name of the task that waits for a timeout."""


async def run_fork(fork: Fork, begin: Begin, runtime: Runtime) -> AnyExit:
    """Run a fork's branches. No branch is still running when this returns or raises."""
    plan = fork.plan
    match plan:
        case Gather():
            return await _gather(plan, begin, runtime)
        case Race():
            return await _race(plan, begin, runtime)
        case Deadline():
            return await _with_deadline(plan, begin, runtime)
        case Supervision():
            return await _supervised(plan, begin, runtime)
        case _:
            assert_never(plan)


async def _gather(plan: Gather, begin: Begin, runtime: Runtime) -> AnyExit:
    waiting = iter(enumerate(plan.programs))
    places: dict[SpawnedTask[AnyExit], int] = {}
    values: list[Any] = [None] * len(plan.programs)
    async with Branches[AnyExit](runtime, partial(_report, runtime)) as branches:
        for place, program in islice(waiting, plan.limit):
            places[branches.start(begin(program), name=f"gather[{place}]")] = place
        while places:
            task = await branches.next_ended()
            exit_ = task.result()
            if not isinstance(exit_, Success):
                # Leaving the block cancels the others and waits for them: no branch outlives its program.
                return exit_
            values[places.pop(task)] = exit_.unwrap()
            # The next program takes the place of the one that has ended.
            for place, program in islice(waiting, 1):
                places[branches.start(begin(program), name=f"gather[{place}]")] = place
    return Success(tuple(values))


async def _race(plan: Race, begin: Begin, runtime: Runtime) -> AnyExit:
    async with Branches[AnyExit](runtime, partial(_report, runtime)) as branches:
        for place, program in enumerate(plan.programs):
            branches.start(begin(program), name=f"race[{place}]")
        # Leaving the block cancels the others, as in `_gather`.
        return (await branches.next_ended()).result()


async def _with_deadline(plan: Deadline, begin: Begin, runtime: Runtime) -> AnyExit:
    async with Branches[Any](runtime) as branches:
        program: SpawnedTask[AnyExit] = branches.start(begin(plan.program), name="timeout")
        branches.start(_expire(plan.after_ms, runtime), name=TIMER)
        in_time = await branches.next_ended() is program
    # A program that ends in spite of the cancellation has an outcome, which counts: its effects have happened.
    if program.cancelled() and not in_time:
        return Failure(EffectTimeout(timedelta(milliseconds=plan.after_ms)))
    return program.result()


async def _supervised(plan: Supervision, begin: Begin, runtime: Runtime) -> AnyExit:
    supervisor, keys, tasks = (
        plan.supervisor,
        dict[SpawnedTask[AnyExit], object](),
        dict[object, SpawnedTask[AnyExit]](),
    )
    cancelled = set[object]()
    async with Branches[AnyExit](runtime, partial(_report, runtime)) as branches:
        orders: Orders = supervisor.begun()
        while True:
            for key in orders.cancel:
                tasks[key].cancel()
            cancelled.update(orders.cancel)
            for key, program in orders.start:
                task = branches.start(begin(program), name=f"{plan.name}[{key}]")
                keys[task], tasks[key] = key, task
            # Checked after the orders, because they may have started something.
            if not keys:
                return Success(None)
            task = await branches.next_ended()
            key = keys.pop(task)
            del tasks[key]
            # A supervisor may ignore the exit of a program that it has cancelled: a defect would be lost.
            if key in cancelled:
                cancelled.discard(key)
                _report(runtime, task)
            orders = supervisor.ended(key, None if task.cancelled() else task.result(), runtime.now_ms())


_THEN: Final = "then"


class InArrivalOrder:
    """The supervisor of one `as_completed`. Keys are the programs' places, and `_THEN`."""

    def __init__(
        self,
        programs: tuple[Program[Any, Any, Any], ...],
        then: Callable[[Any], Program[Any, Any, Any]] | None,
        count: int,
        limit: int,
    ) -> None:
        self.programs, self.then, self.count, self.limit = programs, then, count, limit
        self.next = 0
        self.running = set[object]()
        self.unhandled, self.values = deque[Any](), list[Any]()
        self.stopped: Any = None  # the first exit that is not a success

    def begun(self) -> Orders:
        """Start the first programs."""
        return self._orders()

    def ended(self, key: object, exit_: Any, _: int, /) -> Orders:
        """Take over a value. Start the next program, or the one that handles a value, or cancel all."""
        self.running.discard(key)
        if self._is_over:
            return Orders()
        if not isinstance(exit_, Success):
            self.stopped = exit_
        elif key == _THEN or self.then is None:
            self.values.append(exit_.unwrap())
        else:
            self.unhandled.append(exit_.unwrap())
        return Orders(cancel=tuple(self.running)) if self._is_over else self._orders()

    def line_of(self, _: object, /) -> None:
        """Return no line: its programs have their own."""

    def result(self) -> Program[Any, Any, Any]:
        """Return the program with the outcome."""
        stopped: Any = self.stopped
        if stopped is None:
            return node(PURE, tuple(self.values))
        kind = stopped.__class__
        if kind is Failure:
            return node(RESULT, stopped)
        return node(HALT, stopped.signal) if kind is Halted else _raising(stopped.cause)

    @property
    def _is_over(self) -> bool:
        return self.stopped is not None or len(self.values) >= self.count

    def _orders(self) -> Orders:
        started: list[tuple[object, Any]] = []
        # One value at a time, in the order of arrival.
        if self.unhandled and _THEN not in self.running and self.then is not None:
            started.append((_THEN, _handling(self.then, self.unhandled.popleft())))
        # Without the one that handles a value, which is none of them.
        while self.next < len(self.programs) and len(self.running - {_THEN}) < self.limit:
            # Apart: their changes of the state would be in the order of a service's answers.
            started.append((self.next, Apart(self.programs[self.next])))
            self.running.add(self.next)
            self.next += 1
        self.running.update(key for key, _ in started)
        return Orders(tuple(started))


def _handling(then: Callable[[Any], Program[Any, Any, Any]], value: Any) -> Program[Any, Any, Any]:
    # In a program: an exception that the function raises is a defect of that, and not of the supervisor.
    handled: Program[Any, Any, Any] = node(PURE, value)
    return handled.bind(then)


async def _expire(after_ms: int, runtime: Runtime) -> None:
    await runtime.sleep(after_ms)


def _report(runtime: Runtime, loser: SpawnedTask[AnyExit]) -> None:
    """Log a branch's defect if no caller awaits its outcome, so that no defect is lost."""
    if loser.cancelled():
        return
    exit_ = loser.result()
    match exit_:
        # Its outcome has no reader. Without this line, the defect of a finalizer would be lost.
        case Raised(cause):
            runtime.log(LogRecord("error", "finalizer of a cancelled branch raised", {"cause": cause}))
        case Success() | Failure() | Halted():
            pass
        case _:
            assert_never(exit_)


A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")


class Unasked(enum.Enum):
    """Marks a handler that was not called."""

    UNASKED = "unasked"


UNASKED: Final = Unasked.UNASKED

Waits: TypeAlias = Callable[[type], bool]
"""Whether an instruction of a class must wait for a task, at this moment."""

Handler: TypeAlias = Callable[[Any, Any], object]
"""The function that performs the instructions that no `sandbox` answered: ``handler(instruction, services)``.

It may return a `Result`, `IOResult`, `FutureResult`, a reader of one (called with the services), an `IO` or `Future`,
an awaitable of a `Result`, ``Halted``, or any other value, which is a success. An `Exception` that it raises is a
defect at the instruction. Any other exception acts like a cancellation: finalizers run, and the run raises it.
"""


def default_handler(instruction: object, services: Any) -> object:
    """Perform a service call.

    Raises:
        NoInterpreter: the instruction is not a `ServiceCall`.
        NothingReturned: the function returned None, and its annotation does not allow that.
    """
    if type(instruction) is ServiceCall:
        return call_service(instruction, services)
    raise NoInterpreter(instruction)


async def run_async(
    program: Program[A, E, R], services: R, *, runtime: Runtime | None = None, handler: Handler = default_handler
) -> Exit[A, E]:
    """Run a program inside an event loop.

    Args:
        program: the program.
        services: its services.
        runtime: provides time, concurrency and logging. By default the running asyncio loop.
        handler: performs the instructions. By default it calls services.

    Returns:
        The exit. A defect is also a value: `Raised`.

    Raises:
        BaseException: cancellation, `KeyboardInterrupt`, `SystemExit` and the like, after the finalizers have run.
    """
    return await _drive(interpret(program, services), handler, runtime)


def run_sync(
    program: Program[A, E, R],
    services: R,
    *,
    handler: Handler = default_handler,
    simulation: Simulation | None = None,
) -> Exit[A, E]:
    """Run a program in a synchronous call, without an event loop.

    Time is virtual: a program that sleeps, retries or runs others concurrently continues in a `Simulation`, whose clock
    jumps to the next timer.

    Args:
        program: the program.
        services: its services, which must not wait for real I/O.
        handler: performs the instructions. By default it calls services.
        simulation: the simulation to run in, to choose its seed or clock or to read its logs. By default a new one.

    Returns:
        The exit. It is ``Raised(WouldBlock(...))`` when a service waits for real I/O.

    Raises:
        BaseException: `KeyboardInterrupt`, `SystemExit` and the like, after the finalizers have run.
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
                # Thrown below, outside of this handler: otherwise it would be the context of each later exception.
                failure = exception
            else:
                instruction, scope = loop.send(answer)
                continue
            instruction, scope = loop.throw(failure)
    except StopIteration as stop:
        return _finished(stop.value)
    # The loop continues where it is: begun again, the program would repeat the effects so far.
    return _go_on_in_simulation(loop, (instruction, scope), handler)


@final
@turn_value(eq=False)
class Suspended(Generic[A, E]):
    """A program that was started synchronously and waits for an instruction to be performed.

    Attributes:
        asked: the instruction, with the services in effect there.
        awaited: the handler's result, if the handler was called. The driver must await it.
    """

    __repr__ = fields_in_line

    loop: Loop[A, E]
    asked: tuple[Any, Any]
    awaited: object = UNASKED

    async def resume(self, *, runtime: Runtime, handler: Handler = default_handler) -> Exit[A, E]:
        """Perform the instruction, and run the program to its end. See `run_async`."""
        return _finished(await _drive_to_exit(self.loop, handler, runtime, self.asked, self.awaited))

    def drop(self) -> None:
        """End the program here. Its `finally` blocks cannot perform instructions."""
        self.loop.close()
        # A coroutine that is dropped without this warns that it was never awaited, and keeps its resources.
        close_unawaited(self.awaited)


def asks_service(suspended: Suspended[Any, Any]) -> bool:
    """Return whether a program asks for a service, and not for the time or for its own branches."""
    return suspended.asked[0].__class__ not in _ANSWERED_BY_RUNTIME


def run_while_answered(suspended: Suspended[A, E], handler: Handler, waits: Waits) -> Exit[A, E] | Suspended[A, E]:
    """Perform a program's instructions synchronously, as long as its services answer immediately.

    Args:
        suspended: the program.
        handler: performs the instructions.
        waits: returns whether an instruction must be left to `Suspended.resume`.

    Returns:
        The exit. Or the program, suspended at the first instruction that must wait.
    """
    loop, (instruction, scope) = suspended.loop, suspended.asked
    try:
        while True:
            kind = instruction.__class__
            if kind in _ANSWERED_BY_RUNTIME or waits(kind):
                return Suspended(loop, (instruction, scope))
            try:
                answer: Any = handler(instruction, scope)
            except BaseException as exception:  # noqa: BLE001 - the program handles it
                failure = exception
            else:
                if answer.__class__ not in _SETTLED:
                    # With the answer: without it, the service would be called a second time when the run resumes.
                    return Suspended(loop, (instruction, scope), answer)
                instruction, scope = loop.send(answer)
                continue
            instruction, scope = loop.throw(failure)  # outside of the handler above, as in `_drive_to_exit`
    except StopIteration as stop:
        exit_: Exit[A, E] = stop.value
        return exit_


async def run_as_result(program: Program[A, E, R], services: R) -> Result[A, E]:
    """Run a program to a `Result`, for a `FutureResult`.

    Raises:
        BaseException: the cause, when the program raised.
        HaltedOutside: the program halted.
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
    """Answer `loop`'s instructions until it ends. It may already have yielded one."""
    return _finished(await _drive_to_exit(loop, handler, runtime, asked))


async def _drive_branch(loop: Loop[A, E], handler: Handler, runtime: Runtime) -> Exit[A, E]:
    """Drive a branch that runs in its own task.

    Only its cancellation is raised. A task that raised `SystemExit` would stop the event loop before the waiter runs.
    """
    exit_ = await _drive_to_exit(loop, handler, runtime, None)
    return _finished(exit_) if type(exit_) is Raised and isinstance(exit_.cause, runtime.cancelled) else exit_


async def _drive_to_exit(
    loop: Loop[A, E],
    handler: Handler,
    runtime: Runtime | None,
    asked: tuple[Any, Any] | None,
    awaited: object = UNASKED,
) -> Exit[A, E]:
    try:
        instruction, scope = loop.send(None) if asked is None else asked
        while True:
            try:
                if type(instruction) in _ANSWERED_BY_RUNTIME:
                    answer: Any = await _ask_runtime(instruction, handler, runtime or _asyncio_runtime())
                else:
                    if awaited is UNASKED:
                        answer = handler(instruction, scope)
                    else:
                        # The answer belongs to the first instruction alone.
                        answer, awaited = awaited, UNASKED
                    kind = answer.__class__
                    if kind is FutureResult:
                        answer = result_inside(await answer)
                    elif kind not in _SETTLED:
                        answer = await settle_answer(answer, scope, runtime or _asyncio_runtime())
            except BaseException as exception:
                if is_closing(exception):  # and the loop with it: no code may wait now
                    raise
                failure = exception  # the program decides how to handle it
            else:
                instruction, scope = loop.send(answer)
                continue
            # Outside of the handler above, so that later exceptions of the program do not have `failure` as their
            # context.
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
        case SleepUntil(at_ms):
            while (left_ms := at_ms - runtime.now_ms()) > 0:  # again, if the wall clock went back meanwhile
                await runtime.sleep(left_ms)
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


async def settle_answer(answer: Any, services: Any, runtime: Runtime | None = None) -> object:
    """Convert a handler's result to a `Result` or a value.

    Args:
        answer: the result.
        services: the services in effect there.
        runtime: performs a call in a thread or a process. None performs it here.
    """
    if type(answer) is CalledElsewhere:
        answer = await answer.perform(perform_here if runtime is None else runtime.elsewhere)
    if type(answer) in _READERS:
        answer = answer(services)
    if inspect.isawaitable(answer):
        answer = await answer
    kind = answer.__class__
    open_up = _OPENED_BY.get(kind)
    return answer if open_up is None else open_up(answer)


def _without_waiting(coroutine: Coroutine[Any, Any, A], instruction: object) -> A:
    """Run a coroutine that never suspends. Any other `await` raises `WouldBlock` inside it."""
    awaited: object = None
    try:
        awaited = coroutine.send(None)
        # A service may catch the refusal and wait again: without a limit, this call would never return.
        for _ in range(_MAX_REFUSALS):
            if awaited is None:  # a bare yield: no other task runs
                awaited = coroutine.send(None)
            else:
                awaited = coroutine.throw(WouldBlock(who=f"{instruction!r}", waiting_for=awaited))
    except StopIteration as stop:
        value: A = stop.value
        return value
    # It catches each refusal: it must not stay suspended.
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
    # As a value, a cancellation would look like an outcome, and the task would not be cancelled.
    if type(exit_) is Raised and not isinstance(exit_.cause, Exception):
        raise exit_.cause
    return exit_


_MAX_REFUSALS = 1_000
"""The number of bare yields and refused waits after which the driver stops waiting for a service to end."""

_ANSWERED_BY_RUNTIME: frozenset[type] = frozenset({Fork, Sleep, SleepUntil, Now, Jitter, Log})
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

NOTHING: Final[Success[None]] = Success(None)


def run_inline(program: Program[A, E, R], services: R, interceptor: Interceptor) -> Exit[A, E] | Suspended[A, E]:
    """Run a program until it needs an instruction that the interceptor does not answer.

    Most event handlers are a block that reads the state and sets it. As long as a program is such a block and each
    answer is a plain value, this does the same as the interpreter. Everything else continues there.

    Args:
        program: the program.
        services: its services.
        interceptor: receives each instruction first. It answers with plain values, never with an exit.

    Returns:
        The exit, a defect included, or the program, suspended at the instruction.
    """
    rest: Any = program
    tag, first, second = rest._inner_value  # noqa: SLF001 - as the interpreter does
    block: Any = None  # a generator, once it is made
    answer: Any = None
    # Only blocks: each other node would be a second implementation of the interpreter.
    while tag == DO and program.__class__ is Program:
        try:
            if block is None:
                block = first(*second)
            current = block.send(answer)
        except StopIteration as stop:
            exit_: Exit[Any, Any] = NOTHING if stop.value is None else Success(stop.value)
            return exit_
        except BaseException as raised:  # noqa: BLE001 - the interpreter decides
            # Raised again by the interpreter: one place decides about defects, cancellations and exits.
            rest, block = _raising(raised), None
            break
        rest = current
        if current.__class__ is not Program:
            break
        instruction_tag, instruction, _ = current._inner_value  # noqa: SLF001 - as above
        # A program that a block only returns, or composes, is not an instruction: performed here, its frames would be
        # skipped.
        if instruction_tag != PERFORM:
            break
        try:
            answer = interceptor.answer(instruction)
        except BaseException as raised:  # noqa: BLE001 - as above; it is raised inside the block
            rest = _raising(raised)
            break
        if answer is PASS:
            break
    # With the block as it is now: begun again, it would perform its first instructions twice.
    return _interpreted(rest, services, interceptor, block)


def run_to_first_effect(loop: Loop[A, E]) -> Exit[A, E] | Suspended[A, E]:
    """Run a program until it yields an instruction. Return that, or its exit, a defect included."""
    try:
        return Suspended(loop, loop.send(None))
    except StopIteration as stop:
        exit_: Exit[A, E] = stop.value
        return exit_
    except BaseException as raised:  # noqa: BLE001 - a defect of the run, of whatever class
        return Raised(raised)


def _interpreted(
    program: Any, services: Any, interceptor: Interceptor, inside: Generator[Any, Any, Any] | None
) -> Exit[Any, Any] | Suspended[Any, Any]:
    return run_to_first_effect(interpret(program, services, (interceptor,), None, inside))


def _raising(raised: BaseException) -> Program[Any, Any, Any]:
    def again(_: object) -> Never:
        raise raised

    function: Callable[[object], Never] = again
    return node(ASK, function)
