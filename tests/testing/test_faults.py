"""Plans of faults: enumerated, printed, pasted back; and a run and its repeats under them."""

from __future__ import annotations

from contextlib import suppress
from inspect import isfunction
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from hypothesis import find
from hypothesis.vendor.pretty import pretty
from returns.future import FutureResult
from returns.maybe import Maybe, Nothing
from returns.result import Failure, Success
from typing_extensions import is_protocol

from perdure import App, Do, TaskContext, effect, program
from perdure.examples.mail import HasMailer, MailBounced, send_mail
from perdure.examples.order_processor import (
    IllegalTransition,
    Order,
    OrderPlaced,
    PaymentReceived,
    Shipped,
    on_order_event,
    order_processor,
)
from perdure.programs import Raised, traverse
from perdure.stores.contract import Store
from perdure.testing import (
    Crash,
    Delay,
    Fail,
    Faults,
    Hang,
    HookContext,
    NoSample,
    ProcessDied,
    Raise,
    Simulated,
    WorkerDied,
    World,
    assert_atomic,
    every_fault,
    faults,
    hook_context,
    run_with_redelivery,
    simulate,
)
from perdure.testing.fault import CAPABILITY_OPERATIONS, TwoFaults
from perdure.values.errors import DefinitionError

STAGE = hook_context(order_processor, state=Order("paid", "ada", 100, 100), id="order-1")


@attrs.define
class Mailer:
    """Sends each message once, by its id, as a good one does."""

    sent: dict[str, str] = attrs.Factory(dict[str, str])
    asked: list[str] = attrs.Factory(list[str])

    @property
    def mailer(self) -> Mailer:
        return self

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        self.asked.append(message_id)
        self.sent.setdefault(message_id, text)
        return FutureResult.from_value(None)


def shipping(mailer: Mailer):
    def run(stage: HookContext[TaskContext[Order], Order], plan: Faults):
        return simulate(on_order_event(stage.ctx, Shipped("T-1")), mailer, on=stage, faults=plan)

    return run


CLEAN = shipping(Mailer())(STAGE, ())
PLANS = every_fault(CLEAN)


def test_every_way_to_go_wrong_at_each_call_is_enumerated():
    assert (
        (Crash("send_mail"),),
        (Crash("send_mail", when="after"),),
        (Raise("send_mail"),),
        (Raise("send_mail", when="after"),),
        (Hang("send_mail"),),
        (Hang("send_mail", when="after"),),
        (Fail("send_mail", MailBounced("")),),
    ) == PLANS


def test_each_call_of_an_effect_has_faults_of_its_own():
    seen = simulate(traverse(("a", "b"), lambda word: send_mail(word, word, word)), Mailer())
    assert [plan[0].call for plan in every_fault(seen)] == [1] * 7 + [2] * 7


class Sealed:
    def __init__(self, reason: str) -> None:
        self.reason = reason


@effect
def charge(services: object) -> FutureResult[None, MailBounced | ValueError | Sealed]:
    return FutureResult.from_value(None)


@effect
def look_up(services: object) -> FutureResult[Maybe[str], MailBounced | ValueError]:
    return FutureResult.from_value(Nothing)


def failures(plans: Any) -> list[str]:
    return [repr(plan[0]) for plan in plans if isinstance(plan[0], Fail)]


def test_each_error_of_a_declared_union_is_enumerated_exceptions_included():
    assert failures(every_fault(simulate(look_up(), None))) == [
        "Fail('look_up', error=MailBounced(address=''))",
        "Fail('look_up', error=ValueError())",
    ]


def test_an_error_that_cannot_be_drawn_excludes_no_other():
    clean = simulate(charge(), None)
    with pytest.raises(NoSample, match=r"Sealed .* it is an error of charge: pass errors=\{'charge': \[\.\.\.\]\}"):
        every_fault(clean)
    sealed = Sealed("no money")
    plans = every_fault(clean, errors={"charge": [sealed]})
    assert [plan[0].error for plan in plans if isinstance(plan[0], Fail)] == [sealed]
    drawn = find(faults(clean, errors={"charge": [sealed]}), lambda plan: any(isinstance(one, Fail) for one in plan))
    assert [fault.error for fault in drawn if isinstance(fault, Fail)] == [sealed]
    assert failures(every_fault(clean, errors={"charge": []})) == []


class Wordless:
    def __init__(self, reason) -> None:  # without a type of its reason
        self.reason = reason


@effect
def refund(services: object) -> FutureResult[None, Wordless]:
    return FutureResult.from_value(None)


def test_an_error_that_cannot_be_drawn_is_required_as_an_argument():
    clean = simulate(refund(), None)
    with pytest.raises(NoSample, match=r"Wordless .* it is an error of refund: pass errors=\{'refund': \[\.\.\.\]\}"):
        faults(clean)
    with pytest.raises(NoSample, match="Wordless"):
        every_fault(clean)
    assert find(faults(clean, errors={"refund": [Wordless("late")]}), lambda plan: plan != ()) != ()


@pytest.mark.parametrize(
    "plan",
    [
        *PLANS,
        (Raise("x", error=OSError, call=2), Fail("y", 1, when="after", times=3)),
        (Delay("store.commit", "2 s"), Hang("store.load", when="after")),
    ],
    ids=str,
)
def test_a_plan_is_printed_as_its_constructor(plan):
    assert eval(repr(plan)) == plan  # noqa: S307 - that is the promise
    assert pretty(plan).replace("\n", "") == repr(plan).replace("\n", ""), "as Hypothesis prints it"


def test_one_call_has_one_fault():
    for plan in ((Crash("send_mail"), Hang("send_mail")), (Crash("x", times=2), Hang("x", call=2))):
        with pytest.raises(TwoFaults, match=r"pass another call=\.\.\."):
            shipping(Mailer())(STAGE, plan)


def test_a_fault_strikes_so_many_calls_from_the_one_that_is_named():
    words = ("a", "b", "c", "d")
    mails = traverse(words, lambda word: send_mail(word, word, word).attempt())
    seen = simulate(mails, Mailer(), faults=(Fail("send_mail", MailBounced("no"), call=2, times=2),))
    assert [isinstance(call.answer, Success) for call in seen.calls("send_mail")] == [True, False, False, True]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_that_is_late_is_an_answer(when):
    mailer = Mailer()
    seen = simulate(send_mail("1", "ada", "hello"), mailer, faults=(Delay("send_mail", "3 s", when=when),))
    assert (seen.exit, seen.elapsed.total_seconds(), mailer.asked) == (Success(None), 3, ["1"])
    hurried = simulate(send_mail("1", "ada", "hello").timeout("1 s"), mailer, faults=seen.faults)
    assert isinstance(hurried.exit, Failure)
    assert len(mailer.asked) == (1 if when == "before" else 2)


def test_an_exception_of_ones_own_is_raised_as_it_is():
    error = OSError("no route")
    seen = simulate(send_mail("1", "ada", "hello"), Mailer(), faults=(Raise("send_mail", error),))
    assert isinstance(seen.exit, Raised)
    assert seen.exit.cause is error


def test_a_place_that_no_store_has_is_refused():
    with pytest.raises(DefinitionError, match=r"store\. and one of load, commit"):
        Crash("store.comit")
    with pytest.raises(DefinitionError, match="time of a Delay"):
        Delay("send_mail", "soon")


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_plan_that_was_simulated_strikes_in_a_world_as_well(plan):
    mailer = Mailer()
    with World(App(mailer).with_jobs(order_processor)) as world:
        orders = world.handle(order_processor)
        world.run(orders.send("order-1", OrderPlaced("ada", 100)))
        world.run(orders.send("order-1", PaymentReceived(100)))
        world.inject(*plan)
        world.start(orders.send("order-1", Shipped("T-1"), idempotency_key="k"))
        with suppress(WorkerDied):
            world.advance("1 hour")
        assert "FAULT" in world.trace_text()
        if not world.is_open:
            world.open()
        world.clear_faults()
        world.run(orders.send("order-1", Shipped("T-1"), idempotency_key="k"))
        assert world.run(orders.get_state("order-1")).status == "shipped"


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_under_every_single_fault_the_draft_is_kept_whole_or_not_at_all(plan):
    seen = shipping(Mailer())(STAGE, plan)
    assert_atomic(CLEAN, seen)
    assert seen.unused_faults == ()
    assert seen.committed is None


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_the_repeats_of_a_run_complete_it_and_write_to_no_customer_twice(plan):
    mailer = Mailer()
    delivered = run_with_redelivery(shipping(mailer), STAGE, faults=plan)
    assert delivered.committed is not None
    assert (delivered.committed.state, len(delivered.runs)) == (CLEAN.state, 2)
    assert list(mailer.sent) == ["run-1"]
    assert len(delivered.reached("send_mail")) == len(mailer.asked)
    assert "run 2:" in repr(delivered)


def test_a_repeat_sees_that_it_is_one():
    stages: list[tuple[int, int]] = []

    def run(stage: HookContext[TaskContext[Order], Order], plan: Faults) -> Simulated[Any, Any, Order]:
        stages.append((stage.ctx.attempt, stage.ctx.delivery))
        return shipping(Mailer())(stage, plan)

    run_with_redelivery(run, STAGE, faults=(Crash("send_mail"),))
    run_with_redelivery(run, STAGE, faults=(Hang("send_mail"),))
    assert stages == [(1, 1), (1, 2), (1, 1), (2, 1)]


def test_a_program_that_always_fails_is_not_repeated_for_ever():
    delivered = run_with_redelivery(
        lambda stage, plan: simulate(on_order_event(stage.ctx, Shipped("")), Mailer(), on=stage),
        attrs.evolve(STAGE, state=Order()),
        at_most=4,
    )
    assert len(delivered.runs) == 4
    assert delivered.last.exit == Failure(IllegalTransition("new", "Shipped"))


@program
def careless(ctx: TaskContext[Order]) -> Do[None, Any, HasMailer]:
    yield from ctx.update_state(lambda order: attrs.evolve(order, tracking="half"))
    match (yield from send_mail("1", "ada", "hello").attempt()):
        case Success():
            yield from ctx.update_state(lambda order: attrs.evolve(order, status="shipped"))
        case Failure():
            return


def test_a_partial_commit_is_found():
    clean = simulate(careless(STAGE.ctx), Mailer(), on=STAGE)
    halves = simulate(careless(STAGE.ctx), Mailer(), on=STAGE, faults=(Fail("send_mail", MailBounced("ada")),))
    with pytest.raises(AssertionError, match="committed part of the draft\nthese runs differ"):
        assert_atomic(clean, halves)


def test_the_exits_are_distinguished():
    exits = [type(shipping(Mailer())(STAGE, plan).exit) for plan in PLANS]
    assert exits == [ProcessDied, ProcessDied, Raised, Raised, Raised, Raised, Failure]


ELSEWHERE = {
    "backup": {"make": "it writes a file, which a world does not have"},
    "sharing": {
        "due": "a share of the operation of every store",
        "messages": "a share of the operation of every store",
        "members": "only callers read it",
    },
}


def test_a_fault_can_meet_each_function_of_each_capability() -> None:
    """A new capability, or a new function of one, is in the table, or this test says why not."""
    capabilities = {
        name: {each for each, function in vars(one).items() if isfunction(function) and not each.startswith("_")}
        for name, hint in get_type_hints(Store).items()
        for one in get_args(hint)
        if is_protocol(one)
    }
    assert {"attributes", "backup", "counts", "sharing"} < set(capabilities)
    for name, functions in capabilities.items():
        assert set(CAPABILITY_OPERATIONS.get(name, ())) == functions - ELSEWHERE.get(name, {}).keys(), name
