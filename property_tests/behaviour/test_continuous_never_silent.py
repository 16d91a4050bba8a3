"""A continuous job under every fault: a failing run never silences the schedule."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from world import STORES, HasOutside, Refused, World, die, play, say

from perdure import App, Backoff, Continuous, ContinuousContext, Do, Retry, cron, every, program
from perdure.programs import sleep
from perdure.values.event import JobExecuted, JobFailed
from perdure.values.times import from_ms

MINUTE_MS = 60_000


@frozen
class Plain:
    name: str = ""


@program
def work(ctx: ContinuousContext[Plain]) -> Do[None, Refused, HasOutside]:
    """Succeed, fail, break, or take too long, as the external system says."""
    yield from say(f"run {ctx.run_count}.{ctx.attempt}.{ctx.delivery}")
    yield from say("work")
    if (yield from say("bug").map(lambda _: False).lash(lambda _: say("noted").map(lambda _: True))):
        yield from die(RuntimeError("a bug"))
    if (yield from say("slow").map(lambda _: False).lash(lambda _: say("noted").map(lambda _: True))):
        yield from sleep("1 hour")


async def last_run_is_in_history(world: World, job: Any) -> None:
    """The status shows the end of the last run as the history does: a success, or a failure that is not retried."""
    status = await world.run(world.jobs.handle(job).status("a"))
    events = [logged.event for logged in await world.run(world.jobs.history(job, "a", limit=1_000))]
    ends = [
        ("succeeded" if isinstance(event, JobExecuted) else "failed", from_ms(event.at_ms))
        for event in events
        if isinstance(event, JobExecuted)
        or (isinstance(event, JobFailed) and event.retry_at_ms is None and event.hook != "superseded")
    ]
    assert (status.last_run, status.last_run_at) == (ends[0] if ends else (None, None))


schedules = st.sampled_from(
    [
        every("1 minute"),
        every("1 minute", align="start"),
        every("1 minute", align="start", catch_up="skip", stagger="30 s"),
        every("1 minute", align="start", catch_up="all", catch_up_limit=3),
        cron("* * * * *"),
        cron("* * * * *", catch_up="all", catch_up_limit=2),
    ]
)
retries = st.sampled_from(
    [
        None,
        Retry(2, Backoff.constant("7 s")),
        Retry(3, Backoff.exponential("1 s", max="2 minutes"), max_duration="90 s"),
    ]
)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 200_000)),
        st.tuples(st.sampled_from(["work", "bug", "slow"]), st.integers(1, 4)),
        st.sampled_from([("crash", 0), ("restart", 0), ("trigger", 0), ("down", 300_000), ("pause", 200_000)]),
        st.tuples(st.just("clock"), st.sampled_from([-100_000, 100_000])),
    ),
    max_size=12,
)

DEADLY = [("slow", 1), ("down", 300_000), ("slow", 1), ("crash", 0), ("slow", 1), ("crash", 0), ("crash", 0)]


@pytest.mark.parametrize("store", STORES)
@given(schedules, retries, st.booleans(), happenings)
@example(every("1 minute"), None, False, DEADLY)
@settings(max_examples=40)
def test_a_failing_run_never_silences_the_schedule(store, schedule, retry, immediately, happenings):
    """A failing run never silences the schedule: recorded, and the next tick comes."""
    job = Continuous(
        "job",
        state=Plain,
        schedule=schedule,
        execute=work,
        retry=retry,
        start_immediately=immediately,
        run_timeout="10 s",
    )
    app_of = lambda world: App(world.outside).with_jobs(job)  # noqa: E731 - one line

    async def scenario(world: World) -> None:
        jobs = (await world.open(app_of(world))).handle(job)
        await world.run(jobs.start("a", Plain()))
        back_ms = 0
        for happening, number in happenings:
            match happening:
                case "wait":
                    await world.advance(ms=number)
                case "work" | "bug" | "slow":
                    world.outside.refusals[happening] = number
                case "crash" | "restart" | "down":
                    await (world.close() if happening == "restart" else world.crash())
                    await world.advance(ms=number)
                    jobs = (await world.open(app_of(world))).handle(job)
                case "trigger":
                    await world.run(jobs.trigger("a"))
                case "pause":
                    await world.run(jobs.pause("a"))
                    await world.advance(ms=number)
                    await world.run(jobs.resume("a"))
                case "clock":
                    world.shift_wall_clock(number)
                    back_ms = max(back_ms, back_ms - number)
            if (
                await world.row(job.address("a"))
            ).suspension == "recovery_exhausted":  # its process died three times in it
                await world.run(jobs.resume("a"))
            row = await world.row(job.address("a"))
            assert row.due_ms is not None, "the instance is silent"
            await last_run_is_in_history(world, job)
        world.outside.refusals.clear()
        before = len([word for word in world.outside.heard if word.startswith("run")])
        await world.advance(ms=back_ms + 120_000 + 2 * MINUTE_MS)  # the longest wait of a retry, and a tick
        after = [word for word in world.outside.heard if word.startswith("run")]
        assert len(after) > before, "the schedule is silent"
        status = await world.run(jobs.status("a"))
        assert (status.status, status.last_error) == ("scheduled", None)
        assert status.run_count == len({word.split(".")[0] for word in after}), "a run was counted twice, or not at all"
        await last_run_is_in_history(world, job)

    with tempfile.TemporaryDirectory(prefix="perdure-") as folder:
        play(store, Path(folder), scenario)
