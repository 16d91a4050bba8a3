"""Calls of a pool for many items: in chunks, each of whose requests are made at the same time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypeAlias, TypeVar

from returns.result import Failure, Result, Success

from perdure.jobs.call import Call, result_of
from perdure.jobs.definition import CallError, Dispatch
from perdure.kinds.worker_pool.answers import Drained, ItemPut, PutMany
from perdure.values.address import Job
from perdure.values.errors import InvalidArgument, PutManyStopped
from perdure.values.listings import ListFilter
from perdure.values.status import Status

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
        dispatch: makes the calls of a chunk at the same time.
        pairs: the items; no more than a chunk of them is read ahead.
        put: puts one.
        chunk: number of items in a chunk.
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
        results = (await result_of(dispatch.together(calls))).unwrap()
        failed: tuple[str, Any] | None = None
        for (id_, _), result in zip(some, results, strict=True):
            if not isinstance(result, Success):
                failed = failed or (id_, result.failure())
            elif result.unwrap().created:
                created += 1
            else:
                existed += 1
        if failed is not None:
            return Failure(PutManyStopped(failed[0], created, existed, failed[1]))
    return Success(PutMany(created=created, existed=existed))


def _may_have_pairs(given: object) -> bool:
    """Return whether to read a value: the keys of a mapping, or characters, unpack into wrong items."""
    return isinstance(given, Iterable | AsyncIterable) and not isinstance(given, str | bytes | Mapping)


def _is_pair(given: Any) -> bool:  # of an untyped caller
    match given:
        case (_, _):
            return True
        case _:
            return False


async def _chunks(pairs: Pairs[Any], size: int) -> AsyncIterator[list[tuple[str, Any]]]:
    if isinstance(pairs, Iterable):
        given = iter(pairs)
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
    """Cancel the items that wait, a page of each status at a time."""
    cancelled = 0
    for status in WAITING:
        page: Any = None
        while page is None or page.after is not None:
            wanted = ListFilter(
                kind=job[0],
                name=job[1],
                status=status,
                after=None if page is None else page.after,
                limit=DEFAULT_CHUNK,
            )
            found = await result_of(dispatch.find(wanted))
            if not isinstance(found, Success):
                return Failure(found.failure())
            page = found.unwrap()
            calls = [cancel(listed.address.id) for listed in page]
            for result in (await result_of(dispatch.together(calls))).unwrap():
                if not isinstance(result, Success):
                    return Failure(result.failure())
                cancelled += result.unwrap().cancelled
    return Success(Drained(cancelled=cancelled))
