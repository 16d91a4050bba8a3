"""A worker pool's items: the stored data, the context for the work, the commands that change them, and the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

import attrs
import orjson

from perdure._lazy import lazy_module
from perdure.codecs import Codec
from perdure.codecs.codec import RowCodec
from perdure.jobs.context import JobContext
from perdure.programs import Program
from perdure.values.address import Address
from perdure.values.answer import PauseResult, RunAnswer, Terminated
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.excerpt import REFERENCE, fields_in_line, size_only
from perdure.values.frozen import frozen, turn_value
from perdure.values.instance import Instance
from perdure.values.status import FailureRecord, Status
from perdure.values.times import Duration, due_ms, duration_ms, format_duration, from_ms

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
        result: the work's value as JSON. Behind `REFERENCE` a ticket, with which the value is read from the journal.
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


if TYPE_CHECKING:
    from perdure.values import message
    from perdure.values.message import Message
else:
    message = lazy_module("perdure.values.message")  # defining a pool needs no messages

V = TypeVar("V")

MAX_KEY_CHARACTERS = 200
"""The longest key of an item: it is part of an index entry."""


@frozen(kw_only=True)
class ItemData:
    """An item's stored data. The item itself is the instance's state.

    Attributes:
        key: the item's key when it was put. Empty without keys.
        result: the work's value as JSON, once the work succeeded. Or the reference to the value's parts.
    """

    __repr__ = fields_in_line

    key: str = ""
    head_start_ms: int = 0
    result: str | None = None


# Four stored forms, told apart by how they begin: an item that needs no newer form stays readable for older code.
ITEM_DATA: RowCodec[ItemData] = RowCodec(Codec.of(ItemData, what="data of a pool's item"))
BATCH_ITEM_DATA: RowCodec[tuple[str, ItemData]] = RowCodec(
    Codec.of(tuple[str, ItemData], what="data of a batch's item")
)
Waiter: TypeAlias = tuple[str, str]
"""A workflow that waits for an item's end: its address, and its call."""

AWAITED_ITEM_DATA: RowCodec[tuple[tuple[Waiter, ...], str, ItemData]] = RowCodec(
    Codec.of(tuple[tuple[Waiter, ...], str, ItemData], what="data of an item that workflows wait for")
)
IN_PARTS_ITEM_DATA: RowCodec[tuple[str, str, ItemData]] = RowCodec(
    Codec.of(tuple[str, str, ItemData], what="data of an item whose result is in parts")
)
_IN_PARTS: Final = f'["{REFERENCE}",'
_AWAITED: Final = "[["
_IN_BATCH: Final = "["
"""How the data of an item in a batch begins. The other items have a form of their own, which older code reads."""


def _parts_of(instance: Instance) -> tuple[tuple[Waiter, ...], str, ItemData]:
    data = instance.data
    # The longer beginnings first: each also begins with "[".
    if data.startswith(_AWAITED):
        return AWAITED_ITEM_DATA.read(data)
    if data.startswith(_IN_PARTS):
        return ((), *IN_PARTS_ITEM_DATA.read(data)[1:])
    if data.startswith(_IN_BATCH):
        return ((), *BATCH_ITEM_DATA.read(data))
    return (), "", ITEM_DATA.read(data) if data else ItemData()


def data_of(instance: Instance) -> ItemData:
    """Decode an item's stored data.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return _parts_of(instance)[2]


def batch_of(instance: Instance) -> str:
    """Return the batch that an item belongs to, as its run and its address. Empty if it belongs to none.

    Raises:
        InvalidInput: this code cannot decode the item's data.
    """
    return _parts_of(instance)[1] if instance.data.startswith(_IN_BATCH) else ""


def waiters_of(instance: Instance) -> tuple[Waiter, ...]:
    """Return the workflows that wait for an item's end.

    Raises:
        InvalidInput: this code cannot decode the item's data.
    """
    return _parts_of(instance)[0] if instance.data.startswith(_AWAITED) else ()


def encoded_data(data: ItemData, batch: str, waiters: tuple[Waiter, ...] = ()) -> str:
    """Encode an item's stored data, with its batch and the workflows that wait for its end."""
    if waiters:
        return AWAITED_ITEM_DATA.write((waiters, batch, data))
    # Older code must not read the reference as a result: it has three members where that expects two.
    if data.result is not None and data.result[:1] == REFERENCE:
        return IN_PARTS_ITEM_DATA.write((REFERENCE, batch, data))
    # The oldest form that can hold the data: older code reads it.
    return BATCH_ITEM_DATA.write((batch, data)) if batch else ITEM_DATA.write(data)


@turn_value(repr=False)
class ItemContext(JobContext[V], Generic[V]):
    """The context for the work on an item. The item does not change: a retry finds the one that was put."""

    @property
    def item(self) -> Program[V]:
        """Read the item."""
        return self.state

    @property
    def key(self) -> str:
        """The item's key. Empty if the pool has none."""
        return data_of(self._instance).key

    @property
    def put_at(self) -> datetime:
        """When the item was put."""
        return from_ms(self._instance.created_ms)


@frozen(kw_only=True)
class ItemPolicy:
    """How a pool keys and keeps its items.

    Attributes:
        key: returns an item's key. None: the pool has no keys.
        keep_ms: how long a result is kept. None: until the item is terminated.
        tags: stable names for the items' classes.
    """

    key: Callable[[Any], object] | None
    results: Codec[Any]
    keep_ms: int | None
    tags: Mapping[type, str] | None = attrs.field(default=None, repr=False)


NO_TIME = "0ms"


@frozen(kw_only=True)
class NewItem(Generic[V]):
    """The ``put`` input: an item, and when it may be worked on.

    Attributes:
        item: of the pool's item type.
        after: not before this long from now.
        at: not before this aware instant. Not together with ``after``.
        head_start: it is ranked as if it had been put this much earlier.
    """

    __repr__ = fields_in_line

    item: V
    after: str = NO_TIME
    at: datetime | None = None
    head_start: str = NO_TIME


@turn_value(kw_only=True)
class PutCommand:
    """Take an item, unless one with this id exists. Integer milliseconds.

    Only batches send it with their run and address: they count the item's end, also if its id exists.
    """

    __repr__ = fields_in_line

    item: Any  # of the definition's own type
    after_ms: int
    at_ms: int | None
    head_start_ms: int
    batch: str = ""


@frozen
class CancelCommand:
    """Delete an item, unless its work has begun."""


@frozen
class ItemWait:
    """The input with which a workflow waits for an item, or withdraws.

    Attributes:
        wants: not used: it tells another workflow the subject of a wait.
    """

    __repr__ = fields_in_line

    call: str
    wants: str = ""


@frozen
class AwaitItem:
    """Report the item's end to a workflow. Only workflows send this."""

    wait: ItemWait


@frozen
class LeaveItem:
    """Report the item's end no more to a workflow. Only workflows send this."""

    wait: ItemWait


@frozen
class TriggerItemCommand:
    """Queue an item now that waits for a retry."""


@frozen
class OutcomeCommand:
    """Read an item's outcome."""


def new_item(item: V, after: Duration | None, at: datetime | None, head_start: Duration | None) -> NewItem[V]:
    """Return the ``put`` input, in its stored form.

    Raises:
        DefinitionError: a duration is not valid.
    """
    return NewItem(
        item=item,
        after=_normal(after, what="after of put"),
        at=at,
        head_start=_normal(head_start, what="head_start of put"),
    )


def _normal(value: Duration | None, *, what: str) -> str:
    if value is None or value == NO_TIME:
        return NO_TIME
    # One form for equal durations: the key's fingerprint is computed from the text.
    return format_duration(duration_ms(value, what=what, minimum_ms=0))


def _ms(value: str, *, what: str) -> int:
    return 0 if value == NO_TIME else duration_ms(value, what=what, minimum_ms=0)


def put_in_batch(given: tuple[NewItem[Any], str]) -> PutCommand:
    """Return the command for an item of a batch.

    Raises:
        InvalidInput: a duration is not valid, or both ``after`` and ``at`` are set.
    """
    return attrs.evolve(put_command(given[0]), batch=given[1])


def put_command(given: NewItem[Any]) -> PutCommand:
    """Return an input's command.

    Raises:
        InvalidInput: a duration is not valid, or both ``after`` and ``at`` are set.
    """
    try:
        after_ms, head_start_ms = _ms(given.after, what="after"), _ms(given.head_start, what="head_start")
        at_ms = None if given.at is None else due_ms(given.at, what="at")
    except DefinitionError as wrong:
        # An error of the input and not of the definition: it may come from another process.
        raise InvalidInput("input of put", (str(wrong),)) from wrong
    if at_ms is not None and after_ms:
        raise InvalidInput("input of put", ("expected either after=... or at=..., got both",))
    return PutCommand(item=given.item, after_ms=after_ms, at_ms=at_ms, head_start_ms=head_start_ms)


# ---------------------------------------------------------------- reports to a batch
ItemForm: TypeAlias = Literal["done", "failed", "cancelled", "existed", "resumed"]
"""How an item of a batch ended, or that an operator resumed one that had failed."""

MAX_ITEM_WAITERS: Final = 100
"""Workflows that wait for one item: each commit of the item writes their addresses."""

MAX_ERROR_CHARACTERS: Final = 200
"""The length of an error's text in a report."""


def report_item(
    instance: Instance, batch: str, form: ItemForm, now_ms: int, error: FailureRecord | None = None
) -> Message:
    """Return the message with which an item reports to its batch.

    Args:
        instance: the item.
        batch: the batch's run and address.
        form: how it ended.
        now_ms: the present.
        error: why, if it failed.
    """
    # The run has no space, and an address may have one.
    run, address = batch.split(" ", 1)
    given = {"run": run, "form": form}
    if error is not None:
        # Cut: the batch keeps several of these in its row.
        given |= {"error_type": error.error_type, "message": error.message[:MAX_ERROR_CHARACTERS]}
    return message.Message(
        sender=instance.address,
        target=Address.parse(address),
        action="item_ended",
        payload=orjson.dumps(given).decode(),
        sent_ms=now_ms,
    )


def tell_waiter(sender: Address, waiter: Waiter, form: str, value: str, now_ms: int, *, secret: bool) -> Message:
    """Return the message that reports an item's end to a workflow that waits for it.

    Args:
        sender: the item.
        waiter: the workflow.
        form: how the item ended, or why there is no end.
        value: the result, the error or the reason as JSON.
        now_ms: the present.
        secret: whether the value may have secrets.
    """
    address, call = waiter
    payload = orjson.dumps({"call": call, "form": form, "value": value, "secret": secret}).decode()
    return message.Message(
        sender=sender, target=Address.parse(address), action="child_ended", payload=payload, sent_ms=now_ms
    )
