"""The marks by which the engine recognises its own checkpoints.

A checkpoint changes the file, and so does a copy that another program writes over it: size and time of the last change
do not tell one from the other. So the commit before a checkpoint writes a new mark, in one of two tables by turns, and
after the checkpoint both marks are read from the file itself, past SQLite. The checkpoint wrote one of them and did not
touch the other. A copy over the file takes one of them away at least, whatever its moment; unless it was made after the
mark before was written, and then the checkpoint writes all the pages in which it differs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs

ReadFile: TypeAlias = Callable[[int, int], bytes]
"""Reads so many bytes of the file, from an offset on, past SQLite."""

TABLES: Final = ("checkpoint_marks_a", "checkpoint_marks_b")
_WRITE = tuple(f"UPDATE {table} SET mark = ?" for table in TABLES)  # noqa: S608 - made of constants
_READ = tuple(f"SELECT mark FROM {table}" for table in TABLES)  # noqa: S608 - made of constants


@attrs.define
class _Place:
    """One of the two tables.

    Attributes:
        offset: where its page begins in the file.
        possible: the marks that the file may hold, the last one committed at the end; empty when that is not known.
        stored: the mark that was committed last.
    """

    offset: int
    stored: str
    possible: list[str]


@attrs.define
class Marks:
    """Writes marks, and finds them again.

    Attributes:
        epoch: which opening of the file writes them.
        page_bytes: the size of a page.
        is_moved: whether the mark that was committed last is in the file.
    """

    epoch: int
    page_bytes: int
    _places: tuple[_Place, ...]
    _number: int
    is_moved: bool = True
    _written: str | None = None

    def may_become(self, later: Marks) -> bool:
        """Whether a file that held these marks may hold those, after a COMMIT whose outcome is not known."""
        written = () if self._written is None else (self._written,)
        return all(
            after.stored in (before.stored, *written) for before, after in zip(self._places, later._places, strict=True)
        )

    def write(self, cursor: sqlite3.Cursor) -> None:
        """Write the next mark with the open transaction."""
        if self._written is None:
            self._number += 1
            self._written = f"{self.epoch:016x}-{self._number:016x}"
            cursor.execute(_WRITE[self._number % 2], (self._written,))

    def committed(self) -> None:
        """Note that the transaction is stored."""
        if self._written is not None:
            place = self._places[self._number % 2]
            place.stored = self._written
            if place.possible:
                place.possible.append(self._written)
            self._written = None
            self.is_moved = False

    def rolled_back(self) -> None:
        """Note that it is not."""
        self._written = None

    def are_found(self, read: ReadFile, *, moved: Literal["all", "some"]) -> bool:
        """Read both marks from the file, after a checkpoint.

        Args:
            read: reads the file.
            moved: ``all`` of the log, or ``some``: then the file may still hold an older mark.
        """
        found = [self._is_found(place, read, moved) for place in self._places]  # each notes its own
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
    """Read the marks of a file that was opened.

    Args:
        cursor: a cursor of its connection.
        epoch: which opening this is.
        read: reads the file.
    """
    ((page_bytes,),) = cursor.execute("PRAGMA page_size").fetchall()
    places: list[_Place] = []
    for table, sql in zip(TABLES, _READ, strict=True):
        ((root,),) = cursor.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
        ((mark,),) = cursor.execute(sql).fetchall()
        offset = (root - 1) * page_bytes
        is_there = mark.encode() in read(page_bytes, offset)  # not while a reader keeps the log from being moved
        places.append(_Place(offset, mark, [mark] if is_there else []))
    ours = [int(place.stored.partition("-")[2], 16) for place in places if place.stored.startswith(f"{epoch:016x}-")]
    return Marks(epoch, page_bytes, tuple(places), max(ours, default=0))
