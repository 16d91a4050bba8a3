"""Reads long lists page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")
K = TypeVar("K")

MAX_PAGE: Final = 1_000
"""The greatest page that an engine returns."""


def paged(
    read: Callable[[K, int], tuple[T, ...]], key: Callable[[T], K], after: K, most: int | None, *, page: int = MAX_PAGE
) -> Iterator[tuple[T, ...]]:
    """Yield pages until there are no more.

    Args:
        read: returns up to a number of rows after a key, in the order of their keys.
        key: returns the key of a row.
        after: the key to start after.
        most: maximum number of all rows together; None for all.
        page: maximum number of rows of a page.
    """
    left = most
    while left is None or left > 0:
        limit = page if left is None else min(left, page)
        rows = read(after, limit)
        if rows:
            yield rows
        if len(rows) < limit:
            return
        after = key(rows[-1])
        left = None if left is None else left - len(rows)
