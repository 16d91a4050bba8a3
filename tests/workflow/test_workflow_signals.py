"""Signals, cancellation, children and the requests of a workflow in each of its states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flows import (
    Declined,
    HasShop,
    Order,
    Shop,
    bodies,
    child,
    fulfilment,
    held,
    journal,
    label,
    mail,
    names,
    number,
    parent,
    racing,
    stop,
    two_signals,
    wide,
)
from hypothesis import settings

from perdure import App, Do, Limits, Signal, Task, TaskContext, Workflow, WorkflowContext, program, tell
from perdure.programs import as_completed, gather, sleep
from perdure.testing import Delay, Raise, WorkerDied, World
from perdure.testing.journal import check_journal
from perdure.values.answer import Done, WasCancelled
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput, Overloaded, SignalRefused
from perdure.values.outcome import Failed
from perdure.values.status import Defect


def test_signals_are_received_once_in_order_also_before_the_wait() -> None:
    job = Workflow("two", state=int, run=two_signals, signals=(number,), keep=None)
    with World(App(Shop()).with_jobs(job)) as world:
        flow = world.handle(job)
        world.inject(Delay("label", "5 seconds"))
        world.run(flow.start("t", 0))
        world.advance("1 second")
        assert world.run(flow.signal("t", number, 10)).accepted
        world.advance("10 seconds")
        assert world.run(flow.outcome("t")) is None
        assert names(journal(world, job, "t")) == ["label", "signal number"]
        world.run(flow.signal("t", number, 100))
        world.advance("1 second")
        assert world.run(flow.outcome("t")) == Done(value=110)


def test_requests_find_an_absent_a_running_and_an_ended_workflow() -> None:
    job = Workflow("two", state=int, run=two_signals, signals=(number,), keep="1 hour")
    with World(App(Shop()).with_jobs(job)) as world:
        flow = world.handle(job)
        absent = world.error_of(flow.signal("t", number, 1))
        assert isinstance(absent, SignalRefused)
        assert (absent.address, absent.signal, absent.found) == ("workflow:two:t", "number", "absent")
        assert "check the id, or start it first" in str(absent)
        assert world.run(flow.cancel("t", "no")).found == "absent"
        assert world.run(flow.outcome("t")) is None
        world.run(flow.start("t", 0))
        assert not world.run(flow.start("t", 0)).created
        for value in (1, 2):
            assert world.run(flow.signal("t", number, value)).found == "running"
            world.advance("1 second")
        ended = world.error_of(flow.signal("t", number, 3))
        assert isinstance(ended, SignalRefused)
        assert ended.found == "ended"
        assert world.run(flow.cancel("t", "no")).found == "ended"
        assert not world.run(flow.start("t", 0)).created
        assert world.run(flow.status("t")).phase == "done"
        assert world.run(world.jobs.until(job, "t")).status.phase == "done"
        world.advance("1 hour")
        assert world.run(flow.outcome("t")) is None
        assert world.run(flow.status("t")).status == "not_found"


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_signal_starts_an_absent_workflow_in_one_commit(store: str, tmp_path: Path) -> None:
    job = Workflow("two", state=int, run=two_signals, signals=(number,), keep="1 hour")
    place: Any = store if "://" in store else tmp_path / store
    with World(App(Shop()).with_jobs(job), store=place) as world:
        flow = world.handle(job)
        begun = world.run(flow.signal_with_start("t", number, 10, 5, idempotency_key="k"))
        assert (begun.accepted, begun.found) == (True, "absent")
        again = world.run(flow.signal_with_start("t", number, 10, 5, idempotency_key="k"))
        assert again == begun  # by its key
        found = world.run(flow.signal_with_start("t", number, 100, 7))
        assert (found.accepted, found.found) == (True, "running")
        world.advance("1 second")
        assert world.run(flow.outcome("t")) == Done(value=110)
        accepted, _, _ = world.trace_text().partition("#1 returned")
        assert accepted.count("commit workflow:two:t") == 1  # the workflow with its signal


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_signal_starts_the_next_workflow_of_an_ended_one_if_it_may(store: str, tmp_path: Path) -> None:
    job = Workflow("two", state=int, run=two_signals, signals=(number,), keep="1 hour")
    place: Any = store if "://" in store else tmp_path / store
    with World(App(Shop()).with_jobs(job), store=place) as world:
        flow = world.handle(job)
        world.run(flow.start("t", 0))
        for value in (1, 2):
            world.run(flow.signal("t", number, value))
            world.advance("1 second")
        refused = world.error_of(flow.signal_with_start("t", number, 3, 0))
        assert isinstance(refused, SignalRefused)
        assert world.run(flow.outcome("t")) == Done(value=3)
        begun = world.run(flow.signal_with_start("t", number, 30, 1_000, if_ended="start"))
        assert (begun.accepted, begun.found) == (True, "ended")
        world.advance("1 second")
        assert (world.run(flow.outcome("t")), world.run(flow.status("t")).phase) == (None, None)
        world.advance("2 hours")  # the alarm that deletes the earlier outcome is gone
        assert world.run(flow.get_state("t")) == 1_000
        assert names(journal(world, job, "t")) == ["label", "signal number"]
        world.run(flow.signal("t", number, 4))
        world.advance("1 second")
        assert world.run(flow.outcome("t")) == Done(value=34)


def test_a_job_sends_a_signal_that_starts_and_a_wrong_one_is_refused() -> None:
    job = Workflow("two", state=int, run=two_signals, signals=(number,), keep="1 hour")

    @program
    def passing(ctx: TaskContext[int], event: int) -> Do[None]:
        yield from tell(job, "t").signal_with_start(number, event, 5)

    task = Task("passing", state=int, event=int, initial=0, on_event=passing)
    with World(App(Shop(), limits=Limits(state_bytes=10)).with_jobs(job, task)) as world:
        flow = world.handle(job)
        for value in (1, 2):
            world.run(world.handle(task).send("a", value))
        world.advance("1 second")
        assert world.run(flow.outcome("t")) == Done(value=3)
        for call in (
            flow.signal_with_start("u", number, 1, "five"),  # type: ignore[arg-type]
            flow.signal_with_start("u", number, "one", 5),  # type: ignore[misc]
            flow.signal_with_start("u", "number", 1, 5),  # type: ignore[arg-type]
            flow.signal_with_start("u", number, 1, 5, if_ended="continue"),  # type: ignore[arg-type]
            flow.signal_with_start("u", number, 1, 12_345_678_901),
        ):
            assert isinstance(world.error_of(call), InvalidInput | InvalidArgument)
        assert world.instance(job, "u") is None


@pytest.mark.parametrize("end", ["done", "cancelled"])
def test_signals_that_the_program_never_received_are_reported_at_its_end(end: str) -> None:
    job = Workflow("two", state=int, run=two_signals, signals=(number, stop), keep="1 hour")
    with World(App(Shop()).with_jobs(job)) as world:
        flow = world.handle(job)
        world.inject(Delay("label", "5 seconds"))
        world.run(flow.start("t", 0))
        world.run(flow.signal("t", stop, "now"))
        for value in (1, 2, 3) if end == "done" else (1,):
            world.run(flow.signal("t", number, value))
        if end == "cancelled":
            world.advance("6 seconds")
            world.run(flow.cancel("t", "enough"))
        world.advance("1 minute")
        assert world.run(flow.status("t")).phase == end
        noted = [event for event in world.history(job, "t") if event.type == "job.noted"]
        count, names = (2, '["stop","number"]') if end == "done" else (1, '["stop"]')
        assert [(each.name, each.data) for each in noted] == [
            ("signals.unreceived", f'{{"count":{count},"names":{names}}}')
        ]
        instance = world.instance(job, "t")
        assert instance is not None
        assert ("signals not received", str(count)) in [
            (fact.label, fact.value) for fact in job.display_fields_of(instance)
        ]


def test_a_message_with_a_signal_that_nothing_receives_is_rejected_on_the_senders_history() -> None:
    job = Workflow("two", state=int, run=two_signals, signals=(number,), keep=None)

    @program
    def approve(ctx: TaskContext[int], value: int) -> Do[None]:
        yield from ctx.set_state(value)
        yield from tell(job, "typo").signal(number, value)

    clerk = Task("clerk", state=int, initial=0, event=int, on_event=approve)
    with World(App(Shop()).with_jobs(job, clerk)) as world:
        world.run(world.handle(clerk).send("c", 1))
        world.advance("1 second")
        rejected = [event for event in world.history(clerk, "c") if event.type == "message.rejected"]
        assert [(each.target, each.action) for each in rejected] == [("workflow:two:typo", "signal.number")]
        assert rejected[0].error.error_type == "SignalRefused"


def test_a_parked_workflow_stores_signals_and_accepts_requests() -> None:
    @program
    def broken(ctx: WorkflowContext[int]) -> Do[int]:
        yield from sleep("1 second")
        raise RuntimeError("a defect")

    @program
    def diverged(ctx: WorkflowContext[int]) -> Do[int]:
        return (yield from number.receive())

    @program
    def repaired(ctx: WorkflowContext[int]) -> Do[int]:
        yield from sleep("1 second")
        return (yield from number.receive())

    jobs = [Workflow("f", state=int, run=run, signals=(number,), keep=None) for run in (broken, diverged, repaired)]
    with World(App(None).with_jobs(jobs[0])) as world:
        for id_ in ("a", "b", "c", "d"):
            world.run(world.handle(jobs[0]).start(id_, 0))
        world.advance("5 seconds")
        world.restart(App(None).with_jobs(jobs[1]))
        for id_, reason in (
            ("a", "retries_exhausted"),
            ("b", "left"),
            ("c", "left"),
            ("d", "left"),
        ):
            flow = world.handle(jobs[1])
            if reason == "left":
                world.attempt(flow.resume(id_))
                world.advance("1 second")
            report = world.run(flow.status(id_))
            assert (report.parked or report.status) == reason
            if id_ != "c":
                assert world.run(flow.signal(id_, number, 7)).status == report.status
        assert world.run(flow.cancel("c", "enough")).accepted
        assert world.run(flow.terminate("d", "enough")).terminated
        world.restart(App(None).with_jobs(jobs[2]))
        for id_ in ("a", "b", "c"):
            world.run(world.handle(jobs[2]).resume(id_))
        world.advance("5 seconds")
        ends = [world.run(world.handle(jobs[2]).outcome(id_)) for id_ in ("a", "b", "c")]
        assert ends == [Done(7), Done(7), WasCancelled("enough")]


@pytest.mark.parametrize(("limit", "full"), [(2, False), (1, True)])
def test_an_inbox_has_a_limit(limit: int, full: object) -> None:
    @program
    def waiting(ctx: WorkflowContext[int]) -> Do[int]:
        yield from sleep("1 hour")
        return (yield from number.receive())

    job = Workflow("waiting", state=int, run=waiting, signals=(number,), inbox=limit, keep=None)
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("w", 0))
        world.run(flow.signal("w", number, 1))
        if full:
            assert isinstance(world.error_of(flow.signal("w", number, 2)), Overloaded)
        else:
            assert world.run(flow.signal("w", number, 2)).accepted
        world.advance("1 hour")
        assert world.run(flow.outcome("w")) == Done(value=1)


def test_a_race_between_a_signal_and_time() -> None:
    job = Workflow("racing", state=int, run=racing, signals=(stop,), keep=None)
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        for id_ in "ab":
            world.run(flow.start(id_, 0))
        world.advance("1 minute")
        world.run(flow.signal("a", stop, "halt"))
        world.advance("2 hours")
        assert world.run(flow.outcome("a")) == Done(value="halt 2 4")
        assert world.run(flow.outcome("b")) == Done(value="time 2 4")


def test_a_cancelled_workflow_undoes_its_steps_and_keeps_the_callers_reason() -> None:
    shop = Shop()
    with World(App(shop).with_jobs(fulfilment)) as world:
        flow = world.handle(fulfilment)
        world.run(flow.start("o", Order("book", 49)))
        world.advance("1 second")
        world.run(flow.cancel("o", "changed my mind"))
        world.run(flow.cancel("o", "another reason"))
        world.advance("1 second")
        assert shop.names == ["charge", "reserve", "release", "refund"]
        assert world.run(flow.outcome("o")) == WasCancelled(reason="changed my mind")


def test_a_cancellation_waits_for_the_step_in_progress_so_that_it_can_be_undone() -> None:
    shop = Shop()
    with World(App(shop).with_jobs(fulfilment)) as world:
        flow = world.handle(fulfilment)
        world.inject(Delay("reserve", "10 seconds"))
        world.run(flow.start("o", Order("book", 49)))
        world.advance("1 second")
        world.run(flow.cancel("o", "why"))
        world.advance("1 minute")
        assert shop.names == ["charge", "reserve", "release", "refund"]
        assert world.run(flow.outcome("o")) == WasCancelled(reason="why")


def test_a_parked_workflow_can_be_cancelled_in_good_order() -> None:
    shop = Shop()
    with World(App(shop).with_jobs(fulfilment)) as world:
        flow = world.handle(fulfilment)
        world.inject(*[Raise("reserve")] * 3)
        world.run(flow.start("o", Order("book", 49)))
        world.advance("1 hour")
        assert world.run(flow.status("o")).status == "parked"
        world.run(flow.cancel("o", "enough"))
        world.advance("1 second")
        assert world.run(flow.outcome("o")) == WasCancelled(reason="enough")
        assert shop.names == ["charge", "refund"]


def test_a_bracket_is_released_after_its_use_and_not_at_a_wait() -> None:
    shop = Shop()
    job = Workflow("held", state=int, run=held, keep=None)
    with World(App(shop).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("h", 0))
        world.advance("30 minutes")
        assert shop.names == ["reserve"]
        world.crash()
        world.open()
        world.advance("40 minutes")
        assert shop.names == ["reserve", "label", "release"]
        world.run(world.handle(job).start("i", 0))
        world.advance("1 minute")
        world.run(world.handle(job).cancel("i", "why"))
        world.advance("1 second")
        assert shop.names[3:] == ["reserve", "release"]
        assert world.run(world.handle(job).outcome("i")) == WasCancelled(reason="why")


def test_a_pause_holds_timers_and_keeps_signals() -> None:
    job = Workflow("two", state=int, run=two_signals, signals=(number,), keep=None)
    with World(App(Shop()).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("t", 0))
        world.advance("1 second")
        world.run(flow.pause("t"))
        for value in (1, 2):
            assert world.run(flow.signal("t", number, value)).accepted
        world.advance("1 day")
        assert world.run(flow.outcome("t")) is None
        world.run(flow.resume("t"))
        world.advance("1 second")
        assert world.run(flow.outcome("t")) == Done(value=3)


def test_a_pause_takes_effect_after_the_step_in_progress() -> None:
    @program
    def steps(ctx: WorkflowContext[int]) -> Do[str, Declined, HasShop]:
        yield from label("a")
        return (yield from mail("b"))

    shop = Shop()
    job = Workflow("steps", state=int, run=steps, keep=None)
    with World(App(shop).with_jobs(job)) as world:
        flow = world.handle(job)
        world.inject(Delay("label", "10 seconds"))
        world.run(flow.start("s", 0))
        world.advance("1 second")
        world.run(flow.pause("s"))
        world.advance("1 hour")
        assert shop.names == ["label"]
        world.run(flow.resume("s"))
        world.advance("1 second")
        assert world.run(flow.outcome("s")) == Done(value="mail:b")


def test_a_gather_with_a_limit_over_restarts() -> None:
    job = Workflow("wide", state=int, run=wide, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("w", 12))
        for _ in range(3):
            world.advance("59 seconds")
            world.crash()
            world.open()
            world.advance("2 seconds")
        assert world.run(world.handle(job).outcome("w")) == Done(value=sum((i + 1) * 2 for i in range(12)))
        assert len(world.effects) == 24


# ---------------------------------------------------------------- children and messages
@pytest.mark.parametrize("crash", range(0, 60, 3))
def test_children_return_values_and_typed_errors_over_crashes(crash: int) -> None:
    with World(App(None).with_jobs(parent, child), seed=crash) as world:
        world.crash_after(crash)
        for _ in range(4):
            try:
                if not world.is_open:
                    world.open()
                world.run(world.handle(parent).start("p", 3, idempotency_key="k"))
                world.advance("3 minutes")
            except WorkerDied:
                continue
        assert world.run(world.handle(parent).outcome("p")) == Done(value="<Success: 4> <Failure: negative>")


@program
def caring(ctx: WorkflowContext[int]) -> Do[int, str | Defect]:
    return (yield from child.call("c", 1))


@program
def careless(ctx: WorkflowContext[int]) -> Do[int, str | Defect]:
    return (yield from child.call("c", 1, when_cancelled="leave"))


@pytest.mark.parametrize(
    ("body", "outcome"), [(caring, WasCancelled(reason="why")), (careless, Done(value=2))], ids=["cancel", "leave"]
)
def test_a_cancelled_parent_cancels_its_child_unless_it_says_otherwise(body: object, outcome: object) -> None:
    job: Workflow[int, int, str | Defect, object] = Workflow("caring", state=int, run=body, keep=None)  # type: ignore[arg-type]
    with World(App(None).with_jobs(job, child)) as world:
        world.run(world.handle(job).start("p", 0))
        world.advance("1 second")
        world.run(world.handle(job).cancel("p", "why"))
        world.advance("5 minutes")
        assert world.run(world.handle(job).outcome("p")) == WasCancelled(reason="why")
        assert world.run(world.handle(child).outcome("c")) == outcome


@pytest.mark.parametrize("end", ["cancel", "terminate"])
def test_a_parent_is_notified_of_a_child_that_was_cancelled_or_terminated(end: str) -> None:
    job = Workflow("caring", state=int, run=caring, keep=None)
    with World(App(None).with_jobs(job, child)) as world:
        world.run(world.handle(job).start("p", 0))
        world.advance("1 second")
        world.run(getattr(world.handle(child), end)("c", "by hand"))
        world.advance("1 second")
        outcome = world.run(world.handle(job).outcome("p"))
        assert outcome == Failed(Defect("ChildCancelled", "by hand"))


def test_a_child_with_the_id_of_another_workflow_is_refused() -> None:
    job = Workflow("caring", state=int, run=caring, keep=None)
    with World(App(None).with_jobs(job, child)) as world:
        world.run(world.handle(child).start("c", 1))
        world.run(world.handle(job).start("p", 0))
        world.advance("1 second")
        outcome = world.run(world.handle(job).outcome("p"))
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, Defect)
        assert outcome.error.error_type == "ChildExists"
        assert ":c exists: another call, or an earlier run, started it; choose an id" in outcome.error.message


def test_other_jobs_start_signal_and_cancel_a_workflow() -> None:
    job = Workflow("two", state=int, run=two_signals, signals=(number,), keep=None)

    @program
    def on_event(ctx: TaskContext[int], event: int) -> Do[None]:
        yield from tell(job, "t").start(0)
        yield from tell(job, "t").signal(number, event)
        yield from tell(job, "t").signal(number, event)
        yield from tell(job, "u").start(0)
        yield from tell(job, "u").cancel("by message")

    caller = Task("caller", state=int, event=int, initial=0, on_event=on_event)
    with World(App(Shop()).with_jobs(job, caller)) as world:
        world.run(world.handle(caller).send("x", 21))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("t")) == Done(value=42)
        assert world.run(world.handle(job).outcome("u")) == WasCancelled(reason="by message")


def test_a_workflow_sends_more_messages_than_one_commit_can_hold() -> None:
    @program
    def telling(ctx: WorkflowContext[int]) -> Do[int]:
        for index in range(7):
            yield from tell(child, f"c{index}").start(index)
        yield from gather(*(tell(child, f"d{index}").start(index) for index in range(7)))
        return 1

    job = Workflow("telling", state=int, run=telling, keep=None)
    with World(App(None, limits=Limits(messages_per_turn=3)).with_jobs(job, child)) as world:
        world.run(world.handle(job).start("t", 0))
        world.advance("5 minutes")
        assert world.run(world.handle(job).outcome("t")) == Done(value=1)
        assert len([i for i in world.instances() if i.address.name == "child"]) == 14
        assert len(bodies(world, job, "t")) == 14


def test_finalizers_of_a_cancelled_workflow_may_wait() -> None:
    @program
    def careful(ctx: WorkflowContext[int]) -> Do[str, Declined, HasShop]:
        try:
            yield from sleep("1 day")
        finally:
            yield from label("first")
            yield from sleep("1 hour")
            yield from mail("second")
        return "slept"

    shop = Shop()
    job = Workflow("careful", state=int, run=careful, keep=None)
    with World(App(shop).with_jobs(job)) as world:
        flow = world.handle(job)
        world.run(flow.start("c", 0))
        world.advance("1 minute")
        world.run(flow.cancel("c", "why"))
        world.advance("30 minutes")
        assert shop.names == ["label"]
        world.restart()
        world.advance("30 minutes")
        assert shop.names == ["label", "mail"]
        assert world.run(world.handle(job).outcome("c")) == WasCancelled(reason="why")


# ------------------------------------------------------------ by key
approved = Signal("approved", str, by_key=True)


@program
def all_approved(ctx: WorkflowContext[tuple[str, ...]]) -> Do[tuple[str, ...]]:
    orders = yield from ctx.state
    return (yield from as_completed(*(approved.for_key(order).receive() for order in orders)))


by_order = Workflow("by_order", state=tuple[str, ...], run=all_approved, signals=(approved, number), keep="1 hour")


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_signal_with_a_key_ends_the_wait_for_this_key_alone(store: str, tmp_path: Path) -> None:
    place: Any = store if "://" in store else tmp_path / store
    with World(App(None).with_jobs(by_order), store=place) as world:
        flow = world.handle(by_order)
        world.run(flow.signal_with_start("t", approved.for_key("b"), "Bo", ("a", "b", "update:a")))
        world.run(flow.signal("t", approved.for_key("update:a"), "Di"))
        world.run(flow.signal("t", approved.for_key("c"), "Cy"))
        world.advance("1 second")
        assert world.run(flow.outcome("t")) is None
        world.restart(App(None).with_jobs(by_order))
        world.run(world.handle(by_order).signal("t", approved.for_key("a"), "Al"))
        world.advance("1 second")
        assert world.run(world.handle(by_order).outcome("t")) == Done(value=("Bo", "Di", "Al"))
        received = ["signal approved:b", "signal approved:update:a", "signal approved:a"]
        assert [row.name for row in journal(world, by_order, "t") if row.form == "done"] == received
        noted = [event.data for event in world.history(by_order, "t") if event.type == "job.noted"]
        assert noted == ['{"count":1,"names":["approved:c"]}']


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_two_signals_with_one_key_are_received_in_order_and_by_name_the_key_is_part_of_the_input(
    store: str, tmp_path: Path
) -> None:
    @program
    def twice(ctx: WorkflowContext[int]) -> Do[str]:
        first = yield from approved.for_key("k").receive()
        return first + (yield from approved.for_key("k").receive())

    job = Workflow("twice", state=int, run=twice, signals=(approved,), keep="1 hour")

    @program
    def passing(ctx: TaskContext[int], event: str) -> Do[None]:
        yield from tell(job, "t").signal(approved.for_key("k"), event)

    task = Task("passing", state=int, event=str, initial=0, on_event=passing)
    place: Any = store if "://" in store else tmp_path / store
    with World(App(None).with_jobs(job, task), store=place) as world:
        world.run(world.handle(job).start("t", 0))
        by_name = world.jobs.handle_by_name("workflow", "twice")
        world.run(by_name.call("signal.approved", "t", '{"key":"k","value":"x"}'))
        world.run(world.handle(task).send("a", "y"))
        world.advance("1 second")
        assert world.run(world.handle(job).outcome("t")) == Done(value="xy")


@pytest.mark.parametrize("size", [1, 512, 513, 0])
def test_a_key_has_at_most_512_characters(size: int) -> None:
    with World(App(None).with_jobs(by_order)) as world:
        flow = world.handle(by_order)
        world.run(flow.start("t", ("k" * size,) if 0 < size <= 512 else ("k",)))
        sent = f'{{"key":"{"k" * size}","value":"x"}}'
        call = world.jobs.handle_by_name("workflow", "by_order").call("signal.approved", "t", sent)
        if 0 < size <= 512:
            world.run(call)
            world.advance("1 second")
            assert world.run(flow.outcome("t")) == Done(value=("x",))
            return
        wrong = world.error_of(call)
        assert isinstance(wrong, InvalidInput)
        assert "key of signal approved: expected text of 1 to 512 characters" in str(wrong)
        with pytest.raises(DefinitionError, match="key of signal approved"):
            approved.for_key("k" * size)


def test_a_signal_by_key_needs_one_and_another_has_none() -> None:
    with World(App(None).with_jobs(by_order)) as world:
        flow = world.handle(by_order)
        world.run(flow.start("t", ("a",)))
        for call in (flow.signal("t", approved, "x"), flow.signal_with_start("t", approved, "x", ("a",))):
            wrong = world.error_of(call)
            assert isinstance(wrong, InvalidArgument)
            assert "approved.for_key(key)" in str(wrong)
    with pytest.raises(DefinitionError, match="for_key"):
        approved.receive()
    with pytest.raises(DefinitionError, match="by_key=True"):
        number.for_key("a")
    with pytest.raises(DefinitionError, match="another name"):
        Signal("update", int, by_key=True)
    with pytest.raises(DefinitionError, match="the signal without a key"):
        Workflow("wrong", state=tuple[str, ...], run=all_approved, signals=(approved.for_key("a"),))


def test_generated_journals_answer_the_waits_of_each_key() -> None:
    check_journal(by_order, lambda flow: flow.start(("a", "b")), settings=settings(max_examples=10))
