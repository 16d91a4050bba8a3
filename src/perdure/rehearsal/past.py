"""The past of a store: the only module that reads the event log for rehearsals, capacity, debuggers and tests.

`read_histories` reads requests from the event log, and starts, signals and answers from the journals of workflows, as
prefixes for a `JobMachine`.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import zip_longest
from typing import Any, Final, Literal

import attrs

from perdure.app import App
from perdure.client.reading import ReadingGateway
from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.parts import whole_state
from perdure.kinds.workflow.children import is_child_signal
from perdure.kinds.workflow.header import header_of, written
from perdure.kinds.workflow.journal import Row, codecs_of, whole_row
from perdure.programs import ServiceCall
from perdure.stores import at_rest
from perdure.stores.at_rest import StoredInstance, StoreReader
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.testing.histories import (
    NOT_DECODED,
    Hidden,
    Histories,
    HistoryStep,
    InstanceHistory,
    NotHidden,
    decoded,
)
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidId, InvalidInput, PerdureError, StoreCorrupt
from perdure.values.event import (
    DebounceFlushed,
    DebounceStarted,
    Event,
    JobAccepted,
    JobExecuted,
    JobFailed,
    JobPaused,
    JobResumed,
    JobRetryExhausted,
    JobStarted,
    JobTerminated,
)
from perdure.values.excerpt import REFERENCE, fields_in_line, shortened
from perdure.values.instance import Instance
from perdure.values.times import Duration, duration_ms, format_duration

EACH: Final = 20
"""How many histories of each job are kept by default."""

STEPS: Final = 50
"""How many steps of one history are kept by default."""

MOST: Final = 1_000
"""The greatest number of histories of a job, and of steps of a history."""

MOST_REQUESTS: Final = 100_000
"""How many requests of the history of a store are kept by default."""

MAX_STEP_CHARACTERS: Final = 16_384
"""The characters of the longest value that a step has."""

_PAGE: Final = 1_000
_LEAST_PAST_MS: Final = 3_600_000  # a younger history is repeated each hour
_WORKFLOW: Final = "workflow"
WITH_PAYLOADS: Final = 'a history from the beginning on, of a definition with accepted_in_events="payload"'
NO_PAYLOADS: Final = 'its job does not say accepted_in_events="payload"'
NO_BEGINNING: Final = "retention has deleted its beginning"
NOT_HIDDEN: Final = "the texts of its first step cannot be replaced"
NOT_FOLLOWED: Final = "it was forked or started over, or this code does not follow its journal"
TOO_MANY: Final = "the store has more steps than are read"
NOT_CHOSEN: Final = "more than were asked for, or the beginning of another one"
DAMAGED: Final = "damaged rows"


@attrs.frozen
class PastRequest:
    """A request that the history has, or that arrives in a rehearsal.

    Attributes:
        at_ms: when it was accepted, or when it arrives.
        address: the instance.
        action: the action.
        payload: its input as JSON, without secrets. None if the history does not keep it, or if it had none.
        told_by: the instance whose message it was, printed. None if it came from outside.
    """

    at_ms: int
    address: Address
    action: str
    payload: str | None
    told_by: str | None = None


def request_in(event: Event) -> PastRequest | None:
    """Return the request that an event records, if it records one."""
    match event:
        case JobAccepted():
            action, payload, told_by = event.action, event.payload, event.told_by
        case JobPaused():
            action, payload, told_by = "pause", None, None
        case JobResumed(was="paused"):
            action, payload, told_by = "resume", None, None
        case _:
            return None
    try:
        return PastRequest(event.at_ms, Address.parse(event.address), action, payload, told_by)
    except InvalidId:
        return None


@attrs.frozen(repr=False)
class NoArrivals(PerdureError):
    """The history has no request that can be repeated.

    Attributes:
        covers_ms: how much time the history covers, in milliseconds.
        without: how many requests it has without their input, by the job's kind and name.
    """

    covers_ms: int
    without: Mapping[str, int]

    def _text(self) -> str:
        counts = shortened(", ".join(f"{job} {number}" for job, number in sorted(self.without.items())))
        found = f"only requests without their input ({counts})" if counts else "no requests"
        return (
            f"the history of the last {format_duration(self.covers_ms)} has {found}: it keeps inputs of definitions "
            "with accepted_in_events='payload', from then on; draw requests instead (--draw task:orders=100, a day)"
        )


def needs_input(definition: AnyDefinition, action: str) -> bool:
    """Return whether a request cannot be repeated without its input."""
    spec = definition.plan.commands.get(action)
    return spec is not None and spec.input is not None and spec.takes == "input"


# ---------------------------------------------------------------- the event log
@attrs.define
class PastEvents:
    """Reads events, in order and decrypted, and counts those that are damaged.

    Args:
        records: decrypts rows. None if the app does not encrypt.
        page_read: called after each page.
    """

    reader: StoreReader
    records: RecordCipher | None
    page_read: Callable[[], None]
    damaged: int = attrs.field(init=False, default=0)

    def all(self) -> Iterator[Event]:
        """Yield all events."""
        return self._in(at_rest.events(self.reader))

    def accepted(self, since_ms: int) -> Iterator[Event]:
        """Yield the accepted requests from an instant on."""
        return self._in(at_rest.accepted(self.reader, since_ms))

    def _in(self, pages: Iterable[Sequence[LoggedEvent | StoreCorrupt]]) -> Iterator[Event]:
        for page in pages:
            self.page_read()
            # Damaged rows are counted and left out. One bad event must not end the read of a whole store.
            whole = tuple(one for one in page if isinstance(one, LoggedEvent))
            self.damaged += len(page) - len(whole)
            for logged in whole if self.records is None else self.records.logged(whole):
                if not isinstance(logged.event, UnreadEvent):
                    yield logged.event


@attrs.frozen
class PastRequests:
    """Requests that came from outside.

    Attributes:
        requests: the requests, in order.
        covers_ms: how much time they cover, in milliseconds.
        last_ms: when the last event happened.
        left_out: how many more there are, beyond the limit.
    """

    __repr__ = fields_in_line

    requests: tuple[PastRequest, ...] = ()
    covers_ms: int = 0
    last_ms: int = 0
    left_out: int = 0


NO_PAST: Final = PastRequests()


def requests_since(
    log: PastEvents, history: Duration, matches: Callable[[Address], bool], *, most: int = MOST_REQUESTS
) -> PastRequests:
    """Read the requests that came from outside. Those to some addresses, by a hash, if there are more than ``most``."""
    wanted_ms = duration_ms(history, what="history of arrivals", minimum_ms=1)
    span = at_rest.history_span(log.reader)
    if span is None:
        return PastRequests(covers_ms=wanted_ms)
    first_ms, last_ms = max(span[0], span[1] - wanted_ms), span[1]
    found: defaultdict[Address, list[PastRequest]] = defaultdict(list)
    order: list[tuple[int, Address]] = []
    number, bound, left_out = 0, 1 << 64, 0
    for request in filter(None, map(request_in, log.accepted(first_ms))):
        # A hash of the address chooses, not a draw: the old and the new code read the same instances, and an instance
        # keeps all its requests or none.
        place = number_of(0, "past", request.address)
        if request.told_by is not None or not matches(request.address):
            continue
        # Counted as left out only after the filter: the number is about the requests that the caller asked for.
        if place >= bound:
            left_out += 1
            continue
        if request.address not in found:
            heapq.heappush(order, (-place, request.address))
        found[request.address].append(request)
        number += 1
        # The last instance stays however many requests it has: an empty sample would say nothing.
        while number > most and len(order) > 1:
            largest, dropped = heapq.heappop(order)
            these = len(found.pop(dropped))
            number, bound, left_out = number - these, -largest, left_out + these
    requests = sorted((each for some in found.values() for each in some), key=lambda each: each.at_ms)
    # A past of some seconds would be repeated thousands of times over the length of the rehearsal.
    return PastRequests(tuple(requests), max(_LEAST_PAST_MS, last_ms - first_ms), last_ms, left_out)


# ---------------------------------------------------------------- numbers that depend on their purpose
def number_of(seed: int, *parts: object) -> int:
    """Return a 64-bit number that depends on these values alone, in each process.

    A rehearsal draws its random numbers like this, never from one stream: a change to one instance must not change the
    luck of the others.
    """
    text = "\0".join(map(str, (seed, *parts)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


# ---------------------------------------------------------------- the life of one instance
@attrs.frozen
class PastLife:
    """An instance's latest life.

    Attributes:
        address: the instance.
        requests: the requests that it accepted, in order, as this code decodes them.
        runs: how runs ended, by number and attempt.
        until_ms: when the last event happened.
    """

    __repr__ = fields_in_line

    address: Address
    requests: tuple[PastRequest, ...]
    runs: Mapping[tuple[int, int], str]
    until_ms: int


def outcome_in(event: Event) -> tuple[tuple[int, int], str] | None:
    """Return the run that an event ends, by number and attempt, and how it ended."""
    match event:
        case JobExecuted() | DebounceFlushed():
            return (event.run_count, event.attempt), "executed"
        # The run that replaced this one reports the outcome. Two entries for one number and attempt would look like a
        # difference.
        case JobFailed(hook="superseded"):
            return None
        case JobFailed() | JobRetryExhausted():
            return (event.run_count, event.attempt), f"failed: {event.error.error_type}"
        case _:
            return None


def life_in(definition: AnyDefinition, address: Address, events: Sequence[Event]) -> PastLife:
    """Return the life that events tell, the oldest event first.

    Raises:
        DefinitionError: a request is missing in it.
        InvalidInput: this code cannot decode a request.
    """
    requests = list[PastRequest]()
    for request in filter(None, map(request_in, events)):
        spec = definition.plan.offered.get(request.action)
        codec = None if spec is None else spec.input
        if request.payload is None and needs_input(definition, request.action):
            raise DefinitionError(f"history of {address}", f"a {request.action} without its input", WITH_PAYLOADS)
        payload = request.payload
        if codec is not None and payload:
            # Encoded again by this code: the text of older code may spell defaults that this one leaves out, and the
            # histories are compared as texts.
            payload = codec.encode(decoded(codec, payload.encode())).decode()
        requests.append(attrs.evolve(request, payload=payload))
    if not requests:
        raise DefinitionError(f"history of {address}", "no requests", WITH_PAYLOADS)
    return PastLife(address, tuple(requests), dict(filter(None, map(outcome_in, events))), events[-1].at_ms)


async def read_life(
    gateway: ReadingGateway, definition: AnyDefinition, address: Address, *, most: int = MOST_REQUESTS
) -> PastLife:
    """Read an instance's latest life, which may have ended.

    Args:
        gateway: reads the store.
        definition: the instance's definition.
        address: the instance.
        most: how many events are read.

    Raises:
        DefinitionError: the history does not have its beginning, or not its requests, or has more events.
        InvalidInput: this code cannot decode a request.
        PerdureError: the store cannot be read.
    """
    found, before = list[Event](), None
    # Backwards, newest page first: an address may have had many lives, and only the latest one is wanted.
    while True:
        page = await gateway.history(address, before=before, limit=_PAGE)
        for logged in page:
            if isinstance(logged.event, UnreadEvent):
                continue
            found.append(logged.event)
            # The start of the latest life. Older events belong to an instance that has ended.
            if isinstance(logged.event, JobStarted | DebounceStarted):
                return life_in(definition, address, found[::-1])
        if len(found) > most:
            raise DefinitionError(f"history of {address}", f"more than {most:,} events", "a younger instance")
        if len(page) < _PAGE:
            got = NO_BEGINNING if found else "no events"
            raise DefinitionError(f"history of {address}", got, WITH_PAYLOADS)
        before = page[-1].sequence


@attrs.frozen
class _RawStep:
    at_ms: int
    what: Literal["request", "done", "failed"]
    name: str
    codec: Codec[Any] | None
    data: str
    function: str = ""


@attrs.define
class _Raw:
    """A history as it is stored.

    Attributes:
        is_over: whether later steps are not read.
    """

    job: AnyDefinition
    steps: list[_RawStep] = attrs.Factory(list[_RawStep])
    is_over: bool = False


@attrs.define
class _Reading:
    """Collects the steps of instances.

    Attributes:
        served: the definitions whose histories are read, by kind and name.
        most_of_one: how many steps of one instance are kept.
        most: how many steps are kept in all.
    """

    served: Mapping[tuple[str, str], AnyDefinition]
    most_of_one: int
    most: int
    left_out: Counter[str] = attrs.Factory(Counter[str])
    found: dict[Address, _Raw] = attrs.Factory(dict[Address, _Raw])
    steps: int = 0
    _headless: set[Address] = attrs.Factory(set[Address])

    # ------------------------------------------------------------ events
    def event(self, event: Event) -> None:
        """Add one event."""
        try:
            address = Address.parse(event.address)
        # The log keeps events of older releases: an address that the rules of today refuse is skipped, and not fatal.
        except InvalidId:
            return
        job = self.served.get((address.kind, address.name))
        # A workflow's journal has its signals and answers in the order in which its program saw them. The log does not.
        if job is None or address.kind == _WORKFLOW:
            return
        begins = isinstance(event, JobStarted | DebounceStarted)
        if job.plan.accepted_in_events != "payload":
            self.left_out[NO_PAYLOADS] += begins
        elif begins:
            self.found.setdefault(address, _Raw(job))
        elif (raw := self.found.get(address)) is not None:
            self._next(raw, event)
        # Counted once for each instance, however many requests follow without their start.
        elif isinstance(event, JobAccepted) and address not in self._headless:
            self._headless.add(address)
            self.left_out[NO_BEGINNING] += 1

    def _next(self, raw: _Raw, event: Event) -> None:
        match event:
            case JobAccepted(action=action, payload=payload, received_at_ms=at_ms):
                spec = raw.job.plan.offered.get(action)
                if spec is None or (spec.input is not None and payload is None and spec.takes != "options"):
                    raw.is_over = True
                else:
                    self.add(raw, _RawStep(at_ms, "request", action, spec.input, payload or ""))
            case JobPaused():
                self.add(raw, _RawStep(event.at_ms, "request", "pause", None, ""))
            case JobResumed(was="paused"):
                self.add(raw, _RawStep(event.at_ms, "request", "resume", None, ""))
            case JobTerminated():
                raw.is_over = True  # by a hook or by a caller: the event does not say
            case _:
                pass

    def add(self, raw: _Raw, step: _RawStep) -> None:
        """Add a step, unless the history is over or a limit is reached: then it ends here."""
        if raw.is_over or len(raw.steps) >= self.most_of_one or len(step.data) > MAX_STEP_CHARACTERS:
            raw.is_over = True
        elif self.steps >= self.most:
            raw.is_over = True
            self.left_out[TOO_MANY] += 1
        else:
            self.steps += 1
            raw.steps.append(step)

    # ------------------------------------------------------------ journals
    def row(self, reader: StoreReader, row: StoredInstance, records: RecordCipher | None) -> None:
        """Add a stored workflow."""
        instance = row.instance
        if isinstance(instance, StoreCorrupt):
            self.left_out[DAMAGED] += 1
            return
        journal = at_rest.journal(reader, instance) or ()
        if records is not None:
            instance, journal = records.instance(instance), records.journal(journal, str(row.address), 0)
        self.workflow(self.served[row.address.kind, row.address.name], instance, journal)

    def workflow(self, job: AnyDefinition, instance: Instance, bodies: Sequence[str]) -> None:
        """Add a workflow: its start, the signals that arrived, and the outcomes of its steps that are effects."""
        raw, start = _Raw(job), job.plan.commands["start"]
        try:
            header = header_of(instance)
            # The rows of a fork are a copy of another instance's, and skipped rows are an earlier program: neither is
            # this program's path from its start.
            if header.forked is not None or header.skips:
                self.left_out[NOT_FOLLOWED] += 1
                return
            state = header.first or instance.state
            # A large first state is in parts in the journal, and the header only refers to them.
            if state[:1] == REFERENCE:
                state = whole_state(job, state, bodies)
            self.add(raw, _RawStep(header.started_ms, "request", "start", start.input, state))
            # Replayed as if it were in progress: a replay of an ended workflow asks for nothing, and each row is
            # matched with the step that asked for it.
            shown = instance.changed(data=written(attrs.evolve(header, ended=None)))
            parts: dict[str, str] = {}
            for place, body in enumerate(bodies):
                if raw.is_over:
                    break
                self._row(raw, whole_row(body, parts), shown, bodies[:place])
        except InvalidInput:
            self.left_out[NOT_FOLLOWED] += 1
        if raw.steps:
            self.found[instance.address] = raw

    def _row(self, raw: _Raw, row: Row, instance: Instance, before: Sequence[str]) -> None:
        # A child's end is sent by the child, which has a history of its own. Only a caller's signal is a request.
        if row.form == "arrived" and not is_child_signal(row.name):
            spec = raw.job.plan.offered.get(action := f"signal.{row.name}")
            if spec is None:
                raw.is_over = True
            else:
                self.add(raw, _RawStep(row.at_ms, "request", action, spec.input, row.value))
        elif row.form in ("done", "failed"):
            asked = next((one for one in raw.job.replayed(instance, before) if one.path == row.path), None)
            if asked is None or not isinstance(asked.instruction, ServiceCall):
                return  # a program that runs as one step: its effects are performed
            form: Literal["done", "failed"] = "done" if row.form == "done" else "failed"
            function = asked.instruction.fn
            place = f"{function.__module__}:{function.__qualname__}"
            codec = codecs_of(asked.instruction)[form == "failed"]
            self.add(raw, _RawStep(row.at_ms, form, row.name, codec, row.value, place))


def read_histories(
    reader: StoreReader,
    app: App[Any],
    *,
    jobs: Collection[str] = (),
    each: int = EACH,
    steps: int = STEPS,
    keep: Collection[str] = (),
    records: RecordCipher | None = None,
    most: int = MOST_REQUESTS,
) -> Histories:
    """Read histories of a store, without its secrets, texts, bytes, UUIDs and ids. Nothing is written to the store.

    A history has the requests that an instance has accepted, from its first, as the event log has them with
    ``accepted_in_events="payload"``. That of a workflow has its start, its signals and the recorded answers of its
    effects, from its journal. Numbers, truth values, dates and the members of enumerations are kept: they decide.

    Args:
        reader: an open reader.
        app: the code that reads them.
        jobs: only these jobs, printed ``kind:name``. All if empty.
        each: how many histories of each job, from 1 to 1,000. Different ones come first.
        steps: how many steps of each history, from 1 to 1,000.
        keep: the names of fields whose texts are kept.
        records: decrypts rows. None if the app does not encrypt.
        most: how many steps are read in all.

    Raises:
        DefinitionError: a number is out of its range, or the app does not serve a job.
        StoreError: the store cannot be read.
    """
    for what, number in (("histories of a job", each), ("steps of a history", steps)):
        if not 1 <= number <= MOST:
            raise DefinitionError(what, number, f"a number from 1 to {MOST:,}")
    known = {f"{kind}:{name}": (kind, name) for kind, name in app.served}
    for job in jobs:
        if job not in known:
            raise DefinitionError("jobs of histories", job, f"a job of the app: {', '.join(sorted(known))}")
    wanted = {known[job] for job in jobs or known}
    served = {job: definition for job, definition in app.served.items() if job in wanted}
    reading = _Reading(served, steps, most)
    # One snapshot for the log and the rows: otherwise an instance could have a journal that is ahead of its events.
    with reader.moment() as page_read:
        log = PastEvents(reader, records, page_read)
        for event in log.all():
            reading.event(event)
        reading.left_out[DAMAGED] += log.damaged
        for rows in at_rest.instances(reader):
            page_read()
            for row in rows:
                if row.address.kind == _WORKFLOW and (row.address.kind, row.address.name) in served:
                    reading.row(reader, row, records)
    return _chosen(reading, each, frozenset(keep))


def _chosen(reading: _Reading, each: int, keep: Collection[str]) -> Histories:
    """Hide personal data, and keep so many histories of each job, no two alike before all others are there."""
    hidden, left_out = Hidden(keep), reading.left_out
    of: defaultdict[str, dict[tuple[str, ...], list[InstanceHistory]]] = defaultdict(dict)
    for raw in reading.found.values():
        steps = _shown(raw, hidden, left_out)
        if steps:
            one = InstanceHistory(f"{raw.job.kind}:{raw.job.name}", steps)
            of[one.job].setdefault(tuple(map(_shape, steps)), []).append(one)
    kept = list[InstanceHistory]()
    # Sorted: the file must not change when the same store is read again.
    for _, shapes in sorted(of.items()):
        beginnings = {shape[:length] for shape in shapes for length in range(1, len(shape))}
        # One that is the beginning of another adds nothing: a prefix of that one is the same.
        groups = sorted((shape for shape in shapes if shape not in beginnings), key=_hash)
        # One of each shape first, then the second of each: a thousand equal histories must not displace a rare one.
        ordered = [one for rank in zip_longest(*(shapes[shape] for shape in groups)) for one in rank if one is not None]
        kept += ordered[:each]
        left_out[NOT_CHOSEN] += sum(map(len, shapes.values())) - len(ordered[:each])
    return Histories(tuple(kept), {reason: number for reason, number in left_out.items() if number})


def _shown(raw: _Raw, hidden: Hidden, left_out: Counter[str]) -> tuple[HistoryStep, ...]:
    steps, at_ms = list[HistoryStep](), raw.steps[0].at_ms if raw.steps else 0
    for step in raw.steps:
        try:
            value = hidden.encoded(step.codec, step.data.encode()) if step.codec is not None and step.data else ""
        except (InvalidInput, NotHidden) as problem:
            # The reason is written to the file, so it never has the value's text.
            if not steps:
                left_out[NOT_DECODED if isinstance(problem, InvalidInput) else NOT_HIDDEN] += 1
            break
        steps.append(HistoryStep(max(0, step.at_ms - at_ms), step.what, step.name, value, step.function))
        # The clock of another engine may be behind: a step never goes back in time.
        at_ms = max(at_ms, step.at_ms)
    return tuple(steps)


# Numbers and hidden texts differ in every history, and would make each one a shape of its own.
_VARIES: Final = re.compile(r'"(?:text|bytes) \d+"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?')


def _shape(step: HistoryStep) -> str:
    """Return a step without its numbers and replaced texts: instances with equal shapes have probably the same past."""
    return f"{step.what} {step.name} {_VARIES.sub('0', step.value)}"


def _hash(shape: tuple[str, ...]) -> bytes:
    return blake2b("\n".join(shape).encode(), digest_size=8).digest()
