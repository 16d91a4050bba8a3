"""`Program`: describes work, as a `returns` container. Do-notation makes one from a generator."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from datetime import timedelta
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ClassVar, Final, Never, ParamSpec, Protocol, TypeVar, cast, final, overload

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
from typing_extensions import TypeAliasType
from typing_extensions import TypeVar as DefaultTypeVar

from perdure._lazy import lazy_module
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
    Deadline,
    EffectTimeout,
    FailureEscalated,
    Jitter,
    Now,
    ServiceCall,
    Sleep,
)
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import excerpt
from perdure.values.times import duration_ms

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

_NOT_ITS_VALUE = "it is a description of work, not its value; did you forget `yield from`?"

_new_object = object.__new__
_really_set_node: Callable[[Any, Any], None] = BaseContainer.__dict__["_inner_value"].__set__  # they refuse setattr
_set_node = _really_set_node


class Schedule(Protocol[E_contra]):
    """Delays for `Program.retry`, which calls it after each failure."""

    def next_delay_ms(
        self, *, error: E_contra, attempt: int, first_failed_ms: int, now_ms: int, jitter: float
    ) -> int | None:
        """Decide whether and when to retry after a failure.

        Args:
            error: the last execution's error.
            attempt: executions so far, the failed one included: 1 after the first.
            first_failed_ms: when the first execution failed, milliseconds since 1970 UTC.
            now_ms: when the last execution failed.
            jitter: a random number in [0, 1).

        Returns:
            Milliseconds to wait before the next execution. None to stop.
        """
        ...


@final
class Program(  # type: ignore[type-var]  # mypy cannot see that Program is a Kind3 without the plugin of returns
    BaseContainer,
    SupportsKind3["Program[Any, Any, Any]", A_co, E_co, R_contra],
    ReaderFutureResultBasedN[A_co, E_co, R_contra],
):
    """A lazy program that needs services `R`, and succeeds with `A` or fails with `E`.

    Building it has no effect. You can run it any number of times. Compose programs with the same services with methods,
    and programs with different services with do-notation (`perdure.programs.program`).
    """

    __slots__ = ()
    no_args: ClassVar[NoDeps] = object()

    # The inherited ones traverse the full description, which may be a million programs deep.
    def __repr__(self) -> str:
        tag, first, _ = self._inner_value
        if tag == DO:
            return f"<Program {_name_of(first)}>"
        if tag in {PURE, FAIL, PERFORM, HALT, RESULT}:
            return f"<Program {TAG_NAMES[tag]} {excerpt(first)}>"
        return f"<Program {TAG_NAMES[tag]}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    if not TYPE_CHECKING:  # the checkers report these uses themselves, and would accept any attribute

        def __getattr__(self, name: str) -> Never:
            if name.startswith("_"):  # a protocol of Python or of another library looks for it
                raise AttributeError(f"'Program' object has no attribute {name!r}")
            raise AttributeError(f"a Program has no attribute {name!r}: {_NOT_ITS_VALUE}")

        def __bool__(self) -> Never:
            raise TypeError(f"a Program is neither true nor false: {_NOT_ITS_VALUE}")

        def __contains__(self, item: object) -> Never:  # Python would iterate otherwise, and answer False
            raise TypeError(f"a Program contains no values: {_NOT_ITS_VALUE}")

        def __getitem__(self, key: object) -> Never:
            raise TypeError(f"a Program has no items: {_NOT_ITS_VALUE}")

        def __lt__(self, other: object) -> Never:
            raise TypeError(f"a Program has no order: {_NOT_ITS_VALUE}")

        __le__ = __gt__ = __ge__ = __lt__

    def __iter__(self) -> Generator[Program[Any, E_co, R_contra], Any, A_co]:
        """Support ``value = yield from program``, with the value's type."""
        value: A_co = yield self
        return value

    def __call__(self, deps: R_contra) -> FutureResult[A_co, E_co]:
        """Run the program as a reader: return a `FutureResult` for these services.

        Awaiting it raises a defect, and `HaltedOutside` for a halt.
        """
        return FutureResult(_drivers.run_as_result(self, deps))

    # ------------------------------------------------------------------ composition

    def map(self, function: Callable[[A_co], B]) -> Program[B, E_co, R_contra]:
        """Apply a function to the value."""
        return node(MAP, self, function)

    # Python has no intersection types. So a program without needs takes over the services of the next one; otherwise
    # both must need the same. Where they differ, use do-notation.
    @overload  # type: ignore[override]  # returns has no union of errors
    def bind(self: Program[A, E, object], function: Callable[[A], Program[B, E2, R2]]) -> Program[B, E | E2, R2]: ...
    @overload
    def bind(self: Program[A, E, R], function: Callable[[A], Program[B, E2, R]]) -> Program[B, E | E2, R]: ...
    def bind(self, function: Callable[[Any], Any]) -> Any:
        """Continue with the program that `function` returns for the value."""
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
        """Do the same as `or_else`, under the name that the `returns` interfaces require."""
        return node(LASH, self, function)

    def alt(self, function: Callable[[E_co], E2]) -> Program[A_co, E2, R_contra]:
        """Do the same as `map_error`, under the name that the `returns` interfaces require."""
        return node(ALT, self, function)

    def swap(self) -> Program[E_co, A_co, R_contra]:
        """Exchange value and error."""
        return node(COMPOSE, self, lambda result: node(RESULT, result.swap()))

    def apply(  # type: ignore[override]  # as above
        self, container: Program[Callable[[A_co], B], E_co, R_contra]
    ) -> Program[B, E_co, R_contra]:
        """Apply the function that `container` succeeds with to the value. This program runs first."""
        return node(BIND, self, lambda value: node(MAP, container, lambda function: function(value)))

    def attempt(self) -> Program[Success[A_co] | Failure[E_co], Never, R_contra]:
        """Return the outcome as a `Success` or `Failure` to `match` on. Defects and halts pass through."""
        return node(ATTEMPT, self)

    def compose_result(  # type: ignore[override]  # as above
        self: Program[A, E, R], function: Callable[[Result[A, E]], Program[B, E2, R]]
    ) -> Program[B, E2, R]:
        """Continue with the program that `function` returns for the result, a success or a failure."""
        return node(COMPOSE, self, function)

    @overload
    def tap(
        self: Program[A, E, object], function: Callable[[A], Program[object, E2, R2]]
    ) -> Program[A, E | E2, R2]: ...
    @overload
    def tap(self: Program[A, E, R], function: Callable[[A], Program[object, E2, R]]) -> Program[A, E | E2, R]: ...
    def tap(self, function: Callable[[Any], Any]) -> Any:
        """Run the program that `function` returns for the value, and keep the value."""
        return node(BIND, self, lambda value: node(MAP, function(value), lambda _: value))

    @overload
    def on_exit(self: Program[A, E, object], finalizer: Program[object, E2, R2]) -> Program[A, E | E2, R2]: ...
    @overload
    def on_exit(self: Program[A, E, R], finalizer: Program[object, E2, R]) -> Program[A, E | E2, R]: ...
    def on_exit(self, finalizer: Any) -> Any:
        """Run `finalizer` once, after any exit: success, failure, halt, defect, cancellation.

        The original exit is kept, unless the finalizer does not succeed: then the finalizer's exit replaces it.
        """
        return node(ENSURE, self, finalizer)

    def or_raise(self) -> Program[A_co, Never, R_contra]:
        """Convert the typed error to a defect, because it would be a bug.

        The defect is the error itself when it is an exception, otherwise a `FailureEscalated` that contains it.
        """
        return node(LASH, self, _die)

    def timeout(self, duration: timedelta | str) -> Program[A_co, E_co | EffectTimeout, R_contra]:
        """Fail with `EffectTimeout` unless the program ends in time. It is then cancelled and its finalizers awaited.

        If the program ends by itself during the cancellation, or a finalizer fails, that exit is the outcome.

        Args:
            duration: a `timedelta`, or text such as ``"30 seconds"``.

        Raises:
            DefinitionError: the duration is not valid.
        """
        return node(PARALLEL, Deadline(self, duration_ms(duration, what="timeout")))

    def retry(self: Program[A, E, R], schedule: Schedule[E]) -> Program[A, E, R]:
        """Run the program again after a typed failure, in memory, after the delays that `schedule` returns.

        Defects and halts are not retried. The retries do not survive a crash: a job's `Retry` policy does. When the
        schedule stops, the program fails with the last error.
        """
        return node(DO, _retrying, (self, schedule))

    # ------------------------------------------------------------------ the services

    def modify_env(self, function: Callable[[R2], R_contra]) -> Program[A_co, E_co, R2]:
        """Run the program with the services that `function` returns for the outer services."""
        return node(SCOPE, self, function)

    def provide(self, services: R_contra) -> Program[A_co, E_co, object]:
        """Run the program with these services: the result needs none."""
        return node(SCOPE, self, lambda _: services)

    @classmethod
    def ask(cls) -> Program[R, Any, R]:
        """Return a program that succeeds with the services."""
        return node(ASK, _identity)

    # ------------------------------------------------------------------ from values and other containers

    @classmethod
    def from_value(cls, inner_value: A) -> Program[A, Any, Any]:
        """Return a program that succeeds with a value (`perdure.programs.succeed` has the exact type)."""
        return node(PURE, inner_value)

    @classmethod
    def from_failure(cls, inner_value: E) -> Program[Any, E, Any]:
        """Return a program that fails with an error (`perdure.programs.fail` has the exact type)."""
        return node(FAIL, inner_value)

    @classmethod
    def from_result(cls, inner_value: Result[A, E]) -> Program[A, E, Any]:
        """Return a program that succeeds or fails (`perdure.programs.lift` has the exact type)."""
        return node(RESULT, inner_value)

    @classmethod
    def from_io(cls, inner_value: IO[A]) -> Program[A, Any, Any]:
        """Return a program that succeeds with an `IO`'s value."""
        return node(PURE, unsafe_perform_io(inner_value))

    @classmethod
    def from_failed_io(cls, inner_value: IO[E]) -> Program[Any, E, Any]:
        """Return a program that fails with an `IO`'s value."""
        return node(FAIL, unsafe_perform_io(inner_value))

    @classmethod
    def from_ioresult(cls, inner_value: IOResult[A, E]) -> Program[A, E, Any]:
        """Return a program that succeeds or fails with an `IOResult`."""
        return node(RESULT, result_inside(inner_value))

    @classmethod
    def from_future(cls, inner_value: Future[A]) -> Program[A, Any, Any]:
        """Return a program that awaits a `Future`. A `Future` is memoised: a second run has no further effect."""
        return _call("from_future", lambda _: inner_value)

    @classmethod
    def from_failed_future(cls, inner_value: Future[E]) -> Program[Any, E, Any]:
        """Return a program that fails with a `Future`'s value, which is memoised: a second run has no effect."""
        return _call("from_failed_future", lambda _: FutureResult.from_failed_future(inner_value))

    @classmethod
    def from_future_result(cls, inner_value: FutureResult[A, E]) -> Program[A, E, Any]:
        """Return a program that awaits a `FutureResult`, which is memoised: a second run has no further effect."""
        return _call("from_future_result", lambda _: inner_value)

    @classmethod
    def from_context(cls, inner_value: RequiresContext[A, R]) -> Program[A, Any, R]:
        """Return a program that succeeds with a reader's value."""
        return node(ASK, inner_value)

    @classmethod
    def from_failed_context(cls, inner_value: RequiresContext[E, R]) -> Program[Any, E, R]:
        """Return a program that fails with a reader's value."""
        return node(BIND, node(ASK, inner_value), Program.from_failure)

    @classmethod
    def from_result_context(cls, inner_value: RequiresContextResult[A, E, R]) -> Program[A, E, R]:
        """Return a program that calls the reader with the services."""
        return _call("from_result_context", inner_value)

    @classmethod
    def from_ioresult_context(cls, inner_value: RequiresContextIOResult[A, E, R]) -> Program[A, E, R]:
        """Return a program that calls the reader with the services."""
        return _call("from_ioresult_context", inner_value)

    @classmethod
    def from_future_result_context(cls, inner_value: RequiresContextFutureResult[A, E, R]) -> Program[A, E, R]:
        """Return a program that calls the reader with the services."""
        return _call("from_future_result_context", inner_value)

    # ------------------------------------------------------------------ composition with other containers

    def bind_result(self, function: Callable[[A_co], Result[B, E_co]]) -> Program[B, E_co, R_contra]:
        """Continue with a `Result`."""
        return node(BIND, self, lambda value: node(RESULT, function(value)))

    def bind_io(self, function: Callable[[A_co], IO[B]]) -> Program[B, E_co, R_contra]:
        """Continue with an `IO`."""
        return node(MAP, self, lambda value: unsafe_perform_io(function(value)))

    def bind_ioresult(self, function: Callable[[A_co], IOResult[B, E_co]]) -> Program[B, E_co, R_contra]:
        """Continue with an `IOResult`."""
        return node(BIND, self, lambda value: Program.from_ioresult(function(value)))

    def bind_future(self, function: Callable[[A_co], Future[B]]) -> Program[B, E_co, R_contra]:
        """Continue with a `Future`."""
        return node(BIND, self, lambda value: Program.from_future(function(value)))

    def bind_future_result(self, function: Callable[[A_co], FutureResult[B, E_co]]) -> Program[B, E_co, R_contra]:
        """Continue with a `FutureResult`."""
        return node(BIND, self, lambda value: Program.from_future_result(function(value)))

    def bind_async_future(self, function: Callable[[A_co], Awaitable[Future[B]]]) -> Program[B, E_co, R_contra]:
        """Continue with the `Future` that a coroutine returns."""
        return node(BIND, node(BIND, self, _awaiting(function)), Program.from_future)

    def bind_async_future_result(
        self, function: Callable[[A_co], Awaitable[FutureResult[B, E_co]]]
    ) -> Program[B, E_co, R_contra]:
        """Continue with the `FutureResult` that a coroutine returns."""
        return node(BIND, node(BIND, self, _awaiting(function)), Program.from_future_result)

    def bind_awaitable(self, function: Callable[[A_co], Awaitable[B]]) -> Program[B, E_co, R_contra]:
        """Continue with the value that a coroutine returns."""
        return node(BIND, self, _awaiting(function))

    def bind_async(  # type: ignore[override]  # as above
        self, function: Callable[[A_co], Awaitable[Program[B, E_co, R_contra]]]
    ) -> Program[B, E_co, R_contra]:
        """Continue with the program that a coroutine returns."""
        return node(BIND, node(BIND, self, _awaiting(function)), _identity)

    def bind_context(self, function: Callable[[A_co], RequiresContext[B, R_contra]]) -> Program[B, E_co, R_contra]:
        """Continue with a reader."""
        return node(BIND, self, lambda value: Program.from_context(function(value)))

    def bind_context_result(
        self, function: Callable[[A_co], RequiresContextResult[B, E_co, R_contra]]
    ) -> Program[B, E_co, R_contra]:
        """Continue with a reader that returns a `Result`."""
        return node(BIND, self, lambda value: Program.from_result_context(function(value)))

    def bind_context_ioresult(
        self, function: Callable[[A_co], RequiresContextIOResult[B, E_co, R_contra]]
    ) -> Program[B, E_co, R_contra]:
        """Continue with a reader that returns an `IOResult`."""
        return node(BIND, self, lambda value: Program.from_ioresult_context(function(value)))

    def bind_context_future_result(
        self, function: Callable[[A_co], RequiresContextFutureResult[B, E_co, R_contra]]
    ) -> Program[B, E_co, R_contra]:
        """Continue with a reader that returns a `FutureResult`."""
        return node(BIND, self, lambda value: Program.from_future_result_context(function(value)))

    def bind_async_context_future_result(
        self, function: Callable[[A_co], Awaitable[RequiresContextFutureResult[B, E_co, R_contra]]]
    ) -> Program[B, E_co, R_contra]:
        """Continue with the reader of a `FutureResult` that a coroutine returns."""
        return node(BIND, node(BIND, self, _awaiting(function)), Program.from_future_result_context)


def node(tag: int, first: object, second: object = None) -> Program[Any, Any, Any]:
    """Return a program with this node (see `perdure.programs.instructions`). For this package only."""
    made: Program[Any, Any, Any] = _new_object(_class)
    _set_node(made, (tag, first, second))
    return made


class Watched(Program[Any, Any, Any]):  # type: ignore[misc]  # Program is final for all other code
    """A program that was built during a watch: the interpreter reports to the watch when it runs."""

    __slots__ = ()


class BuildWatch(Protocol):
    """Receives the programs that are built while it is set."""

    def built(self, program: Program[Any, Any, Any], /) -> None:
        """Record a program that was just built."""
        ...

    def begun(self, program: Program[Any, Any, Any], /) -> None:
        """Record that a program runs."""
        ...


WATCH: Final[ContextVar[BuildWatch | None]] = ContextVar("perdure.programs.interpreter", default=None)
"""The watch of the step that this thread, or this task, executes now."""

_class: type[Program[Any, Any, Any]] = Program
_watchers: set[object] = set()
# A set and not a number: engines of several threads watch steps, adding to a set is one operation, and a lost count
# would watch for ever. Two threads may still disable each other's watch for one step, which then reports less.


def _set_and_tell(made: Program[Any, Any, Any], content: object) -> None:
    _really_set_node(made, content)
    watch = WATCH.get()
    if watch is not None:
        watch.built(made)


def begin_watching(watcher: object) -> None:
    """Let `node` report each program it makes, until `end_watching` is called with the same object. For `watch` only.

    Args:
        watcher: hashed by its identity.
    """
    global _class, _set_node
    _watchers.add(watcher)
    # Swapped and not tested in `node`: building a program stays as fast as it is while no run is watched.
    _class, _set_node = Watched, _set_and_tell


def end_watching(watcher: object) -> None:
    """Undo one `begin_watching`. After the last one, `node` reports no more programs."""
    global _class, _set_node
    _watchers.discard(watcher)
    if not _watchers:
        _class, _set_node = Program, _really_set_node


def node_of(program: Program[Any, Any, Any]) -> tuple[int, Any, Any]:
    """Return a program's node."""
    content: tuple[int, Any, Any] = program._inner_value  # noqa: SLF001 - see `node`
    return content


def result_inside(outcome: IOResult[A, E]) -> Result[A, E]:
    """Return the `Result` inside an `IOResult`."""
    return unsafe_perform_io(outcome)  # type: ignore[arg-type]  # the stub accepts IO only


def _call(name: str, function: Callable[[Any], Any]) -> Program[Any, Any, Any]:
    return node(PERFORM, ServiceCall(name, (), {}, function))


def _awaiting(function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Program[Any, Any, Any]]:
    """Return a function whose programs await the result of `function` and succeed with it, even if it is a `Result`."""

    async def awaited(value: Any) -> Success[Any]:
        # Wrapped, because a `Result` that the function returns is its value here, and not the outcome.
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
                # The time limit counts from the first failure: set again at each one, it would never pass.
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


_drivers: Any = lazy_module("perdure.programs.drivers")
"""The drivers import this module: nothing of a program needs them until it is run."""

_now: Program[int, Never, object] = node(PERFORM, Now())
_jitter: Program[float, Never, object] = node(PERFORM, Jitter())
P = ParamSpec("P")
_E = DefaultTypeVar("_E", default=Never)
_R = DefaultTypeVar("_R", default=object)

Do = TypeAliasType("Do", Generator[Program[Any, _E, _R], None, A], type_params=(A, _E, _R))
"""The return annotation of a `program` function: ``Do[value, errors, services]``; the last two are optional."""


def program(function: Callable[P, Generator[Program[Any, E, R], None, A]]) -> Callable[P, Program[A, E, R]]:
    """Convert a generator function to a function that returns a `Program`.

    In the generator, ``value = yield from other_program`` runs another program and returns its value, whose type the
    checkers infer. A failure leaves the function (its `finally` blocks run). The function cannot catch it, use
    ``attempt()`` to inspect it. A defect is raised at the ``yield from`` and can be caught with `except`.

    Each run calls the generator function again: a program can be run, retried and raced any number of times.

    Args:
        function: a generator function annotated ``-> Do[value, errors, services]``.

    Returns:
        A function with the same parameters that returns the program.

    Raises:
        DefinitionError: `function` has no ``yield from``, so it is not a generator function.
    """
    if not inspect.isgeneratorfunction(function):
        raise DefinitionError(
            what=f"@program {getattr(function, '__qualname__', function)!s}",
            got=function,
            expected="a generator function, with a `yield from` in it; one without effects can return succeed(value)",
        )

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> Program[A, E, R]:
        # The function and not a generator: a generator runs once, and a program any number of times.
        return node(DO, partial(function, **kwargs) if kwargs else function, args)

    return made


@program
def _nothing() -> Do[None]:
    yield from ()


_MADE: Final = cast("Any", _nothing).__code__


def is_program_function(function: object, /) -> bool:
    """Return whether `program` made a function, whose call only builds a program and runs none of your code.

    The function's code decides, and not an attribute: ``functools.wraps`` copies all attributes to a decorator, whose
    own code can raise.
    """
    return getattr(function, "__code__", None) is _MADE
