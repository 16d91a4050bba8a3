"""The future of one instance: if it is left alone, if an event comes, if a service is down.

The answer is a timeline. It is computed on a copy of the instance, and of those that its messages reach, by the engine
that a rehearsal runs. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import orjson
from returns.result import Failure, Result, Success

from perdure.app import App
from perdure.client.client import Client, gateway_of
from perdure.client.gateway import check_definition
from perdure.client.local_gateway import LocalGateway
from perdure.client.reading import ReadingGateway
from perdure.jobs.call import result_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.redaction import (
    redacted_failure,
    redacted_instance,
    redacted_payload,
    secrets_of_instance,
    secrets_of_run,
)
from perdure.jobs.step import Execute
from perdure.jobs.suspension import shown_text
from perdure.kinds.workflow.journal import CHILD
from perdure.programs.future import answer_of
from perdure.programs.instructions import ServiceCall
from perdure.rehearsal.answers import NoAnswers, Performer, ServiceAnswers, Source, recorded_in
from perdure.rehearsal.future import LOOKS_EVERY_MS, NoServices, Recorder, on_stage
from perdure.rehearsal.image import Image
from perdure.stores.contract import Answered, NotCommitted, Store, overlay
from perdure.values.address import Address, check_id
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput
from perdure.values.event import JobExecuted
from perdure.values.excerpt import MAX_LINE_CHARACTERS, excerpt, fields_in_line, one_line, shortened
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.limits import Limits
from perdure.values.message import StoredMessage
from perdure.values.secret import scrubbed
from perdure.values.status import FailureRecord
from perdure.values.times import Duration, duration_ms, from_ms, to_ms
from perdure.values.transition import Purge, Put, Transition
from perdure.wire.explanation import MOST_ENTRIES, MOST_READ, lines_of_future

LONGEST_MS: Final = 366 * 86_400_000
"""The longest future: a year, which costs some 12 seconds."""

MOST_EVENTS: Final = 100
"""How many events a question may bring."""

# Two instances that send each other messages would never end, and add no entry to a third.
_STEPS_OF_AN_ENTRY: Final = 20
"""How many commits of all instances a future allows for each entry that it may have."""

_MESSAGES_READ: Final = 1_000

EntryKind: TypeAlias = Literal[
    "request",
    "answer",
    "received",
    "run",
    "effect",
    "result",
    "message",
    "state",
    "alarm",
    "retry",
    "paused",
    "parked",
    "left",
    "ended",
]
"""What happened: a request of the question and its answer, a message that was received; a run that began, an effect and
its result, a message that was sent; another state, a new alarm, a retry; a pause, a park, other code that must
continue; the end."""


@attrs.frozen(kw_only=True)
class WhatIfEvent:
    """An event that comes in the future that is asked for.

    Attributes:
        payload: the event as JSON. Empty if the action takes none.
        action: the action. None: ``send`` or ``add``, which tasks, debounces and pools have.
        after: how long from now.
        times: how often it comes, at the same time. 2: a sender that repeats it.
        idempotency_key: the key of all of them. None: without one.
    """

    payload: str = ""
    action: str | None = None
    after: Duration = "0 ms"
    times: int = 1
    idempotency_key: str | None = None
    after_ms: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "after_ms", duration_ms(self.after, what="after of an event", minimum_ms=0))
        if not 1 <= self.times <= MOST_EVENTS:
            raise DefinitionError("times of an event", self.times, f"1 to {MOST_EVENTS}")


@attrs.frozen(kw_only=True)
class FutureQuestion:
    """A question about an instance's future.

    Attributes:
        lasting: for how long, up to 366 days.
        events: events that come. By default none.
        never: actions of messages that never reach the instance.
        answers: how services answer, and which are down. By default outcomes that journals have recorded, else the
            first success of each declared type.
        seed: decides jitter, ids and faults.
        most: how many entries the timeline has at most. Of all instances, 20 times as many commits happen at most.
        instances: how many instances are read at most: this one, children that it waits for, those that messages reach.
        begins: the moment at which it begins. None: now.
    """

    __repr__ = fields_in_line

    lasting: Duration = "30 days"
    events: Sequence[WhatIfEvent] = ()
    never: Collection[str] = ()
    answers: ServiceAnswers = attrs.Factory(ServiceAnswers)
    seed: int = 0
    most: int = MOST_ENTRIES
    instances: int = MOST_READ
    begins: datetime | None = None
    lasting_ms: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        lasting_ms = duration_ms(self.lasting, what="length of a future", minimum_ms=1)
        object.__setattr__(self, "lasting_ms", lasting_ms)
        if lasting_ms > LONGEST_MS:
            raise DefinitionError("length of a future", self.lasting, "366 days or less")
        if not 1 <= self.most <= MOST_ENTRIES:
            raise DefinitionError("entries of a future", self.most, f"1 to {MOST_ENTRIES:,}")
        if not 1 <= self.instances <= MOST_READ:
            raise DefinitionError("instances of a future", self.instances, f"1 to {MOST_READ}")
        if (number := sum(each.times for each in self.events)) > MOST_EVENTS:
            raise DefinitionError("events of a future", number, f"{MOST_EVENTS} or fewer")


@attrs.frozen
class TimelineEntry:
    """One thing that happens to the instance.

    Attributes:
        at_ms: when, in milliseconds since 1970 UTC.
        what: the kind of entry.
        text: its description, without secrets.
    """

    at_ms: int
    what: EntryKind
    text: str


@attrs.frozen(kw_only=True)
class InstanceTimeline:
    """The future of one instance.

    Attributes:
        address: the instance.
        begins_ms: the moment at which it begins, in milliseconds since 1970 UTC.
        until_ms: the moment at which it ends.
        entries: the entries, in order.
        ends: ``quiet`` if nothing else is due, ``horizon`` if an alarm is set at the end, ``full`` if there was no room
            for more entries.
        used: how many calls each source has answered, by effect.
        read: the instances that were read for it.
        unread: how many more it would have read without the limit.
        not_called: effects that have an answer or a fault, and that no program has called.
        queued: whether it waits for a place at the beginning. The future has one free, whatever the others do.
    """

    __repr__ = fields_in_line

    address: Address
    begins_ms: int
    until_ms: int
    entries: tuple[TimelineEntry, ...]
    ends: Literal["quiet", "horizon", "full"]
    used: Mapping[tuple[str, Source], int] = attrs.Factory(dict[tuple[str, Source], int])
    read: tuple[Address, ...] = ()
    unread: int = 0
    not_called: tuple[str, ...] = ()
    queued: bool = False

    def data(self) -> dict[str, Any]:
        """Return it for JSON."""
        answered: dict[str, dict[str, int]] = {}
        for (name, source), calls in sorted(self.used.items()):
            answered.setdefault(name, {})[source] = calls
        return {
            "address": str(self.address),
            "begins": from_ms(self.begins_ms).isoformat(),
            "until": from_ms(self.until_ms).isoformat(),
            "ends": self.ends,
            "entries": [
                {"at": from_ms(each.at_ms).isoformat(), "what": each.what, "text": each.text} for each in self.entries
            ],
            "answered": answered,
            "queued": self.queued,
            "unread": self.unread,
            "not_called": [*self.not_called],
        }

    def lines(self) -> Iterator[str]:
        """Yield it as text."""
        return lines_of_future(self.data())


# ---------------------------------------------------------------- recording
@attrs.define
class TimelineRecorder(Recorder):
    """Records one instance's entries, and the other instances that its messages reach."""

    address: Address = attrs.field(kw_only=True, default=Address("", "", ""))
    never: Collection[str] = attrs.field(kw_only=True, factory=tuple)
    most: int = attrs.field(kw_only=True, default=MOST_ENTRIES)
    entries: list[TimelineEntry] = attrs.field(init=False, factory=list[TimelineEntry])
    secrets: set[str] = attrs.field(init=False, factory=set[str])
    is_full: bool = attrs.field(init=False, default=False)
    _commits: int = attrs.field(init=False, default=0)
    runs: set[tuple[str, int]] = attrs.field(init=False, factory=set[tuple[str, int]])

    @property
    def job(self) -> AnyDefinition:
        """The definition of the instance."""
        return self.jobs[self.address.kind, self.address.name]

    def note(self, what: EntryKind, text: str) -> None:
        """Add an entry, unless the timeline is full."""
        if len(self.entries) >= self.most:
            self.is_full = True
        else:
            self.entries.append(TimelineEntry(self.runtime.now_ms(), what, text))

    # ------------------------------------------------------------ effects
    def perform(self, instruction: object, services: object, execute: Execute) -> object:
        """Answer an effect, and record it with its result."""
        if type(instruction) is not ServiceCall or execute.instance.address != self.address:
            return super().perform(instruction, services, execute)
        # Collected all the time: a later text may have a secret that the state has lost by then.
        self.secrets.update(secrets_of_run(self.job, execute))
        values = [excerpt(each) for each in instruction.args]
        values += [f"{name}={excerpt(each)}" for name, each in instruction.kwargs.items()]
        attempt = execute.claim.attempt
        text = f"{instruction.name}({', '.join(values)})" + (f", attempt {attempt}" if attempt > 1 else "")
        self.note("effect", text)
        try:
            answer = super().perform(instruction, services, execute)
        # Only a defect of the program. A cancellation of the simulation is no result.
        except Exception as defect:
            self.note("result", f"{instruction.name}: {type(defect).__name__}: {one_line(str(defect))}")
            raise
        whole: object = answer
        # An effect without an answer waits for ever: nothing would be noted, and the question is refused.
        if isinstance(answer, Awaitable) and instruction.name not in self.performer.missing:
            return self._noted(instruction.name, cast("Awaitable[object]", answer))
        if isinstance(answer, (Success, Failure)):
            self._answered(instruction.name, whole)
        return whole

    async def _noted(self, name: str, awaited: Awaitable[object]) -> object:
        answer = await awaited
        self._answered(name, answer)
        return answer

    def _answered(self, name: str, answer: object) -> None:
        result = cast("Result[object, object]", answer)
        if isinstance(result, Success):
            self.note("result", f"{name}: {excerpt(result.unwrap())}")
        elif isinstance(result, Failure):
            self.note("result", f"{name} failed: {excerpt(result.failure())}")
        else:
            self.note("result", f"{name}: {excerpt(answer)}")

    # ------------------------------------------------------------ commits
    def watching(self, store: Store) -> Store:
        """Return the store, with its commits recorded, and without the messages that never come."""
        recording = super().watching(store)

        def commit(transitions: Sequence[Transition], answered: Answered[Fence, NotCommitted], /) -> None:
            # Read before the commit, which deletes the messages.
            received = [
                message
                for each in transitions
                if each.address == self.address
                for id_ in each.message_ids
                if (message := self.backend.message(id_)) is not None
            ]
            for message in received:
                self._received(message)
            # Taken out of the commit and not of the program: the program sends it, and does not know that it is lost.
            recording.commit([self._without(each) for each in transitions], answered)

        return overlay(recording, commit=commit)

    def _without(self, transition: Transition) -> Transition:
        kept = tuple(
            each for each in transition.messages if each.target != self.address or each.action not in self.never
        )
        return transition if len(kept) == len(transition.messages) else attrs.evolve(transition, messages=kept)

    def _received(self, stored: StoredMessage) -> None:
        message = stored.message
        payload = redacted_payload(self.job, message.action, message.payload)
        self.note("received", f"{message.action} from {message.sender}  {_short(payload)}".rstrip())

    def _committed(self, before: Instance | None, transition: Transition) -> None:
        self._commits += 1
        if self._commits > self.most * _STEPS_OF_AN_ENTRY:
            self.is_full = True
        for message in transition.messages:
            if message.target not in self.known:
                self.reached.add(message.target)
        if transition.address == self.address:
            self.own(before, transition)
        if self.is_full:  # it must not run for ever
            self.backend.remove(transition.address)

    def own(self, before: Instance | None, transition: Transition) -> None:
        """Record a commit of the instance."""
        after = transition.write.instance if isinstance(transition.write, Put) else None
        self.secrets.update(secrets_of_instance(self.job, after))
        if after is not None:
            self._begun(before, after)
        # A run that begins and ends in one commit shows no claim: its event says that it ran.
        for event in transition.events:
            if isinstance(event, JobExecuted):
                self.ran(event.run_id, event.attempt, event.cause, event.run_count)
        for message in transition.messages:
            target, job = message.target, self.jobs.get((message.target.kind, message.target.name))
            payload = "" if job is None else redacted_payload(job, message.action, message.payload)
            self.note("message", f"{message.action} to {target}  {_short(payload)}".rstrip())
        match transition.write:
            case Put(instance):
                self._changed(before, instance)
            case Purge():
                self.note("ended", "purged" if before is not None and before.ended_ms is not None else "removed")
            case _:
                return

    def _begun(self, before: Instance | None, after: Instance) -> None:
        claim = after.claim
        if claim is not None and _place(claim) != _place(None if before is None else before.claim):
            self.ran(claim.run_id, claim.attempt, claim.cause, after.run_count)

    def ran(self, run_id: str, attempt: int, cause: str, number: int) -> None:
        """Record that an attempt has begun, once."""
        if (run_id, attempt) not in self.runs:
            self.runs.add((run_id, attempt))
            self.note("run", f"run {number}, because of {cause}" + (f", attempt {attempt}" if attempt > 1 else ""))

    def _changed(self, before: Instance | None, after: Instance) -> None:
        if before is None or before.state != after.state or before.data != after.data:
            shown = _shown_state(self.job, after)
            # The stored text may change without the state: a journal's counters are in the data.
            if shown and (before is None or shown != _shown_state(self.job, before)):
                self.note("state", _short(shown))
        # A parked instance keeps what `resume` continues from; nothing is due.
        retry = after.pending_retry if after.suspension in (None, "paused") else None
        if retry is not None and (before is None or before.pending_retry != retry):
            error = _error(redacted_failure(self.job, retry.error))
            self.note("retry", f"attempt {retry.attempt} at {_time(retry.at_ms)}, after {error}")
        if after.suspension is not None and (before is None or before.suspension != after.suspension):
            error = "" if after.last_error is None else f": {_error(after.last_error)}"
            self.note("paused" if after.suspension == "paused" else "parked", f"{after.suspension}{error}")
        if after.left is not None and (before is None or before.left is None):
            self.note("left", f"to other code: {after.left.error.message}")
        if after.ended_ms is not None:
            if before is None or before.ended_ms is None:
                self.note("ended", _outcome(self.job, after))
        elif after.alarm_ms is not None and (before is None or before.alarm_ms != after.alarm_ms):
            self.note("alarm", f"set to {_time(after.alarm_ms)}")

    def shown(self) -> tuple[TimelineEntry, ...]:
        """Return the entries without the secrets that any of them had."""
        if not self.secrets:
            return tuple(self.entries)
        return tuple(attrs.evolve(each, text=scrubbed(each.text, self.secrets)) for each in self.entries)


def _place(claim: Claim | None) -> tuple[str, int] | None:
    return None if claim is None else (claim.run_id, claim.attempt)


def _time(at_ms: int) -> str:
    return f"{from_ms(at_ms):%Y-%m-%d %H:%M:%S}"


def _short(text: str) -> str:
    return shortened(one_line(text), MAX_LINE_CHARACTERS)


def _error(record: FailureRecord) -> str:
    return _short(f"{record.error_type}: {record.message}")


def _shown_state(job: AnyDefinition, row: Instance) -> str:
    try:
        return shown_text(job, row) or ""
    except InvalidInput:
        return ""


def _outcome(job: AnyDefinition, row: Instance) -> str:
    try:
        outcome = job.outcome_of(redacted_instance(job, row))
    except InvalidInput:
        outcome = None
    if outcome is None:
        return row.status
    error = "" if outcome.error is None else _error(outcome.error)
    return _short(f"{outcome.form}  {outcome.value or error or outcome.reason or ''}".rstrip())


# ---------------------------------------------------------------- asking
Row: TypeAlias = tuple[Instance, tuple[str, ...]]
"""An instance with its journal."""


def event_action(job: AnyDefinition, event: WhatIfEvent) -> str:
    """Return an event's action, and check the event.

    Raises:
        InvalidArgument: the job has no such action, or its kind has no usual one.
        InvalidInput: the payload is not valid.
    """
    usual = next((name for name in ("send", "add") if name in job.plan.offered), None)
    action = event.action or usual
    if action is None or action not in job.plan.offered:
        raise InvalidArgument("event of a future", action, f"an action: {', '.join(job.plan.offered)}")
    job.parse(action, event.payload)
    return action


def asked_future(
    definitions: Mapping[tuple[str, str], AnyDefinition],
    address: Address,
    question: FutureQuestion,
    *,
    now_ms: int,
    limits: Limits = Limits(),
    messages: Sequence[StoredMessage] = (),
) -> Generator[frozenset[Address], Mapping[Address, Row], InstanceTimeline]:
    """Ask for an instance's future: yield the instances to read, and take those that exist.

    Args:
        definitions: the jobs' definitions.
        address: the instance.
        question: the question.
        now_ms: the moment at which the future begins, in milliseconds since 1970 UTC.
        limits: the engine's limits.
        messages: the undelivered messages of the store.

    Raises:
        NoAnswers: effects have no answer.
        InvalidArgument: the job does not have one of the actions.
        InvalidInput: the payload of an event is not valid.
        DefinitionError: the future cannot be computed.
    """
    job = definitions[address.kind, address.name]
    events = [(event_action(job, each), each) for each in question.events]
    for action in question.never:
        if action not in job.plan.commands:
            raise InvalidArgument("never of a future", action, f"an action: {', '.join(job.plan.offered)}")
    app: App[Any] = App(cast("Any", NoServices()), limits=limits).with_jobs(*definitions.values())
    computed = _Asked(app, address, question, events, now_ms, messages)
    # Kept over the rounds: each round runs all rows from the beginning, with those that messages reached in the last
    # one.
    rows: dict[Address, Row] = {}
    named, asked = set[Address](), set[Address]()

    def read(wanted: frozenset[Address]) -> Generator[frozenset[Address], Mapping[Address, Row]]:
        """Read instances, and the children that they wait for, up to the limit."""
        while True:
            named.update(wanted)
            # Sorted before the limit cuts: the same question reads the same instances.
            wanted = frozenset(sorted(wanted - asked)[: question.instances - len(asked)])
            if not wanted:
                return
            asked.update(wanted)
            found = yield wanted
            rows.update(found)
            wanted = frozenset(_children(definitions, found))

    yield from read(frozenset({address}))
    while True:
        (timeline, reached), before = _computed(computed, rows), len(rows)
        yield from read(reached)
        if len(rows) == before:  # a message creates those that do not exist
            return attrs.evolve(timeline, read=tuple(sorted(rows)), unread=len(named - asked))


def _children(definitions: Mapping[tuple[str, str], AnyDefinition], rows: Mapping[Address, Row]) -> Iterator[Address]:
    """Yield the children that instances wait for."""
    for address, (row, journal) in rows.items():
        job = definitions.get((address.kind, address.name))
        if job is None or not job.keeps_journal:
            continue
        for step in job.steps(row, journal):
            name, colon, id_ = step.name.removeprefix(CHILD).partition(":")
            if step.name.startswith(CHILD) and colon and step.status not in ("done", "failed"):
                yield Address("workflow", name, id_)


@attrs.frozen
class _Asked:
    """A question, checked, and what its answer is computed with."""

    app: App[Any]
    address: Address
    question: FutureQuestion
    events: Sequence[tuple[str, WhatIfEvent]]
    begins_ms: int
    messages: Sequence[StoredMessage]


def _computed(asked: _Asked, rows: Mapping[Address, Row]) -> tuple[InstanceTimeline, frozenset[Address]]:
    """Run the rows, and return the timeline, and the other instances that messages would have reached."""
    address, question, now_ms = asked.address, asked.question, asked.begins_ms
    never = frozenset(question.never)
    image = Image(
        at_ms=now_ms,
        # At least the epoch of each claim: the engine of the simulation recovers claims of earlier epochs only.
        epoch=max((claim.owner for row, _ in rows.values() for claim in _claims(row)), default=0),
        instances=rows,
        messages=tuple(
            each
            for each in asked.messages
            if each.message.target in rows and not (each.message.target == address and each.message.action in never)
        ),
        total=len(rows),
    )
    performer = Performer(question.answers, recorded_in(image), question.seed)

    def watcher(*parts: Any) -> Recorder:
        return TimelineRecorder(*parts, address=address, never=never, most=question.most)

    with on_stage(asked.app, image, performer, recording=watcher) as stage:
        client, simulation = stage.enter(), stage.simulation
        seen = cast("TimelineRecorder", stage.recorder)
        for action, event in asked.events:
            for _ in range(event.times):
                seen.runtime.spawn(_coming(seen, client, action, event), name="event")
        until_ms = now_ms + question.lasting_ms
        while simulation.now_ms < until_ms and not seen.is_full:
            simulation.advance(min(LOOKS_EVERY_MS, until_ms - simulation.now_ms))
        row = seen.backend.instance(address)
    if performer.missing:
        raise NoAnswers(performer.missing)
    # A queued instance has a rank and no due instant.
    is_due = row is not None and (row.due_ms is not None or row.claim is not None or row.rank_ms is not None)
    timeline = InstanceTimeline(
        address=address,
        begins_ms=now_ms,
        until_ms=until_ms,
        entries=seen.shown(),
        ends="full" if seen.is_full else "horizon" if is_due else "quiet",
        used=dict(performer.used),
        not_called=question.answers.not_called(performer.used),
        queued=address in rows and rows[address][0].rank_ms is not None,
    )
    return timeline, frozenset(each for each in seen.reached if each not in rows)


async def _coming(seen: TimelineRecorder, client: Client, action: str, event: WhatIfEvent) -> None:
    """Let an event come, and record its answer."""
    if event.after_ms:
        await seen.runtime.sleep(event.after_ms)
    shown = redacted_payload(seen.job, action, event.payload)
    seen.note("request", f"{action}  {_short(shown)}".rstrip())
    job = client.handle_by_name(seen.address.kind, seen.address.name)
    call = job.call(action, seen.address.id, event.payload, idempotency_key=event.idempotency_key)
    match await result_of(call):
        case Success(answer):
            seen.note("answer", _short(orjson.dumps(answer).decode()))
        case Failure(problem):
            seen.note("answer", f"refused: {type(problem).__name__}: {_short(str(problem))}")
        case other:
            raise TypeError(other)


def _claims(row: Instance) -> Iterator[Claim]:
    for claim in (row.claim, row.event_claim):
        if claim is not None:
            yield claim


async def future_of(
    jobs: Client, definition: AnyDefinition, id_: str, /, question: FutureQuestion = FutureQuestion()
) -> InstanceTimeline:
    """Ask for the future of an instance. Nothing is written, and no service is called.

    It copies the committed rows of the instance, of its children, and of those instances that its messages reach, and
    runs the copies in virtual time. A thread computes it, so that the engine continues.

    Args:
        jobs: the open client of an engine in this process.
        definition: the job.
        id_: the instance. One that does not exist has a future if an event creates it.
        question: the question. By default the next 30 days, without events.

    Raises:
        NoAnswers: effects have no answer.
        InvalidArgument: the job does not have an action that the question names, or the client is of another process.
        InvalidInput: the payload of an event is not valid.
        DefinitionError: the future cannot be computed.
        PerdureError: the store cannot be read.
    """
    gateway = local_gateway(jobs, of="future_of")
    engine, address = gateway.engine, check_definition(definition, of="future_of").address(check_id(id_))
    now_ms = _begin_of(question, engine.runtime.now_ms())
    asking = asked_future(
        gateway.definitions,
        address,
        question,
        now_ms=now_ms,
        limits=engine.limits,
        messages=await _read(answer_of(engine.store.messages(now_ms + question.lasting_ms, _MESSAGES_READ))),
    )
    found: Mapping[Address, Row] | None = None
    while True:
        # One step in a thread, the reads between them on the loop: the store belongs to the loop's thread.
        step: Any = await engine.runtime.elsewhere("thread", _step, (asking, found), {})
        if isinstance(step, InstanceTimeline):
            return step
        found = await rows_of(gateway, step)


def future_at_rest(
    gateway: ReadingGateway,
    wait: Callable[[Awaitable[Any]], Any],
    address: Address,
    question: FutureQuestion,
    *,
    now_ms: int,
    limits: Limits = Limits(),
) -> InstanceTimeline:
    """Ask for the future of an instance of a store that no engine runs.

    Args:
        gateway: reads the store.
        wait: waits for a read.
        address: the instance.
        question: the question.
        now_ms: the present.
        limits: the engine's limits.

    Raises:
        NoAnswers: effects have no answer.
        InvalidArgument: the job does not have an action that the question names.
        InvalidInput: the payload of an event is not valid.
        DefinitionError: the future cannot be computed.
        PerdureError: the store cannot be read.
    """
    begins_ms = _begin_of(question, now_ms)
    stored = answer_of(gateway.store.messages(begins_ms + question.lasting_ms, _MESSAGES_READ))
    messages = wait(_read(stored))
    asking = asked_future(gateway.definitions, address, question, now_ms=begins_ms, limits=limits, messages=messages)
    found: Mapping[Address, Row] | None = None
    while True:
        step = _step(asking, found)
        if isinstance(step, InstanceTimeline):
            return step
        found = wait(rows_of(gateway, step))


def _step(
    asking: Generator[frozenset[Address], Mapping[Address, Row], InstanceTimeline], found: Mapping[Address, Row] | None
) -> frozenset[Address] | InstanceTimeline:
    try:
        return next(asking) if found is None else asking.send(found)
    except StopIteration as done:
        timeline: InstanceTimeline = done.value
        return timeline


def local_gateway(jobs: Client, *, of: str) -> LocalGateway:
    """Return how a client reads the rows of an engine in this process.

    Raises:
        InvalidArgument: the client is of another process.
    """
    gateway: object = gateway_of(jobs)
    if not isinstance(gateway, LocalGateway):
        expected = "a client of an engine in this process; use perdure future or perdure debug for another one"
        raise InvalidArgument(f"client of {of}", jobs, expected)
    return gateway


def _begin_of(question: FutureQuestion, now_ms: int) -> int:
    return now_ms if question.begins is None else to_ms(question.begins, what="begin of a future")


async def rows_of(gateway: ReadingGateway, addresses: Collection[Address]) -> dict[Address, Row]:
    """Read instances with their journals. Those that do not exist are left out.

    Raises:
        PerdureError: the store cannot be read.
    """
    found: dict[Address, Row] = {}
    for address in addresses:
        row = (await _read(gateway.load(address))).instance
        if row is not None:
            found[address] = row, await _read(gateway.journal(row))
    return found


async def _read(answer: Awaitable[Result[Any, Any]]) -> Any:
    match await answer:
        case Success(value):
            return value
        case Failure(error):
            raise error
        case other:
            raise TypeError(other)
