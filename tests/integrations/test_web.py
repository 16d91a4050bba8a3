"""FastAPI, Starlette and Litestar: the client of the lifespan, typed handles, and errors as problems."""

import asyncio
import base64
import hmac
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
from attrs import evolve, frozen
from fastapi import Depends, FastAPI
from litestar import Litestar, get
from litestar import asgi as asgi_route
from litestar.params import FromPath
from litestar.testing import TestClient as LitestarClient
from returns.result import Failure, Result, Success
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from perdure import App, Client, Decision, Do, Stream, Task, Workflow, WorkflowContext, program
from perdure.integrations import fastapi, litestar, starlette
from perdure.integrations.django.client import TIMEOUT
from perdure.integrations.web import MAX_SIGNATURES, WebhookVerifier, problem_response
from perdure.kinds.task import TaskHandle
from perdure.remote import connect, connect_sync
from perdure.server.api import EngineApi, asgi
from perdure.values.errors import DefinitionError, InvalidInput, Rejected


@frozen
class TooMuch:
    limit: int


def decide(total: int, event: int) -> Result[Decision[int], TooMuch]:
    if event < 0:
        raise ValueError("the secret of the server")
    return Success(Decision(total + event)) if event < 10 else Failure(TooMuch(10))


counter = Task("counter", state=int, event=int, initial=0, decide=decide)
tagged = Task("tagged", state=int, event=int, initial=0, decide=decide, tags={TooMuch: "too_much"})
app = App(None).with_jobs(counter)


async def total_of(jobs: Client, number: int) -> dict[str, int | None]:
    await jobs.handle(counter).send("a", number)
    return {"total": await jobs.handle(counter).get_state("a")}


def on_starlette() -> Starlette:
    async def add(request: Request) -> JSONResponse:
        return JSONResponse(await total_of(starlette.client_of(request), int(request.path_params["number"])))

    web = Starlette(routes=[Route("/{number}", add)], lifespan=starlette.lifespan(lambda: app.open("memory://")))
    starlette.handle_errors(web)
    return web


def on_fastapi() -> FastAPI:
    web = FastAPI(lifespan=fastapi.lifespan(lambda: app.open("memory://")))
    fastapi.handle_errors(web)
    handle = fastapi.handle_of(counter)

    @web.get("/{number}")
    async def add(
        number: int, jobs: fastapi.Jobs, counters: Annotated[TaskHandle[int, int, TooMuch], Depends(handle)]
    ) -> dict[str, int | None]:
        assert counters == jobs.handle(counter)
        return await total_of(jobs, number)

    return web


def on_litestar() -> Litestar:
    @get("/{number:int}")
    async def add(number: FromPath[int], jobs: litestar.Jobs) -> dict[str, int | None]:
        return await total_of(jobs, number)

    return Litestar([add], plugins=[litestar.PerdurePlugin(lambda: app.open("memory://"))])


FRAMEWORKS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "starlette": lambda: TestClient(on_starlette()),
    "fastapi": lambda: TestClient(on_fastapi()),
    "litestar": lambda: LitestarClient(on_litestar()),
}


@pytest.fixture(params=FRAMEWORKS)
def web(request: pytest.FixtureRequest) -> Iterator[Any]:
    with FRAMEWORKS[request.param]() as client:
        yield client


def test_handlers_call_jobs(web: Any) -> None:
    assert web.get("/3").json() == {"total": 3}
    assert web.get("/4").json() == {"total": 7}


def test_an_error_of_the_caller_is_a_problem_with_its_fields(web: Any) -> None:
    response = web.get("/10")
    assert (response.status_code, response.headers["content-type"]) == (409, "application/problem+json")
    assert response.json()["code"] == "rejected"
    assert "TooMuch(limit=10)" in response.json()["detail"]
    assert response.json()["error"] == {"limit": 10}
    assert "undeclared_error" not in response.json()


def test_an_error_of_the_server_is_logged_and_not_shown(web: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = web.get("/-1")
    assert (response.status_code, response.json()["code"]) == (500, "hook_raised")
    assert "secret" not in response.text
    assert "GET /-1 failed: the job's code raised ValueError: the secret of the server" in caplog.messages


def test_a_mounted_application_says_where_its_lifespan_belongs(caplog: pytest.LogCaptureFixture) -> None:
    outer = Starlette()
    outer.mount("/jobs", on_starlette())
    with TestClient(outer) as client:
        assert client.get("/jobs/3").status_code == 500
    assert "on the outermost application" in caplog.text


def test_an_engine_is_served_below_a_prefix_of_each_framework() -> None:
    """An id with a slash, too: frameworks hand the path below a prefix on in different forms."""
    for create in (mounted_in_starlette, mounted_in_litestar):
        api = asgi(app, "memory://", access="unchecked")
        with create(api) as client:
            sent = client.post("/jobs/v1/jobs/task/counter/instances/a%2Fb/send", content="3")
            assert (sent.status_code, sent.json()["created"]) == (200, True)
            state = client.get("/jobs/v1/jobs/task/counter/instances/a%2Fb/state")
            assert (state.status_code, state.json()) == (200, 3)


def mounted_in_starlette(api: EngineApi) -> TestClient:
    return TestClient(Starlette(routes=[Mount("/jobs", api)], lifespan=api.lifespan))


def mounted_in_litestar(api: EngineApi) -> LitestarClient[Litestar]:
    mounted = asgi_route("/jobs", is_mount=True, copy_scope=True)(api)
    return LitestarClient(Litestar([mounted], lifespan=[api.lifespan]))


def test_an_error_that_two_definitions_encode_differently_is_text() -> None:
    async def respond() -> dict[str, Any]:
        async with App(None).with_jobs(counter, tagged).open("memory://") as jobs:
            body: dict[str, Any] = orjson.loads(problem_response(Rejected(TooMuch(10)), jobs, request="GET /").body)
            return body

    problem = asyncio.run(respond())
    assert problem["undeclared_error"] == {"error_type": "TooMuch", "message": "TooMuch(limit=10)"}
    assert "error" not in problem


HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


@pytest.mark.parametrize("page", ["call-jobs-from-fastapi.md", "call-jobs-from-django-and-flask.md"])
def test_the_page_of_a_framework_names_the_default_timeout(page: str):
    of_clients = {signature(make).parameters["timeout"].default for make in (connect, connect_sync)}
    assert of_clients == {TIMEOUT}
    assert f"takes at most {TIMEOUT}, repeats included" in (HOW_TO / page).read_text(encoding="utf-8")


# ---------------------------------------------------------------- webhooks
def signed(scheme: str, secret: str, body: bytes, at_s: int) -> dict[str, str]:
    """Sign a webhook as its sender does."""
    match scheme:
        case "standard":
            key = base64.b64decode(secret.removeprefix("whsec_"))
            found = base64.b64encode(hmac.digest(key, f"msg_1.{at_s}.".encode() + body, "sha256")).decode()
            old = base64.b64encode(b"of an older secret").decode()
            return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(at_s), "Webhook-Signature": f"v1,{old} v1,{found}"}
        case "stripe":
            found = hmac.digest(secret.encode(), f"{at_s}.".encode() + body, "sha256").hex()
            return {"Stripe-Signature": f"t={at_s},v1={found},v0=ignored"}
        case _:
            found = hmac.digest(secret.encode(), body, "sha256").hex()
            return {"X-GitHub-Delivery": "msg_1", "X-Hub-Signature-256": f"sha256={found}"}


SECRETS = {"standard": "whsec_" + base64.b64encode(b"a secret").decode(), "stripe": "whsec_x", "github": "ghs-1"}
BODY = b'{"id":"msg_1","amount":3}'
NOW_S = 1_800_000_000


def verifier_of(scheme: str, *secrets: str) -> WebhookVerifier:
    made: WebhookVerifier = getattr(WebhookVerifier, scheme)(*secrets)
    return evolve(made, clock=lambda: float(NOW_S))


@pytest.mark.parametrize("scheme", SECRETS)
def test_a_signed_webhook_is_verified_and_a_changed_one_is_refused(scheme: str) -> None:
    secret = SECRETS[scheme]
    headers, verifier = signed(scheme, secret, BODY, NOW_S), verifier_of(scheme, secret)
    webhook = verifier.verify(headers, BODY)
    assert (webhook.id, webhook.json()["amount"]) == ("msg_1", 3)
    other = "whsec_" + base64.b64encode(b"another").decode()
    rotated = verifier_of(scheme, other, secret)
    assert rotated.verify({name.upper(): value for name, value in headers.items()}, BODY) == webhook
    for wrong, body in ((headers, BODY + b" "), ({}, BODY), (signed(scheme, other, BODY, NOW_S), BODY)):
        with pytest.raises(InvalidInput) as refused:
            verifier.verify(wrong, body)
        assert secret not in str(refused.value)
    assert secret not in repr(verifier)


@pytest.mark.parametrize("scheme", ["standard", "stripe"])
@pytest.mark.parametrize("late_s", [-301, -300, 300, 301])
def test_a_webhook_that_was_signed_long_ago_or_far_ahead_is_refused(scheme: str, late_s: int) -> None:
    headers, verifier = signed(scheme, SECRETS[scheme], BODY, NOW_S + late_s), verifier_of(scheme, SECRETS[scheme])
    if abs(late_s) == 300:
        assert verifier.verify(headers, BODY).id == "msg_1"
        return
    signed_at = "5m1s ahead" if late_s > 0 else "5m1s ago"
    with pytest.raises(InvalidInput, match=f"it was signed {signed_at}, and the tolerance is 5m; check the clock"):
        verifier.verify(headers, BODY)


def test_a_webhook_has_a_limit_of_signatures_and_a_verifier_needs_secrets() -> None:
    verifier = verifier_of("stripe", "s")
    for count, message in ((MAX_SIGNATURES, "none of the signatures"), (MAX_SIGNATURES + 1, "at most 16 signatures")):
        with pytest.raises(InvalidInput, match=message):
            verifier.verify({"stripe-signature": f"t={NOW_S}" + ",v1=ab" * count}, BODY)
    for body in (b"[]", b"{", b'{"id":1}'):
        with pytest.raises(InvalidInput):
            verifier.verify(signed("stripe", "s", body, NOW_S), body)
    for make in (WebhookVerifier.standard, WebhookVerifier.stripe, WebhookVerifier.github):
        for secrets in ((), ("",)):
            with pytest.raises(DefinitionError):
                make(*secrets)
    with pytest.raises(DefinitionError, match="base64"):
        WebhookVerifier.standard("whsec_?")


def test_a_webhook_is_applied_once_and_a_forged_one_is_a_problem() -> None:
    verifier = verifier_of("github", "secret")

    async def hook(request: Request) -> JSONResponse:
        webhook = verifier.verify(request.headers, await request.body())
        jobs = starlette.client_of(request).handle(counter)
        await jobs.send("hooks", webhook.json()["amount"], idempotency_key=webhook.id)
        return JSONResponse({"total": await jobs.get_state("hooks")})

    web = Starlette(
        routes=[Route("/hook", hook, methods=["POST"])], lifespan=starlette.lifespan(lambda: app.open("memory://"))
    )
    starlette.handle_errors(web)
    with TestClient(web) as sender:
        headers = signed("github", "secret", BODY, NOW_S)
        for _ in range(2):
            assert sender.post("/hook", content=BODY, headers=headers).json() == {"total": 3}
        forged = sender.post("/hook", content=BODY + b" ", headers=headers)
        assert forged.status_code == 422


# ---------------------------------------------------------------- streams
words = Stream("words", str)
other = Stream("other", str)


@program
def talk(ctx: WorkflowContext[str]) -> Do[str, str, object]:
    said = yield from ctx.state
    yield from words.emit(said)
    yield from words.emit("good")
    return said


talker = Workflow("talker", state=str, run=talk, streams=[words])


def test_a_stream_is_passed_on_to_a_browser_behind_its_last_event() -> None:
    async def events(request: Request) -> Response:
        jobs = starlette.client_of(request).handle(talker)
        if request.path_params["id"] == "new":
            await jobs.start("new", "tea")
        stream = other if request.path_params["id"] == "undeclared" else words
        return await starlette.follow(request, jobs, request.path_params["id"], stream)

    app_ = App(None).with_jobs(talker)
    routes = [Route("/{id}", events)]
    web = Starlette(routes=routes, lifespan=starlette.lifespan(lambda: app_.open("memory://")))
    starlette.handle_errors(web)
    with TestClient(web) as client:
        first = client.get("/new")
        assert first.headers["content-type"].startswith("text/event-stream")
        assert [line for line in first.text.split("\n") if line.startswith(("id", "event"))] == [
            *("id: 0", "event: chunk", "id: 1", "event: chunk", "event: end")
        ]
        assert 'data: {"step":"0 emit words","value":"tea"}' in first.text
        later = client.get("/new", headers={"Last-Event-ID": "0"})
        assert [line for line in later.text.split("\n") if line.startswith("id")] == ["id: 1"]
        assert client.get("/new?after=0").text == later.text
        assert client.get("/new", headers={"Last-Event-ID": "1"}).status_code == 204
        for wrong in ("/new?after=x", "/undeclared", "/" + "x" * 600):
            refused = client.get(wrong)
            assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json"), wrong


def test_a_browser_tries_again_if_the_engine_is_not_reachable() -> None:
    """After a response that is an error it would not."""

    async def events(request: Request) -> Response:
        return await starlette.follow(request, starlette.client_of(request).handle(talker), "a", words)

    web = Starlette(
        routes=[Route("/", events)],
        lifespan=starlette.lifespan(lambda: connect("http://127.0.0.1:9", talker, timeout="100 ms")),
    )
    with TestClient(web) as client:
        response = client.get("/")
        assert (response.status_code, response.text) == (200, "retry: 500\n\n")
