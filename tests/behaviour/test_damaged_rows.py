"""A row that is damaged on disk is reported, and all others continue."""

import sqlite3
from pathlib import Path

from machine import Add, OnAlarm, Say, app, at, machine, steps
from world import World, play

from perdure.values.errors import StoreCorrupt


def test_a_corrupted_row_blocks_no_other_instance(tmp_path: Path) -> None:
    """An undecodable instance is never deleted and never looped over; the other instances continue."""
    play("sqlite", tmp_path, _damaged)


async def _damaged(world: World) -> None:
    jobs = (await world.open(app(world.outside, alarm_batch=2))).handle(machine)
    for id_ in ("bad", "good"):
        await world.run(jobs.send(id_, OnAlarm(10_000, (Say(id_),))))
    await world.close()
    with sqlite3.connect(world.folder / "jobs.db") as file:
        file.execute("UPDATE instances SET pending_retry = 'not JSON' WHERE id = 'bad'")
    file.close()

    jobs = (await world.open(app(world.outside, alarm_batch=2))).handle(machine)
    await world.advance(s=10)
    assert world.outside.heard == ["good"]
    assert isinstance(await world.error_of(jobs.send("bad", steps(Add()))), StoreCorrupt)
    assert isinstance(await world.error_of(jobs.get_state("bad")), StoreCorrupt)
    assert [entry.address for entry in await world.run(world.jobs.list())] == [at("good")]
    assert (await world.run(world.jobs.health())).state == "degraded"
    before = len(world.process.boundary.crash_points)
    await world.advance(hours=1)
    assert len(world.process.boundary.crash_points) - before < 600
    assert world.logs.count("store degraded") == 6  # every ten minutes: once in each round of housekeeping
    await world.close()

    with sqlite3.connect(world.folder / "jobs.db") as file:
        assert file.execute("SELECT count(*) FROM instances WHERE id = 'bad'").fetchone() == (1,)
        file.execute("UPDATE instances SET pending_retry = NULL WHERE id = 'bad'")
    file.close()
    await world.open(app(world.outside))
    assert world.outside.heard == ["good", "bad"]
