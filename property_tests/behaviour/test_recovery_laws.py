"""How often a run is delivered again: twice after crashes, any number of times after graceful stops."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from machine import Add, AlarmIn, Break, Mark, OnAlarm, Refuse, app, machine, machine_with, steps
from world import HasOutside, Outside, Refused, World, play, say

from perdure import App, Backoff, Do, Limits, Retry, Task, TaskContext, program

retrying = machine_with(retry=Retry(2, Backoff.constant("10 s"), jitter=False))
ends = st.lists(st.sampled_from(["crash", "stop"]), max_size=7)


@given(ends)
@example(["crash"] * 3)
@example(["stop"] * 5)
@example(["crash", "stop", "crash", "stop", "crash"])
def test_a_run_is_delivered_again_until_its_third_crash(given_ends):
    """`If it kills the process again it is parked, recovery_exhausted. Graceful shutdown never counts.`"""

    async def scenario(world: World) -> None:
        app_ = app(world.outside, machine, shutdown_timeout="0 ms")
        jobs = (await world.open(app_)).handle(machine)
        held = [f"slow#1.{delivery}" for delivery in range(1, 20)]
        for word in held:
            world.suspension(word)
        await world.run(jobs.send("a", OnAlarm(0, (Mark("slow"), Mark("end")))))
        await world.advance(s=1)
        crashes, deliveries = 0, 1
        for end in given_ends:
            await (world.crash() if end == "crash" else world.close())
            jobs = (await world.open(app_)).handle(machine)
            await world.advance(s=1)
            crashes += (end == "crash") and crashes < 3
            deliveries += crashes < 3
            assert world.outside.heard == held[:deliveries]
            assert (await world.run(jobs.status("a"))).status == ("parked" if crashes == 3 else "running")
        for word in held:
            world.release(word)
        await world.advance(s=1)
        assert world.outside.heard[deliveries:] == ([] if crashes == 3 else [f"end#1.{deliveries}"])

    play("memory", Path(), scenario)


@given(ends.filter(lambda given_ends: given_ends.count("crash") < 3))
def test_a_crash_uses_up_no_attempt(given_ends):
    """`A crash consumes no attempt`: a run that fails has all its attempts, however often it was delivered again."""

    async def scenario(world: World) -> None:
        app_ = app(world.outside, retrying, shutdown_timeout="0 ms")
        jobs = (await world.open(app_)).handle(retrying)
        for delivery in range(1, 20):
            world.suspension(f"slow#1.{delivery}")
        await world.run(jobs.send("a", OnAlarm(0, (Mark("slow"), Refuse()))))
        await world.advance(s=1)
        for end in given_ends:
            await (world.crash() if end == "crash" else world.close())
            jobs = (await world.open(app_)).handle(retrying)
            await world.advance(s=1)
        for delivery in range(1, 20):
            world.release(f"slow#1.{delivery}")
        await world.advance(s=1)
        assert (await world.run(jobs.status("a"))).status == "retrying"
        await world.advance(s=20)
        assert world.outside.heard[-1] == "slow#2.1"
        assert (await world.run(jobs.status("a"))).status == "parked"

    play("memory", Path(), scenario)


@given(st.lists(st.sampled_from(["fail", "crash", "stop", "resume", "trigger"]), max_size=12))
@example(["fail", "fail", "resume", "fail", "fail"])
@example(["crash", "crash", "crash", "resume", "fail", "fail"])
@example(["fail", "crash", "fail", "resume", "fail", "crash"])
def test_no_two_deliveries_have_the_same_marks(happens):
    """`Every repeat is marked`: of one run, no attempt and delivery occur twice, and all but the first are retries."""
    marks: list[tuple[str, int, int]] = []
    firsts: list[bool] = []

    @program
    def execute(ctx: TaskContext[int]) -> Do[None, Refused, HasOutside]:
        marks.append((ctx.run_id, ctx.attempt, ctx.delivery))
        firsts.append(not ctx.is_retry)
        yield from say("run")

    policy = Retry(2, Backoff.constant("1 s"), jitter=False)
    job = Task(
        "job",
        state=int,
        event=int,
        initial=0,
        on_event=lambda ctx, _: ctx.schedule(after="0 ms"),
        execute=execute,
        retry=policy,
    )

    async def scenario(world: World) -> None:
        app_ = App(world.outside, limits=Limits(shutdown_timeout="0 ms")).with_jobs(job)
        jobs = (await world.open(app_)).handle(job)
        world.suspension("run")
        world.outside.refusals["run"] = 1_000
        await world.run(jobs.send("a", 1))
        await world.advance(s=1)
        for action in happens:
            if action in {"crash", "stop"}:
                await (world.crash() if action == "crash" else world.close())
                world.suspension("run")
                jobs = (await world.open(app_)).handle(job)
            elif action == "fail":
                world.release("run")
                await world.settle()
                world.suspension("run")
            elif action == "resume":
                await world.run(jobs.resume("a"))
            else:
                world.start(jobs.trigger("a"))
            await world.advance(s=2)
        assert len(set(marks)) == len(marks)
        runs = [run_id for run_id, _, _ in marks]
        assert [runs.index(run_id) == place for place, run_id in enumerate(runs)] == firsts

    play("memory", Path(), scenario)


@program
def idle(ctx: TaskContext[object]) -> Do[None, Refused, HasOutside]:
    yield from say("idle")


@program
def rescue(ctx: TaskContext[object], error: object) -> Do[None, Refused, HasOutside]:
    yield from say("rescued")


watched = machine_with(on_idle=idle, on_error=rescue)


def _heard(outside: Outside) -> list[str]:
    return list(outside.heard)


@given(st.booleans(), st.booleans())
def test_hooks_run_when_the_contract_says(fails, schedules):
    """`on_idle` runs when nothing is scheduled after a hook; `on_error` at once for an event that fails."""

    async def scenario(world: World) -> None:
        jobs = (await world.open(app(world.outside, watched))).handle(watched)
        given_steps = [*([Refuse()] if fails else []), *([AlarmIn(10**7)] if schedules else [])]
        await world.attempt(jobs.send("a", steps(*given_steps)))
        expected = (["rescued"] if fails else []) + (["idle"] if fails or not schedules else [])
        assert _heard(world.outside) == expected

    play("memory", Path(), scenario)


@given(st.sampled_from([Refuse(), Break()]), st.booleans(), st.booleans())
def test_a_first_event_that_fails_leaves_no_instance(end, reaches_outside, crashes):
    """`What does not validate leaves no trace`, and what fails leaves no instance: also after it has claimed one."""

    async def scenario(world: World) -> None:
        jobs = (await world.open(app(world.outside))).handle(machine)
        if crashes:
            world.suspension("out#1.1")
        effects = [Mark("out")] if reaches_outside else []
        world.start(jobs.send("a", steps(Add(), AlarmIn(1_000), *effects, end)))
        await world.settle()
        if crashes:
            await world.crash()
            jobs = (await world.open(app(world.outside))).handle(machine)
        await world.advance(s=60)
        assert await world.row(machine.address("a")) is None
        assert (await world.run(jobs.status("a"))).status == "not_found"

    play("memory", Path(), scenario)
