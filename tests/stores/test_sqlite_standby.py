"""Standing by for a file, in a simulation of time over a real lock."""

import asyncio
from pathlib import Path

import pytest

from perdure import App
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import load_one
from perdure.stores.memory import memory_store
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.lock import POLL_MS, acquire, stand_by
from perdure.stores.url import open_store
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, created
from perdure.values.errors import DefinitionError, StoreLocked

AN_HOUR_MS = 3_600_000


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "jobs.db.lock")


def _waiting(world, path):
    return world.runtime.spawn(
        stand_by(path, store="jobs", database=f"{path}.db", runtime=world.runtime), name="standby"
    )


def test_a_living_owner_is_not_taken_over_however_long_it_takes(path):
    owner = acquire(path, store="jobs", database=f"{path}.db")
    world = Simulation()
    standby = _waiting(world, path)
    world.advance(AN_HOUR_MS)
    assert not standby.done()
    standby.cancel()
    world.settle()
    assert standby.cancelled()
    owner.release()
    acquire(path, store="jobs", database=f"{path}.db").release()  # the standby took nothing


def test_a_standby_takes_over_within_a_fifth_of_a_second_and_says_so(path):
    owner = acquire(path, store="jobs", database=f"{path}.db")
    world = Simulation()
    standby = _waiting(world, path)
    world.advance(10 * POLL_MS)
    owner.release()
    world.advance(200)
    standby.result().release()
    said = [(record.message, record.fields["store"]) for record in world.logs]
    assert said == [("waiting for store lock", "jobs"), ("acquired store lock", "jobs")]
    assert world.logs[0].fields["owner"] == world.logs[1].fields["from"] != ""


def test_a_free_file_is_taken_at_once_and_nothing_is_said(path):
    world = Simulation()
    world.run(stand_by(path, store="jobs", database=f"{path}.db", runtime=world.runtime)).release()
    assert world.logs == []


def test_a_change_of_the_owner_is_said(path):
    first = acquire(path, store="jobs", database=f"{path}.db")
    world = Simulation()
    standby = _waiting(world, path)
    world.settle()
    Path(path).write_text("process 2 on elsewhere")  # as another owner signs
    world.advance(5 * POLL_MS)
    first.release()
    world.advance(POLL_MS)
    standby.result().release()
    owners = [record.fields["owner"] for record in world.logs if "owner" in record.fields]
    assert len(owners) == 2
    assert "process 2 on elsewhere" in owners[1]


def test_a_lock_file_that_was_deleted_lets_no_second_engine_in(path):
    owner = acquire(path, store="jobs", database=f"{path}.db")
    world = Simulation()
    standby = _waiting(world, path)
    world.settle()
    Path(path).unlink()  # the owner still holds the lock on the database file itself
    world.advance(POLL_MS)
    assert not standby.done()
    owner.release()
    world.advance(POLL_MS)
    taken = standby.result()
    with pytest.raises(StoreLocked):
        acquire(path, store="jobs", database=f"{path}.db")
    taken.release()


def test_a_store_is_opened_after_the_wait(tmp_path):
    async def main():
        first = await open_sqlite(tmp_path / "jobs.db")
        await created(first, address("a"))
        second = asyncio.ensure_future(open_store(f"sqlite:///{tmp_path}/jobs.db", on_locked="wait"))
        await asyncio.sleep(0)
        assert not second.done()
        await value(first.close())
        store = await second
        found = await value(load_one(store, address("a")))
        await value(store.close())
        return store.epoch, found.instance.version

    assert asyncio.run(main()) == (2, 1)


@pytest.mark.parametrize("url", ["memory://", "mongo://jobs"])
def test_only_a_file_can_be_waited_for(url):
    with pytest.raises(DefinitionError, match="a store that has one owner"):
        asyncio.run(open_store(url, on_locked="wait"))


def test_an_open_store_has_its_owner_already():
    async def main():
        async with App(None).open(memory_store(), on_locked="wait"):
            pass

    with pytest.raises(DefinitionError, match="already open"):
        asyncio.run(main())


def test_another_word_is_refused(tmp_path):
    with pytest.raises(DefinitionError, match="'raise' or 'wait'"):
        asyncio.run(open_sqlite(tmp_path / "jobs.db", on_locked="steal"))
