"""The lines of a story: pasted as they are, they do the same again."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest
from attrs import frozen
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from returns.result import Failure, Result, Success
from shop import NEW_YEAR, Shop, app

from perdure import App, Decision, Do, Limits, Task, TaskContext, program, succeed, tell
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import Order, OrderPlaced, PaymentReceived, order_processor
from perdure.examples.token_refresher import AuthDown, TokenState, token_refresher
from perdure.examples.webhook_batcher import Webhook, webhook_batcher
from perdure.testing import (
    Clock,
    Crash,
    Delay,
    Fail,
    Fault,
    Hang,
    InstanceView,
    InvariantViolated,
    JobMachine,
    Model,
    Raise,
    WorkerDied,
    World,
)
from perdure.testing.machine import laws_in_source
from perdure.testing.world.recording import MAX_RECORDED_LINES
from perdure.testing.world.source_code import source_of, written
from perdure.testing.world.world import WORLD_WATCHERS
from perdure.values.errors import OutcomeUnknown, StoreUnavailable

deployed = App(Shop()).with_jobs(order_processor)

DO_IT_AGAIN = "To reproduce:\n\n"


def pasted(story: str, *given: object) -> World:
    """Run the lines of a trace, with nothing added to them; return the world that they make."""
    made: list[World] = []

    def remember(world: World) -> Any:
        made.append(world)
        return lambda _: None

    names: dict[str, Any] = {}
    exec(story.partition(DO_IT_AGAIN)[2], names)  # noqa: S102 - our own lines
    WORLD_WATCHERS.append(remember)
    try:
        names["test_it_does_not_happen_again"](*given)
    finally:
        WORLD_WATCHERS.remove(remember)
    (world,) = made
    return world


def one_of(*handles: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(handles)


CALLS = one_of(
    lambda world: world.handle(order_processor).send("o", OrderPlaced("ada", 400), idempotency_key="placed"),
    lambda world: world.handle(order_processor).send("o", PaymentReceived(400)),
    lambda world: world.handle(token_refresher).start("ada", TokenState("old", "r-1", NEW_YEAR)),
    lambda world: world.handle(token_refresher).trigger("ada", wait_for="start"),
    lambda world: world.handle(webhook_batcher).add("c", Webhook("1", "paid", '{"it\'s": "quoted"}')),
    lambda world: world.handle(webhook_batcher).flush("c"),
    lambda world: world.handle(order_processor).terminate("o", "no more", interrupt=True),
)
FAULTS = one_of(
    Fail("send_mail", MailBounced("ada"), times=2),
    Fail("refresh", AuthDown("it's down")),
    Fail("store.commit", OutcomeUnknown("lost"), when="after", call=2),
    Fail("store.load", StoreUnavailable("load", "down")),
    Raise("push", OSError("down")),
    Raise("refresh", ValueError),
    Delay("send_mail", "3 s"),
    Hang("refresh", when="after"),
    Crash("send_mail", when="after"),
)
ACTIONS = st.one_of(
    st.tuples(one_of("ask", "result", "begin", "begin and wait", "begin and give up"), CALLS),
    st.tuples(st.just("together"), st.lists(CALLS, min_size=2, max_size=3)),
    st.tuples(st.just("inject"), FAULTS),
    st.tuples(st.just("advance"), one_of("1 ms", "5 minutes", timedelta(minutes=30))),
    st.tuples(st.just("stall"), one_of("2 s", "1 hour")),
    st.tuples(st.just("shift_wall_clock"), one_of(timedelta(hours=1), timedelta(seconds=-90))),
    st.tuples(st.just("crash_after"), st.integers(0, 9)),
    st.tuples(one_of("crash", "restart", "jump", "mend", "survive", "settle", "release"), st.none()),
)


def play(world: World, actions: list[tuple[str, Any]]) -> None:
    """Perform the drawn actions."""
    for action, how in actions:
        while not world.is_open:
            with suppress(WorkerDied):
                world.open()
        with suppress(Exception):  # the error of a call, the death of a worker
            match action:
                case "begin":
                    world.start(how(world))
                case "begin and wait":
                    call = world.start(how(world))
                    world.advance("1 s")
                    call.answer()
                case "begin and give up":
                    call = world.start(how(world))
                    world.settle()
                    call.give_up()
                case "together":
                    world.concurrently(*(each(world) for each in how))
                case "release":
                    world.release("refresh")
                case _ if callable(how):
                    getattr(world, action)(how(world))
                case _:
                    getattr(world, action)(*([] if how is None else [how]))


def lines(story: str) -> str:
    return story.partition(DO_IT_AGAIN)[2]


def happened(story: str) -> str:
    return story.partition(DO_IT_AGAIN)[0].rstrip()


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, max_size=8), st.integers(0, 99), st.sampled_from(["turns", "operations"]))
def test_the_lines_of_a_story_do_it_again(actions, seed: int, interleaving: Literal["turns", "operations"]) -> None:
    with World(app, Shop(), seed=seed, interleaving=interleaving) as world:
        play(world, actions)
        story = world.trace_text()
    again = pasted(story).trace_text()
    assert happened(again).startswith(happened(story))
    assert lines(again) == lines(story)


def commits(story: str) -> list[str]:
    return [line for line in happened(story).splitlines() if "commit" in line]


@settings(max_examples=8, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=5), seed=st.integers(0, 99))
def test_they_do_it_again_over_a_file(tmp_path_factory: pytest.TempPathFactory, actions, seed: int) -> None:
    with World(app, Shop(), seed=seed, store=tmp_path_factory.mktemp("first") / "jobs.db") as world:
        play(world, actions)
    story = world.trace_text()  # work in progress when the world ended is over by now, in both
    again = pasted(story, tmp_path_factory.mktemp("again")).trace_text()
    assert lines(again) == lines(story)
    assert commits(again) == commits(story)


def test_a_deploy_is_done_again() -> None:
    with World(app, Shop()) as world:
        world.restart(deployed)
        world.run(world.handle(order_processor).send("o", OrderPlaced("ada", 400)))
        story = world.trace_text()
    assert "world.open(deployed)" in story


def bad(_: object) -> bool:
    return False


FEW = settings(
    max_examples=20,
    stateful_step_count=12,
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
)


def test_so_do_those_of_a_state_machine() -> None:
    machine = JobMachine(
        job=order_processor,
        services=Shop,
        invariants=(bad,),
        interleaving="operations",
        limits=Limits(shutdown_timeout="7 ms"),
    )
    with pytest.raises(AssertionError) as caught:
        machine.run(FEW)
    (story,) = (note for note in caught.value.__notes__ if DO_IT_AGAIN in note)
    assert "World(App(Shop(), limits=Limits(shutdown_timeout='7ms')).with_jobs(order_processor), seed=0, inter" in story
    assert "laws = JobLaws(world, order_processor, invariants=(bad,))" in story
    with pytest.raises(AssertionError, match="bad") as again:
        pasted(story)
    assert happened("\n".join(again.value.__notes__)) == happened(story)


def decide(count: int, event: int) -> Result[Decision[int], str]:
    return Success(Decision(count + event)) if event < 7 else Failure("too much")


def forgets(count: int, event: int) -> Result[Decision[int], str]:
    return decide(count, event).map(lambda made: attrs.evolve(made, state=0) if made.state >= 6 else made)


def never_refuses(count: int, event: int) -> Result[Decision[int], str]:
    return Success(Decision(count + event))


@program
def sends_it_on(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from tell(counter, ctx.id).send(event)


def positive(view: InstanceView[int]) -> bool:
    return view.state >= 0


def empty(state: int) -> bool:
    return state == 0


counter = Task("counter", state=int, event=int, initial=0, decide=decide)
forgetful = Task("forgetful", state=int, event=int, initial=0, decide=forgets)
lenient = Task("lenient", state=int, event=int, initial=0, decide=never_refuses)
sender = Task("sender", state=int, event=int, initial=0, on_event=sends_it_on)
MODEL = Model(0, decide)


@pytest.mark.parametrize(
    ("job", "options"),
    [
        (counter, {"invariants": (positive,)}),
        (counter, {"finished": empty}),
        (forgetful, {"model": Model(0, decide)}),
        (lenient, {"model": MODEL}),
        (counter, {"model": Model(0, never_refuses)}),
        (sender, {}),
    ],
    ids=["invariant", "silence", "state", "accepted", "refused", "message"],
)
def test_the_lines_of_a_state_machine_assert_the_law_that_was_violated(job: Any, options: dict[str, Any]) -> None:
    machine = JobMachine(job=job, services=Shop, types={int: st.integers(-9, 9)}, mishaps="none", **options)
    with pytest.raises(InvariantViolated) as caught:
        machine.run(FEW)
    (story,) = (note for note in caught.value.__notes__ if DO_IT_AGAIN in note)
    with pytest.raises(InvariantViolated) as again:
        pasted(story)
    assert (again.value.law, again.value.what) == (caught.value.law, caught.value.what)


def test_the_laws_hold_in_the_lines_of_a_machine_without_a_violation() -> None:
    machine = JobMachine(
        job=counter, services=Shop, types={int: st.integers(-9, 9)}, model=MODEL, interleaving="operations"
    )
    stories: list[str] = []

    class Recorded(machine.rules):  # type: ignore[misc] # a class that is made
        def teardown(self) -> None:
            super().teardown()
            self.world.timeline.script.checks = lambda: laws_in_source(machine, "check_at_rest")
            stories.append(self.world.trace_text())

    run_state_machine_as_test(Recorded, settings=FEW)
    for story in stories:
        pasted(story)
    assert any("idempotency_key" in story for story in stories)


def test_the_calls_of_a_coroutine_are_not_kept_for_ever() -> None:
    with World(app, Shop()) as world:

        async def many() -> None:
            for _ in range(MAX_RECORDED_LINES + 10):
                await world.handle(order_processor).status("o")

        world.run(many())
        assert len(world.timeline.script._written) == MAX_RECORDED_LINES


def test_the_trace_repeats_a_clock_that_was_passed() -> None:
    with World(app, clock=Clock(datetime(2027, 2, 3, tzinfo=UTC))) as world:
        world.run(world.handle(order_processor).send("o", OrderPlaced("ada", 400)))
        story = world.trace_text()
    assert "clock=Clock(datetime.datetime(2027, 2, 3, 0, 0, tzinfo=datetime.timezone.utc))" in story
    assert pasted(story).trace_text() == story


def test_a_world_without_the_debug_mode_is_made_again_without_it() -> None:
    with World(app, Shop(), debug=False) as world:
        world.run(world.handle(order_processor).send("o", OrderPlaced("ada", 400)))
    assert "World(app, Shop(), seed=0, debug=False)" in world.trace_text()
    assert "debug=False" in pasted(world.trace_text()).trace_text()
    with World(app, Shop(), debug=True) as world:
        assert "debug" not in world.trace_text()


def test_where_no_module_has_a_name_the_reader_fills_one_in() -> None:
    @attrs.define
    class Own(Shop):
        needed: str = attrs.field(kw_only=True)

    job = Task("or ders", state=Order, event=OrderPlaced, initial=Order(), on_event=lambda ctx, event: succeed(None))
    with World(App(Own(needed="this")).with_jobs(job), debug=True) as world:
        world.run(world.handle(job).send("o", OrderPlaced("ada", 400)))
        story = world.trace_text()
    assert "with World(app, seed=0) as world:" in story
    assert "        or_ders = world.handle(...)  # the definition of 'or ders'" in story
    assert "world.run(or_ders.send('o', OrderPlaced(owner='ada', amount=400)))" in story


# ---------------------------------------------------------------- values
class Colour(Enum):
    RED = "red"


@frozen
class Everything:
    colour: Colour
    at: datetime
    id: UUID
    price: Decimal
    _private: tuple[int, ...]
    more: dict[str, frozenset[Colour]]
    nothing: float = float("inf")
    made: int = attrs.field(init=False, default=3)


@pytest.mark.parametrize(
    "value",
    [
        Everything(Colour.RED, NEW_YEAR, UUID(int=7), Decimal("1.10"), (1,), {"a": frozenset({Colour.RED})}),
        datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        [set(), frozenset(), (), b"bytes", "it's", None, -0.5],
        timedelta(days=-1),
    ],
)
def test_values_are_written_as_their_constructors(value: object) -> None:
    spelling = source_of(value)
    names: dict[str, Any] = {"Everything": Everything, "Colour": Colour}  # this module is imported by no name
    imports = [line for line in written(spelling.imports) if __name__ not in line]
    exec("\n".join(imports), names)  # noqa: S102 - our own lines
    assert eval(spelling.text, names) == value  # noqa: S307 - as above


@given(FAULTS)
def test_faults_are_written_as_they_print(fault: Fault) -> None:
    assert source_of(fault).text == repr(fault)
