"""A search returns the same as a scan of every instance, however small its chunks are."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.stores.rows import CorruptRows
from perdure.stores.sqlite.changes import apply, encode
from perdure.stores.sqlite.counters import Counters
from perdure.stores.sqlite.queries import Search
from perdure.stores.sqlite.schema import migrations
from perdure.stores.values import Query
from perdure.testing.conformance.histories import CLAIM, LEFT, PENDING_RETRY
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.transition import Put, Transition

kinds, names, ids = (
    st.sampled_from(("debounce", "task")),
    st.sampled_from(("a", "b")),
    st.text("xyz", min_size=1, max_size=3),
)
addresses = st.builds(Address, kinds, names, ids)
instances = st.builds(
    Instance,
    address=addresses,
    created_ms=st.just(1),
    updated_ms=st.just(1),
    state=st.just("{}"),
    alarm_ms=st.none() | st.integers(1, 9),
    suspension=st.sampled_from((None, None, "paused", "not_retryable")),
    claim=st.sampled_from((None, None, CLAIM)),
    pending_retry=st.sampled_from((None, None, PENDING_RETRY)),
    left=st.sampled_from((None, None, None, LEFT)),
)
queries = st.builds(
    Query,
    kind=st.none() | kinds,
    name=st.none() | names,
    id_prefix=st.just("") | ids,
    status=st.sampled_from((None, "idle", "scheduled", "running", "retrying", "paused", "parked", "left")),
    due_before_ms=st.none() | st.integers(1, 9),
    after=st.none() | addresses,
    limit=st.integers(1, 5),
)


@contextmanager
def stored(rows: list[Instance]) -> Iterator[sqlite3.Cursor]:
    with closing(sqlite3.connect(":memory:")) as database:
        for script in migrations():
            database.executescript(script)
        cursor, counters = database.cursor(), Counters(0, 0, 0)
        for row in rows:
            transition = Transition(address=row.address, expected=None, write=Put(row))
            apply(cursor, counters, encode(transition))
        yield cursor


def place(address: Address) -> tuple[str, str, str]:
    return address.kind, address.name, address.id


def meets(query: Query, row: Instance) -> bool:
    asked: dict[str, Any] = {
        "kind": row.address.kind,
        "name": row.address.name,
        "status": row.status,
    }
    return (
        all(getattr(query, name) in (None, found) for name, found in asked.items())
        and row.address.id.startswith(query.id_prefix)
        and (query.due_before_ms is None or (row.due_ms is not None and row.due_ms < query.due_before_ms))
        and (query.after is None or place(row.address) > place(query.after))
    )


@given(st.lists(instances, max_size=25, unique_by=lambda row: row.address), queries, st.integers(1, 4))
@settings(max_examples=300)
def test_chunks_together_are_the_requested_page_in_order(rows: list[Instance], query: Query, size: int) -> None:
    search, found = Search.of(query, size), list[Address]()
    with stored(rows) as cursor:
        while search.after is not None and len(found) < query.limit:
            portion, search = search.portion(cursor, CorruptRows(), query.limit - len(found))
            found += [one.address for one in portion]
    wanted = sorted((row.address for row in rows if meets(query, row)), key=place)
    assert found == wanted[: query.limit]
