"""Pages of instances, for lists and for changes of many instances."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from perdure.cli.instances.filters import MAX_PAGE
from perdure.cli.target.target import Target
from perdure.values.listed import Listed, ListFilter


def pages(target: Target, wanted: ListFilter, most: int | None) -> Iterator[tuple[Listed, ...]]:
    """Yield pages of instances until there are no more.

    Args:
        target: the engine or the store.
        wanted: the filter, from the first page on.
        most: maximum number of all pages together; None for all.
    """
    left = most
    while left is None or left > 0:
        limit = MAX_PAGE if left is None else min(left, MAX_PAGE)
        page = target.find(attrs.evolve(wanted, limit=limit))
        if page:
            yield page
        if len(page) < limit:
            return
        wanted = attrs.evolve(wanted, after=page[-1].address)
        left = None if left is None else left - len(page)
