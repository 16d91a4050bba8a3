"""Results that a worker pool's calls return."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias, TypeVar

import attrs

from perdure.codecs import Codec
from perdure.values.answer import PauseResult, RunAnswer, Terminated
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.failure import FailureRecord
from perdure.values.frozen import frozen
from perdure.values.status import Status

A_co = TypeVar("A_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)


# ---------------------------------------------------------------- typed results
@frozen(kw_only=True)
class ItemPut:
    """Result of ``put``.

    Attributes:
        created: whether this call put the item. False means that an item with this id exists, and was left unchanged.
        status: the item's status.
        due_at: when a delayed item may be worked on. None for one that waits for a worker, or is over.
    """

    created: bool
    status: Status
    due_at: datetime | None


@frozen(kw_only=True)
class ItemCancelled:
    """Result of ``cancel``.

    Attributes:
        cancelled: whether the item was deleted.
        reason: why not: its work had begun (``running``), it is ``done``, or there is none (``not_found``).
    """

    cancelled: bool
    reason: Literal["", "running", "done", "not_found"]


@frozen(kw_only=True)
class ItemTriggered:
    """Result of ``trigger``.

    Attributes:
        queued: whether the item waited for a retry, and waits for a worker now.
        status: the item's status. None if there is none.
    """

    queued: bool
    status: Status | None


@frozen
class Waiting:
    """The item is neither done nor parked."""

    status: Status


@frozen(kw_only=True)
class PutMany:
    """Result of ``put_many``.

    Attributes:
        created: how many items were put.
        existed: how many ids existed already. Their items were left unchanged.
    """

    created: int
    existed: int

    @property
    def total(self) -> int:
        """How many items were passed."""
        return self.created + self.existed


@frozen(kw_only=True)
class Drained:
    """Result of ``drain``.

    Attributes:
        cancelled: how many items were deleted.
    """

    cancelled: int


@frozen(kw_only=True)
class PoolProgress:
    """Result of ``progress``.

    Attributes:
        waiting: items that wait for a worker, for their time, or for a retry.
        running: items that are being worked on.
        done: items whose result is kept.
        parked: items that failed for good.
        paused: items that a caller paused.
        oldest: when the longest waiting item was put, among the first items for the first 1,000 keys. None if none
            waits for a worker.
        held: whether the pool is held.
        complete: whether all items are counted. See ``Client.counts``.
    """

    waiting: int
    running: int
    done: int
    parked: int
    paused: int
    oldest: datetime | None
    held: bool
    complete: bool


# ---------------------------------------------------------------- records: stored, replayed and sent
@frozen(kw_only=True)
class ItemOutcome:
    """An item's outcome, in stored form.

    Attributes:
        form: ``waiting`` for any item that is neither done nor parked.
        status: the item's status. None if there is no item.
        result: the work's value as JSON.
        error: the last attempt's error.
    """

    __repr__ = fields_in_line

    form: Literal["done", "failed", "waiting", "not_found"]
    status: Status | None = None
    result: str | None = attrs.field(default=None, repr=size_only)
    error: FailureRecord | None = None


PoolAnswer: TypeAlias = ItemPut | ItemCancelled | ItemTriggered | ItemOutcome | RunAnswer | Terminated | PauseResult
"""Every result that a pool can store for an idempotency key."""

ANSWERS: Codec[Any] = Codec.of(PoolAnswer, what="answers of a pool")
