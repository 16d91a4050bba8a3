"""``reference/behaviour.md`` 5, as far as tasks go."""

from typing import Any, Literal

import pytest
from machine import Add, AlarmIn, Break, Mark, OnAlarm, Refuse, Say, Wait, app, at, machine_with, steps
from world import Refused, World, on_each_store

from perdure import Backoff, Retry
from perdure.values.errors import DefinitionError
from perdure.values.outcome import Completed, Failed, Parked, Retrying

HOUR = 3_600_000


def policy(max_attempts: int = 3, **options: Any) -> Retry[Any]:
    return Retry(max_attempts=max_attempts, **{"delay": Backoff.constant("10 s"), "jitter": False} | options)


@on_each_store
async def test_max_attempts_counts_executions_the_first_included(world: World) -> None:
    """`max_attempts` counts executions, the first included."""
    job = machine_with(retry=policy(3))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(HOUR, (Mark("x"), Refuse()))))
    outcome = (await world.run(jobs.trigger("a"))).outcome
    assert isinstance(outcome, Retrying)
    await world.advance(hours=2)
    assert world.outside.heard == ["x#1.1", "x#2.1", "x#3.1"]
    assert (await world.run(jobs.status("a"))).parked == "retries_exhausted"
    failures = [event for event in await world.history(at("a")) if event.type == "job.failed"]
    assert [(event.attempt, event.retry_at_ms is None) for event in failures] == [(1, False), (2, False), (3, True)]
    (exhausted,) = [event for event in await world.history(at("a")) if event.type == "job.retry_exhausted"]
    assert (exhausted.attempt, exhausted.reason) == (3, "max_attempts")


@on_each_store
async def test_a_retry_is_durable_and_its_delay_counts_from_the_failure(world: World) -> None:
    """Durable: by alarm. Delay counted from the failure."""
    job = machine_with(retry=policy(delay=Backoff.exponential("1 second", factor=2, max="30 seconds")))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    world.outside.refusals |= {"x#1.1": 1, "x#2.1": 1}
    began_ms = world.now_ms
    await world.run(jobs.send("a", OnAlarm(1_000, (Mark("x"), Add()))))
    await world.advance(s=1)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.attempt) == ("retrying", 2)
    assert status.next_run_at is not None
    assert status.next_run_at.timestamp() * 1_000 == began_ms + 1_000 + 1_000
    await world.crash()
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.advance(s=1)
    status = await world.run(jobs.status("a"))
    assert status.next_run_at is not None
    assert status.next_run_at.timestamp() * 1_000 == world.now_ms + 2_000
    await world.advance(s=2)
    assert world.outside.heard == ["x#1.1", "x#2.1", "x#3.1"]
    state = await world.run(jobs.get_state("a"))
    assert state is not None
    assert state.total == 1
    status = await world.run(jobs.status("a"))
    assert (status.status, status.last_error, status.run_count) == ("idle", None, 1)


@pytest.mark.parametrize("seed", range(5))
@on_each_store
async def test_jitter_is_ten_percent_and_never_past_the_cap(world: World, seed: int) -> None:
    """Jitter ±10 % of the capped delay, never past the cap, integer milliseconds."""
    world.restart_with(seed)
    job = machine_with(retry=policy(9, jitter=True, delay=Backoff.exponential("1 second", factor=2, max="3 seconds")))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(HOUR, (Refuse(),))))
    await world.run(jobs.trigger("a"))
    await world.advance(minutes=1)
    failures = [event for event in await world.history(at("a")) if event.type == "job.failed"]
    delays = [event.retry_at_ms - event.at_ms for event in failures[:-1]]
    assert len(delays) == 8
    for delay, nominal in zip(delays, (1_000, 2_000, *(3_000,) * 6), strict=True):
        assert isinstance(delay, int)
        assert nominal * 0.9 <= delay <= min(nominal * 1.1, 3_000)
    assert len(set(delays)) > 3
    assert {event.error.error_type for event in failures} == {"Refused"}


@on_each_store
async def test_a_delay_that_would_overshoot_exhausts_at_once(world: World) -> None:
    """`max_duration`: a delay that would overshoot exhausts at once."""
    job = machine_with(retry=policy(10, max_duration="25 s"))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(HOUR, (Mark("x"), Refuse()))))
    await world.run(jobs.trigger("a"))
    await world.advance(s=20)
    assert world.outside.heard == ["x#1.1", "x#2.1", "x#3.1"]
    (exhausted,) = [event for event in await world.history(at("a")) if event.type == "job.retry_exhausted"]
    assert exhausted.reason == "max_duration"


@on_each_store
async def test_an_error_that_is_not_worth_another_try_exhausts_at_once(world: World) -> None:
    """`retry_if(error)` false: exhausted at once, `not_retryable`. A defect is retried by the policy."""
    job = machine_with(retry=policy(2, retry_if=lambda error: error.why != "final"))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    for id_, step in (("final", Refuse("final")), ("again", Refuse("again")), ("bug", Break())):
        await world.run(jobs.send(id_, OnAlarm(HOUR, (step,))))
    assert (await world.run(jobs.trigger("final"))).outcome == Failed(Refused("final"))
    assert isinstance((await world.run(jobs.trigger("again"))).outcome, Retrying)
    assert isinstance((await world.run(jobs.trigger("bug"))).outcome, Retrying)
    (exhausted,) = [event for event in await world.history(at("final")) if event.type == "job.retry_exhausted"]
    assert exhausted.reason == "not_retryable"
    status = await world.run(jobs.status("final"))
    assert (status.parked, status.attempt) == ("not_retryable", 1)
    assert (await world.run(jobs.trigger("final"))).outcome == Parked("not_retryable")
    ended = (await world.history(at("final")))[-1]
    assert (ended.type, ended.reason, ended.detail) == ("job.parked", "not_retryable", "Refused(why='final')")
    await world.run(jobs.resume("final"))
    await world.settle()
    assert (await world.run(jobs.status("final"))).parked == "not_retryable"


@on_each_store
async def test_a_purge_after_an_error_that_is_not_retried_has_that_reason(world: World) -> None:
    job = machine_with(retry=policy(2, retry_if=lambda _: False, on_exhausted="purge"))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(HOUR, (Refuse("final"),))))
    assert (await world.run(jobs.trigger("a"))).outcome == Failed(Refused("final"))
    ended = (await world.history(at("a")))[-1]
    assert (ended.type, ended.reason) == ("job.terminated", "not_retryable")


@pytest.mark.parametrize("exhausted", [None, "park", "purge"])
@on_each_store
async def test_the_end_of_an_exhausted_task(world: World, exhausted: Literal["park", "purge"] | None) -> None:
    """Exhausted: `"park"` (default of debounce and task), `"purge"` (as in the original)."""
    job = machine_with(retry=policy(1, on_exhausted=exhausted))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(HOUR, (Add(), Refuse()))))
    assert (await world.run(jobs.trigger("a"))).outcome == Failed(Refused("no"))
    status = (await world.run(jobs.status("a"))).status
    assert status == ("not_found" if exhausted == "purge" else "parked")
    ended = (await world.history(at("a")))[-1]
    if exhausted == "purge":
        assert (ended.type, ended.reason) == ("job.terminated", "retries_exhausted")
    else:
        assert (ended.type, ended.reason, ended.detail) == ("job.parked", "retries_exhausted", "Refused(why='no')")


@pytest.mark.parametrize("ms", [0, 1, 1_500])
@on_each_store
async def test_an_event_says_how_long_its_attempt_took(world: World, ms: int) -> None:
    """An event contains the duration: of this attempt, and not of the run since its first."""
    job = machine_with(retry=policy(2))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Wait(ms), Refuse()) if ms else (Refuse(),))))
    await world.advance(minutes=1)
    failures = [event for event in await world.history(at("a")) if event.type == "job.failed"]
    assert [event.duration_ms for event in failures] == [ms, ms]
    await world.run(jobs.send("b", OnAlarm(1_000, (Wait(ms),) if ms else ())))
    await world.advance(minutes=1)
    (executed,) = [event for event in await world.history(at("b")) if event.type == "job.executed"]
    assert executed.duration_ms == ms


@on_each_store
async def test_a_run_that_supersedes_a_retry_leaves_nothing_due(world: World) -> None:
    """A trigger of a new run drops the open retry at once, with its claim, and not only at its end."""
    job = machine_with(retry=policy())
    jobs = (await world.open(app(world.outside, job))).handle(job)
    world.outside.refusals["x"] = 1
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("x"),))))
    await world.advance(s=1)
    assert (await world.run(jobs.status("a"))).status == "retrying"
    world.suspension("x")
    world.start(jobs.trigger("a", new_run=True))
    await world.settle()
    status = await world.run(jobs.status("a"))
    assert (status.status, status.next_run_at, status.updated_at) == ("running", None, world.now)


def test_continue_elsewhere_is_a_definition_error() -> None:
    """`continue` elsewhere is a definition error."""
    with pytest.raises(DefinitionError, match="only a continuous job"):
        machine_with(retry=policy(on_exhausted="continue"))


@on_each_store
async def test_a_trigger_of_a_new_run_drops_an_open_retry(world: World) -> None:
    """A trigger with `new_run` begins a new run: the open retry is given up (`job.failed`, `superseded`)."""
    job = machine_with(retry=policy())
    jobs = (await world.open(app(world.outside, job))).handle(job)
    world.outside.refusals["x"] = 1
    await world.run(jobs.send("a", OnAlarm(HOUR, (Say("x"),))))
    await world.run(jobs.trigger("a"))
    assert (await world.run(jobs.trigger("a", new_run=True))).outcome == Completed()
    failures = [event for event in await world.history(at("a")) if event.type == "job.failed"]
    assert [event.hook for event in failures] == ["execute", "superseded"]
    assert failures[0].run_id == failures[1].run_id
    assert failures[1].duration_ms == 0
    await world.advance(s=30)
    assert world.outside.heard == ["x", "x"]
    assert (await world.run(jobs.status("a"))).run_count == 2


@pytest.mark.parametrize("failures", [1, 2])
@on_each_store
async def test_an_event_while_a_retry_waits_may_move_the_alarm(world: World, failures: int) -> None:
    """The alarm that an event sets meanwhile stands, also when a retry fails: it fires after the run is settled."""
    job = machine_with(retry=policy())
    jobs = (await world.open(app(world.outside, job))).handle(job)
    world.outside.refusals["x"] = failures
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("x"),))))
    await world.advance(s=1)
    sent = await world.run(jobs.send("a", steps(AlarmIn(HOUR))))
    assert sent.status == "retrying"
    await world.advance(s=10 * failures)
    runs = ["x"] * (1 + failures)
    assert world.outside.heard == runs
    status = await world.run(jobs.status("a"))
    assert (status.status, status.next_run_at) == ("scheduled", sent.scheduled_at)
    await world.advance(hours=1)
    assert world.outside.heard == [*runs, "x"]


@on_each_store
async def test_an_event_is_never_retried(world: World) -> None:
    """Retry is of runs: the failure of an event is the answer of its caller."""
    job = machine_with(retry=policy())
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.error_of(jobs.send("a", steps(Say("x"), Refuse())))
    await world.advance(hours=1)
    assert world.outside.heard == ["x"]
    assert await world.run(jobs.get_state("a")) is None


@on_each_store
async def test_each_resumption_allows_as_many_attempts_again(world: World) -> None:
    """The second one, too. The number of the attempt continues, and the limit of time begins with the resumption."""
    job = machine_with(retry=policy(3, max_duration="25 s"))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Mark("x"), Refuse()))))
    await world.advance(minutes=1)
    for time in (1, 2, 3):
        attempts = [f"x#{number}.1" for number in range(1, 3 * time + 1)]
        assert [word.partition(".")[0] for word in world.outside.heard] == [one.partition(".")[0] for one in attempts]
        assert (await world.run(jobs.status("a"))).parked == "retries_exhausted"
        await world.run(jobs.resume("a"))
        await world.advance(minutes=1)
