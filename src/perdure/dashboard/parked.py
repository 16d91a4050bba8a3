"""Parked instances: why each is parked, and the action that resolves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import htpy as h

from perdure.dashboard.components import form_to, instance_link, moment, partial_note, select_all, table
from perdure.dashboard.frame import Frame
from perdure.dashboard.happenings import failure
from perdure.dashboard.page import Page
from perdure.values.instant import to_ms
from perdure.values.listed import Listed


@attrs.frozen(kw_only=True)
class Remedy:
    """What resolves a suspension.

    Attributes:
        reason: why the instance is suspended.
        action: the operator's action.
        request: the request that ends it; empty if none does.
    """

    reason: str
    action: str
    request: str = ""


REMEDIES: Final[Mapping[str, Remedy]] = {
    "retries_exhausted": Remedy(
        reason="A run failed for good",
        action="Fix the cause, then resume: the run continues, and the retry policy starts to count again.",
        request="resume",
    ),
    "not_retryable": Remedy(
        reason="A run failed with an error that is not retried",
        action="Fix the cause, then resume: the run continues, and the retry policy starts to count again.",
        request="resume",
    ),
    "recovery_exhausted": Remedy(
        reason="The process died three times during one run",
        action="Find out why the run kills its process, then resume.",
        request="resume",
    ),
    "undecodable": Remedy(
        reason="This code cannot decode the stored data",
        action="Deploy code that can: the instance resumes at the next start.",
    ),
    "paused": Remedy(
        reason="A caller paused it",
        action="Resume it: an overdue alarm fires once; ticks inside the pause are skipped.",
        request="resume",
    ),
}


@attrs.frozen(kw_only=True)
class ParkedList:
    """The data of the page.

    Attributes:
        parked: the parked instances.
        following: the address that the next page continues after, printed; empty at the end.
        partial: whether the search stopped before the page was full.
    """

    parked: tuple[Listed, ...]
    following: str = ""
    partial: bool = False


def parked_page(frame: Frame, view: ParkedList, /) -> Page:
    """Return the page."""
    shown = parked_table(
        frame, view, caption="Parked instances", empty="No instance is parked.", selects=frame.may("operate")
    )
    return Page(
        title="Parked instances",
        section="parked",
        body=[
            h.p(".lead")["The engine parks an instance that must not continue and must not be lost."],
            form_to(frame, frame.links.page("/bulk"), _bulk(), shown)
            if frame.may("operate") and view.parked
            else shown,
            partial_note(view.partial),
            bool(view.following)
            and h.nav(".pages", aria_label="Pages of the list")[
                h.a(rel="next", href=frame.links.page("/parked", after=view.following))["Next page"]
            ],
        ],
        command="perdure list --status parked; perdure retry --status parked",
        route="GET /v1/instances?status=parked",
    )


def parked_table(frame: Frame, view: ParkedList, /, *, caption: str, empty: str, selects: bool) -> h.Node:
    """Return the table of parked instances.

    Args:
        frame: the request.
        view: the instances.
        caption: the name of the table.
        empty: the sentence that replaces a table without rows.
        selects: whether each row has a box; a page has one table with boxes.
    """
    headings: list[h.Node] = ["Instance", "Reason", "Resolve it", "Since", "Last error"]
    if selects:
        headings.insert(0, select_all("instances"))
    rows = [_row(frame, each, selects=selects) for each in view.parked]
    return table(headings, rows, caption=caption, empty=empty)


def _bulk() -> h.Element:
    return h.div(".toolbar", role="group", aria_label="Actions for the selected instances")[
        h.span("#selected")["With the selected:"],
        [h.button(type="submit", name="action", value=each)[each] for each in ("resume", "terminate")],
    ]


def _row(frame: Frame, listed: Listed, *, selects: bool) -> h.Element:
    report, address = listed.report, str(listed.address)
    remedy = REMEDIES.get(report.parked or "")
    resolve = frame.links.instance(listed.address, "request", remedy.request) if remedy and remedy.request else ""
    return h.tr(data_key=address)[
        selects and h.td[h.input(type="checkbox", name="address", value=address, aria_label=f"Select {address}")],
        h.th(scope="row")[instance_link(frame, listed.address)],
        h.td[remedy.reason if remedy else report.parked],
        h.td(".prose")[
            remedy.action if remedy else None,
            bool(resolve)
            and frame.may("operate")
            and [" ", h.a(href=resolve, aria_label=f"resume {address}")["resume"]],
        ],
        h.td[moment(frame, None if report.updated_at is None else to_ms(report.updated_at))],
        h.td[failure(report.last_error)],
    ]
