"""Arguments of calls: each check names the argument, what it expects and what it got."""

from __future__ import annotations

from typing import Final

from perdure.values.errors import InvalidArgument

MAX_PAGE: Final = 1_000
MAX_NUMBER: Final = 2**63 - 1
"""The greatest sequence number or message id that a store keeps."""


def check_whole(value: object, *, what: str, least: int, most: int) -> int:
    """Accept a whole number within these bounds.

    Raises:
        InvalidArgument: it is anything else.
    """
    if type(value) is int and least <= value <= most:
        return value
    raise InvalidArgument(what, value, f"a whole number from {least} to {most}")


def check_limit(value: object, *, of: str) -> int:
    """Accept the size of a page.

    Raises:
        InvalidArgument: it is not a whole number from 1 to 1,000.
    """
    return check_whole(value, what=f"limit of {of}", least=1, most=MAX_PAGE)
