"""An instance that has ended, on the dashboard: its outcome, and the requests that make sense."""

import asyncio
import re
from html import unescape
from pathlib import Path
from typing import Annotated

import httpx2
from attrs import frozen
from returns.result import Result, Success
from visitor import Visitor, fields_of

from perdure import (
    App,
    Do,
    ItemContext,
    Secret,
    Signal,
    Task,
    Update,
    WorkerPool,
    Workflow,
    WorkflowContext,
    attempt,
    attribute,
    effect,
    fail,
    program,
    tell,
)
from perdure.client.local_gateway import engine_of
from perdure.server.api import asgi
from perdure.values.instance import HEALS


@frozen
class Receipt:
    number: int
    card: Annotated[str, Secret] = "4111-1111"


approval = Signal("approval", str)
amend = Update("amend", str, str)


@program
def pay(ctx: WorkflowContext[str]) -> Do[Receipt]:
    yield from approval.receive()
    return Receipt(7)


@program
def shrink(ctx: ItemContext[str]) -> Do[Receipt, str]:
    item = yield from ctx.item
    if item == "bad":
        yield from fail("no picture")
    return Receipt(len(item))


bills = Workflow("bills", state=str, run=pay, signals=(approval,), updates=(amend,))
pictures = WorkerPool("pictures", item=str, work=shrink, keep="1 day")


def buttons(html: str) -> set[str]:
    """The actions of the page."""
    toolbar = re.search(r'<nav class="toolbar".*?</nav>', html, re.DOTALL)
    return set() if toolbar is None else set(re.findall(r">([a-z.]+)</a>", toolbar[0]))


def options(html: str) -> set[str]:
    """The actions of the form that explains and sends any request."""
    return set(re.findall(r'<option value="([a-z._]+)"', html))


def test_a_page_shows_the_outcome_and_only_the_requests_that_have_an_effect():
    async def main():
        api = asgi(App(None).with_jobs(bills, pictures), "memory://", dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            visitor, jobs = Visitor(http, api), api.client
            await jobs.handle(bills).start("b", "order", wait_for="completion")
            open_page = (await visitor.get("/jobs/workflow/bills/instances/b")).text
            await jobs.handle(bills).signal("b", approval, "yes")
            await jobs.until(bills, "b")
            for item in ("good", "bad"):
                await jobs.handle(pictures).put(item, item)
            await jobs.until(pictures, "good", "done")
            await jobs.until(pictures, "bad", "parked")
            ended, done, parked = [
                (await visitor.get(f"/jobs/{path}")).text
                for path in (
                    "workflow/bills/instances/b",
                    "pool/pictures/instances/good",
                    "pool/pictures/instances/bad",
                )
            ]
            return open_page, ended, done, parked, (await visitor.get("/instances")).text

    open_page, ended, done, parked, listed = asyncio.run(main())
    assert {"cancel", "pause", "terminate"} <= buttons(open_page)
    assert not {"cancel", "pause", "resume"} & buttons(ended)
    assert {"signal.approval", "update.amend"} <= options(open_page)
    assert not {"cancel", "pause", "signal.approval", "update.amend"} & options(ended)
    assert "terminate" in buttons(ended)
    for page, number in ((ended, 7), (done, 4)):
        assert f'{{"number":{number},"card":"<secret>"}}' in unescape(page)
        assert "4111" not in page
    assert "resume" in buttons(parked)
    assert re.search(r"parked</span>\s*<small> retries exhausted", listed)


def test_the_page_of_dead_letters_pages_through_parked_items_too():
    """52 items are parked, of which a page shows 50; the letters keep their page meanwhile."""
    ids = [f"{number:02}" for number in range(52)]

    async def main():
        api = asgi(App(None).with_jobs(bills, pictures), "memory://", dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            visitor, jobs = Visitor(http, api), api.client
            await jobs.handle(pictures).put("good", "good")
            for id_ in ids:
                await jobs.handle(pictures).put(id_, "bad")
            for id_ in ids:
                await jobs.until(pictures, id_, "parked")
            first = (await visitor.get("/dead-letters?after=7")).text
            (following,) = re.findall(r'rel="next" href="/dashboard(.*?)"', first)
            second = (await visitor.get(unescape(following))).text
            wrong = await visitor.get("/dead-letters?item=x")
            twin = (await visitor.get("/dead-letters?format=json")).json()
            return first, following, second, wrong.status_code, twin

    first, following, second, wrong, twin = asyncio.run(main())
    keys = [re.findall(r'data-key="pool:pictures:(.*?)"', page) for page in (first, second)]
    assert keys == [ids[:50], ids[50:]]
    assert "after=7" in following
    assert 'rel="next"' not in second
    assert "no picture" in second
    assert 'aria-label="resume pool:pictures:51"' in second
    assert wrong == 422
    assert [row["address"]["id"] for row in twin["items"]["parked"]] == ids[:50]


def test_instances_and_messages_that_code_left_are_on_the_pages_of_those_that_wait_for_an_operator(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    numbers = Task("notes", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event))
    texts = Task("notes", state=str, event=str, initial="", on_event=lambda ctx, event: ctx.set_state(event))
    sender = Task(
        "sender", state=int, event=int, initial=0, on_event=lambda _, event: tell(texts, "b").send(f"{event}")
    )

    async def main() -> tuple[str, ...]:
        async with App(None).with_jobs(texts).open(url) as newer:
            await newer.handle(texts).send("a", "text")
        api = asgi(App(None).with_jobs(numbers, sender), url, dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            visitor, jobs = Visitor(http, api), api.client
            await attempt(jobs.handle(numbers).send("a", 1))
            await jobs.handle(sender).send("s", 1)
            async with asyncio.timeout(10):
                while not await jobs.left_messages():  # noqa: ASYNC110 - it asks the store
                    await asyncio.sleep(0)
            pages = [
                (await visitor.get(path)).text for path in ("/parked", "/jobs/task/notes/instances/a", "/dead-letters")
            ]
            await jobs.handle(numbers).terminate("a")
            (message,) = await jobs.left_messages()
            form = {"csrf": await visitor.token_of_forms("/dead-letters"), "message": f"{message.message_id}"}
            assert fields_of(pages[2])["message"] == form["message"]  # of the button
            asked = (await visitor.post("/dead-letters/bury", form)).text
            done = [(await visitor.post("/dead-letters/bury", form | {"confirmed": "yes"})).text for _ in range(2)]
            (letter,) = await jobs.dead_letters()
            assert (letter.message_id, await jobs.left_messages()) == (message.message_id, ())
            assert f'aria-label="Select message {letter.message_id}"' in (await visitor.get("/dead-letters")).text
            return *pages, (await visitor.get("/parked")).text, asked, *done

    parked, instance, letters, after, asked, buried, again = asyncio.run(main())
    assert re.search(r'aria-label="bury message \d+"', letters)
    assert "Make the left message #" in asked
    assert ("1 of 1 done" in buried, "1 of 1 done" in again, "not found" in again) == (True, False, True)
    assert "Code that cannot read it left it (NewerOnly)" in parked
    assert HEALS["NewerOnly"].partition(":")[0] in parked
    assert 'aria-label="resume task:notes:a"' in parked
    offered = re.findall(r'href="[^"]*/instances/a/request/(\w+)"', instance)
    assert ("resume" in offered, "terminate" in offered, "pause" in offered) == (True, True, False)
    assert re.search(r'class="status bad">left<', instance)
    assert "Left messages" in letters
    assert "task:sender:s" in letters
    assert "left it (" not in after


@effect
def charge(_: object) -> Result[int, str]:
    return Success(7)


@program
def charging(_: WorkflowContext[str]) -> Do[int, str]:
    number = yield from charge()
    yield from approval.receive()
    return number


def test_the_page_of_a_workflow_shows_its_steps_and_that_of_a_task_none() -> None:
    charges = Workflow("charges", state=str, run=charging, signals=(approval,))
    notes = Task("notes", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event))

    async def main() -> list[bool]:
        api = asgi(App(None).with_jobs(charges, notes), "memory://", dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            visitor, jobs = Visitor(http, api), api.client
            await jobs.handle(charges).start("a", "")
            while not any(step.name == "charge" for step in await jobs.handle(charges).steps("a")):
                await engine_of(jobs).runtime.sleep(1)
            await jobs.handle(notes).send("a", 1)
            paths = ("/jobs/workflow/charges/instances/a", "/jobs/task/notes/instances/a")
            return ["charge</" in (await visitor.get(path)).text for path in paths]

    assert asyncio.run(main()) == [True, False]


@attribute
def amount(total: int) -> int:
    return total


def test_a_list_is_filtered_and_counted_by_attributes() -> None:
    """The conditions belong to one job: without it, the page says so, as for a condition that is not valid."""
    sums = Task(
        "sums", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event), attributes=(amount,)
    )

    async def main() -> list[str]:
        api = asgi(App(None).with_jobs(sums), "memory://", dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            for number in range(5):
                await api.client.handle(sums).send(f"s-{number}", number)
            queries = (
                "kind=task&job=sums&where=amount>1;amount<4",
                "where=amount>1",
                "kind=task&job=sums&where=size>1",
            )
            visitor = Visitor(http, api)
            return [(await visitor.get(f"/instances?{query}")).text for query in queries]

    found, without_job, unknown = asyncio.run(main())
    assert set(re.findall(r'data-key="task:sums:(s-\d)"', found)) == {"s-2", "s-3"}
    assert "2 instances of the job meet the conditions." in found
    assert "GET /v1/instances?kind=task&amp;job=sums&amp;where=amount%3E1&amp;where=amount%3C4" in found
    assert "perdure list --job=task:sums --where=&#39;amount&gt;1&#39; --where=&#39;amount&lt;4&#39;" in found
    for page in (without_job, unknown):
        assert 'role="alert"' in page
        assert 'data-key="task:sums' not in page
