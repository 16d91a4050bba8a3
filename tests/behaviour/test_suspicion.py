"""After a death, events are claimed before they are handled: a handler without effects may have killed the process."""

from typing import Any

from returns.result import Success
from world import World, on_each_store

from perdure import App, Debounce, Decision, Task
from perdure.programs import Program, succeed
from perdure.values.transition import Put

job: Task[Any, Any, Any, Any] = Task(
    "job", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state + event))
)


def flushed(*_: Any) -> Program[Any]:
    return succeed(None)


batch: Debounce[Any, Any, Any, Any] = Debounce("batch", event=int, flush_after="1 hour", execute=flushed)


def app(world: World) -> App[Any]:
    return App(world.outside).with_jobs(job, batch)


async def cost(world: World) -> list[int]:
    """Say how many commits an event of each kind costs, and check that the first of two is a claim."""
    costs = []
    for call in (world.jobs.handle(job).send("a", 1), world.jobs.handle(batch).add("a", 1)):
        before = len(world.commits)
        await world.unwrap(call)
        commits = world.commits[before:]
        costs.append(len(commits))
        claimed = [isinstance(each.write, Put) and each.write.instance.event_claim is not None for each in commits]
        assert claimed == [True] * (len(commits) - 1) + [False]
    return costs


@on_each_store
async def test_an_event_costs_a_second_commit_for_a_minute_after_a_death_only(world: World) -> None:
    await world.open(app(world))
    assert await cost(world) == [1, 1]
    await world.close()
    await world.open(app(world))
    assert await cost(world) == [1, 1], "the engine before was closed"
    await world.crash()
    await world.open(app(world))
    assert await cost(world) == [2, 2]
    await world.advance(ms=59_999)
    assert await cost(world) == [2, 2]
    await world.advance(ms=1)
    assert await cost(world) == [1, 1]
    assert await world.unwrap(world.jobs.handle(job).get_state("a")) == 5


@on_each_store
async def test_a_first_event_that_is_claimed_and_fails_leaves_no_instance(world: World) -> None:
    """As without the claim: a failed run leaves no trace."""

    def refuse(*_: Any) -> Any:
        raise ZeroDivisionError

    broken: Any = Task("job", state=int, event=int, initial=0, on_event=refuse)
    await world.open(App(world.outside).with_jobs(broken))
    await world.crash()
    jobs = await world.open(App(world.outside).with_jobs(broken))
    await world.error_of(jobs.handle(broken).send("a", 1))
    assert await world.row(broken.address("a")) is None
