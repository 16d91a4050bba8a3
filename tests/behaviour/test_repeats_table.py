"""Every cell of the table in ``explanation/claims-and-repeats.md``: the marks that a repeat shares with the first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from returns.future import FutureResult
from returns.result import Failure, Result, Success
from world import Refused, World, on_each_store

from perdure import (
    App,
    Backoff,
    Continuous,
    Debounce,
    Do,
    Limits,
    Retry,
    Task,
    WorkerPool,
    Workflow,
    effect,
    every,
    program,
    step_key,
    tell,
)
from perdure.programs import sleep

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "claims-and-repeats.md"
NONE = "–"  # noqa: RUF001 - the page's dash
KINDS = ("run of a continuous job", "flush", "`execute` of a task", "event", "item of a pool", "step")


@attrs.define
class Bank:
    """Remembers the key, the attempt and the delivery of each call.

    Attributes:
        calls: the calls.
        silent: while it is set, calls are not answered.
        refuses: how many of the next calls are refused.
        breaks: how many of the next calls end in an exception.
    """

    calls: list[tuple[str, int, int]] = attrs.Factory(list[tuple[str, int, int]])
    silent: World | None = None
    refuses: int = 0
    breaks: int = 0

    async def charge(self, key: str, attempt: int, delivery: int) -> Result[None, Refused]:
        self.calls.append((key, attempt, delivery))
        if self.silent is not None and self.silent.process.boundary is not None:
            await self.silent.process.boundary.runtime.future()
        if self.breaks > 0:
            self.breaks -= 1
            raise RuntimeError("out of order")
        if self.refuses > 0:
            self.refuses -= 1
            return Failure(Refused())
        return Success(None)


@effect
def charge(bank: Bank, key: str, attempt: int = 1, delivery: int = 1) -> FutureResult[None, Refused]:
    return FutureResult(bank.charge(key, attempt, delivery))


@program
def work(ctx: Any) -> Do[None, Refused, Bank]:
    yield from charge(ctx.run_id, ctx.attempt, ctx.delivery)


@program
def on_event(ctx: Any, _: int) -> Do[None, Refused, Bank]:
    yield from charge(ctx.run_id, ctx.attempt, ctx.delivery)


@program
def run(ctx: Any) -> Do[None, Refused, Bank]:
    key = yield from step_key()
    yield from charge(key)
    yield from sleep("1 day")
    yield from ctx.start_over(1)


@program
def pass_on(_: Any, event: int) -> Do[None]:
    yield from tell(event_job, "a").send(event)


retry: Retry[Any] = Retry(3, Backoff.constant("1 hour"), jitter=False, on_exhausted="park")
once: Retry[Any] = Retry(1)
tick = Continuous("tick", state=int, schedule=every("1 day"), execute=work, retry=retry)
given_up = Continuous("given-up", state=int, schedule=every("1 day"), execute=work, retry=once)
batch = Debounce("batch", event=int, flush_after="1 day", execute=work, retry=retry)
runner = Task(
    "runner", state=int, event=int, initial=0, on_event=lambda _, __: Success(None), execute=work, retry=retry
)
event_job = Task("event", state=int, event=int, initial=0, on_event=on_event)
pool = WorkerPool("pool", item=int, work=work, retry=retry)
flow = Workflow("flow", state=int, run=run, retry_defects=retry)
sender = Task("sender", state=int, event=int, initial=0, on_event=pass_on)
JOBS: dict[str, Any] = dict(zip(KINDS, (tick, batch, runner, event_job, pool, flow), strict=True))


@attrs.define
class Scene:
    """One cell: a kind, in a world with a bank."""

    world: World
    kind: str
    bank: Bank = attrs.Factory(Bank)

    async def open(self) -> None:
        limits = Limits(message_deliveries=1, shutdown_timeout="1 second")
        app = App(self.bank, limits=limits).with_jobs(*JOBS.values(), given_up, sender)
        await self.world.open(app)

    @property
    def handle(self) -> Any:
        return self.world.jobs.handle(JOBS[self.kind])

    def first(self, key: str = "k", id_: str = "a") -> FutureResult[Any, Any]:
        """The request whose run performs the effect."""
        match self.kind:
            case "run of a continuous job" | "step":
                return self.handle.start(id_, 0, idempotency_key=key)
            case "flush":
                return self.handle.flush(id_, idempotency_key=key)
            case "`execute` of a task":
                return self.handle.trigger(id_, idempotency_key=key)
            case "event":
                return self.handle.send(id_, 0, idempotency_key=key)
            case _:
                return self.handle.put(id_, 0, idempotency_key=key)

    async def prepare(self) -> None:
        """Create the instance, where another request than the first does."""
        if self.kind == "flush":
            await self.world.run(self.handle.add("a", 0))
        elif self.kind == "`execute` of a task":
            await self.world.run(self.handle.send("a", 0))

    async def begin(self, key: str = "k") -> None:
        await self.prepare()
        await self.world.attempt(self.first(key))
        await self.world.settle()

    def fail(self, times: int) -> None:
        """Fail the next calls: by their typed error, or by an exception where the policy retries only those."""
        if self.kind == "step":
            self.bank.breaks = times
        else:
            self.bank.refuses = times

    def again(self, **options: Any) -> FutureResult[Any, Any]:
        name = "flush" if self.kind == "flush" else "trigger"
        return getattr(self.handle, name)("a", **options)

    async def begin_in_silence(self) -> None:
        await self.prepare()
        self.bank.silent = self.world
        self.world.start(self.first())
        await self.world.settle()


async def after_a_crash(scene: Scene) -> None:
    await scene.begin_in_silence()
    await scene.world.crash()
    await scene.open()
    await scene.world.settle()


async def after_a_stop(scene: Scene) -> None:
    await scene.begin_in_silence()
    await scene.world.close()
    await scene.open()
    await scene.world.settle()


async def by_the_policy(scene: Scene) -> None:
    scene.fail(1)
    await scene.begin()
    await scene.world.advance(hours=1)


async def by_hand(scene: Scene) -> None:
    scene.bank.refuses = 1
    await scene.begin()
    await scene.world.run(scene.again())
    await scene.world.settle()


async def by_hand_at_the_end(scene: Scene) -> None:
    handle = scene.world.jobs.handle(given_up)
    scene.bank.refuses = 1
    await scene.world.run(handle.start("a", 0))
    await scene.world.run(handle.trigger("a"))


async def as_a_new_run(scene: Scene) -> None:
    scene.bank.refuses = 1
    await scene.begin()
    await scene.world.run(scene.again(new_run=True))


async def resumed(scene: Scene) -> None:
    scene.fail(3)
    await scene.begin()
    await scene.world.advance(hours=3)
    await scene.world.run(scene.handle.resume("a"))
    await scene.world.settle()


async def parked_by_crashes(scene: Scene) -> None:
    await scene.begin_in_silence()
    for _ in range(3):
        await scene.world.crash()
        await scene.open()
        await scene.world.settle()
    scene.bank.silent = None
    assert (await scene.world.run(scene.handle.status("a"))).parked == "recovery_exhausted"


async def resumed_after_crashes(scene: Scene) -> None:
    await parked_by_crashes(scene)
    await scene.world.run(scene.handle.resume("a"))
    await scene.world.settle()


async def keyed(scene: Scene) -> None:
    scene.bank.refuses = 1
    await scene.begin()
    await scene.world.attempt(scene.first())
    await scene.world.settle()


async def terminated(scene: Scene) -> None:
    await parked_by_crashes(scene)
    await scene.world.run(scene.handle.terminate("a"))
    await scene.world.run(scene.first())


async def redriven(scene: Scene) -> None:
    scene.bank.breaks = 1
    await scene.world.run(scene.world.jobs.handle(sender).send("s", 0))
    await scene.world.settle()
    (letter,) = await scene.world.run(scene.world.jobs.dead_letters())
    await scene.world.run(scene.world.jobs.redrive(letter.message_id))
    await scene.world.settle()


async def another(scene: Scene) -> None:
    await scene.begin()
    if scene.kind in {"run of a continuous job", "step"}:
        await scene.world.advance(hours=25)
    elif scene.kind == "item of a pool":
        await scene.world.run(scene.first("l", "b"))
        await scene.world.settle()
    else:
        await scene.begin("l")


ROWS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "after a crash": after_a_crash,
    "after a graceful stop, as in a deploy": after_a_stop,
    "after a failure, by the retry policy": by_the_policy,
    "`trigger`, `flush` or `retry` before the retry is due": by_hand,
    "`trigger` of a run that failed for good": by_hand_at_the_end,
    "`trigger(new_run=True)` of a failed run": as_a_new_run,
    "`resume`, after its retries were exhausted": resumed,
    "`resume`, after three crashes": resumed_after_crashes,
    "the failed request again, with its key": keyed,
    "the request again with its key, after three crashes and `terminate`": terminated,
    "the message again: after a defect, and as a redriven dead letter": redriven,
    "another tick, request or item; `start_over`": another,
}


def table() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def cells() -> list[tuple[str, str, str]]:
    head = next(number for number, row in enumerate(table()) if row[0] == "repeat")
    return [
        (row[0], kind, text)
        for row in table()[head + 1 : head + 1 + len(ROWS)]
        for kind, text in zip(KINDS, row[1:], strict=True)
    ]


def word(kind: str, calls: list[tuple[str, int, int]]) -> str:
    """Name the marks that the last call shares with the one before, as the table does."""
    if len(calls) == 1:
        return "first answer"
    (key, attempt, delivery), (again, later_attempt, later_delivery) = calls[-2:]
    if kind == "step":
        return "same key" if again == key else "new key"
    if again != key:
        return "new run"
    if later_attempt > attempt:
        return "next attempt"
    return "next delivery" if later_delivery > delivery else "same run"


def test_the_table_has_every_kind_and_every_repeat() -> None:
    (head,) = [row for row in table() if row[0] == "repeat"]
    assert tuple(head[1:]) == KINDS
    assert [repeat for repeat, *_ in cells()][:: len(KINDS)] == list(ROWS)


@pytest.mark.parametrize(
    ("repeat", "kind", "text"), [cell for cell in cells() if cell[2] != NONE], ids=lambda cell: cell.strip("`")
)
@on_each_store
async def test_a_repeat_has_the_marks_of_the_table(world: World, repeat: str, kind: str, text: str) -> None:
    scene = Scene(world, kind)
    await scene.open()
    await ROWS[repeat](scene)
    scene.bank.silent = None
    assert word(kind, scene.bank.calls) == text, scene.bank.calls
