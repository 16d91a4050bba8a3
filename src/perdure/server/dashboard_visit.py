"""One browser request to the dashboard, the responses to it, and the files that pages load."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qsl, urlencode

import attrs
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from perdure.dashboard.page import Frame, Links, Page, again_page, bare, document, refused_page
from perdure.server.access import ANONYMOUS, Caller, Sessions, cookie_in, foreign
from perdure.server.addresses import MOUNTED_AT
from perdure.server.guard import CALLER
from perdure.values.errors import InvalidInput
from perdure.wire.operations import Scope
from perdure.wire.requests import DASHBOARD

_TYPES: Final = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@attrs.frozen
class Assets:
    """The files.

    Attributes:
        contents: their contents, by name.
        version: a text that changes with any file.
    """

    contents: Mapping[str, bytes]
    version: str

    @classmethod
    def read(cls) -> Assets:
        """Read the files."""
        folder = files("perdure.dashboard") / "static"
        contents = {name: (folder / name).read_bytes() for name in _TYPES}
        return cls(contents, hashlib.sha256(b"".join(contents.values())).hexdigest()[:12])

    def response(self, name: str, /) -> Response:
        """Return a file. Its URL has the version, so that a browser keeps it."""
        content = self.contents.get(name)
        if content is None:
            return Response(status_code=404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=_TYPES[name], headers=headers)


ASSETS: Final = Assets.read()


MAX_FIELDS: Final = 1_100
"""Fields in a form: more than any page has, the list's pages included."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Every page's headers: it loads nothing from elsewhere, runs no script but its own, and no site frames it."""


class Refused(Exception):
    """A request is answered at once with a response: a refusal, or the way to the page where the caller signs in."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response


@attrs.frozen(eq=False)
class Visit:
    """A request.

    Attributes:
        request: the request.
        sessions: signs.
        store: the store's name.
        now_ms: the time, integer milliseconds UTC.
    """

    request: Request
    sessions: Sessions
    store: str
    now_ms: int

    @property
    def caller(self) -> Caller:
        """The caller that the guard found."""
        caller: Caller = self.request.scope[CALLER]
        return caller

    @property
    def links(self) -> Links:
        """The URLs below the prefix that the application is mounted at."""
        scope = self.request.scope
        return Links(scope.get(MOUNTED_AT, scope.get("root_path", "")))

    @property
    def cookie(self) -> str:
        """The session's cookie."""
        return cookie_in(self.request.scope["headers"])

    @property
    def path(self) -> str:
        """The page's path below the dashboard, percent-encoded."""
        path: str = self.request.scope["path"]
        return path.removeprefix(DASHBOARD).rstrip("/")

    def frame(self, path: str | None = None, *, live: bool = False) -> Frame:
        """Return a page's frame.

        Args:
            path: the page's path below the dashboard, with its query. By default the request's path.
            live: whether the page follows the engine.
        """
        query = self.request.url.query
        own = f"{self.path}?{query}" if query else self.path
        caller, cookie = self.caller, self.cookie
        return Frame(
            links=self.links,
            path=own if path is None else path,
            caller=caller.name,
            scopes=frozenset[str](caller.scopes),
            session=bool(cookie) and caller.name not in {"local", "owner", "unchecked"},
            csrf=self.sessions.form_token(caller.name, cookie),
            store=self.store,
            now_ms=self.now_ms,
            notice=self._notice(),
            live=live,
            assets=ASSETS.version,
        )

    def _notice(self) -> str:
        """Return the outcome in the URL, if this server wrote it there."""
        query = self.request.query_params
        text = query.get("notice", "")
        return text if text and query.get("signature") == self.sessions.signed(text) else ""

    @property
    def encrypted(self) -> bool:
        """Whether the browser uses TLS: to this server, or to a proxy in front, as a form's origin then says."""
        headers = self.request.headers
        return self.request.url.scheme == "https" or headers.get("origin", "").startswith("https://")

    # ------------------------------------------------------------ responses
    def html(self, page: Page, status: int = 200, *, live: bool = False) -> Response:
        """Return a page."""
        return HTMLResponse(document(self.frame(live=live), page), status, headers=HEADERS)

    def plain(self, page: Page, status: int = 200) -> Response:
        """Return a page without navigation."""
        return HTMLResponse(bare(self.frame(), page), status, headers=HEADERS)

    def refused(self, title: str, text: str, status: int) -> Response:
        """Return a page that says why the request was refused, to an unknown caller without the store's name."""
        page = refused_page(title, text, self.links.page(), "To the overview")
        return self.plain(page, status) if self.caller == ANONYMOUS else self.html(page, status)

    def see(self, url: str, notice: str = "") -> Response:
        """Redirect to a page, which shows an action's outcome."""
        if notice:
            url = f"{url}?{urlencode({'notice': notice, 'signature': self.sessions.signed(notice)})}"
        return RedirectResponse(url, 303, headers=HEADERS)

    # ------------------------------------------------------------ scopes
    def check_signed_in(self) -> None:
        """Check that the caller is known.

        Raises:
            Refused: it is not: it is led to the page where it signs in, and back.
        """
        if self.caller != ANONYMOUS:
            return
        following = self.frame().path if self.request.method == "GET" else ""
        if self.request.headers.get("sec-fetch-site") == "cross-site" and self.request.method == "GET":
            raise Refused(HTMLResponse(again_page(f"{self.links.page()}{following}"), headers=HEADERS))
        raise Refused(self.see(self.links.page("/login", following=following)))

    def check_scope(self, scope: Scope) -> None:
        """Check that the caller is known and has a scope.

        Raises:
            Refused: it is not, or has not.
        """
        self.check_signed_in()
        if scope not in self.caller.scopes:
            has = ", ".join(sorted(self.caller.scopes)) or "none"
            text = f"This needs a token with the scope {scope}; yours has {has}."
            raise Refused(self.refused("Not permitted", text, 403))

    # ------------------------------------------------------------ forms
    async def form(self) -> Form:
        """Return a form's fields.

        Raises:
            Refused: this dashboard did not show the form to this caller.
            InvalidInput: it is no form.
        """
        if (reason := foreign("POST", self.request.scope["headers"])) is not None:
            raise Refused(self.refused("Refused", f"{reason}.", 403))
        body = await self.request.body()
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        except (UnicodeDecodeError, ValueError) as error:
            raise InvalidInput("form", (f"$: not a form of at most {MAX_FIELDS} fields in UTF-8",)) from error
        form = Form(tuple(fields))
        if not self.sessions.is_form_token(form.text("csrf"), self.caller.name, self.cookie):
            text = "The form is older than this engine or your session. Go back, reload the page, and try again."
            raise Refused(self.refused("The form has expired", text, 403))
        return form


@attrs.frozen
class Form:
    """A form's fields."""

    fields: Sequence[tuple[str, str]]

    def text(self, name: str) -> str:
        """Return a field's first value. Empty if it is absent."""
        return next((value for key, value in self.fields if key == name), "")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field's values, each once."""
        return tuple(dict.fromkeys(value for key, value in self.fields if key == name))
