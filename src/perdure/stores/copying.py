"""The contract of a store that can be copied: its tables as plain rows, read and written in pages.

A copy is no opening: it claims nothing, and its source keeps its epoch. The rows are those that the store keeps, not
decoded: encrypted and corrupt ones are copied unchanged. ``perdure.testing.conformance`` checks an implementation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs
import orjson

from perdure.values.excerpt import fields_in_line

Table: TypeAlias = Literal[
    "instances", "journal", "streams", "messages", "dead_letters", "keys", "histories", "kept_events", "events", "holds"
]

# Both stores of a comparison end their pages at the same rows.
PAGE_ROWS: Final = 1_000
"""The most rows in a page."""

PAGE_CHARACTERS: Final = 67_108_864
"""The characters from which on a page takes no further row."""

Row: TypeAlias = tuple[Any, ...]
"""The values of a table's columns: integers, texts and None."""


@attrs.frozen
class TableColumns:
    """The columns of a table.

    Attributes:
        names: the names, in the order of a row's values.
        key: how many of the first columns are the key; rows are read and written in its order.
        fetch: how many rows a server sends at a time.
    """

    names: tuple[str, ...]
    # The first columns: the position of a copy is the start of its last row.
    key: int
    fetch: int = PAGE_ROWS


COLUMNS: Final[Mapping[Table, TableColumns]] = {
    "instances": TableColumns(
        (
            *("incarnation", "version", "kind", "name", "id", "status", "due_ms", "state", "state_version", "data"),
            *("alarm_ms", "suspension", "pending_retry", "claim", "event_claim", "run_count", "event_count"),
            *("last_error", "created_ms", "updated_ms", "alarm_trace", "journal_length", "lane", "rank_ms", "ended_ms"),
            *("suspended_ms", "left_by", "left_mark"),
        ),
        1,
    ),
    "journal": TableColumns(("incarnation", "place", "body"), 2),
    # Few at a time: a group may have one chunk of many megabytes.
    "streams": TableColumns(("incarnation", "stream", "last", "first", "total", "body"), 3, fetch=16),
    "messages": TableColumns(
        (
            *("message_id", "sender", "target", "action", "payload", "sent_ms", "attempts", "not_before_ms", "error"),
            *("trace", "place", "left_by"),
        ),
        1,
    ),
    "dead_letters": TableColumns(
        ("message_id", "sender", "target", "action", "payload", "sent_ms", "attempts", "error", "trace"), 1
    ),
    "keys": TableColumns(("address", "key", "action", "fingerprint", "answer", "expires_ms", "ordinal", "failures"), 2),
    "histories": TableColumns(("job", "age_ms", "events"), 1),
    # Before the events: a target that assigns new numbers assigns these the first ones.
    "kept_events": TableColumns(("sequence", "address", "type", "at_ms", "body", "job", "number"), 1),
    "events": TableColumns(("sequence", "address", "type", "at_ms", "body"), 1),
    "holds": TableColumns(("kind", "name"), 2),
}
"""The tables, in the order in which they are copied. Texts are ordered by code point."""


@attrs.define
class CopyPage:
    """A page while it is read.

    Attributes:
        characters: characters in their texts.
    """

    rows: list[Row] = attrs.Factory(list[Row])
    characters: int = 0

    def add(self, row: Row) -> bool:
        """Add a row, and return whether the page is full."""
        self.rows.append(row)
        self.characters += sum(len(value) for value in row if isinstance(value, str))
        return len(self.rows) >= PAGE_ROWS or self.characters >= PAGE_CHARACTERS


RENUMBERED: Final = frozenset[Table]({"kept_events", "events"})
"""The tables whose first column is an event's number, which a target may assign again."""


@attrs.frozen(kw_only=True)
class CopiedCursor:
    """The position of a sink in the event history, whatever the numbers of the events are.

    Attributes:
        name: the sink.
        sequence: the number up to which it was moved.
        deleted: how many events after the position retention has deleted.
        remaining: how many events after the position are stored.
    """

    __repr__ = fields_in_line

    name: str
    sequence: int
    deleted: int
    remaining: int


@attrs.frozen(kw_only=True)
class Numbers:
    """The numbers of a store that its rows do not tell.

    Attributes:
        epoch: of the newest opening.
        incarnation: the newest that was assigned.
        message_id: the newest that was assigned.
        sequence: the number of the newest event that was ever logged.
        pruned_to: the number up to which retention has deleted the events.
        events: whether the numbers of the stored events have gaps.
        cursors: the positions of sinks, in the order of their names.
    """

    __repr__ = fields_in_line

    epoch: int
    incarnation: int
    message_id: int
    sequence: int
    pruned_to: int
    events: Literal["dense", "sparse"]
    cursors: tuple[CopiedCursor, ...] = ()

    @property
    def moment(self) -> str:
        """A text that differs once an engine has opened the store, or an application has sent a message."""
        # An engine or an application that writes changes at least one of these numbers.
        return f"epoch {self.epoch}, incarnation {self.incarnation}, message {self.message_id}, event {self.sequence}"


@attrs.frozen
class CopyPosition:
    """How far a copy has come.

    Attributes:
        table: the table.
        key: the key of the last row of it that is stored; empty if none is.
    """

    table: Table
    key: Row


class PagesOperation(Protocol):
    """The function ``pages``."""

    def __call__(self, table: Table, after: Row, /) -> AsyncGenerator[Sequence[Row]]:
        """Yield the rows of a table after a key, a page at a time; an empty key: from the first row on."""
        ...


@attrs.frozen(kw_only=True)
class CopySource:
    """A store that is read. Its functions raise ``StoreError``.

    A store that an engine has open is refused with ``StoreLocked``, and no engine can open it until it is closed. It is
    not an opening: its epoch and its rows stay as they are.

    Attributes:
        name: the name of the store in messages, the same for every caller.
        numbers: ``()``: its numbers.
        sizes: ``()``: about how many rows each table has, for the progress.
        pages: ``(table, after)``: the rows of a table after a key, in the order of the key. Each page has
            `PAGE_ROWS` rows, or `PAGE_CHARACTERS`, the last one fewer, and none is empty.
        close: ``()``: releases the store.
    """

    name: str
    numbers: Callable[[], Awaitable[Numbers]]
    sizes: Callable[[], Awaitable[Mapping[Table, int]]]
    pages: PagesOperation
    close: Callable[[], Awaitable[None]]


@attrs.frozen(kw_only=True)
class CopyTarget:
    """A store that is written. Its functions raise ``StoreError``.

    No engine can open it before ``finish`` has returned. Rows of any text and any number are stored unchanged.

    Attributes:
        name: the name of the store in messages.
        begin: ``(source, numbers)``: returns where an interrupted copy of this source, with these numbers, has come to;
            None for a store without rows. Any other target is refused with ``CopyFailed``, here or when it is opened.
        write: ``(position, rows)``: writes rows of a table, which follow those before, together with the position, in
            one transaction.
        finish: ``(numbers)``: makes it a store that opens, durably. No number that its source has assigned is assigned
            again, and claims belong to earlier openings. Positions of sinks have the events after them that they have
            in the source, also where the store numbers the events anew.
        written: the rows that are written so far, to read them.
        close: ``()``: releases the store. An unfinished copy can be continued.
    """

    name: str
    begin: Callable[[str, Numbers], Awaitable[CopyPosition | None]]
    write: Callable[[CopyPosition, Sequence[Row]], Awaitable[None]]
    finish: Callable[[Numbers], Awaitable[None]]
    written: CopySource
    close: Callable[[], Awaitable[None]]


@attrs.frozen(kw_only=True)
class Copying:
    """How a kind of store is copied. An installed package declares it in the entry points ``perdure.copying``.

    Attributes:
        open_source: ``(url)``: opens a store that is read. Raises ``StoreLocked`` while an engine has it open.
        open_target: ``(url)``: opens a store that is written.
    """

    open_source: Callable[[str], Awaitable[CopySource]]
    open_target: Callable[[str], Awaitable[CopyTarget]]


def claim_owner(claim: str | None) -> int | None:
    """Return the epoch in a stored claim; None without one, or if it cannot be read."""
    try:
        found: Any = None if claim is None else orjson.loads(claim)["owner"]
    # A corrupt claim is copied as it is: the copy must not fail because of it.
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None
