"""The document around a page: navigation, banner, twins."""

from __future__ import annotations

from typing import Final

import htpy as h

from perdure.dashboard.components import clock, hidden
from perdure.dashboard.frame import Frame
from perdure.dashboard.page import Page

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
