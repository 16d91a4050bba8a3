"""One logical run has one id, whatever repeats it: ``explanation/claims-and-repeats.md``."""

from __future__ import annotations

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
    ContinuousContext,
    Do,
    Limits,
    Retry,
    Task,
    TaskContext,
    Workflow,
    WorkflowContext,
    effect,
    every,
    program,
    tell,
)
from perdure.programs import sleep
from perdure.values.errors import HookRaised, IdempotencyConflict, InvalidInput, Rejected
from perdure.values.outcome import Completed, Failed, Retrying

HOUR = "1 hour"


@attrs.define
class Bank:
    """An external system that stores the keys of its charges, and whose answers can be lost.

    Attributes:
        keys: the key of each call, with the attempt, the delivery, and whether the program knew of a repeat.
        lost: how many of the next answers are lost.
        broken: how many of the next calls end in an exception.
        suspended: while it is set, calls are not answered.
    """

    keys: list[tuple[str, int, int, bool]] = attrs.Factory(list[tuple[str, int, int, bool]])
    lost: int = 0
    broken: int = 0
    suspended: World | None = None

    async def charge(self, ctx: Any) -> Result[None, Refused]:
        self.keys.append((ctx.run_id, ctx.attempt, ctx.delivery, ctx.is_retry))
        if self.suspended is not None:
            await self.suspended.process.boundary.runtime.future()
        if self.broken > 0:
            self.broken -= 1
            raise RuntimeError("broken")
        if self.lost > 0:
            self.lost -= 1
            return Failure(Refused("no answer"))
        return Success(None)

    @property
    def ids(self) -> set[str]:
        """The distinct keys that it was called with."""
        return {key for key, *_ in self.keys}

    @property
    def marks(self) -> list[tuple[int, int, bool]]:
        """The attempts and deliveries, and whether each was known to be a repeat."""
        return [(attempt, delivery, is_retry) for _, attempt, delivery, is_retry in self.keys]


@effect
def charge(bank: Bank, ctx: Any) -> FutureResult[None, Refused]:
    return FutureResult(bank.charge(ctx))


@program
def pay(ctx: TaskContext[int], amount: int) -> Do[None, Refused, Bank]:
    yield from charge(ctx)
    yield from ctx.update_state(lambda total: total + amount)


@program
def execute(ctx: TaskContext[int] | ContinuousContext[int]) -> Do[None, Refused, Bank]:
    yield from charge(ctx)
    yield from ctx.update_state(lambda total: total + 1)


slowly: Retry[Any] = Retry(3, Backoff.constant(HOUR), jitter=False)
task = Task("paying", state=int, event=int, initial=0, on_event=pay, execute=execute, retry=slowly)
tick = Continuous("ticking", state=int, schedule=every("1 day"), execute=execute)
tried = Continuous("tried", state=int, schedule=every("1 day"), execute=execute, retry=slowly)


async def opened(world: World) -> tuple[Bank, Any]:
    bank = Bank()
    return bank, await world.open(App(bank).with_jobs(task, tick, tried))


@pytest.mark.parametrize("job", [task, tried], ids=lambda job: job.kind)
@on_each_store
async def test_a_trigger_of_a_retrying_run_is_its_next_attempt(world: World, job: Any) -> None:
    """A lost answer, and an operator who presses retry: the bank is called twice with one key."""
    bank, jobs = await opened(world)
    handle = jobs.handle(job)
    if job is tried:
        bank.lost = 1
        await world.run(handle.start("a", 0))
    else:
        await world.run(handle.send("a", 1))
        bank.keys.clear()
        bank.lost = 1
        assert isinstance((await world.run(handle.trigger("a"))).outcome, Retrying)
    assert (await world.run(handle.trigger("a"))).outcome == Completed()
    assert len(bank.ids) == 1
    assert bank.marks == [(1, 1, False), (2, 1, True)]
    assert (await world.run(handle.status("a"))).run_count == 1
    failed = [event.hook for event in await world.history(job.address("a")) if event.type == "job.failed"]
    assert failed == ["execute"]


@pytest.mark.parametrize("job", [task, tried], ids=lambda job: job.kind)
@on_each_store
async def test_a_new_run_abandons_the_failed_one(world: World, job: Any) -> None:
    bank, jobs = await opened(world)
    handle = jobs.handle(job)
    await world.run(handle.start("a", 0) if job is tried else handle.send("a", 1))
    bank.keys.clear()
    bank.lost = 1
    await world.run(handle.trigger("a"))
    assert (await world.run(handle.trigger("a", new_run=True))).outcome == Completed()
    assert len(bank.ids) == 2
    assert bank.marks == [(1, 1, False), (1, 1, False)]


@on_each_store
async def test_a_trigger_continues_a_run_that_failed_for_good_until_the_next_tick(world: World) -> None:
    """By default a continuous job waits for its next tick; the failed run is not lost to a trigger before that."""
    bank, jobs = await opened(world)
    handle = jobs.handle(tick)
    bank.lost = 3
    assert isinstance((await world.run(handle.start("a", 0))).outcome, Failed)
    assert isinstance((await world.run(handle.trigger("a"))).outcome, Failed)
    await world.crash()
    handle = (await world.open(App(bank).with_jobs(task, tick, tried))).handle(tick)
    await world.advance(hours=24)
    assert len(bank.ids) == 2, "the tick is a new run"
    assert bank.marks == [(1, 1, False), (2, 1, True), (1, 1, False)]
    assert (await world.run(handle.trigger("a"))).outcome == Completed()
    assert (len(bank.ids), bank.marks[-1]) == (2, (2, 1, True))
    assert (await world.run(handle.trigger("a"))).outcome == Completed()
    assert (len(bank.ids), bank.marks[-1]) == (3, (1, 1, False)), "nothing is left to continue"


@on_each_store
async def test_the_policy_counts_again_after_a_run_that_failed_for_good(world: World) -> None:
    """A trigger of a run that failed for good gets the attempts of the policy; their numbers continue."""
    bank, jobs = await opened(world)
    handle = jobs.handle(tried)
    bank.lost = 5
    await world.run(handle.start("a", 0))
    await world.advance(hours=3)
    assert (await world.run(handle.status("a"))).status == "scheduled"
    assert isinstance((await world.run(handle.trigger("a"))).outcome, Retrying)
    await world.advance(hours=3)
    assert len(bank.ids) == 1
    assert bank.marks == [(1, 1, False), *((attempt, 1, True) for attempt in (2, 3, 4, 5, 6))]
    assert await world.run(handle.get_state("a")) == 1


@on_each_store
async def test_an_option_of_the_wrong_type_is_refused(world: World) -> None:
    _, jobs = await opened(world)
    wrong: Any = "yes"
    assert isinstance(await world.error_of(jobs.handle(tick).trigger("a", new_run=wrong)), InvalidInput)


# ---------------------------------------------------------------- keyed requests, and messages
@pytest.mark.parametrize("ended", ["typed", "defect"])
@on_each_store
async def test_a_repeated_key_runs_under_the_id_of_the_first(world: World, ended: str) -> None:
    """Also after a restart, and after the end of the instance."""
    bank, jobs = await opened(world)
    if ended == "typed":
        bank.lost = 2
    else:
        bank.broken = 2
    failure = Rejected if ended == "typed" else HookRaised
    assert isinstance(await world.error_of(jobs.handle(task).send("a", 1, idempotency_key="k")), failure)
    assert isinstance(await world.error_of(jobs.handle(task).send("a", 1, idempotency_key="k")), failure)
    await world.crash()
    jobs = await world.open(App(bank).with_jobs(task, tick, tried))
    await world.run(jobs.handle(task).send("a", 1, idempotency_key="k"))
    assert len(bank.ids) == 1
    assert bank.marks == [(1, 1, False), (2, 1, True), (3, 1, True)]
    await world.run(jobs.handle(task).send("a", 1, idempotency_key="k"))
    assert len(bank.keys) == 3
    await world.run(jobs.handle(task).send("a", 1, idempotency_key="another"))
    await world.run(jobs.handle(task).send("b", 1, idempotency_key="k"))
    await world.run(jobs.handle(task).send("b", 1))
    assert len(bank.ids) == 4


@on_each_store
async def test_another_request_with_the_key_of_a_failed_one_is_refused(world: World) -> None:
    """Under the same id, an external system would return the answer to the first."""
    bank, jobs = await opened(world)
    bank.lost = 1
    await world.error_of(jobs.handle(task).send("a", 1, idempotency_key="k"))
    assert isinstance(await world.error_of(jobs.handle(task).send("a", 2, idempotency_key="k")), IdempotencyConflict)
    await world.run(jobs.handle(task).send("a", 1, idempotency_key="k"))
    assert await world.run(jobs.handle(task).get_state("a")) == 1


@on_each_store
async def test_a_claim_that_a_crash_leaves_and_a_terminate_ends_keeps_the_id_for_its_key(world: World) -> None:
    """Nothing is stored of such a request; its id is computed from its address and key."""
    bank, jobs = await opened(world)
    bank.suspended = world
    world.start(jobs.handle(task).send("a", 1, idempotency_key="k"))
    await world.settle()
    await world.crash()
    bank.suspended = None
    bank.broken = 10
    jobs = await world.open(App(bank).with_jobs(task, tick, tried))
    await world.run(jobs.handle(task).terminate("a", interrupt=True))
    bank.broken = 0
    await world.run(jobs.handle(task).send("a", 1, idempotency_key="k"))
    assert len(bank.keys) > 1
    assert len(bank.ids) == 1


@program
def pass_on(_: TaskContext[int], event: str) -> Do[None]:
    yield from tell(task, "a").send(int(event))


sender = Task("sending", state=int, event=str, initial=0, on_event=pass_on)


@on_each_store
async def test_each_delivery_of_a_message_has_one_id(world: World) -> None:
    """After a defect with backoff, over a restart, as a dead letter and after its redrive, which counts on."""
    bank = Bank(broken=5)
    jobs = await world.open(App(bank, limits=Limits(message_deliveries=2)).with_jobs(task, sender))
    await world.run(jobs.handle(sender).send("s", "5"))
    await world.settle()
    await world.crash()
    jobs = await world.open(App(bank, limits=Limits(message_deliveries=2)).with_jobs(task, sender))
    for _ in range(2):
        await world.advance(hours=1)
        (dead,) = await world.run(jobs.dead_letters())
        await world.run(jobs.redrive(dead.message_id))
    await world.advance(hours=1)
    (dead,) = await world.run(jobs.dead_letters()) or (None,)
    assert dead is None or dead.deliveries % 2 == 0
    if dead is not None:
        await world.run(jobs.redrive(dead.message_id))
        await world.advance(hours=1)
    assert len(bank.ids) == 1
    assert bank.marks == [(1, 1, False), *((attempt, 1, True) for attempt in (2, 3, 4, 5, 6))]
    assert await world.run(jobs.handle(task).get_state("a")) == 5
    await world.run(jobs.handle(sender).send("s", "5"))
    await world.settle()
    assert len(bank.ids) == 2


@program
def ship(ctx: WorkflowContext[int]) -> Do[None, Refused, Bank]:
    yield from note(ctx.run_id)
    yield from sleep("1 hour")
    yield from note(ctx.run_id)
    round_ = yield from ctx.state
    if round_ == 0:
        yield from ctx.start_over(1)


@effect
def note(bank: Bank, run_id: str) -> FutureResult[None, Refused]:
    bank.keys.append((run_id, 1, 1, False))
    return FutureResult.from_value(None)


shipping = Workflow("shipping", state=int, run=ship, keep=None)


@on_each_store
async def test_the_events_of_a_workflow_have_the_id_that_its_program_sees(world: World) -> None:
    """From its start until it starts over, whatever it waits for and whichever process continues it."""
    bank = Bank()
    jobs = await world.open(App(bank).with_jobs(shipping))
    await world.run(jobs.handle(shipping).start("a", 0))
    await world.crash()
    await world.open(App(bank).with_jobs(shipping))
    await world.advance(hours=3)
    runs = [event.run_id for event in await world.history(shipping.address("a")) if event.type == "job.executed"]
    seen = [key for key, *_ in bank.keys]
    assert (seen[0], seen[2]) == (seen[1], seen[3])
    assert list(dict.fromkeys(runs)) == list(dict.fromkeys(seen))
    assert len(set(seen)) == 2
