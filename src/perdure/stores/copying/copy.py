"""Copies a store into another one: all rows in pages, then a comparison, then the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Literal, TypeAlias

import attrs

from perdure.stores.copying.contract import COLUMNS, CopyPosition, CopySource, CopyTarget, Numbers, Table
from perdure.stores.copying.difference import ComparedTable, compared
from perdure.values.errors import CopyFailed
from perdure.values.excerpt import fields_in_line

Phase: TypeAlias = Literal["copy", "compare"]

OnCopyProgress: TypeAlias = Callable[[Phase, int, int], None]
"""Called with the phase, the rows that are done in it and about how many there are."""


@attrs.frozen(kw_only=True)
class StoreCopy:
    """The result of a copy or of a comparison.

    Attributes:
        source: the name of the source.
        target: the name of the target.
        resumed: whether an interrupted copy was continued.
        tables: each table, compared.
        difference: the first difference of the numbers that rows do not tell; empty if there is none.
    """

    __repr__ = fields_in_line

    source: str
    target: str
    resumed: bool
    tables: tuple[ComparedTable, ...]
    difference: str = ""

    @property
    def rows(self) -> int:
        """The number of rows of the source."""
        return sum(table.source_rows for table in self.tables)

    @property
    def differences(self) -> tuple[str, ...]:
        """The first difference of each table, and of the numbers."""
        found = (f"{table.table}: {table.difference}" for table in self.tables if table.difference)
        return (*found, *((self.difference,) if self.difference else ()))


async def copy_store(source: CopySource, target: CopyTarget, progress: OnCopyProgress) -> StoreCopy:
    """Copy all rows, or those that an interrupted copy has not copied, and compare both stores.

    The target opens as a store only if they are equal. The caller closes both.

    Args:
        source: the store that is read.
        target: the store that is written.
        progress: called after each page.

    Raises:
        CopyFailed: the target has rows of its own, or the source changed meanwhile.
        StoreError: one of them failed. Call it again to continue.
    """
    numbers = await source.numbers()
    sizes = await source.sizes()
    begun = await target.begin(source.name, numbers)
    await _rows(source, target, begun, _Progress(progress, "copy", sizes))
    tables = await _tables(source, target.written, _Progress(progress, "compare", sizes))
    after = await source.numbers()
    if after != numbers:
        reason = f"the source changed from {numbers.moment} to {after.moment}; stop the applications that send messages"
        raise CopyFailed(target.name, f"{reason}, delete the target and begin again")
    done = StoreCopy(source=source.name, target=target.name, resumed=begun is not None, tables=tables)
    if not done.differences:
        await target.finish(numbers)
    return done


async def compare_stores(source: CopySource, other: CopySource, progress: OnCopyProgress) -> StoreCopy:
    """Compare two stores, row by row, without their epochs and the numbers of their events.

    Args:
        source: one store.
        other: the other one.
        progress: called after each page.

    Raises:
        StoreError: one of them cannot be read.
    """
    tables = await _tables(source, other, _Progress(progress, "compare", await source.sizes()))
    difference = _difference(await source.numbers(), await other.numbers())
    return StoreCopy(source=source.name, target=other.name, resumed=False, tables=tables, difference=difference)


async def _rows(source: CopySource, target: CopyTarget, begun: CopyPosition | None, progress: _Progress) -> None:
    order = list(COLUMNS)
    first = 0 if begun is None else order.index(begun.table)
    progress.skip(order[:first])
    for table in order[first:]:
        after = begun.key if begun is not None and begun.table == table else ()
        async with aclosing(source.pages(table, after)) as pages:
            async for page in pages:
                await target.write(CopyPosition(table, page[-1][: COLUMNS[table].key]), page)
                progress.add(len(page))


async def _tables(source: CopySource, other: CopySource, progress: _Progress) -> tuple[ComparedTable, ...]:
    return tuple([await compared(source, other, table, progress.add) for table in COLUMNS])


def _difference(ours: Numbers, theirs: Numbers) -> str:
    for name in ("incarnation", "message_id"):
        one, other = getattr(ours, name), getattr(theirs, name)
        if other < one:
            return f"{name}: the source has assigned {one:,}, the target would assign it again after {other:,}"
    one_by_name, other_by_name = (
        {cursor.name: (cursor.deleted, cursor.remaining) for cursor in each.cursors} for each in (ours, theirs)
    )
    for name in sorted({*one_by_name, *other_by_name}):
        if one_by_name.get(name) != other_by_name.get(name):
            of_each = f"{one_by_name.get(name)} in the source, {other_by_name.get(name)} in the target"
            return f"cursor {name} (deleted events, events behind it): {of_each}"
    return ""


@attrs.define
class _Progress:
    """Adds up rows."""

    show: OnCopyProgress
    phase: Phase
    sizes: Mapping[Table, int]
    done: int = 0

    def add(self, rows: int) -> None:
        self.done += rows
        self.show(self.phase, self.done, max(self.done, sum(self.sizes.values())))

    def skip(self, tables: list[Table]) -> None:
        self.done += sum(self.sizes[table] for table in tables)
