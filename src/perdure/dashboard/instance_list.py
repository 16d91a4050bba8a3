"""The instance list: filters, search by the id's beginning, pages, actions for several instances."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Final
from urllib.parse import urlencode

import attrs
import htpy as h

from perdure.dashboard.actions import BULK, OPERATIONS
from perdure.dashboard.page import (
    Frame,
    Page,
    form_to,
    instance_link,
    iso,
    moment,
    numeric,
    partial_note,
    select_all,
    status,
    table,
)
from perdure.values.listings import LISTED_STATUSES, Listed
from perdure.values.times import to_ms

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
        after: the previous page's last address, printed.
    """

    kind: str = ""
    job: str = ""
    status: str = ""
    id_prefix: str = ""
    due: str = ""
    after: str = ""

    def query(self, **changes: str) -> dict[str, str]:
        """Return a URL's parameters."""
        return attrs.asdict(attrs.evolve(self, **changes))


@attrs.frozen(kw_only=True)
class InstanceList:
    """The page's data.

    Attributes:
        wanted: the filter.
        jobs: the served jobs: kind and name.
        found: the instances.
        following: the address that the next page continues after, printed. Empty at the end.
        partial: whether the search stopped before the page was full.
        problem: why the filter is not valid. Empty if it is.
    """

    wanted: Wanted
    jobs: tuple[tuple[str, str], ...] = ()
    found: tuple[Listed, ...] = ()
    following: str = ""
    partial: bool = False
    problem: str = ""


def instances_page(frame: Frame, view: InstanceList, /) -> Page:
    """Return the page."""
    return Page(
        title="Instances",
        section="instances",
        body=[
            _filters(frame, view),
            view.problem and h.p(".error", role="alert")[view.problem],
            _list(frame, view),
            partial_note(view.partial),
            _pages(frame, view),
        ],
        command="" if view.problem else _command(view),
        route=f"GET /v1/instances{_query(frame, view.wanted)}",
    )


def _command(view: InstanceList) -> str:
    """Return the commands that list the same: one for each kind that has a job with the wanted name."""
    wanted = view.wanted
    kinds = [wanted.kind] if wanted.kind else [kind for kind, name in view.jobs if name == wanted.job]
    jobs = [("--job", f"{kind}:{wanted.job}") for kind in kinds] if wanted.job else [("--kind", wanted.kind)]
    rest = (
        ("--status", wanted.status),
        ("--id-prefix", wanted.id_prefix),
        ("--due-in", _DUE_IN.get(wanted.due, "")),
        ("--after", wanted.after),
    )
    return "; ".join(
        "perdure list" + "".join(f" {name}={quote(value)}" for name, value in (job, *rest) if value) for job in jobs
    )


def _query(frame: Frame, wanted: Wanted) -> str:
    """Return the query for the route that lists the same."""
    within_ms = {"overdue": 0, "hour": 3_600_000}.get(wanted.due)
    due_before = "" if within_ms is None else iso(frame.now_ms + within_ms)
    given = wanted.query(due="") | {"due_before": due_before}
    query = urlencode({name: value for name, value in given.items() if value}, safe=":")
    return f"?{query}" if query else ""


def _filters(frame: Frame, view: InstanceList) -> h.Element:
    wanted = view.wanted
    names = sorted({name for _, name in view.jobs} | ({wanted.job} if wanted.job else set()))
    kinds = sorted({kind for kind, _ in view.jobs} | ({wanted.kind} if wanted.kind else set()))
    return h.form(".filters", method="get", action=frame.links.page("/instances"), role="search")[
        _select("Status", "status", wanted.status, [(each, each) for each in LISTED_STATUSES]),
        _select("Kind", "kind", wanted.kind, [(each, each) for each in kinds]),
        _select("Job", "job", wanted.job, [(each, each) for each in names]),
        _select("Due", "due", wanted.due, [("overdue", "overdue"), ("hour", "within an hour")]),
        h.label["Id begins with", h.input(type="search", name="id_prefix", value=wanted.id_prefix, maxlength="512")],
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
