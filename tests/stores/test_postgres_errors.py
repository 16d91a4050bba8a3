"""The answers of a PostgreSQL store to failed statements, by SQLSTATE, beside the rows that are stored then."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from one_by_one import committed
from postgres_harness import PostgresHarness
from returns.result import Failure, Success

from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.postgres.connections import failure_of_write
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreUnavailable

A, B = address("a"), address("b")

UNDONE_BY_OTHERS = ("40001", "40P01", "55P03")
"""A serialization failure, a deadlock, a lock that is not free: the store repeats the statement."""

NOT_WRITTEN = ("22003", "23505", "25006", "42501", "53100", "53200", "54000", "57014", "P0001", "XX000")
"""The server undid the statement, and says so: among them a full disk, and a cancellation by an operator."""

UNKNOWN = ("08000", "08006", "40003", "57000", "57P01", "57P02", "57P05")
"""The connection or the server ends: the commit may have been the last that it did."""


class Failing:
    """Lets the writes of instances fail. A sequence counts the attempts, because no transaction undoes it."""

    def __init__(self, harness: PostgresHarness) -> None:
        self._harness = harness

    async def begin(self, state: str, times: int, *, only: str = "") -> None:
        """Fail with an SQLSTATE, so many times; of one instance only, if it is named."""
        await self._harness.execute("CREATE SEQUENCE IF NOT EXISTS perdure.attempts")
        await self._harness.execute("ALTER SEQUENCE perdure.attempts RESTART")
        await self._harness.execute(f"""
            CREATE OR REPLACE FUNCTION perdure.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              IF ('{only}' = '' OR NEW.id = '{only}') AND nextval('perdure.attempts') <= {times} THEN
                RAISE EXCEPTION 'refused' USING ERRCODE = '{state}';
              END IF;
              RETURN NEW;
            END $$
        """)
        await self._harness.execute("DROP TRIGGER IF EXISTS refuse ON perdure.instances")
        await self._harness.execute(
            "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON perdure.instances FOR EACH ROW "
            "EXECUTE FUNCTION perdure.refuse()"
        )

    async def attempts(self) -> int:
        """Return how often a write was tried."""
        return int(
            await self._harness.value("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.attempts")
        )


def on_a_store(postgres_url: str, scenario: Any) -> None:
    """Run a scenario with a store, and with what lets its writes fail."""
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        try:
            await scenario(store, Failing(harness), harness)
        finally:
            await store.close()
            await harness.discard()

    asyncio.run(main())


def test_the_answer_to_each_class_of_errors(postgres_url: str) -> None:
    """Of each error twice: the second answer is that of the first, and then the store writes again."""

    async def scenario(store: Store, failing: Failing, _: PostgresHarness) -> None:
        fence = await created(store, A)
        for state in (*NOT_WRITTEN, *UNKNOWN):
            expected = OutcomeUnknown if state in UNKNOWN else StoreUnavailable
            await failing.begin(state, 2)
            for time in (1, 2):
                refused = await answer(commit_one(store, put(A, fence)))
                assert isinstance(refused, Failure)
                assert type(refused.failure()) is expected, (state, refused)
                assert await failing.attempts() == time, state  # it is not repeated: an effect of it may be visible
                row = (await value(load_one(store, A))).instance
                assert row is not None
                assert row.version == fence.version, state
            fence = await value(commit_one(store, put(A, fence)))
        await failing.begin("PD001", 1)
        lost = await answer(commit_one(store, put(A, fence)))
        assert isinstance(lost.failure(), OwnershipLost)
        again = await answer(commit_one(store, put(A, fence)))  # it is remembered
        assert isinstance(again.failure(), OwnershipLost)

    on_a_store(postgres_url, scenario)


def test_a_statement_that_other_transactions_undid_is_repeated_twice(postgres_url: str) -> None:
    """At the edge: after two failures it is written, and after three the caller hears that nothing was."""

    async def scenario(store: Store, failing: Failing, _: PostgresHarness) -> None:
        fence = await created(store, A)
        for state in UNDONE_BY_OTHERS:
            await failing.begin(state, 2)
            fence = await value(commit_one(store, put(A, fence)))
            assert await failing.attempts() == 3, state
            await failing.begin(state, 3)
            refused = (await answer(commit_one(store, put(A, fence)))).failure()
            assert type(refused) is StoreUnavailable, state
            fence = await value(commit_one(store, put(A, fence)))

    on_a_store(postgres_url, scenario)


@pytest.mark.parametrize("state", ["57014", "23505"])
def test_a_write_that_the_server_refuses_keeps_no_other_of_its_group_back(postgres_url: str, state: str) -> None:
    async def scenario(store: Store, failing: Failing, _: PostgresHarness) -> None:
        fences = [await created(store, at) for at in (A, B)]
        await failing.begin(state, 9, only="a")
        refused, written = await committed(store, [put(at, fence) for at, fence in zip((A, B), fences, strict=True)])
        assert type(refused.failure()) is StoreUnavailable
        assert isinstance(written, Success)

    on_a_store(postgres_url, scenario)


def test_a_commit_that_an_operator_cancels_is_not_written(postgres_url: str) -> None:
    """Twice. The caller hears that nothing was written, and repeats it without a key."""

    async def scenario(store: Store, _: Failing, harness: PostgresHarness) -> None:
        fence = await created(store, A)
        for _time in (1, 2):
            async with harness.transaction() as operator:
                await operator.execute(harness.sql("SELECT FROM perdure.instances FOR UPDATE"))
                blocked = asyncio.ensure_future(answer(commit_one(store, put(A, fence))))
                await harness.until_blocked()
                await operator.execute(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND strpos(query, $1) > 0",
                    harness.schema,
                )
                assert type((await blocked).failure()) is StoreUnavailable
            fence = await value(commit_one(store, put(A, fence)))

    on_a_store(postgres_url, scenario)


@pytest.mark.parametrize("severity", ["ERROR", "FATAL", "PANIC"])
@pytest.mark.parametrize("state", [*NOT_WRITTEN, *UNKNOWN, *UNDONE_BY_OTHERS])
def test_an_error_that_ends_the_session_says_nothing_about_its_commit(state: str, severity: str) -> None:
    """A disk that is full is a refusal; if it is the disk of the log, the server ends, perhaps after the commit."""
    error = asyncpg.PostgresError.new({"S": severity, "V": severity, "C": state, "M": "refused"})
    expected = OutcomeUnknown if state in UNKNOWN or severity != "ERROR" else StoreUnavailable
    assert type(failure_of_write("commit", error)) is expected
    pooled = asyncpg.PostgresError.new({"S": severity, "C": state, "M": "refused"})  # of a pooler
    assert type(failure_of_write("commit", pooled)) is expected
