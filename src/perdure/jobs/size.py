"""Limits the size of encoded values."""

from __future__ import annotations

from perdure.values.errors import InvalidInput


def within(data: bytes, max_bytes: int, *, what: str) -> str:
    """Return an encoded value as text, unless it is too large.

    Raises:
        InvalidInput: it has more than ``max_bytes`` bytes.
    """
    if len(data) > max_bytes:
        problem = (
            f"expected at most {max_bytes} bytes when encoded, got {len(data)}; "
            "keep large data elsewhere and store its key"
        )
        raise InvalidInput(what, (problem,))
    return data.decode()


def too_large(data: str, max_bytes: int, *, what: str) -> InvalidInput | None:
    """Return why an encoded value is too large; None if it is not."""
    try:
        within(data.encode(), max_bytes, what=what)
    except InvalidInput as problem:
        return problem
    return None
