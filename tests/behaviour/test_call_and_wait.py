"""Start and wait in one call: the outcome, a wait that is over and loses nothing, and a repeat that finds the work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
from returns.result import Failure

from perdure import (
    App,
    Do,
    ItemContext,
    Published,
    Signal,
    Task,
    TaskContext,
    Update,
    WorkerPool,
    Workflow,
    WorkflowContext,
    fail,
    program,
)
from perdure.client.client import Client, gateway_of
from perdure.client.local_gateway import engine_of
from perdure.programs import sleep
from perdure.remote import connect, connect_sync
from perdure.server.serving import serving
from perdure.testing import World
from perdure.values.answer import Done, WasCancelled
from perdure.values.errors import InvalidArgument, InvalidId, InvalidInput, Rejected
from perdure.values.outcome import Failed
from perdure.values.status_wait import CallEnd, NoOutcome, Reached, UpdateReply, WaitOver

go = Signal("go", int)


@program
def counted(ctx: WorkflowContext[int]) -> Do[int, str]:
    first = yield from ctx.state
    if first < 0:
        yield from fail("negative")
    return first + (yield from go.receive())


@program
def doubled(ctx: ItemContext[int]) -> Do[int, str]:
    item = yield from ctx.item
    if item < 0:
        yield from fail("negative")
    yield from sleep("1 second")
    return 2 * item


@program
def rung(ctx: TaskContext[int]) -> Do[None, str]:
    yield from ctx.update_state(lambda count: count + 1)


@program
def ringing(ctx: TaskContext[int], event: str) -> Do[None, str]:
    if event == "no":
        yield from fail("no")
    if event == "over":
        yield from ctx.terminate("over")
    yield from ctx.schedule(after="1 minute")


flow = Workflow("flow", state=int, run=counted, signals=(go,))
add = Update("add", int, int, str)


@program
def added(ctx: WorkflowContext[int]) -> Do[int]:
    @program
    def sum_of(number: int) -> Do[int, str]:
        if number < 0:
            yield from fail("negative")
        return number + first

    first = yield from ctx.state
    yield from add.answer(sum_of)
    yield from add.answer(sum_of)
    return (yield from go.receive())


adding = Workflow("adding", state=int, run=added, signals=(go,), updates=(add,))
brief = Workflow("brief", state=int, run=counted, signals=(go,), keep="9 minutes")
pool = WorkerPool("pool", item=int, work=doubled, workers=1)
bell = Task("bell", state=int, event=str, initial=0, on_event=ringing, execute=rung)
JOBS = (flow, adding, brief, pool, bell)


def world_of() -> World:
    return World(App(None).with_jobs(*JOBS))


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_workflow_is_started_and_its_outcome_is_returned(store: str, tmp_path: Path) -> None:
    place: Any = store if "://" in store else tmp_path / store
    with World(App(None).with_jobs(*JOBS), store=place) as world:
        flows = world.handle(flow)
        done = world.start(flows.start_and_wait("a", 1, timeout="1 hour"))
        cancelled = world.start(flows.start_and_wait("b", 1, timeout="1 hour"))
        assert not done.is_answered
        world.run(flows.signal("a", go, 41))
        world.run(flows.cancel("b", "no longer"))
        assert done.answer() == Done(value=42)
        assert cancelled.answer() == WasCancelled(reason="no longer")
        assert world.run(flows.start_and_wait("c", -1)) == Failed("negative")
        # A later call finds the outcome, and starts nothing, whatever state it passes.
        assert world.run(flows.start_and_wait("a", 7, timeout="0 ms")) == Done(value=42)
        assert world.run(flows.get_state("a")) == 1


def test_a_wait_that_is_over_loses_nothing_and_a_repeat_finds_the_work() -> None:
    with world_of() as world:
        flows = world.handle(flow)
        late = world.attempt(flows.start_and_wait("a", 1, timeout="1 minute"))
        assert isinstance(late, Failure)
        assert isinstance(late.failure(), WaitOver)
        assert (late.failure().address, late.failure().wanted.statuses) == ("workflow:flow:a", ("ended",))
        begun = world.start(flows.start_and_wait("a", 1, timeout="1 hour"))
        world.settle()
        world.crash()
        world.open()
        assert not begun.is_answered  # its process died
        world.run(flows.signal("a", go, 2))
        assert world.run(flows.start_and_wait("a", 1)) == Done(value=3)


def test_a_workflow_that_ends_without_an_outcome_is_a_typed_error() -> None:
    with world_of() as world:
        flows = world.handle(flow)
        waiting = world.start(flows.start_and_wait("a", 1, timeout="1 hour"))
        world.settle()
        world.run(flows.terminate("a"))
        ended = waiting.result()
        assert isinstance(ended, Failure)
        assert isinstance(ended.failure(), NoOutcome)
        assert "workflow:flow:a has ended without an outcome that is kept" in str(ended.failure())


def test_an_item_is_put_and_its_outcome_is_returned() -> None:
    with world_of() as world:
        items = world.handle(pool)
        assert world.run(items.put_and_wait("a", 21)) == Done(value=42)
        assert world.run(items.put_and_wait("a", 1, timeout="0 ms")) == Done(value=42)
        assert world.run(items.put_and_wait("b", -1)) == Failed("negative")
        late = world.attempt(items.put_and_wait("c", 1, after="1 hour", timeout="59 minutes"))
        assert isinstance(late, Failure)
        assert isinstance(late.failure(), WaitOver)
        assert world.run(items.put_and_wait("c", 1, timeout="2 minutes")) == Done(value=2)
        waiting = world.start(items.put_and_wait("d", 1, after="1 hour", timeout="2 hours"))
        world.settle()
        assert world.run(items.cancel("d")).cancelled
        cancelled = waiting.result()
        assert isinstance(cancelled, Failure)
        assert isinstance(cancelled.failure(), NoOutcome)


def test_a_task_is_awaited_until_it_rests() -> None:
    with world_of() as world:
        bells = world.handle(bell)
        late = world.attempt(bells.send_and_wait("a", "ring", idempotency_key="1", timeout="59 seconds"))
        assert isinstance(late, Failure)
        assert isinstance(late.failure(), WaitOver)
        rested = world.run(bells.send_and_wait("a", "ring", idempotency_key="1"))
        assert isinstance(rested, Reached)
        assert rested.status.status == "idle"
        assert world.run(bells.get_state("a")) == 1  # the repeat sent nothing
        assert isinstance(world.error_of(bells.send_and_wait("a", "no", idempotency_key="2")), Rejected)
        ended = world.run(bells.send_and_wait("a", "over", idempotency_key="3"))
        assert ended.status.status == "not_found"


def test_wrong_arguments_are_refused_and_nothing_is_started() -> None:
    with world_of() as world:
        flows, items = world.handle(flow), world.handle(pool)
        for call, error in (
            (flows.start_and_wait("a", 1, timeout="soon"), InvalidArgument),
            (flows.start_and_wait("", 1), InvalidId),
            (flows.start_and_wait("a", "1"), InvalidInput),  # type: ignore[arg-type]
            (world.handle(brief).start_and_wait("a", 1), InvalidArgument),
            (items.put_and_wait("a", 1, after="soon"), InvalidArgument),
            (world.handle(bell).send_and_wait("a", "ring", idempotency_key=None), InvalidArgument),  # type: ignore[arg-type]
        ):
            assert isinstance(world.error_of(call), error)
        assert world.instances() == ()
        # An outcome that is kept for a short time: a late repeat without a key would start the workflow again.
        world.run(world.handle(brief).start("a", 1))
        world.run(world.handle(brief).signal("a", go, 1))
        assert world.run(world.handle(brief).start_and_wait("a", 1, idempotency_key="k")) == Done(value=2)


@program
def broken(_: WorkflowContext[int]) -> Do[int]:
    yield from sleep("1 ms")
    raise RuntimeError


def test_a_wait_for_a_parked_instance_says_how_it_continues() -> None:
    word = Published("word", str)
    job = Workflow("broken", state=int, run=broken, publishes=(word,))
    with World(App(None).with_jobs(job)) as world:
        late = world.error_of(world.handle(job).start_and_wait("a", 1))
        assert str(late).startswith("workflow:broken:a was parked (retries_exhausted), not ended, when the time")
        assert str(late).endswith("was over. Fix the cause, then resume it: " + REMEDY)
        silent = world.error_of(world.handle(job).published("a", word))
        assert "parked (retries_exhausted), and did not publish 'word', when the time" in str(silent)
        assert str(silent).endswith(REMEDY)


REMEDY = "the run continues, and the retry policy counts from the start."


# ---------------------------------------------------------------- from other processes
def _served(ask: Any) -> Any:
    async def main() -> Any:
        async with App(None).with_jobs(*JOBS).open("memory://") as local, serving(local, ["127.0.0.1:0"]) as (server,):
            return await ask(local, server.urls[0])

    return asyncio.run(main())


def test_a_client_of_another_process_starts_and_waits_over_several_requests() -> None:
    async def ask(local: Client, url: str) -> Any:
        async with connect(url, *JOBS) as connected:
            jobs = Client(attrs.evolve(gateway_of(connected), longest_wait_ms=20))
            first = asyncio.ensure_future(jobs.handle(flow).start_and_wait("a", 1, timeout="1 hour"))
            named = jobs.handle_by_name("workflow", "flow").call_and_wait("start", "a", "1", timeout="1 hour")
            second = asyncio.ensure_future(named)
            while engine_of(local).waits.count < 2:  # noqa: ASYNC110 - of other tasks of this loop, which need no time
                await asyncio.sleep(0)
            while engine_of(local).waits.count == 2:  # noqa: ASYNC110 - as above; until a wait is over, after 20 ms
                await asyncio.sleep(0)
            await local.handle(flow).signal("a", go, 41)
            late = await jobs.handle_by_name("task", "bell").call_and_wait(
                "send", "a", '"ring"', timeout="100 ms", idempotency_key="1"
            )
            return await first, await second, late, await jobs.handle(pool).put_and_wait("a", 1)

    first, second, late, item = _served(ask)
    assert (first, item) == (Done(value=42), Done(value=2))
    assert isinstance(second, CallEnd)
    assert (second.form, second.status.phase, second.outcome.form, second.outcome.value) == (
        *("reached", "done", "done"),
        "42",
    )
    assert (late.form, late.status.status, late.outcome) == ("not_reached", "scheduled", None)


def test_a_client_without_an_event_loop_starts_and_waits() -> None:
    def blocking(url: str) -> Any:
        with connect_sync(url, *JOBS) as jobs:
            return jobs.run(jobs.handle(flow).start_and_wait("a", -1))

    async def ask(_: Client, url: str) -> Any:
        return await asyncio.to_thread(blocking, url)

    assert _served(ask) == Failed("negative")


def test_any_program_starts_and_waits_over_http() -> None:
    async def ask(local: Client, url: str) -> Any:
        await local.handle(flow).start("kept", 1)
        await local.handle(flow).signal("kept", go, 1)
        async with httpx2.AsyncClient(base_url=f"{url}/v1/jobs") as client:
            return [
                await client.post(path, content=content)
                for path, content in (
                    ("workflow/flow/instances/kept/wait/start", "1"),
                    ("workflow/flow/instances/a/wait/start?timeout=1+ms", "1"),
                    ("workflow/flow/instances/b/wait/start", "-1"),
                    ("task/bell/instances/a/wait/send", '"ring"'),
                    ("workflow/flow/instances/a/wait/start?interrupt=true", "1"),
                    ("workflow/flow/instances/a/wait/start?timeout=5", "1"),
                    ("workflow/flow/instances/a/start?timeout=5+s", "1"),
                )
            ]

    answers = _served(ask)
    assert [answer.status_code for answer in answers] == [200] * 3 + [422] * 4
    kept, late, failed = (answer.json() for answer in answers[:3])
    assert (kept["form"], kept["answer"]["created"], kept["outcome"]["value"]) == ("reached", False, "2")
    assert (late["form"], late["answer"]["created"], late["outcome"]) == ("not_reached", True, None)
    assert (failed["form"], failed["status"]["phase"], failed["outcome"]["form"]) == ("reached", "failed", "failed")
    assert answers[3].json()["code"] == "invalid_argument"


def test_the_reply_to_an_update_ends_the_wait_of_its_call() -> None:
    """Over HTTP and by name, while the workflow continues. Without a workflow there will be no reply."""

    async def ask(local: Client, url: str) -> Any:
        await local.handle(adding).start("a", 1)
        path, answers = f"{url}/v1/jobs/workflow/adding/instances", []
        async with httpx2.AsyncClient() as client:
            for id_, key, sent in (
                ("a", "1", "2"),
                ("a", "1", "2"),
                ("a", "2", "-1"),
                ("a", "3", "5"),
                ("b", "1", "2"),
            ):
                waits = f"{path}/{id_}/wait/update.add?timeout=100+ms"
                answers.append(await client.post(waits, content=sent, headers={"Idempotency-Key": key}))
        async with connect(url, *JOBS) as jobs:
            job = jobs.handle_by_name("workflow", "adding")
            named = await job.call_and_wait("update.add", "a", "2", idempotency_key="1")
        return [answer.json() for answer in answers], named

    answers, named = _served(ask)
    assert [(each["form"], each["reply"]["form"], each["reply"]["value"]) for each in answers] == [
        ("reached", "done", "3"),
        ("reached", "done", "3"),
        ("reached", "failed", '"negative"'),
        ("not_reached", "waiting", None),
        ("reached", "unanswered", None),
    ]
    assert (named.reply, named.status.status, named.outcome) == (UpdateReply(form="done", value="3"), "idle", None)


def test_a_name_in_this_process_starts_and_waits() -> None:
    async def main() -> CallEnd:
        async with App(None).with_jobs(*JOBS).open("memory://") as jobs:
            return await jobs.handle_by_name("workflow", "flow").call_and_wait("start", "a", "-1")

    end = asyncio.run(main())
    assert (end.form, end.answer["created"], end.status.phase) == ("reached", True, "failed")
