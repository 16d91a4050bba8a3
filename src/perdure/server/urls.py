"""URLs: paths whose parts stay percent-encoded, so that an id may contain a slash, and checked query parameters."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from starlette.datastructures import QueryParams
from starlette.types import Scope

from perdure.values.errors import InvalidArgument

MOUNTED_AT: Final = "perdure.mounted_at"
"""The key in a request's scope for the prefix, as the client encoded it."""


def with_raw_path(scope: Scope) -> Scope:
    """Return a request's scope with the path below the prefix as the client encoded it.

    ASGI decodes the path: an encoded slash in an id would look like a separator. Below a prefix, some frameworks keep
    it in ``path`` and others remove it. Both work. The prefix itself must not contain an encoded slash.

    Args:
        scope: an HTTP request's scope.
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


SEVERAL: Final = frozenset({"until", "phase", "where"})
"""The parameters that may occur several times."""


def only(query: QueryParams, names: frozenset[str]) -> None:
    """Check that every parameter is known and occurs once, except those in `SEVERAL`.

    Raises:
        InvalidArgument: one is not known, or occurs twice.
    """
    given = [name for name, _ in query.multi_items()]
    known = ", ".join(sorted(names)) or "no parameters"
    for name in given:
        if name not in names:
            raise InvalidArgument("query", name, f"only {known}")
        if name not in SEVERAL and given.count(name) > 1:
            raise InvalidArgument("query", name, f"{name} once")


def flag_in(query: QueryParams, name: str) -> bool:
    """Return a truth value, False if it is absent.

    Raises:
        InvalidArgument: it is neither ``true`` nor ``false``.
    """
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidArgument(name, text, "'true' or 'false'")
    return text == "true"
