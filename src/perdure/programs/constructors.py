"""Programs with their exact types: values, service calls, time, and programs that combine others.

Several run concurrently, or one between the acquisition and a resource's release.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from importlib.util import find_spec
from inspect import iscoroutinefunction
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

import attrs
from returns.context import (
    RequiresContext,
    RequiresContextFutureResult,
    RequiresContextIOResult,
    RequiresContextResult,
)
from returns.future import Future, FutureResult
from returns.io import IO, IOResult
from returns.result import Result

from perdure._lazy import lazy_module
from perdure.programs.container import Do, Program, node, program
from perdure.programs.instructions import (
    ASK,
    FAIL,
    HALT,
    PARALLEL,
    PERFORM,
    PURE,
    RESULT,
    Gather,
    Instruction,
    Log,
    NotAProgram,
    Now,
    OrderedSupervisor,
    Race,
    ServiceCall,
    Sleep,
    SleepUntil,
    Supervision,
    Supervisor,
)
from perdure.values.address import check_name
from perdure.values.errors import DefinitionError
from perdure.values.times import due_ms, duration_ms

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")


def perform(instruction: Instruction[A, E]) -> Program[A, E, object]:
    """Return a program that performs an instruction. The instruction's type declares the result."""
    return node(PERFORM, instruction)


STEP_NAME: Final = "__perdure_step__"
"""The attribute of a function whose program is one step, with the name of the step."""

LIMITS: Final = "__perdure_limits__"
"""The attribute of an effect, and of its function that calls a service, with the limits that its calls use."""


class LimitedEffect(Protocol[P]):
    """Converts a function as `effect` does. Its calls use limits, by its arguments."""

    @overload
    def __call__(
        self,
        function: Callable[
            Concatenate[R, P],
            RequiresContextFutureResult[A, E, R] | RequiresContextIOResult[A, E, R] | RequiresContextResult[A, E, R],
        ],
        /,
    ) -> Callable[P, Program[A, E, R]]: ...
    @overload
    def __call__(
        self,
        function: Callable[Concatenate[R, P], Result[A, E] | IOResult[A, E] | FutureResult[A, E]],
        /,
    ) -> Callable[P, Program[A, E, R]]: ...
    @overload
    def __call__(
        self,
        function: Callable[Concatenate[R, P], RequiresContext[A, R]],
        /,
    ) -> Callable[P, Program[A, Never, R]]: ...
    @overload
    def __call__(
        self,
        function: Callable[Concatenate[R, P], Awaitable[Result[A, E]]],
        /,
    ) -> Callable[P, Program[A, E, R]]: ...
    @overload
    def __call__(
        self,
        function: Callable[Concatenate[R, P], IO[A] | Future[A]],
        /,
    ) -> Callable[P, Program[A, Never, R]]: ...


class NamedEffect(Protocol):
    """Converts a function as `effect` does. Its steps have a name of their own."""

    @overload
    def __call__(
        self,
        function: Callable[
            Concatenate[R, P],
            RequiresContextFutureResult[A, E, R] | RequiresContextIOResult[A, E, R] | RequiresContextResult[A, E, R],
        ],
        /,
    ) -> Callable[P, Program[A, E, R]]: ...
    @overload
    def __call__(
        self,
        function: Callable[Concatenate[R, P], Result[A, E] | IOResult[A, E] | FutureResult[A, E]],
        /,
    ) -> Callable[P, Program[A, E, R]]: ...
    @overload
    def __call__(
        self,
        function: Callable[Concatenate[R, P], RequiresContext[A, R]],
        /,
    ) -> Callable[P, Program[A, Never, R]]: ...
    @overload
    def __call__(
        self,
        function: Callable[Concatenate[R, P], Awaitable[Result[A, E]]],
        /,
    ) -> Callable[P, Program[A, E, R]]: ...
    @overload
    def __call__(
        self,
        function: Callable[Concatenate[R, P], IO[A] | Future[A]],
        /,
    ) -> Callable[P, Program[A, Never, R]]: ...


class BlockingEffect(Protocol):
    """Converts a function as `effect` does. A thread or a process performs it."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[R, P], Result[A, E] | IOResult[A, E]], /
    ) -> Callable[P, Program[A, E, R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[R, P], IO[A]], /) -> Callable[P, Program[A, Never, R]]: ...


@overload
def effect(
    function: Callable[
        Concatenate[R, P],
        RequiresContextFutureResult[A, E, R] | RequiresContextIOResult[A, E, R] | RequiresContextResult[A, E, R],
    ],
) -> Callable[P, Program[A, E, R]]: ...
@overload
def effect(
    function: Callable[Concatenate[R, P], Result[A, E] | IOResult[A, E] | FutureResult[A, E]],
) -> Callable[P, Program[A, E, R]]: ...
@overload
def effect(
    function: Callable[Concatenate[R, P], RequiresContext[A, R]],
) -> Callable[P, Program[A, Never, R]]: ...
@overload
def effect(
    function: Callable[Concatenate[R, P], Awaitable[Result[A, E]]],
) -> Callable[P, Program[A, E, R]]: ...
@overload
def effect(
    function: Callable[Concatenate[R, P], IO[A] | Future[A]],
) -> Callable[P, Program[A, Never, R]]: ...
@overload
def effect(*, limits: Sequence[Limit | LimitUse[P]], name: str | None = None, on: Place = ...) -> LimitedEffect[P]: ...
@overload
def effect(*, on: Place, name: str | None = None) -> BlockingEffect: ...
@overload
def effect(*, name: str) -> NamedEffect: ...
def effect(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    limits: Sequence[Limit | LimitUse[P]] = (),
    on: Literal["loop", "thread", "process"] = "loop",
) -> Any:
    """Convert a function that calls a service to one that returns a `Program`.

    The program holds the call as data, a name and arguments (`ServiceCall`), so that it can be recorded, compared,
    replayed and replaced by a fault. Each run calls the function again.

    Args:
        function: takes the services first. It may be ``async def``. It returns a `Result`, `IOResult` or
            `FutureResult`, a reader that returns one (``RequiresContext…``), an awaitable that returns a `Result`, or
            an `IO` or `Future`, which cannot fail. An exception that it raises is a defect.
        name: the name of the steps that a workflow records, 1 to 128 printable characters without ``:``. By default the
            function's. With a name, renaming the function is no change for workflows under way.
        limits: limits with a name that each call uses, in an engine: `Limit`, or `Limit.by` with functions of the
            arguments. A call waits for them as a part of its run. Write ``@effect(limits=[...])``.
        on: where an engine performs a function that does not await. With ``"thread"`` in a thread, for code that waits
            without asyncio. With ``"process"`` in a process, for code that computes. It gets the services as they are,
            so a process needs some that can be pickled (`Program.modify_env`). In a simulation it is performed at once.

    Returns:
        A function with the remaining parameters, which returns the program.

    Raises:
        DefinitionError: the name is not valid, ``limits`` are no limits, or one has numbers per key and no key. Or the
            function cannot be performed ``on`` a thread or process.
    """
    if function is not None:
        return _effect(function, step_name(function), "loop")
    pinned = None if name is None else check_name(name, what="name of an effect")
    return partial(_with_options, pinned, limits, on)


def step_name(function: object) -> str:
    """Return a function's name, which its steps have by default."""
    return getattr(function, "__name__", None) or repr(function)


def _with_options(
    pinned: str | None,
    limits: Sequence[Limit | LimitUse[...]],
    on: Literal["loop", "thread", "process"],
    function: Callable[..., Any],
) -> Callable[..., Program[Any, Any, Any]]:
    if on != "loop":
        _check_place(on, function)
    name = step_name(function) if pinned is None else pinned
    return _effect(_limited(name, limits, function) if limits else function, name, on)


def _limited(name: str, limits: Sequence[Limit | LimitUse[...]], function: Callable[..., Any]) -> Callable[..., Any]:
    from perdure.values.limits import limit_uses  # noqa: PLC0415 - most effects name no limit

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    setattr(call, LIMITS, limit_uses(limits, what=f"limits of the effect {name}", keyed="by"))
    return call


def _check_place(place: Place, function: Callable[..., Any]) -> None:
    what = f"on of the effect {getattr(function, '__qualname__', function)}"
    if place not in {"thread", "process"}:
        raise DefinitionError(what, place, "'thread' or 'process'")
    if iscoroutinefunction(function):
        raise DefinitionError(what, place, "no value for an `async def`: the loop awaits it")
    if place == "process":
        # A process finds the function by its module and name.
        if "<locals>" in getattr(function, "__qualname__", "<locals>"):
            raise DefinitionError(what, place, "'thread', or a function of a module: a process imports it")
        # Looked for and not imported: a definition must not load it.
        if find_spec("anyio") is None:
            raise DefinitionError(what, place, "'thread', or the extra: pip install 'perdure[processes]'")


def _effect(
    call: Callable[..., Any],
    name: str,
    place: Literal["loop", "thread", "process"],
) -> Callable[..., Program[Any, Any, Any]]:
    # `wraps` copies the attributes of the call: its limits are then known without a call.
    @wraps(call)
    def made(*args: Any, **kwargs: Any) -> Program[Any, Any, Any]:
        return node(PERFORM, ServiceCall(name, args, kwargs, call, place))

    setattr(made, STEP_NAME, name)
    return made


def sleep(duration: timedelta | str) -> Program[None, Never, object]:
    """Wait in memory: a crash discards the wait. To wait durably, a job sets its alarm.

    Args:
        duration: a `timedelta`, or text such as ``"30 seconds"``. Microseconds are rounded up to the next millisecond.
            0 lets other programs run.

    Raises:
        DefinitionError: the duration is negative or not valid. `sleep_until` takes an instant that may be past.
    """
    return perform(Sleep(duration_ms(duration, what="sleep", minimum_ms=0)))


def sleep_until(instant: datetime) -> Program[None, Never, object]:
    """Wait in memory until the clock shows an instant. A past one ends the wait immediately.

    Args:
        instant: an aware `datetime`. Microseconds are rounded up to the next millisecond.

    Raises:
        DefinitionError: the instant is not an aware `datetime`.
    """
    return perform(SleepUntil(due_ms(instant, what="sleep_until")))


def now() -> Program[datetime, Never, object]:
    """Return the runtime's wall clock, as an aware UTC `datetime`, to the millisecond."""
    return perform(Now()).map(_instant)


def _instant(now_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=now_ms)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


if TYPE_CHECKING:
    from perdure.programs import drivers
    from perdure.runtime import record
    from perdure.runtime.record import Level, Place
    from perdure.values.limits import Limit, LimitUse
else:
    drivers = lazy_module("perdure.programs.drivers")
    record = lazy_module("perdure.runtime.record")
B = TypeVar("B")


def succeed(value: A) -> Program[A, Never, object]:
    """Return a program that succeeds with a value."""
    return node(PURE, value)


def fail(error: E) -> Program[Never, E, object]:
    """Return a program that fails with a typed error."""
    return node(FAIL, error)


def halt(signal: object) -> Program[Never, Never, object]:
    """Return a program that stops the run. Only finalizers run. `or_else`, `attempt` and `except` do not catch it.

    See `Halted`.
    """
    return node(HALT, signal)


def lift(result: Result[A, E]) -> Program[A, E, object]:
    """Return a program that succeeds or fails with a `Result`."""
    return node(RESULT, result)


def asks(function: Callable[[R], A]) -> Program[A, Never, R]:
    """Return a program that calls `function` with the services and succeeds with its result."""
    return node(ASK, function)


def when(condition: bool, then: Program[object, E, R]) -> Program[None, E, R]:  # noqa: FBT001 - an `if` as a value
    """Run `then` if the condition holds. Succeed with None either way."""
    return then.map(_nothing) if condition else node(PURE, None, then)  # `then` is built but deliberately not run


def log(message: str, *, level: Level = "info", **fields: object) -> Program[None, Never, object]:
    """Write a log record, through the runtime that runs the program.

    Args:
        message: a constant sentence.
        level: the severity.
        fields: the variable data, by name.
    """
    return perform(Log(record.LogRecord(level, message, fields)))


@program
def traverse(items: Iterable[A], function: Callable[[A], Program[B, E, R]]) -> Do[tuple[B, ...], E, R]:
    """Run the program that `function` returns for each item, one after the other. Stop at the first failure.

    Python does not allow ``yield from`` inside a comprehension: use this instead.
    """
    values: list[B] = []
    for item in items:
        values.append((yield from function(item)))  # noqa: PERF401 - see above
    return tuple(values)


@overload
def as_program(outcome: Program[A, E, R]) -> Program[A, E, R]: ...
@overload
def as_program(outcome: Result[A, E] | IOResult[A, E] | FutureResult[A, E]) -> Program[A, E, object]: ...
@overload
def as_program(
    outcome: RequiresContextResult[A, E, R] | RequiresContextIOResult[A, E, R] | RequiresContextFutureResult[A, E, R],
) -> Program[A, E, R]: ...
@overload
def as_program(outcome: RequiresContext[A, R]) -> Program[A, Never, R]: ...
@overload
def as_program(outcome: IO[A] | Future[A]) -> Program[A, Never, object]: ...
def as_program(outcome: object) -> object:
    """Convert a hook's result to a `Program`: a program, or another `returns` container.

    A `FutureResult` is memoised: its program has an effect only once, so call the hook again for each run.

    Raises:
        NotAProgram: the result is none of these.
    """
    # The common case first: the classes below are looked through one by one.
    if isinstance(outcome, Program):
        return outcome  # pyright: ignore[reportUnknownVariableType]  # the overloads declare its types
    for container, convert in _CONVERSIONS:
        if isinstance(outcome, container):
            return convert(outcome)
    expected = "a Program, a Result, an IOResult, a FutureResult or a RequiresContext… of one"
    raise NotAProgram(outcome, "a hook", expected)


_CONVERSIONS: tuple[tuple[type, Callable[..., object]], ...] = (
    (Result, Program.from_result),
    (IOResult, Program.from_ioresult),
    (FutureResult, Program.from_future_result),
    (RequiresContextFutureResult, Program.from_future_result_context),
    (RequiresContextIOResult, Program.from_ioresult_context),
    (RequiresContextResult, Program.from_result_context),
    (RequiresContext, Program.from_context),
    (IO, Program.from_io),
    (Future, Program.from_future),
)


def _nothing(_: object) -> None:
    return None


A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")
A5 = TypeVar("A5")
E1 = TypeVar("E1")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")
E5 = TypeVar("E5")

DEFAULT_LIMIT = 100
"""The default number of programs that one `gather` runs at once."""


# The overloads with Never: pyright cannot unite two error types that are Never.
@overload
def gather(
    p1: Program[A1, Never, R], p2: Program[A2, Never, R], /, *, limit: int = ...
) -> Program[tuple[A1, A2], Never, R]: ...
@overload
def gather(
    p1: Program[A1, Never, R], p2: Program[A2, Never, R], p3: Program[A3, Never, R], /, *, limit: int = ...
) -> Program[tuple[A1, A2, A3], Never, R]: ...
@overload
def gather(p1: Program[A1, E1, R], /, *, limit: int = ...) -> Program[tuple[A1], E1, R]: ...
@overload
def gather(
    p1: Program[A1, E1, R], p2: Program[A2, E2, R], /, *, limit: int = ...
) -> Program[tuple[A1, A2], E1 | E2, R]: ...
@overload
def gather(
    p1: Program[A1, E1, R], p2: Program[A2, E2, R], p3: Program[A3, E3, R], /, *, limit: int = ...
) -> Program[tuple[A1, A2, A3], E1 | E2 | E3, R]: ...
@overload
def gather(
    p1: Program[A1, E1, R],
    p2: Program[A2, E2, R],
    p3: Program[A3, E3, R],
    p4: Program[A4, E4, R],
    /,
    *,
    limit: int = ...,
) -> Program[tuple[A1, A2, A3, A4], E1 | E2 | E3 | E4, R]: ...
@overload
def gather(
    p1: Program[A1, E1, R],
    p2: Program[A2, E2, R],
    p3: Program[A3, E3, R],
    p4: Program[A4, E4, R],
    p5: Program[A5, E5, R],
    /,
    *,
    limit: int = ...,
) -> Program[tuple[A1, A2, A3, A4, A5], E1 | E2 | E3 | E4 | E5, R]: ...
@overload
def gather(*programs: Program[A, E, R], limit: int = ...) -> Program[tuple[A, ...], E, R]: ...
def gather(*programs: Program[Any, Any, Any], limit: int = DEFAULT_LIMIT) -> Program[Any, Any, Any]:
    """Run programs concurrently and return all their values, in program order.

    The first program that fails, halts or raises decides the result: the others are cancelled and awaited, and those
    that did not start never do.

    Args:
        programs: the programs. Type checkers cannot combine different `services` types: annotate one program with the
            combined type.
        limit: how many run at once.

    Raises:
        DefinitionError: the limit is below 1.
        NotAProgram: an argument is not a program.
    """
    if limit < 1:
        raise DefinitionError(what="limit of gather", got=limit, expected="a whole number from 1 on")
    return node(PARALLEL, Gather(_checked("gather", programs), limit))


@overload
def race(p1: Program[A1, Never, R], p2: Program[A2, Never, R], /) -> Program[A1 | A2, Never, R]: ...
@overload
def race(p1: Program[A1, E1, R], p2: Program[A2, E2, R], /) -> Program[A1 | A2, E1 | E2, R]: ...
@overload
def race(
    p1: Program[A1, E1, R], p2: Program[A2, E2, R], p3: Program[A3, E3, R], /
) -> Program[A1 | A2 | A3, E1 | E2 | E3, R]: ...
@overload
def race(*programs: Program[A, E, R]) -> Program[A, E, R]: ...
def race(*programs: Program[Any, Any, Any]) -> Program[Any, Any, Any]:
    """Run programs concurrently and return the first exit, whichever it is. The others are cancelled and awaited.

    Raises:
        DefinitionError: there is no program.
        NotAProgram: an argument is not a program.
    """
    if not programs:
        raise DefinitionError(what="race", got=programs, expected="at least one program")
    return node(PARALLEL, Race(_checked("race", programs)))


@overload
def as_completed(
    *programs: Program[A, E, R], count: int | None = ..., limit: int = ...
) -> Program[tuple[A, ...], E, R]: ...
@overload
def as_completed(
    *programs: Program[A, E, R], then: Callable[[A], Program[B, E2, R]], count: int | None = ..., limit: int = ...
) -> Program[tuple[B, ...], E | E2, R]: ...
def as_completed(
    *programs: Program[Any, Any, Any],
    then: Callable[[Any], Program[Any, Any, Any]] | None = None,
    count: int | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Program[Any, Any, Any]:
    """Run programs concurrently and return their values in the order in which they come.

    In a workflow, the journal has this order: each replay repeats it. As with `gather`, the first program that fails,
    halts or raises decides the result.

    Args:
        programs: the programs.
        then: returns the program that handles a value when it comes, beside the programs that still run. Values are
            handled one at a time, and this program can change the state. Its values are returned instead.
        count: return after this many values. The other programs are cancelled and awaited. By default all are returned.
        limit: how many programs run at once.

    Raises:
        DefinitionError: the limit or the count is not valid, or ``then`` is not a function.
        NotAProgram: an argument is not a program.
    """
    if limit < 1:
        raise DefinitionError(what="limit of as_completed", got=limit, expected="a whole number from 1 on")
    most = len(_checked("as_completed", programs))
    if count is not None and not 1 <= count <= most:
        raise DefinitionError(
            what="count of as_completed", got=count, expected=f"1 to {most}, the number of its programs, or None"
        )
    if then is not None and not callable(then):
        raise DefinitionError(what="then of as_completed", got=then, expected="a function that returns a Program")
    given = (programs, then, most if count is None else count, limit)
    # In a program, because each run of it needs a supervisor of its own.
    return asks(lambda _: drivers.InArrivalOrder(*given)).bind(_arriving)


def _arriving(run: drivers.InArrivalOrder) -> Program[Any, Any, Any]:
    plan: Program[None] = node(PARALLEL, Supervision(run, in_order=True, name="as_completed"))
    return plan.bind(lambda _: run.result())


def supervised(supervisor: Supervisor) -> Program[None, Never, Any]:
    """Run the programs that a supervisor starts, until nothing runs.

    An exception that the supervisor raises cancels the programs and is raised by this one.
    """
    return node(PARALLEL, Supervision(supervisor))


def supervised_in_order(supervisor: OrderedSupervisor) -> Program[None, Never, Any]:
    """Run the programs that a supervisor starts in a workflow: they share the state of the program around them."""
    return node(PARALLEL, Supervision(supervisor, in_order=True))


def _checked(source: str, programs: tuple[Program[Any, Any, Any], ...]) -> tuple[Program[Any, Any, Any], ...]:
    for place, given in enumerate(programs):
        if not isinstance(given, Program):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            raise NotAProgram(given, f"argument {place + 1} of {source}")
    return programs


@attrs.frozen(eq=False)
class Uninterrupted(Generic[A, B]):
    """Maps a program's value if the program's outcome must be known: a workflow does not stop its steps half-way.

    Use it as ``done.map(Uninterrupted(...))``.

    Attributes:
        if_unknown: called when a step was stopped, or failed for good, after it had begun. With it the steps may be
            stopped.
    """

    use: Callable[[A], B]
    if_unknown: Callable[[], None] | None = None

    def __call__(self, value: A) -> B:
        """Apply the function to the program's value."""
        return self.use(value)


def _same(value: A) -> A:
    return value


@program
def bracket(
    acquire: Program[A, E1, R],
    use: Callable[[A], Program[B, E2, R]],
    release: Callable[[A], Program[object, E3, R]],
) -> Do[B, E1 | E2 | E3, R]:
    """Acquire a resource, use it, and release it exactly once however the use exits.

    This includes success, failure, halt, defect and cancellation. Nothing can interrupt after `acquire` ends and before
    `use` starts. When `acquire` does not succeed there is nothing to release. A release that does not succeed replaces
    the use's outcome.
    """
    # Marked, so that a workflow waits for the acquisition: stopped half-way, nothing could be released.
    held: Uninterrupted[Any, Any] = Uninterrupted(_same)
    resource = yield from acquire.map(held)
    try:
        return (yield from use(resource))
    finally:
        yield from release(resource)
