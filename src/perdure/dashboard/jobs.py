"""Pages of the jobs, and of a job's instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Final, Literal, TypeAlias
from urllib.parse import urlencode

import attrs
import htpy as h

from perdure.dashboard.actions import BULK, OPERATIONS
from perdure.dashboard.page import (
    Frame,
    Page,
    clock,
    count,
    fields,
    form_to,
    held,
    hidden,
    instance_link,
    iso,
    moment,
    numeric,
    panel,
    partial_note,
    select_all,
    status,
    still_counting,
    table,
)
from perdure.jobs.display import DisplayField
from perdure.values.listings import LISTED_STATUSES, Listed, ListedStatus, MatchCount
from perdure.values.status import Hold
from perdure.values.times import to_ms
from perdure.wire.requests import job_path

_WIDTH, _HEIGHT = 96, 30
_PLACES: Final[Mapping[str, tuple[int, int]]] = {
    "new": (60, 60),
    "waiting": (220, 60),
    "running": (400, 60),
    "retrying": (560, 60),
    "paused": (220, 170),
    "ended": (60, 170),
    "failed": (400, 170),
    "parked": (560, 170),
    "left": (60, 280),
}
"""Each place's centre."""


@attrs.frozen(kw_only=True)
class Step:
    """A step that instances take from one place to another.

    Attributes:
        before: the place before.
        after: the place after.
        count: how often it was observed.
    """

    before: str
    after: str
    count: int


_UNSEEN: Final = (
    Step(before="waiting", after="running", count=0),
    Step(before="retrying", after="running", count=0),
    Step(before="failed", after="waiting", count=0),
)
"""Steps without an event: they follow from the others."""


def lifecycle_diagram(steps: Sequence[Step], /) -> h.Node:
    """Draw the steps, and list them for a reader that does not see the picture."""
    if not steps:
        return h.p(".empty")["No step was observed since this engine started."]
    places = {place for step in steps for place in (step.before, step.after)} & set(_PLACES)
    # A failed run that is parked does not wait again: the arrow would tell a step that nothing takes.
    parks = any(step.after == "parked" for step in steps)
    implied = [
        step for step in _UNSEEN if {step.before, step.after} <= places and not (parks and step.before == "failed")
    ]
    bottom = max(_PLACES[place][1] for place in places) + 50
    # Other kinds may have places of their own: they are in the table, and not in the picture.
    known = [step for step in (*steps, *implied) if step.before in _PLACES and step.after in _PLACES]
    rows = [h.tr[h.th(scope="row")[step.before], h.td[step.after], h.td(".count")[f"{step.count:,}"]] for step in steps]
    return h.div(".life")[
        h.svg(
            viewBox=f"0 0 640 {bottom}",
            role="img",
            aria_label="Places of an instance, and the observed steps between them",
        )[
            h.defs[
                h.marker(
                    id="arrow", viewBox="0 0 8 8", refX="7", refY="4", markerWidth="7", markerHeight="7", orient="auto"
                )[h.path(d="M0 0 8 4 0 8z")]
            ],
            [_arrow(step) for step in known],
            [_place(name) for name in _PLACES if name in places],
        ],
        h.details[
            h.summary["as a table"],
            table(["From", "To", numeric("Observed")], rows, caption="Observed steps", empty=""),
        ],
    ]


def _place(name: str) -> h.Element:
    x, y = _PLACES[name]
    return h.g(class_=f"place {name}")[
        h.rect(x=str(x - _WIDTH // 2), y=str(y - _HEIGHT // 2), width=str(_WIDTH), height=str(_HEIGHT), rx="6"),
        h.text(x=str(x), y=str(y + 5), text_anchor="middle")[name],
    ]


def _arrow(step: Step) -> h.Element:
    (x1, y1), (x2, y2) = _PLACES[step.before], _PLACES[step.after]
    label = f"{step.count:,}" if step.count else ""
    if step.before == step.after:
        top = y1 - _HEIGHT // 2
        path, at = f"M{x1 - 20} {top} C{x1 - 30} {top - 40} {x1 + 30} {top - 40} {x1 + 20} {top}", (x1, top - 34)
    elif y1 == y2:
        bend, side = (-26 if x2 > x1 else 26), (1 if x2 > x1 else -1)
        edge = y1 + (-_HEIGHT // 2 if x2 > x1 else _HEIGHT // 2)
        start, end = x1 + side * 26, x2 - side * 26
        path, at = (
            f"M{start} {edge} Q{(start + end) // 2} {edge + bend} {end} {edge}",
            ((start + end) // 2, edge + bend),
        )
    else:
        down = 1 if y2 > y1 else -1
        shift = 14 * down
        start_y, end_y = y1 + down * _HEIGHT // 2, y2 - down * _HEIGHT // 2
        path = f"M{x1 + shift} {start_y} L{x2 + shift} {end_y}"
        at = ((x1 + x2) // 2 + shift + 14, (start_y + end_y) // 2)
    return h.g(class_="step" if step.count else "step implied")[
        h.path(d=path, marker_end="url(#arrow)"),
        label and h.text(x=str(at[0]), y=str(at[1] + 4), text_anchor="middle")[label],
    ]


HoldChange: TypeAlias = Literal["hold", "release"]

HELD: Final = "None of its runs begins until it is released. Its requests and signals are still stored."


@attrs.frozen(kw_only=True)
class AcceptedAction:
    """A request that a job's instances accept.

    Attributes:
        takes: the input's type. Empty if it takes none.
        creates: whether it creates an absent instance.
    """

    name: str
    takes: str
    creates: bool


@attrs.frozen(kw_only=True)
class JobView:
    """One job.

    Attributes:
        facts: the labelled values that the definition shows.
        commands: the requests that instances accept.
        steps: how often instances took each step since the engine started.
        by_status: how many instances it has, by status. None if they were not counted.
        complete: whether all instances were counted.
        age_ms: how long ago they were counted.
        hold: whether the job is held: no run begins.
        oldest_ms: when the longest waiting queued instance was created. None if none is queued.
        kept_events: how many events it keeps beyond the log. None if the store keeps none for it.
    """

    kind: str
    name: str
    facts: tuple[DisplayField, ...]
    commands: tuple[AcceptedAction, ...] = ()
    next_ticks_ms: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()
    by_status: Mapping[ListedStatus, int] | None = None
    complete: bool = True
    age_ms: int = 0
    hold: Hold = "released"
    oldest_ms: int | None = None
    kept_events: int | None = None


@attrs.frozen(kw_only=True)
class JobList:
    """The jobs that the engine serves."""

    jobs: tuple[JobView, ...]


def jobs_page(frame: Frame, view: JobList, /) -> Page:
    """Return the page with all jobs."""
    rows = [
        h.tr[
            h.th(scope="row")[h.a(href=frame.links.job(job.kind, job.name))[job.name], held(job.hold)],
            h.td[job.kind],
            h.td[_first(job)],
            h.td[moment(frame, job.next_ticks_ms[0] if job.next_ticks_ms else None)],
            h.td[_fact(job, "retry")],
            h.td[_fact(job, "concurrent runs")],
        ]
        for job in view.jobs
    ]
    return Page(
        title="Jobs",
        section="jobs",
        body=table(
            ["Job", "Kind", "When", "Next tick", "Retry", "Concurrent runs"],
            rows,
            caption="Jobs",
            empty="The engine serves no job.",
        ),
        command="perdure jobs",
        route="GET /v1/jobs",
    )


def _fact(job: JobView, label: str) -> str:
    return next((str(fact.value) for fact in job.facts if fact.label == label), "")


def _first(job: JobView) -> str:
    """Return the fact that says when a job runs: its kind's first fact, before the facts that every job has."""
    return str(job.facts[0].value) if job.facts and job.facts[0].label != "state" else "when its alarm is due"


def job_page(frame: Frame, view: JobView, /) -> Page:
    """Return one job's page."""
    ticks = [h.li[clock(at_ms), " ", h.small[moment(frame, at_ms)]] for at_ms in view.next_ticks_ms]
    definition = [(fact.label, _value(frame, fact)) for fact in view.facts]
    if view.kept_events is not None:
        definition.append(("beyond the log", count(view.kept_events, "event")))
    return Page(
        title=f"{view.kind}:{view.name}",
        section="jobs",
        crumbs=(("Jobs", frame.links.page("/jobs")),),
        body=[
            _hold(frame, view),
            _counts(frame, view),
            h.div(".grid.two")[
                panel("Definition", fields(definition)),
                panel("Next ticks", h.ol(".ticks")[ticks]) if ticks else panel("Requests", _commands(view)),
            ],
            bool(ticks) and panel("Requests", _commands(view)),
            panel(
                "Observed life of its instances",
                lifecycle_diagram(view.steps),
                note="steps since this engine started",
            ),
        ],
        command=f"perdure list --job={quote(f'{view.kind}:{view.name}')}",
        route=f"GET /v1/instances?kind={view.kind}&job={view.name}",
    )


def _hold(frame: Frame, view: JobView) -> h.Node:
    """Show whether the job is held, and the link to the change."""
    change = "hold" if view.hold == "released" else "release"
    link = h.a(".button.usual", href=frame.links.job_request(view.kind, view.name, change))[change]
    note = view.hold == "held" and h.p(".remedy")[h.b["The job is held. "], HELD]
    return [note, frame.may("operate") and h.nav(".toolbar", aria_label="Actions")[link]]


def hold_page(frame: Frame, kind: str, name: str, change: HoldChange, /) -> Page:
    """Return the page that asks before a job is held or released."""
    back, job = frame.links.job(kind, name), f"{kind}:{name}"
    text = HELD if change == "hold" else "Its overdue alarms fire, and its waiting items are worked on."
    return Page(
        title=f"{change} {job}",
        section="jobs",
        crumbs=(("Jobs", frame.links.page("/jobs")), (job, back)),
        body=form_to(
            frame,
            frame.links.job_request(kind, name, change),
            hidden(confirmed="yes"),
            h.p(".question")[f"{change.capitalize()} the job {job}? ", text],
            h.div(".toolbar")[
                h.button(".primary.usual", type="submit", autofocus=True)[change], h.a(".button", href=back)["Cancel"]
            ],
        ),
        command=f"perdure {change} {quote(job)}",
        route=f"POST {job_path(kind, name)}/{change}",
    )


def _value(frame: Frame, fact: DisplayField) -> h.Node:
    return fact.value if isinstance(fact.value, str) else moment(frame, to_ms(fact.value))


def _counts(frame: Frame, view: JobView) -> h.Node:
    if view.by_status is None:
        return None
    links = [
        h.a(
            class_=f"number {'' if number else 'quiet'}",
            href=frame.links.page("/instances", kind=view.kind, job=view.name, status=each),
        )[h.b[f"{number:,}"], status(each)]
        for each, number in view.by_status.items()
    ]
    waits = (
        view.oldest_ms is not None
        and h.p(".note")["The longest waiting item was put ", moment(frame, view.oldest_ms), "."]
    )
    note = still_counting(view.complete, view.age_ms)
    return h.section(aria_label="Instances by status")[h.div(".numbers")[links], note, waits]


def _commands(view: JobView) -> h.Node:
    rows = [
        h.tr[
            h.th(scope="row")[each.name],
            h.td[h.code[each.takes] if each.takes else h.span(".none")["no input"]],
            h.td["is created" if each.creates else h.span(".none")["-"]],
        ]
        for each in view.commands
    ]
    return table(["Request", "Input", "Absent instance"], rows, caption="Requests", empty="It accepts no request.")


_DUE_IN: Final[Mapping[str, str]] = {"overdue": "0 seconds", "hour": "1 hour"}


@attrs.frozen(kw_only=True)
class Wanted:
    """The list's filter, as the caller wrote it.

    Attributes:
        kind: only this kind. Empty for any, as below.
        job: only jobs with this name.
        status: only this status.
        id_prefix: only ids that begin with this text.
        due: ``overdue``: only instances that are due. ``hour``: due within an hour.
        where: only instances whose attributes meet these conditions, with semicolons between them.
        after: the previous page's last address, printed.
    """

    kind: str = ""
    job: str = ""
    status: str = ""
    id_prefix: str = ""
    due: str = ""
    where: str = ""
    after: str = ""

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions on attributes."""
        return tuple(text.strip() for text in self.where.split(";") if text.strip())

    def query(self, **changes: str) -> dict[str, str]:
        """Return a URL's parameters."""
        return attrs.asdict(attrs.evolve(self, **changes))


@attrs.frozen(kw_only=True)
class InstanceList:
    """The page's data.

    Attributes:
        jobs: the served jobs: kind and name.
        following: the address that the next page continues after, printed. Empty at the end.
        partial: whether the search stopped before the page was full.
        matching: how many instances meet the conditions on attributes. None without conditions.
        problem: why the filter is not valid. Empty if it is.
    """

    wanted: Wanted
    jobs: tuple[tuple[str, str], ...] = ()
    found: tuple[Listed, ...] = ()
    following: str = ""
    partial: bool = False
    matching: MatchCount | None = None
    problem: str = ""


def instances_page(frame: Frame, view: InstanceList, /) -> Page:
    """Return the page."""
    return Page(
        title="Instances",
        section="instances",
        body=[
            _filters(frame, view),
            view.problem and h.p(".error", role="alert")[view.problem],
            view.matching is not None and _matching(view.matching),
            _list(frame, view),
            partial_note(view.partial),
            _pages(frame, view),
        ],
        command="" if view.problem else _command(view),
        route=f"GET /v1/instances{_query(frame, view.wanted)}",
    )


def _matching(found: MatchCount) -> h.Element:
    rest = "" if found.complete else " More may match: an attribute is being filled, or could not be computed."
    return h.p("#matching.note")[f"{found.number:,} instances of the job meet the conditions.{rest}"]


def _command(view: InstanceList) -> str:
    """Return the commands that list the same: one for each kind that has a job with the wanted name."""
    wanted = view.wanted
    kinds = [wanted.kind] if wanted.kind else [kind for kind, name in view.jobs if name == wanted.job]
    jobs = [("--job", f"{kind}:{wanted.job}") for kind in kinds] if wanted.job else [("--kind", wanted.kind)]
    rest = (
        ("--status", wanted.status),
        ("--id-prefix", wanted.id_prefix),
        ("--due-in", _DUE_IN.get(wanted.due, "")),
        *(("--where", each) for each in wanted.conditions),
        ("--after", wanted.after),
    )
    return "; ".join(
        "perdure list" + "".join(f" {name}={quote(value)}" for name, value in (job, *rest) if value) for job in jobs
    )


def _query(frame: Frame, wanted: Wanted) -> str:
    """Return the query for the route that lists the same."""
    within_ms = {"overdue": 0, "hour": 3_600_000}.get(wanted.due)
    due_before = "" if within_ms is None else iso(frame.now_ms + within_ms)
    given = wanted.query(due="", where="") | {"due_before": due_before}
    given_once = [(name, value) for name, value in given.items() if value]
    query = urlencode([*given_once, *(("where", each) for each in wanted.conditions)], safe=":")
    return f"?{query}" if query else ""


def _filters(frame: Frame, view: InstanceList) -> h.Element:
    wanted = view.wanted
    # The wanted name is offered although no job has it: else the form would change the filter when it is sent.
    names = sorted({name for _, name in view.jobs} | ({wanted.job} if wanted.job else set()))
    kinds = sorted({kind for kind, _ in view.jobs} | ({wanted.kind} if wanted.kind else set()))
    return h.form(".filters", method="get", action=frame.links.page("/instances"), role="search")[
        _select("Status", "status", wanted.status, [(each, each) for each in LISTED_STATUSES]),
        _select("Kind", "kind", wanted.kind, [(each, each) for each in kinds]),
        _select("Job", "job", wanted.job, [(each, each) for each in names]),
        _select("Due", "due", wanted.due, [("overdue", "overdue"), ("hour", "within an hour")]),
        h.label["Id begins with", h.input(type="search", name="id_prefix", value=wanted.id_prefix, maxlength="512")],
        h.label[
            "Attributes, with ; between",
            h.input(type="search", name="where", value=wanted.where, maxlength="1000"),
        ],
        h.button(type="submit")["Filter"],
        h.a(".plain", href=frame.links.page("/instances"))["Clear"],
    ]


def _select(label: str, name: str, chosen: str, options: list[tuple[str, str]]) -> h.Element:
    return h.label[
        label,
        h.select(name=name)[
            h.option(value="")["any"],
            [h.option(value=value, selected=value == chosen)[text] for value, text in options],
        ],
    ]


def _list(frame: Frame, view: InstanceList) -> h.Node:
    selects = frame.may("call") or frame.may("operate")
    rows = [_row(frame, each, selects=selects) for each in view.found]
    headings: list[h.Node] = ["Instance", "Status", "Next run", numeric("Runs"), "Updated", "Last error"]
    if selects:
        headings.insert(0, select_all("instances"))
    shown = table(headings, rows, caption="Instances", empty="No instance matches the filter.")
    if not selects or not rows:
        return shown
    return form_to(frame, frame.links.page("/bulk"), _bulk(frame), shown)


def _bulk(frame: Frame) -> h.Element:
    offered = [each for each in BULK if frame.may("operate" if each in OPERATIONS else "call")]
    return h.div(".toolbar", role="group", aria_label="Actions for the selected instances")[
        h.span("#selected")["With the selected:"],
        [h.button(type="submit", name="action", value=each)[each] for each in offered],
    ]


def _row(frame: Frame, listed: Listed, *, selects: bool) -> h.Element:
    report, address = listed.report, str(listed.address)
    due_ms = None if report.next_run_at is None else to_ms(report.next_run_at)
    late = due_ms is not None and due_ms < frame.now_ms and listed.status in {"scheduled", "retrying"}
    words = [word.replace("_", " ") for word in (report.phase, report.parked) if word and word != listed.status]
    error, reason = report.last_error, ", ".join(words)
    return h.tr(data_key=address)[
        selects and h.td[h.input(type="checkbox", name="address", value=address, aria_label=f"Select {address}")],
        h.th(scope="row")[instance_link(frame, listed.address)],
        h.td[status(listed.status), reason and h.small[f" {reason}"]],
        h.td(class_="late" if late else None)[moment(frame, due_ms)],
        h.td(".count")[f"{report.run_count:,}"],
        h.td[moment(frame, None if report.updated_at is None else to_ms(report.updated_at))],
        h.td[h.span(".cut", title=f"{error.error_type}: {error.message}")[error.error_type] if error else None],
    ]


def _pages(frame: Frame, view: InstanceList) -> h.Node:
    first = view.wanted.after and h.a(href=frame.links.page("/instances", **view.wanted.query(after="")))["First page"]
    url = frame.links.page("/instances", **view.wanted.query(after=view.following))
    following = bool(view.following) and h.a("#next", rel="next", href=url)["Next page"]
    return h.nav(".pages", aria_label="Pages of the list")[first, following] if first or following else None
