"""The world of the kit: time, crashes and faults under the real engine, in plain calls."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Failure, Success
from shop import NEW_YEAR, Shop, app

from perdure import App, Do, Schedules, Stream, Task, TaskContext, Workflow, WorkflowContext, every, program, tell
from perdure.examples.mail import HasMailer, MailBounced, send_mail
from perdure.examples.order_processor import Cancelled, Delivered, Order, OrderPlaced, PaymentReceived, order_processor
from perdure.examples.token_refresher import TokenState, token_refresher
from perdure.examples.webhook_batcher import Webhook, webhook_batcher
from perdure.testing import (
    Crash,
    Delay,
    Fail,
    Hang,
    Raise,
    WorkerDied,
    World,
    hook_context,
    simulate,
)
from perdure.testing.world import (
    UNANSWERED,
    EventLoopRunning,
    NoWorker,
    UnansweredCall,
    UnexpectedSuccess,
    WorkerRunning,
)
from perdure.values.answer import Done
from perdure.values.errors import (
    DefinitionError,
    HookRaised,
    InvalidArgument,
    OutcomeUnknown,
    Rejected,
    StoreLocked,
    StoreUnavailable,
    UnknownJob,
)

PLACED = OrderPlaced("ada", 400)
words = Stream("words", str)


@program
def talk(ctx: WorkflowContext[str]) -> Do[str]:
    return (yield from ctx.state)


talks = Workflow("talks", state=str, run=talk, streams=[words])


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return "memory://" if request.param == "memory" else tmp_path / "jobs.db"


def world_of(store: Any = "memory://", **options: Any) -> World:
    return World(app, Shop(), store=store, **options)


# ---------------------------------------------------------------- calls and time
def test_a_call_is_answered_while_the_clock_does_not_advance(store: Any) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        assert world.run(orders.send("o-1", PLACED)).created
        assert world.run(orders.get_state("o-1")) == Order("pending", "ada", 400)
        assert world.now == NEW_YEAR


def test_time_passes_when_the_test_says_so(store: Any) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        world.run(orders.send("o-1", PLACED))
        world.advance("4 minutes 59 s")
        assert world.instance(order_processor, "o-1") is not None
        world.advance("1 s")
        assert world.instance(order_processor, "o-1") is None
        assert world.now == NEW_YEAR + timedelta(minutes=5)


def test_the_clock_jumps_to_the_next_alarm(store: Any) -> None:
    with world_of(store) as world:
        tokens = world.handle(token_refresher)
        world.run(tokens.start("ada", TokenState("", "r", NEW_YEAR)))
        assert world.advance_to_next_alarm() == timedelta(minutes=30)
        assert world.run(tokens.status("ada")).run_count == 2
        world.run(tokens.terminate("ada"))
        assert world.advance_to_next_alarm() is None


def test_the_failure_of_a_call_is_raised_or_returned(store: Any) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        with pytest.raises(Rejected):
            world.run(orders.send("o-1", Delivered()))
        assert isinstance(world.error_of(orders.send("o-1", Delivered())), Rejected)
        assert isinstance(world.attempt(orders.send("o-1", Delivered())), Failure)
        with pytest.raises(UnexpectedSuccess, match="should have failed"):
            world.error_of(orders.send("o-1", PLACED))


def test_an_unanswered_call_names_the_waiting_tasks(store: Any) -> None:
    with world_of(store) as world:
        world.inject(Hang("send_mail", when="after"))
        call = world.start(world.handle(order_processor).send("o-1", PLACED))
        with pytest.raises(UnansweredCall, match=r"10m of virtual time: .*caller waits"):
            call.result(patience="10 minutes")
        assert not call.is_answered
        world.release("send_mail")
        assert call.answer().created


def test_a_coroutine_that_never_ends_is_an_unanswered_call(store: Any) -> None:
    async def follow() -> None:
        async for _ in world.handle(talks).stream("absent", words):
            pass

    with World(App(None).with_jobs(talks), store=store) as world:
        with pytest.raises(UnansweredCall, match=r"10m of virtual time: .*caller waits"):
            world.run(follow(), patience="10 minutes")
        began = world.now
        with pytest.raises(UnansweredCall, match="2d of virtual time"):
            world.run(follow())
        assert world.now - began == timedelta(days=2)
        assert world.run(world.handle(talks).start_and_wait("present", "tea")) == Done("tea")


def test_the_seed_decides_which_task_runs_first() -> None:
    def first(seed: int) -> str:
        with world_of(seed=seed) as world:
            orders = world.handle(order_processor)
            world.run(orders.send("o-1", PLACED))
            paid, _ = world.concurrently(orders.send("o-1", PaymentReceived(400)), orders.send("o-1", Cancelled("no")))
            return "paid" if isinstance(paid, Success) else "cancelled"

    assert {first(seed) for seed in range(20)} == {"paid", "cancelled"}


@pytest.mark.parametrize("interleaving", ["turns", "operations"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_one_seed_is_one_history(interleaving: Any, seed: int) -> None:
    def history() -> str:
        with world_of(seed=seed, interleaving=interleaving) as world:
            orders = world.handle(order_processor)
            world.concurrently(*(orders.send(f"o-{number % 3}", PLACED) for number in range(9)))
            world.crash()
            world.open()
            world.advance("5 minutes")
            return world.trace_text()

    assert history() == history()


def test_where_others_go_first_only_between_turns_a_turn_is_whole() -> None:
    def crash_points(interleaving: Any) -> tuple[str, ...]:
        with world_of(seed=3, interleaving=interleaving) as world:
            tokens = world.handle(token_refresher)
            calls = [tokens.start(f"t-{number}", TokenState("", "r", NEW_YEAR)) for number in range(5)]
            before = len(world.crash_points)
            world.concurrently(*calls)
            return world.crash_points[before:]

    loads = [at for at in crash_points("operations") if at == "before load"]
    assert len(loads) >= 5
    assert crash_points("turns") != crash_points("operations")


# ---------------------------------------------------------------- workers
def test_an_answered_request_survives_a_crash(store: Any) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        world.run(orders.send("o-1", PLACED))
        world.crash()
        assert not world.is_open
        world.advance("1 minute")
        world.open()
        assert world.now == NEW_YEAR + timedelta(minutes=1)
        assert world.run(orders.get_state("o-1")) == Order("pending", "ada", 400)


def test_a_worker_dies_at_any_crash_point_and_the_next_one_recovers(store: Any) -> None:
    died: list[str] = []
    for place in range(100):
        with World(app, Shop(), store=store) as world:
            orders = world.handle(order_processor)
            world.crash_after(place)
            try:
                world.run(orders.send(f"o-{place}", PLACED, idempotency_key="k"))
            except WorkerDied as error:
                died.append(error.at)
                world.open()
            else:
                break
            world.run(orders.send(f"o-{place}", PLACED, idempotency_key="k"))
            assert world.run(orders.get_state(f"o-{place}")) == Order("pending", "ada", 400)
            assert [call.delivery for call in world.effects] in ([1], [1, 2], [2])
    assert [at for at in died if "effect" in at] == ["before effect send_mail", "after effect send_mail"]
    assert [at for at in died if "commit" in at] == ["before commit", "after commit"] * 2


def test_a_deploy_is_another_app_for_the_next_worker(store: Any) -> None:
    with World(app, Shop(), store=store) as world:
        world.run(world.handle(order_processor).send("o-1", PLACED))
        world.restart(App(Shop()).with_jobs(webhook_batcher))
        with pytest.raises(UnknownJob):
            world.handle(order_processor)
        assert len(world.instances()) == 1
        world.restart(app)
        assert world.run(world.handle(order_processor).status("o-1")).status == "scheduled"


def test_only_one_worker_at_a_time() -> None:
    with world_of() as world:
        with pytest.raises(WorkerRunning, match="worker 1 is open"):
            world.open()
        world.close()
        with pytest.raises(NoWorker, match="jobs needs a worker"):
            world.handle(order_processor)
        with pytest.raises(NoWorker, match="call open"):
            world.crash()


def test_a_stalled_worker_is_late_for_everything(store: Any) -> None:
    with world_of(store) as world:
        tokens = world.handle(token_refresher)
        world.run(tokens.start("ada", TokenState("", "r", NEW_YEAR)))
        world.stall("8 hours")
        assert world.run(tokens.status("ada")).run_count == 2
        assert world.now == NEW_YEAR + timedelta(hours=8)


@pytest.mark.parametrize("at", ["send_mail", "store.commit", "store.load"])
def test_a_worker_that_continues_after_another_took_its_store_changes_nothing(at: str) -> None:
    with world_of() as world:
        orders = world.handle(order_processor)
        world.inject(Hang(at, when="before"))
        suspended = world.start(orders.send("o-1", PLACED, idempotency_key="k"))
        world.settle()
        world.advance("1 minute")
        world.take_over_from_stalled()
        world.run(orders.send("o-1", PLACED, idempotency_key="k"))
        world.run(orders.send("o-1", PaymentReceived(400)))
        stored = world.instance(order_processor, "o-1")
        world.resume_stalled()
        assert isinstance(suspended.result(), Failure)
        assert world.instance(order_processor, "o-1") == stored
        assert world.run(orders.get_state("o-1")).status == "paid"
        assert "world.take_over_from_stalled()" in world.trace_text()
        assert re.search(r"w1  #1 returned (StoreUnavailable|OutcomeUnknown)", world.trace_text())


def test_a_file_is_not_taken_from_a_stalled_worker(tmp_path: Path) -> None:
    with world_of(tmp_path / "jobs.db") as world, pytest.raises(StoreLocked):
        world.take_over_from_stalled()


def test_services_of_the_app_apply_unless_others_are_passed() -> None:
    shop = Shop()
    with World(App(shop).with_jobs(order_processor)) as world:
        world.run(world.handle(order_processor).send("o-1", PLACED))
    assert len(shop.sent) == 1
    with pytest.raises(DefinitionError, match="mailer"):
        World(app, object())


def test_a_store_that_is_none_is_refused() -> None:
    with pytest.raises(DefinitionError, match="store of a World"):
        World(app, store=3)  # type: ignore[arg-type] # the mistake under test


def test_a_world_over_a_file_has_a_loop_of_its_own(tmp_path: Path) -> None:
    async def within_a_loop() -> None:
        with pytest.raises(EventLoopRunning, match="synchronous function"), world_of(tmp_path / "jobs.db"):
            pass

    asyncio.run(within_a_loop())


# ---------------------------------------------------------------- faults
def test_an_effect_fails_with_its_own_error_so_many_times(store: Any) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        world.inject(Fail("send_mail", MailBounced("ada"), call=2, times=2))
        answers = [world.attempt(orders.send(f"o-{number}", PLACED)) for number in range(4)]
        assert [isinstance(answer, Success) for answer in answers] == [True, False, False, True]
        refused: Any = answers[1].failure()
        assert refused.error == MailBounced("ada")


def test_an_effect_raises_or_loses_its_answer(store: Any) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        world.inject(Raise("send_mail", OSError("no route")))
        assert isinstance(world.error_of(orders.send("o-1", PLACED)), HookRaised)
        assert world.effects == ()
        world.inject(Raise("send_mail", when="after"))
        lost: Any = world.error_of(orders.send("o-1", PLACED))
        assert lost.error_type == "ConnectionError"
        assert [call.outcome for call in world.effects] == [Success(None)]


def test_an_effect_takes_its_time(store: Any) -> None:
    with world_of(store) as world:
        world.inject(Delay("send_mail", "3 s"))
        world.run(world.handle(order_processor).send("o-1", PLACED))
        assert world.now == NEW_YEAR + timedelta(seconds=3)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_dies_at_an_effect(store: Any, when: Any) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        world.inject(Crash("send_mail", when=when))
        with pytest.raises(WorkerDied, match=f"{when} effect send_mail"):
            world.run(orders.send("o-1", PLACED, idempotency_key="k"))
        assert len(world.effects) == (when == "after")
        world.open()
        world.run(orders.send("o-1", PLACED, idempotency_key="k"))
        assert [call.delivery for call in world.effects] == ([1, 2] if when == "after" else [2])


def test_an_effect_whose_worker_dies_has_no_outcome(store: Any) -> None:
    with world_of(store) as world:
        world.inject(Crash("send_mail", when="after"))
        world.start(world.handle(order_processor).send("o-1", PLACED))
        with pytest.raises(WorkerDied):
            world.settle()
        assert [call.outcome for call in world.effects] == [Success(None)]
        assert not world.is_open
        with pytest.raises(WorkerDied):
            world.handle(order_processor)


def test_a_commit_whose_answer_is_lost_was_done(store: Any) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        world.inject(Fail("store.commit", OutcomeUnknown("lost"), when="after", call=2))
        assert isinstance(world.error_of(orders.send("o-1", PLACED, idempotency_key="k")), OutcomeUnknown)
        assert world.run(orders.send("o-1", PLACED, idempotency_key="k")).created
        assert len(world.effects) == 1


def test_a_store_that_fails_writes_nothing(store: Any) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        world.inject(Fail("store.commit", StoreUnavailable("commit", "full"), times=3))
        assert isinstance(world.error_of(orders.send("o-1", PLACED)), StoreUnavailable)
        world.clear_faults()
        assert world.instances() == ()
        assert world.run(orders.send("o-1", PLACED)).created


# ---------------------------------------------------------------- looking
def test_effects_are_recorded_with_whose_they_were() -> None:
    with world_of() as world:
        world.run(world.handle(webhook_batcher).add("c-1", Webhook("w-1", "paid", "{}")))
        world.advance("1 hour")
        (call,) = world.effects
        assert (call.name, str(call.address)) == ("push", "debounce:webhook-batcher:c-1")
        assert (call.attempt, call.delivery, call.outcome) == (1, 1, Success(1))
        assert repr(UNANSWERED) == "no answer"


def test_a_request_that_is_refused_before_it_is_sent_leaves_the_world_and_is_no_line_of_the_test() -> None:
    """Else the caller would wait for the threads of a world that was not closed, and see another error."""
    table = Schedules("table", targets=(order_processor,))
    with pytest.raises(InvalidArgument) as caught, World(app.with_jobs(table), Shop()) as world:  # noqa: PT012 - the world is left by it
        message = tell(order_processor, "o-1").send(PLACED)
        world.run(world.handle(table).put("s", every("1 hour"), message))
    assert not world.is_open
    assert "schedule of put" in str(caught.value)
    (story,) = caught.value.__notes__
    assert ".put(" not in story


def test_a_failure_shows_the_trace_and_how_to_reproduce_it() -> None:
    with pytest.raises(AssertionError) as caught, world_of(seed=7, debug=True) as world:  # noqa: PT012 - the world is left by it
        orders = world.handle(order_processor)
        world.inject(Fail("store.commit", OutcomeUnknown("lost"), when="after", call=2))
        world.attempt(orders.send("o-1", PLACED, idempotency_key="k"))
        world.advance("5 minutes")
        world.crash_after(1)
        with pytest.raises(WorkerDied):
            world.run(orders.send("o-1", PLACED))
        world.crash()
        raise AssertionError
    (story,) = caught.value.__notes__
    for part in (
        '#1 request to task:order-processor:o-1: send {"type":"OrderPlaced","owner":"ada","amount":400}, key \'k\'',
        "effect send_mail(",
        "FAULT Fail('store.commit', error=OutcomeUnknown(",
        "stores the result of key 'k'",
        "+5m  w1    commit task:order-processor:o-1: purged",
        "job.terminated",
        "WORKER KILLED after load",
        "from perdure.examples.order_processor import OrderPlaced",
        "from perdure.testing import Fail, WorkerDied, World",
        "with World(app, Shop(), seed=7) as world:",
        "world.attempt(world.handle(order_processor).send('o-1', OrderPlaced(owner='ada', amount=400), ",
        "with suppress(WorkerDied):\n            world.run(world.handle(order_processor).send(",
    ):
        assert part in story


# ---------------------------------------------------------------- a death, and the calls of a world
DRIVING: dict[str, Callable[[World], object]] = {
    "ask": lambda world: world.run(world.handle(order_processor).get_state("o-3")),
    "result": lambda world: world.attempt(world.handle(order_processor).get_state("o-3")),
    "refused": lambda world: world.error_of(world.handle(order_processor).get_state("o-3")),
    "together": lambda world: world.concurrently(world.handle(order_processor).get_state("o-3")),
    "settle": lambda world: world.settle(),
    "advance": lambda world: world.advance("1 minute"),
    "jump": lambda world: world.advance_to_next_alarm(),
    "stall": lambda world: world.stall("1 minute"),
    "release": lambda world: world.release("send_mail"),
    "instances": lambda world: world.instances(),
    "close": lambda world: world.close(),
    "restart": lambda world: world.restart(),
    "wake": lambda world: world.resume_stalled(),
}


@pytest.mark.parametrize("name", DRIVING)
def test_whichever_call_the_worker_dies_in_raises_its_death(store: Any, name: str) -> None:
    with world_of(store) as world:
        orders = world.handle(order_processor)
        world.run(orders.send("o-1", PLACED, idempotency_key="k"))
        if name in ("close", "restart"):  # which wait for a run that is under way
            world.inject(Delay("send_mail", "100 ms"))
            world.start(orders.send("o-2", PLACED))
            world.settle()
        else:
            world.start(orders.send("o-2", PLACED))
        world.crash_after(1)
        with pytest.raises(WorkerDied):
            DRIVING[name](world)
        assert not world.is_open
        assert "with suppress(WorkerDied):" in world.trace_text()
        world.advance("1 s")  # time passes without a worker
        world.open()
        assert world.run(orders.get_state("o-1")) == Order("pending", "ada", 400)


# ---------------------------------------------------------------- several faults at one place
CALLS = 6


@program
def sends_many(ctx: TaskContext[tuple[bool, ...]], event: int) -> Do[None, Never, HasMailer]:
    sent: list[bool] = []
    for number in range(CALLS):
        answer = yield from send_mail(f"{number}", "ada", "hello").attempt()
        sent.append(isinstance(answer, Success))
    yield from ctx.set_state(tuple(sent))


many = Task("many", state=tuple[bool, ...], event=int, initial=(), on_event=sends_many)


@given(st.permutations(range(1, CALLS + 1)), st.integers(0, CALLS))
@settings(max_examples=30)
def test_a_fault_strikes_the_call_that_it_names_beside_others(calls: list[int], count: int) -> None:
    plan = tuple(Fail("send_mail", MailBounced("ada"), call=call) for call in calls[:count])
    with World(App(Shop()).with_jobs(many)) as world:
        world.inject(*plan)
        world.run(world.handle(many).send("a", 1))
        state = world.run(world.handle(many).get_state("a"))
    stage = hook_context(many, state=())
    assert state == simulate(sends_many(stage.ctx, 1), Shop(), on=stage, faults=plan).state


def test_two_faults_for_one_call_strike_one_after_the_other() -> None:
    with World(App(Shop()).with_jobs(many)) as world:
        world.inject(*(Fail("send_mail", MailBounced("ada"), call=call, times=2) for call in (1, 2)))
        world.run(world.handle(many).send("a", 1))
        assert world.run(world.handle(many).get_state("a")) == (False, False, False, False, True, True)
