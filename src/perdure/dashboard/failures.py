"""What failed for good: parked instances, dead letters, parked pool items, and the actions that resolve them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import htpy as h

from perdure.dashboard.page import (
    Frame,
    Page,
    code,
    count,
    form_to,
    hidden,
    instance_link,
    moment,
    numeric,
    panel,
    partial_note,
    select_all,
    table,
)
from perdure.dashboard.timeline import failure, indented
from perdure.values.listings import Listed
from perdure.values.message import StoredMessage
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
    """The page's data.

    Attributes:
        left: the instances that code which cannot read them left to other code.
        following: the address that the next page continues after, printed. Empty at the end.
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
    """Return a table with parked instances, or with instances that code left.

    Args:
        frame: the request.
        parked: the instances.
        caption: the table's name.
        empty: the sentence that replaces a table without rows.
        selects: whether each row has a box. A page has one table with boxes.
    """
    headings: list[h.Node] = ["Instance", "Reason", "Resolve it", "Since", "Last error"]
    if selects:
        headings.insert(0, select_all("instances"))
    rows = [_parked_row(frame, each, selects=selects) for each in parked]
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


def _parked_row(frame: Frame, listed: Listed, *, selects: bool) -> h.Element:
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


@attrs.frozen(kw_only=True)
class DeadLetters:
    """The page's data.

    Attributes:
        letters: the dead letters, the oldest first, without secrets.
        left: the messages that code left, on the first page: the first for each sender and target.
        more: whether further letters follow.
        after: the message's id before the first letter. 0 at the beginning.
        items_after: the address before the first item, printed. Empty at the beginning.
    """

    letters: tuple[StoredMessage, ...]
    items: ParkedList
    left: tuple[StoredMessage, ...] = ()
    more: bool = False
    after: int = 0
    items_after: str = ""


def dead_letters_page(frame: Frame, view: DeadLetters, /) -> Page:
    """Return the page."""
    selects = frame.may("operate")
    headings: list[h.Node] = ["Message", "From", "To", "Action", numeric("Deliveries"), "Sent", "Error"]
    if selects:
        headings.insert(0, select_all("messages"))
    shown = table(
        headings,
        [_dead_letter_row(frame, each) for each in view.letters],
        caption="Dead letters",
        empty="There is no dead letter.",
    )
    tools = h.div(".toolbar", role="group", aria_label="Actions for the selected messages")[
        h.span("#selected")["With the selected:"], h.button(type="submit")["redrive"]
    ]
    return Page(
        title="Dead letters",
        section="dead-letters",
        body=[
            h.p(".lead")["Messages that their target could not handle. Fix the cause, then deliver them again."],
            form_to(frame, frame.links.page("/dead-letters/redrive"), tools, shown)
            if selects and view.letters
            else shown,
            _next(frame, "messages", str(view.letters[-1].message_id), view.items_after) if view.more else None,
            bool(view.left) and panel("Left to other code", _left(frame, view.left)),
            panel("Parked items", _items(frame, view)),
        ],
        command="perdure dead-letters; perdure redrive --all; perdure retry --kind pool --status parked",
        route="GET /v1/dead-letters",
    )


def _left(frame: Frame, messages: tuple[StoredMessage, ...]) -> list[h.Node]:
    may_bury = frame.may("operate")
    headings: list[h.Node] = ["Message", "From", "To", "Action", "Sent", "Problem", *(["Bury"] if may_bury else [])]
    rows = [
        h.tr(data_key=str(each.message_id))[
            h.th(scope="row")[f"#{each.message_id}"],
            h.td[instance_link(frame, each.message.sender)],
            h.td[instance_link(frame, each.message.target)],
            h.td[each.message.action],
            h.td[moment(frame, each.message.sent_ms)],
            h.td[failure(each.error)],
            may_bury and h.td[_bury(frame, str(each.message_id))],
        ]
        for each in messages
    ]
    return [
        h.p(".lead")[
            "The code cannot read these, and those behind them wait. Deploy code that reads them. If none ever will, ",
            h.code["perdure bury"],
            " makes one a dead letter.",
        ],
        table(headings, rows, caption="Left messages", empty=""),
    ]


def _bury(frame: Frame, number: str) -> h.Element:
    button = h.button(type="submit", aria_label=f"bury message {number}")["bury"]
    return form_to(frame, frame.links.page("/dead-letters/bury"), button, message=number)


def _items(frame: Frame, view: DeadLetters) -> list[h.Node]:
    after, items = str(view.after or ""), view.items
    shown = parked_table(frame, items.parked, caption="Parked items", empty="There is no parked item.", selects=False)
    return [
        h.p(".lead")["Items of worker pools whose work failed for good. Fix the cause, then resume them."],
        shown,
        partial_note(items.partial),
        _next(frame, "items", after, items.following) if items.following else None,
    ]


def _next(frame: Frame, noun: str, after: str, item: str) -> h.Element:
    """Link one table's next page. The other table stays."""
    url = frame.links.page("/dead-letters", after=after, item=item)
    return h.nav(".pages", aria_label=f"Pages of the {noun}")[h.a(rel="next", href=url)[f"Next page of {noun}"]]


def _dead_letter_row(frame: Frame, stored: StoredMessage) -> h.Element:
    message, number = stored.message, str(stored.message_id)
    return h.tr(data_key=number)[
        frame.may("operate")
        and h.td[h.input(type="checkbox", name="message", value=number, aria_label=f"Select message {number}")],
        h.th(scope="row")[f"#{number}"],
        h.td[instance_link(frame, message.sender)],
        h.td[instance_link(frame, message.target)],
        h.td[
            message.action,
            message.payload
            and h.details[h.summary["input"], code(indented(message.payload), label=f"Input of message {number}")],
        ],
        h.td(".count")[f"{stored.deliveries:,}"],
        h.td[moment(frame, message.sent_ms)],
        h.td[failure(stored.error)],
    ]


def bury_page(frame: Frame, number: int, /) -> Page:
    """Return the page that asks before a left message becomes a dead letter."""
    back = frame.links.page("/dead-letters")
    return Page(
        title="Bury",
        section="dead-letters",
        crumbs=(("Dead letters", back),),
        body=[
            h.p[f"Make the left message #{number} a dead letter."],
            h.p(".lead")[
                "Code that reads it would deliver it. The messages behind it follow now; redrive turns it back."
            ],
            form_to(
                frame,
                frame.links.page("/dead-letters/bury"),
                hidden(confirmed="yes", message=str(number)),
                h.div(".toolbar")[
                    h.button(".primary", type="submit", autofocus=True)["Bury"], h.a(".button", href=back)["Cancel"]
                ],
            ),
        ],
        command=f"perdure bury {number}",
        route="POST /v1/left-messages/{message_id}/bury",
    )


def redrive_page(frame: Frame, numbers: tuple[int, ...], /) -> Page:
    """Return the page that asks before dead letters are delivered again."""
    back = frame.links.page("/dead-letters")
    return Page(
        title="Redrive",
        section="dead-letters",
        crumbs=(("Dead letters", back),),
        body=[
            h.p[
                f"Deliver {count(len(numbers), 'dead letter')} again: {', '.join(f'#{number}' for number in numbers)}."
            ],
            h.p(".lead")["Each keeps its position among the messages of its sender. Fix the cause first."],
            form_to(
                frame,
                frame.links.page("/dead-letters/redrive"),
                hidden(confirmed="yes"),
                [hidden(message=str(number)) for number in numbers],
                h.div(".toolbar")[
                    h.button(".primary", type="submit", autofocus=True)["Redrive"], h.a(".button", href=back)["Cancel"]
                ],
            ),
        ],
        command=f"perdure redrive {' '.join(map(str, numbers))}",
        route="POST /v1/dead-letters/{message_id}/redrive",
    )
