"""A page: its title, its content, and its twins for scripts and the shell."""

from __future__ import annotations

import attrs
import htpy as h


@attrs.frozen(kw_only=True)
class Page:
    """One page, without the frame around it.

    Attributes:
        title: its heading.
        section: the entry of the navigation that it belongs to.
        body: its content.
        command: the command of the shell that prints the same; empty for none.
        route: the request of the HTTP interface that does the same; empty for none.
        crumbs: the pages above it: text and URL.
    """

    title: str
    section: str
    body: h.Node
    command: str = ""
    route: str = ""
    crumbs: tuple[tuple[str, str], ...] = ()
