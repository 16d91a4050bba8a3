"""Reaches a running engine in this process.

A server, the command line and the testing kit inspect the engine behind such a client, and redrive dead letters through
it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, Never, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.client.by_name import NamedJob, fork_page
from perdure.client.client import Client, gateway_of
from perdure.client.gateway import check_definition, concurrently
from perdure.client.reading import ReadingGateway
from perdure.engine.loops.outbox import with_unserved
from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.running import RunningEngine
from perdure.engine.runs.runner import inputs_beside_turns
from perdure.engine.sinks import Exposition
from perdure.jobs.call import Call, mapped, result_of
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.jobs.explanation import Answers, Explanation, explain
from perdure.jobs.keys import ForgetKey, check_key
from perdure.jobs.messages import redriven
from perdure.jobs.request import Request, Resume
from perdure.programs.future import KNOWN, answer_of
from perdure.runtime.record import Future
from perdure.stores.contract import Store, load_one
from perdure.stores.shares import Members, reported
from perdure.stores.snapshots import read_journal
from perdure.stores.values import Backup, Health, JobWork, OnBackupProgress, StoredWork
from perdure.values.address import Address, Job, check_id
from perdure.values.answer import Forgotten
from perdure.values.errors import (
    BackupFailed,
    EngineClosed,
    InvalidArgument,
    InvalidInput,
    MetricsDisabled,
    OutcomeUnknown,
    RequestError,
    StoreUnavailable,
    Undecodable,
    UnknownJob,
)
from perdure.values.event import Event
from perdure.values.instance import Instance
from perdure.values.limits import Limits, Rate
from perdure.values.listings import (
    LIMIT_NUMBERS,
    MAX_COUNTED,
    Demand,
    EngineMember,
    ForkedMany,
    HoldResult,
    InFlight,
    JobCount,
    JobDemand,
    LimitNumbers,
    NamedLimit,
    StoreCounts,
)
from perdure.values.live_event import EngineStopped
from perdure.values.message import StoredMessage
from perdure.values.status import Hold
from perdure.values.status_wait import Awaited, PublishedValue, UpdateReply, WaitCondition, ticket_parts
from perdure.values.stream import StreamPage
from perdure.values.times import Duration, duration_ms
from perdure.values.transition import Loaded
from perdure.wire.explanation import ExplainInputs
from perdure.wire.operations import FORK_MANY, ClientOperation
from perdure.wire.records import EngineInfo, installed_version, job_info


@attrs.frozen
class Redrive:
    """Redrives dead letters for a caller.

    Attributes:
        by: the caller. None for one in this process.
    """

    engine: RunningEngine
    by: str | None

    async def perform(self, message_id: int) -> Result[Literal["redriven", "not_found"], Any]:
        """Redrive one, and log the event with it, in one transaction.

        The engine reads its messages again in any case: a redrive may be durable although its caller gave up, or its
        answer was lost.
        """
        try:
            return await self._perform(message_id)
        finally:
            self.engine.outbox.wake.notify()

    async def _perform(self, message_id: int) -> Result[Literal["redriven", "not_found"], Any]:
        found = await answer_of(self.engine.store.dead_letters(message_id - 1, 1))
        if not isinstance(found, Success):
            return Failure(found.failure())
        # The page begins after an id: without this letter its first entry is the next one.
        letters = [letter for letter in found.unwrap() if letter.message_id == message_id]
        if not letters:
            return Success("not_found")
        inputs = inputs_beside_turns(self.engine.runtime, self.engine.store, self.engine.limits)
        events: tuple[Event, ...] = (redriven(letters[0], self.by, inputs),)
        kept = events if self.engine.limits.keeps_history else ()
        outcome = await answer_of(self.engine.store.redrive(message_id, kept))
        # Only then: two callers may redrive the same letter.
        if outcome == Success("redriven"):
            self.engine.redriven(events)
        return outcome


A = TypeVar("A")

NO_REPLY: Final = UpdateReply(form="unanswered")


def check_published(job: AnyDefinition, name: str) -> None:
    """Check that instances publish a value under a name.

    Raises:
        InvalidArgument: they do not.
    """
    if name not in job.published_names:
        names = ", ".join(sorted(job.published_names)) or "none"
        raise InvalidArgument(
            "name of a published value", name, f"a value that {job.kind}:{job.name} publishes: {names}"
        )


def check_streamed(job: AnyDefinition, name: str) -> None:
    """Check that a job declares a stream.

    Raises:
        InvalidArgument: it does not.
    """
    names = [one.name for one in job.plan.streams]
    if name not in names:
        raise InvalidArgument(
            "name of a stream", name, f"a stream that {job.kind}:{job.name} declares: {', '.join(names) or 'none'}"
        )


@attrs.frozen
class LocalGateway(ReadingGateway):
    """Reaches a running engine in this process. Every call checks its arguments when it is awaited.

    Attributes:
        engine: executes the turns, and holds the store.
        by: the caller that its requests come from, for the log's events. None for a caller in this process.
    """

    engine: RunningEngine
    by: str | None = attrs.field(default=None, kw_only=True)

    @property
    def name(self) -> str:
        """The store's name."""
        return self.engine.store.name

    @property
    def store(self) -> Store:
        """The engine's store."""
        return self.engine.store

    @property
    def journal_page(self) -> int:
        """How many journal rows one read returns."""
        return self.engine.limits.journal_page

    def load(self, address: Address, /) -> Awaitable[Result[Loaded, Any]]:
        """Read an instance's committed row, from memory if it is there."""
        return self.engine.reads.load(address)

    def answer(self, read: Callable[[], Awaitable[Result[A, Any]]], /) -> Awaitable[Result[A, Any]]:
        """Begin a read, and return its answer. Return an error if the engine stops before the answer arrives."""
        return self.engine.reads.answer(read)

    @property
    def elsewhere(self) -> frozenset[Job]:
        """The jobs that other engines on the shared store serve."""
        return self.engine.elsewhere

    @property
    def definitions(self) -> Mapping[tuple[str, str], AnyDefinition]:
        """The served definitions, by kind and name."""
        return self.engine.jobs

    def by_name(self, kind: str, name: str, /) -> NamedJob:
        """Return untyped access to a job.

        Raises:
            UnknownJob: the engine does not serve it.
        """
        job = self.engine.jobs.get((kind, name))
        if job is None:
            raise self.unknown(kind, name)
        return NamedJob((kind, name), self, job)

    def unknown(self, kind: str, name: str, /) -> UnknownJob:
        """Return the error for a job that the engine does not serve."""
        return UnknownJob(kind, name, tuple(f"{kind}:{name}" for kind, name in self.engine.jobs))

    # ------------------------------------------------------------ one instance
    def request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], name: str = "request", /
    ) -> Call[Any, Any]:
        """Send a request."""
        return Call(partial(self._begun, definition, id_, build), name)

    def _begun(self, job: AnyDefinition, id_: str, build: Callable[[Limits], Request]) -> Awaitable[Result[Any, Any]]:
        """Begin a request, and return its awaitable result."""
        engine = self.engine
        try:
            # From the cache first: an address that is known is valid, and need not be checked again.
            cell = engine.cache.find(job, id_)
            address = job.address(check_id(id_)) if cell is None else cell.address
            request = build(engine.limits)
            if request.idempotency_key is not None:
                check_key(request.idempotency_key)
        except RequestError as refused:
            return KNOWN(Failure(refused))
        tracing = engine.runner.tracing
        # A trace of the caller wins: the server passes on that of its own caller.
        if tracing is not None and request.trace is None:
            request = attrs.evolve(request, trace=tracing.current())
        if request.by != self.by:
            request = attrs.evolve(request, by=self.by)
        # Only these wait before they are queued. All others are queued in this step, in the order of the calls.
        if engine.limits.on_full == "block" or (
            job.keeps_journal and (type(request.command) is Resume or type(request.command) in job.copying)
        ):
            return self._later(job, address, request)
        answer = engine.runtime.future()
        engine.dispatcher.put(job, address, MailboxEntry(request, answer), cell)
        return answer

    async def _later(self, job: AnyDefinition, address: Address, request: Request) -> Result[Any, Any]:
        """Check whether this code can follow the workflow that is resumed, and wait for room, before the request."""
        if job.keeps_journal and type(request.command) is Resume:
            diverged = await self._diverged(job, address)
            if diverged is not None:
                return Failure(diverged)
        prepared = await self._with_copy(job, request)
        if not isinstance(prepared, Success):
            return prepared
        if self.engine.limits.on_full == "block":
            await self.engine.dispatcher.room_for(address)
        answer: Result[Any, Any] = await self.engine.dispatcher.post(job, address, prepared.unwrap())
        return answer

    async def _with_copy(self, job: AnyDefinition, request: Request) -> Result[Request, Any]:
        """Return a request with the data that it needs from another instance, such as a journal to fork."""
        if type(request.command) not in job.copying:
            return Success(request)
        try:
            source = job.address(check_id(job.source_of(request)))
        except RequestError as refused:
            return Failure(refused)
        store, now_ms = self.engine.store, self.engine.runtime.now_ms
        while True:
            loaded = await self.engine.reads.answer(lambda: answer_of(load_one(store, source, None, now_ms())))
            if not isinstance(loaded, Success):
                return Failure(loaded.failure())
            row = loaded.unwrap().instance
            rows = await self.journal(row)
            again = await self.engine.reads.answer(lambda: answer_of(load_one(store, source, None, now_ms())))
            if not isinstance(rows, Success) or not isinstance(again, Success):
                return Failure((again if isinstance(rows, Success) else rows).failure())
            try:
                prepared = job.with_copy(request, source, row, rows.unwrap(), again.unwrap().instance)
            except InvalidInput as problem:
                return Failure(Undecodable(str(source), problem.problems))
            # A workflow that starts over deletes rows: those that were read are not those of the row before.
            if prepared is not None:
                return Success(prepared)

    async def _diverged(self, job: AnyDefinition, address: Address) -> Undecodable | None:
        """Return why this code cannot continue an instance that is left because of its journal. None if it can."""
        loaded = await self.engine.reads.load(address)
        row = loaded.unwrap().instance if isinstance(loaded, Success) else None
        if row is None or row.left is None:
            return None
        rows = await self.journal(row)
        try:
            job.check_journal(row, rows.value_or(()))
        except InvalidInput as problem:
            return Undecodable(str(address), problem.problems) if isinstance(rows, Success) else None
        return None

    def reply_to(self, definition: AnyDefinition, id_: str, ticket: str, /) -> Call[UpdateReply, CallError]:
        """Read the reply to an update."""
        return Call(partial(self._reply_to, definition, id_, ticket), "reply_to")

    async def _reply_to(self, job: AnyDefinition, id_: str, ticket: str) -> Result[UpdateReply, CallError]:
        try:
            address, place = job.address(check_id(id_)), ticket_parts(ticket)
        except RequestError as refused:
            return Failure(refused)
        loaded = await self.engine.reads.load(address)
        if not isinstance(loaded, Success):
            return Failure(loaded.failure())
        row, (incarnation, number, since) = loaded.unwrap().instance, place
        try:
            is_open = row is not None and not job.has_answered(row, place)
        except InvalidInput as problem:
            return Failure(Undecodable(str(address), problem.problems))
        # Another incarnation: the update belonged to a workflow that is gone.
        if is_open or row is None or row.incarnation != incarnation:
            return Success(UpdateReply(form="waiting") if is_open else NO_REPLY)
        found = await self._found_reply(job, row, number, since)
        # From the beginning if the workflow has started over since: its replies were moved there.
        return await self._found_reply(job, row, number, 0) if since and found == Success(NO_REPLY) else found

    async def _found_reply(
        self, job: AnyDefinition, row: Instance, number: int, first: int
    ) -> Result[UpdateReply, CallError]:
        rows: Result[tuple[str, ...], Any] = await self.engine.reads.answer(
            lambda: read_journal(self.store, row, self.journal_page, first)
        )

        def reply(bodies: tuple[str, ...]) -> UpdateReply:
            found = job.reply_in(row, bodies, number)
            return NO_REPLY if found is None else UpdateReply(form=found[0], value=found[1])

        return rows.map(reply)

    def published_by(self, definition: AnyDefinition, id_: str, name: str, /) -> Call[PublishedValue, CallError]:
        """Read the value that an instance published."""
        return Call(partial(self._published_by, definition, id_, name), "published_by")

    async def _published_by(self, job: AnyDefinition, id_: str, name: str) -> Result[PublishedValue, CallError]:
        try:
            address = job.address(check_id(id_))
            check_published(job, name)
        except RequestError as refused:
            return Failure(refused)
        loaded = await self.engine.reads.load(address)
        if not isinstance(loaded, Success):
            return Failure(loaded.failure())
        row = loaded.unwrap().instance
        try:
            found = None if row is None else job.published_in(row, name)
        except InvalidInput as problem:
            return Failure(Undecodable(str(address), problem.problems))
        return Success(found or PublishedValue(form="absent"))

    def published(self, kind: str, name: str, id: str, value: str) -> Call[PublishedValue, CallError]:  # noqa: A002 - of the path
        """Read the value that an instance published, by the job's name."""
        job = self.engine.jobs.get((kind, name))
        if job is None:
            return Call(lambda: KNOWN(Failure(self.unknown(kind, name))), "published")
        return self.published_by(job, id, value)

    def reply(self, kind: str, name: str, id: str, ticket: str) -> Call[UpdateReply, CallError]:  # noqa: A002 - of the path
        """Read the reply to an update, by the job's name."""
        job = self.engine.jobs.get((kind, name))
        if job is None:
            return Call(lambda: KNOWN(Failure(self.unknown(kind, name))), "reply")
        return self.reply_to(job, id, ticket)

    def forget_key(self, kind: str, name: str, id: str, key: str) -> Call[Forgotten, CallError]:  # noqa: A002 - of the path
        """Forget an idempotency key of an instance."""
        return Call(partial(self._forget_key, (kind, name), id, key), "forget_key")

    def _forget_key(self, job: Job, id_: str, key: str) -> Awaitable[Result[Forgotten, CallError]]:
        definition = self.engine.jobs.get(job)
        if definition is None:
            return KNOWN(Failure(self.unknown(*job)))
        request = Request(command=ForgetKey(), action="forget_key", idempotency_key=key, by=self.by)
        answer = self.engine.runtime.future()
        # Alone: a request with this key that joined its commit would be decided as if the key were unknown.
        entry = MailboxEntry(request, answer, company="alone")
        self.engine.dispatcher.put(definition, definition.address(id_), entry)
        return answer

    def set_hold(self, job: Job, hold: Hold, /) -> Call[HoldResult, CallError]:
        """Hold or release a job."""
        return Call(partial(self._set_hold, job, hold), "set_hold")

    async def _set_hold(self, job: Job, hold: Hold) -> Result[HoldResult, CallError]:
        if job not in self.engine.jobs:
            return Failure(self.unknown(*job))
        return await self.engine.reads.answer(lambda: self.engine.runner.holds.set(job, hold), _unknown)

    def count(self, job: Job, /) -> Call[JobCount, CallError]:
        """Count a job's instances by status."""
        return Call(partial(self._count, job), "count")

    async def _count(self, job: Job) -> Result[JobCount, CallError]:
        if job not in self.engine.jobs:
            return Failure(self.unknown(*job))
        counted = await result_of(self.counts())
        oldest = await self.engine.reads.answer(lambda: self.engine.oldest_queued(job))
        if not isinstance(oldest, Success):
            return Failure(oldest.failure())
        return counted.map(
            lambda counts: JobCount(
                hold=self.engine.runner.holds.of(*job),
                by_status={one.status: one.number for one in counts.instances if (one.kind, one.name) == job},
                complete=counts.complete,
                age_ms=counts.age_ms,
                oldest=oldest.unwrap(),
                ended=self.engine.ended_runs(job),
            )
        )

    def fork_many(self, job: Job, given: Mapping[str, object], /) -> Call[ForkedMany, CallError]:
        """Fork a page with workflows that match a filter."""
        return Call(partial(self._fork_many, job, given), "fork_many")

    async def _fork_many(self, job: Job, given: Mapping[str, object]) -> Result[ForkedMany, CallError]:
        definition = self.engine.jobs.get(job)
        if definition is None:
            return Failure(self.unknown(*job))
        try:
            return await fork_page(NamedJob(job, self, definition), FORK_MANY.checked(given))
        except RequestError as refused:
            return Failure(refused)

    def explain_request(
        self, definition: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers, /
    ) -> Call[Explanation, CallError]:
        """Compute a request's effect without applying it."""
        return Call(partial(self._explain, definition, id_, build, answers), "explain_request")

    async def _explain(
        self, job: AnyDefinition, id_: str, build: Callable[[Limits], Request], answers: Answers
    ) -> Result[Explanation, CallError]:
        engine = self.engine
        try:
            check_definition(job, of="explain")
            request = build(engine.limits)
            check_key(request.idempotency_key)
        except RequestError as refused:
            return Failure(refused)
        read = await result_of(self.explain_inputs(job, id_, request.idempotency_key))
        if not isinstance(read, Success):
            return Failure(read.failure())
        prepared = await self._with_copy(job, request)
        if not isinstance(prepared, Success):
            return Failure(prepared.failure())
        request = prepared.unwrap()
        moment, services = read.unwrap(), engine.runner.services
        return Success(
            explain(
                job,
                job.address(id_),
                moment.loaded,
                request,
                inputs=(moment.inputs,),
                answers=answers,
                services=services,
                journal=moment.journal,
                waits_for=moment.waits_for,
            )
        )

    def explain_inputs(self, definition: AnyDefinition, id_: str, key: str | None, /) -> Call[ExplainInputs, CallError]:
        """Read the data that an explanation is computed from."""
        return Call(partial(self._explain_inputs, definition, id_, key), "explain_inputs")

    async def _explain_inputs(self, job: AnyDefinition, id_: str, key: str | None) -> Result[ExplainInputs, CallError]:
        engine = self.engine
        try:
            address = job.address(check_id(id_))
        except RequestError as refused:
            return Failure(refused)
        found = await engine.reads.answer(
            lambda: answer_of(load_one(engine.store, address, key, engine.runtime.now_ms()))
        )
        if not isinstance(found, Success):
            return Failure(found.failure())
        running = engine.cache.running(address)
        hold = engine.runner.holds.of(job.kind, job.name)
        inputs = inputs_beside_turns(engine.runtime, engine.store, engine.limits, running=running, hold=hold)
        ahead_ms = engine.runner.gates.ahead_ms(f"{job.kind}:{job.name}", inputs.now_ms)
        inputs = attrs.evolve(inputs, ahead_ms=ahead_ms)
        instance = found.unwrap().instance
        journal = await self.journal(instance)
        if not isinstance(journal, Success):
            return Failure(journal.failure())
        moment = ExplainInputs(found.unwrap(), inputs, journal.unwrap())
        if not job.plan.limits:
            return Success(moment)
        subject = address.id if job.lanes is None or instance is None else instance.lane or ""
        waits = await engine.reads.answer(lambda: engine.limit_calls.waits_for(f"{job.kind}:{job.name}", subject))
        return waits.map(lambda limits: attrs.evolve(moment, waits_for=limits))

    def concurrently(self, calls: Sequence[Call[Any, Any]], /) -> Call[tuple[Result[Any, Any], ...], Never]:
        """Make several calls at the same time: their commits share transactions."""
        return Call(partial(concurrently, self.engine.runtime, calls), "concurrently")

    def until(self, address: Address, wanted: WaitCondition, timeout_ms: int, /) -> Call[Awaited, CallError]:
        """Wait until an instance has a wanted status."""
        return Call(partial(self._until, address, wanted, timeout_ms), "until")

    async def _until(self, address: Address, wanted: WaitCondition, timeout_ms: int) -> Result[Awaited, CallError]:
        job = self.engine.jobs.get((address.kind, address.name))
        if job is None:
            return Failure(self.unknown(address.kind, address.name))
        try:
            if wanted.published:
                check_published(job, wanted.published)
        except RequestError as refused:
            return Failure(refused)
        return await self.engine.waits.until(job, address, wanted, timeout_ms)

    def stream_page(self, address: Address, stream: str, after: int, wait_ms: int, /) -> Call[StreamPage, CallError]:
        """Read the items of a stream after an offset. Wait a while for the first item."""
        return Call(partial(self._stream_page, address, stream, after, wait_ms), "stream")

    async def _stream_page(
        self, address: Address, stream: str, after: int, wait_ms: int
    ) -> Result[StreamPage, CallError]:
        job, hub = self.engine.jobs.get((address.kind, address.name)), self.engine.streams
        if job is None:
            return Failure(self.unknown(address.kind, address.name))
        try:
            check_streamed(job, stream)
            assert hub is not None  # noqa: S101 - the job declares a stream
            return await hub.page(job, address, stream, after, wait_ms)
        except RequestError as refused:
            return Failure(refused)

    # ------------------------------------------------------------ the engine
    def stopped(self) -> Call[EngineStopped, CallError]:
        """Wait until the engine has stopped."""
        return Call(self._stopped, "stopped")

    async def _stopped(self) -> Result[EngineStopped, CallError]:
        waiting: Future[EngineStopped] = self.engine.runtime.future()  # of this caller alone, who may be cancelled
        self.engine.ended.add_done_callback(lambda end: None if waiting.done() else waiting.set_result(end.result()))
        return Success(await waiting)

    def backup(self, path: str, progress: OnBackupProgress, /) -> Call[Backup, CallError]:
        """Copy the store into a new file."""
        return Call(partial(self._backup, path, progress), "backup")

    async def _backup(self, path: str, progress: OnBackupProgress) -> Result[Backup, CallError]:
        backup = self.engine.store.backup
        if backup is None:
            reason = f"{self.name} has no backup: only the engine of a SQLite file copies its store"
            return Failure(BackupFailed(path, reason))
        closed = StoreUnavailable("make a backup", "the engine stopped during the backup")
        # Not awaited: a backup takes minutes, and the engine's stop must not wait for it.
        return await self.engine.reads.answer(
            lambda: answer_of(backup.make(path, progress)), lambda: closed, is_awaited=False
        )

    # ------------------------------------------------------------ the operations of the engine, by their names
    def perform(self, operation: ClientOperation[A], /, **given: object) -> Call[A, CallError]:
        """Perform an engine operation, by the method here that has its name."""
        method: Callable[..., Call[A, CallError]] = getattr(self, operation.name)
        return method(**given)

    def redrive(self, message_id: int) -> Call[Literal["redriven", "not_found"], CallError]:
        """Turn a dead letter into an ordinary message again."""
        return Call(partial(self._redrive, message_id), "redrive")

    async def _redrive(self, message_id: int) -> Result[Literal["redriven", "not_found"], CallError]:
        return await self.engine.reads.answer(lambda: Redrive(self.engine, self.by).perform(message_id), _unknown)

    def left_messages(self, limit: int) -> Call[tuple[StoredMessage, ...], CallError]:
        """Read messages that code left."""
        return self.shown(Call(lambda: self.answer(lambda: self.engine.outbox.left(limit)), "left_messages"))

    def bury(self, message_id: int) -> Call[Literal["buried", "not_found"], CallError]:
        """Make a message that code left a dead letter."""
        return Call(partial(self._bury, message_id), "bury")

    async def _bury(self, message_id: int) -> Result[Literal["buried", "not_found"], CallError]:
        return await self.engine.reads.answer(lambda: self.engine.outbox.bury(message_id, self.by), _unknown)

    def in_flight(self) -> Call[InFlight, CallError]:
        """Read the work that the engine has accepted and not finished. It reads memory, not the store."""
        return Call(self._in_flight, "in_flight")

    async def _in_flight(self) -> Result[InFlight, CallError]:
        return Success(self.engine.in_flight())

    def counts(self) -> Call[StoreCounts, CallError]:
        """Count the instances by job and status."""
        return Call(self._counts, "counts")

    async def _counts(self) -> Result[StoreCounts, CallError]:
        counts = self.lists.counts
        if counts is None:
            return Failure(StoreUnavailable("count", f"{self.name} does not count its instances"))
        return await self.engine.reads.answer(lambda: answer_of(counts.instances()))

    def demand(self, within: Duration) -> Call[Demand, CallError]:
        """Count the work of the jobs that the engine serves, on the whole store."""
        return Call(partial(self._demand, within), "demand")

    async def _demand(self, within: Duration) -> Result[Demand, CallError]:
        engine = self.engine
        counts = engine.store.counts
        if counts is None:
            return Failure(StoreUnavailable("count the work", f"{self.name} does not count its instances"))
        until_ms = engine.runtime.now_ms() + duration_ms(within, what="within", minimum_ms=0)
        jobs = tuple(sorted(engine.jobs))
        found = await engine.reads.answer(lambda: answer_of(counts.work(jobs, until_ms, MAX_COUNTED)))
        return found.map(lambda work: demand_of(work, engine.runner.holds.of))

    def limits(self) -> Call[tuple[NamedLimit, ...], CallError]:
        """Read the limits with a name, and their use."""
        return Call(lambda: self.engine.reads.answer(self.engine.limit_calls.reports), "limits")

    def set_limit(
        self,
        name: str,
        concurrency: int | None,
        rate: Rate | None,
        concurrency_per_key: int | None,
        rate_per_key: Rate | None,
    ) -> Call[LimitNumbers, CallError]:
        """Change numbers of a limit with a name."""
        numbers = LimitNumbers(
            concurrency=concurrency, rate=rate, concurrency_per_key=concurrency_per_key, rate_per_key=rate_per_key
        )
        return Call(partial(self._set_limit, name, numbers), "set_limit")

    async def _set_limit(self, name: str, numbers: LimitNumbers) -> Result[LimitNumbers, CallError]:
        if not numbers.given:
            return Failure(InvalidArgument("numbers of set_limit", "none", f"one of {', '.join(LIMIT_NUMBERS)}"))
        change = partial(self.engine.limit_calls.change, name, numbers.given, "stay")
        return await self.engine.reads.answer(change, _unknown)

    def reset_limit(self, name: str) -> Call[LimitNumbers, CallError]:
        """Let a limit have the numbers of the code again."""
        reset = partial(self.engine.limit_calls.change, name, {}, "reset")
        return Call(lambda: self.engine.reads.answer(reset, _unknown), "reset_limit")

    def members(self) -> Call[tuple[EngineMember, ...], CallError]:
        """Read the engines that share the store."""
        return Call(self._members, "members")

    async def _members(self) -> Result[tuple[EngineMember, ...], CallError]:
        sharing = self.engine.store.sharing
        if sharing is None:
            return Success(())
        found: Result[Members, CallError] = await self.engine.reads.answer(lambda: answer_of(sharing.members()))
        return found.map(reported)

    def health(self) -> Call[Health, CallError]:
        """Read the store's state, and the messages that wait for jobs that this app does not serve."""
        return Call(self._health, "health")

    async def _health(self) -> Result[Health, CallError]:
        return await self.engine.reads.answer(self._read_health)

    async def _read_health(self) -> Result[Health, CallError]:
        health = await answer_of(self.engine.store.health())
        counts = await self.engine.outbox.unserved.counted(self.engine.store)
        nowhere = tuple(map(":".join, self.engine.served_nowhere))
        return health.map(lambda known: with_unserved(known, counts, nowhere))

    def metrics(self) -> Call[str, CallError]:
        """Read the engine's metrics in the Prometheus text format."""
        return mapped(self.exposition(""), lambda page: page.text.decode())

    def exposition(self, accept: str, /) -> Call[Exposition, CallError]:
        """Read the metrics in the format that a header ``Accept`` prefers."""
        return Call(partial(self._exposition, accept), "exposition")

    async def _exposition(self, accept: str) -> Result[Exposition, CallError]:
        expose = self.engine.sinks.expose
        try:
            return Failure(MetricsDisabled()) if expose is None else Success(await expose(accept))
        except EngineClosed as closed:
            return Failure(closed)

    def info(self) -> Call[EngineInfo, CallError]:
        """Read the engine's version, jobs and limits."""
        return Call(self._info, "info")

    async def _info(self) -> Result[EngineInfo, CallError]:
        limits = self.engine.limits
        holds = self.engine.runner.holds
        jobs = tuple(job_info(job, holds.of(*place)) for place, job in self.engine.jobs.items())
        return Success(EngineInfo(installed_version(), jobs, limits.payload_bytes, limits.state_bytes))


def _unknown() -> OutcomeUnknown:
    return OutcomeUnknown("the engine stopped before the store answered")


def acting_for(client: Client, caller: str, /) -> Client:
    """Return a client whose requests name a caller in the events that they cause: a server passes its callers on."""
    gateway = gateway_of(client)
    # A remote client has a token of its own, by which the other server knows it.
    return Client(attrs.evolve(gateway, by=caller)) if isinstance(gateway, LocalGateway) else client


def engine_of(client: Client, /) -> RunningEngine:
    """Return the engine behind a client in this process: the command line and the testing kit inspect it.

    Raises:
        TypeError: the engine is in another process.
    """
    gateway = gateway_of(client)
    if isinstance(gateway, LocalGateway):
        return gateway.engine
    raise TypeError(f"{client!r} reaches an engine in another process")


def demand_of(work: StoredWork, hold_of: Callable[[str, str], Hold]) -> Demand:
    """Return jobs' work as callers see it.

    Args:
        work: the work as the store counted it.
        hold_of: returns whether a job is held.
    """
    jobs = tuple(_demand_of_job(one, work.alarms_to_ms, hold_of(one.kind, one.name)) for one in work.jobs)
    return Demand(jobs=jobs, total=sum(job.total for job in jobs))


def _demand_of_job(work: JobWork, alarms_to_ms: int | None, hold: Hold) -> JobDemand:
    # A held job's work does not wait for a worker, so a scaler must not start one.
    waiting = 0 if hold == "held" else work.queued + work.due + work.messages
    return JobDemand(
        kind=work.kind,
        name=work.name,
        hold=hold,
        queued=work.queued,
        due=work.due,
        messages=work.messages,
        running=work.running,
        # A job without an alarm among those that were read may have one behind the last of them: look again then.
        next_alarm_ms=alarms_to_ms if work.next_alarm_ms is None else work.next_alarm_ms,
        total=waiting + work.running,
    )
