"""The dashboard's pages for the result of a rehearsal, and for the positions of a debugger."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from html import unescape
from typing import Annotated, Any, TypeVar

import httpx2
import orjson
import pytest
from attrs import frozen
from returns.result import Result, Success
from visitor import SECRETS, TOKENS, Visitor, visit

from perdure import App, Do, Secret, Task, TaskContext, Workflow, WorkflowContext, effect, program
from perdure.dashboard.timeline import MAX_RESULT_CHARACTERS
from perdure.server.api import asgi

RESULT = {
    "begins": "2026-01-01T00:00:00+00:00",
    "ends": "2026-01-31T00:00:00+00:00",
    "instances": 3,
    "differing": 2,
    "notes": ["rehearsed 3 of 3 instances to the end"],
    "groups": [
        {
            "job": "task:plan",
            "sentence": "charge happens twice <b>",
            "instances": 2,
            "more": {"charge": 4},
            "example": {
                "address": "task:plan:c1",
                "before": [{"at": "2026-01-08T00:00:00+00:00", "act": "charge('c1', 100)"}],
                "old": [{"at": "2026-01-15T00:00:00+00:00", "act": "charge('c1', 100)"}],
                "new": [
                    {"at": "2026-01-08T00:00:00+00:00", "act": "charge('c1', 100)"},
                    {"at": "2026-01-15T00:00:00+00:00", "act": "charge('c1', 100)"},
                ],
            },
        }
    ],
}


def test_the_result_of_a_rehearsal_is_shown_with_a_picture():
    async def scenario(visitor):
        csrf = await visitor.token_of_forms("/rehearsal")
        return await visitor.post("/rehearsal", {"csrf": csrf, "result": orjson.dumps(RESULT).decode()})

    page = visit(scenario)
    assert page.status_code == 200
    assert "2 task:plan: charge happens twice &lt;b&gt;" in page.text
    assert "2 of 3 instances have another future, from 2026-01-01 to 2026-01-31" in page.text
    # The second charge of the same instant is the new code's alone: all other acts are equal.
    marks = re.findall(r'<(?:circle|polygon) class="(\w+)"', page.text)
    assert marks == ["same", "same", "same", "same", "new"]
    assert '<li class="other"><time datetime="2026-01-08T00:00:00+00:00">2026-01-08 00:00:00</time>' in page.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        orjson.dumps(RESULT | {"begins": "soon"}).decode(),
        orjson.dumps(RESULT | {"ends": "2026-01-01T00:00:00"}).decode(),
        orjson.dumps(RESULT | {"groups": [{}]}).decode(),
        " " * (MAX_RESULT_CHARACTERS + 1),
    ],
)
def test_a_text_that_is_no_result_of_a_rehearsal_is_refused(text):
    async def scenario(visitor):
        csrf = await visitor.token_of_forms("/rehearsal")
        return await visitor.post("/rehearsal", {"csrf": csrf, "result": text})

    page = visit(scenario)
    assert page.status_code == 400
    assert "result of a rehearsal" in page.text


# ---------------------------------------------------------------- debuggers
@frozen
class Bought:
    product: str
    card: Annotated[str, Secret] = "4000-1234"


@effect
def price(_services: Any, product: str, card: str) -> Result[int, str]:
    return Success(len(product))


@program
def buy(ctx: WorkflowContext[Bought]) -> Do[int, str, Any]:
    bought = yield from ctx.state
    card = bought.card
    cents = yield from price(bought.product, card)
    return cents + (yield from price(bought.product * 2, card))


@program
def keep(ctx: TaskContext[int], event: Bought) -> Do[None, str, Any]:
    before = yield from ctx.state
    cents = yield from price(event.product, event.card)
    yield from ctx.set_state(before + cents)


purchase = Workflow("purchase", state=Bought, run=buy)
basket = Task("basket", state=int, event=Bought, initial=0, on_event=keep, accepted_in_events="payload")
forgetful = Task("forgetful", state=int, event=Bought, initial=0, on_event=keep)


T = TypeVar("T")


def with_debugged(visited: Callable[[Visitor], Awaitable[T]]) -> T:
    async def main() -> T:
        app = App(None).with_jobs(purchase, basket, forgetful)
        api = asgi(app, "memory://", dashboard=True, access=TOKENS)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await api.client.handle(purchase).start_and_wait("p", Bought("car"))
            for job in (basket, forgetful):
                for product in ("car", "bicycle"):
                    await api.client.handle(job).send("b", Bought(product))
            return await visited(Visitor(http, api))

    return asyncio.run(main())


def debugged(*paths: str, as_: str = "operator") -> list[httpx2.Response]:
    async def visited(visitor: Visitor) -> list[httpx2.Response]:
        return [await visitor.get(f"/jobs/{path}", Authorization=f"Bearer {SECRETS[as_]}") for path in paths]

    return with_debugged(visited)


def test_the_debugger_of_a_journal_goes_from_position_to_position() -> None:
    path = "workflow/purchase/instances/p/debug"
    end, first, second, data, instance = debugged(
        path, f"{path}?at=0", f"{path}?at=1", f"{path}?at=1&format=json", "workflow/purchase/instances/p"
    )
    assert 'href="/dashboard/jobs/workflow/purchase/instances/p/debug"' in instance.text
    for page in (end, first, second, data):
        assert page.status_code == 200
        assert "4000-1234" not in page.text
    at_first, at_second = unescape(first.text), unescape(second.text)
    assert "0 of 2 answers" in at_first
    assert "price('car', '<secret>')" in at_first
    assert '"card": "<secret>"' in at_first
    assert re.search(r'<th scope="row">card</th><td><code>.?<secret>', at_first)
    assert "cents" not in at_first
    assert re.search(r'<th scope="row">cents</th><td><code>3<', at_second)
    assert "test_rehearsal.py:" in at_second
    assert re.search(r'rel="next" href="/dashboard/jobs/workflow/purchase/instances/p/debug[?]at=1"', at_first)
    assert re.search(r'rel="prev" href="/dashboard/jobs/workflow/purchase/instances/p/debug[?]at=0"', at_second)
    assert 'rel="prev"' not in at_first
    assert 'rel="next"' not in unescape(end.text)
    assert "the program has ended" in end.text
    found = data.json()["position"]
    assert (found["number"], found["of"], len(found["steps"])) == (1, 2, 3)
    # It is computed once: each update would be a replay.
    assert "data-live" in instance.text
    assert "data-live" not in first.text


def test_the_debugger_of_a_history_shows_the_state_before_and_after() -> None:
    path = "task/basket/instances/b/debug"
    (page,) = debugged(f"{path}?at=2")
    shown = unescape(page.text)
    assert "2 of 2 requests and runs" in shown
    assert "price('bicycle', '<secret>')" in shown
    assert "State before" in shown
    assert "State after" in shown
    assert re.search(r'<th scope="row">before</th>', shown)
    assert "4000-1234" not in page.text


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("workflow/purchase/instances/p/debug?at=3", "0 to 2"),
        ("workflow/purchase/instances/q/debug", "an instance that is stored"),
        ("task/basket/instances/b/debug?at=0", "1 to 2"),
        ("task/basket/instances/c/debug", "no events"),
        ("task/forgetful/instances/b/debug", 'accepted_in_events="payload"'),
    ],
)
def test_a_position_that_does_not_exist_says_why(path: str, problem: str) -> None:
    (page,) = debugged(path)
    assert 'role="alert"' in page.text
    assert problem in unescape(page.text)


def test_lines_of_code_are_for_operators() -> None:
    refused, instance = debugged("workflow/purchase/instances/p/debug", "workflow/purchase/instances/p", as_="reader")
    assert refused.status_code == 403
    assert "price(" not in refused.text
    assert "/debug" not in instance.text


def test_a_position_is_not_followed() -> None:
    page, operator = "/jobs/workflow/purchase/instances/p/debug", f"Bearer {SECRETS['operator']}"
    assert "event: trouble" in with_debugged(lambda visitor: visitor.first_event(page, Authorization=operator))
