"""A worker pool's typed handle and sender, with the calls for many items, which are made in chunks."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.codecs import Codec
from perdure.jobs.call import Call, decoded, followed, mapped, result_of
from perdure.jobs.definition import CallError, Dispatch, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.jobs.request import Request
from perdure.kinds.worker_pool.batch import BatchChanged, BatchProgress, NewItems, SealBatch, WatchPool, put_items
from perdure.kinds.worker_pool.items import (
    CancelCommand,
    Drained,
    ItemCancelled,
    ItemOutcome,
    ItemPut,
    ItemTriggered,
    OutcomeCommand,
    PoolProgress,
    PutMany,
    TriggerItemCommand,
    Waiting,
    new_item,
    put_command,
)
from perdure.programs import Program
from perdure.values.address import Job
from perdure.values.answer import Done
from perdure.values.errors import DefinitionError, InvalidArgument, PutManyStopped
from perdure.values.excerpt import REFERENCE
from perdure.values.limits import Limits
from perdure.values.listings import JobCount, ListFilter
from perdure.values.outcome import Failed
from perdure.values.status import Defect, Status
from perdure.values.status_wait import NoOutcome, UpdateReply, WaitOver
from perdure.values.times import Duration

V = TypeVar("V")

DEFAULT_CHUNK: Final = 500
MAX_CHUNK: Final = 1_000
"""Requests that one caller has in progress at most; the server accepts as many in one batch."""

PAIRS: Final = "tuples of an id and an item, such as mapping.items()"

WAITING: Final[tuple[Status, ...]] = ("queued", "scheduled", "retrying")

Pairs: TypeAlias = Iterable[tuple[str, V]] | AsyncIterable[tuple[str, V]]
"""Items with their ids."""


async def put_all(
    dispatch: Dispatch, pairs: Pairs[Any], put: Callable[[str, Any], Call[ItemPut, CallError]], chunk: int
) -> Result[PutMany, CallError | PutManyStopped]:
    """Put items, a chunk at a time.

    Args:
        dispatch: makes a chunk's calls at the same time.
        pairs: the items. No more than one chunk is read ahead.
        put: puts one.
        chunk: how many items in a chunk.
    """
    if type(chunk) is not int or not 1 <= chunk <= MAX_CHUNK:
        return Failure(InvalidArgument("chunk of put_many", chunk, f"a whole number from 1 to {MAX_CHUNK:,}"))
    if not _may_have_pairs(pairs):
        return Failure(InvalidArgument("items of put_many", pairs, PAIRS))
    created = existed = 0
    async for some in _chunks(pairs, chunk):
        for pair in some:
            if not _is_pair(pair):
                return Failure(InvalidArgument("an item of put_many", pair, PAIRS))
        calls = [put(id_, item) for id_, item in some]
        results = (await result_of(dispatch.concurrently(calls))).unwrap()
        failed: tuple[str, Any] | None = None
        for (id_, _), result in zip(some, results, strict=True):
            if not isinstance(result, Success):
                # The first failure is reported. The calls of the chunk are all made, because they were sent together.
                failed = failed or (id_, result.failure())
            elif result.unwrap().created:
                created += 1
            else:
                existed += 1
        if failed is not None:
            return Failure(PutManyStopped(failed[0], created, existed, failed[1]))
    return Success(PutMany(created=created, existed=existed))


def _may_have_pairs(given: object) -> bool:
    """Return whether to read a value: a mapping's keys, or characters, unpack into wrong items."""
    return isinstance(given, Iterable | AsyncIterable) and not isinstance(given, str | bytes | Mapping)


def _is_pair(given: Any) -> bool:  # of an untyped caller
    match given:
        case (str(), _):
            return True
        case _:
            return False


async def _chunks(pairs: Pairs[Any], size: int) -> AsyncIterator[list[tuple[str, Any]]]:
    if isinstance(pairs, Iterable):
        given = iter(pairs)
        # A list for each chunk: a generator of millions of items is never in memory as a whole.
        while some := list(islice(given, size)):
            yield some
        return
    collected: list[tuple[str, Any]] = []
    async for pair in pairs:
        collected.append(pair)
        if len(collected) == size:
            yield collected
            collected = []
    if collected:
        yield collected


async def cancel_all(
    dispatch: Dispatch, job: Job, cancel: Callable[[str], Call[Any, CallError]]
) -> Result[Drained, CallError]:
    """Cancel the items that wait, status by status, a page at a time."""
    cancelled = 0
    for status in WAITING:
        page: Any = None
        while page is None or page.after is not None:
            wanted = ListFilter(
                kind=job[0],
                name=job[1],
                status=status,
                # Not again from the start: an item that is not cancelled, because its
                # work began, would be listed for ever.
                after=None if page is None else page.after,
                limit=DEFAULT_CHUNK,
            )
            found = await result_of(dispatch.find(wanted))
            if not isinstance(found, Success):
                return Failure(found.failure())
            page = found.unwrap()
            calls = [cancel(listed.address.id) for listed in page]
            for result in (await result_of(dispatch.concurrently(calls))).unwrap():
                if not isinstance(result, Success):
                    return Failure(result.failure())
                cancelled += result.unwrap().cancelled
    return Success(Drained(cancelled=cancelled))


A = TypeVar("A")
E = TypeVar("E")


@attrs.frozen(repr=False)
class PoolHandle(JobHandle[V, E], Generic[V, A, E]):
    """A worker pool's calls. Its ``status``, ``pause``, ``resume`` and ``terminate`` are for one item."""

    results: Codec[A]

    def put(
        self,
        id_: str,
        item: V,
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        head_start: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Call[ItemPut, CallError]:
        """Put an item. An existing item with this id is left unchanged, also one whose result is kept.

        Args:
            id_: the item's id.
            item: of the pool's item type. Anything else fails with ``InvalidInput``.
            after: not before this long from now.
            at: not before this aware instant. Instead of ``after``.
            head_start: it is ranked, among its key's items, as if it had been put this much earlier: a priority that
                starves no item.
            idempotency_key: a repeat with this key puts nothing and returns the first result.
        """
        job = self.definition

        def build(limits: Limits) -> Request:
            try:
                new = new_item(item, after, at, head_start)
            except DefinitionError as wrong:
                raise InvalidArgument(wrong.what, wrong.got, wrong.expected) from wrong
            payload = job.encode_input("put", new, limits.payload_bytes, limits.input_bytes)
            return Request(command=put_command(new), action="put", payload=payload, idempotency_key=idempotency_key)

        return self.dispatch.request(job, id_, build, f"put of {job.kind}:{job.name}")

    def put_and_wait(
        self,
        id_: str,
        item: V,
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        head_start: Duration | None = None,
        timeout: Duration = "1 minute",
        idempotency_key: str | None = None,
    ) -> Call[Done[A] | Failed[E | Defect], CallError | WaitOver | NoOutcome]:
        """Put an item, and wait until it is done, or has failed for good and is parked.

        An existing item is unchanged, and awaited. So a wait that is over, or whose engine stopped, loses nothing: the
        item keeps its place, and a repeat of this call returns its outcome.

        Args:
            id_: the item's id.
            item: of the pool's item type.
            after: as for `put`.
            at: as for `put`.
            head_start: as for `put`.
            timeout: how long to wait. ``"0 ms"`` to answer immediately.
            idempotency_key: as for `put`. Needed if the pool keeps results for less than 10 minutes: a late repeat
                would put the item again.

        Returns:
            The outcome. It fails with `WaitOver` when the time is over, and with `NoOutcome` if the item was cancelled
            or terminated, or its result is no longer kept.
        """
        put = partial(self.put, id_, item, after=after, at=at, head_start=head_start, idempotency_key=idempotency_key)
        return Call(partial(self._put_and_wait, id_, put, timeout, idempotency_key), self._name_of("put_and_wait"))

    async def _put_and_wait(
        self, id_: str, put: Callable[[], Call[ItemPut, CallError]], longest: Duration, key: str | None
    ) -> Result[Done[A] | Failed[E | Defect], Any]:
        while True:
            found = await result_of(self._and_outcome("put", id_, put, self.outcome, longest, key))
            if not isinstance(found, Success):
                return Failure(found.failure())
            outcome = found.unwrap()
            if not isinstance(outcome, Waiting):  # an operator resumed the parked item before its outcome was read
                return Success(outcome)

    def cancel(self, id_: str, /, *, idempotency_key: str | None = None) -> Call[ItemCancelled, CallError]:
        """Delete an item, also a parked one, unless its work has begun or is done."""
        return self._send(id_, CancelCommand(), "cancel", key=idempotency_key)

    def trigger(self, id_: str, /, *, idempotency_key: str | None = None) -> Call[ItemTriggered, CallError]:
        """Queue an item now that waits for a retry. A parked one is tried again by ``resume``."""
        return self._send(id_, TriggerItemCommand(), "trigger", key=idempotency_key)

    def outcome(self, id_: str, /) -> Call[Done[A] | Failed[E | Defect] | Waiting | None, CallError]:
        """Read an item's outcome. None if there is no item. It does not wait: see ``Client.until``."""
        first: Call[ItemOutcome, CallError] = self._send(id_, OutcomeCommand(), "outcome")
        whole = followed(first, partial(self._whole_outcome, id_))
        return decoded(whole, self._outcome_of, lambda: self.definition.address(id_))

    async def _whole_outcome(self, id_: str, stored: ItemOutcome) -> Result[ItemOutcome, CallError]:
        """Read the parts of a result that is stored in parts."""
        if stored.result is None or stored.result[:1] != REFERENCE:
            return Success(stored)
        ticket = stored.result.removeprefix(REFERENCE)
        reply: Result[UpdateReply, CallError] = await result_of(self.dispatch.reply_to(self.definition, id_, ticket))
        # Without the value, the item has been deleted meanwhile.
        gone = ItemOutcome(form="not_found")
        return reply.map(lambda found: attrs.evolve(stored, result=found.value) if found.value else gone)

    def _outcome_of(self, stored: ItemOutcome) -> Done[A] | Failed[E | Defect] | Waiting | None:
        if stored.form == "done":
            return Done(value=self.results.open((stored.result or "null").encode()).value)
        if stored.form == "failed":
            return Failed(self._error(stored.error))
        return None if stored.status is None else Waiting(status=stored.status)

    def put_many(
        self,
        items: Iterable[tuple[str, V]] | AsyncIterable[tuple[str, V]],
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        head_start: Duration | None = None,
        chunk: int = DEFAULT_CHUNK,
    ) -> Call[PutMany, CallError | PutManyStopped]:
        """Put many items, in chunks: a chunk's items are put at the same time, and share transactions.

        It is not atomic. If an item cannot be put, it stops after its chunk with ``PutManyStopped``, which names the
        item. Every item is put once, whatever happens: repeat the call with the same items to put the rest.

        Args:
            items: ids and items. They are read a chunk at a time, so that you can pass a generator with millions.
            after: for every item, as in ``put``.
            at: for every item, as in ``put``.
            head_start: for every item, as in ``put``.
            chunk: how many items in a chunk, 1 to 1,000.
        """

        def put(id_: str, item: V) -> Call[ItemPut, CallError]:
            return self.put(id_, item, after=after, at=at, head_start=head_start)

        return Call(partial(put_all, self.dispatch, items, put, chunk), "put_many")

    def drain(self) -> Call[Drained, CallError]:
        """Cancel every item that waits for a worker, its time or a retry. Those that run, are done or parked stay.

        Hold the pool first, or workers and callers compete with it.
        """
        return Call(partial(cancel_all, self.dispatch, self._job, self.cancel), "drain")

    def progress(self) -> Call[PoolProgress, CallError]:
        """Count the items by status. Counting does not slow down item writes."""
        return mapped(self.count(), progress_of)


def progress_of(count: JobCount) -> PoolProgress:
    """Return a pool's progress, from its instance counts."""
    by: dict[Any, int] = dict(count.by_status)
    return PoolProgress(
        waiting=sum(by.get(status, 0) for status in ("queued", "scheduled", "retrying")),
        running=by.get("running", 0),
        done=by.get("done", 0),
        parked=by.get("parked", 0),
        paused=by.get("paused", 0),
        oldest=count.oldest,
        held=count.hold == "held",
        complete=count.complete,
    )


V_contra = TypeVar("V_contra", contravariant=True)


@attrs.frozen
class PoolSender(Generic[V_contra]):
    """The messages that other jobs can send to a worker pool."""

    post: PostCommand

    def put(
        self,
        item: V_contra,
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        head_start: Duration | None = None,
    ) -> Program[None]:
        """Put an item with this turn's commit. An existing item with this id is left unchanged."""
        return self.post("put", new_item(item, after, at, head_start))

    def cancel(self) -> Program[None]:
        """Delete the item, unless its work has begun."""
        return self.post("cancel")

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Terminate the item."""
        return self.post("terminate", reason)


# ---------------------------------------------------------------- batches
@attrs.frozen(repr=False)
class BatchHandle(JobHandle[BatchProgress, Any], Generic[V]):
    """The calls of a batch. Its ``get_state`` reads the counts."""

    def put(
        self,
        id_: str,
        items: Mapping[str, V],
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        head_start: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Call[BatchChanged, CallError]:
        """Put items into a batch, all in one commit. The first one opens it. A sealed batch takes none.

        An item whose id the pool has already is counted as ``existed``, and left unchanged. So a repeat without a key
        puts nothing twice, but is counted.

        Args:
            id_: the batch.
            items: the items by id, at most ``Limits.messages_per_turn``. `put_many` takes more.
            after: not before this long from now.
            at: not before this aware instant. Instead of ``after``.
            head_start: as for the pool's ``put``.
            idempotency_key: a repeat with this key puts nothing and returns the first result.
        """
        job = self.definition

        def build(limits: Limits) -> Request:
            try:
                first = new_item(None, after, at, head_start)
            except DefinitionError as wrong:
                raise InvalidArgument(wrong.what, wrong.got, wrong.expected) from wrong
            given = NewItems(items=dict(items), after=first.after, at=at, head_start=first.head_start)
            payload = job.encode_input("put", given, limits.payload_bytes)
            return Request(command=put_items(given), action="put", payload=payload, idempotency_key=idempotency_key)

        return self.dispatch.request(job, id_, build, self._name_of("put"))

    def put_many(
        self,
        id_: str,
        items: Iterable[tuple[str, V]] | AsyncIterable[tuple[str, V]],
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        head_start: Duration | None = None,
        chunk: int = DEFAULT_CHUNK,
    ) -> Call[BatchChanged, CallError]:
        """Put many items, in chunks, each in one commit. It stops at the first chunk that is not put.

        Repeat it with the same items after a failure: those that were put are counted as ``existed``. So are items with
        an id that came before.

        Args:
            id_: the batch.
            items: ids and items, read a chunk at a time.
            after: as for `put`.
            at: as for `put`.
            head_start: as for `put`.
            chunk: how many items in a chunk, 1 to 1,000.
        """

        def put(some: Mapping[str, Any]) -> Call[BatchChanged, CallError]:
            return self.put(id_, some, after=after, at=at, head_start=head_start)

        return Call(partial(_put_chunks, put, items, chunk), self._name_of("put_many"))

    def seal(self, id_: str, /, *, idempotency_key: str | None = None) -> Call[BatchChanged, CallError]:
        """Take no more items: the batch is done when its last item has ended, or now if none waits.

        Args:
            id_: the batch.
            idempotency_key: a repeat with this key returns the first result.
        """
        return self._send(id_, SealBatch(), "seal", key=idempotency_key)

    def watch_pool(self, id_: str, /, *, idempotency_key: str | None = None) -> Call[BatchChanged, CallError]:
        """Let a batch without items be done when its pool has no work: none queued, delayed, running or retried.

        Items that are parked, paused or done are no work, and messages that bring items are. The batch looks at the
        pool at once, and then again after a tenth of the time that it has waited, 1 second to 1 minute. So it does not
        notice work that is missing for a moment.

        Args:
            id_: the batch. `until` and `seal_and_wait` wait for its end.
            idempotency_key: a repeat with this key returns the first result.
        """
        return self._send(id_, WatchPool(), "watch_pool", key=idempotency_key)

    def seal_and_wait(
        self, id_: str, /, *, timeout: Duration = "1 minute", idempotency_key: str | None = None
    ) -> Call[BatchProgress, CallError | WaitOver | NoOutcome]:
        """Seal a batch, wait until it is done and ``on_done`` has run, and return its end.

        A wait that is over loses nothing: a repeat of this call waits again.

        Args:
            id_: the batch.
            timeout: how long to wait. ``"0 ms"`` to answer immediately.
            idempotency_key: as for `seal`.

        Returns:
            The end. It fails with `WaitOver` when the time is over, and with `NoOutcome` if the batch was terminated.
        """
        seal = partial(self.seal, id_, idempotency_key=idempotency_key)
        return self._and_outcome("seal", id_, seal, self.get_state, timeout, idempotency_key)


async def _put_chunks(
    put: Callable[[Mapping[str, Any]], Call[BatchChanged, CallError]], pairs: Pairs[Any], chunk: int
) -> Result[BatchChanged, CallError]:
    """Put items into a batch, a chunk after the other."""
    if type(chunk) is not int or not 1 <= chunk <= MAX_CHUNK:
        return Failure(InvalidArgument("chunk of put_many", chunk, f"a whole number from 1 to {MAX_CHUNK:,}"))
    if not _may_have_pairs(pairs):
        return Failure(InvalidArgument("items of put_many", pairs, PAIRS))
    first: BatchChanged | None = None
    total, last = 0, BatchChanged(accepted=True, found="absent")
    async for some in _chunks(pairs, chunk):
        for pair in some:
            if not _is_pair(pair):
                return Failure(InvalidArgument("an item of put_many", pair, PAIRS))
        for items in _with_different_ids(some):
            answer = await result_of(put(items))
            if not isinstance(answer, Success):
                return Failure(answer.failure())
            last = answer.unwrap()
            first, total = first or last, total + last.put
            # A sealed batch refuses the following items as well.
            if not last.accepted:
                return Success(attrs.evolve(last, put=total))
    return Success(attrs.evolve(last, found=(first or last).found, put=total))


def _with_different_ids(pairs: Sequence[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    """Divide pairs where an id comes again: in one put, the second item would replace the first without a trace."""
    items: dict[str, Any] = {}
    for id_, item in pairs:
        if id_ in items:
            yield items
            items = {}
        items[id_] = item
    yield items


@attrs.frozen
class BatchSender(Generic[V_contra]):
    """The messages that other jobs can send to a batch."""

    post: PostCommand

    def put(
        self,
        items: Mapping[str, V_contra],
        /,
        *,
        after: Duration | None = None,
        at: datetime | None = None,
        head_start: Duration | None = None,
    ) -> Program[None]:
        """Put items into the batch. If it is sealed, they are dropped, and its history says so."""
        first = new_item(None, after, at, head_start)
        return self.post("put", NewItems(items=dict(items), after=first.after, at=at, head_start=first.head_start))

    def seal(self) -> Program[None]:
        """Take no more items."""
        return self.post("seal")

    def watch_pool(self) -> Program[None]:
        """Let a batch without items be done when its pool has no work. See `BatchHandle.watch_pool`."""
        return self.post("watch_pool")

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Terminate the batch. Its items stay in the pool."""
        return self.post("terminate", reason)
