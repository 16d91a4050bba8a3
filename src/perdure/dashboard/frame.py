"""The frame: the facts that every page shows around its content."""

from __future__ import annotations

import attrs

from perdure.dashboard.links import Links


@attrs.frozen(kw_only=True)
class Frame:
    """The caller, the engine and the moment of one request.

    Attributes:
        links: the URLs.
        path: the path of this page below the dashboard, with its query.
        caller: the name of the caller.
        scopes: its scopes.
        session: whether a cookie names the caller, so that it can sign out.
        csrf: the token that every form of the caller carries.
        store: the name of the store.
        now_ms: the time, integer milliseconds UTC.
        notice: the outcome of the caller's last action.
        live: whether the page follows the engine.
        assets: the version of the style and the script.
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
