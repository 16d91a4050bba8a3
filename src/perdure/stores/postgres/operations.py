"""The functions ``load`` and ``commit``, over a PostgreSQL schema.

Operations that wait together are sent together, as one statement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator, Hashable, Sequence
from functools import partial
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import asked
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
    ATTRIBUTE_TYPES,
    INSTANCE_COLUMNS,
    NARROW_TYPES,
    REWRITTEN_TYPES,
    TYPES,
    Encoded,
    Form,
    encode,
    encoded,
    instance_from,
    prefixed,
    remembered_from,
    rewritten_rows,
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

Answer: TypeAlias = Result[Any, Any]
OnAnswers: TypeAlias = Callable[[Sequence[Answer]], None]

Send: TypeAlias = Callable[[Sequence[R]], Awaitable[Sequence[Answer]]]


class PendingStatement(Generic[R]):
    """A request to the server. It is sent when its answer is first awaited, and can be awaited again."""

    __slots__ = ("_answer", "_operation", "_queue", "_request")

    def __init__(self, queue: Queue[R], operation: str, request: R) -> None:
        self._queue = queue
        self._operation = operation
        self._request = request
        self._answer: Future[Any] | None = None

    def __await__(self) -> Generator[Any, Any, Answer]:
        # To await it a second time must not send a write a second time: the first await creates the only request.
        if self._answer is None:
            self._answer = self._queue.runtime.future()
            self._queue.send(self._operation, (self._request,), self._answered)
        answer: Answer = yield from self._answer.__await__()
        return answer

    def _answered(self, answers: Sequence[Answer]) -> None:
        if self._answer is not None and not self._answer.done():  # its caller may be cancelled
            self._answer.set_result(answers[0])


class Queue(Generic[R]):
    """Groups requests in their order, and starts the tasks that send them. Its callers form the groups.

    Args:
        send: sends a group, and returns an answer for each request.
        refusal: returns why an operation is refused now.
        lost: makes the error for a group whose sending raised.
        lanes: how many groups may be under way at the same time.
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
    ) -> None:
        self.runtime = runtime
        self._refusal = refusal
        self._name = name
        self._send = send
        self._lost = lost
        self._free_lanes = lanes
        self._lanes = lanes
        self._groups: deque[tuple[Sequence[R], OnAnswers]] = deque()
        self._closers: list[Future[None]] = []

    def operation(self, operation: str, request: R) -> PendingStatement[R]:
        """Create an operation with one request."""
        return PendingStatement(self, operation, request)

    def send(self, operation: str, requests: Sequence[R], answered: OnAnswers) -> None:
        """Send requests as one group.

        Args:
            operation: its name in errors.
            requests: the group.
            answered: called with all answers, in order, even if no caller waits.
        """
        # Refused before it is queued: `close` waits until the queues are empty, which a request after that would delay.
        refused = self._refusal(operation)
        if refused is not None:
            answered([Failure(refused)] * len(requests))
            return
        self._groups.append((requests, answered))
        # A lane sends group after group. With one lane the groups reach the server in the order of `send`, which two
        # commits to one address need: see `groups_of`.
        if self._free_lanes:
            self._free_lanes -= 1
            self.runtime.spawn(self._drive(), name=self._name)

    async def emptied(self) -> None:
        """Wait until every operation has its answer."""
        if self._free_lanes < self._lanes:
            self._closers.append(emptied := self.runtime.future())
            await emptied

    async def _drive(self) -> None:
        try:
            while self._groups:
                await self._serve(*self._groups.popleft())
        finally:
            # Also after a cancellation: `close` waits until all lanes are free.
            self._free_lanes += 1
            if self._free_lanes == self._lanes:
                self._end()

    async def _serve(self, requests: Sequence[R], answered: OnAnswers) -> None:
        try:
            answers = await self._send(requests)
        # Callers must get an answer even from a defect here: one without would wait for ever.
        except Exception as error:  # noqa: BLE001 - a defect of this code, reported to the callers
            answers = [Failure(self._lost(repr(error)))] * len(requests)
        except BaseException as error:  # the event loop is stopping
            answered([Failure(self._lost(repr(error)))] * len(requests))
            raise
        answered(answers)

    def _end(self) -> None:
        # Groups are left only if `_serve` raised, because the event loop stops: without an answer their callers never
        # end.
        stopping = Failure(StoreUnavailable("answer", "its event loop is stopping"))
        while self._groups:
            requests, answered = self._groups.popleft()
            answered([stopping] * len(requests))
        closers, self._closers = self._closers, []
        for closer in closers:
            if not closer.done():
                closer.set_result(None)


class GatheredAnswers:
    """Collects the answers to a batch's parts, and passes them on together, in the batch's order.

    Args:
        count: how many answers the batch has.
    """

    def __init__(self, count: int, answered: OnAnswers) -> None:
        self._answers: list[Any] = [None] * count
        self._missing = count
        self._answered = answered
        # No part follows whose answer would call the listener.
        if not count:
            answered([])

    def part(self, places: Sequence[int]) -> OnAnswers:
        """Return a part's listener.

        Args:
            places: where its requests are in the batch.
        """

        def listen(answers: Sequence[Answer]) -> None:
            for place, answer in zip(places, answers, strict=True):
                self._answers[place] = answer
            self._missing -= len(places)
            if not self._missing:
                self._answered(self._answers)

        return listen


def groups_of(touches: Sequence[tuple[Hashable, ...]], largest: int) -> list[list[int]]:
    """Divide a batch of changes into groups that can each be one statement, in the order in which they are sent.

    Two transitions for one address, or for one message, would not see each other in one statement: the later one goes
    into a later group.

    Args:
        touches: each change's address and message.
        largest: the maximum number of changes in a group.

    Returns:
        For each group, where its changes are in the batch.
    """
    groups: list[list[int]] = []
    first: dict[Hashable, int] = {}  # the first group that may touch each
    for place, touched in enumerate(touches):
        # Behind the last group that touches the same row: the later transition then compares the version that the
        # earlier one wrote. In one group both would compare the stored version, and one would be a conflict.
        at = max((first.get(each, 0) for each in touched), default=0)
        while at < len(groups) and len(groups[at]) == largest:
            at += 1
        if at == len(groups):
            groups.append([])
        groups[at].append(place)
        first.update(dict.fromkeys(touched, at + 1))
    return groups


_Commit = tuple[Transition, Encoded]
_Statement = tuple[Literal["read", "write", "renew"], str, str, tuple[Any, ...]]

CLOSE_WITHIN_MS: Final = 10_000
"""How long ``close`` waits for requests in progress, before it ends their connections."""

# Writers lock rows in one order, so the server rarely undoes a statement: after a third time the caller decides.
_REPEATS: Final = 3
_NOTHING: Final[Result[Any, Any]] = Success(Loaded())
# The union needs a value in the column of incarnations, and a narrow row returns none: its number alone means a
# conflict.
_REFUSED: Final = -1
_GONE: Final[Result[Any, Any]] = Success(Fence(0, 0))


class PostgresOperations:
    """Encodes requests, and sends them in groups, each as one statement.

    Attributes:
        damage: the rows that cannot be decoded.
        epoch: this opening's number.
        portion: instances that one portion of a search by attributes covers.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: PostgresSettings,
        connections: PostgresConnections,
        lock: OwnerLock | Lease | None,
        epoch: int,
    ) -> None:
        self.damage = CorruptRows()
        self.schema = settings.quoted
        self.epoch = epoch
        self.durability = settings.durability
        self.portion = runtime.sizes.searched_rows
        self.walked_keys = runtime.sizes.walked_keys
        self._lost: Future[str] = runtime.future()
        self._settings = settings
        self._connections = connections
        self._lock = lock
        self._state: Literal["open", "closing", "closed"] = "open"
        self._closers: list[Future[None]] = []
        self._runtime = runtime
        self._largest = runtime.sizes.group
        unread = partial(StoreUnavailable, "read")
        self._loads: Queue[LoadRequest] = Queue(
            runtime, f"perdure:reader {settings.name}", self._load, self.refusal, unread
        )
        self._commits: Queue[_Commit] = Queue(
            runtime, f"perdure:writer {settings.name}", self._commit, self.refusal, OutcomeUnknown
        )
        self._statements: Queue[_Statement] = Queue(
            runtime,
            f"perdure:statements {settings.name}",
            self._execute,
            self.refusal,
            OutcomeUnknown,
            lanes=runtime.sizes.statements,
        )
        # A queue of their own: behind a statement that is stuck, a heartbeat would come after the end of the lease.
        self._heartbeats: Queue[_Statement] = Queue(
            runtime,
            f"perdure:heartbeats {settings.name}",
            self._execute,
            self.refusal,
            OutcomeUnknown,
        )
        # An owner's only other commits wait in its own queue: without rivals, two parts of one statement cannot
        # deadlock.
        self._has_rivals = settings.ownership == "shared"
        self._commit_sql = _commit_sql(self.schema)
        self._load_sql = (
            "SELECT n, action, fingerprint, answer, expires_ms, failures, held, "  # noqa: S608 - as above
            f"{prefixed('(instance)', INSTANCE_COLUMNS)} FROM {self.schema}.load_keyed_group($1, $2, $3, $4, $5)"
        )

    # ------------------------------------------------------------ state
    def refusal(self, operation: str) -> StoreError | None:
        """Return why requests are refused. None while the store is open and owned."""
        if self._state != "open":
            return StoreUnavailable(operation, "the store is closed")
        return self._connections.lost

    def lose(self, reason: str) -> None:
        """Refuse all requests from now on: another opening has ended this one."""
        if self._state == "open":
            self._connections.lose(reason)
            self._note_loss()

    def _note_loss(self) -> None:
        if self._connections.lost is not None and not self._lost.done():
            self._lost.set_result(str(self._connections.lost))

    # ------------------------------------------------------------ load and commit
    def load(self, requests: Sequence[LoadRequest], answered: OnAnswers, /) -> None:
        """Read several addresses, and the answers stored under keys."""
        # Without an object to gather answers in the common case. Not for an empty batch: `_load` could not unpack its
        # columns.
        if 0 < len(requests) <= self._largest:
            self._loads.send("load", requests, partial(self._loaded, requests, answered))
            return
        gathered = GatheredAnswers(len(requests), answered)
        for first in range(0, len(requests), self._largest):
            part = requests[first : first + self._largest]
            told = gathered.part(range(first, first + len(part)))
            self._loads.send("load", part, partial(self._loaded, part, told))

    def commit(self, transitions: Sequence[Transition], answered: OnAnswers, /) -> None:
        """Write several transitions, in as few statements as their addresses and messages allow."""
        changes: list[_Commit] = []
        places: list[int] = []
        refused: list[tuple[int, Answer]] = []
        for place, transition in enumerate(transitions):
            try:
                changes.append((transition, encode(transition)))
                places.append(place)
            except Exception as error:  # noqa: BLE001 - a value that JSON cannot represent: the others are written
                unencoded = StoreUnavailable("commit", f"the transition does not encode: {error!r}")
                refused.append((place, Failure(unencoded)))
        groups = groups_of([_touched(transition) for transition, _ in changes], self._largest)
        if len(groups) == 1 and not refused:
            self._commits.send("commit", changes, partial(self._committed, changes, answered))
            return
        gathered = GatheredAnswers(len(transitions), answered)
        for place, answer in refused:
            gathered.part((place,))((answer,))
        for group in groups:
            part = [changes[at] for at in group]
            told = gathered.part([places[at] for at in group])
            self._commits.send("commit", part, partial(self._committed, part, told))

    def _loaded(self, requests: Sequence[LoadRequest], answered: OnAnswers, answers: Sequence[Any]) -> None:
        for request, answer in zip(requests, answers, strict=True):
            # Each load comes here, and corrupt rows are rare: without them, no answer is inspected.
            if self.damage or not isinstance(answer, Success):
                self._note_loaded(request.address, answer)
        answered(answers)

    def _committed(self, group: Sequence[_Commit], answered: OnAnswers, answers: Sequence[Any]) -> None:
        # A write replaces a corrupt row: health must not report the new one.
        if self.damage:
            for (transition, _), answer in zip(group, answers, strict=True):
                if isinstance(answer, Success):
                    self.damage.forget(transition.address)
        answered(answers)

    async def _load(self, group: Sequence[LoadRequest]) -> Sequence[Result[Loaded, StoreError]]:
        addresses = (each.address for each in group)
        kinds, names, ids = zip(*((encoded(a.kind), encoded(a.name), encoded(a.id)) for a in addresses), strict=True)
        keys, nows = [encoded(each.idempotency_key) for each in group], [each.now_ms for each in group]
        found = await self._connections.read("load", self._load_sql, kinds, names, ids, keys, nows)
        if not isinstance(found, Success):
            return [Failure(found.failure())] * len(group)
        answers: list[Result[Loaded, StoreError]] = [_NOTHING] * len(group)
        # The server numbers the requests from 1 (WITH ORDINALITY).
        for row in found.unwrap():
            at = int(row[0]) - 1
            answers[at] = _loaded_from(group[at].idempotency_key, tuple(row))
        return answers

    async def _commit(self, group: Sequence[_Commit]) -> Sequence[Result[Fence, Any]]:
        changes = [change for _, change in group]
        for _ in range(_REPEATS):
            try:
                form, values = statement(changes, has_rivals=self._has_rivals)
                sql = self._commit_sql[form]
                if again := rewritten_rows(changes):
                    sql = _with_rewritten(sql, self.schema, 3 + len(values))
                rows = await self._connections.execute(sql, self.epoch, self.durability, *values, *again)
            # Nothing was sent, so the outcome is known: `OutcomeUnknown` would make the engine read the row first.
            except NoConnection as error:
                return [Failure(unavailable("commit", error.reason))] * len(group)
            except (*DRIVER_ERRORS, *UNSENDABLE) as error:
                # Repeated here: the server has undone it, so no row changed, and the fences decide again.
                if is_worth_repeating(error):
                    continue
                return await self._failed(group, error)
            return _answers(group, rows, form)
        return [Failure(StoreUnavailable("commit", f"other transactions conflicted {_REPEATS} times"))] * len(group)

    async def repeated(self, operation: str, sql: str, *values: Any) -> Result[Rows, Any]:
        """Execute a statement that writes as durably as a commit, again if other transactions were in the way."""
        refused = self.refusal(operation)
        if refused is not None:
            return Failure(refused)
        for _ in range(_REPEATS):
            try:
                return Success(await self._connections.execute(sql, self.epoch, self.durability, *values))
            except NoConnection as error:
                return Failure(unavailable(operation, error.reason))
            except (*DRIVER_ERRORS, *UNSENDABLE) as error:
                if not is_worth_repeating(error):
                    ended = await self._connections.ended(error)
                    self._note_loss()
                    return Failure(ended or failure_of_write(operation, error))
        return Failure(StoreUnavailable(operation, f"other transactions conflicted {_REPEATS} times"))

    async def _failed(self, group: Sequence[_Commit], error: Exception) -> Sequence[Result[Fence, Any]]:
        """Return a failed group's answers: unless the server is the cause, one transition is."""
        # Before the class of the error: an ended opening stops the engine, and any other failure is retried for ever.
        ended = await self._connections.ended(error)
        if ended is not None:
            self._note_loss()
            return [Failure(ended)] * len(group)
        # Alone only after a refusal: a group of unknown outcome may be written, and a repetition would meet its own
        # rows as conflicts. One value that the server refuses must not fail the others.
        if is_about_the_connection(error) or len(group) == 1:
            return [Failure(failure_of_write("commit", error))] * len(group)
        return [answer for one in group for answer in await self._commit([one])]

    def _note_loaded(self, address: Address, loaded: Result[Loaded, StoreError]) -> None:
        match loaded:
            case Success(Loaded(instance=Instance())):
                self.damage.forget(address)
            case Failure(StoreCorrupt() as error):
                self.damage.note(error)
            case _:
                pass

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
        # The write that first meets the loss may have a caller that ignores it: the engine itself waits for `lost`.
        self._note_loss()
        return [answer]

    # ------------------------------------------------------------ the end
    def close(self) -> FutureResult[None, StoreError]:
        """Wait for pending requests, and close the connections."""
        return asked(self._close())

    async def _close(self) -> Result[None, StoreError]:
        if self._state == "open":
            # Before the first await: from now on `refusal` keeps new requests out of the queues that this empties.
            self._state = "closing"
            # A server that does not answer must not keep a process from ending. The outcome of these requests is then
            # unknown.
            limit = self._runtime.call_later(CLOSE_WITHIN_MS, self._connections.terminate)
            for queue in (self._loads, self._commits, self._statements, self._heartbeats):
                await queue.emptied()
            # After all statements: a standby that gets the lock earlier ends this opening, and the last commits would
            # be refused.
            if self._lock is not None:
                await self._lock.close(self.epoch)
            await self._connections.close()
            # Cancelled last: the lock's release and the end of the connections may wait for the same silent server.
            limit.cancel()
            self._state = "closed"
            for closer in self._closers:
                if not closer.done():
                    closer.set_result(None)
        # A second caller returns no earlier than the first: it may open the store again, and the lock is held until
        # then.
        elif self._state == "closing":
            self._closers.append(closed := self._runtime.future())
            await closed
        return Success(None)


def _touched(transition: Transition) -> tuple[Hashable, ...]:
    return (transition.address, *transition.message_ids)


def _loaded_from(key: str | None, row: tuple[Any, ...]) -> Result[Loaded, StoreError]:
    try:
        instance = None if row[7] is None else instance_from(row[7:])
    except StoreCorrupt as error:
        return Failure(error)
    remembered = None if key is None or row[1] is None else remembered_from(key, row[1:6])
    return Success(Loaded(instance=instance, remembered=remembered, keys_held=row[6]))


def _commit_sql(schema: str) -> dict[Form, str]:
    """Return the statement for each group form: the transitions it wrote, and the narrow ones it refused."""

    def marks(kinds: tuple[str, ...], first: int) -> str:
        return ", ".join(("$1::bigint", "$2::text", *(f"${n}::{kind}" for n, kind in enumerate(kinds, first))))

    narrow = f"SELECT n, {_REFUSED}::bigint FROM {schema}.commit_narrow({marks(NARROW_TYPES, 3)})"  # noqa: S608 - the name of the schema is checked
    group = f"SELECT n, incarnation FROM {schema}.commit_group"  # noqa: S608 - as above
    first = 3 + len(NARROW_TYPES)
    alone, rest = f"{group}({marks(TYPES, 3)})", f"{group}({marks(TYPES, first)})"

    def with_attributes(committing: str, after: int) -> str:
        """Return the statement that also writes the attributes of the transitions that were committed."""
        given = ", ".join(f"${n}::{kind}" for n, kind in enumerate(ATTRIBUTE_TYPES, after))
        # MATERIALIZED, and `written` in the last FROM: the server skips a SELECT in WITH that nothing reads, and the
        # attributes would not be written.
        return f"""
            SELECT d.n, d.incarnation FROM (
              WITH done AS MATERIALIZED ({committing}), written AS MATERIALIZED (
                SELECT {schema}.write_attributes(coalesce(array_agg(done.n), '{{}}'),
                  coalesce(array_agg(done.incarnation), '{{}}'), {given}) FROM done
              ) SELECT done.n, done.incarnation FROM done, written
            ) AS d
        """  # noqa: S608 - as above

    return {
        "any": alone,
        "narrow": narrow,
        "both": f"{narrow} UNION ALL {rest}",
        "any with attributes": with_attributes(alone, 3 + len(TYPES)),
        "both with attributes": f"{narrow} UNION ALL {with_attributes(rest, first + len(TYPES))}",
    }


def _with_rewritten(committing: str, schema: str, after: int) -> str:
    """Return the statement that also rewrites journal rows of the transitions that were committed.

    Composed here, and not in the function: earlier code calls that one with fewer arguments, and opens the same tables.
    """
    given = ", ".join(f"${n}::{kind}" for n, kind in enumerate(REWRITTEN_TYPES, after))
    return f"""
        WITH done AS MATERIALIZED ({committing}), again AS (
          UPDATE {schema}.journal AS j SET body = r.body
          FROM unnest({given}) AS r (n, place, body) JOIN done ON done.n = r.n
          WHERE j.incarnation = done.incarnation AND j.place = r.place
        ) SELECT done.n, done.incarnation FROM done
    """  # noqa: S608 - the name of the schema is checked


def _answers(group: Sequence[_Commit], rows: Rows, form: Form) -> list[Result[Fence, Any]]:
    # `commit_narrow` returns only the refused transitions: no row is the common case, and needs no dict.
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
    # The caller adds one to the version itself: a shared answer saves two objects for each commit.
    if type(write) is Put and write.changes != "any":
        return AS_EXPECTED  # type: ignore[no-any-return]
    return Success(_next_fence(transition))


def _next_fence(transition: Transition) -> Fence:
    expected = transition.expected
    return Fence(0, 0) if expected is None else Fence(expected.incarnation, expected.version + 1)
