"""Which openings of a PostgreSQL store a copy ends: all that could still write, and none that is alive."""

from __future__ import annotations

import asyncio

import pytest
from postgres_harness import PostgresHarness, SharedPostgresHarness, states

from perdure.stores.contract import Store, commit_one
from perdure.stores.copying import CopySource
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, created, put
from perdure.testing.conformance.sharing_cases import sharing
from perdure.values.errors import OwnershipLost, StoreLocked

A = address("a")
_WRITERS = "SELECT pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int)"


@pytest.fixture
def harness(postgres_url: str):
    harness = PostgresHarness(postgres_url)
    yield harness
    asyncio.run(harness.discard())


@pytest.fixture
def shared(postgres_url: str):
    harness = SharedPostgresHarness(postgres_url)
    yield harness
    asyncio.run(harness.discard())


def test_an_owner_that_lost_its_lock_to_a_copy_writes_nothing(harness: PostgresHarness):
    """A copy reads one table after the other: nothing may change meanwhile."""

    async def main() -> None:
        owner = await harness.open()
        told = states(owner)
        fence = await created(owner, A)
        # The lock is free for an instant: the copy tries until it has it.
        await harness.lose_the_lock()
        source = await _first_copy(harness, told)
        assert "'perdure copy' ended it" in str((await answer(commit_one(owner, put(A, fence)))).failure())
        assert (await harness.value("SELECT version FROM perdure.instances")) == 1
        await source.close()
        await owner.close()
        again = await harness.open()
        assert again.previous_exit == "died"  # no opening has seen to its runs since
        await again.close()

    asyncio.run(main())


@pytest.mark.parametrize("role", ["source", "target"])
def test_a_member_whose_lease_has_ended_writes_nothing_once_a_copy_has_begun(shared: SharedPostgresHarness, role: str):
    """No other member declares it dead: its heartbeat would renew the lease."""

    async def main() -> None:
        member = await shared.open()
        fence = await created(member, A)
        await shared.pass_time(lease_ms := sharing(member).lease_ms)
        held = await (shared.copy_source() if role == "source" else shared.copy_target())
        lost = (await answer(commit_one(member, put(A, fence)))).failure()
        assert isinstance(lost, OwnershipLost)
        assert "'perdure copy' ended it" in lost.reason
        assert (await answer(sharing(member).heartbeat({}))).failure() == lost
        assert isinstance(await _opened(shared), StoreLocked)
        await held.close()
        assert (await shared.value("SELECT version FROM perdure.instances")) == 1
        again = await shared.open()
        await value(commit_one(again, put(A, fence)))
        await shared.pass_time(lease_ms)
        await again.close()
        await member.close()

    asyncio.run(main())


def test_a_copy_waits_for_a_write_of_a_member_whose_lease_has_ended(shared: SharedPostgresHarness):
    async def main() -> None:
        member = await shared.open()
        fence = await created(member, A)
        async with shared.transaction() as blocking:
            await blocking.execute(shared.sql("SELECT FROM perdure.instances FOR UPDATE"))
            writing = asyncio.ensure_future(answer(commit_one(member, put(A, fence))))
            await shared.until_blocked()
            await shared.pass_time(sharing(member).lease_ms)
            copying = asyncio.ensure_future(shared.copy_source())
            await shared.until_blocked(number=2)
            assert not copying.done()
        (await writing).unwrap()
        source = await copying
        assert [row[1] async for page in source.pages("instances", ()) for row in page] == [2]
        await source.close()
        await member.close()

    asyncio.run(main())


def test_a_member_that_renews_its_lease_in_time_keeps_a_copy_out(shared: SharedPostgresHarness):
    """The copy has seen that the lease had ended, and waits for the lock of the writers."""

    async def main() -> None:
        member = await shared.open()
        await shared.pass_time(sharing(member).lease_ms)
        async with shared.transaction() as blocking:
            await blocking.execute(
                shared.sql("SELECT pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int)")
            )
            copying = asyncio.ensure_future(shared.copy_source())
            await shared.until_blocked()
            await value(sharing(member).heartbeat({}))
        with pytest.raises(StoreLocked, match="an engine that shares it"):
            await copying
        await created(member, A)
        await member.close()

    asyncio.run(main())


async def _first_copy(harness: PostgresHarness, told: asyncio.Queue[str]) -> CopySource:
    while True:
        try:
            return await harness.copy_source()
        except StoreLocked:
            while await told.get() != "sure":
                pass
            await harness.lose_the_lock()


async def _opened(harness: PostgresHarness) -> Exception | Store:
    try:
        return await harness.open()
    except StoreLocked as error:
        return error
