"""`Program`: a description of work, as a `returns` container.

The file is left out of pyright and carries the `Any` that the interfaces of `returns` impose: a container of three type
arguments cannot be declared over ``SupportsKind3`` without the mypy plugin of `returns`. Its clients are not affected.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from datetime import timedelta
from typing import Any, ClassVar, Never, Protocol, TypeVar, final, overload

from returns.context import (
    NoDeps,
    RequiresContext,
    RequiresContextFutureResult,
    RequiresContextIOResult,
    RequiresContextResult,
)
from returns.future import Future, FutureResult
from returns.interfaces.specific.reader_future_result import ReaderFutureResultBasedN
from returns.io import IO, IOResult
from returns.primitives.container import BaseContainer
from returns.primitives.hkt import SupportsKind3
from returns.result import Failure, Result, Success
from returns.unsafe import unsafe_perform_io
from typing_extensions import TypeVar as DefaultTypeVar

from perdure.programs.errors import EffectTimeout, FailureEscalated
from perdure.programs.instructions import (
    ALT,
    ASK,
    ATTEMPT,
    BIND,
    COMPOSE,
    DO,
    ENSURE,
    FAIL,
    HALT,
    LASH,
    MAP,
    PARALLEL,
    PERFORM,
    PURE,
    RESULT,
    SCOPE,
    TAG_NAMES,
    Call,
    Deadline,
    Jitter,
    Now,
    Sleep,
)
from perdure.values.duration import duration_ms

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")
E2 = TypeVar("E2")
R = TypeVar("R")
R2 = TypeVar("R2")
A_co = TypeVar("A_co", covariant=True)
E_co = DefaultTypeVar("E_co", covariant=True, default=Never)
E_contra = TypeVar("E_contra", contravariant=True)
R_contra = DefaultTypeVar("R_contra", contravariant=True, default=object)

_new_object = object.__new__
_really_set_node: Callable[[Any, Any], None] = BaseContainer.__dict__["_inner_value"].__set__  # they refuse setattr
_set_node = _really_set_node


class Schedule(Protocol[E_contra]):
    """When to try again: what `Program.retry` asks after each failure."""

    def next_delay_ms(
        self, *, error: E_contra, attempt: int, first_failed_ms: int, now_ms: int, jitter: float
    ) -> int | None:
        """Decide what follows a failure.

        Args:
            error: what the last execution failed with.
            attempt: how many executions there were, the failed one included: 1 after the first.
            first_failed_ms: when the first one failed, milliseconds since 1970 UTC.
            now_ms: the same of the last one.
            jitter: a number in [0, 1), drawn for this decision.

        Returns:
            Milliseconds to wait before the next execution; None to give up.
        """
        ...


@final
class Program(  # type: ignore[type-var]  # mypy cannot see that Program is a Kind3 without the plugin of returns
    BaseContainer,
    SupportsKind3["Program[Any, Any, Any]", A_co, E_co, R_contra],
    ReaderFutureResultBasedN[A_co, E_co, R_contra],
):
    """A lazy program that needs services `R`, and gives `A` or fails with `E`.

    Nothing happens when it is built; it can be run any number of times. Compose it with methods where the needs agree,
    with do-notation (`perdure.programs.program`) where they differ.
    """

    __slots__ = ()
    no_args: ClassVar[NoDeps] = object()

    # The inherited ones walk the whole description, which may be a million programs deep.
    def __repr__(self) -> str:
        tag, first, _ = self._inner_value
        if tag == DO:
            return f"<Program {_name_of(first)}>"
        if tag in {PURE, FAIL, PERFORM, HALT, RESULT}:
            return f"<Program {TAG_NAMES[tag]} {first!r}>"
        return f"<Program {TAG_NAMES[tag]}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __iter__(self) -> Generator[Program[Any, E_co, R_contra], Any, A_co]:
        """Make ``value = yield from program`` work, with the type of the value."""
        value: A_co = yield self
        return value

    def __call__(self, deps: R_contra) -> FutureResult[A_co, E_co]:
        """Run it, as a reader: give the services, get a `FutureResult`.

        A defect is raised out of the `await`, and so is a halt, as `HaltedOutside`.
        """
        from perdure.programs.drivers import run_as_result  # noqa: PLC0415 - the drivers interpret programs

        return FutureResult(run_as_result(self, deps))

    # ------------------------------------------------------------------ composing

    def map(self, function: Callable[[A_co], B]) -> Program[B, E_co, R_contra]:
        """Change the value."""
        return node(MAP, self, function)

    # Python has no intersection of types. So a program without needs takes over those of what follows it; otherwise
    # both must need the same. Where they differ, use do-notation.
    @overload  # type: ignore[override]  # returns knows no union of errors
    def bind(self: Program[A, E, object], function: Callable[[A], Program[B, E2, R2]]) -> Program[B, E | E2, R2]: ...
    @overload
    def bind(self: Program[A, E, R], function: Callable[[A], Program[B, E2, R]]) -> Program[B, E | E2, R]: ...
    def bind(self, function: Callable[[Any], Any]) -> Any:
        """Go on with the program that `function` makes of the value."""
        return node(BIND, self, function)

    @overload
    def or_else(self: Program[A, E, object], function: Callable[[E], Program[B, E2, R2]]) -> Program[A | B, E2, R2]: ...
    @overload
    def or_else(self: Program[A, E, R], function: Callable[[E], Program[B, E2, R]]) -> Program[A | B, E2, R]: ...
    def or_else(self, function: Callable[[Any], Any]) -> Any:
        """Continue with the program that `function` returns for the error. Defects and halts pass through."""
        return node(LASH, self, function)

    def map_error(self, function: Callable[[E_co], E2]) -> Program[A_co, E2, R_contra]:
        """Replace the error by the value that `function` returns for it."""
        return node(ALT, self, function)

    @overload  # type: ignore[override]  # as above
    def lash(self: Program[A, E, object], function: Callable[[E], Program[B, E2, R2]]) -> Program[A | B, E2, R2]: ...
    @overload
    def lash(self: Program[A, E, R], function: Callable[[E], Program[B, E2, R]]) -> Program[A | B, E2, R]: ...
    def lash(self, function: Callable[[Any], Any]) -> Any:
        """Do the same as `or_else`, under the name that the interfaces of `returns` require."""
        return node(LASH, self, function)

    def alt(self, function: Callable[[E_co], E2]) -> Program[A_co, E2, R_contra]:
        """Do the same as `map_error`, under the name that the interfaces of `returns` require."""
        return node(ALT, self, function)

    def swap(self) -> Program[E_co, A_co, R_contra]:
        """Exchange value and error."""
        return node(COMPOSE, self, lambda result: node(RESULT, result.swap()))

    def apply(  # type: ignore[override]  # as above
        self, container: Program[Callable[[A_co], B], E_co, R_contra]
    ) -> Program[B, E_co, R_contra]:
        """Call the function that `container` gives with the value. This program runs first."""
        return node(BIND, self, lambda value: node(MAP, container, lambda function: function(value)))

    def attempt(self) -> Program[Success[A_co] | Failure[E_co], Never, R_contra]:
        """Make the typed error a value to `match` on: the program can fail no more. Defects and halts pass by."""
        return node(ATTEMPT, self)

    def compose_result(  # type: ignore[override]  # as above
        self: Program[A, E, R], function: Callable[[Result[A, E]], Program[B, E2, R]]
    ) -> Program[B, E2, R]:
        """Go on with the program that `function` makes of the result, whichever it is."""
        return node(COMPOSE, self, function)

    @overload
    def tap(
        self: Program[A, E, object], function: Callable[[A], Program[object, E2, R2]]
    ) -> Program[A, E | E2, R2]: ...
    @overload
    def tap(self: Program[A, E, R], function: Callable[[A], Program[object, E2, R]]) -> Program[A, E | E2, R]: ...
    def tap(self, function: Callable[[Any], Any]) -> Any:
        """Run the program that `function` makes of the value, and keep the value."""
        return node(BIND, self, lambda value: node(MAP, function(value), lambda _: value))

    @overload
    def on_exit(self: Program[A, E, object], finalizer: Program[object, E2, R2]) -> Program[A, E | E2, R2]: ...
    @overload
    def on_exit(self: Program[A, E, R], finalizer: Program[object, E2, R]) -> Program[A, E | E2, R]: ...
    def on_exit(self, finalizer: Any) -> Any:
        """Run `finalizer` once, after any exit: success, failure, halt, defect, cancellation.

        The exit stands, unless the finalizer does not succeed: then its own exit replaces it.
        """
        return node(ENSURE, self, finalizer)

    def or_raise(self) -> Program[A_co, Never, R_contra]:
        """Declare the typed error a bug: a failure becomes a defect.

        The defect is the error itself when it is an exception, else a `FailureEscalated` around it.
        """
        return node(LASH, self, _die)

    def timeout(self, duration: timedelta | str) -> Program[A_co, E_co | EffectTimeout, R_contra]:
        """Fail with `EffectTimeout` unless it is done in time. What runs then is cancelled, its finalizers are awaited.

        When it ends by itself, or a finalizer fails, while it is being cancelled, that is the outcome.

        Args:
            duration: a `timedelta`, or text such as ``"30 seconds"``.

        Raises:
            DefinitionError: the duration is not one.
        """
        return node(PARALLEL, Deadline(self, duration_ms(duration, what="timeout")))

    def retry(self: Program[A, E, R], schedule: Schedule[E]) -> Program[A, E, R]:
        """Run it again after a typed failure, in memory, as `schedule` says; defects and halts are not retried.

        It does not survive a crash: the durable retry is the one of a job's definition. When the schedule gives up, the
        last error stands.
        """
        return node(DO, _retrying, (self, schedule))

    # ------------------------------------------------------------------ the services

    def modify_env(self, function: Callable[[R2], R_contra]) -> Program[A_co, E_co, R2]:
        """Run it with the services that `function` makes of those that come."""
        return node(SCOPE, self, function)

    def provide(self, services: R_contra) -> Program[A_co, E_co, object]:
        """Run it with these services: it needs nothing any more."""
        return node(SCOPE, self, lambda _: services)

    @classmethod
    def ask(cls) -> Program[R, Any, R]:
        """Give the services."""
        return node(ASK, _identity)

    # ------------------------------------------------------------------ from values and other containers

    @classmethod
    def from_value(cls, inner_value: A) -> Program[A, Any, Any]:
        """Succeed with a value (`perdure.programs.succeed` has the exact type)."""
        return node(PURE, inner_value)

    @classmethod
    def from_failure(cls, inner_value: E) -> Program[Any, E, Any]:
        """Fail with an error (`perdure.programs.fail` has the exact type)."""
        return node(FAIL, inner_value)

    @classmethod
    def from_result(cls, inner_value: Result[A, E]) -> Program[A, E, Any]:
        """Succeed or fail (`perdure.programs.lift` has the exact type)."""
        return node(RESULT, inner_value)

    @classmethod
    def from_io(cls, inner_value: IO[A]) -> Program[A, Any, Any]:
        """Succeed with what was read."""
        return node(PURE, unsafe_perform_io(inner_value))

    @classmethod
    def from_failed_io(cls, inner_value: IO[E]) -> Program[Any, E, Any]:
        """Fail with what was read."""
        return node(FAIL, unsafe_perform_io(inner_value))

    @classmethod
    def from_ioresult(cls, inner_value: IOResult[A, E]) -> Program[A, E, Any]:
        """Succeed or fail with what was read."""
        return node(RESULT, result_inside(inner_value))

    @classmethod
    def from_future(cls, inner_value: Future[A]) -> Program[A, Any, Any]:
        """Succeed with what it will be. A `Future` is memoised: running the program again does nothing again."""
        return _call("from_future", lambda _: inner_value)

    @classmethod
    def from_failed_future(cls, inner_value: Future[E]) -> Program[Any, E, Any]:
        """Fail with what it will be. A `Future` is memoised: running the program again does nothing again."""
        return _call("from_failed_future", lambda _: FutureResult.from_failed_future(inner_value))

    @classmethod
    def from_future_result(cls, inner_value: FutureResult[A, E]) -> Program[A, E, Any]:
        """Succeed or fail as it will. It is memoised: running the program again does nothing again."""
        return _call("from_future_result", lambda _: inner_value)

    @classmethod
    def from_context(cls, inner_value: RequiresContext[A, R]) -> Program[A, Any, R]:
        """Succeed with what it makes of the services."""
        return node(ASK, inner_value)

    @classmethod
    def from_failed_context(cls, inner_value: RequiresContext[E, R]) -> Program[Any, E, R]:
        """Fail with what it makes of the services."""
        return node(BIND, node(ASK, inner_value), Program.from_failure)

    @classmethod
    def from_result_context(cls, inner_value: RequiresContextResult[A, E, R]) -> Program[A, E, R]:
        """Ask it with the services."""
        return _call("from_result_context", inner_value)

    @classmethod
    def from_ioresult_context(cls, inner_value: RequiresContextIOResult[A, E, R]) -> Program[A, E, R]:
        """Ask it with the services."""
        return _call("from_ioresult_context", inner_value)

    @classmethod
    def from_future_result_context(cls, inner_value: RequiresContextFutureResult[A, E, R]) -> Program[A, E, R]:
        """Ask it with the services."""
        return _call("from_future_result_context", inner_value)

    # ------------------------------------------------------------------ going on with other containers

    def bind_result(self, function: Callable[[A_co], Result[B, E_co]]) -> Program[B, E_co, R_contra]:
        """Go on with a `Result`."""
        return node(BIND, self, lambda value: node(RESULT, function(value)))

    def bind_io(self, function: Callable[[A_co], IO[B]]) -> Program[B, E_co, R_contra]:
        """Go on with an `IO`."""
        return node(MAP, self, lambda value: unsafe_perform_io(function(value)))

    def bind_ioresult(self, function: Callable[[A_co], IOResult[B, E_co]]) -> Program[B, E_co, R_contra]:
        """Go on with an `IOResult`."""
        return node(BIND, self, lambda value: Program.from_ioresult(function(value)))

    def bind_future(self, function: Callable[[A_co], Future[B]]) -> Program[B, E_co, R_contra]:
        """Go on with a `Future`."""
        return node(BIND, self, lambda value: Program.from_future(function(value)))

    def bind_future_result(self, function: Callable[[A_co], FutureResult[B, E_co]]) -> Program[B, E_co, R_contra]:
        """Go on with a `FutureResult`."""
        return node(BIND, self, lambda value: Program.from_future_result(function(value)))

    def bind_async_future(self, function: Callable[[A_co], Awaitable[Future[B]]]) -> Program[B, E_co, R_contra]:
        """Go on with the `Future` of a coroutine."""
        return node(BIND, node(BIND, self, _awaiting(function)), Program.from_future)

    def bind_async_future_result(
        self, function: Callable[[A_co], Awaitable[FutureResult[B, E_co]]]
    ) -> Program[B, E_co, R_contra]:
        """Go on with the `FutureResult` of a coroutine."""
        return node(BIND, node(BIND, self, _awaiting(function)), Program.from_future_result)

    def bind_awaitable(self, function: Callable[[A_co], Awaitable[B]]) -> Program[B, E_co, R_contra]:
        """Go on with what a coroutine gives."""
        return node(BIND, self, _awaiting(function))

    def bind_async(  # type: ignore[override]  # as above
        self, function: Callable[[A_co], Awaitable[Program[B, E_co, R_contra]]]
    ) -> Program[B, E_co, R_contra]:
        """Go on with the program of a coroutine."""
        return node(BIND, node(BIND, self, _awaiting(function)), _identity)

    def bind_context(self, function: Callable[[A_co], RequiresContext[B, R_contra]]) -> Program[B, E_co, R_contra]:
        """Go on with a reader."""
        return node(BIND, self, lambda value: Program.from_context(function(value)))

    def bind_context_result(
        self, function: Callable[[A_co], RequiresContextResult[B, E_co, R_contra]]
    ) -> Program[B, E_co, R_contra]:
        """Go on with a reader of a `Result`."""
        return node(BIND, self, lambda value: Program.from_result_context(function(value)))

    def bind_context_ioresult(
        self, function: Callable[[A_co], RequiresContextIOResult[B, E_co, R_contra]]
    ) -> Program[B, E_co, R_contra]:
        """Go on with a reader of an `IOResult`."""
        return node(BIND, self, lambda value: Program.from_ioresult_context(function(value)))

    def bind_context_future_result(
        self, function: Callable[[A_co], RequiresContextFutureResult[B, E_co, R_contra]]
    ) -> Program[B, E_co, R_contra]:
        """Go on with a reader of a `FutureResult`."""
        return node(BIND, self, lambda value: Program.from_future_result_context(function(value)))

    def bind_async_context_future_result(
        self, function: Callable[[A_co], Awaitable[RequiresContextFutureResult[B, E_co, R_contra]]]
    ) -> Program[B, E_co, R_contra]:
        """Go on with the reader of a `FutureResult` of a coroutine."""
        return node(BIND, node(BIND, self, _awaiting(function)), Program.from_future_result_context)


def node(tag: int, first: object, second: object = None) -> Program[Any, Any, Any]:
    """Make a program of a node (see `perdure.programs.instructions`). For this package alone."""
    made: Program[Any, Any, Any] = _new_object(_class)
    _set_node(made, (tag, first, second))
    return made


class Watched(Program[Any, Any, Any]):  # type: ignore[misc]  # Program is sealed for everybody else
    """A program that was built while somebody watched: the interpreter tells when it is run."""

    __slots__ = ()


_class: type[Program[Any, Any, Any]] = Program
_watchers = 0


def begin_watching(tell: Callable[[Program[Any, Any, Any]], None]) -> None:
    """Make `node` tell of each program it makes, until `end_watching` was called as often. For `watch` alone."""
    global _class, _set_node, _watchers  # noqa: PLW0603 - what `node` uses is replaced so that it need not ask

    def set_and_tell(made: Program[Any, Any, Any], content: object) -> None:
        _really_set_node(made, content)
        tell(made)

    _watchers += 1
    _class, _set_node = Watched, set_and_tell


def end_watching() -> None:
    """Let `node` make programs as it always does, once nobody watches any more."""
    global _class, _set_node, _watchers  # noqa: PLW0603 - as above
    _watchers -= 1
    if _watchers == 0:
        _class, _set_node = Program, _really_set_node


def node_of(program: Program[Any, Any, Any]) -> tuple[int, Any, Any]:
    """Give what `node` made a program of."""
    content: tuple[int, Any, Any] = program._inner_value  # noqa: SLF001 - as said there
    return content


def result_inside(outcome: IOResult[A, E]) -> Result[A, E]:
    """Take the `Result` out of an `IOResult`, which holds it as an `IO` its value."""
    return unsafe_perform_io(outcome)  # type: ignore[arg-type]  # the stub says IO only


def _call(name: str, function: Callable[[Any], Any]) -> Program[Any, Any, Any]:
    return node(PERFORM, Call(name, (), {}, function))


def _awaiting(function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Program[Any, Any, Any]]:
    """Make programs that await what `function` gives and succeed with it, a `Result` too."""

    async def awaited(value: Any) -> Success[Any]:
        return Success(await function(value))

    return lambda value: _call(_name_of(function), lambda _: awaited(value))


def _identity(value: A) -> A:
    return value


def _die(error: object) -> Program[Never, Never, object]:
    raise error if isinstance(error, Exception) else FailureEscalated(error)


def _retrying(program: Program[A, E, R], schedule: Schedule[E]) -> Generator[Program[Any, E, R], None, A]:
    attempt, first_failed_ms = 0, None
    while True:
        attempt += 1
        match (yield from program.attempt()):
            case Success(value):
                return value
            case Failure(error):
                now_ms = yield from _now
                first_failed_ms = now_ms if first_failed_ms is None else first_failed_ms
                jitter = yield from _jitter
                delay_ms = schedule.next_delay_ms(
                    error=error, attempt=attempt, first_failed_ms=first_failed_ms, now_ms=now_ms, jitter=jitter
                )
                if delay_ms is None:
                    yield from node(FAIL, error)
                else:
                    yield from node(PERFORM, Sleep(delay_ms))


def _name_of(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


_now: Program[int, Never, object] = node(PERFORM, Now())
_jitter: Program[float, Never, object] = node(PERFORM, Jitter())
