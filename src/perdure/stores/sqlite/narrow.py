"""Transitions that change few columns of a row: an event, the claim of a run, and its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from perdure.stores.codec import to_json
from perdure.stores.rows import Row
from perdure.stores.sqlite.counters import Counters
from perdure.values.status import Status
from perdure.values.transition import Put, Transition

Form: TypeAlias = Literal["state", "claim", "run"]

_SET: Final[dict[Form, str]] = {
    "state": "(version, updated_ms, state, event_count) = (?, ?, ?, ?)",
    "claim": "(version, updated_ms, status, claim, owner, run_count, rank_ms) = (?, ?, ?, ?, ?, ?, NULL)",
    "run": "(version, updated_ms, status, state, alarm_ms, due_ms, claim, owner) = (?, ?, ?, ?, ?, ?, NULL, NULL)",
}
STATEMENTS: Final[dict[Form, str]] = {
    form: f"UPDATE instances SET {columns} WHERE incarnation = ? AND version = ?"  # noqa: S608 - made of constants
    for form, columns in _SET.items()
}
"""The statement of each form. The other columns are as they were; see `Put`.

An incarnation is of one address, which the engine knows from the row before: comparing it takes a microsecond.
"""


def narrow_values(transition: Transition) -> tuple[Form, Row] | None:
    """Return the form and the values of a transition that writes few columns and events; None for any other.

    Raises:
        Exception: the claim cannot be encoded.
    """
    write, expected = transition.write, transition.expected
    if type(write) is not Put or write.changes == "any" or expected is None or transition.before is None:
        return None
    if transition.messages or transition.inbound or transition.remember or transition.journal:
        return None
    after, version = write.instance, expected.version
    where = (expected.incarnation, version)
    if write.changes == "state":
        return "state", (version + 1, after.updated_ms, after.state, after.event_count, *where)
    claim = after.claim
    if claim is not None:
        changed = (version + 1, after.updated_ms, "running", to_json(claim), claim.owner, after.run_count)
        return "claim", changed + where
    alarm_ms = after.alarm_ms
    status: Status = "idle" if alarm_ms is None else "scheduled"
    return "run", (version + 1, after.updated_ms, status, after.state, alarm_ms, alarm_ms, *where)


def count_narrow(cursor: sqlite3.Cursor, counters: Counters, transitions: Sequence[Transition]) -> None:
    """Count the changes of statuses that claims and ends of runs are about to make, if statuses are counted."""
    counts = counters.counts
    if counts.progress == "none":
        return
    for transition in transitions:
        write, expected, address = transition.write, transition.expected, transition.address
        if type(write) is Put and expected is not None:
            before = counts.before(cursor, expected.incarnation, transition.before)
            counts.changed((address.kind, address.name), expected.incarnation, before, write.instance.status)
