"""The context of a run: the user's own code can read which run it belongs to, wherever it is."""

import attrs
from returns.future import FutureResult
from returns.result import Result, Success
from world import World, on_each_store

from perdure import App, Backoff, Do, Retry, Task, TaskContext, TaskErrorContext, effect, fail, program
from perdure.programs import gather
from perdure.runtime.tasks import RunContext, run_context


@attrs.define
class Services:
    """Notes the context of the code that calls it."""

    seen: list[RunContext | None] = attrs.Factory(list[RunContext | None])

    async def note(self) -> Result[None, str]:
        self.seen.append(run_context.get())
        return Success(None)

    def hooks(self) -> list[tuple[str, str, str, int] | None]:
        """For each call, its job, its instance, its hook and its attempt."""
        return [seen and (seen.job, seen.id, seen.hook, seen.attempt) for seen in self.seen]


@effect
def note(services: Services) -> FutureResult[None, str]:
    return FutureResult(services.note())


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None, str, Services]:
    here = run_context.get()
    yield from note()
    yield from gather(note(), note())
    assert run_context.get() == here, "the same before and after the wait for the claim"
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 minute")


@program
def reject(_ctx: TaskContext[int], _event: int) -> Do[None, str, Services]:
    yield from fail("no")


@program
def execute(ctx: TaskContext[int]) -> Do[None, str, Services]:
    yield from note()
    if ctx.attempt == 1:
        yield from fail("again")


@program
def on_idle(_ctx: TaskContext[int]) -> Do[None, str, Services]:
    yield from note()


@program
def on_error(_ctx: TaskErrorContext[int, int], _error: object) -> Do[None, str, Services]:
    yield from note()


job = Task(
    "job",
    state=int,
    event=int,
    errors=str,
    initial=0,
    on_event=on_event,
    execute=execute,
    on_idle=on_idle,
    on_error=on_error,
    retry=Retry(2, Backoff.constant("1 second")),
)


@on_each_store
async def test_effects_of_every_hook_see_their_run(world: World) -> None:
    services = Services()
    jobs = (await world.open(App(services).with_jobs(job))).handle(job)
    await world.run(jobs.send("a", 1))
    assert services.hooks() == [("task:job", "a", "on_event", 1)] * 3
    await world.advance(minutes=10)
    assert services.hooks()[3:] == [
        ("task:job", "a", "execute", 1),
        ("task:job", "a", "execute", 2),
        ("task:job", "a", "on_idle", 2),
    ]
    assert len({seen.run_id for seen in services.seen if seen}) == 2
    assert run_context.get() is None


@on_each_store
async def test_handlers_of_errors_see_their_run(world: World) -> None:
    services = Services()
    rejecting = Task(
        "job", state=int, event=int, errors=str, initial=0, on_event=reject, execute=execute, on_error=on_error
    )
    jobs = (await world.open(App(services).with_jobs(rejecting))).handle(rejecting)
    await world.run(jobs.send("a", 1))
    assert services.hooks() == [("task:job", "a", "on_error", 1)]
