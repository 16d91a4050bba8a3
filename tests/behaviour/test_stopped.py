"""A program that embeds an engine learns that it stopped, and why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from returns.result import Success

from perdure import App, Backoff, Client, ItemContext, Program, Retry, Task, TaskContext, WorkerPool, fail
from perdure.remote import connect
from perdure.testing import World
from perdure.values.errors import InvalidInput
from perdure.values.live_event import EngineStopped


def on_event(ctx: TaskContext[int], event: int) -> object:
    if event < 0:
        raise SystemExit(3)
    return ctx.set_state(event)


def retry_if(error: str) -> bool:
    raise SystemExit(error)


def fails(ctx: ItemContext[str]) -> Program[None, str]:
    return fail(ctx.id)


exiting = Task("exiting", state=int, event=int, initial=0, on_event=on_event)  # type: ignore[arg-type]
retrying = WorkerPool("retrying", item=str, work=fails, retry=Retry(3, Backoff.constant("1 second"), retry_if=retry_if))
app = App(None).with_jobs(exiting)


def test_the_reason_of_an_engine_that_stopped_itself_is_known() -> None:
    with World(app, at_end="leave") as world:
        waiting, also = world.start(world.jobs.stopped()), world.start(world.jobs.stopped())
        assert isinstance(world.attempt(world.handle(exiting).send("one", 1)), Success)
        assert not waiting.is_answered
        world.attempt(world.handle(exiting).send("one", -1))
        late = world.attempt(world.jobs.stopped())
        assert isinstance(late, Success)
        assert "SystemExit(3)" in late.unwrap().reason
        assert waiting.result() == also.result() == late


def test_a_retry_policy_that_exits_ends_the_process() -> None:
    with World(App(None).with_jobs(retrying), at_end="leave") as world:
        stopped = world.start(world.jobs.stopped())
        world.attempt(world.handle(retrying).put("a", "x"))
        world.advance("1 minute")
        assert "SystemExit('a')" in stopped.result().unwrap().reason


def test_a_caller_that_waits_no_longer_ends_no_other_wait() -> None:
    async def main() -> EngineStopped:
        async with app.open("memory://") as jobs:
            first, second = (asyncio.ensure_future(_stopped(jobs)) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert not second.done()
        return await asyncio.wait_for(second, 10)

    stopped = asyncio.run(main())
    assert (stopped.reason, stopped.store) == ("", "memory://")


async def _stopped(jobs: Client) -> EngineStopped:
    return await jobs.stopped()


def test_a_client_of_another_process_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with connect(f"http+unix://{tmp_path}/jobs.sock") as jobs:
            with pytest.raises(InvalidInput, match="in this process"):
                await jobs.stopped()

    asyncio.run(main())
