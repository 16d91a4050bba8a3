"""A program's nodes, by their tags, the instructions that it performs, and its exits, as data.

A `Program` holds one node, a tuple ``(tag, first, second)``. The interpreter branches on the tag:

============ ==================== ======================= ====================================================
tag          first                second                  meaning
============ ==================== ======================= ====================================================
BIND         program              value -> program        continue with the value
MAP          program              value -> value          change the value
LASH         program              error -> program        continue after the error
ALT          program              error -> error          change the error
ATTEMPT      program                                      return the outcome as a `Result` value
COMPOSE      program              Result -> program       continue with either
ENSURE       program              program                 run the second after any exit of the first
SCOPE        program              services -> services    run with other services
SANDBOX      program              interceptor             return the exit as a value. Answer instructions
DO           generator function   its arguments           run a do-block
PERFORM      instruction                                  call an interpreter
PURE         value                                        succeed
FAIL         error                                        fail
RESULT       Result                                       succeed or fail
ASK          services -> value                            read the services
HALT         signal                                       stop, uncatchably
PARALLEL     plan                                         run several programs at once
============ ==================== ======================= ====================================================
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Never, Protocol, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Success

from perdure.values.errors import PerdureError
from perdure.values.excerpt import excerpt, fields_in_line, one_line, shortened
from perdure.values.frozen import frozen

if TYPE_CHECKING:
    from perdure.runtime.record import LogRecord


A = TypeVar("A")
E = TypeVar("E")


@frozen
class Halted:
    """The program stopped deliberately, with `halt`. No code inside it could catch that.

    Attributes:
        signal: the `halt` argument.
    """

    __repr__ = fields_in_line

    signal: object


@frozen(repr=False)
class Raised:
    """The program raised an undeclared exception. Two are equal when they hold the same exception object.

    Attributes:
        cause: the exception, with its traceback.
    """

    cause: BaseException = attrs.field(eq=id)

    def __repr__(self) -> str:
        frames = traceback.extract_tb(self.cause.__traceback__, limit=-1)
        where = f", raised in {frames[0].name} ({frames[0].filename}:{frames[0].lineno})" if frames else ""
        return f"Raised({excerpt(self.cause)}{where})"

    def formatted(self) -> str:
        """Return the exception and its traceback as Python would print them."""
        return "".join(traceback.format_exception(self.cause))


ENDS_PROCESS = (KeyboardInterrupt, SystemExit)
"""Exceptions that request the end of the process, not only of the code that raises them."""


def is_closing(raised: BaseException) -> bool:
    """Return whether the frame that caught this exception is being closed, like a generator that is garbage-collected.

    A frame that is being closed must not wait. Python raises ``GeneratorExit`` in that frame itself. One that a job's
    code raised comes from a deeper frame.
    """
    # By the depth of the traceback: a job may raise `GeneratorExit` itself, which is an ordinary defect.
    return isinstance(raised, GeneratorExit) and (raised.__traceback__ is None or raised.__traceback__.tb_next is None)


Exit: TypeAlias = Success[A] | Failure[E] | Halted | Raised
"""The exit of a `Program[A, E, R]`. Written as a union, so that `match` and `assert_never` know its members."""


@frozen
class EffectTimeout:
    """The typed failure that `Program.timeout` returns: the program did not end in time and was cancelled.

    Attributes:
        after: the time limit.
    """

    after: timedelta


@attrs.frozen(repr=False)
class NotAProgram(PerdureError, TypeError):
    """A value that must be a program is not one. A defect in the code that returned it.

    Common causes are a forgotten ``yield from``, and a ``Result`` without ``lift``.

    Attributes:
        got: the value.
        source: the name of the function that returned it.
        expected: the values that are valid.
    """

    got: object
    source: str
    expected: str = "a Program (forgotten `yield from`, `return`, or `succeed(...)`?)"

    def _text(self) -> str:
        return f"{self.source} returned {excerpt(self.got)}; expected {self.expected}"


@attrs.frozen(repr=False)
class NothingReturned(PerdureError, TypeError):
    """An effect's function returned None, and its annotation does not allow that. A defect in that function.

    The common cause is a forgotten ``return``.

    Attributes:
        function: its name.
    """

    function: str

    def _text(self) -> str:
        return (
            f"{self.function} returned None; expected a container such as Success(value): a forgotten `return`? An "
            "effect without a value returns Success(None), or is annotated `-> None`"
        )


@attrs.frozen(repr=False)
class NoInterpreter(PerdureError, LookupError):
    """An instruction reached the outermost interpreter, which does not support it.

    For example, ``ctx.state`` was run outside an engine.

    Attributes:
        instruction: the instruction.
    """

    instruction: object

    def _text(self) -> str:
        return (
            f"no interpreter answers {excerpt(self.instruction)}; run the program under the `sandbox` that answers it, "
            "or pass run_async or run_sync a handler that does"
        )


@attrs.frozen(repr=False)
class FailureEscalated(PerdureError):
    """The defect that `Program.or_raise` makes from a failure that is not an exception.

    Attributes:
        error: the typed failure.
    """

    error: object

    def _text(self) -> str:
        return f"a failure was escalated with or_raise: {excerpt(self.error)}"


@attrs.frozen(repr=False)
class HaltedOutside(PerdureError):
    """A program halted where a halt cannot be returned: it was run as a `FutureResult` instead of to an `Exit`.

    Attributes:
        signal: the `halt` argument.
    """

    signal: object

    def _text(self) -> str:
        signal = excerpt(self.signal)
        return f"the program halted with {signal}, which no FutureResult can express; use run_async or run_sync"


# The first eight wrap another program and wait for its outcome: the interpreter tests for them by `tag <= SCOPE`.
BIND, MAP, LASH, ALT, ATTEMPT, COMPOSE, ENSURE, SCOPE = range(8)
DO, PERFORM, PURE, FAIL, RESULT, ASK, HALT, SANDBOX, PARALLEL = range(8, 17)

TAG_NAMES = (
    *("bind", "map", "or_else", "map_error", "attempt", "compose_result", "ensure", "modify_env"),
    *("do", "perform", "succeed", "fail", "lift", "ask", "halt", "sandbox", "parallel"),
)

A_co = TypeVar("A_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)


class Instruction(Generic[A_co, E_co]):
    """An operation that only an interpreter can perform: its type declares its result and its error.

    Subclass it with a frozen value class, so that recordings can be compared.
    """

    __slots__ = ()


@frozen(repr=False)
class ServiceCall(Instruction[Any, Any]):
    """A service call, as data. Two calls are equal when their names and arguments are.

    Attributes:
        name: the `effect` function's name.
        args: its arguments, without the services.
        kwargs: its keyword arguments.
        fn: the function itself: ``fn(services, *args, **kwargs)``.
        place: where it is performed.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    fn: Callable[..., Any] = attrs.field(eq=False)
    place: Literal["loop", "thread", "process"] = attrs.field(default="loop", eq=False)

    def __repr__(self) -> str:
        shown = [excerpt(value) for value in self.args]
        shown += [f"{name}={excerpt(value)}" for name, value in self.kwargs.items()]
        return shortened(one_line(f"{self.name}({', '.join(shown)})"))


@frozen
class Sleep(Instruction[None, Never]):
    """Wait. Answered by the runtime."""

    delay_ms: int


@frozen
class SleepUntil(Instruction[None, Never]):
    """Wait until the wall clock shows an instant, in milliseconds since 1970 UTC. Answered by the runtime."""

    at_ms: int


@frozen
class Now(Instruction[int, Never]):
    """Read the wall clock, in milliseconds since 1970 UTC. Answered by the runtime."""


@frozen
class Jitter(Instruction[float, Never]):
    """Draw a random number in [0, 1). Answered by the runtime."""


@frozen
class Log(Instruction[None, Never]):
    """Write a log record. Answered by the runtime."""

    __repr__ = fields_in_line

    record: LogRecord


@frozen
class Gather:
    """The `gather` plan: all programs, at most `limit` at a time."""

    __repr__ = fields_in_line

    programs: tuple[Any, ...]
    limit: int


@frozen
class Race:
    """The `race` plan: the first to end decides."""

    __repr__ = fields_in_line

    programs: tuple[Any, ...]


class Supervisor(Protocol):
    """Starts and cancels programs as others end. It has one run's state: make one for each."""

    def begun(self) -> Orders:
        """Return the first programs to start."""
        ...

    def ended(self, key: object, exit_: Any, now_ms: int, /) -> Orders:
        """Decide which programs to start and cancel when one has ended.

        Args:
            key: the key that the program was started with.
            exit_: its exit. None if it was cancelled.
            now_ms: the program's clock at its end.
        """
        ...


class OrderedSupervisor(Supervisor, Protocol):
    """A supervisor that orders the same whenever its programs end in the same order."""

    def line_of(self, key: object, /) -> str | None:
        """Return the line of code that waits for a program. With None, a line that waits."""
        ...


@frozen
class Orders:
    """A supervisor's orders.

    Attributes:
        start: programs to start, each with a key that no running program has.
        cancel: the keys of running programs to cancel. Each end is reported like any other.
    """

    __repr__ = fields_in_line

    start: tuple[tuple[object, Any], ...] = ()
    cancel: tuple[object, ...] = ()


class Apart(NamedTuple):
    """A supervisor's program that shares no state with the program around it, although the others do."""

    program: Any


@frozen
class Supervision:
    """The `supervised` plan: runs the programs that a supervisor starts, until none runs.

    Attributes:
        supervisor: starts and cancels them.
        in_order: whether their steps have one order, which each replay repeats: then they share the interceptors, and
            so the state, of the program around them, unless they are `Apart`.
    """

    __repr__ = fields_in_line

    supervisor: Supervisor
    in_order: bool = False
    name: str = "supervised"


@frozen
class Deadline:
    """The `Program.timeout` plan: the program, or `EffectTimeout`."""

    __repr__ = fields_in_line

    program: Any
    after_ms: int
