"""The answer to a wait as JSON."""

from __future__ import annotations

from typing import Any, Final, Literal, assert_never

import attrs

from perdure.jobs.display import NOT_FOUND
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import Awaited, NeverStored, NotReached, Reached
from perdure.wire.records import json_of, record_of

LONGEST_WAIT_MS: Final = 20_000
"""The longest wait of one request to a server; a client repeats the request to wait longer."""


@attrs.frozen
class AwaitedRecord:
    """The answer to a wait.

    Attributes:
        form: whether the instance had a wanted status in time, or has never been stored.
        status: the committed status; null if the instance has never been stored.
    """

    form: Literal["reached", "not_reached", "never_stored"]
    status: InstanceStatus | None


def awaited_json(answer: Awaited) -> bytes:
    """Encode the answer to a wait.

    >>> awaited_json(NeverStored())
    b'{"form":"never_stored","status":null}'
    """
    match answer:
        case Reached(status):
            return json_of(AwaitedRecord("reached", status))
        case NotReached(status):
            return json_of(AwaitedRecord("not_reached", status))
        case NeverStored():
            return json_of(AwaitedRecord("never_stored", None))
        case _:
            assert_never(answer)


def awaited_of(data: Any) -> Awaited:  # of JSON
    """Decode the answer to a wait.

    Raises:
        OutcomeUnknown: the data is not that of an answer.
    """
    record = record_of(AwaitedRecord, data)
    match record.form:
        case "reached":
            return Reached(record.status or NOT_FOUND)
        case "not_reached":
            return NotReached(record.status or NOT_FOUND)
        case "never_stored":
            return NeverStored()
        case _:
            assert_never(record.form)
