"""The operations of a workflow, for the crash sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from crash_sweep import KEY, Operation, name_of
from world import HasOutside, Refused, World, say

from perdure import (
    App,
    Backoff,
    Do,
    Retry,
    Signal,
    Undo,
    Workflow,
    WorkflowContext,
    fail,
    program,
    saga,
    step,
    step_key,
)
from perdure.client.local_gateway import engine_of
from perdure.jobs.definition import AnyDefinition
from perdure.kinds.workflow.header import header_of
from perdure.programs import gather, race, sleep

go = Signal("go", str)
stop = Signal("stop", str)
Flow = Workflow[Any, Any, Any, Any]
Body = Callable[[WorkflowContext[int]], Any]


@program
def saying(word: str) -> Do[str, Refused, HasOutside]:
    """Say a word with the key of its step, by which the external system can tell a repeat."""
    key = yield from step_key()
    yield from say(f"{word}#{key}")
    return word


# ---------------------------------------------------------------- programs
@program
def two_steps(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    yield from saying("x")
    return (yield from saying("y"))


@program
def sleeping(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    yield from saying("x")
    yield from sleep("2 s")
    yield from ctx.set_state(1)
    yield from sleep("2 s")
    return (yield from saying("y"))


@program
def receiving(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    yield from saying("x")
    word = yield from go.receive()
    other = yield from go.receive().timeout("3 s").attempt()
    return (yield from saying(f"{word} {type(other).__name__}"))


@program
def placed(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    yield from saying(f"x {ctx.id}")
    return (yield from go.receive())


@step
@program
def slow() -> Do[str]:
    yield from sleep("10 s")
    return "slow"


@program
def racing(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    first = yield from race(slow(), go.receive())
    return (yield from saying(first))


@program
def parallel(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    words = yield from gather(saying("x"), saying("y"), sleep("1 s").bind(lambda _: saying("z")))
    return "".join(words)


@program
def undone(undo: Undo[HasOutside], end: Body, ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    yield from undo.after(saying("x"), lambda _: saying("not x"))
    yield from undo.after(saying("y"), lambda _: saying("not y"))
    return (yield from end(ctx))


@program
def failing(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    return (yield from saga(undone, lambda _: fail(Refused("why")), ctx))


@program
def cancelled(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    return (yield from saga(undone, lambda _: go.receive(), ctx))


@program
def counting(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    count = yield from ctx.state
    yield from saying(f"{count}")
    yield from sleep("1 s")
    if count < 2:
        yield from ctx.start_over(count + 1)
    return (yield from saying("over"))


@program
def child_body(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    yield from saying("child")
    yield from sleep("1 s")
    return "value"


child = Workflow("child", state=int, run=child_body, keep=None)


@program
def calling(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    value = yield from child.call("b", 0)
    return (yield from saying(str(value)))


@program
def leaving(ctx: WorkflowContext[int]) -> Do[str, Refused, HasOutside]:
    word = yield from race(go.receive(), waiting.call("b", 0).map(str))
    return (yield from saying(word))


waiting = Workflow("waiting", state=int, run=cancelled, signals=(go,), keep=None)


# ---------------------------------------------------------------- operations
@frozen
class Called:
    """Attributes:
    method: a method of the handle; ``start`` by default.
    given: its arguments after the id.
    options: its keyword arguments.
    id_: the workflow.
    """

    method: str = "start"
    given: tuple[Any, ...] = (0,)
    options: tuple[tuple[str, Any], ...] = ()
    id_: str = "a"


def workflow_with(body: Body, **options: Any) -> Flow:
    """Return a workflow that tries each of its steps twice."""
    retry: Any = Retry(max_attempts=2, delay=Backoff.constant("5 s"), jitter=False)
    return Workflow(
        "flow", state=int, run=body, signals=(go, stop), **{"retry_defects": retry, "keep": None, **options}
    )


async def looks(world: World) -> Any:
    """Return the end of each workflow, and the steps that were heard."""
    jobs = engine_of(world.jobs).jobs
    found: list[Any] = [sorted({name_of(word) for word in world.outside.heard})]
    for (kind, name), job in sorted(jobs.items()):
        for id_ in ("a", "b"):
            row = await world.row(job.address(id_))
            if row is not None:
                found.append((kind, name, id_, row.status, row.state, row.journal_length, _end_of(job, row)))
    return found


def _end_of(job: AnyDefinition, row: Any) -> Any:
    header = header_of(row)
    ended = (
        None if header.ended is None else (header.ended.form, header.ended.value if header.ended.form == "done" else "")
    )
    return ended, header.waiting, header.signals


def operation(
    name: str,
    body: Body,
    called: Called = Called(),
    *before: Called,
    wait_ms: int = 20_000,
    others: tuple[AnyDefinition, ...] = (),
    **options: Any,
) -> Operation:
    """Return the call of a workflow that has been called before, one second apart."""
    job = workflow_with(body, **options)

    async def arrange(world: World) -> None:
        for one in before:
            await world.run(getattr(world.jobs.handle(job), one.method)(one.id_, *one.given))
            await world.advance(s=1)

    return Operation(
        name=f"workflow: {name}",
        app=lambda world: App(world.outside).with_jobs(job, *others),
        arrange=arrange,
        request=lambda world: getattr(world.jobs.handle(job), called.method)(
            "a", *called.given, **dict(called.options), idempotency_key=KEY
        ),
        wait_ms=wait_ms,
        looks=looks,
        marks="step_key",
    )


START, GO = Called(), Called("signal", (go, "now"))
CANCEL = Called("cancel", ("enough",))
DEADLINE = Called("start", (0,), (("within", "10 s"),))
NEXT = Called("signal_with_start", (go, "now", 0), (("if_ended", "start"),))

OPERATIONS = (
    operation("a start, and its steps", two_steps),
    operation("a signal that it waits for", receiving, GO, START),
    operation("a cancellation that undoes its steps", cancelled, CANCEL, START),
)
"""The operations that every run of the tests sweeps over both stores."""

FURTHER = (
    operation("a start that sleeps between its steps", sleeping),
    operation("a signal that it does not wait for", receiving, Called("signal", (stop, "now")), START),
    operation("a signal before it is received", receiving, GO, START, GO),
    operation("a signal during a step", racing, GO, START),
    operation("a signal that starts", receiving, Called("signal_with_start", (go, "now", 0))),
    operation("a signal that starts the next one", receiving, NEXT, START, GO, keep="1 hour"),
    operation("a start with a deadline that undoes its steps", cancelled, DEADLINE, wait_ms=20_000),
    operation("parallel steps", parallel),
    operation("a start that needs a place", two_steps, concurrency=1),
    operation("an end that leaves its place", placed, GO, START, Called(id_="b"), concurrency=1),
    operation("a failure that undoes its steps", failing),
    operation("a start that starts over", counting),
    operation("a start that calls a child", calling, others=(child,)),
    operation("a signal that leaves a child", leaving, GO, START, others=(waiting,)),
    operation("a cancellation that cancels a child", leaving, CANCEL, START, others=(waiting,)),
    operation("an outcome that expires", two_steps, keep="1 hour", wait_ms=3_700_000),
    operation("a pause during a sleep", sleeping, Called("pause", ()), START),
    operation("a resume of an overdue sleep", sleeping, Called("resume", ()), START, Called("pause", ())),
    operation("a terminate", receiving, Called("terminate", ()), START),
    operation("a terminate of one that has a child", calling, Called("terminate", ()), START, others=(child,)),
)
