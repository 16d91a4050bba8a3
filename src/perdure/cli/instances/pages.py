"""Pages of instances, for lists and for changes of many instances."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from perdure.cli.paging import paged
from perdure.cli.target.target import Target
from perdure.values.address import Address
from perdure.values.listings import Listed, ListFilter


def pages(target: Target, wanted: ListFilter, most: int | None) -> Iterator[tuple[Listed, ...]]:
    """Yield pages of instances until there are no more.

    Args:
        target: the engine or the store.
        wanted: the filter, from the first page on.
        most: maximum number of all pages together; None for all.
    """

    def read(after: Address | None, limit: int) -> tuple[Listed, ...]:
        return target.find(attrs.evolve(wanted, after=after, limit=limit))

    return paged(read, _address, wanted.after, most)


def _address(listed: Listed) -> Address | None:
    return listed.address
