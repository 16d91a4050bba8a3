"""The calls of a task, as ``behaviour.md`` 4 lists them."""

from attrs import evolve, frozen
from world import World, on_each_store

from perdure import Do, Engine, Task, TaskContext, program


@frozen
class Count:
    total: int = 0


@frozen
class Add:
    amount: int = 1


@program
def on_add(ctx: TaskContext[Count], event: Add) -> Do[None]:
    state = yield from ctx.state
    yield from ctx.set_state(evolve(state, total=state.total + event.amount))
    yield from ctx.schedule(after="5 s")


counter = Task("counter", state=Count, event=Add, initial=Count(), on_event=on_add)


@on_each_store
async def test_an_event_creates_what_is_absent(world: World) -> None:
    jobs = (await world.open(Engine(world.outside).jobs(counter))).of(counter)
    sent = await world.ask(jobs.send("a", Add()))
    assert sent.created
    await world.advance(s=5)
    assert await world.happened(counter.address("a")) == ["job.started", "task.scheduled", "job.executed"]
    await world.crash()
    jobs = (await world.open(Engine(world.outside).jobs(counter))).of(counter)
    assert await world.ask(jobs.get_state("a")) == Count(1)
    await world.close()
