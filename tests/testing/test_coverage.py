"""Coverage of behaviour: the pairs seen, the pairs missing, and their diagram."""

from __future__ import annotations

import enum
from contextlib import suppress
from typing import Any, Never

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Result, Success
from shop import NEW_YEAR, Shop, app
from test_plugin import run

from perdure import App, Backoff, Do, Program, Retry, Task, TaskContext, effect, lift, program, succeed
from perdure.examples.mail import HasMailer, MailBounced, send_mail
from perdure.examples.order_processor import Delivered, OrderPlaced, PaymentReceived, order_processor
from perdure.examples.token_refresher import TokenState, token_refresher
from perdure.programs import sleep
from perdure.testing import Crash, Fail, Fault, Raise, WorkerDied, World
from perdure.testing.coverage import (
    DEFECTS,
    FAULTS,
    CoverageObserver,
    JobCoverage,
    ObservedTransition,
    as_mermaid,
    as_text,
    merged,
)
from perdure.values.errors import OutcomeUnknown
from perdure.values.status import Defect


def observed(job: object) -> JobCoverage:
    observer = CoverageObserver()
    world = World(app, Shop())
    world.watch(observer.of(world))
    with world:
        orders, tokens = world.handle(order_processor), world.handle(token_refresher)
        world.run(orders.send("a", OrderPlaced("ada", 400)))
        world.run(orders.send("a", PaymentReceived(400)))
        world.error_of(orders.send("a", Delivered()))
        world.inject(Fail("send_mail", MailBounced("ada")))
        world.error_of(orders.send("b", OrderPlaced("ada", 400)))
        world.run(orders.send("b", OrderPlaced("ada", 400)))
        world.advance("5 minutes")
        world.inject(Raise("refresh", OSError("down"), times=3))
        world.run(tokens.start("ada", TokenState("", "r", NEW_YEAR)))
        world.advance("1 hour")
        world.crash()
    return observer.jobs[f"{job.kind}:{job.name}"]  # type: ignore[attr-defined] # a definition


def test_each_step_is_counted_with_its_outcome() -> None:
    steps = observed(order_processor).steps
    assert steps[ObservedTransition("absent", "OrderPlaced", "pending")] == 2
    assert steps[ObservedTransition("pending", "PaymentReceived", "paid")] == 1
    assert steps[ObservedTransition("paid", "Delivered", "refused: IllegalTransition")] == 1
    assert steps[ObservedTransition("absent", "OrderPlaced", "refused: MailBounced")] == 1
    assert steps[ObservedTransition("pending", "alarm", "ended")] == 1


def test_pairs_that_never_met_are_known_from_the_types() -> None:
    never_met = observed(order_processor).never_met()
    assert ("shipped", "Delivered") in never_met
    assert ("pending", "PaymentReceived") not in never_met
    assert ("paid", "alarm") in never_met


def test_exits_and_mishaps_are_counted() -> None:
    coverage = observed(token_refresher)
    assert coverage.exits["run by alarm: succeeded"] >= 1
    assert coverage.exits["execute: succeeded"] >= 1
    assert any(line.startswith("execute: defect OSError") for line in coverage.exits)
    assert coverage.mishaps["raise before refresh"] == 3
    assert coverage.mishaps["crash at its current step"] == 1
    assert not any("send_mail" in mishap for mishap in coverage.mishaps), "a fault is the job's whose run it struck"


def test_hooks_are_counted_that_leave_no_event_behind() -> None:
    exits = observed(order_processor).exits
    assert exits["on_event: succeeded"] == 3
    assert exits["execute: ended the instance"] == 1


def test_the_text_names_untested_pairs_and_the_diagram_shows_seen_ones() -> None:
    coverage = observed(order_processor)
    text, diagram = as_text(coverage), as_mermaid(coverage)
    assert "pending x PaymentReceived -> paid (once)" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[2:13]}
    assert rows["absent"] == ["new", "pending", "paid", "shipped", "delivered", "cancelled"]
    assert rows["OrderPlaced"] == ["3", ".", ".", ".", ".", ".", "."]
    assert rows["Delivered"] == [".", ".", ".", "1", ".", ".", "."]
    assert rows["alarm"] == [".", "1", ".", ".", ".", "."], "an absent instance has no alarm"
    assert diagram.startswith("stateDiagram-v2")
    assert "    [*] --> pending: OrderPlaced" in diagram
    assert "    pending --> [*]: alarm" in diagram
    assert "    shipped: shipped (not observed)" in diagram
    assert "refused" not in diagram


@program
def notice(ctx: TaskContext[int], event: int) -> Do[None, MailBounced, HasMailer]:
    yield from send_mail(ctx.run_id, "ada", str(event))
    yield from ctx.schedule(after="1 hour")


def fires(ctx: TaskContext[int]) -> Program[None]:
    return succeed(None)


def idles(ctx: TaskContext[int]) -> Program[None]:
    return succeed(None)


def rescues(ctx: TaskContext[int], error: MailBounced | Defect) -> Program[None]:
    return succeed(None)


notices = Task(
    "notices",
    state=int,
    event=int,
    initial=0,
    on_event=notice,
    execute=fires,
    on_idle=idles,
    on_error=rescues,
    retry=Retry(2, Backoff.constant("1 s")),
)


def noticed(*faults: Fault) -> JobCoverage:
    observer = CoverageObserver()
    world = World(App(Shop()).with_jobs(notices))
    world.watch(observer.of(world))
    with world:
        for fault in faults:
            world.inject(fault)
            with suppress(WorkerDied):
                world.attempt(world.handle(notices).send("a", 1))
            if not world.is_open:
                world.open()
        if not faults:
            world.run(world.handle(notices).send("a", 1))
    return observer.jobs["task:notices"]


def test_hooks_exits_and_faults_that_never_occurred_are_reported() -> None:
    coverage = noticed()
    assert coverage.never_ran() == ("execute", "on_idle", "on_error")
    assert coverage.never_reached() == ("on_event: failure MailBounced", "on_event: defect", "retry: exhausted")
    assert coverage.never_injected() == {"send_mail": FAULTS, "store.commit": FAULTS}
    for text in (as_text(coverage), as_mermaid(coverage).replace(" - ", ": ")):
        assert "on_error hook: never ran" in text
        assert "exit never reached: on_event: failure MailBounced" in text
        assert "exit never reached: on_event: succeeded" not in text
        assert "faults never injected at send_mail: any" in text


def test_a_transition_that_occurred_is_reported_no_more() -> None:
    lost = OutcomeUnknown("lost")
    coverage = noticed(
        Fail("send_mail", MailBounced("ada")),
        Raise("send_mail"),
        Crash("send_mail", when="after"),
        Fail("store.commit", lost, when="after", call=2),
    )
    assert "on_error" not in coverage.never_ran()
    assert coverage.never_reached() == (
        "on_idle: defect",
        "on_error: defect",
        "retry: exhausted",
    )
    assert coverage.never_injected()["send_mail"] == (
        "crash before",
        "raise after",
        "timeout before",
        "timeout after",
        "fail after",
    )
    assert "faults never injected at send_mail: crash before, raise after, timeout before" in as_text(coverage)
    assert "fail after" not in coverage.never_injected()["store.commit"]


@effect
def look_around(services: object) -> Result[int, Never]:
    """Reach outside, where nothing is ever refused."""
    return Success(1)


@program
def looks(ctx: TaskContext[int], event: int) -> Do[None, Never, object]:
    yield from ctx.set_state((yield from look_around()))


@program
def does_nothing(ctx: TaskContext[int]) -> Do[None]:
    yield from succeed(None)


def test_a_service_that_declares_no_error_is_not_said_to_lack_one() -> None:
    observer = CoverageObserver()
    looking = Task("looking", state=int, event=int, initial=0, on_event=looks, execute=does_nothing)
    with World(App(Shop()).with_jobs(looking)) as world:
        world.watch(observer.of(world))
        world.run(world.handle(looking).send("a", 1))
    coverage = observer.jobs["task:looking"]
    assert coverage.never_injected() == {"look_around": DEFECTS, "store.commit": FAULTS}
    assert "faults never injected at look_around: any" in as_text(coverage)
    assert merged([coverage, JobCoverage.read(coverage.plain())])["task:looking"].infallible == {"look_around"}


def test_a_worker_that_dies_at_a_crossing_counts_as_a_crash_there() -> None:
    coverage = JobCoverage(
        "task:a", (), (), mishaps={"crash before effect a": 1, "crash after commit": 1}, effects={"a": 1}
    )
    assert "crash before" not in coverage.never_injected()["a"]
    assert coverage.never_injected()["store.commit"][:2] == ("crash before", "raise before")


def test_a_job_of_which_everything_was_tried_has_nothing_left_to_tell() -> None:
    mishaps = {f"{fault} store.commit": 1 for fault in FAULTS}
    coverage = JobCoverage(
        "task:a",
        (),
        (),
        exits={"execute: succeeded": 1, "execute: defect OSError": 2, "retry: exhausted (attempts)": 1},
        mishaps=mishaps,
        declared_exits=("execute: succeeded", "execute: defect", "retry: exhausted"),
    )
    assert "never" not in as_text(coverage)
    assert "never" not in as_mermaid(coverage)


def test_parts_of_several_processes_add_up() -> None:
    coverage = observed(order_processor)
    sent = JobCoverage.read(coverage.plain())
    assert sent == coverage
    whole = merged([coverage, sent])[coverage.job]
    assert whole.steps == {step: 2 * count for step, count in coverage.steps.items()}
    assert whole.effects == {name: 2 * count for name, count in coverage.effects.items()}
    assert whole.declared_exits == coverage.declared_exits != ()
    assert whole.mishaps == {name: 2 * count for name, count in coverage.mishaps.items()}


# ---------------------------------------------------------------- requests at the same moment
class Light(enum.Enum):
    RED = "red"
    GREEN = "green"
    AMBER = "amber"


@attrs.frozen
class Lamp:
    light: Light = Light.RED


@attrs.frozen
class Go:
    pass


@attrs.frozen
class Stop:
    pass


@attrs.frozen
class Warn:
    pass


ALLOWED = {
    (Light.RED, Go): Light.GREEN,
    (Light.GREEN, Warn): Light.AMBER,
    (Light.AMBER, Stop): Light.RED,
    (Light.AMBER, Go): Light.GREEN,
}


@attrs.frozen
class Forbidden:
    pass


@program
def switch(ctx: TaskContext[Lamp], event: Go | Stop | Warn) -> Do[None, Forbidden, object]:
    if isinstance(event, Warn):  # its claim is stored before its end
        yield from look_around()
    lamp = yield from ctx.state
    light = ALLOWED.get((lamp.light, type(event)))
    yield from lift(Failure(Forbidden()) if light is None else Success(None))
    yield from ctx.set_state(Lamp(light or Light.RED))


lamps = Task("lamps", state=Lamp, event=Go | Stop | Warn, initial=Lamp(), on_event=switch)

POSSIBLE = {
    ObservedTransition(
        before, event.__name__, light.name if (light := ALLOWED.get((state, event))) else "refused: Forbidden"
    )
    for before, state in [("absent", Light.RED), *((light.name, light) for light in Light)]
    for event in (Go, Stop, Warn)
}


@given(
    asked=st.lists(st.lists(st.sampled_from([Go(), Stop(), Warn(), "pause", "terminate"]), min_size=1, max_size=4)),
    seed=st.integers(0, 1_000),
    interleaving=st.sampled_from(["turns", "operations"]),
)
@settings(max_examples=60)
def test_counted_transitions_of_concurrent_requests_are_possible(asked: Any, seed: int, interleaving: Any) -> None:
    observer = CoverageObserver()
    with World(App(Shop()).with_jobs(lamps), seed=seed, interleaving=interleaving) as world:
        world.watch(observer.of(world))
        handle = world.handle(lamps)
        for number, events in enumerate(asked):
            calls = []
            for place, event in enumerate(events):
                key = f"{number}-{place % 3}"  # every fourth repeats the first
                call = handle.send("a", event, idempotency_key=key) if not isinstance(event, str) else None
                calls.append(call if call is not None else getattr(handle, str(event))("a"))
            world.concurrently(*calls)
            world.run(handle.resume("a"))
    sent = {step for step in observer.coverage(lamps).steps if step.event in ("Go", "Stop", "Warn")}
    assert {step for step in sent if step.before != "paused" and step.after != "paused"} <= POSSIBLE


def test_requests_at_the_same_moment_are_counted_each() -> None:
    observer = CoverageObserver()
    with World(App(Shop()).with_jobs(lamps)) as world:
        world.watch(observer.of(world))
        handle = world.handle(lamps)
        world.concurrently(handle.send("a", Go()), handle.send("a", Warn()), handle.send("a", Stop()))
    assert sum(observer.coverage(lamps).steps.values()) == 3


@program
def warn_later(ctx: TaskContext[Lamp], event: Go | Stop | Warn) -> Do[None, Forbidden, object]:
    yield from switch(ctx, event)
    if isinstance(event, Go):
        yield from ctx.schedule(after="1 s")


@program
def grow_dim(ctx: TaskContext[Lamp]) -> Do[None, Never, object]:
    lamp = yield from ctx.state
    yield from sleep("300 ms")
    yield from ctx.set_state(Lamp(Light.AMBER if lamp.light is Light.GREEN else lamp.light))


timers = Task("timers", state=Lamp, event=Go | Stop | Warn, initial=Lamp(), on_event=warn_later, execute=grow_dim)
DIMMED = {ObservedTransition("GREEN", "alarm", "AMBER")} | {
    ObservedTransition(light.name, "alarm", light.name) for light in (Light.AMBER, Light.RED)
}
CHANGES = {
    *(
        (state, event, state)
        for state in ("absent", *(light.name for light in Light))
        for event in ("trigger", "resume")
    ),
    ("GREEN", "trigger", "AMBER"),
    *((light.name, "pause", "paused") for light in Light),
    ("absent", "pause", "absent"),
}


@given(
    asked=st.lists(
        st.tuples(
            st.lists(st.sampled_from([Go(), Stop(), Warn(), "pause", "resume", "trigger"]), max_size=3),
            st.sampled_from([0, 100, 300, 800, 1_000, 1_100]),
        )
    ),
    seed=st.integers(0, 1_000),
    interleaving=st.sampled_from(["turns", "operations"]),
)
@example(asked=[([Go()], 1_000), (["resume"], 0)], seed=0, interleaving="turns")
@settings(max_examples=60)
def test_counted_transitions_of_requests_beside_an_alarm_are_possible(asked: Any, seed: int, interleaving: Any) -> None:
    observer = CoverageObserver()
    with World(App(Shop()).with_jobs(timers), seed=seed, interleaving=interleaving) as world:
        world.watch(observer.of(world))
        handle = world.handle(timers)
        for events, ms in asked:
            for event in events:
                world.start(getattr(handle, event)("a") if isinstance(event, str) else handle.send("a", event))
            world.advance(f"{ms} ms")
        world.advance("10 s")
    counted = {step for step in observer.coverage(timers).steps if "paused" not in (step.before, step.after)}
    requests = {ObservedTransition(*change) for change in CHANGES}
    assert counted <= POSSIBLE | DIMMED | requests


TESTS = """
import pytest
from jobs import Add, app, counter

from perdure.testing import World


@pytest.mark.parametrize("number", range(4))
def test_adds(number):
    with World(app) as world:
        world.run(world.handle(counter).send("a", Add(number)))
"""


def test_the_plugin_reports_it_also_of_several_workers(tmp_path) -> None:
    for options in ((), ("-p", "xdist", "-n", "2")):
        printed = run(tmp_path, TESTS, "--perdure-coverage", *options)
        assert "task:counter: 1 of 11 pairs of state and event observed" in printed
        assert "absent x send -> kept (4 times)" in printed
        assert "[*] --> kept: send" in printed
    assert "behaviour coverage" not in run(tmp_path, TESTS)
