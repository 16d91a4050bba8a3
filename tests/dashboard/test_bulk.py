"""An action for several instances does not wait for the run of one of them before it reaches the others."""

import asyncio

import httpx2
from returns.future import FutureResult
from returns.result import Success
from visitor import Visitor

from perdure import App, Do, Task, TaskContext, effect, program, unwrap
from perdure.server.api import asgi


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
            await unwrap(jobs.send("b", 0))
            form = {"csrf": await visitor.token_of_forms(), "action": "terminate", "confirmed": "yes", "key": "once"}
            running = asyncio.ensure_future(unwrap(jobs.send("a", 1)))
            await asyncio.sleep(0)
            acting = asyncio.ensure_future(visitor.post("/bulk", form | {"address": ["task:slow:a", "task:slow:b"]}))
            for _ in range(1_000):
                await asyncio.sleep(0)
            others = (await unwrap(jobs.status("b"))).status
            waits = not acting.done()
            released.set()
            await running
            return others, waits, "2 of 2 done" in (await acting).text

    assert asyncio.run(main()) == ("not_found", True, True)
