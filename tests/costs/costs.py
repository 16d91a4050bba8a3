"""The costs of a class of requests, counted: the engine over a real SQLite file, in a simulated world.

Counted is one request after its instance and its statements have been met before, and everything that it sets in
motion. Nothing depends on time or on the machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

from attrs import evolve, field, frozen
from disk import Wrote
from recording import Recorder, open_recorded
from returns.result import Result, Success

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    Limits,
    Task,
    TaskContext,
    every,
    program,
    tell,
)
from perdure.client.client import Client
from perdure.programs import effect
from perdure.runtime.simulated import Simulation

PAGE = 4_096
SOON = "7 minutes"  # not when the engine keeps house, every ten minutes
MOMENT_MS = 0.001  # the clock moves only when nothing else can


# ---------------------------------------------------------------- the jobs
@frozen
class Order:
    """A small state."""

    name: str = "order"
    total: int = 0


@frozen
class Change:
    """An event: add, and do these as well."""

    amount: int = 1
    besides: tuple[str, ...] = ()


@effect
def call(services: object) -> Result[None, Any]:
    """Reach outside."""
    return Success(None)


@program
def change(ctx: TaskContext[Order], event: Change) -> Do[None, Any, object]:
    """Do as the event says."""
    yield from ctx.update_state(lambda order: evolve(order, total=order.total + event.amount))
    if "alarm" in event.besides:
        yield from ctx.schedule(after=SOON)
    if "distant alarm" in event.besides:
        yield from ctx.schedule(after="1 day")
    if "effect" in event.besides:
        yield from call()
    if "tell" in event.besides:
        yield from tell(order_job, "told").send(Change())


@program
def fire(ctx: TaskContext[Order]) -> Do[None, Any, object]:
    """Reach outside, and count."""
    yield from call()
    yield from ctx.update_state(lambda order: evolve(order, total=order.total + 1))


@program
def tick(ctx: ContinuousContext[Order]) -> Do[None, Any, object]:
    """Reach outside, and count."""
    yield from call()
    yield from ctx.update_state(lambda order: evolve(order, total=order.total + 1))


@program
def collect(ctx: DebounceContext[Order], amount: int) -> Do[None, Any, object]:
    """Add."""
    yield from ctx.update_state(lambda order: evolve(order, total=order.total + amount))


@program
def flush(ctx: DebounceContext[Order]) -> Do[None, Any, object]:
    """Reach outside."""
    yield from call()


order_job = Task("order", state=Order, event=Change, initial=Order(), on_event=change, execute=fire)
clock = Continuous("clock", state=Order, schedule=every(SOON), execute=tick)
batches = Debounce(
    "batches", event=int, state=Order, initial=Order(), flush_after="1 minute", on_event=collect, execute=flush
)

JOBS = (order_job, clock, batches)


# ---------------------------------------------------------------- the count
@frozen(kw_only=True)
class Cost:
    """The operations counted.

    Attributes:
        commits: transactions.
        hops: thread round trips to the driver.
        statements: those of transactions included.
        rows: written or deleted.
        wal_pages: of 4,096 bytes, written to the log.
        wal_bytes: the same in bytes, with 24 for each page that the log adds.
    """

    commits: int
    hops: int
    statements: int
    rows: int
    wal_pages: int
    wal_bytes: int


@frozen
class Office:
    """An open engine over a recorded store, whose spending is counted.

    Attributes:
        jobs: the client.
        simulation: the world.
        recorder: what counts.
    """

    jobs: Client
    simulation: Simulation
    recorder: Recorder

    async def passes(self, **time: int) -> None:
        """Let time pass."""
        units = {"ms": 1, "s": 1_000, "minutes": 60_000, "hours": 3_600_000}
        await self.simulation.runtime.sleep(sum(units[unit] * count for unit, count in time.items()) + MOMENT_MS)

    async def together(self, calls: list[Any]) -> None:
        """Make calls at the same moment."""
        tasks = [self.simulation.runtime.spawn(each, name="caller") for each in calls]
        for task in tasks:
            await task

    def spent(self) -> Cost:
        """Return the costs so far."""
        assert self.recorder.connection is not None
        written = [entry for entry in self.recorder.log if isinstance(entry, Wrote)]
        pages = [entry for entry in written if entry.file == self.recorder.number("jobs.db-wal")]
        words = [statement.split(maxsplit=1)[0] for statement in self.recorder.statements]
        return Cost(
            commits=words.count("COMMIT"),
            hops=self.recorder.hops,
            statements=len(words),
            rows=self.recorder.connection.total_changes(),
            wal_pages=sum(len(entry.data) == PAGE for entry in pages),
            wal_bytes=sum(len(entry.data) for entry in pages),
        )


Act: TypeAlias = Callable[[Office], Awaitable[object]]


async def nothing(office: Office) -> None:
    """Do nothing before."""


@frozen(kw_only=True)
class Class:
    """A class of requests.

    Attributes:
        name: its name in the table.
        before: the preparation, uncounted.
        act: the counted requests.
        cache_bytes: maximum size of the cache of recent instances; 0: it must read each instance.
        limits: of the app.
    """

    name: str
    before: Act = nothing
    act: Act
    cache_bytes: int = field(default=1 << 20)
    limits: Limits = field(factory=Limits)


def cost_of(request_class: Class, folder: Path, watched: AbstractContextManager[object] | None = None) -> Cost:
    """Count.

    Args:
        request_class: the class of requests.
        folder: where the file goes; empty.
        watched: entered around the counted requests.
    """
    recorder = Recorder(f"costs-{id(folder)}")
    simulation = Simulation(order="fifo")

    async def counted() -> Cost:
        store = await open_recorded(
            folder / "jobs.db", recorder, cache_bytes=request_class.cache_bytes, runtime=simulation.runtime
        )
        # The engine inspects the first runs of each hook, which encodes states again; the table is of later runs.
        async with (
            App(object(), limits=request_class.limits)
            .with_jobs(*JOBS)
            .open(store, runtime=simulation.runtime, debug=False) as jobs
        ):
            office = Office(jobs, simulation, recorder)
            await office.passes(ms=1)
            await request_class.before(office)
            await office.passes(ms=1)
            before = office.spent()
            with watched or nullcontext():
                await request_class.act(office)
                await office.passes(ms=1)
            return minus(office.spent(), before)

    try:
        return simulation.run(counted())
    finally:
        simulation.close()
        recorder.unregister()


def minus(after: Cost, before: Cost) -> Cost:
    """Return the costs between two counts."""
    spent = {name: getattr(after, name) - getattr(before, name) for name in Cost.__slots__ if name != "__weakref__"}
    return Cost(**spent)
