"""The durable retry of runs: section 5 of the behaviour contract, through the engine."""

from datetime import timedelta
from itertools import pairwise

import pytest
from attrs import frozen
from returns.result import Result, Success
from world import START, HasOutside, Refused, World, on_each_store, say

from perdure import App, Backoff, Continuous, ContinuousContext, Debounce, Do, Retry, Task, every, program
from perdure.programs import sleep
from perdure.values.errors import DefinitionError
from perdure.values.outcome import Completed, Failed, Parked, Retrying
from perdure.values.status import Defect


@frozen
class Plain:
    slow: str = "0 s"


@program
def work(ctx: ContinuousContext[Plain]) -> Do[None, Refused, HasOutside]:
    plain = yield from ctx.state
    now = yield from ctx.now
    yield from say(f"{ctx.run_count}.{ctx.attempt} at {(now - START).total_seconds():g}")
    if plain.slow != "0 s":
        yield from sleep(plain.slow)
    yield from say("work")


DAILY = every("1 day")


def job(retry: Retry, *, execute=work, schedule=DAILY, **options):
    return Continuous("job", state=Plain, schedule=schedule, execute=execute, retry=retry, **options)


async def opened(world: World, definition):
    return (await world.open(App(world.outside).with_jobs(definition))).handle(definition)


async def started(world: World, retry: Retry, *, refusals: int = 100, state: Plain | None = None, **options):
    """An instance whose work is refused so often."""
    jobs = await opened(world, job(retry, **options))
    world.outside.refusals["work"] = refusals
    await world.run(jobs.start("a", state or Plain()))
    return jobs


def attempts(world: World) -> list[str]:
    return [word for word in world.outside.heard if word != "work"]


def times(world: World) -> list[float]:
    return [float(word.split()[-1]) for word in attempts(world)]


async def exhaustion(world: World, jobs) -> str:
    history = await world.history(jobs.definition.address("a"))
    return next(event.reason for event in history if event.type == "job.retry_exhausted")


# ---------------------------------------------------------------- how often
@on_each_store
async def test_max_attempts_counts_executions_the_first_included(world: World) -> None:
    """`max_attempts` counts executions, the first included."""
    jobs = await started(world, Retry(3, Backoff.constant("1 s"), jitter=False))
    await world.advance(minutes=5)
    assert attempts(world) == ["1.1 at 0", "1.2 at 1", "1.3 at 2"]
    assert await exhaustion(world, jobs) == "max_attempts"
    assert (await world.happened(jobs.definition.address("a"))).count("job.failed") == 3


@on_each_store
async def test_one_attempt_is_not_a_retry(world: World) -> None:
    """`max_attempts` counts executions, the first included."""
    jobs = await opened(world, job(Retry(1)))
    world.outside.refusals["work"] = 1
    assert (await world.run(jobs.start("a", Plain()))).outcome == Failed(Refused("work"))


# ---------------------------------------------------------------- how long
@pytest.mark.parametrize(
    ("delay", "delays"),
    [
        (Backoff.constant("7 s"), [7, 7, 7, 7]),
        (Backoff.linear("2 s", step="3 s", max="9 s"), [2, 5, 8, 9]),
        (Backoff.linear("2 s"), [2, 4, 6, 8]),
        (Backoff.exponential("1 second", factor=3, max="20 seconds"), [1, 3, 9, 20]),
        (Backoff.standard, [1, 2, 4, 8]),
        (Backoff.aggressive, [0.1, 0.2, 0.4, 0.8]),
        (Backoff.patient, [30, 60, 120, 240]),
    ],
    ids=["constant", "linear", "linear-by-base", "exponential", "standard", "aggressive", "patient"],
)
@on_each_store
async def test_each_backoff_waits_as_it_says(world: World, delay: Backoff, delays: list[float]) -> None:
    """`Backoff.constant | linear | exponential`, presets `standard`, `aggressive`, `patient`."""
    await started(world, Retry(5, delay, jitter=False))
    await world.advance(minutes=10)
    found = times(world)
    assert [round(later - earlier, 3) for earlier, later in pairwise(found)] == delays


@on_each_store
async def test_jitter_is_a_tenth_of_the_capped_delay_and_never_past_the_cap(world: World) -> None:
    """Jitter ±10 % of the capped delay, never past the cap, integer milliseconds, drawn by the engine."""
    jobs = await opened(world, job(Retry(3, Backoff.exponential("10 s", max="15 s"))))
    world.outside.refusals["work"] = 10_000
    delays: dict[int, set[int]] = {1: set(), 2: set()}
    for number in range(30):
        await world.run(jobs.start(str(number), Plain()))
    await world.advance(s=40)
    for number in range(30):
        for event in await world.history(jobs.definition.address(str(number))):
            if event.type == "job.failed" and event.retry_at_ms is not None:
                delays[event.attempt].add(event.retry_at_ms - event.at_ms)
    assert all(9_000 <= delay <= 11_000 for delay in delays[1])
    assert all(13_500 <= delay <= 15_000 for delay in delays[2])
    assert min(delays[1]) < 9_500
    assert max(delays[1]) > 10_500
    assert len(delays[2]) > 20


@on_each_store
async def test_the_delay_is_counted_from_the_failure(world: World) -> None:
    """Delay counted from the failure."""
    await started(world, Retry(2, Backoff.constant("5 s"), jitter=False), state=Plain(slow="10 s"))
    await world.advance(s=5)
    assert attempts(world) == ["1.1 at 0", "1.2 at 15"]


@on_each_store
async def test_a_delay_that_would_overshoot_max_duration_exhausts_at_once(world: World) -> None:
    """`max_duration`: a delay that would overshoot exhausts at once."""
    jobs = await started(world, Retry(10, Backoff.constant("10 s"), jitter=False, max_duration="25 s"))
    await world.advance(s=20)
    assert attempts(world) == ["1.1 at 0", "1.2 at 10", "1.3 at 20"]
    assert (await world.run(jobs.status("a"))).status == "scheduled"
    assert await exhaustion(world, jobs) == "max_duration"


# ---------------------------------------------------------------- for which errors
@on_each_store
async def test_an_error_that_is_not_worth_it_exhausts_at_once(world: World) -> None:
    """`retry_if(error)` false: exhausted at once, `not_retryable`."""
    retry = Retry(5, Backoff.constant("1 s"), jitter=False, retry_if=lambda error: error.why != "work")
    jobs = await opened(world, job(retry))
    world.outside.refusals["work"] = 1
    assert (await world.run(jobs.start("a", Plain()))).outcome == Failed(Refused("work"))
    assert await exhaustion(world, jobs) == "not_retryable"


@program
def broken(ctx: ContinuousContext[Plain]) -> Do[None, Refused, HasOutside]:
    yield from say(f"{ctx.attempt}")
    if ctx.attempt == 1:
        raise LookupError("a bug")


def broken_before_it_returns(ctx: ContinuousContext[Plain]) -> Result[None, Refused]:
    if ctx.attempt == 1:
        raise LookupError("a bug")
    return Success(None)


@program
def ill_typed(ctx: ContinuousContext[Plain]) -> Do[None, Refused, HasOutside]:
    if ctx.attempt == 1:
        yield from ctx.set_state("no state")  # type: ignore[arg-type] # the subject of the test
    yield from say(f"{ctx.attempt}")


@pytest.mark.parametrize("hook", [broken, broken_before_it_returns, ill_typed])
@on_each_store
async def test_a_defect_is_retried_like_a_failure_and_recorded_with_its_traceback(world: World, hook) -> None:
    """An undeclared exception in any hook is a failure like any other: recorded with its traceback, retried by
    the policy, visible. `retry_if` is called with typed errors alone."""
    retry = Retry(2, Backoff.constant("5 s"), jitter=False, retry_if=lambda _: False)
    jobs = await opened(world, job(retry, execute=hook))
    outcome = (await world.run(jobs.start("a", Plain()))).outcome
    assert isinstance(outcome, Retrying)
    assert isinstance(outcome.error, Defect)
    assert outcome.at == START + timedelta(seconds=5)
    status = await world.run(jobs.status("a"))
    assert status.last_error.form == "defect"
    assert "Traceback" in status.last_error.traceback
    await world.advance(s=5)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.last_error, status.run_count) == ("scheduled", None, 1)


@on_each_store
async def test_a_run_that_takes_too_long_is_retried_like_a_failure(world: World) -> None:
    """Then the program is cancelled and the run fails as `EffectTimeout`."""
    retry = Retry(2, Backoff.constant("5 s"), jitter=False)
    jobs = await started(world, retry, refusals=0, state=Plain(slow="1 hour"), run_timeout="10 s")
    status = await world.run(jobs.status("a"))
    assert (status.status, status.last_error.form) == ("retrying", "timed_out")
    assert status.last_error.message == "the run took longer than run_timeout (10000 ms) and was cancelled"
    await world.advance(s=5)
    assert attempts(world) == ["1.1 at 0", "1.2 at 15"]


# ---------------------------------------------------------------- durable
@on_each_store
async def test_a_retry_outlives_the_process(world: World) -> None:
    """Durable: by alarm."""
    retry = Retry(3, Backoff.constant("20 s"), jitter=False)
    await started(world, retry, refusals=1)
    await world.advance(s=5)
    await world.crash()
    jobs = await opened(world, job(retry))
    assert (await world.run(jobs.status("a"))).next_run_at == START + timedelta(seconds=20)
    await world.advance(s=14)
    assert attempts(world) == ["1.1 at 0"]
    await world.advance(s=1)
    assert attempts(world) == ["1.1 at 0", "1.2 at 20"]


@on_each_store
async def test_a_retry_that_is_due_while_nothing_runs_is_made_on_the_next_start(world: World) -> None:
    """Durable: by alarm."""
    retry = Retry(3, Backoff.constant("20 s"), jitter=False)
    await started(world, retry, refusals=1)
    await world.close()
    await world.advance(s=100)
    await opened(world, job(retry))
    assert attempts(world) == ["1.1 at 0", "1.2 at 100"]


@on_each_store
async def test_a_crash_consumes_no_attempt(world: World) -> None:
    """A crash consumes no attempt."""
    retry = Retry(2, Backoff.constant("20 s"), jitter=False)
    await started(world, retry, refusals=1)
    world.suspension("work")
    await world.advance(s=20)
    await world.crash()
    world.outside.held.clear()
    await opened(world, job(retry))
    assert attempts(world) == ["1.1 at 0", "1.2 at 20", "1.2 at 20"]


@pytest.mark.parametrize(("jump_s", "at"), [(-3_600, 20 + 3_600), (3_600, 60)])
@on_each_store
async def test_a_wall_clock_that_jumps_delays_a_retry_or_makes_it_once(world: World, jump_s: int, at: int) -> None:
    """A backward jump delays alarms by the jump and a forward one fires them once; an alarm's sleep is re-evaluated at
    least every 60 s."""
    jobs = await started(world, Retry(3, Backoff.constant("40 s"), jitter=False), refusals=1)
    began = world.now_ms
    await world.advance(s=10)
    world.shift_wall_clock(jump_s * 1_000)
    await world.advance(s=60)
    assert len(attempts(world)) == (1 if jump_s < 0 else 2)
    await world.advance(s=3_600)
    assert len(attempts(world)) == 2
    assert (await world.run(jobs.status("a"))).status == "scheduled"
    assert world.now_ms > began or jump_s < 0


@on_each_store
async def test_elapsed_time_is_never_negative(world: World) -> None:
    """Elapsed time is never negative: a clock that goes back makes no room for a delay past `max_duration`."""
    retry = Retry(3, Backoff.linear("5 s", step="10 s"), jitter=False, max_duration="12 s")
    jobs = await started(world, retry, state=Plain(slow="10 s"))
    await world.advance(s=8)
    world.shift_wall_clock(-60_000)
    await world.advance(s=60)
    assert attempts(world) == ["1.1 at 0", "1.2 at 15"]
    assert await exhaustion(world, jobs) == "max_duration"


# ---------------------------------------------------------------- exhausted
def ending(on_exhausted):
    return Retry(2, Backoff.constant("5 s"), jitter=False, on_exhausted=on_exhausted)


@pytest.mark.parametrize("on_exhausted", [None, "continue"])
@on_each_store
async def test_continue_waits_for_the_next_tick(world: World, on_exhausted) -> None:
    """`on_exhausted="continue"` (continuous; its default: wait for the next tick)."""
    jobs = await started(world, ending(on_exhausted), refusals=2, schedule=every("1 minute"))
    await world.advance(s=5)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.next_run_at) == ("scheduled", START + timedelta(seconds=65))
    assert status.last_error.error_type == "Refused"
    await world.advance(s=60)
    assert attempts(world) == ["1.1 at 0", "1.2 at 5", "2.1 at 65"]


@on_each_store
async def test_park_keeps_the_instance_aside(world: World) -> None:
    """`"park"`: kept, visible, silent and resumable, with the reason."""
    jobs = await started(world, ending("park"), refusals=2, schedule=every("1 minute"))
    await world.advance(minutes=10)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.parked, status.next_run_at) == ("parked", "retries_exhausted", None)
    assert (await world.run(jobs.trigger("a"))).outcome == Parked("retries_exhausted")
    assert len(attempts(world)) == 2
    await world.run(jobs.resume("a"))
    assert attempts(world)[2:] == ["1.3 at 600"]
    assert (await world.run(jobs.status("a"))).next_run_at == START + timedelta(seconds=660)


@on_each_store
async def test_purge_deletes_the_instance(world: World) -> None:
    """`"purge"` (as in the original)."""
    jobs = await started(world, ending("purge"), refusals=2)
    await world.advance(s=5)
    assert await world.row(jobs.definition.address("a")) is None
    names = await world.happened(jobs.definition.address("a"))
    assert names[-2:] == ["job.retry_exhausted", "job.terminated"]


def test_continue_elsewhere_is_a_definition_error():
    """`continue` elsewhere is a definition error."""
    with pytest.raises(DefinitionError, match="continuous"):
        Debounce("job", event=Plain, flush_after="1 s", execute=work, retry=ending("continue"))
    with pytest.raises(DefinitionError, match="continuous"):
        Task(
            "job",
            state=Plain,
            event=Plain,
            initial=Plain(),
            decide=lambda state, event: Success(state),
            retry=ending("continue"),
        )


@on_each_store
async def test_a_success_ends_the_retry(world: World) -> None:
    """`Completed`: the run is over, and the next one begins its attempts at the first."""
    jobs = await started(world, ending(None), refusals=1, schedule=every("1 minute"))
    await world.advance(s=5)
    world.outside.refusals["work"] = 1
    assert isinstance((await world.run(jobs.trigger("a"))).outcome, Retrying)
    await world.advance(s=5)
    assert attempts(world) == ["1.1 at 0", "1.2 at 5", "2.1 at 5", "2.2 at 10"]
    assert (await world.run(jobs.trigger("a"))).outcome == Completed()
