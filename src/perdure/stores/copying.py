"""The contract for stores that can be copied: their tables as plain rows, read and written in pages.

A copy does not open the store: it claims nothing, and the source keeps its epoch. The rows are not decoded: encrypted
and corrupt rows are copied unchanged. ``perdure.testing.conformance`` checks an implementation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs
import orjson

from perdure.values.excerpt import fields_in_line

Table: TypeAlias = Literal["instances", "journal", "messages", "dead_letters", "keys", "events", "holds"]

PAGE_ROWS: Final = 1_000
"""The rows on one page."""

Row: TypeAlias = tuple[Any, ...]
"""A row's column values: integers, texts and None."""


@attrs.frozen
class TableColumns:
    """A table's columns.

    Attributes:
        names: the column names, in the order of a row's values.
        key: how many of the first columns are the key. Rows are read and written in key order.
    """

    names: tuple[str, ...]
    key: int


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
    "events": TableColumns(("sequence", "address", "type", "at_ms", "body"), 1),
    "holds": TableColumns(("kind", "name"), 2),
}
"""The tables, in the order in which they are copied. Texts are ordered by code point."""


@attrs.frozen(kw_only=True)
class CopiedCursor:
    """A sink's position in the event history, whatever numbers the events have.

    Attributes:
        name: the sink.
        sequence: the sequence number up to which it was moved.
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
    """A store's counters, which its rows do not show.

    Attributes:
        epoch: the newest opening's epoch.
        incarnation: the newest that was assigned.
        message_id: the newest that was assigned.
        sequence: the newest event's number, also if retention has deleted the event.
        pruned_to: the number up to which retention has deleted the events.
        events: ``dense`` if the stored events' numbers have no gaps, otherwise ``sparse``.
        cursors: the sink positions, ordered by sink name.
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
        return f"epoch {self.epoch}, incarnation {self.incarnation}, message {self.message_id}, event {self.sequence}"


@attrs.frozen
class CopyPosition:
    """How far a copy has come.

    Attributes:
        table: the table.
        key: the key of the last row that is stored in it. Empty if no row is.
    """

    table: Table
    key: Row


class PagesOperation(Protocol):
    """The function ``pages``."""

    def __call__(self, table: Table, after: Row, /) -> AsyncGenerator[Sequence[Row]]:
        """Yield a table's rows after a key, `PAGE_ROWS` at a time. An empty key means from the first row on."""
        ...


@attrs.frozen(kw_only=True)
class CopySource:
    """A store that is read. Its functions raise ``StoreError``.

    A store that an engine has open is refused with ``StoreLocked``, and no engine can open it until the source is
    closed. To read a store is not to open it: its epoch and its rows do not change.

    Attributes:
        name: the store's name in messages, the same for every caller.
        numbers: ``()``: returns its counters.
        sizes: ``()``: returns about how many rows each table has, for the progress.
        pages: ``(table, after)``: yields a table's rows after a key, in key order. Each page has `PAGE_ROWS` rows, the
            last one fewer, and no page is empty.
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

    No engine can open it before ``finish`` has returned. Rows with any text and any number are stored unchanged.

    Attributes:
        name: the store's name in messages.
        begin: ``(source, numbers)``: returns how far an interrupted copy from this source, with these numbers, came.
            None for a store without rows. Any other target is refused with ``CopyFailed``, here or when it is opened.
        write: ``(position, rows)``: writes a table's next rows, together with the position, in one transaction.
        finish: ``(numbers)``: durably makes it a store that opens. No number that the source has assigned is assigned
            again, and claims belong to earlier openings. After each sink position come the events that follow it in
            the source, also where the store numbers the events from scratch.
        written: reads the rows that are written so far.
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
    """How one kind of store is copied. An installed package declares it in the entry points ``perdure.copying``.

    Attributes:
        open_source: ``(url)``: opens a store that is read. Raises ``StoreLocked`` while an engine has it open.
        open_target: ``(url)``: opens a store that is written.
    """

    open_source: Callable[[str], Awaitable[CopySource]]
    open_target: Callable[[str], Awaitable[CopyTarget]]


def claim_owner(claim: str | None) -> int | None:
    """Return the epoch in a stored claim. None without a claim, or if it cannot be read."""
    try:
        found: Any = None if claim is None else orjson.loads(claim)["owner"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None
