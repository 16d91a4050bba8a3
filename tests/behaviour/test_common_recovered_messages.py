"""``reference/behaviour.md`` 1, *Messages between jobs* and *Claims and repeats*: a crash while a message is served."""

from machine import Add, Call, OnAlarm, Say, Tell, app, at, machine, steps
from world import World, on_each_store

from perdure.client.local_gateway import engine_of


@on_each_store
async def test_a_run_that_a_message_set_going_is_recovered_once(world: World) -> None:
    """Within one store a message is applied exactly once (the receiver's commit consumes it)."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("b", OnAlarm(3_600_000, (Add(), Say("x")))))
    world.suspension("x")
    await world.run(jobs.send("a", steps(Call("b", "trigger"))))
    assert world.outside.heard == ["x"]
    await world.crash()

    world.outside.held.clear()
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.advance(s=5)
    state = await world.run(jobs.get_state("b"))
    assert state is not None
    assert state.total == 1
    assert world.outside.heard == ["x", "x"]
    assert await world.messages() == ()
    assert not engine_of(world.jobs).stopped.done()
    assert (await world.happened(at("b"))).count("job.executed") == 1


@on_each_store
async def test_an_event_that_a_message_brought_is_recovered_once(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.suspension("x")
    await world.run(jobs.send("a", steps(Tell("b", (Add(), Say("x"))), Tell("b", (Add(10),)))))
    assert world.outside.heard == ["x"]
    await world.crash()

    world.outside.held.clear()
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.advance(s=5)
    state = await world.run(jobs.get_state("b"))
    assert state is not None
    assert state.total == 11
    assert world.outside.heard == ["x", "x"]
    assert await world.messages() == ()
    assert not engine_of(world.jobs).stopped.done()
