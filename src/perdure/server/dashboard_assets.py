"""The files of the dashboard: its style, its script and its icon, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

import attrs
from starlette.responses import Response

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
        version: a text that changes with any of them.
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
