"""Each effect of a workflow is a step: performed once, committed, and answered from the journal from then on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flows import (
    Approval,
    Declined,
    HasShop,
    NotApproved,
    Order,
    Shop,
    act,
    approval,
    bodies,
    charge,
    counting,
    fulfilment,
    in_one_step,
    journal,
    label,
    limited,
    names,
)
from returns.future import FutureResult

from perdure import App, Backoff, Do, Limits, Retry, Signal, Workflow, WorkflowContext, effect, program, step, step_key
from perdure.jobs.call import Call
from perdure.programs import log, sleep
from perdure.testing import Crash, Delay, Hang, Raise, WorkerDied, World
from perdure.testing.cluster import Cluster
from perdure.values.answer import Done
from perdure.values.errors import DefinitionError
from perdure.values.outcome import Failed, Retrying
from perdure.values.times import from_ms

STORES = ["memory://", "sqlite"]


def url(store: str, folder: Path) -> str | Path:
    return store if store == "memory://" else folder / "jobs.db"


def start_and_die(world: World, call: Call[Any, Any]) -> None:
    """Start a workflow whose worker dies, at the latest when the clock moves on."""
    with suppress(WorkerDied):
        world.run(call)
        world.advance("1 second")
    assert not world.is_open


@pytest.mark.parametrize("store", STORES)
def test_an_order_waits_for_a_person_and_for_days(store: str, tmp_path: Path) -> None:
    shop = Shop()
    with World(App(shop).with_jobs(fulfilment), store=url(store, tmp_path)) as world:
        flow = world.handle(fulfilment)
        assert world.run(flow.start("o", Order("book", 49))).created
        world.advance("1 day")
        world.restart()
        assert world.run(flow.outcome("o")) is None
        world.run(flow.signal("o", approval, Approval("ann")))
        world.advance("1 second")
        state = world.run(flow.get_state("o"))
        assert state is not None
        assert state.stage == "approved"
        world.advance("3 days")
        assert world.run(flow.outcome("o")) == Done(value="label:a")
        assert sorted(shop.names) == ["charge", "label", "mail", "reserve"]
        listed = world.run(flow.steps("o"))
        assert [(step.name, step.status, step.attempts) for step in listed][:2] == [
            ("charge", "done", 1),
            ("reserve", "done", 1),
        ]
        rows = names(journal(world, fulfilment, "o"))
        assert rows[:4] == ["charge", "reserve", "signal approval", "sleep"]
        assert sorted(rows[4:]) == ["label", "mail"]


def test_k_steps_cost_k_plus_one_commits() -> None:
    @program
    def ten(ctx: WorkflowContext[int]) -> Do[int, str]:
        number = yield from ctx.state
        for _ in range(10):
            number = yield from act(number)
        return number

    job = Workflow("ten", state=int, run=ten, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("t", 0))
        world.advance("1 second")
        instance = world.instance(job, "t")
        assert instance is not None
        assert instance.version == 11
        assert world.run(world.handle(job).outcome("t")) == Done(value=10)


def test_a_crash_repeats_only_the_step_that_was_not_committed() -> None:
    shop = Shop()
    with World(App(shop).with_jobs(fulfilment)) as world:
        flow = world.handle(fulfilment)
        world.inject(Crash("reserve", when="after"))
        start_and_die(world, flow.start("o", Order("book", 49)))
        world.open()
        world.advance("1 second")
        assert shop.names == ["charge", "reserve", "reserve"]


def test_typed_errors_are_values_of_the_program_and_its_outcome() -> None:
    shop = Shop(declines=frozenset({"charge"}))
    with World(App(shop).with_jobs(fulfilment)) as world:
        flow = world.handle(fulfilment)
        world.run(flow.start("o", Order("book", 49)))
        world.advance("1 second")
        assert world.run(flow.outcome("o")) == Failed(Declined("charge"))
        assert [row.form for row in journal(world, fulfilment, "o")] == ["failed"]


def test_a_saga_undoes_the_last_step_first() -> None:
    shop = Shop()
    with World(App(shop).with_jobs(fulfilment)) as world:
        flow = world.handle(fulfilment)
        world.run(flow.start("o", Order("book", 49)))
        world.advance("3 days")
        assert world.run(flow.outcome("o")) == Failed(NotApproved())
        assert shop.names == ["charge", "reserve", "release", "refund"]


def test_a_defect_is_retried_at_its_step_then_parked_there_and_resume_continues() -> None:
    shop = Shop()
    with World(App(shop).with_jobs(fulfilment)) as world:
        flow = world.handle(fulfilment)
        world.run(flow.start("o", Order("book", 49)))
        world.run(flow.signal("o", approval, Approval("ann")))
        world.inject(Raise("label"), Raise("label"), Raise("label"))
        world.advance("3 days")
        status = world.run(flow.status("o"))
        assert status.status == "retrying"
        assert status.last_error is not None
        assert sorted(shop.names) == ["charge", "mail", "reserve"]
        world.advance("1 hour")
        assert world.run(flow.status("o")).parked == "retries_exhausted"
        world.run(flow.resume("o"))
        world.advance("1 minute")
        assert world.run(flow.outcome("o")) == Done(value="label:a")
        assert sorted(shop.names) == ["charge", "label", "mail", "reserve"]
        [row] = [row for row in journal(world, fulfilment, "o") if row.name == "label"]
        assert row.attempts == 4


def test_a_program_decorated_with_step_is_one_step() -> None:
    shop = Shop()
    job = Workflow("one", state=int, run=in_one_step, keep=None)
    with World(App(shop).with_jobs(job)) as world:
        world.run(world.handle(job).start("o", 1))
        world.restart()
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("o")) == Done(value="label:amail:b")
        assert shop.names == ["label", "mail"]
        assert names(journal(world, job, "o")) == ["both", "sleep"]


def test_a_step_key_is_the_same_for_each_delivery_and_no_other_steps() -> None:
    @program
    def keyed(ctx: WorkflowContext[int]) -> Do[str, Declined, HasShop]:
        first = yield from step_key()
        yield from charge(first, 1)
        second = yield from step_key()
        yield from charge(second, 2)
        return f"{first} {second}"

    shop = Shop()
    job = Workflow("keyed", state=int, run=keyed, keep=None)
    with World(App(shop).with_jobs(job)) as world:
        world.inject(Crash("charge", when="after"))
        start_and_die(world, world.handle(job).start("k", 1))
        world.open()
        world.advance("1 second")
        outcome = world.run(world.handle(job).outcome("k"))
        assert isinstance(outcome, Done)
        first, second = outcome.value.split(" ")
        assert first != second
        assert shop.done == [("charge", f"1 {first[-2:]}")] * 2 + [("charge", f"2 {second[-2:]}")]


def test_an_outcome_that_cannot_be_recorded_parks_the_step_at_once() -> None:
    @effect
    def unknown(services: object):  # type: ignore[no-untyped-def]
        return FutureResult.from_value(1)

    @program
    def body(ctx: WorkflowContext[int]) -> Do[int, str]:
        yield from unknown()
        return 1

    job = Workflow("unknown", state=int, run=body, retry_defects=Retry(max_attempts=5), keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("u", 1))
        world.advance("1 second")
        status = world.run(world.handle(job).status("u"))
        assert status.parked == "not_retryable"
        assert status.last_error is not None
        assert status.last_error.error_type == "NotRecordable"
        assert len(world.effects) == 1


@pytest.mark.parametrize(("limit", "parked"), [(9, None), (8, "not_retryable")])
def test_an_outcome_has_at_most_outcome_bytes(limit: int, parked: str | None) -> None:
    job = Workflow("sized", state=int, run=limited, keep=None)
    with World(App(Shop(), limits=Limits(payload_bytes=limit, outcome_bytes=limit)).with_jobs(job)) as world:
        world.run(world.handle(job).start("s", 1))
        world.advance("1 second")
        assert world.run(world.handle(job).status("s")).parked == parked


@pytest.mark.parametrize(("most", "ends"), [(3, True), (2, False)])
def test_a_full_journal_parks_the_workflow_with_all_its_steps(most: int, ends: object) -> None:
    @program
    def three(ctx: WorkflowContext[int]) -> Do[int, str]:
        number = yield from ctx.state
        for _ in range(3):
            number = yield from act(number)
        return number

    job = Workflow("three", state=int, run=three, max_steps=most, keep=None)
    larger = Workflow("three", state=int, run=three, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("t", 0))
        world.advance("1 second")
        if ends:
            assert world.run(world.handle(job).outcome("t")) == Done(value=3)
            return
        status = world.run(world.handle(job).status("t"))
        assert status.last_error is not None
        assert status.last_error.error_type == "JournalFull"
        assert len(bodies(world, job, "t")) == most
        world.restart(App(None).with_jobs(larger))
        world.run(world.handle(larger).resume("t"))
        world.advance("1 second")
        assert world.run(world.handle(larger).outcome("t")) == Done(value=3)
        assert len(world.effects) == 3


def test_start_over_keeps_the_signals_and_empties_the_journal() -> None:
    job = Workflow("counter", state=int, run=counting, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("c", 0))
        world.advance("10 minutes")
        assert world.run(world.handle(job).outcome("c")) == Done(value=5)
        assert names(journal(world, job, "c")) == ["act", "sleep"]


def test_a_log_record_is_written_once_however_often_the_program_is_replayed() -> None:
    @program
    def talking(ctx: WorkflowContext[int]) -> Do[int, Declined, HasShop]:
        yield from log("begun")
        yield from label("a")
        yield from sleep("1 hour")
        yield from log("waiting")
        yield from sleep("1 hour")
        return 1

    job = Workflow("talking", state=int, run=talking, keep=None)
    with World(App(Shop()).with_jobs(job)) as world:
        world.run(world.handle(job).start("t", 1))
        said: list[str] = []
        for _ in range(5):
            world.advance("30 minutes")
            said += [record.message for record in world.logs if record.message in {"begun", "waiting"}]
            world.restart()
        assert world.run(world.handle(job).outcome("t")) == Done(value=1)
        assert said == ["begun", "waiting"]


def test_a_replay_begins_with_the_state_that_the_workflow_was_started_with() -> None:
    @program
    def remembering(ctx: WorkflowContext[int]) -> Do[int, str]:
        started = yield from ctx.state
        yield from ctx.set_state(started + 100)
        yield from sleep("1 hour")
        now = yield from ctx.state
        return started * 1_000 + now

    job = Workflow("remembering", state=int, run=remembering, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("r", 1))
        world.advance("1 minute")
        assert world.run(world.handle(job).get_state("r")) == 101
        world.restart()
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("r")) == Done(value=1_101)


@pytest.mark.parametrize(("fault", "rest"), [(Hang("act", call=2), []), (Raise("act", call=2), ["parked"])])
def test_steps_show_no_wait_that_is_over(fault: Hang | Raise, rest: list[str]) -> None:
    """Neither a later step in progress nor one that is parked shows the signal that was received before it."""

    @program
    def main(_: WorkflowContext[int]) -> Do[None, Any]:
        yield from approval.receive()
        yield from act(1)
        yield from act(2)

    job = Workflow("story", state=int, run=main, signals=(approval,))
    with World(App(None).with_jobs(job)) as world:
        flow, began_ms = world.handle(job), world.now_ms
        world.run(flow.start("o", 1))
        assert [(step.name, step.status) for step in world.run(flow.steps("o"))] == [("signal approval", "waiting")]
        world.inject(fault)
        world.run(flow.signal("o", approval, Approval("ann")))
        world.advance("1 second")
        steps = world.run(flow.steps("o"))
        assert [step.status for step in steps] == ["done", "done", *rest]
        assert (steps[0].name, steps[0].began_ms) == ("signal approval", began_ms)  # when the program reached the wait


@effect
async def unreachable(services: object) -> None:
    raise OSError("no route")


@program
def reaching(ctx: WorkflowContext[int]) -> Do[None]:
    yield from unreachable()


def test_a_start_that_waits_returns_when_the_failed_step_is_due_again() -> None:
    retry = Retry(max_attempts=2, delay=Backoff.constant("1 minute"), jitter=False)
    job = Workflow("reaching", state=int, run=reaching, retry_defects=retry)
    with World(App(None).with_jobs(job)) as world:
        flow = world.handle(job)
        now_ms = world.now_ms
        outcome = world.run(flow.start("p", 1, wait_for="completion")).outcome
        assert isinstance(outcome, Retrying)
        assert outcome.at == from_ms(now_ms + 60_000)
        assert outcome.error.message == "no route"


# ---------------------------------------------------------------- the retry policy of one step
PATIENT = Retry[object](max_attempts=3, delay=Backoff.constant("1 minute"), jitter=False)


@step(retry_defects=PATIENT)
@program
def patient(text: str) -> Do[str, Declined, HasShop]:
    return (yield from label(text))


@program
def shipping(ctx: WorkflowContext[int]) -> Do[str, Declined, HasShop]:
    yield from charge("k", 1)
    return (yield from patient("a"))


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("others", [None, Retry[object](max_attempts=2, delay=Backoff.constant("1 s"), jitter=False)])
def test_a_step_has_a_retry_policy_of_its_own_for_defects(store: str, others: Any, tmp_path: Path) -> None:
    shop = Shop()
    job = Workflow("shipping", state=int, run=shipping, retry_defects=others, keep=None)
    with World(App(shop).with_jobs(job), store=url(store, tmp_path)) as world:
        world.inject(*(Raise("label", OSError("no network"), call=call) for call in (1, 2)))
        world.run(world.handle(job).start("s", 0))
        world.advance("30 seconds")
        status = world.run(world.handle(job).status("s"))
        assert (status.status, status.attempt) == ("retrying", 2)
        world.crash()
        world.open()
        world.advance("1 minute")
        failing = world.run(world.handle(job).steps("s"))[-1]
        assert (failing.name, failing.status, failing.attempts) == ("patient", "retrying", 2)
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("s")) == Done(value="label:a")
        failures = [each.event for each in world.run(world.jobs.history(job, "s")) if each.event.type == "job.failed"]
        assert [(event.hook, event.attempt) for event in failures] == [("patient", 2), ("patient", 1)]


def test_a_step_whose_own_policy_is_exhausted_is_parked_and_resumed_with_new_attempts() -> None:
    job = Workflow("shipping", state=int, run=shipping, keep=None)
    with World(App(Shop()).with_jobs(job)) as world:
        world.inject(*(Raise("label", OSError("no network"), call=call) for call in range(1, 6)))
        world.run(world.handle(job).start("s", 0))
        world.advance("10 minutes")
        assert world.run(world.handle(job).status("s")).parked == "retries_exhausted"
        types = [each.event.type for each in world.run(world.jobs.history(job, "s"))]
        assert types.count("job.failed") == 3
        assert types.count("job.retry_exhausted") == 1
        world.run(world.handle(job).resume("s"))
        world.advance("10 minutes")
        assert world.run(world.handle(job).outcome("s")) == Done(value="label:a")


def test_a_wrong_retry_policy_of_a_step_is_refused() -> None:
    for wrong in (3, Retry[object](max_attempts=3, delay=Backoff.standard, retry_if=lambda _: True)):
        with pytest.raises(DefinitionError, match="retry_defects of step label_again"):

            @step(retry_defects=wrong)  # type: ignore[call-overload]
            @program
            def label_again(text: str) -> Do[str, Declined, HasShop]:
                return (yield from label(text))


# ---------------------------------------------------------------- the commit of a run's end is refused
word = Signal("word", str)


@step
@program
def labelled_slowly(text: str) -> Do[str, Declined, HasShop]:
    found = yield from label(text)
    yield from sleep("10 seconds")
    return found


@program
def labelling(ctx: WorkflowContext[int]) -> Do[str, Any, HasShop]:
    found = yield from labelled_slowly("a")
    return found + (yield from word.receive())


def _signalled_before_the_end(cluster: Cluster, job: Workflow[Any, Any, Any, Any]) -> None:
    """Start a workflow on one engine, and let another one store a signal just before its run's end is stored."""
    first, second = cluster.open(), cluster.open()
    cluster.run_on(first, lambda client: client.handle(job).start("w", 0))
    cluster.advance("9 seconds")
    cluster.inject(Delay("store.commit", time="3 seconds"))
    cluster.advance("2 seconds")
    cluster.run_on(second, lambda client: client.handle(job).signal("w", word, "b"))
    cluster.advance("1 minute")


def test_an_outcome_whose_commit_a_signal_refuses_is_stored_with_the_next_one() -> None:
    """The step would be performed a second time, as if it had not happened."""
    shop = Shop()
    job = Workflow("shipping", state=int, run=labelling, signals=(word,), keep=None)
    with Cluster(App(shop).with_jobs(job), debug=False) as cluster:
        _signalled_before_the_end(cluster, job)
        assert cluster.run_on(cluster.up[0], lambda client: client.handle(job).outcome("w")) == Done(value="label:ab")
    assert shop.names == ["label"]


def test_a_failed_attempt_whose_commit_a_signal_refuses_counts_once() -> None:
    shop = Shop()
    retry = Retry[object](max_attempts=3, delay=Backoff.constant("5 minutes"))
    job = Workflow(
        "shipping", state=int, run=labelling, signals=(word,), keep=None, retry_defects=retry, run_timeout="10 seconds"
    )
    with Cluster(App(shop).with_jobs(job), debug=False) as cluster:
        _signalled_before_the_end(cluster, job)
        assert cluster.run_on(cluster.up[0], lambda client: client.handle(job).status("w")).attempt == 2
        history = cluster.run_on(cluster.up[0], lambda client: client.history(job, "w"))
        assert [(each.event.hook, each.event.attempt) for each in history if each.event.type == "job.failed"] == [
            ("labelled_slowly", 1)
        ]
