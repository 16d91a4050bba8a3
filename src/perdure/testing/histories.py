"""Histories of a real store, as prefixes for a `JobMachine`: requests and answers of services, without personal data.

`read_histories` reads them from the event log and from the journals of workflows. `Histories` is a file that you
commit beside the tests.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import importlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

import attrs
import orjson

from perdure.app import App
from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.kinds.workflow.children import is_child_signal
from perdure.kinds.workflow.header import header_of, written
from perdure.kinds.workflow.journal import Row, codecs_of, row_of
from perdure.programs import ServiceCall
from perdure.stores import at_rest
from perdure.stores.at_rest import StoredInstance, StoreReader
from perdure.stores.encryption.sealed_store import RecordCipher
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.testing.fault import Fail, Fault, Succeed
from perdure.testing.typed import (
    Choice,
    Many,
    Mapped,
    NoSample,
    OneOf,
    Opaque,
    PlainJson,
    Record,
    Scalar,
    TupleForm,
    Wrapped,
    examples_of,
    read_form,
)
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, InvalidId, InvalidInput, StoreCorrupt, UnknownAction
from perdure.values.event import DebounceStarted, Event, JobAccepted, JobPaused, JobResumed, JobStarted, JobTerminated
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance
from perdure.values.secret import HIDDEN, is_marked

FORMAT: Final = 1
"""The number of the file's format."""

_KEY: Final = "perdure histories"

EACH: Final = 20
"""How many histories of each job are kept by default."""

STEPS: Final = 50
"""How many steps of one history are kept by default."""

MOST: Final = 1_000
"""The greatest number of histories of a job, and of steps of a history."""

MOST_READ: Final = 100_000
"""How many steps of a store are read. Histories end before those beyond."""

MAX_STEP_CHARACTERS: Final = 16_384
"""The characters of the longest value that a step has."""


# ---------------------------------------------------------------- values, and their file
@attrs.frozen
class HistoryStep:
    """One request, or one answer of a service.

    Attributes:
        after_ms: when, in milliseconds after the step before.
        what: whether it is a ``request``, a success (``done``) or a typed error (``failed``) of a service.
        name: the command's name, or the effect's.
        value: the input, the value or the error, as JSON. Empty if there is none.
        function: the effect's function, printed ``module:name``. Empty for a request.
    """

    __repr__ = fields_in_line

    after_ms: int
    what: Literal["request", "done", "failed"]
    name: str
    value: str = ""
    function: str = ""


@attrs.frozen
class InstanceHistory:
    """The history of one instance, from its beginning.

    Attributes:
        job: the job, printed ``kind:name``.
        steps: its steps, in order.
    """

    __repr__ = fields_in_line

    job: str
    steps: tuple[HistoryStep, ...]


@attrs.frozen
class Histories:
    """Histories of a store, without secrets, texts and ids.

    Attributes:
        of: the histories.
        left_out: how many are left out, by reason.
    """

    __repr__ = fields_in_line

    of: tuple[InstanceHistory, ...]
    left_out: Mapping[str, int] = attrs.Factory(dict[str, int])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the histories to a file, which you commit beside the tests.

        Args:
            path: the file. An earlier one is replaced.
        """
        Path(path).write_bytes(self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Histories:
        """Read a file that `save` or ``perdure histories`` has written.

        Args:
            path: the file.

        Raises:
            StoreCorrupt: it is no such file.
        """
        return cls.from_json(Path(path).read_bytes(), what=str(path))

    def to_json(self) -> bytes:
        """Encode the histories, one line for each step."""
        each = [{"job": one.job, "steps": [attrs.astuple(step) for step in one.steps]} for one in self.of]
        data = {_KEY: FORMAT, "left_out": dict(sorted(self.left_out.items())), "histories": each}
        return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, text: bytes, *, what: str = "histories") -> Histories:
        """Decode the histories.

        Args:
            text: the result of `to_json`.
            what: how an error names it.

        Raises:
            StoreCorrupt: it is something else.
        """
        try:
            data = orjson.loads(text)
            if data[_KEY] != FORMAT:
                raise StoreCorrupt(what, f"histories in format {data[_KEY]}; this version reads format {FORMAT}")
            of = tuple(
                InstanceHistory(one["job"], tuple(HistoryStep(*step) for step in one["steps"]))
                for one in data["histories"]
            )
            return cls(of, data["left_out"])
        except (ValueError, TypeError, KeyError) as problem:
            raise StoreCorrupt(what, f"not a file of perdure histories: {problem!r}") from problem

    def lines(self) -> Iterator[str]:
        """Yield why histories are left out, and how many, one line for each reason."""
        yield from (f"{number:,} left out: {reason}" for reason, number in sorted(self.left_out.items()))

    def readable_by(self, job: AnyDefinition) -> Histories:
        """Return a job's histories, up to the first step that its code cannot read. Those without a step are counted.

        Args:
            job: the definition.
        """
        left_out, kept = Counter(self.left_out), list[InstanceHistory]()
        for one in self.of:
            if one.job != f"{job.kind}:{job.name}":
                continue
            steps = list[HistoryStep]()
            for step in one.steps:
                try:
                    _played(job, step)
                except (InvalidInput, UnknownAction, DefinitionError):
                    break
                steps.append(step)
            if steps:
                kept.append(attrs.evolve(one, steps=tuple(steps)))
            else:
                left_out[NOT_DECODED] += 1
        return Histories(tuple(kept), dict(left_out))


NOT_DECODED: Final = "this code cannot decode its first step"


# ---------------------------------------------------------------- to play one
@attrs.frozen(kw_only=True)
class PlayedStep:
    """One decoded step.

    Attributes:
        after_ms: when, in milliseconds after the step before.
        action: the command. Empty for an answer.
        input: its input.
        fault: the answer of a service. None for a request.
    """

    __repr__ = fields_in_line

    after_ms: int
    action: str = ""
    input: Any = None
    fault: Fault | None = None


@attrs.frozen(repr=False)
class HistoryPrefix:
    """The first steps of a history.

    Attributes:
        number: the history's number in the file, from 1.
        all: the steps of the history.
        length: how many of them.
    """

    number: int
    all: tuple[PlayedStep, ...]
    length: int

    def __repr__(self) -> str:
        return f"the first {self.length} of {len(self.all)} steps of history {self.number}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - as Hypothesis and IPython call it
        printer.text(repr(self))

    @property
    def steps(self) -> tuple[PlayedStep, ...]:
        """The steps."""
        return self.all[: self.length]

    def faults(self) -> Iterator[Fault]:
        """Yield the answers of services, each for its effect's next call."""
        calls = Counter[str]()
        for fault in (step.fault for step in self.steps):
            if fault is not None:
                calls[fault.at] += 1
                yield attrs.evolve(fault, call=calls[fault.at])


def played_by(job: AnyDefinition, histories: Histories, commands: Collection[str]) -> tuple[HistoryPrefix, ...]:
    """Return all prefixes of a job's histories, the shortest first. Each ends before a command that is not sent.

    Args:
        job: the definition.
        histories: the histories of any jobs.
        commands: the commands that may be sent.

    Raises:
        DefinitionError: this code cannot decode a step.
    """
    found = list[HistoryPrefix]()
    for number, history in enumerate(histories.of, start=1):
        if history.job != f"{job.kind}:{job.name}":
            continue
        steps = list[PlayedStep]()
        for place, step in enumerate(history.steps, start=1):
            if step.what == "request" and step.name not in commands and step.name in job.plan.commands:
                break
            try:
                steps.append(_played(job, step))
            except (InvalidInput, UnknownAction, DefinitionError) as problem:
                expected = "steps that this code can decode; write the file again, or pass Histories.readable_by(job)"
                what = f"step {place} of history {number} of {history.job}"
                raise DefinitionError(what, f"{step.name}: {problem}", expected) from problem
        found += [HistoryPrefix(number, tuple(steps), length) for length in range(1, len(steps) + 1)]
    return tuple(sorted(found, key=lambda each: (each.length, each.number)))


def _played(job: AnyDefinition, step: HistoryStep) -> PlayedStep:
    """Decode a step.

    Raises:
        InvalidInput: its value does not have the declared type.
        UnknownAction: the job has no such command.
        DefinitionError: there is no such effect.
    """
    data = step.value.encode()
    if step.what == "request":
        spec = job.spec(step.name)
        given = None if spec.input is None or not data else spec.input.decode(data)
        return PlayedStep(after_ms=step.after_ms, action=step.name, input=given)
    values, errors = _codecs(step.function, step.name)
    if step.what == "done":
        return PlayedStep(after_ms=step.after_ms, fault=Succeed(step.name, values.decode(data)))
    if errors is None:
        raise InvalidInput(f"error of {step.name}", ("the effect declares none",))
    return PlayedStep(after_ms=step.after_ms, fault=Fail(step.name, errors.decode(data)))


def _codecs(function: str, name: str) -> tuple[Codec[Any], Codec[Any] | None]:
    module, _, path = function.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as problem:
        raise DefinitionError(f"effect {name}", function, "a function of a module that this code has") from problem
    return codecs_of(ServiceCall(name, (), {}, found))


# ---------------------------------------------------------------- to hide personal data
class NotHidden(Exception):
    """A value whose type says nothing about its parts, or that refuses what replaces a text."""


@attrs.define
class Hidden:
    """Replaces secrets, texts, bytes and UUIDs in values. Equal ones have equal replacements.

    Attributes:
        keep: the fields whose texts are kept.
    """

    keep: Collection[str]
    _known: dict[object, int] = attrs.Factory(dict[object, int])

    def value(self, given: Any, value: Any, *, kept: bool = False) -> Any:  # noqa: C901, PLR0911 - one for each form
        """Return a value without personal data.

        Args:
            given: its declared type.
            value: the value.
            kept: whether its texts are kept.
        """
        if is_marked(given):
            return _simplest(given)
        match read_form(given):
            case Scalar(cls):
                return value if kept and cls is str else self._scalar(value)
            case Choice():
                return value
            case OneOf(members):
                return self.value(next(each for each in _fitting(members, value)), value, kept=kept)
            case Record() as record:
                return self._record(record, value)
            case Many(_, item):
                return type(value)(self.value(item, each, kept=kept) for each in value)
            case TupleForm(items):
                return tuple(self.value(item, each, kept=kept) for item, each in zip(items, value, strict=True))
            case Mapped(key, form):
                return {self.value(key, one): self.value(form, each, kept=kept) for one, each in value.items()}
            case PlainJson():
                return self._plain(value)
            case Opaque() | Wrapped():
                raise NotHidden(f"{type(value).__qualname__} has no declared fields")

    def _scalar(self, value: Any) -> Any:
        match value:
            case str():
                return value and f"text {self._number(value)}"
            case bytes():
                return value and f"bytes {self._number(value)}".encode()
            case UUID():
                return UUID(int=self._number(value), version=4)
            case _:
                return value

    def _number(self, value: object) -> int:
        return self._known.setdefault(value, len(self._known) + 1)

    def _record(self, record: Record, value: Any) -> Any:
        fields, forms = dict[str, Any](), {**record.required, **record.optional}
        for name, form in forms.items():
            if record.make is dict:
                if name in value:
                    fields[name] = self.value(form, value[name], kept=name in self.keep)
            else:
                fields[name] = self.value(form, _member(value, name), kept=name in self.keep)
        return record.make(**fields)

    def _plain(self, value: Any) -> Any:
        match value:
            case dict():
                return {self._scalar(key): self._plain(each) for key, each in value.items()}
            case list() | tuple():
                return [self._plain(each) for each in value]
            case _:
                return self._scalar(value)

    def encoded(self, codec: Codec[Any], data: bytes) -> str:
        """Return an encoded value without personal data.

        Raises:
            InvalidInput: it does not have the declared type.
            NotHidden: it cannot be hidden.
        """
        value = _decoded(codec, data)
        try:
            return codec.encode(self.value(codec.form, value)).decode()
        except (NoSample, ValueError, TypeError, StopIteration, InvalidInput) as problem:
            raise NotHidden(str(problem)) from problem


def _fitting(members: Sequence[Any], value: Any) -> Iterator[Any]:
    """Yield the members of a union that a value may have, the narrowest first."""
    for form in sorted(members, key=lambda each: isinstance(read_form(each), PlainJson)):
        match read_form(form):
            case Choice(values) if any(one == value and type(one) is type(value) for one in values):
                yield form
            case Scalar(cls) if type(value) is cls:
                yield form
            case Record(make=make) if type(value) is make:
                yield form
            case Many(make, _) if type(value) is make:
                yield form
            case TupleForm(items) if type(value) is tuple and len(items) == len(value):
                yield form
            case Mapped() if type(value) is dict:
                yield form
            case PlainJson():
                yield form
            case _:
                pass


def _member(value: Any, name: str) -> Any:
    if attrs.has(type(value)):
        name = next(each.name for each in attrs.fields(type(value)) if (each.alias or each.name) == name)
    return getattr(value, name)


def _simplest(form: Any) -> Any:
    return examples_of(form)[0]


_STAND_INS: Final[tuple[Any, ...]] = (0, False, [], {}, None)
"""Replacements for a secret that an event hides, so that the value can be decoded."""


def _decoded(codec: Codec[Any], data: bytes) -> Any:
    """Decode a value whose secrets an event has hidden."""
    try:
        return codec.decode(data)
    except InvalidInput:
        if not codec.secret:
            raise
    plain = orjson.loads(data)
    for stand_in in _STAND_INS:
        try:
            return codec.decode(orjson.dumps(_with(stand_in, plain)))
        except InvalidInput:
            continue
    return codec.decode(data)


def _with(stand_in: Any, plain: Any) -> Any:
    match plain:
        case dict():
            return {key: _with(stand_in, each) for key, each in plain.items()}
        case list():
            return [_with(stand_in, each) for each in plain]
        case _:
            return stand_in if plain == HIDDEN else plain


# ---------------------------------------------------------------- to read them
_WORKFLOW: Final = "workflow"
NO_PAYLOADS: Final = 'its job does not say accepted_in_events="payload"'
NO_BEGINNING: Final = "retention has deleted its beginning"
NOT_HIDDEN: Final = "the texts of its first step cannot be replaced"
NOT_FOLLOWED: Final = "it was forked or started over, or this code does not follow its journal"
TOO_MANY: Final = "the store has more steps than are read"
NOT_CHOSEN: Final = "more than were asked for, or the beginning of another one"
DAMAGED: Final = "damaged rows"


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
        job: the definition.
        steps: its steps.
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
    def page(self, page: Sequence[LoggedEvent | StoreCorrupt], records: RecordCipher | None) -> None:
        """Add the events of a page."""
        whole = tuple(one for one in page if isinstance(one, LoggedEvent))
        self.left_out[DAMAGED] += len(page) - len(whole)
        for logged in whole if records is None else records.logged(whole):
            if not isinstance(logged.event, UnreadEvent):
                self.event(logged.event)

    def event(self, event: Event) -> None:
        """Add one event."""
        try:
            address = Address.parse(event.address)
        except InvalidId:
            return
        job = self.served.get((address.kind, address.name))
        if job is None or address.kind == _WORKFLOW:
            return
        begins = isinstance(event, JobStarted | DebounceStarted)
        if job.plan.accepted_in_events != "payload":
            self.left_out[NO_PAYLOADS] += begins
        elif begins:
            self.found.setdefault(address, _Raw(job))
        elif (raw := self.found.get(address)) is not None:
            self._next(raw, event)
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
            if header.forked is not None or header.skips:
                self.left_out[NOT_FOLLOWED] += 1
                return
            self.add(raw, _RawStep(header.started_ms, "request", "start", start.input, header.first or instance.state))
            shown = instance.changed(data=written(attrs.evolve(header, ended=None)))
            for place, body in enumerate(bodies):
                if raw.is_over:
                    break
                self._row(raw, row_of(body), shown, bodies[:place])
        except InvalidInput:
            self.left_out[NOT_FOLLOWED] += 1
        if raw.steps:
            self.found[instance.address] = raw

    def _row(self, raw: _Raw, row: Row, instance: Instance, before: Sequence[str]) -> None:
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
    most: int = MOST_READ,
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
    with reader.moment() as page_read:
        for page in at_rest.events(reader):
            page_read()
            reading.page(page, records)
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
    for _, shapes in sorted(of.items()):
        beginnings = {shape[:length] for shape in shapes for length in range(1, len(shape))}
        # One that is the beginning of another adds nothing: a prefix of that one is the same.
        groups = sorted((shape for shape in shapes if shape not in beginnings), key=_hash)
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
        at_ms = max(at_ms, step.at_ms)
    return tuple(steps)


_VARIES: Final = re.compile(r'"(?:text|bytes) \d+"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?')


def _shape(step: HistoryStep) -> str:
    """Return a step without its numbers and replaced texts: instances with equal shapes have probably the same past."""
    return f"{step.what} {step.name} {_VARIES.sub('0', step.value)}"


def _hash(shape: tuple[str, ...]) -> bytes:
    return blake2b("\n".join(shape).encode(), digest_size=8).digest()
