"""Coroutines as workflows: asyncio code whose named operations are steps.

`coroutine` makes the program of a workflow from an ``async def``. The coroutine runs in an event loop of its own, which
has no clock, no threads and no input or output: only operations leave it, each as a branch of the program. So it runs
the same way whenever its operations end in the same order, which is the order of the journal.
"""

from __future__ import annotations

import asyncio
import inspect
import typing
from asyncio import Future, Task
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from functools import cache, partial, wraps
from typing import Any, Final, Never, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload

import attrs
from returns.result import Failure, Result, Success

from perdure.codecs import Codec
from perdure.durable_loop import (
    CoroutineStuck,
    DurableLoop,
    NotInCoroutine,
    durable_loop,
    line_of_task,
    running_loop,
)
from perdure.kinds.workflow.context import WorkflowContext
from perdure.kinds.workflow.instructions import OneStep, Patched, StepWhenCancelled
from perdure.programs import Do, Program, ServiceCall, fail, lift, program
from perdure.programs import perform as instructed
from perdure.programs.constructors import supervised_in_order
from perdure.programs.instructions import PERFORM, Now, Orders, SleepUntil
from perdure.values.address import check_name
from perdure.values.errors import DefinitionError, PerdureError
from perdure.values.excerpt import excerpt, fields_in_line, one_line, shortened
from perdure.values.frozen import frozen
from perdure.values.retry import Retry

A = TypeVar("A")
E = TypeVar("E")
S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")


# ---------------------------------------------------------------- errors
@frozen
class CoroutineError:
    """The typed error of a workflow whose coroutine raised, and of a step whose function raised.

    Attributes:
        exception: the name of the exception's class.
        message: its message, shortened.
    """

    __repr__ = fields_in_line

    exception: str
    message: str


@attrs.frozen(repr=False)
class StepFailed(PerdureError):
    """An operation of a coroutine failed. Raised where the coroutine awaits it, at first and in each replay.

    Attributes:
        error: the typed error of the program, or the `CoroutineError` of a function that raised.
    """

    error: Any  # of the operation's own type

    def _text(self) -> str:
        if isinstance(self.error, CoroutineError):
            return f"{self.error.exception}: {self.error.message}"
        return excerpt(self.error)


# ---------------------------------------------------------------- a run of a coroutine
@attrs.define(eq=False)
class AwaitedOperation:
    """An operation that a coroutine awaits.

    Attributes:
        program: performs it.
    """

    program: Program[Any, Any, Any]
    future: Future[Any]
    task: Task[Any] | None


_TIMER: Final = "timer"


@attrs.define(eq=False)
class CoroutineRun:
    """Runs a coroutine as the supervisor of its operations.

    Attributes:
        main: its first task.
        open: the operations that have not ended, by number.
        fresh: the numbers of those that are not ordered yet.
        left: the numbers of ordered ones that no task awaits any more.
        timer_ms: when the timer that is ordered ends.
        stuck: why the coroutine cannot continue.
        closed: whether it is dropped, so that nothing may be performed.
        prefix: begins the ids that it makes.
        ids: how many it has made.
    """

    loop: DurableLoop
    main: Task[Any] | None = None
    open: dict[int, AwaitedOperation] = attrs.Factory(dict[int, AwaitedOperation])
    fresh: list[int] = attrs.Factory(list[int])
    left: list[int] = attrs.Factory(list[int])
    number: int = 0
    timer_ms: int | None = None
    stuck: Exception | None = None
    closed: bool = False
    prefix: str = ""
    ids: int = 0

    def start(self, coroutine_: Coroutine[Any, Any, Any]) -> None:
        """Make the coroutine's first task. It runs when the first operations are ordered."""
        # An empty context: the values of the engine's own variables belong to one run, and differ in a replay.
        self.main = self.loop.create_task(coroutine_, context=Context())

    @property
    def is_over(self) -> bool:
        """Whether the coroutine and all tasks that it has started have ended."""
        return self.main is not None and self.main.done() and not self.loop.tasks

    def new_id(self) -> str:
        """Return an id that no other call returns, and that is the same in each replay."""
        self.ids += 1
        return f"{self.prefix}-{self.ids}"

    def ask(self, asked: Program[Any, Any, Any]) -> Future[Any]:
        """Order an operation. Return the future of its value.

        Raises:
            CancelledError: the coroutine is dropped.
        """
        # Its cleanup runs then, and must perform nothing that no journal holds.
        if self.closed:
            raise asyncio.CancelledError
        number, self.number = self.number, self.number + 1
        future: Future[Any] = self.loop.create_future()
        self.open[number] = AwaitedOperation(asked, future, asyncio.current_task())
        self.fresh.append(number)
        future.add_done_callback(partial(self._awaited, number))
        return future

    def _awaited(self, number: int, future: Future[Any]) -> None:
        """Give an operation up whose future was cancelled by the code that awaits it."""
        if future.cancelled() and number in self.open:
            # Not ordered yet: it leaves no row, so it must not take part in the replay either.
            if number in self.fresh:
                self.fresh.remove(number)
                del self.open[number]
            else:
                self.left.append(number)

    # ------------------------------------------------------------ as a supervisor
    def begun(self) -> Orders:
        """Order the first operations. Again, those that were not performed before the workflow was cancelled."""
        self.fresh, self.timer_ms = list(self.open), None
        return self._advance()

    def ended(self, key: object, exit_: Any, now_ms: int) -> Orders:
        """Deliver an outcome, and order the operations that the coroutine asks for then."""
        if key == _TIMER:
            self.timer_ms = None
        if isinstance(exit_, Success | Failure):
            # The clock moves with the journal alone, and never back: a replay sees the same instants.
            self.loop.now_ms = max(self.loop.now_ms, now_ms)
            if key != _TIMER:
                self._deliver(self.open.pop(cast("int", key)), cast("Result[Any, Any]", exit_))
        elif exit_ is None:
            self.open.pop(cast("int", key), None)
        else:  # the workflow is halted: an operation that was not performed is asked again, if it is still awaited
            return Orders()
        return self._advance()

    @staticmethod
    def _deliver(operation: AwaitedOperation, outcome: Result[Any, Any]) -> None:
        # The coroutine has cancelled it meanwhile: the outcome has no receiver, and stays in the journal.
        if operation.future.done():
            return
        if isinstance(outcome, Success):
            operation.future.set_result(outcome.unwrap())
            return
        error = outcome.failure()
        operation.future.set_exception(error if isinstance(error, Exception) else StepFailed(error))

    def _advance(self) -> Orders:
        """Run the coroutine until all of its tasks wait."""
        try:
            self.loop.run_ready()
            if self.main is not None and self.main.done() and self.loop.tasks:
                # As `asyncio.run` does: the tasks that are left are cancelled, and may clean up.
                self.loop.cancel_all()
                self.loop.run_ready()
        except Exception as defect:  # noqa: BLE001 - of a callback; raised by the program, which parks
            self.stuck = defect
        # Nothing can wake it any more. Parked with the line, it is found. Waiting, it would look like work for ever.
        if not self.open and not self.is_over and self.loop.wake_ms() is None and self.stuck is None:
            self.stuck = CoroutineStuck("waits for something that no operation brings", line_of_task(self.main))
        if self.stuck is not None:
            return Orders(cancel=(*self.open, _TIMER))
        start = [(number, self.open[number].program) for number in self.fresh]
        cancel: list[object] = [number for number in self.left if number in self.open]
        self.fresh, self.left = [], []
        wake_ms = None if self.is_over else self.loop.wake_ms()
        # The same timer: a new order would be a new step in the journal.
        if wake_ms == self.timer_ms:
            return Orders(tuple(start), tuple(cancel))
        # The key of the earlier timer is free only when that has ended, which orders the new one.
        if self.timer_ms is not None or wake_ms is None:
            return Orders(tuple(start), (*cancel, _TIMER))
        self.timer_ms = wake_ms
        return Orders((*start, (_TIMER, instructed(SleepUntil(wake_ms)))), tuple(cancel))

    def cancel(self) -> None:
        """Cancel the coroutine, which may clean up with operations."""
        if self.main is not None and not self.main.done():
            self.main.cancel()

    def close(self) -> None:
        """Drop the coroutine: its cleanup runs, and performs nothing."""
        self.closed = True
        for _ in range(2):  # cleanup that asks for an operation is cancelled there
            self.loop.cancel_all()
            try:
                self.loop.run_ready()
            except Exception:  # noqa: BLE001 - as Python does with exceptions of a dropped generator
                return

    def line_of(self, key: object) -> str | None:
        """Return where an operation is awaited, or where the coroutine is."""
        operation = self.open.get(key) if isinstance(key, int) else None
        return line_of_task(self.main if operation is None else operation.task)


_NOW: Final = instructed(Now())


@program
def _running(
    function: Callable[[Any], Coroutine[Any, Any, Any]],
    errors: tuple[type, ...],
    fails: tuple[type[Exception], ...],
    ctx: WorkflowContext[Any],
) -> Generator[Program[Any, Any, Any], Any, Any]:
    now_ms = yield from _NOW
    run = CoroutineRun(durable_loop(now_ms), prefix=ctx.run_id)
    run.loop.owner = run
    run.start(function(ctx))
    try:
        # Again after its end: a cancellation of the workflow that arrived meanwhile is delivered here.
        while not run.is_over and run.stuck is None:
            yield from supervised_in_order(run)
    except GeneratorExit:
        run.close()
        raise
    finally:
        if not run.closed and not run.is_over and run.stuck is None:  # halted: the coroutine cleans up, durably
            run.cancel()
            while not run.is_over and run.stuck is None:
                yield from supervised_in_order(run)
    if run.stuck is not None:
        run.close()
        raise run.stuck
    return (yield from _ended(cast("Task[Any]", run.main), errors, fails))


def _ended(
    main: Task[Any], errors: tuple[type, ...], fails: tuple[type[Exception], ...]
) -> Generator[Program[Any, Any, Any], Any, Any]:
    """Return the coroutine's value, or fail with its error."""
    error = asyncio.CancelledError("the coroutine cancelled itself") if main.cancelled() else main.exception()
    if error is None:
        value = main.result()
        return (yield from lift(cast("Result[Any, Any]", value))) if isinstance(value, Success | Failure) else value
    # Typed errors first: they may be among the exceptions that `fails` names as well.
    if isinstance(error, errors):
        yield from fail(error)
    if isinstance(error, StepFailed) and isinstance(error.error, errors):
        yield from fail(error.error)
    if not isinstance(error, (*fails, asyncio.CancelledError)) or isinstance(error, NotInCoroutine):
        raise error
    yield from fail(failure_of(error))
    return None


def failure_of(error: BaseException) -> CoroutineError:
    """Return an exception as a typed error."""
    if isinstance(error, StepFailed) and isinstance(error.error, CoroutineError):
        return error.error
    return CoroutineError(type(error).__name__, shortened(one_line(str(error))))


def coroutine(
    function: Callable[[WorkflowContext[S]], Coroutine[Any, Any, A]],
    *,
    errors: type[E] | tuple[type[E], ...] = (),
    fails: tuple[type[Exception], ...] = (Exception,),
) -> Callable[[WorkflowContext[S]], Program[A, E | CoroutineError, Any]]:
    """Make the program of a workflow from an ``async def``. Its operations are steps: `perform` and `as_step`.

    Args:
        function: takes the workflow's context. Its annotation declares the value's type, or a `Result`.
        errors: the classes of typed errors, with which the workflow fails if they are raised, or are the error of a
            `StepFailed`.
        fails: exceptions that end the workflow as failed, with a `CoroutineError`. With others it is parked, and fixed
            code continues it.

    Raises:
        DefinitionError: it is not an ``async def``, or has no annotation.
    """
    if not inspect.iscoroutinefunction(function):
        raise DefinitionError("coroutine", function, "an async def of (ctx,)")
    classes = errors if isinstance(errors, tuple) else (errors,)
    value, declared = _declared(function)
    failing = (*classes, declared, *((CoroutineError,) if fails else ()))
    types: Any = tuple(each for each in failing if each is not Never) or (Never,)
    union: Any = typing.Union[types]  # noqa: UP007 - built at run time
    if union is not Never:  # a definition would silently keep such errors as text
        Codec.of(union, what=f"errors of the coroutine {function.__qualname__}", ignores_other_tags=True)

    @wraps(function)
    def run(ctx: WorkflowContext[S]) -> Any:
        return _running(function, classes, fails, ctx)

    del run.__wrapped__  # its annotation is not that of the program
    run.__annotations__ = {"return": Do[value, union, Any]}  # type: ignore[valid-type] # read by the definition
    return run


def _declared(function: Callable[..., Any]) -> tuple[Any, Any]:
    """Return the types of a function's value and of its errors."""
    try:
        answer = _annotated(function)
    except (NameError, TypeError, AttributeError) as wrong:
        raise DefinitionError("coroutine", function, f"an annotation of its value that can be read: {wrong}") from wrong
    if answer is Any:
        name = getattr(function, "__qualname__", repr(function))
        raise DefinitionError(f"coroutine {name}", function, "an annotation of its value, such as -> Report")
    if typing.get_origin(answer) is Result:
        value, error = typing.get_args(answer)
        return value, error
    return answer, Never


def _annotated(function: Callable[..., Any]) -> Any:
    """Return the type that a function declares for its value, whatever it declares for its parameters."""

    def only() -> None: ...

    only.__annotations__ = {"return": function.__annotations__.get("return", Any)}
    return typing.get_type_hints(only, globalns=getattr(function, "__globals__", {}), include_extras=True)["return"]


# ---------------------------------------------------------------- operations
def in_coroutine() -> bool:
    """Return whether the code belongs to a durable coroutine, so that its operations are steps."""
    return current_coroutine() is not None


def current_coroutine() -> CoroutineRun | None:
    """Return the run of the durable coroutine to which the code belongs. None outside. For adapters of frameworks."""
    loop = running_loop()
    return cast("CoroutineRun | None", loop.owner) if isinstance(loop, DurableLoop) else None


async def perform(asked: Program[A, Any, Any]) -> A:
    """Perform a program inside a durable coroutine, and return its value. Its effects and waits are steps.

    Args:
        asked: the program.

    Raises:
        StepFailed: it failed. An error that is an exception is raised itself.
        NotInCoroutine: no durable coroutine runs here, or the program is `patched`.
    """
    owner = current_coroutine()
    if owner is None:
        raise NotInCoroutine(
            "perform", "expected to be awaited in the async def of a `coroutine`, outside of its steps"
        )
    tag, instruction, _ = asked._inner_value  # noqa: SLF001 - to refuse it  # pyright: ignore[reportPrivateUsage]
    if tag == PERFORM and isinstance(instruction, Patched):
        reason = "operations have numbers, which a patch would change; expected another job, or a choice by ctx.state"
        raise NotInCoroutine("patched", reason)
    return cast("A", await owner.ask(asked))


_KEY: Final[ContextVar[str | None]] = ContextVar("perdure.step_key", default=None)


def current_step_key() -> str | None:
    """Return the key of the step that runs here, as an idempotency key. None outside of functions of `as_step`.

    A repeat after a crash has the same key, and no other step has it.
    """
    return _KEY.get()


class AsStep(Protocol):
    """`as_step` with options, as a decorator."""

    @overload
    def __call__(self, function: Callable[P, Awaitable[T]], /) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Callable[P, Coroutine[Any, Any, T]]: ...


class StepOptions(TypedDict, total=False):
    """The options of `as_step`."""

    name: str | None
    returns: Any
    retry: Retry[Any] | None
    when_cancelled: StepWhenCancelled


@overload
def as_step(
    function: Callable[P, Awaitable[T]], /, **options: Unpack[StepOptions]
) -> Callable[P, Coroutine[Any, Any, T]]: ...
@overload
def as_step(function: Callable[P, T], /, **options: Unpack[StepOptions]) -> Callable[P, Coroutine[Any, Any, T]]: ...
@overload
def as_step(**options: Unpack[StepOptions]) -> AsStep: ...
def as_step(function: Callable[..., Any] | None = None, /, **options: Unpack[StepOptions]) -> Any:
    """Make each call of a function a step, where a durable coroutine calls it. Elsewhere it is called as it is.

    Args:
        function: an ``async def``. Or a plain function, which a thread performs.
        **options: as follows.
        name: the step's name. By default the function's.
        returns: the type of the value, which is stored as JSON. By default that of its annotation, or plain JSON.
        retry: repeats it, durably, after an exception. By default the first one is raised as `StepFailed`.
        when_cancelled: ``end``: a cancellation of the workflow waits for the step. ``interrupt``: it stops the step.

    Raises:
        DefinitionError: the name or the type is not valid.
    """
    if function is None:
        return partial(as_step, **options)
    named = check_name(options.get("name") or getattr(function, "__name__", ""), what="name of a step")
    codec = _codec_of(options.get("returns") or _value_of(function))
    retry, when_cancelled = options.get("retry"), options.get("when_cancelled", "end")

    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        if in_coroutine():
            body = partial(function, *args, **kwargs)
            return await run_step(named, body, codec, retry=retry, when_cancelled=when_cancelled)
        answer = function(*args, **kwargs)
        return await answer if inspect.isawaitable(answer) else answer

    return call


def _value_of(function: Callable[..., Any]) -> object:
    try:
        return _annotated(function)
    except (NameError, TypeError, AttributeError):
        return object


@cache
def _codec_of(returns: Any) -> Codec[Any]:
    return Codec.of(object if returns is Any else returns, what="value of a step")


_ERRORS: Final[Codec[Any]] = Codec.of(CoroutineError, what="error of a step")
_JSON: Final[Codec[Any]] = Codec.of(object, what="value of a step")


async def run_step(
    name: str,
    body: Callable[[], Any],
    values: Codec[Any] | None = None,
    *,
    retry: Retry[Any] | None = None,
    when_cancelled: StepWhenCancelled = "end",
) -> Any:
    """Perform a function as a step of the durable coroutine that calls this. For adapters of frameworks.

    Args:
        name: the step's name.
        body: returns the value, or an awaitable of it. A function that is no ``async def`` is called in a thread.
        values: encodes the value. By default plain JSON.
        retry: repeats it, durably, after an exception.
        when_cancelled: as for `as_step`.

    Raises:
        StepFailed: it raised an exception.
    """
    # Copied where the step is asked for: it is performed in another task, perhaps in a later run.
    context, asks = copy_context(), inspect.iscoroutinefunction(body.func if isinstance(body, partial) else body)
    made = partial(_body, name, body, context, asks)
    one: Program[Any, CoroutineError, Any] = instructed(
        OneStep(name, made, (), values or _JSON, _ERRORS, None, when_cancelled, is_keyed=True)
    )
    return await perform(one if retry is None else one.retry(retry))


def _body(
    name: str,
    body: Callable[[], Any],
    context: Context,
    asks: bool,  # noqa: FBT001 - of a partial
    key: str,
) -> Program[Any, Any, Any]:
    if asks:

        async def performed(_: object) -> Result[Any, CoroutineError]:
            return await _InContext(context, key, body)

        return instructed(ServiceCall(name, (), {}, performed))

    def called(_: object) -> Result[Any, CoroutineError]:
        inside = _with_values(context, key)
        try:
            return Success(inside.run(body))
        except Exception as error:  # noqa: BLE001 - recorded
            return Failure(failure_of(error))

    return instructed(ServiceCall(name, (), {}, called, "thread"))


def _with_values(asked: Context, key: str) -> Context:
    """Return the present context with the variables of the code that asked."""
    # Beside those of the run that performs the step now: the code that asked has none of them.
    inside = copy_context()
    inside.run(_set_all, asked, key)
    return inside


def _set_all(asked: Context, key: str) -> None:
    for variable, value in asked.items():
        variable.set(value)
    _KEY.set(key)


class _InContext:
    """Awaits a function in the context of the code that asked for it, whichever task takes its steps."""

    def __init__(self, asked: Context, key: str, body: Callable[[], Any]) -> None:
        self._asked, self._key, self._body = asked, key, body

    def __await__(self) -> Generator[Any, Any, Result[Any, CoroutineError]]:
        inside = _with_values(self._asked, self._key)
        try:
            # A simulation has no event loop of asyncio, which the code of a third party may need.
            if running_loop() is None:
                return Success(_simulated(self._body, inside))
            inner: Coroutine[Any, Any, Any] = inside.run(self._body)
            send: Callable[[], Any] = partial(inner.send, None)
            while True:
                try:
                    waits = inside.run(send)
                except StopIteration as stop:
                    return Success(stop.value)
                try:
                    send = partial(inner.send, (yield waits))
                # A cancellation as well: the function must see it, to clean up.
                except BaseException as thrown:  # noqa: BLE001 - raised inside
                    send = partial(inner.throw, thrown)
        except Exception as error:  # noqa: BLE001 - recorded
            return Failure(failure_of(error))


def _simulated(body: Callable[[], Any], context: Context) -> Any:
    """Await a function without waiting: its timers pass at once."""
    loop = durable_loop(0)

    async def awaited() -> Any:
        return await body()

    task = loop.create_task(awaited(), context=context)
    while True:
        loop.run_ready()
        if task.done():
            return task.result()
        wake_ms = loop.wake_ms()
        if wake_ms is None:
            line = line_of_task(task)
            loop.cancel_all()
            loop.run_ready()
            raise CoroutineStuck("of a step waits for something outside, which a simulation does not have", line)
        loop.now_ms = wake_ms
