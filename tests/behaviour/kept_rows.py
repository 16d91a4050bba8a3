"""The law of kept rows: an engine at rest keeps the rows in memory that its store holds.

Every `World` of the library's own tests checks it whenever it has settled, unless it has a crowd of instances.
"""

from __future__ import annotations

from returns.result import Success

from perdure.client.local_gateway import engine_of
from perdure.engine.mailbox.instance_cell import InstanceCell
from perdure.programs.future import awaited
from perdure.stores.contract import load_one
from perdure.testing.world import World
from perdure.values.instance import Instance

CROWD = 20
"""With more instances, each check would take as long as the test."""


def check_kept_rows(world: World) -> None:
    """Compare the instances in memory with those that a fresh read of the store finds."""
    if not world.is_open or world.worker.jobs is None:  # it did not start
        return
    worker, engine = world.worker, engine_of(world.worker.jobs)
    cache = engine.cache
    if not cache.may_use_rows or engine.stopped.done():
        return
    kept = [cell for named in cache._jobs.values() for cell in named.values() if _rests(cell)]
    if len(kept) > CROWD:
        return
    for cell in kept:
        before = cell.loaded
        found = worker.look(awaited(load_one(world.store, cell.address, None, 0)))
        may_differ = cell.loaded is not before or not _rests(cell)  # the engine continued during the read
        if isinstance(found, Success) and not may_differ:
            _compare(cell, found.unwrap().instance)


def _rests(cell: InstanceCell) -> bool:
    return cell.loaded is not None and cell.state == "idle" and cell.is_empty


def _compare(cell: InstanceCell, row: Instance | None) -> None:
    assert cell.row == row, f"the engine keeps {cell.row!r}, and the store holds {row!r}"
    if cell.decoded is not None and row is not None:
        state = cell.job.plan.state
        assert cell.decoded.text == row.state
        decoded = cell.job.decode_state(row)
        assert state.encode(cell.decoded.value) == state.encode(decoded), "the engine keeps another state"
