"""A run whose end cannot be stored is recovered about once a second, however long the store refuses it."""

from typing import Any

from world import World, on_each_store

from perdure import App, Continuous, every
from perdure.programs import Program, succeed
from perdure.testing.world.trace import FaultInjected
from perdure.values.errors import StoreUnavailable


def execute(*_: Any) -> Program[None]:
    return succeed(None)


job = Continuous("job", state=int, schedule=every("1 hour"), execute=execute)


@on_each_store
async def test_recoveries_do_not_multiply(world: World) -> None:
    calls = (await world.open(App(world.outside).with_jobs(job))).handle(job)
    for number in range(1, 200, 2):  # claims are stored, ends are not
        world.fail("commit", StoreUnavailable("commit", "the disk is full"), after=number)
    await world.attempt(calls.start("a", 0))
    await world.advance(s=12)
    refused = [event for event in world.world.trace if isinstance(event.what, FaultInjected)]
    assert 10 <= len(refused) <= 14
