"""Updates: requests that a running workflow's program answers, with a reply or a typed error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import frozen
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import App, Do, Limits, Signal, Update, Workflow, WorkflowContext, effect, fail, program
from perdure.client.client import Client, gateway_of
from perdure.client.local_gateway import engine_of
from perdure.kinds.workflow.run_commits import MAX_KEPT_REPLIES
from perdure.programs import race, sleep, succeed
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done, WasCancelled
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput, Overloaded, Rejected
from perdure.values.status_wait import UpdateUnanswered, WaitOver


@frozen
class TooMuch:
    most: int


@attrs.define
class Bank:
    """Attributes:
    paid: the amounts.
    """

    paid: list[int] = attrs.Factory(list[int])


@effect
def pay(services: Bank, cents: int) -> FutureResult[int, TooMuch]:
    if cents > 100:
        return FutureResult.from_failure(TooMuch(100))
    services.paid.append(cents)
    return FutureResult.from_value(sum(services.paid))


spend = Update("spend", int, int, TooMuch)
rename = Update("rename", str, str)
stop = Signal("stop", str)
again = Signal("again", int)


@program
def renamed(name: str) -> Do[str]:
    yield from sleep("1 second")
    return name.upper()


@program
def account(ctx: WorkflowContext[int]) -> Do[str, Any, Bank]:
    wanted = yield from ctx.state
    for _ in range(wanted):
        answered = yield from spend.answer(pay)
        if isinstance(answered, Success):
            yield from ctx.set_state(answered.unwrap())
    if wanted == 9:
        yield from ctx.start_over(1)
    name = yield from race(rename.answer(renamed).map(lambda outcome: outcome.unwrap()), stop.receive())
    return str(name)


flow = Workflow("flow", state=int, run=account, signals=(stop, again), updates=(spend, rename), keep="1 day", inbox=3)


def opened(place: Any = "memory://", bank: Bank | None = None, **options: Any) -> World:
    return World(App(Bank() if bank is None else bank, **options).with_jobs(flow), store=place)


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_an_update_is_answered_by_the_program_with_a_reply_or_a_typed_error(store: str, tmp_path: Path) -> None:
    with opened(store if "://" in store else tmp_path / store) as world:
        flows = world.handle(flow)
        world.run(flows.start("a", 3))
        assert world.run(flows.update("a", spend, 30, idempotency_key="1")) == 30
        refused = world.error_of(flows.update("a", spend, 300, idempotency_key="2"))
        assert isinstance(refused, Rejected)
        assert refused.error == TooMuch(100)
        assert world.run(flows.update("a", spend, 12, idempotency_key="3")) == 42
        # The same key: the same reply, and nothing is performed again.
        assert world.run(flows.update("a", spend, 30, idempotency_key="1")) == 30
        assert isinstance(world.error_of(flows.update("a", spend, 300, idempotency_key="2")), Rejected)
        assert world.run(flows.update("a", rename, "ann", idempotency_key="4")) == "ANN"
        assert world.run(flows.outcome("a")) == Done(value="ANN")
        assert world.run(flows.update("a", spend, 12, idempotency_key="3")) == 42  # also of an ended one
        assert [step.name for step in world.run(flows.steps("a"))][:3] == ["update spend", "pay", "reply spend"]


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_caller_whose_wait_or_connection_ended_asks_again_and_gets_the_same_reply(store: str, tmp_path: Path) -> None:
    bank = Bank()
    with opened(store if "://" in store else tmp_path / store, bank) as world:
        flows = world.handle(flow)
        world.run(flows.start("a", 1))
        world.run(flows.update("a", spend, 5, idempotency_key="1"))
        late = world.error_of(flows.update("a", spend, 7, idempotency_key="2", timeout="1 minute"))
        assert isinstance(late, WaitOver)
        assert "repeat the call with the same key" in str(late)
        begun = world.start(flows.update("a", rename, "ann", idempotency_key="3", timeout="1 hour"))
        world.settle()
        world.crash()
        world.open()
        assert not begun.is_answered
        assert world.run(flows.update("a", rename, "ann", idempotency_key="3")) == "ANN"
        assert isinstance(world.error_of(flows.update("a", spend, 7, idempotency_key="2")), UpdateUnanswered)
        assert bank.paid == [5]


@pytest.mark.parametrize("point", range(1, 14))
def test_an_update_is_answered_once_whatever_dies(point: int) -> None:
    bank = Bank()
    with opened(bank=bank) as world:
        flows = world.handle(flow)
        world.run(flows.start("a", 1))
        world.crash_after(point)
        try:
            reply = world.run(flows.update("a", spend, 5, idempotency_key="1"))
        except WorkerDied:
            world.open()
            reply = world.run(flows.update("a", spend, 5, idempotency_key="1"))
        world.cancel_crash()
        assert reply == sum(bank.paid)  # a step that was in progress may be performed again
        assert world.run(flows.update("a", spend, 5, idempotency_key="1")) == reply
        assert len(bank.paid) <= 2


@pytest.mark.parametrize("end", ["stopped", "cancelled", "terminated", "absent", "ended"])
def test_a_workflow_that_ends_without_answering_is_a_typed_error(end: str) -> None:
    with opened() as world:
        flows = world.handle(flow)
        if end != "absent":
            world.run(flows.start("a", 0))
        if end == "ended":
            world.run(flows.signal("a", stop, "now"))
            world.settle()
        asked = world.start(flows.update("a", spend, 5, idempotency_key="1", timeout="1 hour"))
        world.settle()
        match end:
            case "stopped":
                world.run(flows.signal("a", stop, "now"))
            case "cancelled":
                world.run(flows.cancel("a", "now"))
            case "terminated":
                world.run(flows.terminate("a"))
            case _:
                pass
        found = asked.result()
        assert isinstance(found, Failure)
        error = found.failure()
        assert isinstance(error, UpdateUnanswered)
        assert (error.address, error.update) == ("workflow:flow:a", "spend")
        if end == "cancelled":
            assert world.run(flows.outcome("a")) == WasCancelled(reason="now")


def test_the_next_workflow_of_the_id_does_not_answer_for_the_last_one() -> None:
    with opened() as world:
        flows = world.handle(flow)
        world.run(flows.start("a", 1))
        world.run(flows.update("a", spend, 5, idempotency_key="1"))
        world.run(flows.terminate("a"))
        world.run(flows.start("a", 1))
        world.run(flows.update("a", spend, 7, idempotency_key="2"))
        assert isinstance(world.error_of(flows.update("a", spend, 5, idempotency_key="1")), UpdateUnanswered)


def test_a_workflow_that_a_signal_starts_does_not_answer_for_the_last_one_of_its_row() -> None:
    """Both have the same row, and so the same incarnation: the numbers of their arrivals tell them apart."""
    with opened() as world:
        flows = world.handle(flow)
        world.run(flows.signal_with_start("a", again, 1, 0))
        world.run(flows.send_update("a", spend, 5, idempotency_key="1"))
        for key in ("2", "3"):
            world.run(flows.signal("a", stop, "now"))
            world.settle()
            world.run(flows.signal_with_start("a", again, 1, 1, if_ended="start"))
            world.run(flows.update("a", spend, 7, idempotency_key=key))
            assert isinstance(world.error_of(flows.update("a", spend, 5, idempotency_key="1")), UpdateUnanswered)


def test_replies_and_waiting_updates_outlast_a_workflow_that_starts_over() -> None:
    with opened() as world:
        flows = world.handle(flow)
        world.run(flows.start("a", 9))
        for number in range(1, 10):
            world.run(flows.update("a", spend, number, idempotency_key=str(number)))
        waiting = world.start(flows.update("a", spend, 10, idempotency_key="10"))
        assert waiting.answer() == 55
        for number in (1, 5, 9):
            assert world.run(flows.update("a", spend, number, idempotency_key=str(number))) == sum(range(number + 1))
        assert world.run(flows.update("a", rename, "ann", idempotency_key="n")) == "ANN"


@program
def counted(cents: int) -> Do[int, TooMuch]:
    yield from succeed(None)
    return cents


@program
def many(ctx: WorkflowContext[int]) -> Do[int]:
    for _ in range((yield from ctx.state)):
        yield from spend.answer(counted)
    return (yield from ctx.start_over(1))


def test_a_workflow_that_starts_over_keeps_its_newest_replies() -> None:
    job = Workflow("many", state=int, run=many, updates=(spend,))
    number = MAX_KEPT_REPLIES + 1
    with World(App(None).with_jobs(job)) as world:
        flows = world.handle(job)
        world.run(flows.start("a", number))
        for each in range(number):
            assert world.run(flows.update("a", spend, each, idempotency_key=str(each))) == each
        world.settle()
        assert isinstance(world.error_of(flows.update("a", spend, 0, idempotency_key="0")), UpdateUnanswered)
        assert world.run(flows.update("a", spend, 1, idempotency_key="1")) == 1


def test_an_update_that_arrived_before_a_start_over_is_answered_after_it() -> None:
    with opened() as world:
        flows = world.handle(flow)
        world.run(flows.start("a", 9))
        world.run(flows.pause("a"))
        asked = list[Any]()
        for n in (1, 2):
            asked.append(world.start(flows.update("a", spend, n, idempotency_key=str(n), timeout="1 day")))
            world.settle()
        early = world.start(flows.update("a", rename, "ann", idempotency_key="n", timeout="1 day"))
        world.settle()
        world.run(flows.resume("a"))
        for number in range(3, 11):
            world.run(flows.update("a", spend, number, idempotency_key=str(number)))
        assert [call.answer() for call in asked] == [1, 3]
        assert early.answer() == "ANN"


def test_updates_up_to_the_inbox_and_wrong_arguments() -> None:
    with opened(limits=Limits(payload_bytes=64)) as world:
        flows = world.handle(flow)
        world.run(flows.start("a", 0))
        calls = [world.start(flows.update("a", spend, n, idempotency_key=str(n), timeout="1 hour")) for n in range(3)]
        world.settle()
        full = world.error_of(flows.update("a", spend, 4, idempotency_key="4"))
        assert isinstance(full, Overloaded)
        assert full.limit == 3
        assert not any(call.is_answered for call in calls)
        wrong_calls: tuple[tuple[Any, type[Exception]], ...] = (
            (flows.update("a", spend, "5", idempotency_key="5"), InvalidInput),  # type: ignore[arg-type]
            (flows.update("a", "spend", 5, idempotency_key="5"), InvalidArgument),  # type: ignore[arg-type]
            (flows.update("a", spend, 5, idempotency_key=None), InvalidArgument),  # type: ignore[arg-type]
            (flows.update("a", spend, 5, idempotency_key="5", timeout="soon"), InvalidArgument),
        )
        for call, error in wrong_calls:
            assert isinstance(world.error_of(call), error)
    for wrong in ((spend, spend), ("spend",)):
        with pytest.raises(DefinitionError):
            Workflow("flow", state=int, run=account, updates=wrong)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError):
        Update("a:b", int, int)


def test_other_processes_send_updates_and_read_replies() -> None:
    async def main() -> Any:
        async with (
            App(Bank()).with_jobs(flow).open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], flow) as connected,
        ):
            await local.handle(flow).start("a", 2)
            jobs = Client(attrs.evolve(gateway_of(connected), longest_wait_ms=20))
            typed = await jobs.handle(flow).update("a", spend, 30, idempotency_key="1")
            refused = await jobs.handle_by_name("workflow", "flow").update("spend", "a", "300", idempotency_key="2")
            named = jobs.handle_by_name("workflow", "flow")
            late = await named.update("spend", "a", "1", idempotency_key="3", timeout="50 ms")
            asked = asyncio.ensure_future(jobs.handle(flow).update("a", rename, "ann", idempotency_key="4"))
            while engine_of(local).waits.count < 1:  # noqa: ASYNC110 - of another task of this loop
                await asyncio.sleep(0)
            return typed, refused, late, await asked, await named.reply("a", "9.9.9")

    typed, refused, late, name, absent = asyncio.run(main())
    assert (typed, name) == (30, "ANN")
    assert (refused.form, refused.value) == ("failed", '{"most":100}')
    assert (late.form, absent.form) == ("waiting", "unanswered")


def test_fail_is_typed() -> None:
    @program
    def refusing(cents: int) -> Do[int, TooMuch]:
        yield from fail(TooMuch(cents))
        return 0

    @program
    def once(ctx: WorkflowContext[int]) -> Do[int]:
        yield from spend.answer(refusing)
        return 1

    job = Workflow("once", state=int, run=once, updates=(spend,))
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("a", 0))
        refused = world.error_of(world.handle(job).update("a", spend, 7, idempotency_key="1"))
        assert isinstance(refused, Rejected)
        assert refused.error == TooMuch(7)


@pytest.mark.parametrize("released_by", ["resume", "deploy"])
def test_an_operator_releases_a_parked_workflow_with_an_open_update(released_by: str) -> None:
    broken: list[bool] = [True]

    @program
    def handled(cents: int) -> Do[int, TooMuch, Bank]:
        if broken:
            raise RuntimeError("a bug")
        return (yield from pay(cents))

    @program
    def one(ctx: WorkflowContext[int]) -> Do[int, Any, Bank]:
        yield from spend.answer(handled)
        return (yield from ctx.state)

    job = Workflow("flow", state=int, run=one, updates=(spend,), inbox=2)
    bank = Bank()
    with World(App(bank).with_jobs(job)) as world:
        flows = world.handle(job)
        world.run(flows.start("a", 7))
        asked = world.start(flows.update("a", spend, 5, idempotency_key="1", timeout="1 day"))
        world.settle()
        assert world.run(flows.status("a")).parked is not None
        assert not asked.is_answered
        # A parked one stores further updates, up to its inbox.
        more = world.run(flows.send_update("a", spend, 6, idempotency_key="2"))
        assert more.accepted
        assert isinstance(world.error_of(flows.send_update("a", spend, 6, idempotency_key="3")), Overloaded)
        broken.clear()
        if released_by == "deploy":
            world.crash()
            world.open()
            flows = world.handle(job)
        world.run(flows.resume("a"))
        world.settle()
        assert world.run(flows.update("a", spend, 5, idempotency_key="1")) == 5
        assert bank.paid == [5]
        assert isinstance(world.error_of(flows.update("a", spend, 6, idempotency_key="2")), UpdateUnanswered)


def test_older_code_leaves_an_update_of_another_workflow_to_newer_code() -> None:
    @program
    def asking(ctx: WorkflowContext[int]) -> Do[int, Any]:
        return (yield from flow.update("a", spend, (yield from ctx.state)))

    older = Workflow("flow", state=int, run=account, signals=(stop, again), updates=(rename,), keep="1 day", inbox=3)
    asks = Workflow("asks", state=int, run=asking, result=int)
    with World(App(Bank()).with_jobs(older, asks)) as world:
        world.run(world.handle(older).start("a", 1))
        world.run(world.handle(asks).start("b", 5))
        world.settle()
        assert world.run(world.handle(asks).outcome("b")) is None
        world.crash()
        world.open(App(Bank()).with_jobs(flow, asks))
        world.settle()
        world.advance("2 minutes")
        world.settle()
        assert world.run(world.handle(asks).outcome("b")) == Done(value=5)
