"""The document around a page: navigation, banner, twins; and the pages where a caller signs in or is refused."""

from __future__ import annotations

from typing import Final

import htpy as h

from perdure.dashboard.components import clock, hidden
from perdure.dashboard.frame import Frame, Page

NAVIGATION: Final = (
    ("overview", "Overview", ""),
    ("instances", "Instances", "/instances"),
    ("jobs", "Jobs", "/jobs"),
    ("parked", "Parked", "/parked"),
    ("dead-letters", "Dead letters", "/dead-letters"),
)
"""The entries of the navigation: section, text, path."""


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
    """Return the part of a page that live updates replace."""
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
                    for section, text, path in NAVIGATION
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
        frame: its links and its token against forged requests.
        following: the page to show afterwards: its path below the dashboard.
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

    A browser sends no cookie of this dashboard with a link from another site. The second request comes from this page.
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
