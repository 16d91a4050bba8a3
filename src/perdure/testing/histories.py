"""Histories of a real store, as prefixes for a `JobMachine`: requests and answers of services, without personal data.

`Histories` is a file that you commit beside the tests. `perdure.rehearsal.read_histories` reads them from a store.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

import attrs
import orjson

from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.programs.effect_results import Undeclared, declared_by
from perdure.testing.fault import Fail, Fault, Succeed
from perdure.testing.typed import (
    Choice,
    Converted,
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
from perdure.values.errors import DefinitionError, InvalidInput, StoreCorrupt, UnknownAction
from perdure.values.excerpt import fields_in_line
from perdure.values.secret import HIDDEN, is_marked

FORMAT: Final = 1
"""The number of the file's format."""

_KEY: Final = "perdure histories"


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
    declared = declared_by(found)
    if isinstance(declared, Undeclared):
        raise DefinitionError(f"effect {name}", declared.reason, "a function that declares its result")
    errors = None if declared.error is None else Codec.of(declared.error, what=f"error of {name}")
    return Codec.of(declared.value, what=f"value of {name}"), errors


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
            case Converted(form, read, write):
                return _read(read, self.value(form, write(value), kept=kept))
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
        value = decoded(codec, data)
        try:
            return codec.encode(self.value(codec.form, value)).decode()
        except (NoSample, ValueError, TypeError, StopIteration, InvalidInput) as problem:
            raise NotHidden(str(problem)) from problem


def _read(read: Callable[[Any], Any], value: Any) -> Any:
    """Convert to a class that is stored as another type."""
    try:
        return read(value)
    except Exception as refused:
        raise NotHidden(f"its class refuses {value!r}: {refused}") from refused


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


def decoded(codec: Codec[Any], data: bytes) -> Any:
    """Decode a value whose secrets an event has hidden.

    Raises:
        InvalidInput: it does not have the declared type.
    """
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
