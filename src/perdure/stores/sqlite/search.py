"""Searches instances in the order of their addresses, in chunks, so that other requests do not wait long."""

from __future__ import annotations

import sqlite3
from typing import Any, Final, TypeAlias

import attrs

from perdure.stores.corrupt_rows import CorruptRows, readable
from perdure.stores.prefix import after_prefix
from perdure.stores.rows import INSTANCE_COLUMNS, Row, instance_from
from perdure.stores.store import Query
from perdure.values.instance import Instance

PORTION: Final = 2_000
"""Instances per chunk: a few milliseconds."""

_ADDRESS = ("kind", "name", "id")
_BY_ADDRESS: Final = "sqlite_autoindex_instances_1"
_BY_HELD_STATUS, _BY_RETRY, _BY_OWNER, _BY_LEFT = (
    *("instances_held", "instances_retrying", "instances_owner", "instances_left_listed"),
)
_INDEX_OF: Final = {
    "paused": _BY_HELD_STATUS,
    "parked": _BY_HELD_STATUS,
    "retrying": _BY_RETRY,
    "running": _BY_OWNER,
    "left": _BY_LEFT,
}
"""The index of a rare status: it holds only the instances that have it, or little more."""
_PART_OF: Final = {
    _BY_HELD_STATUS: "suspension IS NOT NULL",
    _BY_RETRY: "status = 'retrying'",
    _BY_OWNER: "owner IS NOT NULL",
    _BY_LEFT: "left_by IS NOT NULL",
}
"""The condition of a partial index, without which SQLite does not use it."""

_NEXT_JOB = f"""
SELECT kind, name FROM instances INDEXED BY {_BY_ADDRESS} WHERE (kind, name) >= (?, ?) ORDER BY kind, name LIMIT 1
"""  # noqa: S608 - made of constants

Conditions: TypeAlias = dict[str, Any]
"""Conditions of SQL, with the value of each."""


@attrs.frozen(kw_only=True)
class Search:
    """The state of a search.

    Attributes:
        query: the query.
        after: the address to start after, as a row; None: the search is complete.
        size: instances per chunk.
    """

    query: Query
    after: Row | None
    size: int = PORTION

    @classmethod
    def of(cls, query: Query) -> Search:
        """Start where the query says."""
        place = query.after
        return cls(query=query, after=("", "", "") if place is None else (place.kind, place.name, place.id))

    @property
    def is_between(self) -> bool:
        """Whether the position is between two jobs, and no address."""
        return self.after is not None and not self.after[2]

    def portion(self, cursor: sqlite3.Cursor, damage: CorruptRows, limit: int) -> tuple[tuple[Instance, ...], Search]:
        """Search one chunk, and return its matches and the search of the rest."""
        query = self.query
        by_prefix = query.id_prefix and len(self._fixed) < 2  # noqa: PLR2004 - a seek in each job, not a look at all
        if query.jobs is not None or query.except_jobs or by_prefix:
            return self._portion_of_job(cursor, damage, limit)
        start = self._start()
        if start is None:
            return (), attrs.evolve(self, after=None)
        end = self._end(cursor, start) if self._index == _BY_ADDRESS else None  # the other indexes hold few instances
        conditions = {**self._conditions(end), **self._wanted()}

        def fetch(place: Row, wanted: int) -> list[Row]:
            return _rows(cursor, INSTANCE_COLUMNS, self._index, self._from(place) | conditions, (wanted, 0))

        found = readable(fetch, instance_from, lambda row: (">", *row[2 + len(self._fixed) : 5]), start, limit, damage)
        return found, attrs.evolve(self, after=end)

    def _portion_of_job(
        self, cursor: sqlite3.Cursor, damage: CorruptRows, limit: int
    ) -> tuple[tuple[Instance, ...], Search]:
        """Search one of the queried jobs. The rows of other jobs are skipped by a seek."""
        job = self._next_job(cursor)
        if job is None:
            return (), attrs.evolve(self, after=None)
        kind, name = job
        query = attrs.evolve(self.query, kind=kind, name=name, jobs=None, except_jobs=())
        found, rest = attrs.evolve(self, query=query).portion(cursor, damage, limit)
        return found, attrs.evolve(self, after=(kind, _after(name), "") if rest.after is None else rest.after)

    def _next_job(self, cursor: sqlite3.Cursor) -> Row | None:
        """Return the first queried job, at or after the position, that may have rows."""
        query, place = self.query, ("", "") if self.after is None else self.after[:2]
        if query.jobs is not None:
            return min((job for job in query.jobs if job >= place and self._is_asked_for(job)), default=None)
        while (row := cursor.execute(_NEXT_JOB, place).fetchone()) is not None:
            if self._is_asked_for(row):
                return tuple(row)
            place = (row[0], _after(row[1]))
        return None

    def _is_asked_for(self, job: Row) -> bool:
        query = self.query
        return job not in query.except_jobs and query.kind in (None, job[0]) and query.name in (None, job[1])

    @property
    def _fixed(self) -> Row:
        """The given parts of the address, from the left: the index leads straight to them."""
        kind, name = self.query.kind, self.query.name
        return () if kind is None else (kind,) if name is None else (kind, name)

    @property
    def _index(self) -> str:
        return _INDEX_OF.get(self.query.status or "", _BY_ADDRESS)

    def _start(self) -> Row | None:
        """Return ``>`` or ``>=`` and the first position among the parts that are not fixed; None if it is past them."""
        fixed = self._fixed
        depth = len(fixed)
        if self.after is None or self.after[:depth] > fixed:
            return None
        place = self.after[depth:] if self.after[:depth] == fixed else ("",) * (3 - depth)
        if depth == 2 and self.query.id_prefix > place[0]:  # noqa: PLR2004 - kind and name
            return ">=", self.query.id_prefix
        return ">", *place

    def _end(self, cursor: sqlite3.Cursor, start: Row) -> Row | None:
        """Return the last address of the chunk; None if it reaches the end."""
        found = _rows(
            cursor, ", ".join(_ADDRESS), self._index, self._from(start) | self._conditions(None), (1, self.size - 1)
        )
        return found[0] if found else None

    def _from(self, place: Row) -> Conditions:
        columns = _ADDRESS[len(self._fixed) :]
        return {f"({', '.join(columns)}) {place[0]} ({_marks(columns)})": place[1:]}

    def _conditions(self, end: Row | None) -> Conditions:
        """Return the conditions that the index serves: the fixed parts, and the end."""
        fixed = self._fixed
        depth = len(fixed)
        conditions: Conditions = {f"{column} = ?": (value,) for column, value in zip(_ADDRESS, fixed, strict=False)}
        if self._index in _PART_OF:
            conditions[_PART_OF[self._index]] = ()
        if end is not None:
            columns = _ADDRESS[depth:]
            return {**conditions, f"({', '.join(columns)}) <= ({_marks(columns)})": end[depth:]}
        above = after_prefix(self.query.id_prefix) if depth == 2 else None  # noqa: PLR2004 - as above
        return conditions if above is None else {**conditions, "id < ?": (above,)}

    def _wanted(self) -> Conditions:
        """Return the conditions that are checked row by row."""
        query = self.query
        asked = {
            "+name = ?": query.name if query.kind is None else None,
            "+id >= ?": query.id_prefix or None,
            "+id < ?": after_prefix(query.id_prefix),
            "status = ?": query.status,
            "+due_ms < ?": query.due_before_ms,
        }
        return {condition: (value,) for condition, value in asked.items() if value is not None}


def _rows(cursor: sqlite3.Cursor, columns: str, index: str, conditions: Conditions, page: Row) -> list[Row]:
    sql = f"""
    SELECT {columns} FROM instances INDEXED BY {index} WHERE {" AND ".join(conditions)}
    ORDER BY kind, name, id LIMIT ? OFFSET ?
    """  # noqa: S608 - made of constants; values are always bound
    return cursor.execute(sql, (*(value for values in conditions.values() for value in values), *page)).fetchall()


def _after(name: str) -> str:
    """Return the first text after a name, in the order of code points."""
    return f"{name}\0"


def _marks(columns: Row) -> str:
    return ", ".join("?" for _ in columns)
