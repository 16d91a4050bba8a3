"""A store requirement, the cases' assertions, and the error that reports a violation.

A report describes operations and their results in a few words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, TypeVar, assert_never, cast

import attrs
from returns.io import IO, IOResult
from returns.result import Failure, Result
from returns.unsafe import unsafe_perform_io

from perdure.stores.values import LoadRequest, LoggedEvent, Query, Retention
from perdure.values.address import Address
from perdure.values.event import JobStarted
from perdure.values.instance import Fence, Instance
from perdure.values.message import Consumed, DeadLettered, Kept, MessageFate, Postponed, StoredMessage
from perdure.values.transition import KeepInstance, Loaded, Purge, Put, Remembered, Transition, Write

_ALWAYS = {"address", "version", "incarnation", "created_ms", "updated_ms"}


def asked(operation: str, *arguments: object) -> str:
    """Describe a call."""
    match arguments:
        case (Transition() as transition,):
            return f"{operation} {told(transition)}"
        case _:
            given = ", ".join(shown(one) for one in arguments if one is not None)
            return f"{operation}({given})"


def asked_of(operation: str, request: LoadRequest | Transition) -> str:
    """Describe one request in a batch."""
    if isinstance(request, Transition):
        return asked(operation, request)
    key = request.idempotency_key
    return asked(operation, request.address, *(() if key is None else (key, request.now_ms)))


def told(transition: Transition) -> str:
    """Describe a transition."""
    parts = [_written(transition.write, transition.expected)]
    if transition.inbound is not None:
        parts.append(_fate(transition.inbound))
    parts += [f"remember {shown(remembered)}" for remembered in transition.remember]
    if transition.new_keys is not None:
        parts.append(f"if {transition.new_keys.keys} are new at {transition.new_keys.at_ms}")
    if transition.messages:
        parts.append("send " + ", ".join(f"{one.sender.id} -> {one.target.id}" for one in transition.messages))
    if transition.events:
        parts.append("log " + ", ".join(f"{one.address.partition(':')[2]} @{one.at_ms}" for one in transition.events))
    if transition.journal is not None:
        cut = "cut the journal, " if transition.journal.earlier == "cut" else ""
        again = "".join(f", rewrite {place} as {body!r}" for place, body in transition.journal.rewritten)
        parts.append(f"{cut}append {list(transition.journal.bodies)}{again}")
    return f"{transition.address}: " + "; ".join(parts)


def shown(value: object) -> str:
    """Describe a value, without fields that hold their default."""
    match value:
        case Result():
            return outcome(cast("Result[object, object]", value))
        case tuple() | list():
            return "[" + ", ".join(shown(one) for one in cast("Sequence[object]", value)) + "]"
        case _:
            return _record(value)


def _record(value: object) -> str:
    match value:
        case Instance():
            return _instance(value)
        case Address():
            return str(value)
        case Fence(incarnation, version):
            return f"Fence({incarnation}, {version})"
        case LoggedEvent(sequence=sequence, event=event):
            return f"#{sequence} {shown(event)}"
        case _:
            return _stored(value)


def _stored(value: object) -> str:
    match value:
        case Loaded(instance=instance, remembered=remembered, keys_held=keys_held):
            return f"Loaded({shown(instance)}, {shown(remembered)}, keys_held={keys_held})"
        case Remembered(key=key, answer=given, expires_ms=expires_ms, failures=failures):
            return f"{key}={given} until {expires_ms}" + (f" after {failures} failures" if failures else "")
        case StoredMessage():
            return _message(value)
        case JobStarted():  # the only event that the cases look into
            return f"{value.address.partition(':')[2]} @{value.at_ms}"
        case Query() | Retention():
            return ", ".join(_set_fields(value))
        case _:
            return repr(value)


def _message(stored: StoredMessage) -> str:
    message = stored.message
    parts = [f"#{stored.message_id} {message.sender.id} -> {message.target.id} {message.payload}"]
    parts += [f"from {stored.not_before_ms} on"] if stored.not_before_ms else []
    parts += [f"after {stored.deliveries} failed deliveries"] if stored.deliveries else []
    parts += [f"failed with {stored.error.error_type}"] if stored.error is not None else []
    return " ".join(parts)


def _instance(instance: Instance) -> str:
    fields = [one for one in _set_fields(instance) if one.partition("=")[0] not in _ALWAYS]
    return f"{instance.address} v{instance.version}" + (f" ({', '.join(fields)})" if fields else "")


def _set_fields(value: object) -> list[str]:
    """Return the fields that do not hold their default."""
    found: list[str] = []
    for field in attrs.fields(type(value)):  # type: ignore[arg-type] # called with attrs classes only
        held: object = getattr(value, field.name)
        if held == field.default:
            continue
        is_record = not isinstance(held, str | int | Address)
        found.append(field.name if is_record else f"{field.name}={held}")
    return found


def _written(write: Write, expected: Fence | None) -> str:
    over = "nothing" if expected is None else shown(expected)
    match write:
        case Put(instance):
            fields = [one for one in _set_fields(instance) if one.partition("=")[0] not in _ALWAYS]
            return f"put {', '.join(fields) or 'an instance'} over {over}"
        case Purge(own_messages):
            return f"purge over {over}" + ("" if own_messages == "dropped" else ", keeping its messages to itself")
        case KeepInstance():
            return "keep"
        case _:
            assert_never(write)


def _fate(fate: MessageFate) -> str:
    match fate:
        case Consumed(message_id):
            return f"consume message #{message_id}"
        case Postponed(message_id=message_id, not_before_ms=not_before_ms):
            return f"postpone message #{message_id} until {not_before_ms}"
        case DeadLettered(message_id=message_id):
            return f"dead-letter message #{message_id}"
        case Kept(message_id):
            return f"keep message #{message_id}"
        case _:
            assert_never(fate)


def outcome(result: Result[Any, Any] | None) -> str:
    """Describe an operation's result, or a missing result (None)."""
    match result:
        case None:
            return "not answered"
        case Failure(error):
            return f"{type(error).__name__}: {error}"
        case _:
            return shown(result.unwrap())


_TOLD = 16  # lines of a story
_FIRST = 4  # of them from its beginning
_LINE = 300  # characters of a line, so that a failure fits one screen
_END = 60  # of them from its end
_ITEMS = 12  # of a sequence; of longer ones the first difference is shown

A = TypeVar("A")
E = TypeVar("E")


@attrs.frozen
class Requirement:
    """A sentence from the contract in ``perdure.stores.contract``.

    Attributes:
        operation: the function or attribute that it is about, such as ``lanes.queued``. ``Store`` if it is about all.
        text: the sentence, word for word.
    """

    operation: str
    text: str

    def __str__(self) -> str:
        field = "Store" if self.operation == "Store" else f"Store.{self.operation}"
        return f"{field}: {self.text}"


class RequirementViolated(AssertionError):
    """The store violates requirements in ``perdure.stores.contract``.

    Attributes:
        what: the defect, in one line.
        details: the expected and the actual result, a line each.
        requirements: the violated sentences from the contract.
        story: the operations until then, with their results.
    """

    def __init__(
        self,
        what: str,
        *,
        details: Iterable[str] = (),
        requirements: tuple[Requirement, ...] = (),
        story: Iterable[str] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.details = tuple(details)
        self.requirements = requirements
        self.story = tuple(story)

    def within(self, requirements: tuple[Requirement, ...], story: Iterable[str]) -> RequirementViolated:
        """Add the requirements that were being checked, and the operations until then, where they are missing."""
        return RequirementViolated(
            self.what,
            details=self.details,
            requirements=self.requirements or requirements,
            story=self.story or story,
        )

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  required by {requirement}" for requirement in self.requirements]
        if self.story:
            lines += ["  operations:", *_numbered(self.story)]
        lines += [f"  {line}" for line in self.details]
        return "\n".join(_cut(line) for text in lines for line in text.splitlines())


def _cut(line: str) -> str:
    if len(line) <= _LINE:
        return line
    return f"{line[: _LINE - _END]} ... ({len(line):,} characters) ... {line[-_END:]}"


def _numbered(story: tuple[str, ...]) -> list[str]:
    lines = [f"    {number}. {line}" for number, line in enumerate(story, 1)]
    return lines if len(lines) <= _TOLD else [*lines[:_FIRST], "    ...", *lines[_FIRST - _TOLD :]]


async def answer(asked: Awaitable[IOResult[A, E]]) -> Result[A, E]:
    """Wait for an operation, and return its result."""
    # An `IOResult` is an `IO` of a `Result` at run time; its class does not say so.
    return unsafe_perform_io(cast("IO[Result[A, E]]", await asked))


async def value(asked: Awaitable[IOResult[A, E]]) -> A:
    """Wait for an operation that must succeed.

    Raises:
        RequirementViolated: it failed.
    """
    found = await answer(asked)
    if isinstance(found, Failure):
        raise RequirementViolated(
            "an operation that has no reason to fail failed", details=(f"the store returned: {shown(found)}",)
        )
    return found.unwrap()


async def failure(asked: Awaitable[IOResult[A, E]], kind: type[BaseException], what: str) -> None:
    """Wait for an operation that must fail with one error type.

    Raises:
        RequirementViolated: it succeeded, or failed with something else.
    """
    found = await answer(asked)
    match found:
        case Failure(error) if isinstance(error, kind):
            return
        case _:
            expected = f"expected:           {kind.__name__}"
            raise RequirementViolated(what, details=(expected, f"the store returned: {shown(found)}"))


def same(found: object, expected: object, what: str) -> None:
    """Compare a store's result with the expected one.

    Raises:
        RequirementViolated: they differ.
    """
    if found != expected:
        raise RequirementViolated(what, details=_difference(found, expected))


def holds(condition: object, what: str) -> None:
    """Check a condition.

    Raises:
        RequirementViolated: it is false.
    """
    if not condition:
        raise RequirementViolated(what)


def _difference(found: object, expected: object) -> tuple[str, str]:
    given, wanted = _items(found), _items(expected)
    if given is None or wanted is None or max(len(given), len(wanted)) <= _ITEMS:
        return f"expected:           {shown(expected)}", f"the store returned: {shown(found)}"
    first = next((at for at, (one, other) in enumerate(zip(given, wanted, strict=False)) if one != other), None)
    at = min(len(given), len(wanted)) if first is None else first
    return f"expected:           {_item(wanted, at)}", f"the store returned: {_item(given, at)}"


def _items(value: object) -> Sequence[object] | None:
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
    return cast("Sequence[object]", value) if is_sequence else None


def _item(items: Sequence[object], at: int) -> str:
    here = f"[{at}] is {shown(items[at])}" if at < len(items) else f"there is no [{at}]"
    return f"{len(items)} items; {here}"
