"""The capability ``attributes`` of a store, and searches by attributes in SQL: which index leads, and the statements.

The keys are in ``attribute_keys (number, key, id, incarnation)``, ordered by the first three, and once more by
incarnation and number. A search reads in portions, so that other requests do not wait long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs
from returns.future import FutureResult

from perdure.stores.rows import after_prefix
from perdure.stores.values import FilledPage, Query
from perdure.values.address import Job
from perdure.values.attributes import KeyRange, StoredAttribute
from perdure.values.errors import StoreError


class StoredAttributes(Protocol):
    """The capability ``attributes``: keys that code computed from states, by which instances are found.

    ``commit`` writes the attributes of a transition together with its instance, and deletes those of a purged one. It
    ignores attributes that the store does not know. ``find`` and ``search`` return the instances whose keys are in all
    ranges of a query. A filter on an attribute that is not whole, or in doubt, may miss instances.
    """

    def declare(self, jobs: Mapping[Job, Mapping[str, str]], /) -> FutureResult[None, StoreError]:
        """State which attributes the code of this opening computes for the jobs that it serves, with fingerprints.

        An attribute that is new, or has another fingerprint, is cleared and then filled. One that no open engine
        computes any more is cleared and then forgotten. Declaring the same again changes nothing. While another engine
        that may write a job computes another fingerprint for its attribute, or has declared nothing, the attribute is
        in doubt, and it is cleared and filled again after that engine's end.
        """
        ...

    def known(self) -> FutureResult[tuple[StoredAttribute, ...], StoreError]:
        """Return the attributes that the store knows, in the order of kind, name and attribute."""
        ...

    def clear(self, job: Job, attribute: str, limit: int, /) -> FutureResult[int, StoreError]:
        """Delete keys of an attribute that is being cleared, up to the limit, and return their number.

        With fewer than the limit, filling begins, or the attribute is forgotten. Nothing is deleted while it is in
        doubt.
        """
        ...

    def fill(self, job: Job, page: FilledPage, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Write the attributes of a page, and return the ids of those that were not written.

        An instance is not written if it has another version by now, or is gone. If all were written, the position
        moves to the page's last id, and without a rest the attributes are whole. Attributes of another generation, or
        in doubt, stay as they are.
        """
        ...

    def count(self, query: Query, /) -> FutureResult[int, StoreError]:
        """Count the instances that match a query, whatever its limit and position."""
        ...


Statement: TypeAlias = tuple[str, tuple[Any, ...]]
"""SQL with ``?`` for each value, and the values."""

SPARSE: Final = 5
"""A range with fewer keys than this many portions is sorted by id. A longer one is read along the ids."""

# ruff: noqa: S608 - the texts are made of constants and checked names; values are always bound


@attrs.frozen(kw_only=True)
class NumberedRange:
    """A wanted range, with its attribute's number in the store."""

    number: int
    low: str
    high: str
    only: str | None

    @property
    def condition(self) -> Statement:
        """The condition on number and key."""
        if self.only is not None:
            return "number = ? AND key = ?", (self.number, self.only)
        return "number = ? AND key >= ? AND key < ?", (self.number, self.low, self.high)


def numbered(where: Sequence[KeyRange], numbers: Mapping[str, int]) -> tuple[NumberedRange, ...] | None:
    """Return the ranges with their attributes' numbers. None if the store does not know one: nothing matches."""
    found = [
        NumberedRange(number=number, low=each.low, high=each.high, only=each.only)
        for each in where
        if (number := numbers.get(each.attribute)) is not None
    ]
    return tuple(found) if len(found) == len(where) else None


def first_id(query: Query) -> str | None:
    """Return the id after which a query's instances begin. None if its position is behind the job."""
    job, after = (query.kind, query.name), query.after
    if after is None or (after.kind, after.name) < job:
        return ""
    return after.id if (after.kind, after.name) == job else None


@attrs.frozen(kw_only=True)
class AttributeSearch:
    """One search.

    Attributes:
        prefix: stands before each table's name.
        size: instances in one portion.
        lead: where the ids come from: the ``keys`` of a range, or all ``ids`` of the job.
        led: the range that leads.
    """

    query: Query
    ranges: tuple[NumberedRange, ...]
    prefix: str = ""
    size: int
    lead: Literal["keys", "ids"] = "ids"
    led: int = 0

    @property
    def most(self) -> int:
        """How many keys are counted to choose what leads."""
        return self.size * SPARSE

    def lengths(self, most: int) -> Statement:
        """Return the statement that counts the keys in each range, up to so many."""
        counts, values = list[str](), list[Any]()
        for each in self.ranges:
            condition, bound = each.condition
            counts.append(
                f"(SELECT count(*) FROM (SELECT 1 FROM {self.prefix}attribute_keys WHERE {condition} LIMIT ?) AS few)"
            )
            values += [*bound, most]
        return f"SELECT {', '.join(counts)}", tuple(values)

    def led_by(self, lengths: Sequence[int]) -> AttributeSearch:
        """Return the search with what leads it: the shortest range, unless none is short."""
        # In a tie, a range of one key: its rows are in the order of the ids already.
        shortest = min(range(len(lengths)), key=lambda at: (lengths[at], self.ranges[at].only is None))
        if lengths[shortest] < self.most and self.ranges[shortest].only is None:
            return attrs.evolve(self, lead="keys", led=shortest)
        # A long range would have to be sorted for each portion. The rows of one key, and the instances, are read in
        # order.
        equal = [at for at in range(len(lengths)) if self.ranges[at].only is not None]
        if equal:
            return attrs.evolve(self, lead="keys", led=min(equal, key=lambda at: lengths[at]))
        return self

    def taken(self, limit: int) -> int:
        """Return how many leading rows one portion takes, if this many matches are wanted."""
        # Without further conditions each row matches, so no more are needed than are wanted.
        return min(self.size, limit) if not self._others and not self._row()[0] else self.size

    def portion(self, after: str, limit: int) -> Statement:
        """Return the statement for the next ids, their incarnations, and whether each matches.

        Args:
            after: the id before the first one.
            limit: how many matches are wanted.
        """
        leading, values = self._leading(after)
        conditions, bound = self._matching(must_exist=True)
        sql = f"""
            SELECT a.id, a.incarnation, CASE WHEN {conditions} THEN 1 ELSE 0 END
            FROM ({leading} ORDER BY id LIMIT ?) AS a ORDER BY a.id
        """
        return sql, (*bound, *values, self.taken(limit))

    def count_portion(self, after: str) -> Statement:
        """Return the statement that counts the next ids and those that match, and returns the last id."""
        leading, values = self._leading(after)
        conditions, bound = self._matching(must_exist=bool(self._row()[0]))
        sql = f"""
            SELECT count(*), coalesce(sum(CASE WHEN {conditions} THEN 1 ELSE 0 END), 0), max(a.id)
            FROM ({leading} ORDER BY id LIMIT ?) AS a
        """
        return sql, (*bound, *values, self.size)

    @property
    def _others(self) -> list[NumberedRange]:
        """The ranges that do not lead."""
        return [each for at, each in enumerate(self.ranges) if self.lead == "ids" or at != self.led]

    def _leading(self, after: str) -> Statement:
        ids, values = self._ids(after)
        if self.lead == "ids":
            where = f"kind = ? AND name = ? AND {ids}"
            return f"SELECT id, incarnation FROM {self.prefix}instances WHERE {where}", (
                *(self.query.kind, self.query.name, *values),
            )
        condition, bound = self.ranges[self.led].condition
        return f"SELECT id, incarnation FROM {self.prefix}attribute_keys WHERE {condition} AND {ids}", (*bound, *values)

    def _ids(self, after: str) -> Statement:
        prefix = self.query.id_prefix
        above = after_prefix(prefix)
        first = ("id >= ?", prefix) if prefix > after else ("id > ?", after)
        if above is None:
            return first[0], (first[1],)
        return f"{first[0]} AND id < ?", (first[1], above)

    def _matching(self, *, must_exist: bool) -> Statement:
        """Return the conditions on a leading row: the other ranges, and the instance itself."""
        # So that the conditions can be joined if there are none.
        texts, values = ["1 = 1"], list[Any]()
        for each in self._others:
            condition, bound = each.condition
            keys = f"{self.prefix}attribute_keys AS k"
            texts.append(f"EXISTS (SELECT 1 FROM {keys} WHERE k.incarnation = a.incarnation AND {condition})")
            values += bound
        if must_exist:
            row, bound_row = self._row()
            texts.append(f"EXISTS (SELECT 1 FROM {self.prefix}instances AS i WHERE i.incarnation = a.incarnation{row})")
            values += bound_row
        return " AND ".join(texts), tuple(values)

    def _row(self) -> Statement:
        query = self.query
        wanted = {
            " AND i.status = ?": query.status,
            " AND i.due_ms < ?": query.due_before_ms,
        }
        asked = {text: value for text, value in wanted.items() if value is not None}
        return "".join(asked), tuple(asked.values())

    # ------------------------------------------------------------ counting
    @property
    def is_of_keys(self) -> bool:
        """Whether a count needs the ranges and nothing else."""
        query = self.query
        return not query.id_prefix and query.status is None and query.due_before_ms is None

    @property
    def is_plain(self) -> bool:
        """Whether a count needs one range and nothing else."""
        return len(self.ranges) == 1 and self.is_of_keys

    def last_key(self, after: tuple[str, str], size: int) -> Statement:
        """Return the statement for the key and the id at the end of so many keys of a plain search.

        Args:
            after: the key and the id before the first one.
            size: how many.
        """
        part, values = self._keys(after)
        return f"SELECT key, id {part} ORDER BY key, id LIMIT 1 OFFSET ?", (*values, size - 1)

    def count_keys(self, after: tuple[str, str]) -> Statement:
        """Return the statement that counts the keys of a plain search behind a position."""
        part, values = self._keys(after)
        return f"SELECT count(*) {part}", values

    def _keys(self, after: tuple[str, str]) -> Statement:
        (only,) = self.ranges
        part = f"FROM {self.prefix}attribute_keys WHERE number = ? AND (key, id) > (?, ?) AND key < ?"
        return part, (only.number, *after, only.high)

    def count_all(self) -> Statement:
        """Return the statement that counts a search of keys at once.

        Each range is read as a whole: the server joins them, which for many keys is faster than to look up each.
        """
        first, *others = self.ranges
        condition, values = first.condition
        texts, bound = [condition], [*values]
        for each in others:
            condition, values = each.condition
            keys = f"SELECT incarnation FROM {self.prefix}attribute_keys WHERE {condition}"
            texts.append(f"incarnation IN ({keys})")
            bound += values
        return f"SELECT count(*) FROM {self.prefix}attribute_keys WHERE {' AND '.join(texts)}", tuple(bound)

    def walk(self, after: int) -> Statement:
        """Return the statement that counts instances with a key in some ranges, those with one in each, and the last.

        It reads the keys in the order of the instances, so those of one instance are beside each other.

        Args:
            after: the incarnation before the first one.
        """
        conditions, values = zip(*(each.condition for each in self.ranges), strict=True)
        part = f"""
            SELECT incarnation, count(*) AS met FROM {self.prefix}attribute_keys INDEXED BY attribute_keys_instance
            WHERE incarnation > ? AND ({" OR ".join(f"({each})" for each in conditions)})
            GROUP BY incarnation LIMIT ?
        """
        sql = f"SELECT count(*), coalesce(sum(met = ?), 0), max(incarnation) FROM ({part}) AS part"
        return sql, (len(self.ranges), after, *chain.from_iterable(values), self.most)
