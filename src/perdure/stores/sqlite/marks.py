"""The marks by which the engine recognises its own checkpoints.

A checkpoint changes the file, and so does a copy that another program writes over it: size and modification time do not
distinguish them. So the commit before a checkpoint writes a new mark, alternating between two tables, and after the
checkpoint the engine reads both marks from the file itself, bypassing SQLite. The checkpoint wrote one of them and did
not touch the other. A copy over the file removes at least one of them at any moment; unless it was made after the
previous mark was written, and then the checkpoint writes all the pages in which it differs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs

ReadFile: TypeAlias = Callable[[int, int], bytes]
"""Reads a number of bytes of the file at an offset, bypassing SQLite."""

TABLES: Final = ("checkpoint_marks_a", "checkpoint_marks_b")
_WRITE = tuple(f"UPDATE {table} SET mark = ?" for table in TABLES)  # noqa: S608 - made of constants
_READ = tuple(f"SELECT mark FROM {table}" for table in TABLES)  # noqa: S608 - made of constants


@attrs.define
class _Place:
    """One of the two tables.

    Attributes:
        offset: the offset of its page in the file.
        possible: the marks that the file may hold, the last committed one at the end; empty if unknown.
        stored: the last committed mark.
    """

    offset: int
    stored: str
    possible: list[str]


@attrs.define
class Marks:
    """Writes marks, and finds them again.

    Attributes:
        epoch: the opening of the file that writes them.
        page_bytes: the size of a page.
        is_moved: whether the last committed mark is in the file.
    """

    epoch: int
    page_bytes: int
    _places: tuple[_Place, ...]
    _number: int
    is_moved: bool = True
    _written: str | None = None

    def may_become(self, later: Marks) -> bool:
        """Whether a file with these marks may have the later ones, after a COMMIT of unknown outcome."""
        written = () if self._written is None else (self._written,)
        return all(
            after.stored in (before.stored, *written) for before, after in zip(self._places, later._places, strict=True)
        )

    def write(self, cursor: sqlite3.Cursor) -> None:
        """Write the next mark in the open transaction."""
        if self._written is None:
            self._number += 1
            self._written = f"{self.epoch:016x}-{self._number:016x}"
            cursor.execute(_WRITE[self._number % 2], (self._written,))

    def committed(self) -> None:
        """Note that the transaction is durable."""
        if self._written is not None:
            place = self._places[self._number % 2]
            place.stored = self._written
            if place.possible:
                place.possible.append(self._written)
            self._written = None
            self.is_moved = False

    def rolled_back(self) -> None:
        """Note that the transaction was rolled back."""
        self._written = None

    def are_found(self, read: ReadFile, *, moved: Literal["all", "some"]) -> bool:
        """Read both marks from the file after a checkpoint, and return whether they are the expected ones.

        Args:
            read: reads the file.
            moved: ``all`` of the log, or ``some``: then the file may still hold an older mark.
        """
        found = [self._is_found(place, read, moved) for place in self._places]  # each call updates its place
        newest = self._places[self._number % 2]
        self.is_moved = newest.possible == [newest.stored]
        return all(found)

    def _is_found(self, place: _Place, read: ReadFile, moved: Literal["all", "some"]) -> bool:
        page = read(self.page_bytes, place.offset)
        wanted = [place.stored] if moved == "all" else place.possible
        found = [index for index, mark in enumerate(wanted) if mark.encode() in page]
        if found:
            place.possible = wanted[found[-1] :]
        return bool(found) or not wanted


def read_marks(cursor: sqlite3.Cursor, *, epoch: int, read: ReadFile) -> Marks:
    """Read the marks of an opened file.

    Args:
        cursor: a cursor of its connection.
        epoch: the number of this opening.
        read: reads the file.
    """
    ((page_bytes,),) = cursor.execute("PRAGMA page_size").fetchall()
    places: list[_Place] = []
    for table, sql in zip(TABLES, _READ, strict=True):
        ((root,),) = cursor.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
        ((mark,),) = cursor.execute(sql).fetchall()
        offset = (root - 1) * page_bytes
        is_there = mark.encode() in read(page_bytes, offset)  # False while a reader blocks the checkpoint
        places.append(_Place(offset, mark, [mark] if is_there else []))
    ours = [int(place.stored.partition("-")[2], 16) for place in places if place.stored.startswith(f"{epoch:016x}-")]
    return Marks(epoch, page_bytes, tuple(places), max(ours, default=0))
