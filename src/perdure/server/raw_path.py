"""Paths whose parts stay percent-encoded, so that an id may contain a slash."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from starlette.types import Scope

MOUNTED_AT: Final = "perdure.mounted_at"
"""The key of the prefix in the scope of a request, as the client encoded it."""


def with_raw_path(scope: Scope) -> Scope:
    """Return the scope of a request with the path below the prefix as the client encoded it.

    ASGI decodes the path: an encoded slash of an id would look like a separator. Below a prefix, some frameworks keep
    it in ``path`` and others remove it; both work. The prefix itself must not contain an encoded slash.

    Args:
        scope: the scope of an HTTP request.
    """
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return scope
    below: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    if prefix and below.startswith(prefix):
        below = below[len(prefix) :]
    encoded = raw.partition(b"?")[0].decode("latin-1")
    decoded = unquote(encoded)
    if not decoded.endswith("/"):
        below = below.rstrip("/")  # Litestar adds one
    if not below or not decoded.endswith(below):
        return scope
    depth = decoded[: -len(below)].count("/")
    parts = encoded.split("/")
    mounted_at, path = "/".join(parts[: depth + 1]), "/" + "/".join(parts[depth + 1 :])
    changed: dict[str, Any] = {**scope, "root_path": "", "path": path, MOUNTED_AT: mounted_at}
    return changed
