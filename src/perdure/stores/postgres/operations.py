"""The functions ``load`` and ``commit`` of the ``Store`` record, over a schema of a PostgreSQL database.

Operations that wait together are sent together, as one statement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator, Hashable, Sequence
from functools import partial
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answered_by, asked, converted, settled
from perdure.runtime.record import Future, Runtime
from perdure.stores.postgres.connections import (
    DRIVER_ERRORS,
    UNSENDABLE,
    NoConnection,
    PostgresConnections,
    Rows,
    failure_of_write,
    is_about_the_connection,
    is_worth_repeating,
    unavailable,
)
from perdure.stores.postgres.encoding import (
    INSTANCE_COLUMNS,
    NARROW_TYPES,
    TYPES,
    Encoded,
    Form,
    encode,
    encoded,
    instance_from,
    prefixed,
    remembered_from,
    statement,
)
from perdure.stores.postgres.ownership import Lease, OwnerLock
from perdure.stores.postgres.settings import PostgresSettings
from perdure.stores.rows import CorruptRows
from perdure.stores.values import LoadRequest
from perdure.values.address import Address
from perdure.values.errors import Conflict, OutcomeUnknown, PerdureError, StoreCorrupt, StoreError, StoreUnavailable
from perdure.values.instance import Fence, Instance
from perdure.values.transition import AS_EXPECTED, Loaded, Put, Transition

R = TypeVar("R")

GROUP: Final = 1_000
"""Requests in one statement, at most, so that no caller waits long."""

Answer: TypeAlias = Result[Any, Any]
Note: TypeAlias = Callable[[Answer], None]
"""Called with each answer, even if the caller no longer waits."""

Answered: TypeAlias = Callable[[Sequence[Answer]], None]

Send: TypeAlias = Callable[[Sequence[R]], Awaitable[Sequence[Answer]]]


class PendingStatement(Generic[R]):
    """A request to the server. It is sent when its answer is first awaited, and can be awaited again.

    Attributes:
        request: the request.
        operation: its name in errors.
        touches: a group holds each of these at most once.
    """

    __slots__ = ("_answer", "_listener", "_note", "_queue", "operation", "request", "touches")

    def __init__(
        self, queue: Queue[R], operation: str, request: R, touches: tuple[Hashable, ...], note: Note | None
    ) -> None:
        self.request = request
        self.operation = operation
        self.touches = touches
        self._queue = queue
        self._note = note
        self._answer: Future[Any] | None = None
        self._listener: Note | None = None

    def __await__(self) -> Generator[Any, Any, Answer]:
        if self._answer is None:
            refused = self._queue.refusal(self.operation)
            if refused is not None:
                return Failure(refused)
            self._answer = self._queue.runtime.future()
            self._queue.add(self)
        answer: Answer = yield from self._answer.__await__()
        return answer

    def send(self, listener: Note) -> None:
        """Send the request, and call a listener with the answer, instead of awaiting it."""
        refused = self._queue.refusal(self.operation)
        if refused is not None:
            listener(Failure(refused))
            return
        self._listener = listener
        self._queue.add(self)

    def answered(self, answer: Answer) -> None:
        """Note the answer, and pass it to the caller."""
        if self._note is not None:
            self._note(answer)
        listener, self._listener = self._listener, None  # a cycle would wait for the garbage collector
        if listener is not None:
            listener(answer)
        if self._answer is not None and not self._answer.done():  # its caller may be cancelled
            self._answer.set_result(answer)


class Queue(Generic[R]):
    """Pending requests, and the tasks that send them. The next group accumulates while one is with the server.

    Args:
        runtime: starts the tasks.
        name: of the tasks.
        send: sends a group, and returns an answer for each request.
        refusal: returns why an operation is refused now.
        lost: makes the error of a group whose sending raised.
        lanes: groups under way at the same time.
        group: requests in a group.
    """

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        send: Send[R],
        refusal: Callable[[str], StoreError | None],
        lost: Callable[[str], PerdureError],
        *,
        lanes: int = 1,
        group: int = GROUP,
    ) -> None:
        self.runtime = runtime
        self.refusal = refusal
        self._name = name
        self._send = send
        self._lost = lost
        self._free_lanes = lanes
        self._lanes = lanes
        self._group = group
        self._waiting: list[PendingStatement[R]] = []
        self._groups: deque[tuple[Sequence[R], Answered]] = deque()
        self._closers: list[Future[None]] = []

    def operation(
        self, operation: str, request: R, *, touches: tuple[Hashable, ...] = (), note: Note | None = None
    ) -> PendingStatement[R]:
        """Create an operation."""
        return PendingStatement(self, operation, request, touches, note)

    def add(self, pending: PendingStatement[R]) -> None:
        """Add an operation to the next group."""
        self._waiting.append(pending)
        self._start()

    def send_all(self, operation: str, requests: Sequence[R], answered: Answered) -> None:
        """Send requests as a group of their own.

        Args:
            operation: its name in errors.
            requests: as many as fit into a group, which touch nothing in common.
            answered: called with all answers, in order.
        """
        refused = self.refusal(operation)
        if refused is not None:
            answered([Failure(refused)] * len(requests))
            return
        self._groups.append((requests, answered))
        self._start()

    def _start(self) -> None:
        if self._free_lanes:
            self._free_lanes -= 1
            # The task starts after this step of the event loop, so that all requests of the step join its group.
            self.runtime.spawn(self._drive(), name=self._name)

    async def emptied(self) -> None:
        """Wait until every operation has its answer."""
        if self._free_lanes < self._lanes:
            self._closers.append(emptied := self.runtime.future())
            await emptied

    async def _drive(self) -> None:
        try:
            while self._waiting or self._groups:
                # One of each kind in turn: a stream of groups would delay single commits without a bound.
                if self._groups:
                    requests, answered = self._groups.popleft()
                    await self._serve(requests, answered)
                if self._waiting:
                    group = self._next_group()
                    await self._serve([pending.request for pending in group], partial(_answer_each, group))
        finally:
            self._free_lanes += 1
            if self._free_lanes == self._lanes:
                self._end()

    async def _serve(self, requests: Sequence[R], answered: Answered) -> None:
        try:
            answers = await self._send(requests)
        # Callers must get an answer even from a defect here: one without would wait for ever.
        except Exception as error:  # noqa: BLE001 - a defect of this code, reported to the callers
            answers = [Failure(self._lost(repr(error)))] * len(requests)
        except BaseException as error:  # the event loop is stopping
            answered([Failure(self._lost(repr(error)))] * len(requests))
            raise
        answered(answers)

    def _next_group(self) -> list[PendingStatement[R]]:
        """Take the next operations in their order. One that touches the same as an earlier one waits."""
        group: list[PendingStatement[R]] = []
        left: list[PendingStatement[R]] = []
        touched: set[Hashable] = set()
        for at, pending in enumerate(self._waiting):
            if len(group) == self._group:
                left.extend(self._waiting[at:])
                break
            # Two transitions of one address, or of one message, in one statement would not see each other. And one that
            # is held back also holds back later ones that touch the same.
            (group if touched.isdisjoint(pending.touches) else left).append(pending)
            touched.update(pending.touches)
        self._waiting = left
        return group

    def _end(self) -> None:
        stopping = Failure(StoreUnavailable("answer", "its event loop is stopping"))
        unsent, self._waiting = self._waiting, []
        _answer_each(unsent, [stopping] * len(unsent))
        while self._groups:
            requests, answered = self._groups.popleft()
            answered([stopping] * len(requests))
        closers, self._closers = self._closers, []
        for closer in closers:
            if not closer.done():
                closer.set_result(None)


class QueryGroup:
    """Collects the answers of several operations, and passes them on together.

    Args:
        count: how many.
        answered: called with all answers, in order.
    """

    def __init__(self, count: int, answered: Answered) -> None:
        self._answers: list[Any] = [None] * count
        self._missing = count
        self._answered = answered
        if not count:
            answered([])

    def listener(self, at: int) -> Note:
        """Return the listener of one operation."""

        def listen(answer: Answer) -> None:
            self._answers[at] = answer
            self._missing -= 1
            if not self._missing:
                self._answered(self._answers)

        return listen


def _answer_each(group: Sequence[PendingStatement[R]], answers: Sequence[Answer]) -> None:
    for pending, answer in zip(group, answers, strict=True):
        pending.answered(answer)


_Load = tuple[Address, str | None, int]
_Commit = tuple[Transition, Encoded]
_Statement = tuple[Literal["read", "write", "renew"], str, str, tuple[Any, ...]]

CLOSE_WITHIN_MS: Final = 10_000
"""How long ``close`` waits for requests in progress, before it ends their connections."""

_REPEATS: Final = 3
# More than one: a slow search would otherwise delay the reads of due alarms and messages.
_STATEMENT_LANES: Final = 2
_NOTHING: Final[Result[Any, Any]] = Success(Loaded())
_REFUSED: Final = -1
_GONE: Final[Result[Any, Any]] = Success(Fence(0, 0))


class PostgresOperations:
    """Encodes requests, sends them in groups of statements.

    Attributes:
        damage: the rows that cannot be decoded.
        schema: the quoted name of the schema.
        epoch: the number of this opening.
        runtime: how it waits.
        lost: done when this opening has ended.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: PostgresSettings,
        connections: PostgresConnections,
        lock: OwnerLock | Lease,
        epoch: int,
    ) -> None:
        self.damage = CorruptRows()
        self.schema = settings.quoted
        self.epoch = epoch
        self.durability = settings.durability
        self.lost: Future[str] = runtime.future()
        self._settings = settings
        self._connections = connections
        self._lock = lock
        self._state: Literal["open", "closing", "closed"] = "open"
        self._closers: list[Future[None]] = []
        self.runtime = runtime
        unread = partial(StoreUnavailable, "read")
        self._loads: Queue[_Load] = Queue(runtime, f"perdure:reader {settings.name}", self._load, self.refusal, unread)
        self._commits: Queue[_Commit] = Queue(
            runtime, f"perdure:writer {settings.name}", self._commit, self.refusal, OutcomeUnknown
        )
        self._statements: Queue[_Statement] = Queue(
            runtime,
            f"perdure:statements {settings.name}",
            self._execute,
            self.refusal,
            OutcomeUnknown,
            lanes=_STATEMENT_LANES,
            group=1,
        )
        # A queue of their own: behind a statement that is stuck, a heartbeat would come after the end of the lease.
        self._heartbeats: Queue[_Statement] = Queue(
            runtime,
            f"perdure:heartbeats {settings.name}",
            self._execute,
            self.refusal,
            OutcomeUnknown,
            group=1,
        )
        self._has_rivals = settings.ownership == "shared"
        self._commit_sql = _commit_sql(self.schema)
        self._load_sql = (
            "SELECT n, action, fingerprint, answer, expires_ms, failures, held, "  # noqa: S608 - as above
            f"{prefixed('(instance)', INSTANCE_COLUMNS)} FROM {self.schema}.load_keyed_group($1, $2, $3, $4, $5)"
        )

    # ------------------------------------------------------------ state
    def refusal(self, operation: str) -> StoreError | None:
        """Return why requests are refused; None while the store is open and owned."""
        if self._state != "open":
            return StoreUnavailable(operation, "the store is closed")
        return self._connections.lost

    def lose(self, reason: str) -> None:
        """Refuse all requests from now on: another opening has ended this one."""
        if self._state == "open":
            self._connections.lose(reason)
            self._note_loss()

    def _note_loss(self) -> None:
        if self._connections.lost is not None and not self.lost.done():
            self.lost.set_result(str(self._connections.lost))

    # ------------------------------------------------------------ load and commit
    def load(
        self, address: Address, idempotency_key: str | None = None, now_ms: int = 0, /
    ) -> FutureResult[Loaded, StoreError]:
        """Read an address and the stored answer of a key, in a group with others."""
        return answered_by(self._pending_load(address, idempotency_key, now_ms))

    def commit(self, transition: Transition, /) -> FutureResult[Fence, StoreError | Conflict | OutcomeUnknown]:
        """Write one transition, in a group with others."""
        pending = self._pending_commit(transition)
        if not isinstance(pending, PendingStatement):
            return settled(pending)
        return converted(answered_by(pending), lambda fence: fence or _next_fence(transition))

    def load_all(self, requests: Sequence[LoadRequest], answered: Callable[[Sequence[Any]], None], /) -> None:
        """Read several addresses together."""
        wanted: list[_Load] = [(each.address, each.idempotency_key, each.now_ms) for each in requests]
        if 0 < len(wanted) <= GROUP:
            self._loads.send_all("load", wanted, partial(self._all_loaded, wanted, answered))
            return
        gathered = QueryGroup(len(wanted), answered)
        for at, each in enumerate(wanted):
            self._pending_load(*each).send(gathered.listener(at))

    def _all_loaded(
        self, wanted: Sequence[_Load], answered: Callable[[Sequence[Any]], None], answers: Sequence[Any]
    ) -> None:
        for (address, _, _), answer in zip(wanted, answers, strict=True):
            if self.damage or not isinstance(answer, Success):
                self._loaded(address, answer)
        answered(answers)

    def commit_all(self, transitions: Sequence[Transition], answered: Callable[[Sequence[Any]], None], /) -> None:
        """Write several transitions together."""
        group = _as_one_group(transitions)
        if group is not None:
            self._commits.send_all("commit", group, partial(self._all_committed, group, answered))
            return
        gathered = QueryGroup(len(transitions), answered)
        for at, transition in enumerate(transitions):
            pending = self._pending_commit(transition)
            if isinstance(pending, PendingStatement):
                pending.send(gathered.listener(at))
            else:
                gathered.listener(at)(pending)

    def _all_committed(
        self, group: Sequence[_Commit], answered: Callable[[Sequence[Any]], None], answers: Sequence[Any]
    ) -> None:
        if self.damage:
            for (transition, _), answer in zip(group, answers, strict=True):
                self._committed(transition.address, answer)
        answered(answers)

    def _pending_load(self, address: Address, key: str | None, now_ms: int) -> PendingStatement[_Load]:
        return self._loads.operation("load", (address, key, now_ms), note=partial(self._loaded, address))

    def _pending_commit(self, transition: Transition) -> PendingStatement[_Commit] | Failure[StoreUnavailable]:
        try:
            change = encode(transition)
        except Exception as error:  # noqa: BLE001 - a value that JSON cannot represent
            return Failure(StoreUnavailable("commit", f"the transition does not encode: {error!r}"))
        inbound = transition.inbound
        touches = (transition.address,) if inbound is None else (transition.address, inbound.message_id)
        note = partial(self._committed, transition.address)
        return self._commits.operation("commit", (transition, change), touches=touches, note=note)

    async def _load(self, group: Sequence[_Load]) -> Sequence[Result[Loaded, StoreError]]:
        kinds, names, ids = zip(*((encoded(a.kind), encoded(a.name), encoded(a.id)) for a, _, _ in group), strict=True)
        keys, nows = [encoded(key) for _, key, _ in group], [now_ms for _, _, now_ms in group]
        found = await self._connections.read("load", self._load_sql, kinds, names, ids, keys, nows)
        if not isinstance(found, Success):
            return [Failure(found.failure())] * len(group)
        answers: list[Result[Loaded, StoreError]] = [_NOTHING] * len(group)
        for row in found.unwrap():
            at = int(row[0]) - 1
            answers[at] = _loaded_from(group[at][1], tuple(row))
        return answers

    async def _commit(self, group: Sequence[_Commit]) -> Sequence[Result[Fence, Any]]:
        changes = [change for _, change in group]
        for _ in range(_REPEATS):
            try:
                form, values = statement(changes, has_rivals=self._has_rivals)
                rows = await self._connections.execute(self._commit_sql[form], self.epoch, self.durability, *values)
            except NoConnection as error:
                return [Failure(unavailable("commit", error.reason))] * len(group)
            except (*DRIVER_ERRORS, *UNSENDABLE) as error:
                # Repeated here: the server has undone it, so no row changed, and the fences decide again.
                if is_worth_repeating(error):
                    continue
                return await self._failed(group, error)
            return _answers(group, rows, form)
        return [Failure(StoreUnavailable("commit", f"other transactions conflicted {_REPEATS} times"))] * len(group)

    async def _failed(self, group: Sequence[_Commit], error: Exception) -> Sequence[Result[Fence, Any]]:
        """Return the answers of a group that failed: unless the server is the cause, one transition is."""
        ended = await self._connections.ended(error)
        if ended is not None:
            self._note_loss()
            return [Failure(ended)] * len(group)
        # Alone only after a refusal: a group of unknown outcome may be written, and a repetition would meet its own
        # rows as conflicts. One value that the server refuses must not fail the others.
        if is_about_the_connection(error) or len(group) == 1:
            return [Failure(failure_of_write("commit", error))] * len(group)
        return [answer for one in group for answer in await self._commit([one])]

    def _loaded(self, address: Address, loaded: Result[Loaded, StoreError]) -> None:
        match loaded:
            case Success(Loaded(instance=Instance())):
                self.damage.forget(address)
            case Failure(StoreCorrupt() as error):
                self.damage.note(error)
            case _:
                pass

    def _committed(self, address: Address, answer: Result[Fence, Any]) -> None:
        if isinstance(answer, Success):
            self.damage.forget(address)

    # ------------------------------------------------------------ other statements
    def read(self, operation: str, sql: str, *values: Any) -> PendingStatement[_Statement]:
        """Create a statement that writes nothing."""
        return self._statements.operation(operation, ("read", operation, sql, values))

    def write(self, operation: str, sql: str, *values: Any) -> PendingStatement[_Statement]:
        """Create a statement that writes."""
        return self._statements.operation(operation, ("write", operation, sql, values))

    def heartbeat(self, sql: str, *values: Any) -> PendingStatement[_Statement]:
        """Create the statement that renews the lease: it waits for no other statement."""
        return self._heartbeats.operation("renew the lease", ("renew", "renew the lease", sql, values))

    async def _execute(self, group: Sequence[_Statement]) -> Sequence[Result[Rows, Any]]:
        ((how, operation, sql, values),) = group
        if how == "read":
            return [await self._connections.read(operation, sql, *values)]
        answer = await self._connections.write(operation, sql, *values, urgent=how == "renew")
        self._note_loss()
        return [answer]

    # ------------------------------------------------------------ the end
    def close(self) -> FutureResult[None, StoreError]:
        """Wait for pending requests, and close the connections."""
        return asked(self._close())

    async def _close(self) -> Result[None, StoreError]:
        if self._state == "open":
            self._state = "closing"
            # A server that does not answer must not keep a process from ending. The outcome of these requests is then
            # unknown.
            limit = self.runtime.call_later(CLOSE_WITHIN_MS, self._connections.terminate)
            for queue in (self._loads, self._commits, self._statements, self._heartbeats):
                await queue.emptied()
            # After all statements: a standby that gets the lock earlier ends this opening, and the last commits would
            # be refused.
            await self._lock.close(self.epoch)
            await self._connections.close()
            limit.cancel()
            self._state = "closed"
            for closer in self._closers:
                if not closer.done():
                    closer.set_result(None)
        elif self._state == "closing":
            self._closers.append(closed := self.runtime.future())
            await closed
        return Success(None)


def _as_one_group(transitions: Sequence[Transition]) -> Sequence[_Commit] | None:
    """Return transitions that can be written by one statement; None if one does not encode, or two touch the same."""
    # A message that two transitions consume is touched twice without having their addresses: those go through the
    # queue, which compares both.
    if not 0 < len(transitions) <= GROUP or any(transition.inbound is not None for transition in transitions):
        return None
    if len({transition.address for transition in transitions}) < len(transitions):
        return None
    try:
        return [(transition, encode(transition)) for transition in transitions]
    except Exception:  # noqa: BLE001 - a value that JSON cannot represent: the others are written without it
        return None


def _loaded_from(key: str | None, row: tuple[Any, ...]) -> Result[Loaded, StoreError]:
    try:
        instance = None if row[7] is None else instance_from(row[7:])
    except StoreCorrupt as error:
        return Failure(error)
    remembered = None if key is None or row[1] is None else remembered_from(key, row[1:6])
    return Success(Loaded(instance=instance, remembered=remembered, keys_held=row[6]))


def _commit_sql(schema: str) -> dict[Form, str]:
    """Return the statement of each form of a group: the transitions it wrote, and the narrow ones it refused."""

    def marks(kinds: tuple[str, ...], first: int) -> str:
        return ", ".join(("$1::bigint", "$2::text", *(f"${n}::{kind}" for n, kind in enumerate(kinds, first))))

    narrow = f"SELECT n, {_REFUSED}::bigint FROM {schema}.commit_narrow({marks(NARROW_TYPES, 3)})"  # noqa: S608 - the name of the schema is checked
    group = f"SELECT n, incarnation FROM {schema}.commit_group"  # noqa: S608 - as above
    rest = f"{group}({marks(TYPES, 3 + len(NARROW_TYPES))})"
    return {"any": f"{group}({marks(TYPES, 3)})", "narrow": narrow, "both": f"{narrow} UNION ALL {rest}"}


def _answers(group: Sequence[_Commit], rows: Rows, form: Form) -> list[Result[Fence, Any]]:
    if form == "narrow" and not rows:
        return [_next_version(transition) for transition, _ in group]
    written: dict[int, int | None] = {row[0]: row[1] for row in rows}
    return [_answer(one, written, number) for number, one in enumerate(group)]


def _answer(one: _Commit, written: dict[int, int | None], number: int) -> Result[Fence, Any]:
    transition, change = one
    if change.narrow is not None:
        return Failure(Conflict(str(transition.address))) if number in written else _next_version(transition)
    # `commit_group` returns the written ones: a transition that is missing in its rows has met a conflict.
    if number not in written:
        return Failure(Conflict(str(transition.address)))
    if not isinstance(transition.write, Put):
        return _GONE
    if transition.expected is None:
        return Success(Fence(written[number] or 0, 1))
    return _next_version(transition)


def _next_version(transition: Transition) -> Result[Fence, Any]:
    write = transition.write
    if type(write) is Put and write.changes != "any":
        return AS_EXPECTED  # type: ignore[no-any-return]
    return Success(_next_fence(transition))


def _next_fence(transition: Transition) -> Fence:
    expected = transition.expected
    return Fence(0, 0) if expected is None else Fence(expected.incarnation, expected.version + 1)
