"""The client for jobs on Restate: an engine's handles, over the cluster's ingress."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, Never, TypeVar
from urllib.parse import quote

import attrs
import httpx2
import orjson
from returns.result import Failure, Result, Success

from perdure.client.by_name import NamedJob
from perdure.client.client import Client
from perdure.client.gateway import concurrently
from perdure.client.local_gateway import NO_REPLY, check_published
from perdure.client.reading import ReadingGateway
from perdure.integrations.restate.mailbox import row_of
from perdure.integrations.restate.wire import (
    DEAD_LETTERS,
    EMPTY,
    MAILBOX,
    STATE,
    CommittedRow,
    JournalRows,
    MailboxState,
    RunEnd,
    TurnAnswer,
    TurnRequest,
    decoded,
    encoded,
)
from perdure.interpreters import Limits, Loaded, Request, decode_instance
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition, CallError, check_definition
from perdure.jobs.explanation import Answers, Explanation
from perdure.jobs.keys import check_key
from perdure.jobs.redaction import shown_status
from perdure.jobs.request import Terminate
from perdure.remote.async_channel import AsyncChannel, Connections
from perdure.remote.channel import AnswerLost, ClientClosed, HttpReply, NotSent
from perdure.remote.connecting import Connecting
from perdure.remote.servers import ServerUrl, server_url
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Future, Runtime
from perdure.stores.contract import Store
from perdure.stores.values import Backup, LoggedEvent, OnBackupProgress
from perdure.values.address import Address, Job, check_id
from perdure.values.attributes import Attribute, Condition
from perdure.values.errors import (
    DefinitionError,
    EngineClosed,
    InvalidInput,
    OutcomeUnknown,
    RequestError,
    ServerUnreachable,
    Undecodable,
    UnknownJob,
)
from perdure.values.excerpt import excerpt
from perdure.values.instance import Instance
from perdure.values.listings import (
    MAX_COUNTED,
    ForkedMany,
    HoldResult,
    JobCount,
    ListFilter,
    Listing,
    MatchCount,
    StatusCount,
    StoreCounts,
)
from perdure.values.live_event import EngineStopped
from perdure.values.message import StoredMessage
from perdure.values.status import Hold, Status
from perdure.values.status_wait import (
    Awaited,
    NeverStored,
    NotReached,
    PublishedValue,
    Reached,
    UpdateReply,
    WaitCondition,
    ticket_parts,
)
from perdure.values.stream import StreamPage
from perdure.values.times import Duration, duration_ms
from perdure.wire.operations import COUNTS, ClientOperation

A = TypeVar("A")

_UNLIMITED: Final = Limits(payload_bytes=1 << 40, input_bytes=1 << 40)
"""The worker knows its limits, and checks them."""

PAUSE_MS: Final = 20
MAX_PAUSE_MS: Final = 500
"""The pause before a repeat: first, and at last."""

INTERRUPT_MS: Final = 1_000
"""How long a ``terminate`` waits for a run that it interrupted, before it interrupts the next delivery."""

ATTACH_MS: Final = 5_000
"""How long an invocation that was sent may be unknown to the node that is asked for it."""

ROWS: Final = 500
"""Mailboxes that one SQL query returns."""

_SENT_MESSAGES: Final = (
    f"SELECT COUNT(*) AS n FROM sys_invocation WHERE target_service_name = '{MAILBOX}' "  # noqa: S608 - constants
    "AND target_handler_name = 'deliver' AND status <> 'completed'"
)
_DEAD_LETTERS: Final = f"SELECT COUNT(*) AS n FROM state WHERE service_name = '{DEAD_LETTERS}'"  # noqa: S608 - a constant

_AWAY: Final = frozenset({429, 502, 503, 504})
"""Statuses from a cluster or a proxy that did not handle the request."""

_OK: Final = 200
_ABSENT: Final = 404


@attrs.frozen(kw_only=True, eq=False)
class RestateGateway(ReadingGateway):
    """Reaches mailboxes over a Restate cluster's ingress.

    Attributes:
        ingress: the ingress URL, for messages.
        channel: sends requests to the ingress.
        admin: sends SQL queries to the admin API. None without one.
        jobs: the definitions, by kind and name.
        timeout_ms: how long a call may take.
        wait_timeout_ms: how long a call may take that waits for a run.
    """

    ingress: str
    channel: AsyncChannel
    admin: AsyncChannel | None
    jobs: Mapping[Job, AnyDefinition]
    runtime: Runtime
    timeout_ms: int
    wait_timeout_ms: int

    @property
    def name(self) -> str:
        """The ingress URL."""
        return self.ingress

    @property
    def definitions(self) -> Mapping[Job, AnyDefinition]:
        """The definitions, by kind and name."""
        return self.jobs

    @property
    def store(self) -> Store:
        """Refuse: a cluster has none.

        Raises:
            InvalidInput: always. A read that needs a store returns it.
        """
        raise _refusal("a read of the store")

    @property
    def journal_page(self) -> int:
        """How many journal rows one read returns."""
        return Limits().journal_page

    def unknown(self, kind: str, name: str, /) -> UnknownJob:
        """Return the error for a definition that the client was not connected with."""
        return UnknownJob(kind, name, tuple(map(":".join, self.jobs)), "client")

    def by_name(self, kind: str, name: str, /) -> NamedJob:
        """Return untyped access to a job.

        Raises:
            UnknownJob: the client was not connected with it.
        """
        job = self.jobs.get((kind, name))
        if job is None:
            raise self.unknown(kind, name)
        return NamedJob((kind, name), self, job)

    # ------------------------------------------------------------ requests
    def request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], name: str = "request", /
    ) -> Call[Any, Any]:
        """Send a request."""
        return Call(partial(self._request, definition, id_, build), name)

    async def _request(self, job: AnyDefinition, id_: str, build: Callable[[Limits], Request]) -> Result[Any, Any]:
        try:
            address = job.address(check_id(id_))
            request = build(_UNLIMITED)
            check_key(request.idempotency_key)
        except RequestError as refused:
            return Failure(refused)
        command = request.command
        if type(command) in job.copying:
            return Failure(_refusal(request.action))
        body = encoded(TurnRequest.of(request))
        interrupts = isinstance(command, Terminate) and command.when == "interrupt"
        # One deadline for all repeats and waits of this call: each of them on its own could add up to hours.
        deadline_ms, pause_ms = self.runtime.monotonic_ms() + self.wait_timeout_ms, PAUSE_MS
        while True:
            ask = self._interrupting if interrupts else self._turn
            sent = await ask(address, body, deadline_ms)
            if not isinstance(sent, Success):
                return Failure(sent.failure())
            answer: TurnAnswer = sent.unwrap()
            if answer.form == "run":
                return await self._attached(job, answer.body, deadline_ms)
            # Deferred: a run in progress must end first, and a mailbox that waited for it would block all other
            # requests.
            if answer.form != "deferred":
                return answer.result(job)
            if self.runtime.monotonic_ms() + pause_ms > deadline_ms:
                return Failure(ServerUnreachable(self.ingress, "a run in progress did not end within wait_timeout"))
            await self.runtime.sleep(pause_ms)
            pause_ms = min(2 * pause_ms, MAX_PAUSE_MS)

    async def _turn(self, address: Address, body: bytes, deadline_ms: float) -> Result[TurnAnswer, CallError]:
        # A new key of Restate's own for each decision: a repeat after a lost connection attaches to the first one.
        key = f"{self.runtime.new_id():x}"
        answer: Result[TurnAnswer, CallError] = await self._decoded(
            TurnAnswer, _path(address, "turn"), body, deadline_ms, key
        )
        return answer

    async def _interrupting(self, address: Address, body: bytes, deadline_ms: float) -> Result[TurnAnswer, CallError]:
        """Cancel the run in progress, and terminate. If another request's run begins before, cancel that one, too."""
        turn = self.runtime.spawn(self._turn(address, body, deadline_ms), name="perdure:terminate on Restate")
        try:
            while True:
                await self._bytes("POST", _path(address, "interrupt"), EMPTY, deadline_ms, None)
                over: Future[None] = self.runtime.future()
                timer = self.runtime.call_later(INTERRUPT_MS, partial(_resolve, over))
                turn.add_done_callback(partial(_resolve, over))
                await over
                timer.cancel()
                if turn.done():
                    return turn.result()
        finally:
            # The caller has left. The `terminate` that Restate has accepted happens all the same.
            turn.cancel()

    async def _attached(self, job: AnyDefinition, invocation: str, deadline_ms: float) -> Result[Any, Any]:
        """Wait for a run beside the mailbox, and return the answer in its end."""
        path, since_ms = f"/restate/invocation/{invocation}/attach", self.runtime.monotonic_ms()
        while True:
            found = await self._reply("GET", path, b"", deadline_ms, None)
            if not isinstance(found, Success):
                return Failure(OutcomeUnknown(str(found.failure())))
            reply = found.unwrap()
            if reply.status == _OK:
                return decoded(RunEnd, reply.body).answer.result(job)
            # A node may not know yet an invocation that another one accepted a moment ago.
            if reply.status != _ABSENT or self.runtime.monotonic_ms() - since_ms > ATTACH_MS:
                return Failure(OutcomeUnknown(f"the run {invocation} has no result: {_detail(reply)}"))
            await self.runtime.sleep(PAUSE_MS)

    # ------------------------------------------------------------ HTTP
    async def _decoded(
        self, cls: type[A], path: str, body: bytes, deadline_ms: float, key: str | None = None
    ) -> Result[A, Any]:
        found = await self._bytes("POST", path, body, deadline_ms, key)
        if not isinstance(found, Success):
            return Failure(found.failure())
        try:
            return Success(decoded(cls, found.unwrap()))
        except InvalidInput as problem:
            return Failure(OutcomeUnknown(f"the answer of the worker does not decode: {problem}"))

    async def _bytes(
        self, method: Literal["GET", "POST"], path: str, body: bytes, deadline_ms: float, key: str | None
    ) -> Result[bytes, Any]:
        found = await self._reply(method, path, body, deadline_ms, key)
        if not isinstance(found, Success):
            return Failure(found.failure())
        reply = found.unwrap()
        if reply.status == _OK:
            return Success(reply.body)
        # No service of this name: nothing was applied, so the outcome is not unknown.
        if reply.status == _ABSENT:
            reason = f"{_detail(reply)}; register the worker of this app with the cluster"
            return Failure(ServerUnreachable(self.ingress, reason))
        return Failure(OutcomeUnknown(f"Restate answered status {reply.status}: {_detail(reply)}"))

    async def _reply(
        self, method: Literal["GET", "POST"], path: str, body: bytes, deadline_ms: float, key: str | None
    ) -> Result[HttpReply, Any]:
        """Send a request until it is answered: a repeat with the same key is the same invocation."""
        pause_ms, sent, reach_ms = PAUSE_MS, False, self.runtime.monotonic_ms() + self.timeout_ms
        while True:
            left_ms = deadline_ms - self.runtime.monotonic_ms()
            try:
                reply = await self.channel.http(method, path, max(1.0, left_ms), body, key)
                if reply.status not in _AWAY:
                    return Success(reply)
                reason = f"status {reply.status}: {_detail(reply)}"
            except NotSent as away:
                reason = away.reason
            # From here on the request may have been handled: it is repeated up to the deadline, and no longer given up
            # after `timeout`.
            except AnswerLost as lost:
                reason, sent = lost.reason, True
            except ClientClosed:
                return Failure(EngineClosed())
            now_ms = self.runtime.monotonic_ms()
            if now_ms + pause_ms > (deadline_ms if sent else min(deadline_ms, reach_ms)):
                # A read has no key, and its outcome does not matter.
                error = OutcomeUnknown(reason) if sent and key is not None else ServerUnreachable(self.ingress, reason)
                return Failure(error)
            await self.runtime.sleep(pause_ms)
            pause_ms = min(2 * pause_ms, MAX_PAUSE_MS)

    # ------------------------------------------------------------ reads of one instance
    async def load(self, address: Address, /) -> Result[Loaded, Any]:
        """Read an instance's committed row."""
        found = await self._found(address)
        return found.map(lambda row: Loaded(instance=None if row.row is None else decode_instance(row.row)))

    async def _found(self, address: Address) -> Result[CommittedRow, Any]:
        deadline_ms = self.runtime.monotonic_ms() + self.timeout_ms
        return await self._decoded(CommittedRow, _path(address, "read"), EMPTY, deadline_ms)

    async def answer(self, read: Callable[[], Awaitable[Result[A, Any]]], /) -> Result[A, Any]:
        """Perform a read, and return its answer. One that needs a store is refused."""
        try:
            return await read()
        except RequestError as refused:
            return Failure(refused)

    async def journal(self, row: Instance | None, /) -> Result[tuple[str, ...], Any]:
        """Read a row's journal."""
        rows: list[str] = []
        while row is not None and len(rows) < row.journal_length:
            limit = min(self.journal_page, row.journal_length - len(rows))
            wanted = encoded(JournalRows(first=len(rows), limit=limit))
            deadline_ms = self.runtime.monotonic_ms() + self.timeout_ms
            found = await self._decoded(JournalRows, _path(row.address, "journal"), wanted, deadline_ms)
            if not isinstance(found, Success):
                return Failure(found.failure())
            bodies = found.unwrap().bodies
            # The journal was cut since the row was read.
            if not bodies:
                break
            rows.extend(bodies)
        return Success(tuple(rows))

    def until(self, address: Address, wanted: WaitCondition, timeout_ms: int, /) -> Call[Awaited, CallError]:
        """Read an instance until it has a wanted status."""
        return Call(partial(self._until, address, wanted, timeout_ms), "until")

    async def _until(self, address: Address, wanted: WaitCondition, timeout_ms: int) -> Result[Awaited, CallError]:
        job = self.jobs.get((address.kind, address.name))
        if job is None:
            return Failure(self.unknown(address.kind, address.name))
        deadline_ms, pause_ms, seen = self.runtime.monotonic_ms() + timeout_ms, PAUSE_MS, False
        while True:
            found = await self._found(address)
            if not isinstance(found, Success):
                return Failure(found.failure())
            row = None if found.unwrap().row is None else decode_instance(found.unwrap().row or "")
            # An instance that was there and is gone has ended. One that never was is an error of the caller.
            seen = seen or row is not None or found.unwrap().existed
            try:
                if _ends(job, row, wanted):
                    status = shown_status(job, row)
                    known = seen or wanted.ticket or wanted.published or "not_found" in wanted.statuses
                    return Success(Reached(status) if known else NeverStored())
            except InvalidInput as problem:
                return Failure(Undecodable(str(address), problem.problems))
            left_ms = deadline_ms - self.runtime.monotonic_ms()
            if left_ms <= 0:
                return Success(NotReached(shown_status(job, row)))
            await self.runtime.sleep(min(pause_ms, left_ms))
            pause_ms = min(2 * pause_ms, MAX_PAUSE_MS)

    def reply_to(self, definition: AnyDefinition, id_: str, ticket: str, /) -> Call[UpdateReply, CallError]:
        """Read the reply to an update."""
        return Call(partial(self._reply_to, definition, id_, ticket), "reply_to")

    async def _reply_to(self, job: AnyDefinition, id_: str, ticket: str) -> Result[UpdateReply, CallError]:
        try:
            place = ticket_parts(ticket)
        except RequestError as refused:
            return Failure(refused)
        loaded = await self._read(job, id_, lambda loaded: loaded.instance)
        if not isinstance(loaded, Success):
            return Failure(loaded.failure())
        row: Instance | None = loaded.unwrap()
        is_open = row is not None and not job.has_answered(row, place)
        # Another incarnation has the same id, and none of the replies of this one.
        if row is None or is_open or row.incarnation != place[0]:
            return Success(UpdateReply(form="waiting") if is_open else NO_REPLY)
        rows = await self.journal(row)
        if not isinstance(rows, Success):
            return Failure(rows.failure())
        reply = job.reply_in(row, rows.unwrap(), place[1])
        return Success(NO_REPLY if reply is None else UpdateReply(form=reply[0], value=reply[1]))

    def published_by(self, definition: AnyDefinition, id_: str, name: str, /) -> Call[PublishedValue, CallError]:
        """Read the value that an instance published."""
        return Call(partial(self._published_by, definition, id_, name), "published_by")

    async def _published_by(self, job: AnyDefinition, id_: str, name: str) -> Result[PublishedValue, CallError]:
        try:
            check_published(job, name)
        except RequestError as refused:
            return Failure(refused)

        def found(loaded: Loaded) -> PublishedValue:
            row = loaded.instance
            value = None if row is None else job.published_in(row, name)
            return value or PublishedValue(form="absent")

        return await self._read(job, id_, found)

    # ------------------------------------------------------------ many instances, by SQL
    def find(self, wanted: ListFilter, /) -> Call[Listing, CallError]:
        """Find instances, ordered by their printed addresses."""
        return Call(partial(self._find, wanted), "find")

    async def _find(self, wanted: ListFilter) -> Result[Listing, CallError]:
        if wanted.where:
            return Failure(_refusal("where of list"))
        # A prefix of the printed address, as far as the filter begins it. `_fits` checks the rest.
        prefix = f"{wanted.kind or ''}:{wanted.name or ''}:{wanted.id_prefix}" if wanted.kind and wanted.name else ""
        found, after = list[Instance](), "" if wanted.after is None else str(wanted.after)
        scanned = 0
        while True:
            page = await self._mailboxes(prefix or (f"{wanted.kind}:" if wanted.kind else ""), after)
            if not isinstance(page, Success):
                return Failure(page.failure())
            rows = page.unwrap()
            for key, state in rows:
                row = row_of(state)
                after, scanned = key, scanned + 1
                if row is not None and self._fits(row, wanted):
                    found.append(row)
                stops = wanted.max_scanned is not None and scanned >= wanted.max_scanned
                # Checked for each row: the next page begins behind this one, and not behind the page that SQL returned.
                if len(found) == wanted.limit or stops:
                    place = Address.parse(after)
                    listed = tuple(map(self.listed, found))
                    return Success(Listing(instances=listed, after=place, partial=len(found) < wanted.limit))
            if len(rows) < ROWS:
                return Success(Listing(instances=tuple(map(self.listed, found))))

    def _fits(self, row: Instance, wanted: ListFilter) -> bool:
        listed = self.listed(row)
        due = wanted.due_before_ms
        return (
            (wanted.kind is None or row.address.kind == wanted.kind)
            and (wanted.name is None or row.address.name == wanted.name)
            and row.address.id.startswith(wanted.id_prefix)
            and (wanted.status is None or listed.status == wanted.status)
            and (due is None or (row.due_ms is not None and row.due_ms < due))
        )

    async def _sql(self, query: str) -> Result[list[dict[str, Any]], Any]:
        if self.admin is None:
            return Failure(InvalidInput("list on Restate", ("expected admin_url=..., which answers SQL; got None",)))
        try:
            reply = await self.admin.http("POST", "/query", self.timeout_ms, orjson.dumps({"query": query}), None)
        except (NotSent, AnswerLost) as away:
            return Failure(ServerUnreachable("the admin API of Restate", away.reason))
        except ClientClosed:
            return Failure(EngineClosed())
        if reply.status != _OK:
            return Failure(ServerUnreachable("the admin API of Restate", _detail(reply)))
        found: list[dict[str, Any]] = orjson.loads(reply.body)["rows"]
        return Success(found)

    async def _mailboxes(self, prefix: str, after: str) -> Result[list[tuple[str, MailboxState]], Any]:
        query = (  # the texts are quoted
            f"SELECT service_key, value_utf8 FROM state WHERE service_name = '{MAILBOX}' AND key = '{STATE}' "  # noqa: S608 - as above
            # Pages by key and not by offset: mailboxes that come and go between two pages shift no row.
            f"AND starts_with(service_key, {_quoted(prefix)}) AND service_key > {_quoted(after)} "
            f"ORDER BY service_key LIMIT {ROWS}"
        )
        found = await self._sql(query)
        if not isinstance(found, Success):
            return Failure(found.failure())
        try:
            return Success(
                [(each["service_key"], decoded(MailboxState, each["value_utf8"].encode())) for each in found.unwrap()]
            )
        except InvalidInput as problem:
            return Failure(Undecodable("a mailbox on Restate", problem.problems))

    async def _scanned(self, prefix: str, see: Callable[[MailboxState], None]) -> Result[bool, Any]:
        """Read mailboxes, at most `MAX_COUNTED`. Return whether these are all."""
        after, scanned = "", 0
        while scanned < MAX_COUNTED:
            page = await self._mailboxes(prefix, after)
            if not isinstance(page, Success):
                return Failure(page.failure())
            rows = page.unwrap()
            try:
                for _, state in rows:
                    see(state)
            except InvalidInput as problem:
                return Failure(Undecodable("a mailbox on Restate", problem.problems))
            after, scanned = rows[-1][0] if rows else after, scanned + len(rows)
            if len(rows) < ROWS:
                return Success(True)  # noqa: FBT003 - the answer
        return Success(False)  # noqa: FBT003 - the answer

    def count(self, job: Job, /) -> Call[JobCount, CallError]:
        """Count a job's instances by status, at most `MAX_COUNTED` mailboxes."""
        return Call(partial(self._count, job), "count")

    async def _count(self, job: Job) -> Result[JobCount, CallError]:
        counts: Counter[Status] = Counter()

        def see(state: MailboxState) -> None:
            row = row_of(state)
            if row is not None:
                counts[row.status] += 1

        whole = await self._scanned(f"{':'.join(job)}:", see)
        return whole.map(lambda is_whole: JobCount(hold="released", by_status=dict(counts), complete=is_whole))

    async def _counts(self) -> Result[StoreCounts, CallError]:
        counts: Counter[tuple[str, str, Status]] = Counter()
        dues, held = list[int](), 0

        def see(state: MailboxState) -> None:
            nonlocal held
            held, row = held + len(state.held), row_of(state)
            if row is None:
                return
            counts[row.address.kind, row.address.name, row.status] += 1
            if row.due_ms is not None:
                dues.append(row.due_ms)

        whole = await self._scanned("", see)
        if not isinstance(whole, Success):
            return Failure(whole.failure())
        sent = await self._sql(_SENT_MESSAGES)
        dead = await self._sql(_DEAD_LETTERS)
        if not (isinstance(sent, Success) and isinstance(dead, Success)):
            return Failure((sent if not isinstance(sent, Success) else dead).failure())
        return Success(
            StoreCounts(
                instances=tuple(StatusCount(*place, number) for place, number in sorted(counts.items())),
                complete=whole.unwrap(),
                oldest_due_ms=min(dues, default=None),
                messages=min(held + sent.unwrap()[0]["n"], MAX_COUNTED),
                dead_letters=min(dead.unwrap()[0]["n"], MAX_COUNTED),
            )
        )

    def concurrently(self, calls: Sequence[Call[Any, Any]], /) -> Call[tuple[Result[Any, Any], ...], Never]:
        """Make several calls at the same time."""
        return Call(partial(concurrently, self.runtime, calls), "concurrently")

    # ------------------------------------------------------------ calls that need an engine
    def count_matching(
        self, job: Job, where: Sequence[Condition | Attribute[Any, bool] | str], /
    ) -> Call[MatchCount, CallError]:
        """Refuse: SQL has no index for attributes."""
        return _refused("count_matching")

    def set_hold(self, job: Job, hold: Hold, /) -> Call[HoldResult, CallError]:
        """Refuse: a mailbox does not know its job's other instances."""
        return _refused("hold and release")

    def fork_many(self, job: Job, given: Mapping[str, object], /) -> Call[ForkedMany, CallError]:
        """Refuse: a mailbox reads no other one's journal."""
        return _refused("fork_many")

    def stream_page(self, address: Address, stream: str, after: int, wait_ms: int, /) -> Call[StreamPage, CallError]:
        """Refuse: a mailbox stores no chunks."""
        return _refused("stream")

    def explain_request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers, /
    ) -> Call[Explanation, CallError]:
        """Refuse: the services are in the worker."""
        return _refused("explain")

    def history(
        self, address: Address, /, *, before: int | None, limit: int
    ) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Refuse: there is no ordered log."""
        return _refused("history")

    def dead_letters(self, after: int, limit: int) -> Call[tuple[StoredMessage, ...], CallError]:
        """Refuse: SQL shows the object that keeps them."""
        return _refused("dead_letters")

    def stopped(self) -> Call[EngineStopped, CallError]:
        """Refuse: there is no engine."""
        return _refused("stopped")

    def backup(self, path: str, progress: OnBackupProgress, /) -> Call[Backup, CallError]:
        """Refuse: Restate has its own snapshots."""
        return _refused("backup")

    def perform(self, operation: ClientOperation[A], /, **given: object) -> Call[A, CallError]:
        """Count the instances, or refuse another operation: only an engine performs it."""
        if operation.name != COUNTS.name:
            return _refused(operation.name)
        counted: Call[Any, CallError] = Call(self._counts, operation.name)
        return counted


def _refusal(what: str) -> InvalidInput:
    problem = f"{what} is not served on Restate; expected a call that docs/how-to/run-on-restate.md lists"
    return InvalidInput(what, (problem,))


def _refused(what: str) -> Call[Any, CallError]:
    async def refused() -> Result[Any, CallError]:
        return Failure(_refusal(what))

    return Call(refused, what)


def _resolve(future: Future[None], _: object = None) -> None:
    if not future.done():
        future.set_result(None)


def _path(address: Address, handler: str) -> str:
    return f"/{MAILBOX}/{quote(str(address), safe='')}/{handler}"


def _quoted(text: str) -> str:
    # Ids are free text of callers: an apostrophe must not end the literal.
    return "'" + text.replace("'", "''") + "'"


def _detail(reply: HttpReply) -> str:
    return excerpt(reply.body[:500].decode("utf-8", "replace"))


def _ends(job: AnyDefinition, row: Instance | None, wanted: WaitCondition) -> bool:
    """Return whether a committed row ends a wait.

    Raises:
        InvalidInput: this code cannot decode the row.
    """
    if wanted.ticket:
        return row is None or job.has_answered(row, ticket_parts(wanted.ticket))
    if wanted.published:
        found = None if row is None else job.published_in(row, wanted.published)
        return found is None or found.form != "waiting"
    return wanted.ends_with(shown_status(job, row), over=row is not None and job.is_over(row))


# ---------------------------------------------------------------- connecting
@attrs.frozen(kw_only=True)
class RestateSettings:
    """The checked `connect_restate` arguments.

    Attributes:
        timeout_ms: how long a call may take.
        wait_timeout_ms: how long a call may take that waits for a run.
    """

    ingress: ServerUrl
    admin: ServerUrl | None
    jobs: dict[Job, AnyDefinition]
    timeout_ms: int
    wait_timeout_ms: int


MAX_CONNECTIONS: Final = 100
"""Connections to the ingress. Further calls wait for one."""


def connect_restate(
    ingress_url: str,
    /,
    *definitions: AnyDefinition,
    admin_url: str | None = None,
    timeout: Duration = "10 seconds",
    wait_timeout: Duration = "60 seconds",
) -> Connecting:
    """Connect to jobs on a Restate cluster.

    Use it as ``async with connect_restate("http://127.0.0.1:8080", orders) as jobs:``. The handles, results and errors
    are as with `perdure.connect`.

    Args:
        ingress_url: the cluster's ingress.
        *definitions: for the typed handles, the same as the worker's.
        admin_url: the admin API's URL, which answers lists and counts. Without it, they are refused.
        timeout: how long a call may take to reach the cluster.
        wait_timeout: how long a call may take in all, its run included.

    Raises:
        DefinitionError: when the block begins: an argument is not valid.
    """
    return Connecting(_opened(lambda: _settings(ingress_url, definitions, admin_url, timeout, wait_timeout)))


def _settings(
    ingress: object, definitions: Sequence[object], admin: object, timeout: Duration, wait_timeout: Duration
) -> RestateSettings:
    jobs: dict[Job, AnyDefinition] = {}
    for value in definitions:
        job = check_definition(value)
        if (job.kind, job.name) in jobs:
            raise DefinitionError("definitions of a client", f"{job.kind}:{job.name} twice", "each kind and name once")
        jobs[job.kind, job.name] = job
    timeout_ms = duration_ms(timeout, what="timeout of connect_restate", minimum_ms=1)
    wait_ms = duration_ms(wait_timeout, what="wait_timeout of connect_restate", minimum_ms=1)
    return RestateSettings(
        ingress=_http(ingress, "ingress_url"),
        admin=None if admin is None else _http(admin, "admin_url"),
        jobs=jobs,
        timeout_ms=timeout_ms,
        # A call that waits for its run also has to reach the cluster.
        wait_timeout_ms=max(timeout_ms, wait_ms),
    )


def _http(url: object, name: str) -> ServerUrl:
    found = server_url(url)
    if found.socket is not None:
        raise DefinitionError(f"{name} of connect_restate", url, "'http://host:port' or 'https://host'")
    return found


@asynccontextmanager
async def _opened(settle: Callable[[], RestateSettings]) -> AsyncGenerator[Client]:
    given, runtime = settle(), asyncio_runtime()

    def channel(url: ServerUrl) -> AsyncChannel:
        accept = {"Accept": "application/json"}
        connections = Connections(
            base=url.base, socket=None, headers=accept, runtime=runtime, tls=httpx2.create_ssl_context
        )
        return AsyncChannel(connections, MAX_CONNECTIONS, runtime)

    channels = [channel(given.ingress)] if given.admin is None else [channel(given.ingress), channel(given.admin)]
    try:
        yield Client(
            RestateGateway(
                ingress=given.ingress.name,
                channel=channels[0],
                admin=channels[1] if len(channels) > 1 else None,
                jobs=given.jobs,
                runtime=runtime,
                timeout_ms=given.timeout_ms,
                wait_timeout_ms=given.wait_timeout_ms,
            )
        )
    finally:
        for each in channels:
            await each.close()
