"""Reads complete journals, in pages."""

from __future__ import annotations

from typing import Final

from returns.result import Failure, Result, Success

from perdure.programs.future import answer_of
from perdure.stores.store import Store
from perdure.values.errors import StoreError
from perdure.values.instance import Instance

PAGE: Final = 500


async def read_journal(
    store: Store, instance: Instance | None, page: int = PAGE
) -> Result[tuple[str, ...], StoreError]:
    """Read the rows of a journal as of a stored row: later ones are left out.

    Args:
        store: the store.
        instance: the stored row; None if there is none.
        page: the rows of one read.

    Returns:
        The rows; fewer than the row counts if the instance has been purged or has begun again since.
    """
    rows: list[str] = []
    if instance is None or store.journal is None:
        return Success(())
    while len(rows) < instance.journal_length:
        limit = min(page, instance.journal_length - len(rows))
        read = await answer_of(store.journal(instance.address, instance.incarnation, len(rows), limit))
        if not isinstance(read, Success):
            return Failure(read.failure())
        rows += read.unwrap()
        if len(read.unwrap()) < limit:
            break
    return Success(tuple(rows))
