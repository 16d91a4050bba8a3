"""Parked instances: why each is parked, and the action that resolves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import htpy as h

from perdure.dashboard.components import form_to, instance_link, moment, partial_note, select_all, table
from perdure.dashboard.frame import Frame
from perdure.dashboard.happenings import failure
from perdure.dashboard.page import Page
from perdure.values.listings import Listed
from perdure.values.status import InstanceStatus
from perdure.values.times import to_ms

REASONS: Final[Mapping[str, str]] = {
    "retries_exhausted": "A run failed for good",
    "not_retryable": "A run failed with an error that is not retried",
    "recovery_exhausted": "The process died three times during one run",
}
"""Why an instance is parked, in words."""


@attrs.frozen(kw_only=True)
class ParkedList:
    """The data of the page.

    Attributes:
        parked: the parked instances.
        left: the instances that code which cannot read them left to other code.
        following: the address that the next page continues after, printed; empty at the end.
        partial: whether the search stopped before the page was full.
    """

    parked: tuple[Listed, ...]
    left: tuple[Listed, ...] = ()
    following: str = ""
    partial: bool = False


def parked_page(frame: Frame, view: ParkedList, /) -> Page:
    """Return the page."""
    shown = parked_table(
        frame, view.parked, caption="Parked instances", empty="No instance is parked.", selects=frame.may("operate")
    )
    left = parked_table(frame, view.left, caption="Left to other code", empty="No instance is left.", selects=False)
    return Page(
        title="Parked instances",
        section="parked",
        body=[
            h.p(".lead")["The engine parks an instance that must not continue and must not be lost."],
            bool(view.left)
            and [left, h.p[h.a(href=frame.links.page("/instances", status="left"))["All that is left"]]],
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


def parked_table(frame: Frame, parked: Sequence[Listed], /, *, caption: str, empty: str, selects: bool) -> h.Node:
    """Return the table of parked instances, or of those that are left.

    Args:
        frame: the request.
        parked: the instances.
        caption: the name of the table.
        empty: the sentence that replaces a table without rows.
        selects: whether each row has a box; a page has one table with boxes.
    """
    headings: list[h.Node] = ["Instance", "Reason", "Resolve it", "Since", "Last error"]
    if selects:
        headings.insert(0, select_all("instances"))
    rows = [_row(frame, each, selects=selects) for each in parked]
    return table(headings, rows, caption=caption, empty=empty)


def _bulk() -> h.Element:
    return h.div(".toolbar", role="group", aria_label="Actions for the selected instances")[
        h.span("#selected")["With the selected:"],
        [h.button(type="submit", name="action", value=each)[each] for each in ("resume", "terminate")],
    ]


def reason_of(report: InstanceStatus) -> str:
    """Return why an instance waits for an operator, in words."""
    if report.left is not None:
        return f"Code that cannot read it left it ({report.left.error_type})"
    return REASONS.get(report.parked or "", "A caller paused it")


def _row(frame: Frame, listed: Listed, *, selects: bool) -> h.Element:
    report, address = listed.report, str(listed.address)
    resolve = frame.links.instance(listed.address, "request", "resume")
    return h.tr(data_key=address)[
        selects and h.td[h.input(type="checkbox", name="address", value=address, aria_label=f"Select {address}")],
        h.th(scope="row")[instance_link(frame, listed.address)],
        h.td[reason_of(report)],
        h.td(".prose")[
            report.heals,
            frame.may("operate") and [" ", h.a(href=resolve, aria_label=f"resume {address}")["resume"]],
        ],
        h.td[moment(frame, None if report.since is None else to_ms(report.since))],
        h.td[failure(report.left or report.last_error)],
    ]
