"""The `Runtime` record: the only interface to time, waiting, task creation, randomness, ids and logging.

The library never uses the event loop, the clock or the random source directly, only its `Runtime`. There are two:
`perdure.runtime.on_asyncio` (production) and `perdure.runtime.simulated` (a seeded, deterministic scheduler with a
virtual clock). This module is pure: it imports neither. The errors here report mistakes in a program or a test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import attrs

from perdure.values.address import Address
from perdure.values.errors import PerdureError
from perdure.values.excerpt import excerpt, fields_in_line

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Draws: TypeAlias = Callable[[Address], tuple[Callable[[], float], Callable[[], int]]]
"""Returns the functions that draw the random number and the id for the decisions of an instance."""


class SpawnedTask(Protocol[T_co]):
    """A running coroutine. `asyncio.Task` conforms to it. Each method has asyncio's semantics."""

    def cancel(self) -> bool:
        """Throw the runtime's `cancelled` at the await where the task is. Return False when it is done already."""
        ...

    def cancelling(self) -> int:
        """Return how many cancellation requests were not undone."""
        ...

    def uncancel(self) -> int:
        """Undo one cancellation request. Return how many remain."""
        ...

    def done(self) -> bool:
        """Return whether it returned, raised or was cancelled."""
        ...

    def cancelled(self) -> bool:
        """Return whether it ended by its cancellation."""
        ...

    def result(self) -> T_co:
        """Return its result, or raise its exception."""
        ...

    def exception(self) -> BaseException | None:
        """Return its exception, or None. Raise the runtime's `cancelled` when it was cancelled."""
        ...

    def add_done_callback(self, fn: Callable[[SpawnedTask[T_co]], object], /) -> None:
        """Call `fn` with the task, soon after it is done."""
        ...

    def remove_done_callback(self, fn: Callable[[SpawnedTask[T_co]], object], /) -> int:
        """Remove `fn`. Return how many times it was registered."""
        ...

    def __await__(self) -> Generator[Any, Any, T_co]: ...


class Future(Protocol[T]):
    """A result that other code will set. `asyncio.Future` conforms to it."""

    def set_result(self, result: T, /) -> None:
        """Set the result. The future must not be done."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Make every waiter raise `exception`. The future must not be done."""
        ...

    def cancel(self) -> bool:
        """Make every waiter raise the runtime's `cancelled`. Return False when it is done already."""
        ...

    def done(self) -> bool:
        """Return whether it was resolved or cancelled."""
        ...

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        ...

    def result(self) -> T:
        """Return the result, or raise the exception."""
        ...

    def add_done_callback(self, fn: Callable[[Future[T]], object], /) -> None:
        """Call `fn` with the future, soon after it is done."""
        ...

    def __await__(self) -> Generator[Any, Any, T]: ...


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Cancel the call. No effect after it was made."""
        ...


class Spawn(Protocol):
    """The function with which a runtime starts a task."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> SpawnedTask[T]:
        """Run `coroutine` concurrently. The runtime keeps a reference to the task until it is done.

        Args:
            coroutine: the coroutine. The values it yields and receives are private to it and the runtime.
            name: the task's name in deadlock reports and logs.
        """
        ...


class CarryOut(Protocol):
    """The function with which a runtime runs a coroutine that nothing awaits or cancels."""

    def __call__(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run `work`: the first step immediately, each later one when the awaited future is done.

        Args:
            work: the coroutine. It awaits futures only, reads no `current_task`, and handles its own exceptions.
            name: the name in deadlock reports and logs.
        """
        ...


Level = Literal["debug", "info", "warning", "error"]


@attrs.frozen
class LogRecord:
    """One log record, as a value.

    Attributes:
        message: a constant sentence. Variable data is in the fields.
        fields: the data, by name.
    """

    __repr__ = fields_in_line

    level: Level
    message: str
    fields: Mapping[str, object] = attrs.Factory(dict[str, object])


@attrs.frozen
class BlockingCode:
    """Code that holds an event loop: nothing else runs in the loop meanwhile.

    Attributes:
        function: the function that the library or the loop called: a hook, an effect, or a callback of the application.
        place: its file and the line where it is, as ``path:line``.
        stack: the lines from there on, as a traceback shows them.
    """

    __repr__ = fields_in_line

    function: str
    place: str
    stack: str


Place = Literal["thread", "process"]
"""Where a function is performed that would hold the event loop."""


class Elsewhere(Protocol):
    """The function with which a runtime performs another one in a thread or a process."""

    async def __call__(
        self, place: Place, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], /
    ) -> object:
        """Perform a function that does not await, and return its result.

        A thread has the context variables of the caller. A cancelled caller waits for it: only `is_cancelled` tells
        the function. A process is killed.

        Args:
            place: a thread, or a process.
            function: the function. For a process, one that an import finds.
            args: its arguments. For a process, they and the result can be pickled.
            kwargs: its keyword arguments, likewise.

        Raises:
            Exception: the function raised it.
            EffectProcessDied: the process ended before the function did.
            NotSendable: an argument or the result cannot be pickled.
        """
        ...


async def perform_here(
    _place: Place, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> object:
    """Perform a function in the caller's thread: for a runtime with virtual time."""
    return function(*args, **kwargs)


class WatchLoop(Protocol):
    """The function with which a runtime watches the loop of the present task."""

    def __call__(
        self, limit_ms: float, began: Callable[[BlockingCode], None], ended: Callable[[BlockingCode, float], None], /
    ) -> Timer:
        """Find code that holds the loop for longer than a limit, until the returned timer is cancelled.

        Args:
            limit_ms: the limit, in milliseconds.
            began: called with the code while it holds the loop, in another thread.
            ended: called with it afterwards, in the loop, and with the milliseconds that it took at least.
        """
        ...


def _size(default: int) -> Any:
    # At least 1: a size of 0 would let a loop wait for ever.
    return attrs.field(default=default, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class Sizes:
    """How large internal batches, pages and queues are, each at least 1. Objects read them when they are constructed.

    They are no options: each is a compromise between throughput and latency, and any value leads to the same results.
    Tests draw each between 1 and 5, so that every history crosses all.

    Attributes:
        batch: requests that the engine sends to the store together, and events that one event-loop step decides.
            Bounded, so that no caller waits long for its neighbours.
        group: requests that a database executes in one transaction or statement.
        turns_in_a_commit: one instance's turns that one transition holds.
        turns_in_a_row: turns that run synchronously before the event loop gets a chance to run.
        runs_in_a_row: claimed runs that begin in one event-loop step.
        alarm_window: alarms in the first batch: two milliseconds' work, which a request may wait for more than once.
        alarm_window_alone: alarms in a batch while no requests arrive: a larger commit costs less per alarm.
        max_alarm_window: alarms in the largest batch.
        alarm_looks: after this many checks during one slow batch, the next one is fired in any case.
        alarm_refills: more refills, by half each, within a batch's patience show that a slow disk delays it.
        timers: alarms in memory. Further ones are read from the store when they are due.
        lane_low: a lane with fewer instances in memory, and more in the store, is read again when there is room.
        lane_share: a lane's instances that are read together, if few lanes are read.
        lanes_read: instances that are read together, if they have many lanes.
        lanes_reread: other engines' lanes that are read again together, before an engine begins their instances.
        lanes_compared: lanes whose first instances are compared for the longest waiting one.
        unclaimed: a lane with more fired instances whose claim is not durable is read apart.
        rate_parts: parts in a rate's window: one part's runs are stored with the last one's instant.
        limit_entries: entries of named limits that are read and written together.
        remembered_runs: begun runs that the lane rates in a job remember. Beyond it, no further run begins.
        held_messages: messages to parked targets in memory. Each further one waits for its next delivery.
        left_messages: left messages that an operator sees and can bury at a time.
        ensured_at_once: declared instances that are read and created at the same time.
        unasked_instances: instances kept in memory without a caller's request: those whose alarms fired last.
        kept_rows: rows of journals that all programs in memory stand for, which the next runs need not replay.
        replayed_rows: a program with fewer rows is replayed in each run: a millisecond.
        known_keys: idempotency keys in memory: those stored last. A repeat mostly follows soon after its request.
        known_answer: characters in the longest answer that is kept with its key.
        lately: turns, or keyed requests, whose results decide whether the next ones rely on memory.
        loaded_rows: instances that SQLite loads in one statement. 256 at most.
        searched_rows: instances that one search chunk covers in SQLite: a few milliseconds.
        walked_keys: keys that each of several attributes' conditions must have, so that a count reads the keys of all
            instances in the order of the instances: that takes as long as it takes to look up this many keys.
        counted_rows: instances that SQLite counts in one chunk: a few milliseconds.
        counted_parts: chunks in one call that counts.
        attribute_rows: instances whose attributes are filled in one portion, and keys that are deleted in one.
        remembered_attributes: instances whose attributes' keys are kept in memory, to write only those that change.
        stream_chunks: chunks that an effect emits and that are stored as one group.
        stream_groups: groups of a stream that are read together, and groups in memory of one that has readers.
        stream_bytes: bytes behind which neither, nor an append, takes a further group.
        connections: connections to PostgreSQL, beside one for urgent statements.
        statements: PostgreSQL statements that run at the same time. With one, a slow search would delay the reads for
            due alarms and messages.
        rows_at_rest: rows that one query reads from a store beside its engine: a few milliseconds.
        memory_block: entries in one part when the memory store divides a sorted index.
    """

    batch: int = _size(1_000)
    group: int = _size(1_000)
    turns_in_a_commit: int = _size(1_000)
    turns_in_a_row: int = _size(64)
    runs_in_a_row: int = _size(64)
    alarm_window: int = _size(12)
    alarm_window_alone: int = _size(128)
    max_alarm_window: int = _size(1_024)
    alarm_looks: int = _size(10)
    alarm_refills: int = _size(3)
    timers: int = _size(10_000)
    lane_low: int = _size(32)
    lane_share: int = _size(128)
    lanes_read: int = _size(256)
    lanes_reread: int = _size(64)
    lanes_compared: int = _size(1_000)
    unclaimed: int = _size(4)
    rate_parts: int = _size(64)
    limit_entries: int = _size(256)
    remembered_runs: int = _size(200_000)
    held_messages: int = _size(10_000)
    left_messages: int = _size(1_000)
    ensured_at_once: int = _size(32)
    unasked_instances: int = _size(64)
    kept_rows: int = _size(200_000)
    replayed_rows: int = _size(64)
    known_keys: int = _size(10_000)
    known_answer: int = _size(1_000)
    lately: int = _size(64)
    loaded_rows: int = _size(256)
    searched_rows: int = _size(2_000)
    walked_keys: int = _size(100_000)
    counted_rows: int = _size(5_000)
    counted_parts: int = _size(10)
    attribute_rows: int = _size(500)
    remembered_attributes: int = _size(10_000)
    stream_chunks: int = 512
    stream_groups: int = 128
    stream_bytes: int = 4_194_304
    connections: int = _size(4)
    statements: int = _size(2)
    rows_at_rest: int = _size(500)
    memory_block: int = _size(512)


DEFAULT_SIZES: Final = Sizes()
"""The sizes of production."""


@attrs.frozen(kw_only=True)
class Runtime:
    """The external functions that the library uses, besides its services.

    Attributes:
        now_ms: the wall clock, integer milliseconds since 1970 UTC. May jump either way.
        monotonic_ms: a clock that never goes back. Only differences are meaningful.
        sleep: wait this many milliseconds on the monotonic clock. 0 lets the other tasks run.
        call_later: call a function after this many milliseconds on the monotonic clock.
        call_soon: call a function as soon as the current task waits.
        at_step_end: call a function after the ready tasks have taken their next step. No cancellation prevents it.
        future: make an unresolved future.
        spawn: start a task.
        spawn_eagerly: start a task, and take its first step immediately, inside the task: a coroutine that waits for
            nothing is over when this returns. A runtime that cannot do so starts the task as `spawn` does.
        carry_out: run a coroutine that nothing awaits or cancels. No task is needed for it.
        current_task: the task that runs now.
        random: a float in [0, 1).
        new_id: a UUIDv7 as a 128-bit integer: later ids sort after earlier ones, with space between to count up.
        log: write a log record. Never raises, never waits.
        watch_loop: find code that holds the loop. A runtime without a loop finds none.
        elsewhere: perform a function in a thread or a process. A simulation performs it at once, in its own thread.
        cancelled: the exception that a cancelled await raises. Not an `Exception`.
        sizes: the internal sizes.
    """

    now_ms: Callable[[], int]
    monotonic_ms: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    call_later: Callable[[float, Callable[[], None]], Timer]
    call_soon: Callable[[Callable[[], None]], object]
    at_step_end: Callable[[Callable[[], None]], object]
    future: Callable[[], Future[Any]]
    spawn: Spawn
    spawn_eagerly: Spawn
    carry_out: CarryOut
    current_task: Callable[[], SpawnedTask[Any]]
    random: Callable[[], float]
    new_id: Callable[[], int]
    log: Callable[[LogRecord], None]
    watch_loop: WatchLoop
    elsewhere: Elsewhere
    cancelled: type[BaseException]
    sizes: Sizes = DEFAULT_SIZES


@attrs.frozen(repr=False)
class WouldBlock(PerdureError, RuntimeError):
    """A task waits for real I/O in a run that has none. Raised at the await that would wait.

    Attributes:
        who: the task or the service call that waits.
        waiting_for: the value that it awaits.
    """

    who: str
    waiting_for: object

    def _text(self) -> str:
        return (
            f"{self.who} waits for {excerpt(self.waiting_for)}, which a run without an event loop cannot "
            "answer; pass an in-memory service that needs no I/O, wait with perdure's sleep instead of asyncio's, or "
            "run it on asyncio: app.open('memory://'), run_async, run_hosted"
        )


@attrs.frozen(repr=False)
class Deadlock(PerdureError, RuntimeError):
    """Every task in the simulation waits and no timer is set that could wake one.

    Attributes:
        blocked: one line for each waiting task: its name and the value it awaits.
    """

    blocked: tuple[str, ...]

    def _text(self) -> str:
        return (
            "every task waits and no timer is set to wake one: " + "; ".join(self.blocked) + ". Resolve one of these "
            "futures, or call settle() instead of run() if being blocked is expected"
        )


@attrs.frozen(repr=False)
class Livelock(PerdureError, RuntimeError):
    """Tasks in the simulation kept running while its clock did not move.

    Attributes:
        steps: the step count at one instant.
        running: the tasks that were ready when the run was stopped.
    """

    steps: int
    running: tuple[str, ...]

    def _text(self) -> str:
        return (
            f"{self.steps} steps ran without the virtual clock moving; still ready: {', '.join(self.running)}. A loop "
            "that polls must sleep more than 0 ms"
        )


@attrs.frozen(repr=False)
class AlreadyDone(PerdureError, RuntimeError):
    """A simulation future was resolved twice, or its result was read too early.

    Attributes:
        what: the future, and the call.
    """

    what: str

    def _text(self) -> str:
        return f"{self.what}; check done() first"


@attrs.frozen(repr=False)
class EffectProcessDied(PerdureError, RuntimeError):
    """A process ended before the effect that it performed: it was killed, or crashed. Other effects are not concerned.

    Attributes:
        function: the effect's function.
    """

    function: str

    def _text(self) -> str:
        return (
            f"the process that performed {self.function} ended before it answered; the effect may have been performed. "
            "Look for a crash of a C extension, or for a kill when memory ran out"
        )


@attrs.frozen(repr=False)
class NotSendable(PerdureError, TypeError):
    """A value cannot be sent to a process, or back.

    Attributes:
        function: the effect's function.
        what: the value: the services, the arguments or the result.
        reason: why it cannot be pickled.
    """

    function: str
    what: str
    reason: str

    def _text(self) -> str:
        return (
            f"{self.what} of {self.function} cannot be sent to a process: {self.reason}. Pass plain values, and "
            "services without connections or locks"
        )
