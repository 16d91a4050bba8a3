"""The files of the dashboard: its style, its script and its icon, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from typing import Final

import attrs
from starlette.responses import Response

_TYPES: Final = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@attrs.define(slots=False)
class Assets:
    """The files by name."""

    @cached_property
    def contents(self) -> Mapping[str, bytes]:
        """Their contents."""
        folder = files("perdure.dashboard") / "static"
        return {name: (folder / name).read_bytes() for name in _TYPES}

    @cached_property
    def version(self) -> str:
        """A text that changes with any of them."""
        return hashlib.sha256(b"".join(self.contents.values())).hexdigest()[:12]

    def response(self, name: str, /) -> Response:
        """Return a file. Its URL has the version, so that a browser keeps it."""
        content = self.contents.get(name)
        if content is None:
            return Response(status_code=404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=_TYPES[name], headers=headers)


ASSETS: Final = Assets()
