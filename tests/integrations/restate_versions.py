"""Two versions of one app, which two workers serve to a Restate cluster at the same time."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen
from restate_jobs import Outside, Refused, note

from perdure import App, Do, Signal, Task, TaskContext, Workflow, WorkflowContext, program
from perdure.integrations.restate import restate_app


@frozen
class Work:
    """An event whose handling takes some milliseconds."""

    tag: str
    ms: int = 0


@frozen
class Total:
    n: int = 0


@frozen
class TotalBy:
    """The state of the newer version: it has a field more."""

    n: int = 0
    by: str = ""


done = Signal("done", int)


@program
def add(ctx: TaskContext[Total], event: Work) -> Do[None, Refused, Outside]:
    """Count, as the older version."""
    yield from note(f"{ctx.id} {event.tag} old delivery={ctx.delivery}", event.ms)
    state = yield from ctx.state
    yield from ctx.set_state(evolve(state, n=state.n + 1))


@program
def add_by(ctx: TaskContext[TotalBy], event: Work) -> Do[None, Refused, Outside]:
    """Count, as the newer version."""
    yield from note(f"{ctx.id} {event.tag} new delivery={ctx.delivery}", event.ms)
    state = yield from ctx.state
    yield from ctx.set_state(evolve(state, n=state.n + 1, by=f"{state.by}{event.tag}"))


@program
def run(ctx: TaskContext[Any]) -> Do[None, Refused, Outside]:
    """Run an alarm: no test sets one."""
    yield from ctx.terminate("unused")


@program
def wait(ctx: WorkflowContext[int]) -> Do[int, Refused, Outside]:
    """Wait for a signal: both versions have this workflow."""
    yield from note(f"{ctx.id} begins")
    given = yield from done.receive()
    yield from note(f"{ctx.id} ends", 100)
    return given


old: Task[Any, Any, Any, Any] = Task("totals", state=Total, event=Work, initial=Total(), on_event=add, execute=run)
new: Task[Any, Any, Any, Any] = Task(
    "totals", state=TotalBy, event=Work, initial=TotalBy(), on_event=add_by, execute=run
)
waits: Workflow[Any, Any, Any] = Workflow("waits", state=int, run=wait, result=int, signals=(done,))

old_application = restate_app(App(Outside()).with_jobs(old, waits))
new_application = restate_app(App(Outside()).with_jobs(new, waits))
