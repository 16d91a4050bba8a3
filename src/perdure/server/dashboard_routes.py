"""The dashboard's routes: pages, their twins as JSON, live updates, signing in, and confirmed actions.

Each action is a client call. A page follows its engine over server-sent events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

import attrs
import orjson
from returns.result import Failure, Result, Success
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from perdure.client.client import Client
from perdure.client.local_gateway import acting_for, engine_of
from perdure.dashboard.actions import (
    BULK,
    MAX_BULK,
    MAX_REASON_CHARACTERS,
    OPERATIONS,
    REASONS,
    Action,
    ActionOutcome,
    BulkAction,
    PreviewedRequest,
    action_named,
    bulk_page,
    confirm_page,
    outcomes_page,
)
from perdure.dashboard.failures import bury_page, redrive_page
from perdure.dashboard.instance import FutureForm, forget_key_page, fork_page, future_page, given_in
from perdure.dashboard.jobs import hold_page
from perdure.dashboard.page import content, iso, login_page
from perdure.dashboard.timeline import RehearsalResult, rehearsal_page
from perdure.jobs.call import result_of
from perdure.jobs.keys import check_key
from perdure.runtime.record import Runtime
from perdure.server.access import ANONYMOUS, COOKIE, SESSION_MS, Access, Sessions, Tokens
from perdure.server.admission import Bulkhead, ClientGone
from perdure.server.calls import future_on
from perdure.server.dashboard_pages import (
    ASSETS,
    HEADERS,
    Form,
    PageSource,
    Refused,
    ShownPage,
    Visit,
    instance_of,
    job_of,
    known,
    page_at,
    whole,
)
from perdure.server.guard import client_in, departure
from perdure.server.listening import CLOSING
from perdure.server.responses import json_reply
from perdure.server.routes import CLIENT_CLOSED
from perdure.telemetry.activity import Activity
from perdure.values.address import Address
from perdure.values.errors import InvalidArgument, InvalidInput, PerdureError, UnknownAction
from perdure.wire.explanation import readable_answer
from perdure.wire.problems import problem_of
from perdure.wire.records import json_of
from perdure.wire.requests import DASHBOARD

INTERVAL_MS: Final = 1_000
"""The shortest time between a page's updates."""

LIFETIME_MS: Final = 60_000
"""How long a stream lasts. Then the browser opens the next one, so that no stream delays a server's shutdown."""

RETRY_MS: Final = 1_000
"""How long the browser waits before it opens the next stream."""

FULL_RETRY_MS: Final = 10_000
"""How long it waits if too many pages follow the engine."""


@attrs.frozen
class PageUpdate:
    """A page's answer at one moment.

    Attributes:
        kind: ``page``: its content. ``trouble``: why it has none. ``signed-out``: the session ended.
        text: the content or the reason.
        at: the moment, ISO 8601.
    """

    kind: str
    text: str
    at: str


def encoded(kind: str, **data: str) -> bytes:
    r"""Return a server-sent event.

    >>> encoded("pulse", at="2026-01-01T00:00:00Z")
    b'event: pulse\ndata: {"at":"2026-01-01T00:00:00Z"}\n\n'
    """
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(data))


def stream(
    update: Callable[[], Awaitable[PageUpdate]],
    streams: Bulkhead,
    client: str,
    runtime: Runtime,
    closing: Callable[[], bool],
) -> StreamingResponse:
    """Return the response that follows a page. Beyond the limit, it ends at once and says so.

    Args:
        update: returns the page as it is now.
        streams: bounds the open streams.
        client: the client that follows it.
        runtime: the clock.
        closing: whether the engine or the server stops.
    """

    async def events() -> AsyncGenerator[bytes]:
        # Inside the response: a browser repeats a stream that is refused with a status, and shows nothing of it.
        if not streams.take(client):
            yield b"retry: %d\n\n" % FULL_RETRY_MS
            yield encoded("full", limit=str(min(streams.limit, streams.of_one)))
            return
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            # The first update is always sent: the page may have changed since it was drawn.
            until_ms, last = runtime.monotonic_ms() + LIFETIME_MS, ""
            while not closing() and runtime.monotonic_ms() < until_ms:
                now = await update()
                if now.kind == "page" and now.text == last:
                    # A page that did not change costs the browser nothing: it is not drawn again, and a text that is
                    # selected stays so.
                    yield encoded("pulse", at=now.at)
                else:
                    yield encoded(now.kind, text=now.text, at=now.at)
                # The browser must sign in first: another stream would end in the same way.
                if now.kind == "signed-out":
                    return
                last = now.text
                await runtime.sleep(INTERVAL_MS)
        finally:
            streams.release(client)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


async def send(
    client: Client,
    address: Address,
    action: Action,
    payload: str,
    key: str,
    *,
    by: str,
    reason: str = "",
    interrupt: bool = False,
) -> ActionOutcome:
    """Send a request to an instance, without waiting for the run that it starts.

    Args:
        client: the engine's client.
        address: the instance.
        action: the request.
        payload: its input as JSON. Empty if it takes none.
        key: the idempotency key: a form that is sent twice counts once.
        by: the caller's name.
        reason: the caller's reason, for an action that takes one. By default it names the caller.
        interrupt: whether such an action stops the code in progress.
    """
    interrupt = interrupt and action.takes == "reason"
    if action.takes == "reason" and not payload:
        text = reason or f"{REASONS[action.name]} on the dashboard by {by}"
        is_cancel = interrupt and action.name == "cancel"
        # A cancellation names its reason as a value of its own type, and a `terminate` has `interrupt` beside it.
        payload = orjson.dumps(
            {"type": "Cancellation", "reason": text, "interrupt": True} if is_cancel else text
        ).decode()
    subject = f"{action.name} {address}"
    try:
        call = client.handle_by_name(address.kind, address.name).call(
            action.name,
            address.id,
            payload,
            idempotency_key=key or None,
            # A browser must not wait for a run of minutes: the page shows its progress.
            wait_for="start",
            interrupt=interrupt and action.name == "terminate",
        )
        result: Result[Any, PerdureError] = await result_of(call)
    except PerdureError as error:
        return ActionOutcome(subject=subject, result=str(error), form="refused")
    if isinstance(result, Success):
        text = answer_text(readable_answer(address.kind, result.unwrap()))
        return ActionOutcome(subject=subject, result=text, form="done")
    return ActionOutcome(subject=subject, result=str(result.failure()), form="refused")


async def redrive(client: Client, numbers: Sequence[int]) -> tuple[ActionOutcome, ...]:
    """Deliver dead letters again, in their order."""
    # One after the other: dead letters of one sender keep their order.
    results = [(number, await result_of(client.redrive(number))) for number in sorted(numbers)]
    return tuple(_outcome(f"redrive #{number}", result, "redriven") for number, result in results)


def _outcome(subject: str, result: Result[Any, PerdureError], done: str) -> ActionOutcome:
    answer = result.unwrap() if isinstance(result, Success) else str(result.failure())
    form = "done" if answer == done else "refused"
    return ActionOutcome(subject=subject, result=str(answer).replace("_", " "), form=form)


def answer_text(answer: object) -> str:
    """Return an answer as a line.

    >>> answer_text({"type": "PauseResult", "changed": True, "status": "paused", "outcome": None})
    'changed: yes, status: paused'
    """
    if not isinstance(answer, dict):
        return str(answer)
    members = cast("dict[str, object]", answer)
    words = {True: "yes", False: "no"}
    shown = ((name, words.get(value, value) if isinstance(value, bool) else value) for name, value in members.items())
    return ", ".join(
        f"{name.replace('_', ' ')}: {_short(value)}" for name, value in shown if value is not None and name != "type"
    )


def _short(value: object) -> str:
    return str(cast("dict[str, object]", value).get("form") if isinstance(value, dict) else value)


_JOB: Final = f"{DASHBOARD}/jobs/{{kind}}/{{name}}"
_INSTANCE: Final = f"{DASHBOARD}/jobs/{{kind}}/{{name}}/instances/{{id}}"

Handle: TypeAlias = Callable[[Visit], Awaitable[Response]]
T = TypeVar("T")


@attrs.frozen(eq=False)
class Dashboard:
    """One application's dashboard.

    Attributes:
        client: returns the engine's client, or raises `EngineClosed`.
        access: the server's rule.
        sessions: signs cookies and forms.
        activity: the engine's last hour.
        lists: bounds the pages that are computed at once.
        streams: the pages that follow the engine.
    """

    client: Callable[[], Client]
    access: Access
    sessions: Sessions
    activity: Activity
    lists: Bulkhead
    streams: Bulkhead

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route(f"{DASHBOARD}/static/{{name}}", self._static, methods=["GET"]),
            Route(f"{DASHBOARD}/login", self._visited(self._login), methods=["GET", "POST"]),
            Route(f"{DASHBOARD}/logout", self._visited(self._logout), methods=["POST"]),
            Route(f"{DASHBOARD}/live", self._visited(self._live), methods=["GET"]),
            Route(f"{DASHBOARD}/rehearsal", self._visited(self._rehearsal), methods=["GET", "POST"]),
            Route(f"{DASHBOARD}/bulk", self._visited(self._bulk), methods=["POST"]),
            Route(f"{DASHBOARD}/dead-letters/redrive", self._visited(self._redrive), methods=["POST"]),
            Route(f"{DASHBOARD}/dead-letters/bury", self._visited(self._bury), methods=["POST"]),
            Route(f"{_JOB}/{{change}}", self._visited(self._hold), methods=["GET", "POST"]),
            Route(f"{_INSTANCE}/explain", self._visited(self._explain), methods=["POST"]),
            Route(f"{_INSTANCE}/future", self._visited(self._future), methods=["POST"]),
            Route(f"{_INSTANCE}/fork", self._visited(self._fork), methods=["GET", "POST"]),
            Route(f"{_INSTANCE}/forget-key", self._visited(self._forget_key), methods=["POST"]),
            Route(f"{_INSTANCE}/request/{{action}}", self._visited(self._request), methods=["GET", "POST"]),
            Route(f"{DASHBOARD}{{rest:path}}", self._visited(self._page), methods=["GET"]),
        ]

    def _visited(self, handle: Handle) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                client = self.client()
            except PerdureError as error:
                return Response(str(error), 503, headers=HEADERS, media_type="text/plain")
            engine = engine_of(client)
            visit = Visit(request, self.sessions, engine.store.name, engine.runtime.now_ms())
            try:
                return await handle(visit)
            # Before the errors of the library: a refusal has a page of its own already.
            except Refused as refused:
                return refused.response
            except ClientGone:
                return Response(status_code=CLIENT_CLOSED)
            except PerdureError as error:
                status = int(problem_of(error)["status"])
                return visit.refused("Not done" if request.method == "POST" else "Not found", str(error), status)

        return endpoint

    def _source(self, visit: Visit) -> PageSource:
        return PageSource(client=self.client(), activity=self.activity, scopes=frozenset[str](visit.caller.scopes))

    def _acting(self, visit: Visit) -> Client:
        return acting_for(self.client(), visit.caller.name)

    async def _collected(self, collect: Callable[[PageSource], Awaitable[ShownPage]], visit: Visit) -> ShownPage:
        source = self._source(visit)
        return await self._listed(visit, lambda: collect(source))

    async def _listed(self, visit: Visit, work: Callable[[], Awaitable[T]]) -> T:
        """Do expensive work after each other client has had a turn, unless the browser leaves before."""
        request = visit.request

        async def left() -> None:
            await request.body()  # it is complete: only the end of the connection can follow
            await departure(request.receive)

        return await self.lists.perform(client_in(request.scope), work, left=left)

    async def _static(self, request: Request) -> Response:
        return ASSETS.response(request.path_params["name"])

    # ------------------------------------------------------------ pages
    async def _page(self, visit: Visit) -> Response:
        visit.check_scope("read")
        query = visit.request.query_params
        route = page_at(visit.path, query)
        if route is None:
            return visit.refused("Not found", "The dashboard has no such page.", 404)
        visit.check_scope(route.needs)
        seen = await self._collected(route.collect, visit)
        if query.get("format") == "json":
            response = json_reply(json_of(seen.data))
            response.headers.update(HEADERS)
            return response
        return visit.html(seen.show(visit.frame(live=route.live)), live=route.live)

    async def _rehearsal(self, visit: Visit) -> Response:
        """Show the result that the caller passes: a rehearsal runs beside the engine, which keeps nothing of it."""
        visit.check_scope("read")
        if visit.request.method == "GET":
            return visit.html(rehearsal_page(visit.frame()))
        text = (await visit.form()).text("result")
        try:
            result = RehearsalResult.from_json(text)
        except InvalidInput as problem:
            return visit.html(rehearsal_page(visit.frame(), None, str(problem)), 400)
        return visit.html(rehearsal_page(visit.frame(), result))

    async def _live(self, visit: Visit) -> Response:
        engine = engine_of(self.client())
        await visit.request.body()  # before the stream waits for the end of the connection
        server_closes: Callable[[], bool] = visit.request.scope.get(CLOSING, lambda: False)

        def closing() -> bool:
            return engine.runner.phase == "closing" or server_closes()

        client = client_in(visit.request.scope)
        return stream(lambda: self._update(visit), self.streams, client, engine.runtime, closing)

    async def _update(self, visit: Visit) -> PageUpdate:
        """Return the page in a request's query for live updates, as it is now."""
        now_ms = engine_of(self.client()).runtime.now_ms()
        at = iso(now_ms)
        if visit.caller == ANONYMOUS or self._has_signed_out(visit, now_ms):
            return PageUpdate("signed-out", "", at)
        path = visit.request.query_params.get("page", "/")
        try:
            parts = urlsplit(path)
            # Bounded: the text comes from the client.
            route = page_at(parts.path, dict(parse_qsl(parts.query, max_num_fields=20)))
            # Checked at each update: the page's path comes from the query, and the scopes may be those of another token
            # by now.
            if route is None or not route.live or route.needs not in visit.caller.scopes:
                return PageUpdate("trouble", "there is no such page", at)
            seen = await self._collected(route.collect, visit)
        except (PerdureError, ValueError) as error:
            return PageUpdate("trouble", str(error), at)
        frame = attrs.evolve(visit.frame(path), now_ms=now_ms, live=True)
        return PageUpdate("page", str(content(seen.show(frame))), at)

    def _has_signed_out(self, visit: Visit, now_ms: int) -> bool:
        """Return whether the session behind a page that follows the engine has ended since the page was opened."""
        # A bearer token has no session, and the connection keeps its rights as those of a request in progress.
        of_session = isinstance(self.access, Tokens) and visit.cookie and "authorization" not in visit.request.headers
        return bool(of_session) and self.sessions.holder(visit.cookie, cast("Tokens", self.access), now_ms) is None

    # ------------------------------------------------------------ sessions
    async def _login(self, visit: Visit) -> Response:
        following = visit.request.query_params.get("following", "")
        if not isinstance(self.access, Tokens):
            return visit.see(visit.links.page())
        if visit.request.method == "GET":
            return visit.plain(login_page(visit.frame(), following))
        form = await visit.form()
        following = form.text("following")
        # A token that was copied with a line break is the right one.
        token = self.access.holder(form.text("token").strip())
        if token is None:
            return visit.plain(login_page(visit.frame(), following, "This server does not know that token."), 403)
        # Only a path below the dashboard: a link to the form must not lead to another site after it.
        url = f"{visit.links.page()}{following}" if following.startswith("/") else visit.links.page()
        response = visit.see(url)
        response.set_cookie(
            COOKIE,
            self.sessions.issue(token, visit.now_ms),
            max_age=SESSION_MS // 1_000,
            path=visit.links.page(),
            secure=visit.encrypted,
            httponly=True,
            # Not sent with requests from other sites, and not readable by scripts: a forged form has no session.
            samesite="strict",
        )
        return response

    async def _logout(self, visit: Visit) -> Response:
        # The form's token is checked: another site must not be able to sign callers out.
        await visit.form()
        if isinstance(self.access, Tokens):
            self.sessions.end(visit.cookie, self.access, visit.now_ms)
        response = visit.see(visit.links.page("/login"))
        response.delete_cookie(COOKIE, path=visit.links.page(), httponly=True, samesite="strict")
        return response

    # ------------------------------------------------------------ one instance
    async def _explain(self, visit: Visit) -> Response:
        visit.check_scope("read")
        form = await visit.form()
        address = instance_of(visit.request.path_params)
        name = form.text("action")
        job = self._source(visit).definition(address.kind, address.name)
        action = None if name == "alarm" else self._action(address, name)
        payload = form.text("payload").strip()
        if action is not None and job.plan.commands[name].input is None:
            payload = ""
        return await self._confirm(visit, address, action, payload)

    async def _future(self, visit: Visit) -> Response:
        """Show an instance's future, which is computed on a copy: it needs the scope of reading."""
        visit.check_scope("read")
        sent, address = await visit.form(), instance_of(visit.request.path_params)
        job = self._source(visit).definition(address.kind, address.name)
        form = FutureForm(**{field.name: sent.text(field.name).strip() for field in attrs.fields(FutureForm)})
        problem, future = "", dict[str, Any]()
        try:
            asked, client = _question(form), self.client()
            future = await self._listed(visit, lambda: future_on(client, job, address.id, asked))
        except (InvalidInput, InvalidArgument) as refused:
            problem = str(refused)
        page = future_page(visit.frame(), address, tuple(job.plan.offered), form, future, problem=problem)
        return visit.html(page)

    async def _request(self, visit: Visit) -> Response:
        """Ask before a request is sent. Send it once the caller has confirmed it."""
        address = instance_of(visit.request.path_params)
        visit.check_signed_in()
        action = self._action(address, visit.request.path_params["action"])
        visit.check_scope(action.scope)
        if visit.request.method == "GET":
            return await self._confirm(visit, address, action, "")
        form = await visit.form()
        if form.text("confirmed") != "yes":
            return await self._confirm(visit, address, action, form.text("payload"))
        outcome = await send(
            self._acting(visit),
            address,
            action,
            form.text("payload"),
            form.text("key"),
            by=visit.caller.name,
            reason=_reason(form),
            interrupt=form.text("interrupt") == "yes",
        )
        if outcome.form == "done":
            return visit.see(visit.links.instance(address), f"{outcome.subject}: {outcome.result}")
        return visit.refused(f"{action.name} was refused", outcome.result, 409)

    async def _fork(self, visit: Visit) -> Response:
        """Show the form that forks a workflow. Fork it once the caller has sent that, and show the fork."""
        address = instance_of(visit.request.path_params)
        visit.check_signed_in()
        action = self._action(address, "fork")
        visit.check_scope(action.scope)
        if visit.request.method == "GET":
            step = visit.request.query_params.get("step", "")
            return visit.html(fork_page(visit.frame(), address, step, self._key()))
        form = await visit.form()
        step, into = form.text("step").strip(), attrs.evolve(address, id=form.text("into").strip())
        wanted = {
            "source": address.id,
            "step": step or None,
            "signals": "drop" if form.text("drop") == "yes" else "keep",
            "accept_undone": form.text("accept_undone") == "yes",
        }
        payload = orjson.dumps(wanted).decode()
        outcome = await send(self._acting(visit), into, action, payload, form.text("key"), by=visit.caller.name)
        if outcome.form == "done":
            return visit.see(visit.links.instance(into), f"{outcome.subject}: {outcome.result}")
        return visit.html(fork_page(visit.frame(), address, step, self._key(), outcome.result))

    async def _forget_key(self, visit: Visit) -> Response:
        """Ask before an idempotency key is forgotten. Do it once the caller has confirmed it."""
        address, form = instance_of(visit.request.path_params), await visit.form()
        visit.check_scope("operate")
        key = form.text("key")
        check_key(key)
        if form.text("confirmed") != "yes":
            return visit.html(forget_key_page(visit.frame(), address, key))
        job = self._acting(visit).handle_by_name(address.kind, address.name)
        outcome = await known(job.forget_key(address.id, key))
        return visit.see(visit.links.instance(address), f"forget key {key}: {outcome.replace('_', ' ')}")

    def _action(self, address: Address, name: str) -> Action:
        job = PageSource(client=self.client(), activity=self.activity, scopes=frozenset()).definition(
            address.kind, address.name
        )
        action = action_named(name, job)
        if action is None:
            raise UnknownAction(f"{job.kind}:{job.name}", name, tuple(job.plan.offered))
        return action

    async def _confirm(self, visit: Visit, address: Address, action: Action | None, payload: str) -> Response:
        name = "alarm" if action is None else action.name
        takes_reason = action is not None and action.takes == "reason"
        sent = payload or (f'"{REASONS[name]} on the dashboard"' if takes_reason else "")
        client = self.client()
        job = client.handle_by_name(address.kind, address.name)
        explained = await self._listed(visit, lambda: result_of(job.explain(name, address.id, sent)))
        view = PreviewedRequest(
            address=address,
            action=action,
            payload=payload,
            explanation=explained.value_or({}),
            problem="" if isinstance(explained, Success) else str(explained.failure()),
            invalid=isinstance(explained, Failure) and isinstance(explained.failure(), (InvalidInput, InvalidArgument)),
            key=self._key(),
        )
        return visit.html(confirm_page(visit.frame(), view))

    def _key(self) -> str:
        return f"dashboard-{engine_of(self.client()).runtime.new_id():032x}"

    # ------------------------------------------------------------ one job
    async def _hold(self, visit: Visit) -> Response:
        """Ask before a job is held or released. Do it once the caller has confirmed it."""
        change = visit.request.path_params["change"]
        if change not in {"hold", "release"}:
            return visit.refused("Not found", "The dashboard has no such page.", 404)
        visit.check_signed_in()
        visit.check_scope("operate")
        job = self._source(visit).definition(*job_of(visit.request.path_params))
        if visit.request.method == "GET" or (await visit.form()).text("confirmed") != "yes":
            return visit.html(hold_page(visit.frame(), job.kind, job.name, change))
        handle = self._acting(visit).handle_by_name(job.kind, job.name)
        result = await known(handle.hold() if change == "hold" else handle.release())
        return visit.see(visit.links.job(job.kind, job.name), f"{job.kind}:{job.name} is {result.hold}")

    # ------------------------------------------------------------ several
    async def _bulk(self, visit: Visit) -> Response:
        visit.check_signed_in()
        form = await visit.form()
        name, texts = form.text("action"), form.texts("address")
        if name not in BULK:
            raise InvalidArgument("action", name, f"one of {', '.join(BULK)}")
        if not 1 <= len(texts) <= MAX_BULK:
            raise InvalidArgument("selected instances", len(texts), f"1 to {MAX_BULK}: select some on the page")
        addresses = tuple(Address.parse(text) for text in texts)
        visit.check_scope("operate" if name in OPERATIONS else "call")
        if form.text("confirmed") != "yes":
            return visit.html(bulk_page(visit.frame(), BulkAction(action=name, addresses=addresses, key=self._key())))
        outcomes = await asyncio.gather(*(self._sent(visit, address, name, form) for address in addresses))
        back = visit.links.page("/instances")
        return visit.html(outcomes_page(f"{name}: outcomes", outcomes, back, "instances"))

    async def _sent(self, visit: Visit, address: Address, name: str, form: Form) -> ActionOutcome:
        """Send a request to one of several instances. No request waits for another instance's run."""
        try:
            action = self._action(address, name)
        except PerdureError as error:
            return ActionOutcome(subject=f"{name} {address}", result=str(error), form="refused")
        return await send(
            self._acting(visit),
            address,
            action,
            "",
            form.text("key"),
            by=visit.caller.name,
            reason=_reason(form),
            interrupt=form.text("interrupt") == "yes",
        )

    async def _bury(self, visit: Visit) -> Response:
        visit.check_scope("operate")
        form = await visit.form()
        number = whole(form.text("message"), "message")
        if form.text("confirmed") != "yes":
            return visit.html(bury_page(visit.frame(), number))
        outcome = _outcome(f"bury #{number}", await result_of(self._acting(visit).bury(number)), "buried")
        back = visit.links.page("/dead-letters")
        return visit.html(outcomes_page("Bury: outcome", (outcome,), back, "dead-letters"))

    async def _redrive(self, visit: Visit) -> Response:
        visit.check_scope("operate")
        form = await visit.form()
        numbers = tuple(whole(text, "message") for text in form.texts("message"))
        if not 1 <= len(numbers) <= MAX_BULK:
            raise InvalidArgument("selected messages", len(numbers), f"1 to {MAX_BULK}: select some on the page")
        if form.text("confirmed") != "yes":
            return visit.html(redrive_page(visit.frame(), numbers))
        outcomes = await redrive(self._acting(visit), numbers)
        back = visit.links.page("/dead-letters")
        return visit.html(outcomes_page("Redrive: outcomes", outcomes, back, "dead-letters"))


def _question(form: FutureForm) -> bytes:
    """Return the question that a form asks, as a request carries it.

    Raises:
        InvalidInput: the event is not JSON, or the answers are no JSON object.
        InvalidArgument: the number of instances is none.
    """
    question: dict[str, Any] = {"lasting": form.lasting, "instances": whole(form.instances, "instances of a future")}
    if form.action:
        event: dict[str, Any] = {"action": form.action, "after": form.after, "times": 2 if form.twice == "yes" else 1}
        if form.payload:
            try:
                event["payload"] = orjson.loads(form.payload)
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"event {form.action}", (f"$: not JSON: {error}",)) from error
        question["events"] = [event]
    if form.down:
        question["down"] = {form.down: form.down_for}
    if form.never:
        question["never"] = [form.never]
    if form.answers:
        question["answers"] = given_in(form)
        if not question["answers"]:
            raise InvalidInput("answers of a future", ('$: expected a JSON object, such as {"fetch": 3}',))
    return orjson.dumps(question)


def _reason(form: Form) -> str:
    return form.text("reason").strip()[:MAX_REASON_CHARACTERS]
