"""The page where a caller signs in with its token, and pages that say why a request was refused."""

from __future__ import annotations

import htpy as h

from perdure.dashboard.components import hidden
from perdure.dashboard.frame import Frame
from perdure.dashboard.page import Page


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
