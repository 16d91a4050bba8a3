"""Reaches an engine in another process, and its jobs by name: JSON in and out, without their definitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, Never, TypeVar
from urllib.parse import urlencode

import attrs
import orjson
from returns.result import Failure, Result, Success

from perdure.client.gateway import JobByName, check_definition
from perdure.codecs import Codec
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition, CallError, EventError
from perdure.jobs.display import NOT_FOUND
from perdure.jobs.explanation import NO_ANSWERS, Answers, Explanation, explain
from perdure.jobs.keys import check_key
from perdure.jobs.request import Repeat, Request, Terminate, WaitFor, check_timeout, check_wait
from perdure.remote.servers import CallRepeat, Server, ServerCall, Servers
from perdure.stores.values import Backup, LoggedEvent, OnBackupProgress
from perdure.values.address import Address, Job, check_id
from perdure.values.attributes import Attribute, Condition, checked_where
from perdure.values.errors import (
    BackupFailed,
    InvalidArgument,
    InvalidInput,
    OutcomeUnknown,
    PerdureError,
    RequestError,
    ServerUnreachable,
    Undecodable,
    UnknownJob,
)
from perdure.values.excerpt import excerpt
from perdure.values.limits import Limits
from perdure.values.listings import (
    ForkedMany,
    HoldResult,
    InstanceOutcome,
    JobCount,
    ListFilter,
    Listing,
    MatchCount,
    StepRecord,
)
from perdure.values.live_event import EngineStopped
from perdure.values.status import Hold, InstanceStatus
from perdure.values.status_wait import (
    Awaited,
    CallEnd,
    NeverStored,
    NotReached,
    PublishedValue,
    Reached,
    UpdateReply,
    WaitCondition,
)
from perdure.values.stream import StreamPage
from perdure.values.times import Duration, from_ms
from perdure.values.trace import CurrentTrace, trace_context
from perdure.wire.explanation import explain_inputs_of
from perdure.wire.operations import (
    COUNT,
    COUNT_MATCHING,
    FORK_MANY,
    HISTORY,
    HOLD,
    LIST,
    PUBLISHED,
    RELEASE,
    REPLY,
    ClientOperation,
    check_text,
)
from perdure.wire.problems import error_of
from perdure.wire.records import LONGEST_WAIT_MS, awaited_of, record_of, steps_from
from perdure.wire.requests import READS, Envelope, instance_path

CREATES: Final = frozenset({"put", "start"})
"""The actions that create an instance with a new id. By name, they get a key of their own, as a typed `start` does."""


@attrs.frozen(eq=False, repr=False)
class RemoteJob(JobByName):
    """Calls to a job in another process. The server checks the names."""

    gateway: RemoteGateway

    def call(
        self,
        action: str,
        id_: str,
        /,
        payload: str = "",
        *,
        idempotency_key: str | None = None,
        wait_for: WaitFor = "completion",
        interrupt: bool = False,
        trace: str | None = None,
    ) -> Call[Any, EventError[Any]]:
        """Send a request. See `JobByName.call`. A ``Rejected`` has as its error a `Defect` with the error's class name.

        The `Defect`'s message is the error's JSON, with ``<secret>`` in each secret's place.
        """

        def build() -> Envelope:
            check_wait(action, wait_for, interrupt)
            return self._envelope(
                action,
                id_,
                payload,
                key=idempotency_key,
                wait_for=wait_for,
                interrupt=interrupt,
                trace=trace_context(trace),
            )

        return Call(partial(self._ask, build), "call")

    def call_and_wait(
        self,
        action: str,
        id_: str,
        /,
        payload: str = "",
        *,
        timeout: Duration = "1 minute",
        idempotency_key: str | None = None,
    ) -> Call[CallEnd, EventError[Any]]:
        """Send a request, and wait until its work is over. See `JobByName.call_and_wait`.

        Each request of it waits 20 seconds at most. It is repeated, which changes nothing.
        """
        return Call(partial(self._call_and_wait, action, id_, payload, timeout, idempotency_key), "call_and_wait")

    async def _call_and_wait(
        self, action: str, id_: str, payload: str, within: Duration, key: str | None
    ) -> Result[CallEnd, Any]:
        try:
            envelope = self._envelope(action, id_, payload, key=_in_a_header(key))
            timeout_ms = check_timeout(within, of="call_and_wait")
        except RequestError as refused:
            return Failure(refused)
        address, clock = Address(*self.job, id_), self.gateway.servers.runtime
        deadline = clock.now_ms() + timeout_ms
        while True:
            # Not negative: the last round has no time left, and still reads the answer.
            left_ms = max(0, round(deadline - clock.now_ms()))
            # Proxies close a connection that is silent for longer.
            wait_ms = min(left_ms, self.gateway.longest_wait_ms)
            path = f"{instance_path(address, 'wait', action)}?{urlencode({'timeout': f'{wait_ms} ms'})}"
            # The server refuses a request without a key that a repeat would apply again.
            call = ServerCall(about=str(address), repeat="changes_nothing", waits_ms=wait_ms)
            answer = await self.gateway.http("POST", path, _end, call, envelope.payload, key)
            if not isinstance(answer, Success) or answer.unwrap().form == "reached" or left_ms <= wait_ms:
                return answer

    async def _ask(self, build: Callable[[], Envelope]) -> Result[Any, Any]:
        try:
            envelope = build()
        except RequestError as refused:
            return Failure(refused)
        # Without a definition the effect of a repeat is not known. A key makes it harmless, and costs a new id one key.
        repeat: Repeat = "starts_again" if envelope.action in CREATES else "applies_again"
        return await self.gateway.ask(envelope, _unchanged, repeat=repeat)

    def explain(
        self,
        action: str,
        id_: str,
        /,
        payload: str = "",
        *,
        answers: Answers = NO_ANSWERS,
        idempotency_key: str | None = None,
    ) -> Call[Any, CallError]:
        """Compute a request's effect without applying it, on the server. See `JobByName.explain`."""
        return Call(partial(self._explain, action, id_, payload, answers, idempotency_key), "explain")

    async def _explain(
        self, action: str, id_: str, payload: str, answers: Answers, key: str | None
    ) -> Result[Any, Any]:
        try:
            # Answers have types, which only a definition can encode.
            if answers:
                raise InvalidArgument("answers of explain", answers, "none: use the definition to pass answers")
            envelope = self._envelope(action, id_, payload, key=_in_a_header(key))
        except RequestError as refused:
            return Failure(refused)
        address = Address(*self.job, id_)
        path, call = instance_path(address, "explain", action), ServerCall(about=str(address), repeat="reads")
        return await self.gateway.http("POST", path, _unchanged, call, envelope.payload, key)

    def status(self, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""
        return Call(partial(self._read, "status", id_, lambda answer: record_of(InstanceStatus, answer)), "status")

    def get_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data. None when there is no instance."""
        return Call(partial(self._read, "get_state", id_, _unchanged), "get_state")

    def shown_state(self, id_: str, /) -> Call[Any, CallError]:
        """Read the committed state as JSON-able data, with ``<secret>`` in each secret's place."""
        return Call(partial(self._read, "shown_state", id_, _unchanged), "shown_state")

    def shown_outcome(self, id_: str, /) -> Call[InstanceOutcome | None, CallError]:
        """Read how an instance ended, without secrets. None if it has not, or if its kind does not keep that."""
        return Call(partial(self._read, "shown_outcome", id_, _outcome), "shown_outcome")

    def steps(self, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read an instance's steps, if it has a journal, such as a workflow."""
        return Call(partial(self._read, "steps", id_, steps_from), "steps")

    async def _read(self, action: str, id_: str, decode: Callable[[Any], Any]) -> Result[Any, Any]:
        try:
            envelope = self._envelope(action, id_, "")
        except RequestError as refused:
            return Failure(refused)
        return await self.gateway.ask(envelope, decode)

    def _envelope(self, action: str, id_: str, payload: str, **given: Any) -> Envelope:
        check_text(action, what="action of a call by name")
        check_id(id_)
        check_key(given.get("key"))
        if not isinstance(payload, str):  # pyright: ignore[reportUnnecessaryIsInstance] - tools pass any object
            raise InvalidArgument(f"payload of {action}", payload, "JSON text; empty when the action takes none")
        if payload:
            try:
                orjson.loads(payload)
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"{action} of {':'.join(self.job)}", (f"$: not JSON: {error}",)) from error
        kind, name = self.job
        return Envelope(number=0, kind=kind, job=name, id=id_, action=action, payload=payload.encode(), **given)


def _in_a_header(key: str | None) -> str | None:
    check_key(key)
    # A header cannot carry line breaks, and servers strip blanks: another key would be used.
    if key is None or (key.isprintable() and key == key.strip()):
        return key
    raise InvalidArgument("idempotency_key in a header", key, "printable text without blanks at its ends")


def _end(answer: Any) -> CallEnd:
    return record_of(CallEnd, answer)


def _unchanged(answer: Any) -> Any:
    return answer


def _outcome(answer: Any) -> InstanceOutcome | None:
    return None if answer is None else record_of(InstanceOutcome, answer)


A = TypeVar("A")

_RUNS = frozenset({"flush", "start", "terminate", "trigger"})
"""The actions that wait for a run, at its completion or at its end."""

_NO_ENGINE = frozenset(range(300, 500)) - {408}
"""Statuses that refuse a request before it reaches an engine, if the response is not an engine's."""

_UNLIMITED = Limits(payload_bytes=1 << 40, input_bytes=1 << 40)
"""The server knows its limits, and checks them."""


@attrs.frozen(kw_only=True, eq=False)
class RemoteGateway:
    """Reaches engines in other processes. Every call checks its arguments when it is awaited.

    Attributes:
        servers: send the requests.
        definitions: for the typed handles, by kind and name.
        wait_timeout_ms: how long a call may take that waits for a run, repeats included.
        draws_keys: whether a request gets a new idempotency key that has none, and that a repeat would apply again.
        trace: returns the caller's trace context. None to send none.
        longest_wait_ms: how long one request may wait for a status.
    """

    servers: Servers
    definitions: Mapping[tuple[str, str], AnyDefinition]
    wait_timeout_ms: int
    draws_keys: bool
    trace: CurrentTrace | None = None
    longest_wait_ms: int = LONGEST_WAIT_MS

    @property
    def name(self) -> str:
        """The servers' URLs."""
        return self.servers.name

    def unknown(self, kind: str, name: str, /) -> UnknownJob:
        """Return the error for a definition that the client was not connected with."""
        return UnknownJob(kind, name, tuple(f"{kind}:{name}" for kind, name in self.definitions), "client")

    # ------------------------------------------------------------ one instance
    def request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], name: str = "request", /
    ) -> Call[Any, Any]:
        """Send a request."""
        return Call(partial(self._request, definition, id_, build), name)

    async def _request(self, job: AnyDefinition, id_: str, build: Callable[[Limits], Request]) -> Result[Any, Any]:
        try:
            check_id(id_)
            request = build(_UNLIMITED)
            check_key(request.idempotency_key)
        except RequestError as refused:
            return Failure(refused)
        command = request.command
        envelope = self._envelope(
            job,
            id_,
            request.action,
            payload=request.payload.encode(),
            key=request.idempotency_key,
            wait_for=request.wait_for,
            interrupt=isinstance(command, Terminate) and command.when == "interrupt",
        )
        open_, spec = job.plan.answers.open, job.plan.commands.get(request.action)
        repeat: Repeat = "applies_again" if spec is None else spec.repeat
        return await self.ask(envelope, lambda answer: open_(orjson.dumps(answer)).value, job, repeat)

    def status(self, definition: AnyDefinition, id_: str, /) -> Call[InstanceStatus, CallError]:
        """Read the committed status."""
        return Call(
            partial(self._read, definition, id_, "status", lambda answer: record_of(InstanceStatus, answer)), "status"
        )

    def state(self, definition: AnyDefinition, id_: str, /) -> Call[Any, CallError]:
        """Read and decode the committed state. None if there is no instance."""
        open_ = definition.plan.state.open
        return Call(
            partial(
                self._read,
                definition,
                id_,
                "get_state",
                lambda answer: None if answer is None else open_(orjson.dumps(answer)).value,
            ),
            "state",
        )

    def steps(self, definition: AnyDefinition, id_: str, /) -> Call[tuple[StepRecord, ...], CallError]:
        """Read an instance's steps. None if there is no instance."""
        return Call(partial(self._read, definition, id_, "steps", steps_from), "steps")

    def reply_to(self, definition: AnyDefinition, id_: str, ticket: str, /) -> Call[UpdateReply, CallError]:
        """Read the reply to an update."""
        return self.perform(REPLY, kind=definition.kind, name=definition.name, id=id_, ticket=ticket)

    def published_by(self, definition: AnyDefinition, id_: str, name: str, /) -> Call[PublishedValue, CallError]:
        """Read the value that an instance published."""
        return self.perform(PUBLISHED, kind=definition.kind, name=definition.name, id=id_, value=name)

    def set_hold(self, job: Job, hold: Hold, /) -> Call[HoldResult, CallError]:
        """Hold or release a job. A repeat changes nothing."""
        kind, name = job
        return self.perform(HOLD if hold == "held" else RELEASE, kind=kind, name=name)

    def count(self, job: Job, /) -> Call[JobCount, CallError]:
        """Count a job's instances by status."""
        kind, name = job
        return self.perform(COUNT, kind=kind, name=name)

    def count_matching(
        self, job: Job, where: Sequence[Condition | Attribute[Any, bool] | str], /
    ) -> Call[MatchCount, CallError]:
        """Count a job's instances whose attributes meet all conditions."""
        return Call(partial(self._count_matching, job, where), "count_matching")

    async def _count_matching(self, job: Job, where: object) -> Result[MatchCount, CallError]:
        kind, name = job
        try:
            checked = checked_where(where, "where of count_matching")
        except RequestError as refused:
            return Failure(refused)
        return await self._perform(COUNT_MATCHING, {"kind": kind, "name": name, "where": checked})

    def fork_many(self, job: Job, given: Mapping[str, object], /) -> Call[ForkedMany, CallError]:
        """Fork a page with workflows that match a filter."""
        return Call(partial(self._fork_many, job, given), "fork_many")

    async def _fork_many(self, job: Job, given: Mapping[str, object]) -> Result[ForkedMany, CallError]:
        try:
            checked = FORK_MANY.checked(given)
        except RequestError as refused:
            return Failure(refused)
        return await self._perform(FORK_MANY, {"kind": job[0], "name": job[1], **checked})

    async def _read(
        self, job: AnyDefinition, id_: str, action: str, decode: Callable[[Any], Any], key: str | None = None
    ) -> Result[Any, Any]:
        try:
            check_id(id_)
        except RequestError as refused:
            return Failure(refused)
        return await self.ask(self._envelope(job, id_, action, key=key), decode, job)

    @staticmethod
    def _envelope(job: AnyDefinition, id_: str, action: str, **given: Any) -> Envelope:
        return Envelope(number=0, kind=job.kind, job=job.name, id=id_, action=action, **given)

    def by_name(self, kind: str, name: str, /) -> RemoteJob:
        """Return untyped access to a job. The server tells with the first call whether it serves it."""
        return RemoteJob((kind, name), self)

    def explain_request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers, /
    ) -> Call[Explanation, CallError]:
        """Compute a request's effect, with this client's definition and the server's data."""
        return Call(partial(self._explain, definition, id_, build, answers), "explain_request")

    async def _explain(
        self, job: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers
    ) -> Result[Explanation, CallError]:
        try:
            check_definition(job, of="explain")
            request = build(_UNLIMITED)
            check_key(request.idempotency_key)
        except RequestError as refused:
            return Failure(refused)
        read = await self._read(job, id_, "load", explain_inputs_of, request.idempotency_key)
        if not isinstance(read, Success):
            return read
        moment = read.unwrap()
        return Success(
            explain(
                job,
                job.address(id_),
                moment.loaded,
                request,
                inputs=(moment.inputs,),
                answers=answers,
                journal=moment.journal,
                waits_for=moment.waits_for,
            )
        )

    # ------------------------------------------------------------ many instances
    def concurrently(self, calls: Sequence[Call[Any, Any]], /) -> Call[tuple[Result[Any, Any], ...], Never]:
        """Make several calls at the same time."""
        return Call(partial(self.servers.runtime.concurrently, calls), "concurrently")

    def find(self, wanted: ListFilter, /) -> Call[Listing, CallError]:
        """Find instances."""
        due = wanted.due_before_ms
        return self.perform(
            LIST,
            kind=wanted.kind,
            name=wanted.name,
            status=wanted.status,
            id_prefix=wanted.id_prefix or None,
            due_before=None if due is None else from_ms(due),
            where=wanted.where,
            after=wanted.after,
            limit=wanted.limit,
            max_scanned=wanted.max_scanned,
        )

    def history(
        self, address: Address, /, *, before: int | None, limit: int
    ) -> Call[tuple[LoggedEvent, ...], CallError]:
        """Read an address's newest events, the newest first."""
        kind, name, id_ = address.kind, address.name, address.id
        return self.perform(HISTORY, kind=kind, name=name, id=id_, before=before, limit=limit)

    def until(self, address: Address, wanted: WaitCondition, timeout_ms: int, /) -> Call[Awaited, CallError]:
        """Wait until an instance has a wanted status. Each request for that ends after 20 seconds at the latest."""
        return Call(partial(self._until, address, wanted, timeout_ms), "until")

    async def _until(self, address: Address, wanted: WaitCondition, timeout_ms: int) -> Result[Awaited, CallError]:
        clock, seen = self.servers.runtime, False
        deadline = clock.now_ms() + timeout_ms
        query = [("until", status) for status in wanted.statuses] + [("phase", phase) for phase in wanted.phases]
        if wanted.ticket:
            query = [("ticket", wanted.ticket)]
        if wanted.published:
            query = [("published", wanted.published)]
        while True:
            left_ms = max(0, round(deadline - clock.now_ms()))
            wait_ms = min(left_ms, self.longest_wait_ms)
            parameters = urlencode([*query, ("timeout", f"{wait_ms} ms")])
            call = ServerCall(about=str(address), repeat="reads", waits_ms=wait_ms)
            answer: Result[Awaited, CallError] = await self.http(
                "GET", f"{instance_path(address, 'wait')}?{parameters}", awaited_of, call
            )
            match answer:
                case Success(NotReached(status)) if left_ms > wait_ms:
                    seen = seen or status.status != "not_found"
                # It was there in an earlier round of this wait: it has ended and is gone.
                case Success(NeverStored()) if seen:
                    return Success(Reached(NOT_FOUND))
                case _:
                    return answer

    def stream_page(self, address: Address, stream: str, after: int, wait_ms: int, /) -> Call[StreamPage, CallError]:
        """Read the items of a stream after an offset. Wait a while for the first item."""
        return Call(partial(self._stream_page, address, stream, after, wait_ms), "stream")

    async def _stream_page(
        self, address: Address, stream: str, after: int, wait_ms: int
    ) -> Result[StreamPage, CallError]:
        wait_ms = min(wait_ms, self.longest_wait_ms)
        query = urlencode({"after": after, "timeout": f"{wait_ms} ms"})
        call = ServerCall(about=str(address), repeat="reads", waits_ms=wait_ms)
        url = f"{instance_path(address, 'streams', stream)}?{query}"
        return await self.http("GET", url, partial(record_of, StreamPage), call)

    # ------------------------------------------------------------ the engine
    def stopped(self) -> Call[EngineStopped, CallError]:
        """Refuse: an engine that has stopped sends nothing."""
        return Call(self._stopped, "stopped")

    async def _stopped(self) -> Result[EngineStopped, CallError]:
        expected = "a client of an engine in this process, from app.open(...); watch jobs.health() of this one"
        return Failure(InvalidInput("stopped", (f"expected {expected}; got a client of {self.name}",)))

    def backup(self, path: str, progress: OnBackupProgress, /) -> Call[Backup, CallError]:
        """Refuse: a server writes no files for its clients."""
        return Call(partial(self._backup, path), "backup")

    async def _backup(self, path: str) -> Result[Backup, CallError]:
        reason = "the engine is in another process; run this on its machine: perdure backup --store sqlite:///jobs.db"
        return Failure(BackupFailed(path, reason))

    # ------------------------------------------------------------ operations
    def perform(self, operation: ClientOperation[A], /, **given: object) -> Call[A, CallError]:
        """Perform an operation: send its request, and decode its answer."""
        return Call(partial(self._perform, operation, given), operation.name)

    async def _perform(self, operation: ClientOperation[A], given: Mapping[str, Any]) -> Result[A, CallError]:
        method, url, call = operation.method, operation.url(given), ServerCall(repeat=operation.repeat)
        if operation.media == "json":
            return await self.http(method, url, operation.answer_of, call)
        page = await self._fetched(method, url, call)
        return page.map(lambda body: operation.answer_of(body.decode(errors="replace")))

    # ------------------------------------------------------------ attempts
    async def ask(
        self,
        envelope: Envelope,
        decode: Callable[[Any], A],
        job: AnyDefinition | None = None,
        repeat: Repeat = "applies_again",
    ) -> Result[A, Any]:
        """Send a request to one instance, and repeat it where that is safe. See `Servers.perform`.

        Args:
            envelope: the request.
            decode: returns the answer from parsed JSON.
            job: the definition, whose typed errors the server sends.
            repeat: a repeat's effect if the request has no key.
        """
        # Before the first attempt: all repeats of this call need the same key.
        if _needs_key(envelope, repeat, draws_keys=self.draws_keys):
            envelope = attrs.evolve(envelope, key=self.servers.runtime.new_key())
        if self.trace is not None and envelope.trace is None and envelope.action not in READS:
            envelope = attrs.evolve(envelope, trace=self.trace())
        typed = None if job is None else job.plan.errors

        async def sent(server: Server, envelope: Envelope, limit_ms: float) -> Result[Any, PerdureError]:
            reply = await server.channel.call(envelope, limit_ms)
            return Success(reply.body) if reply.form == "answer" else Failure(_error(server, reply.body, typed))

        async def attempt(server: Server, limit_ms: float) -> Result[Any, PerdureError]:
            clock = self.servers.runtime
            until_ms, result = clock.now_ms() + limit_ms, await sent(server, envelope, limit_ms)
            bare = b"" if isinstance(result, Success) else _bare(result.failure(), envelope, job)
            if not bare:
                return result
            return await sent(server, attrs.evolve(envelope, bare=bare), max(1.0, until_ms - clock.now_ms()))

        about = str(Address(envelope.kind, envelope.job, envelope.id))
        waits_ms = max(0, self.wait_timeout_ms - self.servers.timeout_ms) if _waits(envelope) else 0
        call = ServerCall(about=about, repeat=_repeat(envelope, repeat), waits_ms=waits_ms, typed=job is not None)
        result = await self.servers.perform(attempt, call)
        if not isinstance(result, Success):
            return Failure(result.failure())
        return _decoded(result.unwrap(), decode, envelope, of_state=envelope.action == "get_state")

    async def http(
        self,
        method: Literal["GET", "POST"],
        path: str,
        decode: Callable[[Any], A],
        call: ServerCall,
        content: bytes = b"",
        key: str | None = None,
    ) -> Result[A, Any]:
        """Send another request and decode its answer. See `Servers.perform`."""
        result = await self._fetched(method, path, call, content, key)
        if not isinstance(result, Success):
            return Failure(result.failure())
        try:
            return Success(decode(orjson.loads(result.unwrap())))
        except OutcomeUnknown as unreadable:
            return Failure(self._unreadable(unreadable.reason, call))
        except orjson.JSONDecodeError as error:
            return Failure(self._unreadable(f"{self.name} answered no JSON: {error}", call))

    def _unreadable(self, reason: str, call: ServerCall) -> PerdureError:
        # A read that is not understood has changed nothing.
        return ServerUnreachable(self.name, reason) if call.repeat == "reads" else OutcomeUnknown(reason)

    async def _fetched(
        self, method: Literal["GET", "POST"], path: str, call: ServerCall, content: bytes = b"", key: str | None = None
    ) -> Result[bytes, Any]:
        async def attempt(server: Server, limit_ms: float) -> Result[Any, PerdureError]:
            reply = await server.channel.http(method, path, limit_ms, content, key)
            if reply.status == 200:  # noqa: PLR2004 - HTTP's number
                return Success(reply.body)
            return Failure(_error(server, reply.problem()))

        return await self.servers.perform(attempt, call)


def _decoded(answer: object, decode: Callable[[Any], A], envelope: Envelope, *, of_state: bool) -> Result[A, Any]:
    try:
        return Success(decode(answer))
    except OutcomeUnknown as unreadable:
        return Failure(unreadable)
    except InvalidInput as problem:
        if of_state:
            return Failure(Undecodable(f"{envelope.kind}:{envelope.job}:{envelope.id}", problem.problems))
        return Failure(OutcomeUnknown(f"the answer does not decode: {problem}"))


def _error(server: Server, problem: Mapping[str, Any], typed: Codec[Any] | None = None) -> PerdureError:
    error, status = error_of(problem, typed), problem.get("status")
    no_engine = problem.get("code", "no_route") == "no_route" and isinstance(status, int) and status in _NO_ENGINE
    if isinstance(error, OutcomeUnknown) and no_engine:
        reason = f"the server there refuses the request with status {status}: {excerpt(problem.get('detail'))}"
        return ServerUnreachable(server.name, f"{reason}; correct the URL, or the proxy in front")
    return error


def _bare(failure: PerdureError, envelope: Envelope, job: AnyDefinition | None) -> bytes:
    """Return the bare form of an input that a server with older code has refused. Empty if there is no other form."""
    spec = None if job is None else job.plan.commands.get(envelope.action)
    if not isinstance(failure, InvalidInput) or spec is None or spec.input is None:
        return b""
    bare = spec.input.bare(envelope.payload)
    # Compared as text: for Python, the 1 of the bare form is the 1.0 that older code has refused.
    sent = orjson.dumps(orjson.loads(envelope.payload), option=orjson.OPT_SORT_KEYS)
    return b"" if bare == sent else bare


def _waits(envelope: Envelope) -> bool:
    return envelope.action in _RUNS and envelope.wait_for == "completion" and not envelope.interrupt


def _needs_key(envelope: Envelope, repeat: Repeat, *, draws_keys: bool) -> bool:
    if envelope.key is not None or envelope.action in READS:
        return False
    return repeat == "starts_again" or (draws_keys and repeat == "applies_again")


def _repeat(envelope: Envelope, unkeyed: Repeat) -> CallRepeat:
    if envelope.action in READS:
        return "reads"
    if envelope.key is not None:
        return "keyed"
    # Without a key it would start a second run, which is no less than applying it again.
    return "applies_again" if unkeyed == "starts_again" else unkeyed
