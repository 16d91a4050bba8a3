"""Copies a store into another one: all rows in pages, then a comparison, row by row, then the numbers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from importlib.metadata import entry_points
from itertools import zip_longest
from typing import Final, Literal, TypeAlias

import attrs
import orjson

from perdure.stores.copying import (
    COLUMNS,
    RENUMBERED,
    Copying,
    CopyPosition,
    CopySource,
    CopyTarget,
    Numbers,
    Row,
    Table,
)
from perdure.stores.postgres import check_driver
from perdure.stores.postgres.settings import SCHEMES, settings_of
from perdure.stores.sqlite import copying as sqlite
from perdure.stores.url import sqlite_path
from perdure.stores.url_parts import redacted_url, split_url
from perdure.values.errors import CopyFailed, DefinitionError
from perdure.values.excerpt import excerpt, fields_in_line


@attrs.frozen(kw_only=True)
class ComparedTable:
    """One table in two stores.

    Attributes:
        table: the table.
        source_rows: how many rows the source has.
        target_rows: how many rows the target has.
        source_digest: SHA-256 over all rows in the source, without event numbers, in hexadecimal.
        target_digest: the same for the target.
        difference: the first difference. Empty if there is none.
    """

    __repr__ = fields_in_line

    table: Table
    source_rows: int
    target_rows: int
    source_digest: str
    target_digest: str
    difference: str = ""


@attrs.define
class _Side:
    """One store in a comparison: how much was read from its table so far."""

    rows: int = 0
    digest: str = ""

    async def read(self, pages: AsyncGenerator[Sequence[Row]], table: Table) -> AsyncGenerator[list[Row]]:
        """Yield the rows in pages, and note their number and digest."""
        digest = sha256()
        async with aclosing(pages):
            async for page in pages:
                # Without the number: both stores count events in their own way.
                kept = [row[1:] for row in page] if table in RENUMBERED else list(page)
                self.rows += len(kept)
                # Joined as one JSON list, whatever the pages: the digest of equal tables is equal for other page sizes.
                digest.update(orjson.dumps(kept)[1:-1] + b",")
                yield kept
        self.digest = digest.hexdigest()


async def compared(source: CopySource, target: CopySource, table: Table, seen: Callable[[int], None]) -> ComparedTable:
    """Compare one table in two stores, in pages with the same size.

    Args:
        source: one store.
        target: the other one.
        table: the table.
        seen: called with the row count after each page from the source.
    """
    one, other = _Side(), _Side()
    difference = ""
    ours, theirs = one.read(source.pages(table, ()), table), other.read(target.pages(table, ()), table)
    async with aclosing(ours), aclosing(theirs):
        while True:
            # Both sides, even after a difference: the report has the digests and the numbers of rows of both.
            left, right = await anext(ours, None), await anext(theirs, None)
            if left is None and right is None:
                break
            seen(len(left or ()))
            # Only the first difference: a shifted row makes all later ones differ.
            if not difference and left != right:
                difference = _first(table, left or [], right or [])
    return ComparedTable(
        table=table,
        source_rows=one.rows,
        target_rows=other.rows,
        source_digest=one.digest,
        target_digest=other.digest,
        difference=difference,
    )


def _first(table: Table, left: list[Row], right: list[Row]) -> str:
    """Name the first difference between two pages that are not equal."""
    names = COLUMNS[table].names[1 if table in RENUMBERED else 0 :]
    for ours, theirs in zip_longest(left, right):
        if ours == theirs:
            continue
        if theirs is None:
            return f"{_row(table, ours)} is in the source only"
        if ours is None:
            return f"{_row(table, theirs)} is in the target only"
        differing = [
            f"{name}: {excerpt(one)} in the source, {excerpt(other)} in the target"
            for name, one, other in zip(names, ours, theirs, strict=True)
            if one != other
        ]
        return f"{_row(table, ours)} against {_row(table, theirs)}: {differing[0]}"
    return "equal"  # not reached: the pages differ


def _row(table: Table, row: Row) -> str:
    match table:
        case "instances":
            return f"instance {':'.join(map(str, row[2:5]))}"
        case "journal" | "streams":
            return f"row {row[1]} of the {table} of incarnation {row[0]}"
        case "messages" | "dead_letters":
            return f"message {row[0]} to {row[2]}"
        case "keys":
            return f"key {excerpt(row[1])} of {row[0]}"
        case "events" | "kept_events":
            return f"event {row[1]} of {row[0]} at {row[2]}"
        case "holds" | "histories":
            return f"{table} of {row[0]}" if table == "histories" else f"hold of {row[0]}:{row[1]}"


Phase: TypeAlias = Literal["copy", "compare"]

OnCopyProgress: TypeAlias = Callable[[Phase, int, int], None]
"""Called with the phase, the rows that are done in it and about how many there are."""


@attrs.frozen(kw_only=True)
class StoreCopy:
    """How a copy or a comparison ended.

    Attributes:
        source: the source's name.
        target: the target's name.
        resumed: whether an interrupted copy was continued.
        tables: each table, compared.
        difference: the first difference between the counters that rows do not show. Empty if there is none.
    """

    __repr__ = fields_in_line

    source: str
    target: str
    resumed: bool
    tables: tuple[ComparedTable, ...]
    difference: str = ""

    @property
    def rows(self) -> int:
        """How many rows the source has."""
        return sum(table.source_rows for table in self.tables)

    @property
    def differences(self) -> tuple[str, ...]:
        """Each table's first difference, then the counters'."""
        found = (f"{table.table}: {table.difference}" for table in self.tables if table.difference)
        return (*found, *((self.difference,) if self.difference else ()))


async def copy_store(source: CopySource, target: CopyTarget, progress: OnCopyProgress) -> StoreCopy:
    """Copy all rows, or those that an interrupted copy has not copied, and compare both stores.

    The target opens as a store only if both are equal. The caller closes both.

    Args:
        source: the store that is read.
        target: the store that is written.
        progress: called after each page.

    Raises:
        CopyFailed: the target already has rows, or the source changed meanwhile.
        StoreError: a store failed. Call it again to continue.
    """
    numbers = await source.numbers()
    sizes = await source.sizes()
    begun = await target.begin(source.name, numbers)
    await _rows(source, target, begun, _Progress(progress, "copy", sizes))
    # Every row is read back: the target opens as a store only if it is equal, so a damaged page cannot become the new
    # store.
    tables = await _tables(source, target.written, _Progress(progress, "compare", sizes))
    # A command in a transaction of an application needs no engine: only the numbers show that one was added
    # meanwhile.
    after = await source.numbers()
    if after != numbers:
        reason = f"the source changed from {numbers.moment} to {after.moment}; stop the applications that send messages"
        raise CopyFailed(target.name, f"{reason}, delete the target and begin again")
    done = StoreCopy(source=source.name, target=target.name, resumed=begun is not None, tables=tables)
    # Only then can the target be opened: a copy with a difference stays an unfinished one.
    if not done.differences:
        await target.finish(numbers)
    return done


async def compare_stores(source: CopySource, other: CopySource, progress: OnCopyProgress) -> StoreCopy:
    """Compare two stores, row by row, without epochs and event numbers.

    Args:
        source: one store.
        other: the other one.
        progress: called after each page.

    Raises:
        StoreError: a store cannot be read.
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
                # The key of the last row, in the transaction of the page: the copy continues behind it.
                await target.write(CopyPosition(table, page[-1][: COLUMNS[table].key]), page)
                progress.add(len(page))


async def _tables(source: CopySource, other: CopySource, progress: _Progress) -> tuple[ComparedTable, ...]:
    return tuple([await compared(source, other, table, progress.add) for table in COLUMNS])


def _difference(ours: Numbers, theirs: Numbers) -> str:
    for name in ("incarnation", "message_id"):
        one, other = getattr(ours, name), getattr(theirs, name)
        # Greater ones are no difference: the target may have assigned numbers before.
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
        # The sizes are estimates: more rows than that must not show above 100 %.
        self.show(self.phase, self.done, max(self.done, sum(self.sizes.values())))

    def skip(self, tables: list[Table]) -> None:
        self.done += sum(self.sizes[table] for table in tables)


ENTRY_POINTS: Final = "perdure.copying"
"""The entry point group in which an installed package declares, for a scheme, its `Copying`."""


async def open_copy_source(url: str) -> CopySource:
    """Open the store that is read.

    Args:
        url: its URL, as for `open_store`.

    Raises:
        DefinitionError: the scheme is unknown, or its stores cannot be copied.
        StoreError: the store cannot be opened, or an engine has it open.
    """
    return await copying_of(url).open_source(url)


async def open_copy_target(url: str) -> CopyTarget:
    """Open the store that is written.

    Args:
        url: its URL, as for `open_store`.

    Raises:
        DefinitionError: the scheme is unknown, or its stores cannot be copied.
        StoreError: the store cannot be opened, or an engine has it open.
    """
    return await copying_of(url).open_target(url)


def copying_of(url: str) -> Copying:
    """Return how stores with a URL's scheme are copied.

    Raises:
        DefinitionError: the scheme is unknown, or its stores cannot be copied.
    """
    scheme = split_url(url).scheme
    if scheme == "sqlite":
        path = sqlite_path(url)
        return Copying(open_source=lambda _: sqlite.open_source(path), open_target=lambda _: sqlite.open_target(path))
    if scheme in SCHEMES:
        check_driver(settings_of(url))
        from perdure.stores.postgres import copying  # noqa: PLC0415 - the driver is an extra

        return Copying(open_source=copying.open_source, open_target=copying.open_target)
    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        found: Copying = entry.load()
        return found
    raise DefinitionError(
        "store of a copy",
        redacted_url(url),
        "'sqlite:///jobs.db', 'postgresql://user@host/database', or a package that declares how",
    )
