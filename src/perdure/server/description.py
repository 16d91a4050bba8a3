"""``GET /openapi.json``: the description of the jobs that an engine serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs
import orjson

from perdure.codecs.json_schema import JsonSchema
from perdure.jobs.definition import AnyDefinition
from perdure.wire.info import installed_version
from perdure.wire.openapi import openapi

TITLE: Final = "Jobs"
ABOUT: Final = (
    "Send requests to durable jobs. A request with an `Idempotency-Key` may be repeated: it is applied once. "
    "Every error is a problem (RFC 9457) with a stable `code`. The document's version is that of perdure."
)


def described(jobs: Iterable[AnyDefinition], *, title: str = TITLE, server: str = "/") -> JsonSchema:
    """Return the OpenAPI document of these jobs, with the version of the library.

    Args:
        jobs: the definitions.
        title: the title of the document.
        server: the URL of the engine, or the path below which it is mounted.
    """
    return openapi(jobs, title=title, version=installed_version() or "0", server=server, description=ABOUT)


@attrs.define(eq=False)
class Description:
    """The OpenAPI document of an engine, computed when it is read for the first time."""

    _document: JsonSchema | None = None

    def encoded(self, jobs: Iterable[AnyDefinition], *, server: str) -> bytes:
        """Return the document as JSON.

        Args:
            jobs: the definitions that the engine serves, the same in each call.
            server: the path below which the engine is mounted; empty for none.
        """
        if self._document is None:
            self._document = described(jobs)
        return orjson.dumps({**self._document, "servers": [{"url": server or "/"}]})
