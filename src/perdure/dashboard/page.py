"""The parts that every page has: its frame, the elements that several pages use, and the document around it.

The frame is title, content, twins for scripts and the shell, URLs, and the facts that every page shows. Elements
are statuses, instants, tables, fields, hidden inputs, and charts as SVG. The document has the navigation and the
banner. The pages where a caller signs in or is refused are documents too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlencode

import attrs
import htpy as h

from perdure.values.address import Address
from perdure.values.status import Hold
from perdure.values.times import from_ms
from perdure.wire.requests import DASHBOARD, instance_path, job_path


@attrs.frozen
class Links:
    """One mounted application's URLs.

    >>> Links("/jobs").instance(Address("task", "orders", "a/b"), "explain")
    '/jobs/dashboard/jobs/task/orders/instances/a%2Fb/explain'

    Attributes:
        mounted_at: the path that the application is mounted at, as the client encoded it. Empty at the root.
    """

    mounted_at: str = ""

    def page(self, path: str = "", /, **query: str) -> str:
        """Return a page's URL.

        Args:
            path: the path below the dashboard, encoded, such as ``/instances``.
            **query: the parameters. Empty ones are left out.
        """
        given = {name.rstrip("_"): value for name, value in query.items() if value}
        return f"{self.mounted_at}{DASHBOARD}{path}{f'?{urlencode(given)}' if given else ''}"

    def job(self, kind: str, name: str, /) -> str:
        """Return a job's URL."""
        return self.page(job_path(kind, name).removeprefix("/v1"))

    def job_request(self, kind: str, name: str, change: str, /) -> str:
        """Return the URL for the page that holds or releases a job."""
        return f"{self.job(kind, name)}/{change}"

    def instance(self, address: Address, /, *more: str) -> str:
        """Return an instance's URL, or the URL for a page below it."""
        return self.page(instance_path(address, *more).removeprefix("/v1"))

    def static(self, name: str, version: str, /) -> str:
        """Return the URL for a file in this package, which changes with its content."""
        return self.page(f"/static/{name}", v=version)


@attrs.frozen(kw_only=True)
class Frame:
    """One request's caller, engine and moment.

    Attributes:
        path: this page's path below the dashboard, with its query.
        session: whether a cookie names the caller, so that it can sign out.
        csrf: the token that the caller's forms carry.
        now_ms: the time, integer milliseconds UTC.
        notice: the outcome of the caller's last action.
        live: whether the page follows the engine.
        assets: the style and script version.
    """

    links: Links
    path: str = ""
    caller: str = ""
    scopes: frozenset[str] = frozenset()
    session: bool = False
    csrf: str = ""
    store: str = ""
    now_ms: int = 0
    notice: str = ""
    live: bool = True
    assets: str = ""

    def may(self, scope: str) -> bool:
        """Return whether the caller has a scope."""
        return scope in self.scopes


@attrs.frozen(kw_only=True)
class Page:
    """One page, without the frame around it.

    Attributes:
        title: the heading.
        section: the navigation entry that it belongs to.
        body: the content.
        command: the shell command that prints the same. Empty for none.
        route: the HTTP request that does the same. Empty for none.
        crumbs: the pages above it: text and URL.
    """

    title: str
    section: str
    body: h.Node
    command: str = ""
    route: str = ""
    crumbs: tuple[tuple[str, str], ...] = ()


_TONES: Final = {
    "scheduled": "calm",
    "queued": "calm",
    "idle": "calm",
    "running": "busy",
    "retrying": "warn",
    "paused": "held",
    "done": "good",
    "parked": "bad",
    "left": "bad",
    "orphaned": "bad",
    "not_found": "calm",
    "ok": "good",
    "degraded": "warn",
    "failed": "bad",
}

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000


def status(name: str, /) -> h.Element:
    """Show a status as a labelled mark. Its meaning does not depend on its colour."""
    return h.span(class_=f"status {_TONES.get(name, 'calm')}")[name.replace("_", " ")]


def held(hold: Hold, /) -> h.Node:
    """Return a held job's mark, beside its name. Nothing for others."""
    if hold == "released":
        return None
    return [" ", h.span(".status.bad", title="None of its runs begins until it is released.")["held"]]


def span_text(milliseconds: float, /) -> str:
    """Return a time span in at most two units.

    >>> [span_text(ms) for ms in (320, 12_345, 3_723_000, 180_000_000)]
    ['320 ms', '12 s', '1 h 2 min', '2 d 2 h']
    """
    ms = int(milliseconds)
    if ms < _SECOND:
        return f"{ms} ms"
    if ms < _MINUTE:
        return f"{ms // _SECOND} s"
    if ms < _HOUR:
        return f"{ms // _MINUTE} min"
    if ms < _DAY:
        return f"{ms // _HOUR} h {ms % _HOUR // _MINUTE} min"
    return f"{ms // _DAY} d {ms % _DAY // _HOUR} h"


def moment(frame: Frame, at_ms: int | None, /) -> h.Node:
    """Show an instant relative to now. Its title is the instant in UTC."""
    if at_ms is None:
        return h.span(class_="none")["-"]
    distance = at_ms - frame.now_ms
    text = f"in {span_text(distance)}" if distance > 0 else f"{span_text(-distance)} ago"
    return h.time(datetime=iso(at_ms), title=iso(at_ms))["now" if abs(distance) < _SECOND else text]


def iso(at_ms: int, /) -> str:
    """Return an instant as ISO 8601 in UTC, to the second."""
    return from_ms(at_ms).isoformat(timespec="seconds").replace("+00:00", "Z")


def clock(at_ms: int, /) -> h.Element:
    """Show an instant in UTC."""
    return h.time(datetime=iso(at_ms))[iso(at_ms).replace("T", " ").replace("Z", " UTC")]


def instance_link(frame: Frame, address: Address, /) -> h.Element:
    """Link an instance. Long ids are cut by the style. The title has the complete address."""
    text = str(address)
    return h.a(".address", href=frame.links.instance(address), title=text)[text]


def link_text(frame: Frame, text: str, /) -> h.Node:
    """Link an address in printed form."""
    kind, _, rest = text.partition(":")
    name, colon, id_ = rest.partition(":")
    return instance_link(frame, Address(kind, name, id_)) if colon and id_ else text


def table(headings: Sequence[h.Node], rows: Iterable[h.Node], /, *, caption: str, empty: str) -> h.Node:
    """Show a table that scrolls sideways within its box, or a sentence if it has no row.

    Args:
        headings: the column headings.
        rows: the rows.
        caption: names the table to a screen reader.
        empty: the sentence.
    """
    shown = list(rows)
    if not shown:
        return h.p(".empty")[empty]
    return h.div(".scroll", tabindex="0", role="region", aria_label=caption)[
        h.table[
            h.caption(".unseen")[caption],
            h.thead[h.tr[[_heading(heading) for heading in headings]]],
            h.tbody[shown],
        ]
    ]


def numeric(heading: str, /) -> h.Element:
    """Return a number column's heading."""
    return h.th(".count", scope="col")[heading]


def _heading(heading: h.Node) -> h.Node:
    return heading if isinstance(heading, h.Element) and str(heading).startswith("<th") else h.th(scope="col")[heading]


def fields(pairs: Iterable[tuple[str, h.Node]], /) -> h.Element:
    """Show labelled values. Those that are None are left out."""
    return h.dl(".fields")[
        [h.div[h.dt[label], h.dd[value]] for label, value in pairs if value is not None and value != ""]
    ]


def panel(title: str, *content: h.Node, id_: str = "", note: h.Node = None) -> h.Element:
    """Show a page part under its own heading."""
    return h.section(".panel", id=id_ or None)[h.h2[title, note and h.small[note]], *content]


def error_line(error_type: str, message: str, /) -> h.Node:
    """Show an error's class and its text, which often begins with the class."""
    return [h.b[error_type], message.removeprefix(error_type) if message.startswith(error_type) else f" {message}"]


def hidden(**values: str) -> list[h.Node]:
    """Return a form's hidden inputs."""
    return [h.input(type="hidden", name=name, value=value) for name, value in values.items()]


def form_to(frame: Frame, url: str, *content: h.Node, **values: str) -> h.Element:
    """Return a form that posts to the dashboard, with the caller's token against forged requests."""
    return h.form(method="post", action=url)[hidden(csrf=frame.csrf, **values), *content]


def code(text: str, /, *, label: str) -> h.Element:
    """Show text of several lines, such as JSON or a traceback, as it is."""
    return h.pre(tabindex="0", role="region", aria_label=label)[h.code[text]]


MIN_AGE_MS: Final = 1_000
"""The age from which counts are shown with it."""


def still_counting(complete: bool, /, age_ms: int = 0) -> h.Node:  # noqa: FBT001 - a fact, not a mode
    """Return the note beside counts that are not complete, or were counted a while ago."""
    if not complete:
        return h.p(".note")["Partial: the store is still counting its instances."]
    return None if age_ms < MIN_AGE_MS else h.p(".note")[f"Counted {span_text(age_ms)} ago: counting takes long."]


def partial_note(partial: bool, /) -> h.Node:  # noqa: FBT001 - a fact, not a mode
    """Return the note below a list whose search stopped early."""
    text = "Partial: the search stopped after many instances that do not match. The next page continues it."
    return h.p(".note")[text] if partial else None


def select_all(noun: str, /) -> h.VoidElement:
    """Return the box that selects all rows in a page."""
    return h.input("#all", type="checkbox", aria_label=f"Select all {noun} of this page")


def count(number: int, noun: str, /, *, more: bool = False) -> str:
    """Return a number with its noun.

    >>> count(1, "instance"), count(1_000, "instance", more=True)
    ('1 instance', 'more than 1,000 instances')
    """
    text = f"{number:,} {noun}{'' if number == 1 else 's'}"
    return f"more than {text}" if more else text


_HEIGHT: Final = 100
_STEP: Final = 10
_BAR: Final = 8


@attrs.frozen(kw_only=True)
class Series:
    """One series in a chart.

    Attributes:
        name: the name in the legend.
        tone: the class in the style.
        values: one number for each bar.
    """

    name: str
    tone: str
    values: Sequence[float]


def bars(
    series: Sequence[Series], /, *, label: str, titles: Sequence[str], top: str, ends: tuple[str, str]
) -> h.Element:
    """Draw stacked bars.

    Args:
        series: drawn from the bottom to the top.
        label: describes the chart in a sentence, for a reader that does not see it.
        titles: the text that a pointer over each bar shows.
        top: the text at the top of the axis, for the greatest sum.
        ends: the texts at both ends of the time axis.
    """
    sums = [sum(column) for column in zip(*(each.values for each in series), strict=True)]
    highest = max(sums, default=0)
    return h.figure(".chart")[
        h.figcaption[
            [h.span(class_=f"key {each.tone}")[each.name] for each in series], h.span(".top")[top if highest else ""]
        ],
        h.svg(
            viewBox=f"0 0 {len(titles) * _STEP} {_HEIGHT}",
            preserveAspectRatio="none",
            role="img",
            aria_label=label,
        )[
            h.line(class_="base", x1="0", x2=str(len(titles) * _STEP), y1=str(_HEIGHT), y2=str(_HEIGHT)),
            [
                h.g[h.title[title], _column(series, number, highest), _target(number)]
                for number, title in enumerate(titles)
            ],
        ],
        h.div(".ends", aria_hidden="true")[h.span[ends[0]], h.span[ends[1]]],
    ]


def _target(number: int) -> h.Element:
    """Return an invisible bar of full height, so that a pointer finds a low one."""
    return h.rect(class_="target", x=str(number * _STEP), y="0", width=str(_STEP), height=str(_HEIGHT))


def _column(series: Sequence[Series], number: int, highest: float) -> list[h.Element]:
    shown: list[h.Element] = []
    bottom = float(_HEIGHT)
    for each in series:
        height = _HEIGHT * each.values[number] / highest if highest else 0.0
        if height:
            bottom -= height
            shown.append(
                h.rect(
                    class_=each.tone,
                    x=str(number * _STEP + 1),
                    y=f"{bottom:.2f}",
                    width=str(_BAR),
                    height=f"{height:.2f}",
                )
            )
    return shown


NAVIGATION: Final = (
    ("overview", "Overview", "", "read"),
    ("instances", "Instances", "/instances", "read"),
    ("jobs", "Jobs", "/jobs", "read"),
    ("parked", "Parked", "/parked", "read"),
    ("dead-letters", "Dead letters", "/dead-letters", "operate"),
    ("rehearsal", "Rehearsal", "/rehearsal", "read"),
)
"""The navigation entries: section, text, path, and the scope that the page needs."""


def document(frame: Frame, page: Page, /) -> str:
    """Return a page as an HTML document."""
    live = frame.links.page("/live", page=frame.path or "/") if frame.live else None
    return str(
        h.html(lang="en")[
            h.head[
                h.meta(charset="utf-8"),
                h.meta(name="viewport", content="width=device-width, initial-scale=1"),
                h.meta(name="color-scheme", content="light dark"),
                h.title[f"{page.title} · perdure"],
                h.link(rel="icon", href=frame.links.static("icon.svg", frame.assets)),
                h.link(rel="stylesheet", href=frame.links.static("dashboard.css", frame.assets)),
                h.script(src=frame.links.static("dashboard.js", frame.assets), defer=True),
            ],
            h.body(data_live=live)[
                h.a(".skip", href="#main")["Skip to the content"],
                _header(frame, page),
                h.p("#banner", role="status", hidden=True),
                content(page),
                _footer(frame, page),
            ],
        ]
    )


def content(page: Page, /) -> h.Element:
    """Return the page part that live updates replace."""
    return h.main("#main", tabindex="-1")[
        page.crumbs
        and h.nav(".crumbs", aria_label="Breadcrumbs")[h.ol[[h.li[h.a(href=url)[text]] for text, url in page.crumbs]]],
        h.h1[page.title],
        page.body,
    ]


def bare(frame: Frame, page: Page, /) -> str:
    """Return a page without navigation, for a caller that is not signed in."""
    return str(
        h.html(lang="en")[
            h.head[
                h.meta(charset="utf-8"),
                h.meta(name="viewport", content="width=device-width, initial-scale=1"),
                h.meta(name="color-scheme", content="light dark"),
                h.title[f"{page.title} · perdure"],
                h.link(rel="icon", href=frame.links.static("icon.svg", frame.assets)),
                h.link(rel="stylesheet", href=frame.links.static("dashboard.css", frame.assets)),
            ],
            h.body(".bare")[h.main("#main")[h.h1[page.title], page.body]],
        ]
    )


def _header(frame: Frame, page: Page) -> h.Element:
    links = frame.links
    return h.header[
        h.a(".brand", href=links.page())["perdure"],
        h.nav(aria_label="Pages")[
            h.ul[
                [
                    h.li[h.a(href=links.page(path), aria_current="page" if section == page.section else None)[text]]
                    for section, text, path, scope in NAVIGATION
                    if frame.may(scope)
                ]
            ]
        ],
        h.div(".caller")[
            h.span(".store", title=frame.store)[frame.store],
            h.span(title=f"scopes: {', '.join(sorted(frame.scopes)) or 'none'}")[
                frame.caller, not frame.may("operate") and h.small[" read-only" if not frame.may("call") else ""]
            ],
            frame.session
            and h.form(method="post", action=links.page("/logout"))[
                hidden(csrf=frame.csrf), h.button(".plain", type="submit")["Sign out"]
            ],
        ],
        frame.notice and h.p("#notice", role="status")[frame.notice],
    ]


def _footer(frame: Frame, page: Page) -> h.Element:
    separator = "&" if "?" in frame.path else "?"
    twin = f"{frame.links.page()}{frame.path}{separator}format=json"
    return h.footer[
        page.command and h.p["In the shell: ", h.code[page.command]],
        frame.live and h.p["As JSON: ", h.a("#twin", href=twin)["this page"]],
        page.route and h.p["Over HTTP: ", h.code[page.route]],
        h.p["As of ", h.span("#as-of")[clock(frame.now_ms)], h.span("#pulse", aria_hidden="true")],
    ]


def login_page(frame: Frame, following: str, problem: str = "", /) -> Page:
    """Return the page that asks for a token.

    Args:
        frame: the links and the token against forged requests.
        following: the path, below the dashboard, of the page to show afterwards.
        problem: why the last try was refused.
    """
    return Page(
        title="Sign in",
        section="",
        body=[
            problem and h.p(".error", role="alert")[problem],
            h.form(method="post", action=frame.links.page("/login"))[
                hidden(csrf=frame.csrf, following=following),
                h.label[
                    "Token", h.input(type="password", name="token", required=True, maxlength="512", autofocus=True)
                ],
                h.button(".primary", type="submit")["Sign in"],
            ],
            h.p(".lead")[
                "A token of this server. Its scopes decide what this page offers: ",
                h.code["read"],
                " looks, ",
                h.code["call"],
                " sends requests, ",
                h.code["operate"],
                " pauses, resumes, terminates and redrives.",
            ],
        ],
    )


def refused_page(title: str, text: str, url: str, label: str, /) -> Page:
    """Return a page that says why a request was refused, with one link that leads on."""
    return Page(title=title, section="", body=[h.p(".error", role="alert")[text], h.p[h.a(".button", href=url)[label]]])


def again_page(url: str, /) -> str:
    """Return a document that loads its own URL again.

    A browser does not send this dashboard's cookie with a link from another site. The second request comes from this
    page.
    """
    return str(
        h.html(lang="en")[
            h.head[
                h.meta(charset="utf-8"),
                h.meta(http_equiv="refresh", content=f"0;url={url}"),
                h.title["perdure"],
            ],
            h.body[h.p[h.a(href=url)["Continue to the dashboard"]]],
        ]
    )
