"""Messages between jobs, state from older code to newer, and redriven dead letters, for the sweep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve, frozen
from continuous_operations import Ticks, later
from crash_sweep import KEY, Operation
from debounce_operations import plain as piles
from machine import Add, Mark, OnAlarm, Tell, Total, Wait, app, at, machine, steps
from world import HasOutside, Refused, World, say

from perdure import App, Do, Migrations, Task, TaskContext, program, tell
from perdure.jobs.call import Call

Arrange = Callable[[World], Awaitable[None]]
SETTLED_MS = 10_000


# ---------------------------------------------------------------- messages to other kinds of job
@program
def pass_on(ctx: TaskContext[int], action: str) -> Do[None]:
    """Tell another job."""
    yield from ctx.update_state(lambda total: total + 1)
    if action == "add":
        yield from tell(piles, "a").add(1)
    elif action == "flush":
        yield from tell(piles, "a").flush()
    elif action == "clear":
        yield from tell(piles, "a").clear()
    elif action == "start":
        yield from tell(later, "a").start(Ticks())
    elif action == "trigger":
        yield from tell(later, "a").trigger()
    else:
        yield from tell(later, "a").terminate()


teller = Task("teller", state=int, event=str, initial=0, on_event=pass_on)


def said(world: World) -> list[str]:
    """Return every word that was said, without its mark."""
    return sorted({word.split("#")[0] for word in world.outside.heard})


async def nothing(_: World) -> None:
    """Begin with nothing."""


async def two_in_a_batch(world: World) -> None:
    """Begin with a batch."""
    for number in (1, 2):
        await world.run(world.jobs.handle(piles).add("a", number))


async def started(world: World) -> None:
    """Begin with an instance that waits for its first tick."""
    await world.run(world.jobs.handle(later).start("a", Ticks()))


def telling(name: str, action: str, arrange: Arrange = nothing) -> Operation:
    """Make an operation of an event at which a task sends a message to a job of another kind."""
    target: Any = later if action in {"start", "trigger", "terminate"} else piles

    async def looks(world: World) -> Any:
        handle = world.jobs.handle(target)
        status, state = await world.run(handle.status("a")), await world.run(handle.get_state("a"))
        total = await world.run(world.jobs.handle(teller).get_state("t"))
        return status.status, state, total, said(world)

    return Operation(
        name=f"task: {name}",
        app=lambda world: App(world.outside).with_jobs(teller, piles, later),
        arrange=arrange,
        request=lambda world: world.jobs.handle(teller).send("t", action, idempotency_key=KEY),
        wait_ms=SETTLED_MS,
        looks=looks,
    )


# ---------------------------------------------------------------- older and newer code
@frozen
class InEuros:
    """What older code stores."""

    euros: int = 0


@frozen
class InCents:
    """What newer code stores."""

    cents: int = 0


@program
def deposit(ctx: TaskContext[Any], amount: int) -> Do[None, Refused, HasOutside]:
    """Add, and report in a second."""
    yield from ctx.update_state(lambda account: _more(account, amount))
    yield from ctx.schedule(after="1 second")


def _more(account: Any, amount: int) -> Any:
    if isinstance(account, InEuros):
        return evolve(account, euros=account.euros + amount)
    return evolve(account, cents=account.cents + amount)


@program
def report(ctx: TaskContext[Any]) -> Do[None, Refused, HasOutside]:
    """Describe the state."""
    state = yield from ctx.state
    yield from say(f"{state}#{ctx.attempt}.{ctx.delivery}")


def accounts(state: Any, versions: Any = None) -> Any:
    """Define the job, as some code knows it."""
    return Task(
        "accounts", state=state, event=int, initial=state(), on_event=deposit, execute=report, versions=versions
    )


def in_cents(old: InEuros) -> InCents:
    """Upgrade."""
    return InCents(old.euros * 100)


old = accounts(InEuros)
new = accounts(InCents, Migrations(InEuros).then(in_cents))


def upgrading(name: str, *, written_by: Any, read_by: Any, event: int | None) -> Operation:
    """Make an operation of code over the rows of other code.

    Args:
        name: its name.
        written_by: the job as the code before knew it.
        read_by: the job as it is now.
        event: the event to send; None: only the alarm fires.
    """

    async def arrange(world: World) -> None:
        await world.close()
        jobs = await world.open(App(world.outside).with_jobs(written_by))
        await world.run(jobs.handle(written_by).send("a", 5))
        await world.close()
        await world.open(App(world.outside).with_jobs(read_by))

    async def looks(world: World) -> Any:
        status = await world.run(world.jobs.handle(read_by).status("a"))
        row = await world.row(read_by.address("a"))
        assert row is not None
        return (
            status.status,
            row.state,
            row.state_version,
            row.suspension,
            said(world),
        )

    def request(world: World) -> Call[Any, Any]:
        return world.jobs.handle(read_by).send("a", event, idempotency_key=KEY)

    return Operation(
        name=f"task: {name}",
        app=lambda world: App(world.outside).with_jobs(read_by),
        arrange=arrange,
        request=None if event is None else request,
        wait_ms=SETTLED_MS,
        looks=looks,
    )


# ---------------------------------------------------------------- dead letters, and earlier requests
async def with_a_dead_letter(world: World) -> None:
    """Begin with a message that its target broke on for good, and that it would take by now."""
    world.outside.breaks |= {f"broken#{attempt}.1" for attempt in range(1, 11)}
    await world.run(world.jobs.handle(machine).send("a", steps(Tell("b", (Mark("broken"), Add())))))
    await world.advance(hours=2)
    world.outside.breaks.clear()
    world.outside.heard.clear()


async def asked_before(world: World) -> None:
    """Begin with a request that was answered."""
    await world.run(world.jobs.handle(machine).send("a", steps(Add(), Mark("x")), idempotency_key=KEY))


async def in_a_run(world: World) -> None:
    """Begin with a run that takes long."""
    await world.run(world.jobs.handle(machine).send("a", OnAlarm(10**7, (Wait(500_000), Mark("x"), Add()))))
    world.start(world.jobs.handle(machine).trigger("a"))
    await world.settle()


def machines(name: str, arrange: Arrange, request: Callable[[World], Call[Any, Any]]) -> Operation:
    """Make an operation on machines."""

    async def looks(world: World) -> Any:
        found = []
        for id_ in ("a", "b"):
            row = await world.row(at(id_))
            state = await world.run(world.jobs.handle(machine).get_state(id_))
            found.append((row is not None, state.total if isinstance(state, Total) else None))
        letters = await world.run(world.jobs.dead_letters())
        return found, len(letters), said(world)

    return Operation(
        name=f"task: {name}",
        app=lambda world: app(world.outside, machine),
        arrange=arrange,
        request=request,
        wait_ms=SETTLED_MS,
        looks=looks,
    )


OPERATIONS = (
    telling("a message that adds to a batch", "add"),
    telling("a message that flushes a batch", "flush", two_in_a_batch),
    telling("a message that clears a batch", "clear", two_in_a_batch),
    telling("a message that starts a continuous job", "start"),
    telling("a message that triggers a continuous job", "trigger", started),
    telling("a message that ends a continuous job", "terminate", started),
    upgrading("an event over the state of older code", written_by=old, read_by=new, event=7),
    upgrading("an alarm over the state of older code", written_by=old, read_by=new, event=None),
    upgrading("a state of newer code, which is parked", written_by=new, read_by=old, event=7),
    machines("a redrive of a dead letter", with_a_dead_letter, lambda world: world.jobs.redrive(1)),
    machines(
        "a repeat with the key of an answered request",
        asked_before,
        lambda world: world.jobs.handle(machine).send("a", steps(Add(), Mark("x")), idempotency_key=KEY),
    ),
    machines(
        "a terminate during a run",
        in_a_run,
        lambda world: world.jobs.handle(machine).terminate("a", idempotency_key=KEY),
    ),
)
