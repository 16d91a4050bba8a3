"""A transition as statements: encoded on the caller's side, applied in the driver's thread; and all other writes.

Here are all statements that change rows: instances, messages, journals, keys, events, cursors and holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, assert_never

import attrs

from perdure.stores.rows import SET_COLUMNS, Row, event_body, key_values, message_values, set_values, to_json
from perdure.stores.sqlite import streams
from perdure.stores.sqlite.attributes import delete_keys, write_keys
from perdure.stores.sqlite.counters import Counters
from perdure.stores.values import Retention
from perdure.values.address import Address, Job
from perdure.values.attributes import AttributeKeys
from perdure.values.event import Event
from perdure.values.frozen import turn_value
from perdure.values.instance import Fence, Instance, left_key
from perdure.values.limits import KeepHistory
from perdure.values.message import Consumed, DeadLettered, Kept, MessageFate, Postponed
from perdure.values.status import Hold, Status
from perdure.values.transition import JournalChange, KeepInstance, Purge, Put, Transition

_APPEND_JOURNAL = "INSERT INTO journal (incarnation, place, body) VALUES (?, ?, ?)"
_REWRITE_JOURNAL = "UPDATE journal SET body = ? WHERE incarnation = ? AND place = ?"
_DELETE_JOURNAL = "DELETE FROM journal WHERE incarnation = ?"


def change_journal(cursor: sqlite3.Cursor, incarnation: int, length: int, journal: JournalChange) -> None:
    """Append rows, after deleting the earlier ones if they are cut, and replace those that are rewritten.

    Args:
        cursor: a cursor in the open transaction.
        incarnation: the incarnation that the journal belongs to.
        length: how many rows the journal has afterwards.
        journal: the change.
    """
    # Delete first: rows are numbered from the new length, and old ones at the same places would fail the insert.
    if journal.earlier == "cut":
        delete_journal(cursor, incarnation)
    first = length - len(journal.bodies)
    for number, body in enumerate(journal.bodies, first):
        cursor.execute(_APPEND_JOURNAL, (incarnation, number, body))
    for place, body in journal.rewritten:
        cursor.execute(_REWRITE_JOURNAL, (body, incarnation, place))


def delete_journal(cursor: sqlite3.Cursor, incarnation: int) -> None:
    """Delete an incarnation's journal."""
    cursor.execute(_DELETE_JOURNAL, (incarnation,))


# `place` marks the oldest message of a pair: only that one may be delivered, which keeps the order of a sender.
_SEND = """
INSERT INTO messages (message_id, sender, target, action, payload, sent_ms, trace, attempts, not_before_ms, place)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0,
        iif(EXISTS (SELECT 1 FROM messages WHERE sender = ?2 AND target = ?3), 'behind', 'head'))
"""
_PROMOTE = """
UPDATE messages SET place = 'head' WHERE message_id =
  (SELECT message_id FROM messages WHERE sender = ? AND target = ? ORDER BY message_id LIMIT 1)
"""
_DEMOTE = "UPDATE messages SET place = 'behind' WHERE sender = ? AND target = ? AND place = 'head'"
# Its place stays "head": the next message of the pair would otherwise overtake it.
_POSTPONE = "UPDATE messages SET attempts = ?, not_before_ms = ?, error = ?, left_by = ? WHERE message_id = ?"
_BURY = """
INSERT INTO dead_letters (message_id, sender, target, action, payload, sent_ms, trace, attempts, error)
SELECT message_id, sender, target, action, payload, sent_ms, trace, ?, ? FROM messages WHERE message_id = ?
"""
# Attempts continue: with 0 a message that always fails would return to the dead letters only after all attempts
# again.
_REVIVE = """
INSERT INTO messages
  (message_id, sender, target, action, payload, sent_ms, trace, attempts, not_before_ms, error, place)
SELECT message_id, sender, target, action, payload, sent_ms, trace, attempts, 0, error, 'behind'
FROM dead_letters WHERE message_id = ?
"""


def pair_of(cursor: sqlite3.Cursor, message_id: int) -> Row | None:
    """Return an undelivered message's sender and target. None if it does not exist."""
    row: Row | None = cursor.execute(
        "SELECT sender, target FROM messages WHERE message_id = ?", (message_id,)
    ).fetchone()
    return row


def send(cursor: sqlite3.Cursor, counters: Counters, messages: Iterable[Row]) -> None:
    """Write messages, with the next ids."""
    for values in messages:
        counters.message_id += 1
        cursor.execute(_SEND, (counters.message_id, *values))


def settle(cursor: sqlite3.Cursor, fate: MessageFate, pair: Row) -> None:
    """Apply an undelivered message's outcome."""
    match fate:
        case Consumed(message_id):
            _remove(cursor, message_id, pair)
        case Postponed(message_id=message_id, deliveries=deliveries, not_before_ms=not_before_ms, error=error):
            text = None if error is None else to_json(error)
            left_by = left_key(Address.parse(pair[1]), fate.codes) if fate.codes else None
            cursor.execute(_POSTPONE, (deliveries, not_before_ms, text, left_by, message_id))
        case DeadLettered(message_id=message_id, deliveries=deliveries, error=error):
            cursor.execute(_BURY, (deliveries, to_json(error), message_id))
            _remove(cursor, message_id, pair)
        case Kept():
            pass
        case _:
            assert_never(fate)


def redrive(cursor: sqlite3.Cursor, message_id: int) -> Literal["redriven", "not_found"]:
    """Turn a dead letter into a message again, at its old position in its pair."""
    cursor.execute(_REVIVE, (message_id,))
    if cursor.rowcount == 0:
        return "not_found"
    cursor.execute("DELETE FROM dead_letters WHERE message_id = ?", (message_id,))
    pair = pair_of(cursor, message_id)
    # Demote, then promote the oldest: the letter may be older than the present head, and two heads would be delivered
    # at once.
    cursor.execute(_DEMOTE, pair or ())
    cursor.execute(_PROMOTE, pair or ())
    return "redriven"


def forget_own(cursor: sqlite3.Cursor, address: str) -> None:
    """Delete the messages that an instance sent to itself, dead letters included."""
    cursor.execute("DELETE FROM messages WHERE sender = ? AND target = ?", (address, address))
    # Dead letters too: one that is redriven later would start the next instance of the address.
    cursor.execute("DELETE FROM dead_letters WHERE sender = ? AND target = ?", (address, address))


def _remove(cursor: sqlite3.Cursor, message_id: int, pair: Row) -> None:
    cursor.execute("DELETE FROM messages WHERE message_id = ?", (message_id,))
    # A pair without a head is never delivered again.
    cursor.execute(_PROMOTE, pair)


_GONE = Fence(0, 0)
_UPDATED_STATUS = SET_COLUMNS.split(", ").index("status")
_INSERTED_STATUS = 7 + _UPDATED_STATUS  # after kind, name, id, due_ms, owner, lane and rank_ms
# The order is that of `_where`: `_count` and `_delete` read the job from the end of the values.
_WHERE = "WHERE incarnation = ? AND version = ? AND id = ? AND name = ? AND kind = ?"
_VALUES = ", ".join("?" for _ in SET_COLUMNS.split(","))
# A conflict changes no row instead of failing the statement: then the rest of the group can still be written.
INSERT = f"""
INSERT INTO instances (incarnation, kind, name, id, due_ms, owner, lane, rank_ms, {SET_COLUMNS})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, {_VALUES}) ON CONFLICT (kind, name, id) DO NOTHING
"""  # noqa: S608 - made of constants
_UPDATE = {
    moved: f"UPDATE instances SET ({SET_COLUMNS}{moved}) = ({_VALUES}{', ?' * moved.count(',')}) {_WHERE}"  # noqa: S608
    for moved in (
        due + owner + lane for due in ("", ", due_ms") for owner in ("", ", owner") for lane in ("", ", lane, rank_ms")
    )
}
_DELETE = f"DELETE FROM instances {_WHERE}"  # noqa: S608 - made of constants
_IS_THERE = "SELECT 1 FROM instances WHERE kind = ? AND name = ? AND id = ?"
# A key that is stored again keeps its ordinal: with a new one, the number of keys would grow with each repeat.
_REMEMBER = """
INSERT INTO keys (address, ordinal, key, action, fingerprint, answer, expires_ms, failures)
VALUES (?1, (SELECT coalesce(max(ordinal), 0) + 1 FROM keys WHERE address = ?1), ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (address, key) DO UPDATE SET (action, fingerprint, answer, expires_ms, failures) =
  (excluded.action, excluded.fingerprint, excluded.answer, excluded.expires_ms, excluded.failures)
  WHERE keys.expires_ms <= ?8
RETURNING ordinal
"""
_ANY_MS = 1 << 62
"""An instant at which no key is known: a key that need not be new is stored with it."""
# The planner would choose the primary key, and each keyed request would read all keys of the address.
_EMPTY = "UPDATE keys INDEXED BY keys_ordinals SET answer = '' WHERE address = ? AND ordinal = ? AND answer <> ''"
_IS_KNOWN = "SELECT 1 FROM keys WHERE address = ? AND key = ? AND expires_ms > ?"
LOG = "INSERT INTO events (sequence, address, type, at_ms, body) VALUES (?, ?, ?, ?, ?)"


@attrs.frozen
class Insert:
    """Insert a new instance. The values exclude the incarnation."""

    values: Row


@turn_value
class Overwrite:
    """Overwrite an instance. ``fence`` is its new fence, ``before`` the overwritten row if it is known."""

    sql: str
    values: Row
    fence: Fence
    before: Instance | None


@attrs.frozen
class Delete:
    """Delete an instance. ``before`` is its row if it is known."""

    values: Row
    before: Instance | None


@attrs.frozen
class ExpectNothing:
    """Purge an instance that must not exist."""

    values: Row


RowWrite: TypeAlias = Insert | Overwrite | Delete | ExpectNothing | None


@turn_value(kw_only=True)
class FullChange:
    """Everything that a transition may write.

    Attributes:
        write: the change to the instance's row. None for no change.
        own_messages: whether messages that the instance sent to itself are deleted.
        fates: the outcomes of inbound messages.
        messages: rows for outgoing messages.
        keys: rows for the idempotency keys to store, see `keys_of`.
        new_keys: other keys that must not be known.
        events: rows for the event history, without sequence numbers.
        journal_length: how many rows the journal has afterwards.
        attributes: the attributes' keys that change. None if they stay.
    """

    address: Address
    write: RowWrite
    own_messages: Literal["dropped", "kept"]
    fates: tuple[MessageFate, ...]
    messages: tuple[Row, ...]
    keys: Sequence[Row]
    new_keys: Sequence[Row]
    events: tuple[Row, ...]
    journal: JournalChange | None
    journal_length: int
    attributes: AttributeKeys | None


Change: TypeAlias = Overwrite | FullChange
"""An encoded transition. Most overwrite one row and nothing else."""


def encode(transition: Transition) -> Change:
    """Encode a transition for the statements."""
    put, expected = transition.write, transition.expected
    if type(put) is Put and expected is not None:
        write: RowWrite = _update(put.instance, expected, transition.before)
    else:
        write = _row_write(transition)
    # Every part of a transition must be named here: one that is forgotten is acknowledged and not written.
    if type(write) is Overwrite and not (
        transition.messages
        or transition.events
        or transition.inbound
        or transition.remember
        or transition.new_keys is not None
        or transition.journal is not None
        or transition.attributes is not None
    ):
        return write
    return FullChange(
        address=transition.address,
        write=write,
        own_messages=transition.write.own_messages if isinstance(transition.write, Purge) else "kept",
        fates=fates_of(transition),
        messages=tuple(map(message_values, transition.messages)),
        keys=keys_of(transition),
        new_keys=new_keys_of(transition),
        events=tuple(map(event_values, transition.events)),
        journal=transition.journal,
        journal_length=transition.write.instance.journal_length if isinstance(transition.write, Put) else 0,
        attributes=transition.attributes,
    )


def keys_of(transition: Transition) -> list[Row]:
    """Encode the keys that a transition stores, each with the instant at which it must not be known."""
    new, address = transition.new_keys, transition.address
    if new is None:
        return [(*key_values(address, remembered), _ANY_MS) for remembered in transition.remember]
    return [
        (*key_values(address, remembered), new.at_ms if remembered.key in new.keys else _ANY_MS)
        for remembered in transition.remember
    ]


def new_keys_of(transition: Transition) -> list[Row]:
    """Encode the keys that must not be known and are not stored."""
    new = transition.new_keys
    if new is None:
        return []
    # A stored key checks itself, in the statement that writes it.
    stored = {remembered.key for remembered in transition.remember}
    return [(str(transition.address), key, new.at_ms) for key in new.keys if key not in stored]


def are_new(cursor: sqlite3.Cursor, new_keys: Iterable[Row]) -> bool:
    """Return whether all of these keys are unknown."""
    return all(cursor.execute(_IS_KNOWN, values).fetchone() is None for values in new_keys)


def fates_of(transition: Transition) -> tuple[MessageFate, ...]:
    """Return the outcomes of the messages that a transition settles."""
    inbound = transition.inbound
    return () if inbound is None else (inbound, *map(Consumed, transition.consumed))


def event_values(event: Event) -> Row:
    """Encode an event as an event history row, without its sequence number."""
    return event.address, event.type, event.at_ms, event_body(event)


def apply(cursor: sqlite3.Cursor, counters: Counters, change: Change) -> Fence | None:
    """Write a change inside the open transaction.

    All checks precede the first write: a rejected change has written nothing and needs no savepoint.

    Returns:
        The new fence. None if the change conflicts, and then nothing was written.
    """
    if isinstance(change, Overwrite):
        return _overwrite(cursor, counters, change)
    # All checks first: a rejected change must have written nothing, because the others of its group are committed.
    pairs = [pair for fate in change.fates if (pair := pair_of(cursor, fate.message_id)) is not None]
    # A message is gone: another turn has consumed it, and to continue would apply it twice.
    if len(pairs) < len(change.fates):
        return None
    if not are_new(cursor, (*change.new_keys, *((row[0], row[1], row[-1]) for row in change.keys))):
        return None
    fence = _write_row(cursor, counters, change.write)
    if fence is None:
        return None
    for fate, pair in zip(change.fates, pairs, strict=True):
        settle(cursor, fate, pair)
    if change.journal is not None:
        change_journal(cursor, fence.incarnation, change.journal_length, change.journal)
    elif isinstance(change.write, Delete) and (change.write.before is None or change.write.before.journal_length):
        # Rows of a purged incarnation are found by nothing, so they would stay in the file for ever.
        delete_journal(cursor, change.write.values[0])
    if counters.streams == "some" and isinstance(change.write, Delete):
        streams.delete(cursor, change.write.values[0])
    _write_attributes(cursor, counters, change, fence)
    send(cursor, counters, change.messages)
    # A message that a purged instance sent to itself would start the next instance of that address.
    if change.own_messages == "dropped":
        forget_own(cursor, str(change.address))
    # The result is not needed: `are_new` has found each key unknown in this transaction, under the write lock.
    _remember_all(cursor, change.keys)
    append_events(cursor, counters, change.events)
    return fence


def _remember_all(cursor: sqlite3.Cursor, keys: Iterable[Row]) -> None:
    for key in keys:
        remember(cursor, key)


def _write_attributes(cursor: sqlite3.Cursor, counters: Counters, change: FullChange, fence: Fence) -> None:
    """Write the attributes that a change of an instance brings, or delete those of a purged one."""
    if change.attributes is None:
        return
    if isinstance(change.write, Delete):
        delete_keys(cursor, change.write.values[0])
    else:
        write_keys(cursor, counters.attributes, change.address, fence.incarnation, change.attributes)


def remember(cursor: sqlite3.Cursor, key: Row) -> bool:
    """Write a key, and empty the answer under the key that is older by the number of answers that are kept.

    Returns:
        Whether the key was written. A key that must be new and is known is not written.
    """
    *values, full_answers, new_at_ms = key
    written = cursor.execute(_REMEMBER, (*values, new_at_ms)).fetchone()
    if written is None:
        return False
    # In this transaction, not in a later round: the number of full answers must not depend on the rate of requests.
    if written[0] > full_answers:
        cursor.execute(_EMPTY, (values[0], written[0] - full_answers))
    return True


def append_events(cursor: sqlite3.Cursor, counters: Counters, events: Sequence[Row]) -> None:
    """Append rows to the event history."""
    for values in events:
        counters.sequence += 1
        cursor.execute(LOG, (counters.sequence, *values))


def _write_row(cursor: sqlite3.Cursor, counters: Counters, write: RowWrite) -> Fence | None:
    match write:
        case None:
            return _GONE
        case Insert(values):
            if cursor.execute(INSERT, (counters.incarnation + 1, *values)).rowcount == 0:
                return None
            counters.incarnation += 1
            count_insert(counters, counters.incarnation, write)
            return Fence(counters.incarnation, 1)
        case Overwrite():
            return _overwrite(cursor, counters, write)
        case Delete():
            return _delete(cursor, counters, write)
        case ExpectNothing(values):
            return _GONE if cursor.execute(_IS_THERE, values).fetchone() is None else None
        case _:
            assert_never(write)


@attrs.frozen
class CountedUpdates:
    """The statuses of rows about to be overwritten, as far as they are counted."""

    updates: Sequence[Overwrite]
    before: Sequence[Status | None] | None

    def changed(self, counters: Counters) -> None:
        """Count the changes."""
        for update, before in zip(self.updates, self.before or (), strict=False):
            _count(counters, update, before)


def count_update(cursor: sqlite3.Cursor, counters: Counters, updates: Sequence[Overwrite]) -> CountedUpdates:
    """Read the statuses of rows about to be overwritten, if they are counted."""
    # Before the first portion no row is counted, so there is nothing to subtract from.
    if counters.counts.progress == "none":
        return CountedUpdates(updates, None)
    return CountedUpdates(
        updates, [counters.counts.before(cursor, update.fence.incarnation, update.before) for update in updates]
    )


def count_insert(counters: Counters, incarnation: int, insert: Insert) -> None:
    """Count a new row."""
    counters.counts.changed(insert.values[:2], incarnation, None, insert.values[_INSERTED_STATUS])


def _count(counters: Counters, update: Overwrite, before: Status | None) -> None:
    place = (update.values[-1], update.values[-2])
    counters.counts.changed(place, update.fence.incarnation, before, update.values[_UPDATED_STATUS])


def _overwrite(cursor: sqlite3.Cursor, counters: Counters, update: Overwrite) -> Fence | None:
    # The row count is the fence: to ignore it would let an engine with an old row overwrite a newer one.
    if counters.counts.progress == "none":
        return update.fence if cursor.execute(update.sql, update.values).rowcount == 1 else None
    before = counters.counts.before(cursor, update.fence.incarnation, update.before)
    if cursor.execute(update.sql, update.values).rowcount != 1:
        return None
    _count(counters, update, before)
    return update.fence


def _delete(cursor: sqlite3.Cursor, counters: Counters, delete: Delete) -> Fence | None:
    incarnation, *_, name, kind = delete.values
    before = counters.counts.before(cursor, incarnation, delete.before)
    if cursor.execute(_DELETE, delete.values).rowcount != 1:
        return None
    counters.counts.changed((kind, name), incarnation, before, None)
    return _GONE


def _row_write(transition: Transition) -> RowWrite:
    address, expected = transition.address, transition.expected
    match transition.write:
        case KeepInstance():
            return None
        case Put(instance):
            if expected is not None:
                return _update(instance, expected, transition.before)
            indexed = (instance.due_ms, instance.owner, instance.lane, instance.rank_ms)
            # The version of the fence that `_write_row` returns.
            return Insert((*_place(address), *indexed, *set_values(instance, 1)))
        case Purge():
            if expected is None:
                return ExpectNothing(_place(address))
            return Delete(_where(address, expected), _of_fence(transition.before, expected))
        case _:
            assert_never(transition.write)


def _update(instance: Instance, expected: Fence, before: Instance | None) -> Overwrite:
    """Write an indexed column, unless the known row with the expected version already has the same value.

    SQLite rewrites an index entry for each indexed column in SET, changed or not, which costs three pages instead of
    one.
    """
    incarnation, version = expected.incarnation, expected.version
    # A cached row of another version says nothing about the stored index columns: skipping one would leave an alarm
    # unfound.
    if before is not None and (before.version != version or before.incarnation != incarnation):
        before = None
    moved, values = "", set_values(instance, version + 1)
    if before is not None and _stays(before, instance):
        address = instance.address
        where = (incarnation, version, address.id, address.name, address.kind)
        return Overwrite(_UPDATE[""], values + where, Fence(incarnation, version + 1), before)
    due_ms, owner = instance.due_ms, instance.owner
    # To skip a changed column would store the alarm in the row and not in its index: it would never fire.
    if before is None or before.due_ms != due_ms:
        moved, values = ", due_ms", (*values, due_ms)
    if before is None or before.owner != owner:
        moved, values = moved + ", owner", (*values, owner)
    # Without a lane, no index has the rank.
    if (
        before is None
        or before.lane != instance.lane
        or (before.lane is not None and before.rank_ms != instance.rank_ms)
    ):
        moved, values = moved + ", lane, rank_ms", (*values, instance.lane, instance.rank_ms)
    fence = Fence(incarnation, version + 1)
    return Overwrite(_UPDATE[moved], values + _where(instance.address, expected), fence, before)


def _stays(before: Instance, after: Instance) -> bool:
    """Return whether everything that the indexed columns depend on is as it was."""
    # Each value that an indexed column is computed from must be here: `due_ms` and `owner` depend on all of these.
    # By identity: an equal copy only costs one index write, and a comparison by fields costs more for every commit.
    return (
        before.alarm_ms == after.alarm_ms
        and before.suspension == after.suspension
        and before.pending_retry is after.pending_retry
        and before.claim is after.claim
        and before.event_claim is after.event_claim
        and before.lane == after.lane
        and before.left is after.left
    )


def _of_fence(found: Instance | None, expected: Fence) -> Instance | None:
    """Return a known row if it is the expected one."""
    if found is None or found.version != expected.version or found.incarnation != expected.incarnation:
        return None
    return found


def _place(address: Address) -> Row:
    return address.kind, address.name, address.id


def _where(address: Address, expected: Fence) -> Row:
    return expected.incarnation, expected.version, address.id, address.name, address.kind


NarrowForm: TypeAlias = Literal["state", "claim", "run", "event_claim", "event_end"]

_SET: Final[dict[NarrowForm, str]] = {
    "state": "(version, updated_ms, state, event_count) = (?, ?, ?, ?)",
    "claim": "(version, updated_ms, status, claim, owner, run_count, rank_ms) = (?, ?, ?, ?, ?, ?, NULL)",
    "event_claim": "(version, updated_ms, event_claim, owner) = (?, ?, ?, ?)",
    "event_end": "(version, updated_ms, state, event_count, event_claim, owner) = (?, ?, ?, ?, NULL, NULL)",
    "run": "(version, updated_ms, status, state, alarm_ms, due_ms, claim, owner) = (?, ?, ?, ?, ?, ?, NULL, NULL)",
}
# The version is the fence: without it a cached row would overwrite the row of another turn.
NARROW_STATEMENTS: Final[dict[NarrowForm, str]] = {
    form: f"UPDATE instances SET {columns} WHERE incarnation = ? AND version = ?"  # noqa: S608 - made of constants
    for form, columns in _SET.items()
}
"""The statement for each form. The other columns keep their values, see `Put`.

An incarnation belongs to one address, which the engine knows from the row before. Comparing it takes a microsecond.
"""


def narrow_values(transition: Transition) -> tuple[NarrowForm, Row] | None:
    """Return form and values for a transition that writes few columns, events and keys. None for any other.

    Raises:
        Exception: the claim cannot be encoded.
    """
    write, expected = transition.write, transition.expected
    if type(write) is not Put or write.changes == "any" or expected is None or transition.before is None:
        return None
    # These statements write four to eight columns of one row, and the group events and keys. Anything else must take
    # the complete form.
    if transition.messages or transition.inbound or transition.journal or transition.attributes is not None:
        return None
    after, version = write.instance, expected.version
    where = (expected.incarnation, version)
    if write.changes in {"state", "event_end"}:
        return write.changes, (version + 1, after.updated_ms, after.state, after.event_count, *where)
    if write.changes == "event_claim":
        return "event_claim", (version + 1, after.updated_ms, to_json(after.event_claim), after.owner, *where)
    claim = after.claim
    if claim is not None:
        changed = (version + 1, after.updated_ms, "running", to_json(claim), claim.owner, after.run_count)
        return "claim", changed + where
    alarm_ms = after.alarm_ms
    status: Status = "idle" if alarm_ms is None else "scheduled"
    return "run", (version + 1, after.updated_ms, status, after.state, alarm_ms, alarm_ms, *where)


def count_narrow(cursor: sqlite3.Cursor, counters: Counters, transitions: Sequence[Transition]) -> None:
    """Count the status changes that claims and ending runs are about to make, if statuses are counted."""
    counts = counters.counts
    if counts.progress == "none":
        return
    for transition in transitions:
        write, expected, address = transition.write, transition.expected, transition.address
        if type(write) is Put and expected is not None:
            before = counts.before(cursor, expected.incarnation, transition.before)
            counts.changed((address.kind, address.name), expected.incarnation, before, write.instance.status)


# Only forward: a move that is repeated after an unknown outcome must not log its events twice, and the move of a
# slower engine must not send events again.
_MOVE = """
INSERT INTO cursors (name, sequence) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET sequence = excluded.sequence WHERE sequence < excluded.sequence
"""


def move_cursor(cursor: sqlite3.Cursor, counters: Counters, name: str, sequence: int, events: Sequence[Row]) -> None:
    """Move a sink forward and append events. Write nothing if it is there already."""
    if cursor.execute(_MOVE, (name, sequence)).rowcount == 1:
        append_events(cursor, counters, events)


_ADD = "INSERT OR IGNORE INTO holds (kind, name) VALUES (?, ?)"
_REMOVE = "DELETE FROM holds WHERE kind = ? AND name = ?"


def set_hold(cursor: sqlite3.Cursor, job: Job, hold: Hold) -> Literal["changed", "unchanged"]:
    """Hold or release a job."""
    cursor.execute(_ADD if hold == "held" else _REMOVE, job)
    return "changed" if cursor.rowcount == 1 else "unchanged"


# At its expiry and not before: a repeat within the window that does not find its answer is applied twice.
_KEYS = """
DELETE FROM keys WHERE (address, key) IN
  (SELECT address, key FROM keys WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)
"""
_DEAD_LETTERS = """
DELETE FROM dead_letters WHERE message_id IN
  (SELECT message_id FROM dead_letters WHERE sent_ms < ? ORDER BY sent_ms LIMIT ?)
"""
# Only the beginning of the log goes, up to the first event that is kept: a hole in it would look like a loss to
# sinks.
_FIRST_KEPT = """
WITH oldest AS (SELECT sequence, at_ms FROM events ORDER BY sequence LIMIT :limit)
SELECT coalesce(
  (SELECT min(sequence) FROM oldest WHERE at_ms >= :since_ms AND sequence > :last - :max_events),
  (SELECT max(sequence) + 1 FROM oldest)
)
"""
_EVENTS = "DELETE FROM events WHERE sequence < ?"
_HISTORIES = "SELECT job, age_ms, events FROM histories ORDER BY job"
# By the address, as text: ';' is the character after ':'.
_MOVE_EVENTS = """
INSERT INTO kept_events (sequence, address, type, at_ms, body, job, number)
SELECT e.sequence, e.address, e.type, e.at_ms, e.body, h.job, row_number() OVER (PARTITION BY h.job ORDER BY e.sequence)
  + coalesce((SELECT max(k.number) FROM kept_events AS k WHERE k.job = h.job), 0)
FROM events AS e JOIN histories AS h ON e.address >= h.job || ':' AND e.address < h.job || ';'
WHERE e.sequence < :bound AND e.at_ms >= :now_ms - h.age_ms
"""
# Like the log, only up to the first event that is kept: so the numbers of a job have no gaps, and count its events.
_KEPT_EVENTS = """
DELETE FROM kept_events WHERE job = :job AND number < (
  WITH oldest AS (SELECT number, at_ms FROM kept_events WHERE job = :job ORDER BY number LIMIT :limit)
  SELECT coalesce(
    (SELECT min(number) FROM oldest WHERE at_ms >= :since_ms
      AND number > (SELECT max(number) FROM kept_events WHERE job = :job) - :events),
    (SELECT max(number) + 1 FROM oldest)
  )
)
"""


def prune(cursor: sqlite3.Cursor, counters: Counters, retention: Retention) -> int:
    """Delete up to ``limit`` rows, and return their number.

    The event history has no gaps (its numbers are committed with it), so numbers determine the newest ``max_events``.
    """
    # Keys, dead letters and events only. An instance is deleted by its own turn, never by its age.
    removed = cursor.execute(_KEYS, (retention.now_ms, retention.limit)).rowcount
    # One limit for all tables together: it bounds how long this transaction delays the commits behind it.
    removed += cursor.execute(_DEAD_LETTERS, (retention.dead_letters_since_ms, retention.limit - removed)).rowcount
    values = {
        "limit": retention.limit - removed,
        "since_ms": retention.events_since_ms,
        "max_events": retention.max_events,
        "last": counters.sequence,
    }
    (bound,) = cursor.execute(_FIRST_KEPT, values).fetchone()
    histories = cursor.execute(_HISTORIES).fetchall()
    # Moved first: the next statement deletes the rows that this one reads.
    if histories:
        cursor.execute(_MOVE_EVENTS, {"bound": bound, "now_ms": retention.now_ms})
    removed += cursor.execute(_EVENTS, (bound,)).rowcount
    for job, age_ms, events in histories:
        since_ms, left = retention.now_ms - age_ms, retention.limit - removed
        values = {"job": job, "since_ms": since_ms, "events": events, "limit": left}
        removed += cursor.execute(_KEPT_EVENTS, values).rowcount
    return removed


_DECLARE = """
INSERT INTO histories (job, age_ms, events) VALUES (?, ?, ?)
ON CONFLICT (job) DO UPDATE SET age_ms = excluded.age_ms, events = excluded.events
"""


def declare_histories(cursor: sqlite3.Cursor, jobs: Mapping[Job, KeepHistory]) -> None:
    """Change how long histories are kept."""
    rows = ((f"{kind}:{name}", history.age_ms, history.events) for (kind, name), history in jobs.items())
    cursor.executemany(_DECLARE, rows)
