"""Actions for several instances, and for a job, on the dashboard."""

import asyncio

import httpx2
import pytest
from returns.future import FutureResult
from returns.result import Result, Success
from visitor import Visitor, path_of

from perdure import App, Do, Task, TaskContext, Workflow, WorkflowContext, effect, program
from perdure.programs import sleep
from perdure.server.api import asgi
from perdure.values.answer import WasCancelled
from perdure.values.listings import HoldResult
from perdure.values.status_wait import Reached


def test_an_instance_whose_run_is_in_progress_delays_no_other():
    async def main():
        released = asyncio.Event()

        @effect
        def wait(_: object) -> FutureResult[None, str]:
            async def waiting():
                await released.wait()
                return Success(None)

            return FutureResult(waiting())

        @program
        def on_event(ctx: TaskContext[int], event: int) -> Do[None, str]:
            if event:
                yield from wait()
            yield from ctx.set_state(event)

        slow = Task("slow", state=int, event=int, initial=0, on_event=on_event)
        api = asgi(App(None).with_jobs(slow), "memory://", dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            visitor, jobs = Visitor(http, api), api.client.handle(slow)
            await jobs.send("b", 0)
            form = {"csrf": await visitor.token_of_forms(), "action": "terminate", "confirmed": "yes", "key": "once"}
            running = asyncio.ensure_future(jobs.send("a", 1))
            await asyncio.sleep(0)
            acting = asyncio.ensure_future(visitor.post("/bulk", form | {"address": ["task:slow:a", "task:slow:b"]}))
            for _ in range(1_000):
                await asyncio.sleep(0)
            others = (await jobs.status("b")).status
            waits = not acting.done()
            released.set()
            await running
            return others, waits, "2 of 2 done" in (await acting).text

    assert asyncio.run(main()) == ("not_found", True, True)


@program
def waiting(ctx: WorkflowContext[int]) -> Do[int]:
    yield from sleep("1 day")
    return (yield from ctx.state)


long = Workflow("long", state=int, run=waiting)


def test_a_job_is_held_and_released_and_its_workflows_are_cancelled_with_a_reason():
    async def main():
        api = asgi(App(None).with_jobs(long), "memory://", dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            visitor, flow = Visitor(http, api), api.client.handle(long)
            assert "held</span>" not in (await visitor.get()).text
            form = {"csrf": await visitor.token_of_forms("/jobs/workflow/long/hold"), "confirmed": "yes"}
            assert (await visitor.post("/jobs/workflow/long/hold", form)).status_code == 303
            pages = [(await visitor.get(path)).text for path in ("", "/jobs", "/jobs/workflow/long")]
            assert ["held</span>" in text for text in pages[:2]] == [True, True]
            assert "The job is held" in pages[2]
            assert await flow.release() == HoldResult(changed=True, hold="released")
            for id_ in ("a", "b"):
                await flow.start(id_, 1)
            confirming = await visitor.post(
                "/bulk", {"csrf": form["csrf"], "action": "cancel", "address": ["workflow:long:a", "workflow:long:b"]}
            )
            assert 'name="reason"' in confirming.text
            sent = {"csrf": form["csrf"], "action": "cancel", "confirmed": "yes", "key": "k", "reason": "ordered twice"}
            await visitor.post("/bulk", sent | {"address": ["workflow:long:a", "workflow:long:b"]})
            ended = [await api.client.until(long, id_) for id_ in ("a", "b")]
            assert [isinstance(each, Reached) for each in ended] == [True, True]
            return [await flow.outcome(id_) for id_ in ("a", "b")]

    assert asyncio.run(main()) == [WasCancelled(reason="ordered twice")] * 2


@effect
async def hang(_: object) -> Result[None, str]:
    await asyncio.Event().wait()
    return Success(None)


@program
def hanging(ctx: WorkflowContext[int]) -> Do[None, str]:
    yield from hang()


stuck = Workflow("stuck", state=int, run=hanging)


@pytest.mark.parametrize("form", ["one", "several"])
@pytest.mark.parametrize("action", ["cancel", "terminate"])
def test_a_step_that_hangs_is_interrupted(form: str, action: str):
    async def main():
        api = asgi(App(None).with_jobs(stuck), "memory://", dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            visitor, flow = Visitor(http, api), api.client.handle(stuck)
            await flow.start("a", 1)
            await api.client.until(stuck, "a", "running")
            if form == "one":
                assert 'name="interrupt"' in (await visitor.get(f"{path_of('workflow/stuck/a')}/request/{action}")).text
                await visitor.request("workflow/stuck/a", action, reason="it hangs", interrupt="yes")
            else:
                sent = {"csrf": await visitor.token_of_forms(), "action": action, "confirmed": "yes", "key": "k"}
                asked = {"address": ["workflow:stuck:a"], "reason": "it hangs", "interrupt": "yes"}
                assert "done" in (await visitor.post("/bulk", sent | asked)).text
            if action == "terminate":
                return (await flow.status("a")).status
            await api.client.until(stuck, "a")
            return await flow.outcome("a")

    assert asyncio.run(main()) == ("not_found" if action == "terminate" else WasCancelled(reason="it hangs"))
