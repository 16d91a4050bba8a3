"""Values larger than one row: the parts that rows of a journal hold, and the references that name them.

A part's name is the hash of its content. A state in parts, which an input brought, is read before the run's program.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import attrs
import orjson

from perdure.jobs.checkpoint import ReadJournal
from perdure.jobs.draft import Draft, GetDraft, InParts
from perdure.jobs.request import within
from perdure.programs import Do, Program, perform, program
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import REFERENCE, fields_in_line, sizes_only
from perdure.values.instance import Instance
from perdure.values.transition import JournalChange
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.codecs import Codec
    from perdure.jobs.definition import AnyDefinition

_MAX_BYTES_OF_CHARACTER: Final = 4


@attrs.frozen
class Reference:
    """The names that a value's parts have.

    Attributes:
        version: for a state, the version that its type has.
        names: the names, in order.
    """

    __repr__ = fields_in_line

    length: int
    version: int | None
    names: tuple[str, ...]

    @staticmethod
    def of(text: str) -> Reference:
        """Decode a reference."""
        length, *names = orjson.loads(text.removeprefix(REFERENCE))
        # An older reference has no version: the row's own was the only one.
        version = names.pop(0) if names and type(names[0]) is int else None
        return Reference(length, version, tuple(names))


def reference_to(value: str, names: Sequence[str], version: int | None = None) -> str:
    """Return the reference to a value.

    Args:
        value: the value as JSON.
        names: its parts' names.
        version: for a state, the version of its type.
    """
    versions = () if version is None else (version,)
    return f"{REFERENCE}{orjson.dumps([len(value), *versions, *names]).decode()}"


def parts_of(value: str, most: int) -> Iterator[str]:
    """Divide an encoded value into parts that have at most so many bytes."""
    # By bytes at most, without encoding each part: a character has up to four.
    size = most if value.isascii() else max(1, most // _MAX_BYTES_OF_CHARACTER)
    return (value[place : place + size] for place in range(0, len(value), size))


def row_of_part(part: str, at_ms: int, *, secret: bool) -> tuple[str, str]:
    """Return a part's name, the hash of its content, and the row that holds it."""
    # By content: equal parts of two outcomes are stored once.
    name = blake2b(part.encode(), digest_size=16).hexdigest()
    head = ["", name, "part", at_ms, 0, 1, *([1] if secret else [])]  # in the form of a workflow's rows
    return name, f"{orjson.dumps(head).decode()}\n{part}"


def names_in(value: str) -> tuple[str, ...]:
    """Return the names of a value's parts. None if it is no reference."""
    return Reference.of(value).names if value[:1] == REFERENCE else ()


EMPTIED: Final = '["","","part",0,0,1]\n'
"""The row that replaces a part that nothing names. Earlier code reads a part without a name and content."""


@attrs.define
class HeldParts:
    """The parts that a run's journal holds, and the names that its rows and its steps in progress have for them.

    Attributes:
        texts: the parts that the replay has passed, by name. Empty after it: only the names are needed.
        places: each part's place in the journal.
        named: the names in the rows, in the state, and in the workflow's value.
        storing: the names of the parts that a step in progress has stored, by the step's path.
        spare: the places of parts that the journal holds twice.
        decided: the names in the last commit of parts, and the first one's place.
    """

    __repr__ = fields_in_line

    texts: dict[str, str] = attrs.Factory(dict[str, str])
    places: dict[str, int] = attrs.Factory(dict[str, int])
    named: set[str] = attrs.Factory(set[str])
    storing: dict[str, list[str]] = attrs.Factory(dict[str, "list[str]"])
    spare: list[int] = attrs.Factory(list[int])
    decided: tuple[Sequence[str], int] = ((), 0)

    def hold(self, name: str, place: int, text: str = "") -> None:
        """Note a part that the journal holds. One without a name was emptied."""
        if not name:
            return
        if name in self.places:
            self.spare.append(place)
        else:
            self.places[name] = place
            self.texts[name] = text

    def decide(self, names: Sequence[str], first: int) -> None:
        """Note the places that a commit of parts gives them, again if it is decided again over another row."""
        self.decided = names, first

    def settle(self) -> None:
        """Hold the parts of the last commit, which is stored. Its step may have been cancelled meanwhile."""
        names, first = self.decided
        self.decided = (), 0
        for place, name in enumerate(names, first):
            self.hold(name, place)

    def name(self, value: str) -> None:
        """Note the names in a row's value, in a state, or in a workflow's value, if it is a reference."""
        if value[:1] == REFERENCE:  # first: most values are none
            self.named.update(names_in(value))

    def whole(self, value: str) -> str:
        """Return the value that a reference names, and note the names.

        Raises:
            InvalidInput: a part is missing.
        """
        self.name(value)
        return joined(value, self.texts)

    def take_unnamed(self, in_progress: Container[str]) -> tuple[tuple[int, str], ...]:
        """Return the rows that replace the parts that nothing names, each with its place, and forget these parts.

        Args:
            in_progress: the paths of the steps in progress: their parts get their names when the steps end.
        """
        self.settle()  # a commit is decided when the one before is stored
        if len(self.places) == len(self.named) and not self.spare:
            return ()
        wanted = {name for path, names in self.storing.items() if path in in_progress for name in names}
        names = [name for name in self.places if name not in self.named and name not in wanted]
        # Forgotten before the commit is answered: a step that has the same part meanwhile must store it again.
        places = sorted([*map(self.places.pop, names), *self.spare])
        for name in names:
            del self.texts[name]
        self.spare.clear()
        return tuple((place, EMPTIED) for place in places)


def parts_in(bodies: Sequence[str]) -> dict[str, str]:
    """Return the parts that a journal holds, by name."""
    found: dict[str, str] = {}
    for body in bodies:
        # The cheap test first: most rows are no parts, and decoding each would cost as much as the journal is long.
        end = body.find("\n")
        if end > 0 and body.startswith('["",'):
            _, name, form, *_ = orjson.loads(body[:end])
            if form == "part":
                found[name] = body[end + 1 :]
    return found


def joined(reference: str, parts: Mapping[str, str]) -> str:
    """Return the value that a reference names.

    Raises:
        InvalidInput: the journal lacks a part.
    """
    wanted = Reference.of(reference)
    # An absent part is noticed by the length, which is part of the reference.
    value = "".join(parts.get(name, "") for name in wanted.names)
    if len(value) != wanted.length:
        missing = sum(name not in parts for name in wanted.names)
        problem = f"{missing} of the {len(wanted.names)} parts of a value with {wanted.length} characters are missing"
        raise InvalidInput("row of a journal", (f"{problem} before it",))
    return value


# ---------------------------------------------------------------- values that a message names
@attrs.frozen
class NamedValue:
    """A value that a message names, because the sender's journal holds the parts.

    Attributes:
        given: the message's input, whose ``value`` is the reference.
    """

    given: Mapping[str, Any] = attrs.field(repr=sizes_only)

    @property
    def length(self) -> int:
        """The value's characters."""
        return Reference.of(self.given["value"]).length

    def payload_with(self, bodies: Sequence[str]) -> str:
        """Return the input with the value.

        Raises:
            InvalidInput: a part is missing.
        """
        return orjson.dumps({**self.given, "value": joined(self.given["value"], parts_in(bodies))}).decode()


def value_named_in(payload: str) -> NamedValue | None:
    """Return the value that a message's input names. None if the input holds it."""
    # The cheap test first: most messages name none.
    if f'"value":"{REFERENCE}' not in payload:
        return None
    given: dict[str, Any] = orjson.loads(payload)
    return NamedValue(given) if str(given.get("value", ""))[:1] == REFERENCE else None


# ---------------------------------------------------------------- values that one commit stores with their parts
@attrs.frozen
class StoredValue:
    """A value, as its row has it.

    Attributes:
        text: the value as JSON, or the reference to it.
        journal: its parts. None if the row holds it, or the journal has them all.
    """

    __repr__ = fields_in_line

    text: str
    journal: JournalChange | None


def stored_state(job: AnyDefinition, state: bytes, inputs: TurnInputs) -> StoredValue:
    """Return the form in which a new instance stores a state: in parts if it is larger than ``payload_bytes``.

    Raises:
        InvalidInput: it is too large.
    """
    # Attributes are functions of the complete state, which parts hide.
    if not job.takes_parts:
        return StoredValue(within(state, inputs.limits.state_bytes, what=job.plan.state.what), None)
    return stored_value(job.plan.state, state, inputs, version=job.plan.state_version)


def stored_value(
    codec: Codec[Any], value: bytes, inputs: TurnInputs, *, version: int | None = None, known: Container[str] = ()
) -> StoredValue:
    """Return the form in which a commit stores a value: in parts if it is larger than ``payload_bytes``.

    Args:
        codec: the value's codec.
        value: the encoded value.
        inputs: the clock and the limits.
        version: for a state, the version of its type.
        known: the names of parts that the journal has already.

    Raises:
        InvalidInput: it is too large.
    """
    limits = inputs.limits
    if len(value) <= limits.payload_bytes:
        return StoredValue(within(value, limits.state_bytes, what=codec.what), None)
    text = within(value, limits.input_bytes, what=codec.what)
    reference, rows = divided(text, inputs, secret=codec.secret, version=version, known=known)
    # In one commit with the row that names them: no crash can leave the one without the other.
    return StoredValue(reference, JournalChange(rows) if rows else None)


def divided(
    text: str, inputs: TurnInputs, *, secret: bool, version: int | None = None, known: Container[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """Return the reference to a value, and the rows for parts that the journal does not know."""
    rows, names = dict[str, str](), list[str]()
    for part in parts_of(text, inputs.limits.payload_bytes):
        name, body = row_of_part(part, inputs.now_ms, secret=secret)
        names.append(name)
        if name not in known:
            rows[name] = body
    return reference_to(text, names, version), tuple(rows.values())


def whole_state(job: AnyDefinition, reference: str, bodies: Sequence[str]) -> str:
    """Return the state that a reference names, as JSON in the present version.

    Raises:
        InvalidInput: the journal lacks a part, or this code cannot upgrade the state.
    """
    text, version = joined(reference, parts_in(bodies)), Reference.of(reference).version or 0
    # Decoded only if an upgrade is necessary: the text may have many megabytes.
    if version == job.plan.state_version:
        return text
    job.plan.upgrades.check(version)
    return job.plan.upgrades.upgrade(text, version)


def take_up(job: AnyDefinition, draft: Draft, bodies: Sequence[str]) -> None:
    """Replace a draft's state that is stored in parts by the decoded state.

    Raises:
        InvalidInput: the journal lacks a part, or this code cannot decode the state.
    """
    if type(draft.state) is InParts:
        text = whole_state(job, draft.state.reference, bodies).encode()
        draft.take_up(job.plan.state.open(text), job.plan.state.secrets(text) if job.plan.has_secrets else frozenset())


@program
def with_state(
    job: AnyDefinition, instance: Instance, inner: Callable[[], Program[Any, Any, Any]]
) -> Do[Any, Any, Any]:
    """Read a state that is stored in parts, and run a hook."""
    draft: Draft = yield from perform(GetDraft())
    try:
        take_up(job, draft, (yield from read_rows(instance.journal_length, draft.limits.journal_page)))
    except InvalidInput as problem:
        draft.left = problem  # not a failure of the hook: other code may be able to read it
        raise
    return (yield from inner())


def read_rows(length: int, page_rows: int, first: int = 0) -> Do[list[str], Any, Any]:
    """Read a journal from a place on.

    Args:
        length: the journal's length.
        page_rows: how many rows one read returns.
        first: the place.

    Raises:
        InvalidInput: the store has fewer rows.
    """
    bodies: list[str] = []
    while (place := first + len(bodies)) < length:
        page = yield from perform(ReadJournal(place, page_rows))
        if not page:  # a replay of fewer rows would perform steps again
            raise InvalidInput("journal of an instance", (f"expected {length} rows, the store has {place}",))
        bodies += page
    return bodies
