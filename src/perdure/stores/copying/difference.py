"""Compares a copy with its source, row by row."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from hashlib import sha256
from itertools import zip_longest

import attrs
import orjson

from perdure.stores.copying.contract import COLUMNS, CopySource, Row, Table
from perdure.values.excerpt import excerpt, fields_in_line


@attrs.frozen(kw_only=True)
class ComparedTable:
    """One table of two stores.

    Attributes:
        table: the table.
        source_rows: its rows in the source.
        target_rows: its rows in the target.
        source_digest: SHA-256 over all rows in the source, without the numbers of events, in hexadecimal.
        target_digest: the same of the target.
        difference: the first difference; empty if there is none.
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
    """One store of a comparison: what was read of its table so far."""

    rows: int = 0
    digest: str = ""

    async def read(self, pages: AsyncGenerator[Sequence[Row]], table: Table) -> AsyncGenerator[list[Row]]:
        """Yield the rows in pages, and note their number and digest."""
        digest = sha256()
        async with aclosing(pages):
            async for page in pages:
                kept = [row[1:] for row in page] if table == "events" else list(page)
                self.rows += len(kept)
                digest.update(orjson.dumps(kept)[1:-1] + b",")
                yield kept
        self.digest = digest.hexdigest()


async def compared(source: CopySource, target: CopySource, table: Table, seen: Callable[[int], None]) -> ComparedTable:
    """Compare one table of two stores, in pages of the same size.

    Args:
        source: one store.
        target: the other one.
        table: the table.
        seen: called with the number of rows of each page of the source.
    """
    one, other = _Side(), _Side()
    difference = ""
    ours, theirs = one.read(source.pages(table, ()), table), other.read(target.pages(table, ()), table)
    async with aclosing(ours), aclosing(theirs):
        while True:
            left, right = await anext(ours, None), await anext(theirs, None)
            if left is None and right is None:
                break
            seen(len(left or ()))
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
    """Name the first difference of two pages that are not equal."""
    names = COLUMNS[table].names[1 if table == "events" else 0 :]
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
        case "journal":
            return f"row {row[1]} of the journal of incarnation {row[0]}"
        case "messages" | "dead_letters":
            return f"message {row[0]} to {row[2]}"
        case "keys":
            return f"key {excerpt(row[1])} of {row[0]}"
        case "events":
            return f"event {row[1]} of {row[0]} at {row[2]}"
        case "holds":
            return f"hold of {row[0]}:{row[1]}"
