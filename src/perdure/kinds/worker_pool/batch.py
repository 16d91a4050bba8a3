"""A batch of a pool's items: its state, its commands and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast

import attrs
from typing_extensions import TypeForm

from perdure.codecs import Codec
from perdure.jobs.context import JobContext
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import CommandSpec
from perdure.kinds.worker_pool.items import NO_TIME, ItemForm, ItemPolicy, NewItem, put_command
from perdure.kinds.workflow.header import Parent
from perdure.values.address import check_id
from perdure.values.answer import PauseResult, RunAnswer, Terminated
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.frozen import frozen, turn_value
from perdure.values.status import Status

V = TypeVar("V")

MAX_FAILURES = 100
"""The most failures that a batch may keep: every end of an item writes them."""


# ---------------------------------------------------------------- the state
@frozen(kw_only=True)
class BatchFailure:
    """An item that failed for good.

    Attributes:
        id: the item.
        error_type: the error's class.
        message: the error's text, shortened.
    """

    __repr__ = fields_in_line

    id: str
    error_type: str
    message: str = attrs.field(repr=excerpt)


@frozen(kw_only=True)
class BatchProgress:
    """How far a batch is: its state, and the value that ``PoolBatch.done`` returns.

    Attributes:
        put: the items that were put into it.
        done: those whose work succeeded.
        failed: those that failed for good: parked, taken over by ``on_error``, or dropped.
        cancelled: those that were cancelled or terminated before their work succeeded.
        existed: those whose id the pool had already. Their work does not count for this batch.
        sealed: whether it takes no more items.
        ended_at: when it was done: sealed, and no item was waiting. None until then.
        failures: the first failures that are still true, as many as the definition keeps.
    """

    __repr__ = fields_in_line

    put: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    existed: int = 0
    sealed: bool = False
    ended_at: datetime | None = None
    failures: tuple[BatchFailure, ...] = ()

    @property
    def waiting(self) -> int:
        """How many items have not ended."""
        return self.put - self.done - self.failed - self.cancelled - self.existed


@turn_value(repr=False)
class BatchContext(JobContext[BatchProgress]):
    """The context for ``on_done``. Its ``state`` is the batch's end."""


@frozen(kw_only=True)
class BatchPolicy:
    """How a batch puts and counts its items.

    Attributes:
        items: how the pool keys and keeps its items.
        at_end: whether a hook runs at the end.
        keep_ms: how long a batch is kept after its end. None: until it is terminated.
        failures: how many failures it keeps.
    """

    __repr__ = fields_in_line

    pool: AnyDefinition
    items: ItemPolicy
    at_end: Literal["hook", "nothing"]
    keep_ms: int | None
    failures: int


# ---------------------------------------------------------------- commands
@frozen(kw_only=True)
class NewItems(Generic[V]):
    """The ``put`` input: items with their ids, and when they may be worked on.

    Attributes:
        items: the items, by id.
        after: not before this long from now.
        at: not before this aware instant. Not together with ``after``.
        head_start: they are ranked as if they had been put this much earlier.
    """

    __repr__ = fields_in_line

    items: Mapping[str, V]
    after: str = NO_TIME
    at: datetime | None = None
    head_start: str = NO_TIME


@frozen
class PutItems:
    """Put items into the pool, for this batch."""

    __repr__ = fields_in_line

    items: tuple[tuple[str, NewItem[Any]], ...]


@frozen
class SealBatch:
    """Take no more items."""


@frozen
class WatchPool:
    """Let the batch be done when its pool has no work."""


@frozen(kw_only=True)
class EndWaiter:
    """The input with which a workflow waits for the end.

    Attributes:
        state: not used: a workflow sends a state to each workflow that it calls.
    """

    __repr__ = fields_in_line

    state: BatchProgress
    parent: Parent


@frozen
class AwaitEnd:
    """Report the end to a workflow. Only workflows send this."""

    __repr__ = fields_in_line

    waiter: EndWaiter


@frozen(kw_only=True)
class ItemEnd:
    """The ``item_ended`` input.

    Attributes:
        run: which batch of this id the item belongs to.
        error_type: the error's class. Empty if it did not fail.
    """

    __repr__ = fields_in_line

    run: str
    form: ItemForm
    error_type: str = ""
    message: str = attrs.field(default="", repr=excerpt)


@frozen
class ItemEnded:
    """Count an item's end. Only items send this."""

    __repr__ = fields_in_line

    end: ItemEnd


@frozen(kw_only=True)
class BatchChanged:
    """Result of a batch's ``put``, ``seal`` and ``watch_pool``.

    Attributes:
        accepted: whether the request was applied. A ``put`` into a sealed batch is not, and ``watch_pool`` only in one
            without items.
        found: the batch's state before it.
        put: how many items it put.
        status: the batch's status after it.
    """

    accepted: bool
    found: Literal["absent", "open", "sealed", "done"]
    put: int = 0
    status: Status | None = None


BatchAnswer: TypeAlias = BatchChanged | RunAnswer | Terminated | PauseResult

ANSWERS: Codec[Any] = Codec.of(BatchAnswer, what="answers of a batch")


def put_items(given: NewItems[Any]) -> PutItems:
    """Return an input's command.

    Raises:
        InvalidInput: a duration or an id is not valid, or both ``after`` and ``at`` are set.
    """
    items = tuple(
        (check_id(id_), NewItem(item=item, after=given.after, at=given.at, head_start=given.head_start))
        for id_, item in given.items.items()
    )
    if items:
        # Only the first item: the options of all items are the same.
        put_command(items[0][1])  # only to raise
    return PutItems(items)


def commands_of_batch(item: TypeForm[Any], policy: ItemPolicy, name: str) -> tuple[CommandSpec[Any], ...]:
    """Return a batch's commands.

    Args:
        item: the type of the pool's items.
        policy: how the pool keeps them.
        name: the batch's job.
    """
    form: Any = NewItems[cast("Any", item)]  # type: ignore[misc] # built at run time: an input is one value
    tags = policy.tags
    codec: Codec[Any] = Codec.of(form, what=f"items of batch:{name}", tags=tags, ignores_other_tags=True)
    return (
        # A repeat puts nothing twice, but is counted: so a client that repeats by itself draws a key.
        CommandSpec(
            name="put", command=put_items, input=codec, absent="creates", answer=BatchChanged, repeat="starts_again"
        ),
        CommandSpec(name="seal", command=SealBatch, absent="creates", answer=BatchChanged, repeat="changes_nothing"),
        CommandSpec(
            name="watch_pool", command=WatchPool, absent="creates", answer=BatchChanged, repeat="changes_nothing"
        ),
        CommandSpec(name="start_child", command=AwaitEnd, input=_WAITER, absent="creates", sender="instance"),
        CommandSpec(name="item_ended", command=ItemEnded, input=_ITEM_END, sender="instance"),
    )


_WAITER: Codec[Any] = Codec.of(EndWaiter, what="a workflow that waits for a batch")
_ITEM_END: Codec[Any] = Codec.of(ItemEnd, what="end of an item of a batch")
