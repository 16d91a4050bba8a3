"""Workflows that ask other ones: for their end, and with updates. And updates that a validator refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from returns.result import Failure, Success

from perdure import App, Defect, Do, Signal, Update, Workflow, WorkflowContext, fail, program
from perdure.client.client import Client
from perdure.kinds.workflow.header import MAX_WATCHERS
from perdure.programs import EffectTimeout
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done
from perdure.values.errors import DefinitionError, HookRaised, Rejected, UnknownAction, UpdateRefused


@frozen
class TooMuch:
    most: int


def small(stock: int, wanted: int) -> TooMuch | None:
    if wanted == 13:
        raise ValueError(wanted)
    return TooMuch(stock) if wanted > stock else None


take = Update("take", int, int, TooMuch, validate=small)
close = Signal("close", str)


@program
def stocked(ctx: WorkflowContext[int]) -> Do[int, str]:
    @program
    def taken(wanted: int) -> Do[int, TooMuch]:
        stock = yield from ctx.state
        if wanted == 1:
            yield from fail(TooMuch(0))
        yield from ctx.set_state(stock - wanted)
        return stock - wanted

    while True:
        word = yield from close.receive() if (yield from ctx.state) == 0 else take.answer(taken).map(lambda _: "")
        if word == "over":
            yield from ctx.start_over(5)
        if word == "fail":
            yield from fail("closed")
        if word:
            return len(word)


@program
def ordered(ctx: WorkflowContext[int]) -> Do[str, Any]:
    found = yield from stocks.update("s", take, (yield from ctx.state)).timeout("1 minute").attempt()
    match found:
        case Success(left):
            return f"left {left}"
        case Failure(TooMuch(most)):
            return f"at most {most}"
        case Failure(EffectTimeout()):
            return "late"
        case Failure(Defect(error_type, message)):
            return f"{error_type}: {message}"
        case _:
            raise AssertionError(found)


@program
def followed(ctx: WorkflowContext[str]) -> Do[str]:
    found = yield from stocks.until_ended((yield from ctx.state)).timeout("1 hour").attempt()
    match found:
        case Success(value):
            return f"done {value}"
        case Failure(EffectTimeout()):
            return "late"
        case Failure(Defect(error_type, message)):
            return f"{error_type}: {message}"
        case Failure(error):
            return f"failed {error}"
        case _:
            raise AssertionError(found)


stocks = Workflow("stocks", state=int, run=stocked, signals=(close,), updates=(take,), keep="1 day", inbox=3)
orders = Workflow("orders", state=int, run=ordered, result=str)
follows = Workflow("follows", state=str, run=followed)
JOBS = (stocks, orders, follows)
ABSENT = "it was never stored, or is no longer kept"


def opened(place: Any = "memory://") -> World:
    return World(App(None).with_jobs(*JOBS), store=place)


# ---------------------------------------------------------------- the end of another workflow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("close", "done 5"),
        ("fail", "failed closed"),
        ("cancel", "WorkflowCancelled: enough"),
        ("terminate", "WorkflowCancelled: enough"),
    ],
)
@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_workflow_waits_for_the_end_of_one_that_it_did_not_start(
    moment: str, end: str, told: str, store: str, tmp_path: Path
) -> None:
    with opened(store if "://" in store else tmp_path / store) as world:
        stock, follow = world.handle(stocks), world.handle(follows)
        world.run(stock.start("s", 0))
        if moment == "before":
            world.run(follow.start("f", "s"))
            world.settle()
        match end:
            case "cancel":
                world.run(stock.cancel("s", "enough"))
            case "terminate":
                world.run(stock.terminate("s", "enough"))
            case word:
                world.run(stock.signal("s", close, word))
        world.settle()
        if moment == "after":
            world.run(follow.start("f", "s"))
            world.settle()
            if end == "terminate":
                told = (
                    "Unanswered: workflow:stocks:s does not say how it ended: it was never stored, or is no longer kept"
                )
        assert world.run(follow.outcome("f")) == Done(value=told)


def test_an_outcome_that_is_no_longer_kept_and_a_wait_that_is_over_are_typed() -> None:
    with opened() as world:
        stock, follow = world.handle(stocks), world.handle(follows)
        world.run(stock.start("s", 0))
        world.run(follow.start("late", "s"))
        world.settle()
        world.advance("1 hour")
        assert world.run(follow.outcome("late")) == Done(value="late")
        world.run(stock.signal("s", close, "close"))
        world.settle()
        world.advance("25 hours")
        for id_ in ("s", "never"):
            world.run(follow.start(id_, id_))
            world.settle()
            found = world.run(follow.outcome(id_))
            assert isinstance(found, Done)
            assert found.value.endswith("it was never stored, or is no longer kept")


# ---------------------------------------------------------------- updates between workflows
@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_workflow_sends_an_update_to_another_one(store: str, tmp_path: Path) -> None:
    with opened(store if "://" in store else tmp_path / store) as world:
        world.run(world.handle(stocks).start("s", 8))
        for id_, wanted, told in (("a", 2, "left 6"), ("b", 7, "at most 6"), ("c", 1, "at most 0"), ("d", 4, "left 2")):
            world.run(world.handle(orders).start(id_, wanted))
            world.settle()
            assert world.run(world.handle(orders).outcome(id_)) == Done(value=told), id_
        world.run(world.handle(orders).start("e", 13))
        world.settle()
        raised = world.run(world.handle(orders).outcome("e"))
        assert isinstance(raised, Done)
        assert raised.value.endswith("its validator raised an exception")
        names = [step.name for step in world.run(world.handle(stocks).steps("s"))]
        assert names.count("reply take") == 3  # a validator's refusals leave no step


@pytest.mark.parametrize("end", ["absent", "ended", "end", "terminate", "over"])
def test_an_update_that_gets_no_reply_is_a_typed_error(end: str) -> None:
    with opened() as world:
        stock, order = world.handle(stocks), world.handle(orders)
        if end != "absent":
            world.run(stock.start("s", 0))
        if end == "ended":
            world.run(stock.signal("s", close, "close"))
        world.run(order.start("o", 0))
        world.settle()
        match end:
            case "terminate":
                world.run(stock.terminate("s"))
            case "end":
                world.run(stock.signal("s", close, "close"))
            case "over":  # it has not received the update, and answers it after it started over
                world.run(stock.signal("s", close, "over"))
            case _:
                pass
        world.settle()
        found = world.run(order.outcome("o"))
        assert isinstance(found, Done)
        if end == "over":
            assert found.value == "left 5"
        else:
            why = "it was never stored, or is no longer kept" if end == "absent" else "it has ended"
            assert found.value == f"Unanswered: workflow:stocks:s did not answer the update 'take': {why}"


def test_updates_beyond_the_inbox_are_typed_errors_and_time_limits_withdraw() -> None:
    with opened() as world:
        world.run(world.handle(stocks).start("s", 0))
        for number in range(4):
            world.run(world.handle(orders).start(str(number), 0))
            world.settle()
        full = world.run(world.handle(orders).outcome("3"))
        assert isinstance(full, Done)
        assert full.value.endswith("too many workflows wait for it already")
        world.advance("1 minute")
        world.settle()
        assert world.run(world.handle(orders).outcome("0")) == Done(value="late")
        world.run(world.handle(follows).start("f", "s"))
        world.settle()
        world.run(world.handle(stocks).cancel("s", "enough"))
        world.settle()
        assert world.run(world.handle(follows).outcome("f")) == Done(value="WorkflowCancelled: enough")


def test_a_workflow_is_asked_by_a_limited_number_of_others_at_the_same_time() -> None:
    roomy = Workflow("stocks", state=int, run=stocked, signals=(close,), updates=(take,), inbox=1_000)
    with World(App(None).with_jobs(roomy, orders, follows)) as world:
        world.run(world.handle(roomy).start("s", 0))
        for number in range(MAX_WATCHERS + 1):
            world.run(world.handle(orders).start(str(number), 0))
        world.settle()
        last = world.run(world.handle(orders).outcome(str(MAX_WATCHERS)))
        assert isinstance(last, Done)
        assert last.value.endswith("too many workflows wait for it already")
        assert world.run(world.handle(orders).outcome(str(MAX_WATCHERS - 1))) is None


@pytest.mark.parametrize("point", range(1, 26))
def test_an_update_between_workflows_is_handled_once_whatever_dies(point: int) -> None:
    with opened() as world:
        world.crash_after(point)
        steps = (
            lambda: world.run(world.handle(stocks).start("s", 9)),
            lambda: world.run(world.handle(orders).start("o", 4)),
            world.settle,
        )
        for step in steps:
            try:
                step()
            except WorkerDied:
                world.open()
                step()
        world.cancel_crash()
        world.settle()
        assert world.run(world.handle(orders).outcome("o")) == Done(value="left 5")
        assert world.run(world.handle(stocks).get_state("s")) == 5


# ---------------------------------------------------------------- validators
def test_a_validator_refuses_an_update_before_it_is_stored() -> None:
    with opened() as world:
        stock = world.handle(stocks)
        world.run(stock.start("s", 5))
        world.settle()
        before = world.run(stock.status("s"))
        refused = world.error_of(stock.update("s", take, 6, idempotency_key="1"))
        assert isinstance(refused, Rejected)
        assert refused.error == TooMuch(5)
        raised = world.error_of(stock.update("s", take, 13, idempotency_key="2"))
        assert isinstance(raised, HookRaised)
        sent = world.error_of(stock.send_update("s", take, 6))
        assert isinstance(sent, UpdateRefused)
        assert (sent.data, "6" in str(sent)) == ('{"most":5}', False)
        assert world.run(stock.status("s")) == before
        assert world.run(stock.update("s", take, 5, idempotency_key="1")) == 0  # a refusal binds no key
    with pytest.raises(DefinitionError):
        Update("take", int, int, validate=lambda _state, _value: None)
    with pytest.raises(DefinitionError):
        Update("take", int, int, TooMuch, validate=5)  # type: ignore[arg-type]


def test_other_processes_receive_the_error_of_a_validator() -> None:
    async def main() -> Any:
        async with (
            App(None).with_jobs(*JOBS).open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], stocks) as jobs,
        ):
            assert isinstance(jobs, Client)
            await local.handle(stocks).start("s", 5)
            named = jobs.handle_by_name("workflow", "stocks")
            try:
                await jobs.handle(stocks).update("s", take, 6, idempotency_key="1")
            except Rejected as refused:  # pyright: ignore[reportUnknownVariableType] - no type parameter at run time
                error: object = refused.error  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
                return error, await named.update("take", "s", "6", idempotency_key="2")
            raise AssertionError

    error, reply = asyncio.run(main())
    assert error == TooMuch(5)
    assert (reply.form, reply.value) == ("failed", '{"most":5}')


def test_a_caller_cannot_send_the_messages_between_workflows() -> None:
    with opened() as world:
        world.run(world.handle(stocks).start("s", 5))
        named = world.jobs.handle_by_name("workflow", "stocks")
        for action, payload in (
            ("watch", '{"call":"child x","wants":"end"}'),
            ("unwatch", '{"call":"child x","wants":"end"}'),
            ("ask_update.take", '{"call":"child x","value":1}'),
        ):
            assert isinstance(world.error_of(named.call(action, "s", payload)), UnknownAction)
