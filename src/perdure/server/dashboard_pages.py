"""The dashboard's pages by path: the data that each needs, and the function that shows it.

The data is collected through the client and the engine. A `Visit` is one browser request. Here are also the responses
to it, and the files that pages load.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from importlib.resources import files
from typing import Any, Final, TypeAlias, TypeVar, cast, get_args
from urllib.parse import parse_qsl, unquote, urlencode

import attrs
import orjson
from returns.future import FutureResult
from returns.result import Result, Success
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.dashboard.actions import Presence, actions_for
from perdure.dashboard.failures import DeadLetters, ParkedList, dead_letters_page, parked_page
from perdure.dashboard.instance import MAX_OFFSETS, MAX_STEPS, InstanceDetails, StreamDetails, instance_page
from perdure.dashboard.jobs import (
    AcceptedAction,
    InstanceList,
    JobList,
    JobView,
    Step,
    Wanted,
    instances_page,
    job_page,
    jobs_page,
)
from perdure.dashboard.overview import CountedJob, EngineFacts, Overview, overdue_of, overview_page
from perdure.dashboard.page import Frame, Links, Page, again_page, bare, document, refused_page
from perdure.dashboard.timeline import DebuggedInstance, debug_page
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.display import DisplayField
from perdure.jobs.redaction import has_secrets, redacted_instance
from perdure.jobs.streams import Stream
from perdure.kinds.worker_pool import WorkerPool
from perdure.programs.future import answer_of
from perdure.server.access import ANONYMOUS, Caller, Sessions, cookie_in, foreign
from perdure.server.addresses import MOUNTED_AT
from perdure.server.calls import debugged_on, may_see_tracebacks
from perdure.server.guard import CALLER
from perdure.stores.contract import Store, load_one
from perdure.stores.values import LoggedEvent, StoredStreams, UnreadEvent
from perdure.telemetry.activity import Activity
from perdure.values.address import Address, Job, check_id
from perdure.values.errors import InvalidArgument, InvalidId, InvalidInput, PerdureError, RequestError, StoreError
from perdure.values.excerpt import REFERENCE, shown_value
from perdure.values.instance import Instance
from perdure.values.listings import Listed, ListedStatus, Listing, MatchCount, StepRecord, StoreCounts
from perdure.values.status import FailureRecord, Hold, Status
from perdure.values.stream import StreamItem, items_of
from perdure.values.times import from_ms, to_ms
from perdure.wire.operations import Scope
from perdure.wire.records import installed_version
from perdure.wire.requests import DASHBOARD

T = TypeVar("T")

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
PAGE: Final = 50
"""Rows on a page."""
SCANNED: Final = 10_000
"""Instances that a search for a page reads, about: then the page is partial."""
OVERDUE: Final = 10
MAX_WHOLE: Final = 2**63 - 1
"""The greatest number in a store."""
TICKS: Final = 5


async def known(call: Call[T, Any]) -> T:
    """Return a call's answer, or raise its error."""
    return await call


def _answer(result: Result[T, PerdureError]) -> T:
    if isinstance(result, Success):
        answer: T = result.unwrap()
        return answer
    raise result.failure()


@attrs.frozen(kw_only=True)
class PageSource:
    """The engine behind the pages.

    Attributes:
        activity: its last hour.
        scopes: the caller's scopes. Tracebacks are for operators.
    """

    client: Client
    activity: Activity
    scopes: frozenset[str]

    @property
    def now_ms(self) -> int:
        """The time, integer milliseconds UTC."""
        return engine_of(self.client).runtime.now_ms()

    async def _read(self, read: Callable[[Store], FutureResult[T, StoreError]]) -> T:
        """Return the store's answer. An engine that stops first raises `EngineClosed`, as its other reads do."""
        engine = engine_of(self.client)
        result = await engine.reads.answer(lambda: answer_of(read(engine.store)))
        return _answer(result)

    # ------------------------------------------------------------ the engine
    async def overview(self) -> Overview:
        """Collect the overview's data."""
        engine, client = engine_of(self.client), self.client
        counts = await known(client.counts())
        asked_ms = self.now_ms  # one instant: that of the page is earlier, and the lateness would be negative
        due = await self._read(lambda store: store.due(asked_ms, OVERDUE))
        return Overview(
            jobs=_counted(
                counts, (*engine.jobs, *sorted(engine.elsewhere - engine.jobs.keys())), engine.runner.holds.of
            ),
            complete=counts.complete,
            age_ms=counts.age_ms,
            minutes=self.activity.minutes(self.now_ms),
            troubles=self.activity.troubles,
            overdue=overdue_of(due, asked_ms),
            demand=(await known(client.demand())).total,
            messages=counts.messages,
            dead_letters=counts.dead_letters,
            health=await known(client.health()),
            in_flight=attrs.evolve(await known(client.in_flight()), instances=()),
            engine=EngineFacts(
                version=installed_version(),
                store=engine.store.name,
                epoch=engine.store.epoch,
                durability=engine.store.capabilities.durability,
                concurrency=engine.limits.concurrency,
                phase=engine.runner.phase,
            ),
            members=() if engine.store.sharing is None else await known(client.members()),
            limits=await known(client.limits()),
        )

    async def jobs(self) -> JobList:
        """Collect the job list's data."""
        return JobList(jobs=tuple(self._job(job) for job in engine_of(self.client).jobs.values()))

    async def job(self, kind: str, name: str) -> JobView:
        """Collect a job page's data."""
        job = self.definition(kind, name)
        counted = await known(self.client.handle_by_name(kind, name).count())
        by_status: dict[ListedStatus, int] = {each: counted.by_status.get(each, 0) for each in STATUSES}
        oldest_ms = None if counted.oldest is None else to_ms(counted.oldest)
        return attrs.evolve(
            self._job(job),
            by_status=by_status,
            complete=counted.complete,
            age_ms=counted.age_ms,
            oldest_ms=oldest_ms,
            kept_events=await self._kept_events((kind, name)),
        )

    def definition(self, kind: str, name: str) -> AnyDefinition:
        """Return a definition.

        Raises:
            UnknownJob: the engine does not serve it.
        """
        self.client.handle_by_name(kind, name)
        return engine_of(self.client).jobs[kind, name]

    def _job(self, job: AnyDefinition) -> JobView:
        steps = self.activity.steps(job.kind, job.name)
        return JobView(
            kind=job.kind,
            name=job.name,
            hold=engine_of(self.client).runner.holds.of(job.kind, job.name),
            facts=job.display_fields(),
            commands=tuple(
                AcceptedAction(
                    name=spec.name,
                    takes="" if spec.input is None else spec.input.type_name,
                    creates=spec.absent == "creates",
                )
                for spec in job.plan.offered.values()
            ),
            next_ticks_ms=job.next_ticks(self.now_ms, TICKS),
            steps=tuple(Step(before=before, after=after, count=count) for (before, after), count in steps.items()),
        )

    # ------------------------------------------------------------ instances
    async def instances(self, wanted: Wanted) -> InstanceList:
        """Collect the instance list's data. A filter that is not valid is a problem on the page."""
        jobs = tuple(engine_of(self.client).jobs)
        try:
            found = await self._found(wanted)
            matching = await self._matching(wanted)
        except (RequestError, InvalidId) as error:
            return InstanceList(wanted=wanted, jobs=jobs, problem=str(error))
        return InstanceList(wanted=wanted, jobs=jobs, found=self.shown(found), matching=matching, **_rest(found))

    async def _matching(self, wanted: Wanted) -> MatchCount | None:
        """Count the instances that meet the conditions, on the first page of a list by attributes alone."""
        if not wanted.where or any((wanted.status, wanted.id_prefix, wanted.due, wanted.after)):
            return None
        return await known(self.client.handle_by_name(wanted.kind, wanted.job).count_matching(where=wanted.conditions))

    async def _found(self, wanted: Wanted) -> Listing:
        within = {"overdue": 0, "hour": 3_600_000}.get(wanted.due)
        return await known(
            self.client.list(
                kind=wanted.kind or None,
                name=wanted.job or None,
                status=cast("ListedStatus | None", wanted.status or None),  # the call refuses others
                id_prefix=wanted.id_prefix,
                due_before=None if within is None else from_ms(self.now_ms) + timedelta(milliseconds=within),
                where=wanted.conditions,
                after=Address.parse(wanted.after) if wanted.after else None,
                limit=PAGE,
                max_scanned=SCANNED,
            )
        )

    async def parked(self, after: str, kind: str = "") -> ParkedList:
        """Collect the data for the page with parked instances, for all kinds or for one."""
        found = await self._found(Wanted(status="parked", kind=kind, after=after))
        # Above the first page only.
        left = await self._found(Wanted(status="left", kind=kind)) if not after else ()
        return ParkedList(parked=self.shown(found), left=self.shown(left), **_rest(found))

    def shown(self, listed: Sequence[Listed]) -> tuple[Listed, ...]:
        """Return instances as the caller may see them."""
        return tuple(
            attrs.evolve(
                each,
                report=attrs.evolve(
                    each.report,
                    last_error=self._failure(each.report.last_error),
                    left=self._failure(each.report.left),
                ),
            )
            for each in listed
        )

    def _failure(self, error: FailureRecord | None) -> FailureRecord | None:
        if error is None or error.traceback is None or may_see_tracebacks(self.scopes):
            return error
        return attrs.evolve(error, traceback=None)

    async def instance(self, address: Address, before: int | None, *, reveals: bool) -> InstanceDetails:
        """Collect an instance page's data."""
        engine = engine_of(self.client)
        job = engine.jobs.get((address.kind, address.name))
        row = (await self._read(lambda store: load_one(store, address))).instance
        # One more than a page shows: it tells whether there are others.
        events = await self._read(lambda store: store.history(address, before, PAGE + 1))
        reveals = reveals and "operate" in self.scopes
        state, problem = ("", "") if job is None or row is None else _state(job, row, reveals=reveals)
        steps, earlier = ((), 0) if job is None or row is None else await self._steps(job, row)
        suspended = _presence(row)
        return InstanceDetails(
            address=address,
            instance=None if row is None else self._instance(job, row),
            served=job is not None,
            actions=() if job is None else actions_for(job, suspended),
            phase="" if job is None or row is None else _phase(job, row),
            facts=() if job is None or row is None else _facts(job, row),
            state=state,
            state_problem=problem,
            has_secrets=job is not None and (has_secrets(job) or any(one.values.secret for one in job.plan.streams)),
            reveals=reveals,
            steps=steps,
            earlier_steps=earlier,
            streams=() if job is None or row is None else await self._streams(job, row, reveals=reveals),
            events=tuple(self._event(each) for each in events[:PAGE]),
            older=events[PAGE - 1].sequence if len(events) > PAGE else None,
            kept_events=await self._kept_events((address.kind, address.name)),
        )

    async def _kept_events(self, job: Job) -> int | None:
        """Return how many events of a job are kept beyond the log. None: no engine has declared that it keeps them."""
        histories = engine_of(self.client).store.histories
        if histories is None:
            return None
        known = await self._read(lambda _: histories.known())
        return next((one.kept for one in known if (one.kind, one.name) == job), None)

    async def debugged(self, address: Address, at: int | None) -> DebuggedInstance:
        """Collect the data for the page of the debugger, with the problem if there is no such position."""
        job = self.definition(address.kind, address.name)
        try:
            return DebuggedInstance(address=address, position=await debugged_on(self.client, job, address.id, at))
        except (InvalidArgument, InvalidInput) as problem:
            return DebuggedInstance(address=address, position={}, problem=str(problem))

    async def _steps(self, job: AnyDefinition, row: Instance) -> tuple[tuple[StepRecord, ...], int]:
        """Return a row's newest steps, and how many precede them."""
        journal = engine_of(self.client).store.journal
        if not job.keeps_journal or journal is None:
            return (), 0
        earlier = max(0, row.journal_length - MAX_STEPS)
        rows = await self._read(lambda _: journal.read(row.address, row.incarnation, earlier, MAX_STEPS))
        try:
            steps = job.steps(row, rows)
        except InvalidInput:
            return (), row.journal_length
        return tuple(attrs.evolve(step, error=self._failure(step.error)) for step in steps), earlier

    async def _streams(self, job: AnyDefinition, row: Instance, *, reveals: bool) -> tuple[StreamDetails, ...]:
        """Return the newest items of an instance's streams."""
        streams = engine_of(self.client).store.streams
        if streams is None:
            return ()
        return tuple([await self._stream(streams, each, row, reveals=reveals) for each in job.plan.streams])

    async def _stream(
        self, streams: StoredStreams, stream: Stream[Any], row: Instance, *, reveals: bool
    ) -> StreamDetails:
        place = row.address, row.incarnation, stream.name
        last = await self._read(lambda _: streams.last(*place))
        after = max(-1, last - MAX_OFFSETS)
        groups = await self._read(lambda _: streams.read(*place, after, MAX_OFFSETS, stream.max_bytes))
        try:
            items = items_of(groups, after, what=f"stream {stream.name} of {row.address}")
        except InvalidInput as problem:
            return StreamDetails(name=stream.name, count=last + 1, problem=str(problem))
        newest = items[-MAX_OFFSETS:]  # more may have come between both reads
        shown = newest if reveals else tuple(_without_secrets(stream, each) for each in newest)
        return StreamDetails(name=stream.name, items=shown, count=max(last, newest[-1].offset if newest else -1) + 1)

    def _instance(self, job: AnyDefinition | None, row: Instance) -> Instance:
        """Return a row without secrets, and without the encoded state, which the page shows decoded."""
        shown = row if job is None else redacted_instance(job, row)
        retry = shown.pending_retry
        return shown.changed(
            state="",
            data="",
            last_error=self._of_job(job, shown.last_error),
            pending_retry=retry and attrs.evolve(retry, error=self._of_job(job, retry.error) or retry.error),
            claim=shown.claim and attrs.evolve(shown.claim, payload=None),
            event_claim=shown.event_claim and attrs.evolve(shown.event_claim, payload=None),
        )

    def _of_job(self, job: AnyDefinition | None, error: FailureRecord | None) -> FailureRecord | None:
        """Leave out an error's data if its definition, which knows the secrets, is not here."""
        found = self._failure(error)
        return found if job is not None or found is None else attrs.evolve(found, data=None)

    def _event(self, logged: LoggedEvent) -> LoggedEvent:
        event = logged.event
        error: object = getattr(event, "error", None)
        if isinstance(event, UnreadEvent) or not isinstance(error, FailureRecord):
            return logged
        changed: dict[str, Any] = {"error": self._failure(error)}  # a field of the event
        return attrs.evolve(logged, event=attrs.evolve(event, **changed))

    # ------------------------------------------------------------ messages
    async def dead_letters(self, after: int, items_after: str) -> DeadLetters:
        """Collect the data for the page with dead letters and parked items."""
        found = await known(self.client.dead_letters(after=after, limit=PAGE + 1))
        letters = tuple(attrs.evolve(each, error=self._failure(each.error)) for each in found[:PAGE])
        items = await self.parked(items_after, WorkerPool.kind)
        first = () if after or items_after else await known(self.client.left_messages(limit=PAGE))
        left = tuple(attrs.evolve(each, error=self._failure(each.error)) for each in first)
        return DeadLetters(
            letters=letters, more=len(found) > PAGE, after=after, items=items, items_after=items_after, left=left
        )


def _without_secrets(stream: Stream[Any], item: StreamItem) -> StreamItem:
    if item.form != "chunk":
        return item
    return attrs.evolve(item, value=stream.values.redact(item.value.encode()).decode())


def _presence(row: Instance | None) -> Presence:
    if row is None:
        return "absent"
    if row.ended_ms is not None:
        return "ended"
    return "no" if row.suspension is None and row.left is None else "yes"


def _rest(found: Listing) -> dict[str, Any]:
    """Return where the next page begins, and whether this one is not complete."""
    return {"following": "" if found.after is None else str(found.after), "partial": found.partial}


def _counted(counts: StoreCounts, served: Collection[Job], hold: Callable[[str, str], Hold]) -> tuple[CountedJob, ...]:
    """Return the instances by job and status. If a job is not served, its instances are orphaned."""
    found: dict[tuple[str, str], dict[ListedStatus, int]] = {job: {} for job in served}
    for one in counts.instances:
        job = one.kind, one.name
        status: ListedStatus = one.status if job in served else "orphaned"
        by_status = found.setdefault(job, {})
        by_status[status] = by_status.get(status, 0) + one.number
    return tuple(
        CountedJob(kind=kind, name=name, served=(kind, name) in served, by_status=by_status, hold=hold(kind, name))
        for (kind, name), by_status in found.items()
    )


def _state(job: AnyDefinition, row: Instance, *, reveals: bool) -> tuple[str, str]:
    """Return the state as indented JSON, or why this code cannot read it."""
    codec = job.plan.state
    try:
        text = job.visible_text(job.present(row))
        if text is None or text[:1] == REFERENCE:
            return shown_value(text or ""), ""
        codec.open(encoded := text.encode())
    except InvalidInput as problem:
        return "", "; ".join(problem.problems)
    data = orjson.loads(encoded if reveals else codec.redact(encoded))
    return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode(), ""


def _phase(job: AnyDefinition, row: Instance) -> str:
    try:
        return job.report(row).phase or ""
    except InvalidInput:
        return ""


def _facts(job: AnyDefinition, row: Instance) -> tuple[DisplayField, ...]:
    try:
        return job.display_fields_of(redacted_instance(job, row))
    except InvalidInput as problem:
        return (DisplayField("data of the kind", f"not readable: {problem}"),)


def whole(text: str, what: str) -> int:
    """Return a whole number in a URL or a form.

    Raises:
        InvalidArgument: it is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_WHOLE)) and int(text) <= MAX_WHOLE):
        raise InvalidArgument(what, text, "a whole number from 0 below 2**63")
    return int(text)


Query: TypeAlias = Mapping[str, str]

_FILTERS: Final = tuple(field.name for field in attrs.fields(Wanted))


@attrs.frozen
class ShownPage:
    """A page with its data.

    Attributes:
        data: the record behind the page: its JSON twin.
    """

    data: object
    show: Callable[[Frame], Page]


@attrs.frozen
class Route:
    """A page that can be requested.

    Attributes:
        needs: the scope that its caller needs.
        live: whether it follows the engine.
    """

    needs: Scope
    collect: Callable[[PageSource], Awaitable[ShownPage]]
    live: bool = True


def _route(
    read: Callable[[PageSource], Awaitable[T]], show: Callable[[Frame, T], Page], needs: Scope = "read"
) -> Route:
    async def collect(source: PageSource) -> ShownPage:
        data = await read(source)
        return ShownPage(data, lambda frame: show(frame, data))

    return Route(needs, collect)


def page_at(path: str, query: Query, /) -> Route | None:
    """Return the page at a path below the dashboard. None if there is none.

    Args:
        path: its path, percent-encoded, such as ``/jobs/task/orders``.
        query: its parameters. Unknown ones are ignored.

    Raises:
        InvalidArgument: a path part or a parameter is not valid.
        InvalidId: the id is not valid.
    """
    route: Route | None = None
    match [_decoded(part) for part in path.strip("/").split("/")]:
        case [""]:
            route = _route(PageSource.overview, overview_page)
        case ["instances"]:
            wanted = Wanted(**{name: query.get(name, "") for name in _FILTERS})
            route = _route(lambda source: source.instances(wanted), instances_page)
        case ["jobs"]:
            route = _route(PageSource.jobs, jobs_page)
        case ["jobs", kind, name]:
            route = _route(lambda source: source.job(kind, name), job_page)
        case ["jobs", kind, name, "instances", id_]:
            route = _instance(Address(kind, name, check_id(id_)), query)
        case ["jobs", kind, name, "instances", id_, "debug"]:
            at = whole(query["at"], "at") if "at" in query else None
            address = Address(kind, name, check_id(id_))
            route = attrs.evolve(_route(lambda source: source.debugged(address, at), debug_page, "operate"), live=False)
        case ["parked"]:
            route = _route(lambda source: source.parked(query.get("after", "")), parked_page)
        case ["dead-letters"]:
            after = whole(query.get("after", "0"), "after")
            item = query.get("item", "")
            route = _route(lambda source: source.dead_letters(after, item), dead_letters_page, "operate")
        case _:
            pass
    return route


def _instance(address: Address, query: Query) -> Route:
    before = query.get("before")
    number = None if before is None else whole(before, "before")
    reveals = query.get("secrets") == "shown"
    return _route(lambda source: source.instance(address, number, reveals=reveals), instance_page)


def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidArgument("part of the path", part, "percent-encoded UTF-8") from error


def job_of(params: Mapping[str, Any], /) -> Job:
    """Return the job in a route's path.

    Raises:
        InvalidArgument: a part is not UTF-8.
    """
    return _decoded(params["kind"]), _decoded(params["name"])


def instance_of(params: Mapping[str, Any], /) -> Address:
    """Return the instance in a route's path.

    Raises:
        InvalidArgument: a part is not UTF-8.
        InvalidId: the id is not valid.
    """
    kind, name, id_ = (_decoded(params[part]) for part in ("kind", "name", "id"))
    return Address(kind, name, check_id(id_))


_TYPES: Final = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@attrs.frozen
class Assets:
    """The files.

    Attributes:
        version: a text that changes with any file.
    """

    contents: Mapping[str, bytes]
    version: str

    @classmethod
    def read(cls) -> Assets:
        """Read the files."""
        folder = files("perdure.dashboard") / "static"
        contents = {name: (folder / name).read_bytes() for name in _TYPES}
        return cls(contents, hashlib.sha256(b"".join(contents.values())).hexdigest()[:12])

    def response(self, name: str, /) -> Response:
        """Return a file. Its URL has the version, so that a browser keeps it."""
        content = self.contents.get(name)
        if content is None:
            return Response(status_code=404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=_TYPES[name], headers=headers)


ASSETS: Final = Assets.read()


MAX_FIELDS: Final = 1_100
"""Fields in a form: more than any page has, the list's pages included."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Every page's headers: it loads nothing from elsewhere, runs no script but its own, and no site frames it."""


class Refused(Exception):
    """A request is answered at once with a response: a refusal, or the way to the page where the caller signs in."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response


@attrs.frozen(eq=False)
class Visit:
    """A request.

    Attributes:
        sessions: signs.
        now_ms: the time, integer milliseconds UTC.
    """

    request: Request
    sessions: Sessions
    store: str
    now_ms: int

    @property
    def caller(self) -> Caller:
        """The caller that the guard found."""
        caller: Caller = self.request.scope[CALLER]
        return caller

    @property
    def links(self) -> Links:
        """The URLs below the prefix that the application is mounted at."""
        scope = self.request.scope
        return Links(scope.get(MOUNTED_AT, scope.get("root_path", "")))

    @property
    def cookie(self) -> str:
        """The session's cookie."""
        return cookie_in(self.request.scope["headers"])

    @property
    def path(self) -> str:
        """The page's path below the dashboard, percent-encoded."""
        path: str = self.request.scope["path"]
        return path.removeprefix(DASHBOARD).rstrip("/")

    def frame(self, path: str | None = None, *, live: bool = False) -> Frame:
        """Return a page's frame.

        Args:
            path: the page's path below the dashboard, with its query. By default the request's path.
            live: whether the page follows the engine.
        """
        query = self.request.url.query
        own = f"{self.path}?{query}" if query else self.path
        caller, cookie = self.caller, self.cookie
        return Frame(
            links=self.links,
            path=own if path is None else path,
            caller=caller.name,
            scopes=frozenset[str](caller.scopes),
            session=bool(cookie) and caller.name not in {"local", "owner", "unchecked"},
            csrf=self.sessions.form_token(caller.name, cookie),
            store=self.store,
            now_ms=self.now_ms,
            notice=self._notice(),
            live=live,
            assets=ASSETS.version,
        )

    def _notice(self) -> str:
        """Return the outcome in the URL, if this server wrote it there."""
        query = self.request.query_params
        text = query.get("notice", "")
        # Without it, a link could let the dashboard show any text as its own.
        return text if text and query.get("signature") == self.sessions.signed(text) else ""

    @property
    def encrypted(self) -> bool:
        """Whether the browser uses TLS: to this server, or to a proxy in front, as a form's origin then says."""
        headers = self.request.headers
        return self.request.url.scheme == "https" or headers.get("origin", "").startswith("https://")

    # ------------------------------------------------------------ responses
    def html(self, page: Page, status: int = 200, *, live: bool = False) -> Response:
        """Return a page."""
        return HTMLResponse(document(self.frame(live=live), page), status, headers=HEADERS)

    def plain(self, page: Page, status: int = 200) -> Response:
        """Return a page without navigation."""
        return HTMLResponse(bare(self.frame(), page), status, headers=HEADERS)

    def refused(self, title: str, text: str, status: int) -> Response:
        """Return a page that says why the request was refused, to an unknown caller without the store's name."""
        page = refused_page(title, text, self.links.page(), "To the overview")
        return self.plain(page, status) if self.caller == ANONYMOUS else self.html(page, status)

    def see(self, url: str, notice: str = "") -> Response:
        """Redirect to a page, which shows an action's outcome."""
        if notice:
            url = f"{url}?{urlencode({'notice': notice, 'signature': self.sessions.signed(notice)})}"
        return RedirectResponse(url, 303, headers=HEADERS)

    # ------------------------------------------------------------ scopes
    def check_signed_in(self) -> None:
        """Check that the caller is known.

        Raises:
            Refused: it is not: it is led to the page where it signs in, and back.
        """
        if self.caller != ANONYMOUS:
            return
        following = self.frame().path if self.request.method == "GET" else ""
        # From another site, a browser sends no strict cookie: the page asks for itself again, from this site.
        if self.request.headers.get("sec-fetch-site") == "cross-site" and self.request.method == "GET":
            raise Refused(HTMLResponse(again_page(f"{self.links.page()}{following}"), headers=HEADERS))
        raise Refused(self.see(self.links.page("/login", following=following)))

    def check_scope(self, scope: Scope) -> None:
        """Check that the caller is known and has a scope.

        Raises:
            Refused: it is not, or has not.
        """
        self.check_signed_in()
        if scope not in self.caller.scopes:
            has = ", ".join(sorted(self.caller.scopes)) or "none"
            text = f"This needs a token with the scope {scope}; yours has {has}."
            raise Refused(self.refused("Not permitted", text, 403))

    # ------------------------------------------------------------ forms
    async def form(self) -> Form:
        """Return a form's fields.

        Raises:
            Refused: this dashboard did not show the form to this caller.
            InvalidInput: it is no form.
        """
        # Before the body is read: another site must not make this one work.
        if (reason := foreign("POST", self.request.scope["headers"])) is not None:
            raise Refused(self.refused("Refused", f"{reason}.", 403))
        body = await self.request.body()
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        except (UnicodeDecodeError, ValueError) as error:
            raise InvalidInput("form", (f"$: not a form of at most {MAX_FIELDS} fields in UTF-8",)) from error
        form = Form(tuple(fields))
        if not self.sessions.is_form_token(form.text("csrf"), self.caller.name, self.cookie):
            text = "The form is older than this engine or your session. Go back, reload the page, and try again."
            raise Refused(self.refused("The form has expired", text, 403))
        return form


@attrs.frozen
class Form:
    """A form's fields."""

    fields: Sequence[tuple[str, str]]

    def text(self, name: str) -> str:
        """Return a field's first value. Empty if it is absent."""
        return next((value for key, value in self.fields if key == name), "")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field's values, each once."""
        return tuple(dict.fromkeys(value for key, value in self.fields if key == name))
