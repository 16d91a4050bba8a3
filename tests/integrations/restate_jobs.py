"""The jobs of the tests on Restate, and the application that their worker serves."""

from __future__ import annotations

import asyncio
import os
from typing import Any, TypeAlias

from attrs import evolve, frozen
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Defect,
    Do,
    Promise,
    Published,
    Reply,
    Retry,
    Signal,
    Task,
    TaskContext,
    Update,
    Workflow,
    WorkflowContext,
    effect,
    every,
    fail,
    program,
    succeed,
    tell,
)
from perdure.integrations.restate import restate_app
from perdure.programs import sleep

NOTES = os.environ.get("RESTATE_NOTES", os.devnull)
"""The file outside of the cluster that remembers each effect."""


class Outside:
    """An external system, which remembers each call for ever."""

    def write(self, line: str) -> None:
        """Append a line in one write."""
        file = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{line}\n".encode())
        os.close(file)


@frozen
class Refused:
    why: str


@effect
async def note(services: Outside, line: str, ms: int = 0) -> Result[str, Refused]:
    """Note the begin and the end of a call that takes some milliseconds."""
    services.write(f"begin {line}")
    await asyncio.sleep(ms / 1000)
    services.write(f"end {line}")
    return Success(line) if "refuse" not in line else Failure(Refused(line))


@frozen
class Count:
    n: int = 0
    fired: int = 0
    failing: int = 0
    ms: int = 0
    seen: str = ""


@frozen
class Add:
    by: int = 1


@frozen
class Arm:
    ms: int


@frozen
class Disarm:
    pass


@frozen
class Boom:
    pass


@frozen
class Slow:
    ms: int
    tag: str = "slow"


@frozen
class Failing:
    times: int


@frozen
class Tell:
    target: str
    by: int
    then: str = ""


@frozen
class End:
    pass


@frozen
class SlowRun:
    """Arms a run that takes some milliseconds."""

    ms: int


Event: TypeAlias = Add | Arm | Disarm | Boom | Slow | Failing | Tell | End | SlowRun


@program
def on_event(ctx: TaskContext[Count], event: Event) -> Do[None, Refused, Outside]:  # noqa: C901 - one case for each event
    """Handle an event."""
    state = yield from ctx.state
    match event:
        case Add(by) if by < 0:
            yield from ctx.set_state(Count(n=999))
            yield from fail(Refused("negative"))
        case Add(by):
            yield from ctx.set_state(evolve(state, n=state.n + by))
        case Arm(ms):
            yield from ctx.schedule(after=f"{ms} ms")
        case Disarm():
            yield from ctx.cancel_schedule()
        case Boom():
            yield from ctx.set_state(Count(n=999))
            raise RuntimeError("boom")
        case Slow(ms, tag):
            yield from note(f"{ctx.id} {tag} delivery={ctx.delivery} run={ctx.run_id}", ms)
            yield from ctx.set_state(evolve(state, n=state.n + 1, seen=f"{tag}:{ctx.delivery}"))
        case Failing(times):
            yield from ctx.set_state(evolve(state, failing=times))
            yield from ctx.schedule(after="10 ms")
        case Tell(target, by, then):
            yield from tell(counts, target).send(Add(by))
            lasts_ms = {"slow": 30, "long": 700}.get(then)
            yield from tell(counts, target).send(Add(by) if lasts_ms is None else Slow(lasts_ms, "told"))
            yield from ctx.set_state(evolve(state, n=state.n + 1))
            if then == "raise":
                raise RuntimeError("its messages are not sent")
            if then == "end":
                yield from ctx.terminate("done")
        case End():
            yield from ctx.terminate("done")
        case SlowRun(ms):
            yield from ctx.set_state(evolve(state, ms=ms))
            yield from ctx.schedule(after="10 ms" if ms < 10_000 else "1 hour")


@program
def execute(ctx: TaskContext[Count]) -> Do[None, Refused, Outside]:
    """Run an alarm."""
    state = yield from ctx.state
    yield from note(
        f"{ctx.id} execute attempt={ctx.attempt} delivery={ctx.delivery} run={ctx.run_id}", state.ms % 10_000
    )
    if ctx.attempt <= state.failing:
        yield from fail(Refused(f"attempt {ctx.attempt}"))
    yield from ctx.set_state(evolve(state, fired=state.fired + 1, seen=f"{ctx.attempt}/{ctx.delivery}"))


counts: Task[Any, Any, Any, Any] = Task(
    "counts",
    state=Count,
    event=Event,
    initial=Count(),
    on_event=on_event,
    execute=execute,
    retry=Retry(max_attempts=3, delay=Backoff.constant("300 ms"), jitter=False),
)
brief: Task[Any, Any, Any, Any] = Task(
    "brief", state=Count, event=Event, initial=Count(), on_event=on_event, execute=execute, run_timeout="300 ms"
)


@program
def tick(ctx: ContinuousContext[int]) -> Do[None, Refused, Outside]:
    """Count."""
    state = yield from ctx.state
    yield from note(f"{ctx.id} tick {ctx.run_count}")
    yield from ctx.set_state(state + 1)


beats = Continuous("beats", state=int, schedule=every("300 ms"), execute=tick)


@program
def flush(ctx: DebounceContext[int]) -> Do[None, Refused, Outside]:
    """Note the batch."""
    state = yield from ctx.state
    yield from note(f"{ctx.id} flush state={state} events={ctx.event_count} delivery={ctx.delivery}", 300)


batches = Debounce("batches", event=int, flush_after="400 ms", execute=flush)
go = Signal("go", int)


@program
def three(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    """Three steps, a signal and a timer."""
    yield from note(f"{ctx.id} one")
    got = yield from go.receive()
    yield from note(f"{ctx.id} two", 300)
    yield from sleep("300 ms")
    yield from note(f"{ctx.id} three")
    return f"{got}"


flows = Workflow("flows", state=int, run=three, signals=(go,))


@program
def packing(ctx: WorkflowContext[str]) -> Do[str, Refused, Outside]:
    """A child."""
    state = yield from ctx.state
    yield from note(f"{ctx.id} packing {state}", 2_000 if state == "slow" else 20)
    return f"{state}!"


packed = Workflow("packed", state=str, run=packing)


@program
def shipping(ctx: WorkflowContext[int]) -> Do[str, Refused | Defect, Outside]:
    """A parent."""
    return (yield from packed.call(f"{ctx.id}-child", "one"))


shipped = Workflow("shipped", state=int, run=shipping)

till = Reply("till", int)


@program
def take(ctx: TaskContext[int], cents: int) -> Do[None, Refused, Outside]:
    """Take from a till, and reply with the rest."""
    total = yield from ctx.state
    if cents > total:
        yield from fail(Refused(f"only {total}"))
    yield from note(f"{ctx.id} take {cents}")
    yield from ctx.set_state(total - cents)
    yield from till.send(total - cents)


tills = Task("tills", state=int, event=int, initial=100, on_event=take, replies=(till,))
raise_by = Update("raise_by", int, int)
taken, paid = Published("taken", int), Promise("paid", int)


@program
def buying(ctx: WorkflowContext[int]) -> Do[str, Refused | Defect, Outside]:
    """Ask a till, answer an update, publish a value, and wait for a promise."""
    rest = yield from tills.ask(ctx.id, (yield from ctx.state), till)
    yield from raise_by.answer(lambda number: succeed(rest + number))
    yield from taken.publish(rest)
    return f"{rest} {(yield from paid.wait())}"


buyers = Workflow("buyers", state=int, run=buying, updates=(raise_by,), publishes=(taken,), promises=(paid,))

JOBS: tuple[Any, ...] = (counts, brief, beats, batches, flows, packed, shipped, tills, buyers)
application = restate_app(App(Outside()).with_jobs(*JOBS))
