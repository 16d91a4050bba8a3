"""A store that is read without its engine answers as a live one does, and cannot be changed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_harness import PostgresHarness
from returns.result import Failure

from perdure.programs.future import answer_of
from perdure.stores import at_rest
from perdure.stores.at_rest import StoreReader, open_reader, read_only_store
from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.memory import memory_store
from perdure.stores.sqlite import open_sqlite
from perdure.stores.values import Query, Retention
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import created
from perdure.testing.conformance.optional_operation_cases import fill
from perdure.values.address import Address
from perdure.values.errors import StoreUnavailable
from perdure.values.instance import Instance
from perdure.values.transition import Purge, Transition

ALL = 1_000
NEW = Address("task", "orders", "new")
BACKENDS = ["sqlite", "postgresql"]


class SqliteFile:
    """A file, with the same methods as the harness of PostgreSQL."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    async def open(self) -> Store:
        return await open_sqlite(self.path, durability="relaxed")

    async def discard(self) -> None:
        self.path.unlink()


@pytest.fixture(scope="module", params=BACKENDS)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A store with rows of every table, that no engine has open."""
    if request.param == "sqlite":
        harness: Any = SqliteFile(tmp_path_factory.mktemp("at_rest") / "jobs.db")
    else:
        from postgres_server import running_server  # noqa: PLC0415 - it skips the test where there is no server

        harness = PostgresHarness(running_server())

    async def write() -> None:
        store = await harness.open()
        await fill(store)
        await value(store.close())

    asyncio.run(write())
    yield harness
    asyncio.run(harness.discard())


@pytest.fixture(scope="module")
def reference() -> Store:
    """The reference store with the same rows."""
    store = memory_store()
    asyncio.run(fill(store))
    return store


def both(reader: StoreReader, store: Store, reference: Store, read: Any) -> tuple[Any, Any]:
    """Return the answers of a store at rest and of the reference store."""
    return reader.wait(answer_of(read(store))), asyncio.run(value_of(read(reference)))


async def value_of(operation: Any) -> Any:
    return await answer_of(operation)


STATUSES = [None, "running", "retrying", "paused", "parked", "scheduled", "idle"]
QUERIES = st.builds(
    Query,
    kind=st.sampled_from([None, "task", "other"]),
    name=st.sampled_from([None, "orders", "other"]),
    jobs=st.sampled_from([None, (("task", "orders"),), ()]),
    id_prefix=st.sampled_from(["", "a", "b", "\0"]),
    status=st.sampled_from(STATUSES),
    due_before_ms=st.sampled_from([None, 1, 10**15]),
    after=st.sampled_from([None, Address("task", "orders", "a"), Address("a", "b", "c")]),
    limit=st.integers(1, 4),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES)
def test_every_list_is_that_of_a_live_store(filled: Any, reference: Store, query: Query) -> None:
    with open_reader(filled.url) as reader:
        found, expected = both(reader, read_only_store(reader), reference, lambda store: store.find(query))
        assert found == expected
        assert str(reader.damage) == ""


def test_every_other_read_is_that_of_a_live_store(filled: Any, reference: Store) -> None:
    rows = asyncio.run(value(reference.find(Query(limit=ALL))))
    with open_reader(filled.url) as reader:
        store = read_only_store(reader)
        for read in (
            lambda store: store.dead_letters(0, ALL),
            lambda store: store.messages(10**15, ALL),
            lambda store: store.messages_left_to({("task", "orders"): ""}, ALL),
            lambda store: store.claimed(0, ALL),
            lambda store: store.due(10**15, ALL),
            lambda store: store.holds(),
            *(lambda store, at=row.address: load_one(store, at, "k", 0) for row in rows),
            *(lambda store, row=row: store.journal.read(row.address, row.incarnation, 0, ALL) for row in rows),
        ):
            found, expected = both(reader, store, reference, read)
            assert found == expected
        for row in rows:
            logged, expected = both(
                reader, store, reference, lambda store, at=row.address: store.history(at, None, ALL)
            )
            assert [each.event for each in logged.unwrap()] == [each.event for each in expected.unwrap()]


def test_every_table_is_read_whole_in_pages_of_any_size(filled: Any) -> None:
    def read(reader: StoreReader) -> list[list[Any]]:
        tables = (at_rest.instances, at_rest.messages, at_rest.dead_letters, at_rest.events)
        pages = [list(table(reader)) for table in tables]
        pages.append(list(at_rest.answers(reader, 0)))
        rows = [one.instance for page in pages[0] for one in page if isinstance(one.instance, Instance)]
        assert all(0 < len(page) <= reader.page for table in pages for page in table)
        journals = [at_rest.journal(reader, row) for row in rows if row.journal_length]
        return [*([one for page in table for one in page] for table in pages), journals]

    with open_reader(filled.url) as reader:
        whole = read(reader)
        assert [bool(rows) for rows in whole] == [True] * 6
        for page in (1, 2, 3):
            assert read(attrs.evolve(reader, page=page)) == whole


def test_every_write_is_refused(filled: Any) -> None:
    """None is written, and the error says why."""
    with open_reader(filled.url) as reader:
        store = read_only_store(reader)
        before = reader.wait(answer_of(store.find(Query(limit=ALL)))).unwrap()
        purge = Transition(address=before[0].address, write=Purge(), expected=before[0].fence)
        writes: tuple[Any, ...] = (
            commit_one(store, purge),
            store.redrive(1),
            store.prune(Retention(now_ms=10**15, events_since_ms=10**15, max_events=0)),
            store.set_hold(("task", "orders"), "released"),  # type: ignore[misc]
            store.cursors.move("behind", 10**9),  # type: ignore[misc]
        )
        answers = [reader.wait(answer_of(write)) for write in writes]
        for refused in answers:
            assert isinstance(refused, Failure)
            assert isinstance(refused.failure(), StoreUnavailable)
            assert "opened read-only" in str(refused.failure())
        assert reader.wait(answer_of(store.find(Query(limit=ALL)))).unwrap() == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_reads_beside_an_owner_that_keeps_writing(backend: str, tmp_path: Path, request: Any) -> None:
    harness: Any = (
        SqliteFile(tmp_path / "jobs.db")
        if backend == "sqlite"
        else PostgresHarness(request.getfixturevalue("postgres_url"))
    )

    def ids(reader: StoreReader) -> list[str]:
        found = reader.wait(answer_of(read_only_store(reader).find(Query(limit=ALL))))
        return [row.address.id for row in found.unwrap()]

    async def main() -> tuple[list[str], list[str]]:
        owner = await harness.open()
        await created(owner, NEW)

        def look() -> tuple[list[str], list[str]]:
            with open_reader(harness.url) as reader:
                first = ids(reader)
                asyncio.run_coroutine_threadsafe(created(owner, Address("task", "orders", "newer")), loop).result()
                return first, ids(reader)

        loop = asyncio.get_running_loop()
        seen = await asyncio.to_thread(look)
        await value(owner.close())
        await harness.discard()
        return seen

    assert asyncio.run(main()) == (["new"], ["new", "newer"])
