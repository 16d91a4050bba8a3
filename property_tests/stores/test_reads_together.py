"""A SQLite store reads several addresses together as it reads each of them."""

import asyncio
import sqlite3
from contextlib import closing

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Sizes
from perdure.stores.contract import commit_one
from perdure.stores.rows import INSTANCE_COLUMNS
from perdure.stores.sqlite import open_sqlite, queries
from perdure.stores.values import LoadRequest, Query
from perdure.testing.conformance.assertions import value
from perdure.values.address import Address
from perdure.values.errors import StoreCorrupt
from perdure.values.instance import Instance
from perdure.values.transition import Loaded, Put, Remembered, Transition

NOW_MS = 1_000
names = st.sampled_from(("orders", "mails"))
ids = st.integers(0, 400).map(str)


@pytest.fixture(scope="module")
def cursor(tmp_path_factory):
    """A file with 600 instances of two jobs, of 300 ids each, and a key for each tenth."""
    path = tmp_path_factory.mktemp("reads") / "jobs.db"

    async def filled():
        store = await open_sqlite(path)
        for name in ("orders", "mails"):
            for number in range(300):
                address = Address("task", name, str(number))
                row = Instance(address=address, created_ms=1, updated_ms=1, state=f"{name} {number}")
                key = Remembered(key="key", action="send", fingerprint="", answer="1", expires_ms=9_000)
                kept = (key,) if number % 10 == 0 else ()
                await commit_one(store, Transition(address=address, write=Put(row), remember=kept))
        await store.close()

    asyncio.run(filled())
    connection = sqlite3.connect(path)
    yield connection.cursor()
    connection.close()


@given(data=st.data())
def test_several_addresses_are_read_as_each_of_them(cursor, data):
    requests = [
        LoadRequest(Address("task", name, id_), key, NOW_MS)
        for name, id_, key in data.draw(st.lists(st.tuples(names, ids, st.none() | st.just("key"))))
    ]
    alone = [queries.load(cursor, one.address, one.idempotency_key, one.now_ms) for one in requests]
    assert queries.load_all(cursor, requests, data.draw(st.integers(1, 5) | st.just(256))) == alone


@pytest.mark.parametrize("count", [1, 4, 5, 16, 17, 64, 65, 256, 257, 300, 600])
def test_any_number_of_addresses_is_read(cursor, count):
    requests = [LoadRequest(Address("task", "orders", str(number)), None, NOW_MS) for number in range(count)]
    found = [one.instance for one in queries.load_all(cursor, requests, 256)]
    assert [row.state for row in found[:300]] == [f"orders {number}" for number in range(min(count, 300))]
    assert found[300:] == [None] * (count - 300)


def test_a_row_that_the_index_finds_under_another_id_is_corrupt():
    columns = INSTANCE_COLUMNS.replace(" id,", " id COLLATE NOCASE,")
    values = (1, 1, "task", "orders", "A", "1", 1, "", *(None,) * 5, 0, 0, None, 1, 1, *(None,) * 6)
    marks = ", ".join("?" * len(values))
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE instances ({columns})")
        connection.execute(f"INSERT INTO instances VALUES ({marks})", values)  # noqa: S608 - marks alone
        with pytest.raises(StoreCorrupt, match="another id"):
            queries.load_all(connection.cursor(), [LoadRequest(Address("task", "orders", "a"), None, NOW_MS)], 256)


class Statements:
    """Counts the addresses of each statement, and finds none."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def execute(self, _: str, values: tuple[str, ...]) -> "Statements":
        self.read.append(len(set(values[2:])))
        return self

    def fetchall(self) -> list[tuple[object, ...]]:
        return []


@pytest.mark.parametrize(("most", "read"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (4, [4, 1]), (5, [5]), (6, [5])])
def test_a_statement_reads_some_addresses_and_the_next_one_the_others(most, read):
    statements = Statements()
    requests = [LoadRequest(Address("task", "orders", str(number)), None, NOW_MS) for number in range(5)]
    assert queries.load_all(statements, requests, most) == [Loaded()] * 5
    assert statements.read == read


@pytest.mark.parametrize(("size", "found"), [(1, 3), (2, 4), (3, 3), (5, 5)])
def test_a_search_reads_a_chunk_at_a_time_up_to_its_bound(tmp_path, size, found):
    """Three instances may be read: it stops after the chunk that reaches the bound."""

    async def main():
        runtime = attrs.evolve(asyncio_runtime(), sizes=Sizes(searched_rows=size))
        store = await open_sqlite(tmp_path / "jobs.db", runtime=runtime)
        for number in range(9):
            row = Instance(address=Address("task", "orders", str(number)), created_ms=1, updated_ms=1)
            await commit_one(store, Transition(address=row.address, write=Put(row)))
        page = await value(store.search(Query(limit=9), 3))
        rest = await value(store.find(Query(limit=9, after=page.after)))
        await store.close()
        return [row.address.id for row in page.instances], [row.address.id for row in rest]

    page, rest = asyncio.run(main())
    assert (len(page), page + rest) == (found, [str(number) for number in range(9)])
