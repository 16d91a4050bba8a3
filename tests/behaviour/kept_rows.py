"""The law of kept rows: an engine at rest keeps the rows in memory that its store holds.

Every `World` of the library's own tests checks it whenever it has settled, unless it has a crowd of instances.
"""

from __future__ import annotations

from returns.result import Success

from perdure.client.in_process import engine_of
from perdure.engine.resident import Resident
from perdure.programs.future import awaited
from perdure.testing.world import World
from perdure.values.instance import Instance

CROWD = 20
"""With more instances, each check would take as long as the test."""


def check_kept_rows(world: World) -> None:
    """Compare the instances in memory with those that a fresh read of the store finds."""
    if not world.is_open or world.worker.jobs is None:  # it did not start
        return
    worker, engine = world.worker, engine_of(world.worker.jobs)
    residents = engine.residents
    if not residents.may_use_rows or engine.stopped.done():
        return
    kept = [resident for named in residents._jobs.values() for resident in named.values() if _rests(resident)]
    if len(kept) > CROWD:
        return
    for resident in kept:
        before = resident.loaded
        found = worker.look(awaited(world.store.load(resident.address, None, 0)))
        may_differ = resident.loaded is not before or not _rests(resident)  # the engine continued during the read
        if isinstance(found, Success) and not may_differ:
            _compare(resident, found.unwrap().instance)


def _rests(resident: Resident) -> bool:
    return resident.loaded is not None and resident.state == "idle" and resident.is_empty


def _compare(resident: Resident, row: Instance | None) -> None:
    assert resident.row == row, f"the engine keeps {resident.row!r}, and the store holds {row!r}"
    if resident.decoded is not None and row is not None:
        state = resident.job.plan.state
        assert resident.decoded.text == row.state
        decoded = resident.job.decode_state(row)
        assert state.encode(resident.decoded.value) == state.encode(decoded), "the engine keeps another state"
