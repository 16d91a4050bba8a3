"""A program's nodes, by their tags, and the instructions it performs, as data.

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

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Never, Protocol, TypeVar

import attrs

from perdure.values.excerpt import excerpt, fields_in_line, one_line, shortened
from perdure.values.frozen import frozen

if TYPE_CHECKING:
    from perdure.runtime.record import LogRecord

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
        name: the plan's name.
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
