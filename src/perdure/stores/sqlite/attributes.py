"""Attributes in the file: their keys beside the instances, and how far each attribute is."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final, TypeAlias

from perdure.stores.attributes import AttributeSearch
from perdure.stores.rows import INSTANCE_COLUMNS, CorruptRows, Row, instance_from
from perdure.stores.values import FilledPage
from perdure.values.address import Address, Job
from perdure.values.attributes import FAILED, FOUND, AttributeKeys, StoredAttribute
from perdure.values.errors import StoreCorrupt
from perdure.values.instance import Instance

Numbers: TypeAlias = Mapping[tuple[str, str, str], int]
"""The attributes' numbers, by kind, job and attribute."""

_NUMBERS: Final = "SELECT kind, name, attribute, number FROM attributes"
_PUT: Final = "INSERT OR REPLACE INTO attribute_keys (number, key, id, incarnation) VALUES (?, ?, ?, ?)"
_REMOVE: Final = "DELETE FROM attribute_keys WHERE incarnation = ? AND number = ?"
_REMOVE_ALL: Final = "DELETE FROM attribute_keys WHERE incarnation = ?"
_KNOWN: Final = """
SELECT kind, name, attribute, fingerprint, progress, position, generation,
  EXISTS (SELECT 1 FROM attribute_keys AS k WHERE k.number = a.number AND k.key >= ? AND k.key < ?)
FROM attributes AS a ORDER BY kind, name, attribute
"""
_BEGIN: Final = """
INSERT INTO attributes (kind, name, attribute, fingerprint, progress, position, generation)
VALUES (?, ?, ?, ?, 'clearing', '', 1)
ON CONFLICT (kind, name, attribute) DO UPDATE
  SET fingerprint = excluded.fingerprint, progress = 'clearing', position = '', generation = generation + 1
"""
_CLEAR: Final = """
DELETE FROM attribute_keys WHERE (number, key, id) IN
  (SELECT number, key, id FROM attribute_keys WHERE number = ? LIMIT ?)
"""
_FORGET: Final = "DELETE FROM attributes WHERE number = ?"
_MOVE: Final = "UPDATE attributes SET progress = ?, position = ? WHERE number = ?"
_FILLING: Final = "SELECT number, generation, progress FROM attributes WHERE kind = ? AND name = ? AND attribute = ?"
_IS_AT: Final = "SELECT 1 FROM instances WHERE incarnation = ? AND version = ?"
_ROW: Final = f"SELECT {INSTANCE_COLUMNS} FROM instances WHERE incarnation = ?"  # noqa: S608 - made of constants


def numbers_of(cursor: sqlite3.Cursor) -> Numbers:
    """Return the numbers of the known attributes."""
    return {(kind, name, attribute): number for kind, name, attribute, number in cursor.execute(_NUMBERS)}


# ---------------------------------------------------------------- commits
def write_keys(
    cursor: sqlite3.Cursor, numbers: Numbers, address: Address, incarnation: int, keys: AttributeKeys
) -> None:
    """Write the changed keys of an instance."""
    for name, key in keys:
        number = numbers.get((address.kind, address.name, name))
        # An attribute that no opening has declared has no number, and keeps no keys.
        if number is None:
            continue
        if key is None:
            cursor.execute(_REMOVE, (incarnation, number))
        else:
            cursor.execute(_PUT, (number, key, address.id, incarnation))


def delete_keys(cursor: sqlite3.Cursor, incarnation: int) -> None:
    """Delete all keys of an instance."""
    cursor.execute(_REMOVE_ALL, (incarnation,))


# ---------------------------------------------------------------- the life of an attribute
def known(cursor: sqlite3.Cursor) -> tuple[StoredAttribute, ...]:
    """Return the known attributes."""
    return tuple(
        StoredAttribute(
            kind=row[0],
            name=row[1],
            attribute=row[2],
            fingerprint=row[3],
            state=row[4],
            position=row[5],
            generation=row[6],
            failures=bool(row[7]),
        )
        for row in cursor.execute(_KNOWN, (FAILED, FOUND)).fetchall()
    )


def declare(cursor: sqlite3.Cursor, jobs: Mapping[Job, Mapping[str, str]]) -> Numbers:
    """Begin the attributes that are new or changed, and those that no code computes any more. Return all numbers."""
    found = {(one.kind, one.name, one.attribute): one for one in known(cursor)}
    for job, declared in jobs.items():
        for name, fingerprint in declared.items():
            one = found.get((*job, name))
            if one is None or one.fingerprint != fingerprint:
                cursor.execute(_BEGIN, (*job, name, fingerprint))
        for (kind, name, attribute), one in found.items():
            # An attribute that no code computes any more is cleared, unless that has begun.
            if (kind, name) == job and attribute not in declared and one.state != "clearing":
                cursor.execute(_BEGIN, (kind, name, attribute, one.fingerprint))
    return numbers_of(cursor)


def clear(cursor: sqlite3.Cursor, job: Job, attribute: str, limit: int, *, declared: bool) -> int:
    """Delete some keys of an attribute that is being cleared. Return their number."""
    row = cursor.execute(_FILLING, (*job, attribute)).fetchone()
    if row is None or row[2] != "clearing":
        return 0
    number = row[0]
    gone = cursor.execute(_CLEAR, (number, limit)).rowcount
    # A short page is the last: nothing is left to clear.
    if gone < limit and declared:
        cursor.execute(_MOVE, ("filling", "", number))
    elif gone < limit:
        cursor.execute(_FORGET, (number,))
    return gone


def fill(cursor: sqlite3.Cursor, numbers: Numbers, job: Job, page: FilledPage) -> tuple[str, ...]:
    """Write the attributes of a page. Return the ids that were not written."""
    filled: dict[str, int] = {}
    for name, generation in page.generations:
        row = cursor.execute(_FILLING, (*job, name)).fetchone()
        # Another opening has changed the attribute since the page was read: its keys are of other code.
        if row is None or row[1:] != (generation, "filling"):
            return ()
        filled[name] = row[0]
    refused: list[str] = []
    for each in page.rows:
        # The keys are those of this version: a commit since then has written its changes only.
        if cursor.execute(_IS_AT, (each.incarnation, each.version)).fetchone() is None:
            refused.append(each.id)
            continue
        keys = tuple(pair for pair in each.keys if pair[0] in filled)
        write_keys(cursor, numbers, Address(*job, each.id), each.incarnation, keys)
    # The position stays where it was if a row was refused: the next page must compute that one again.
    if not refused:
        progress = "whole" if page.rest == "none" else "filling"
        for number in filled.values():
            cursor.execute(_MOVE, (progress, page.rows[-1].id if page.rows else "", number))
    return tuple(refused)


# ---------------------------------------------------------------- searches
def lengths(cursor: sqlite3.Cursor, search: AttributeSearch) -> AttributeSearch:
    """Choose what leads a search."""
    sql, values = search.lengths(search.most)
    return search.led_by(cursor.execute(sql, values).fetchone())


def portion(
    cursor: sqlite3.Cursor, search: AttributeSearch, damage: CorruptRows, after: str, limit: int
) -> tuple[tuple[Instance, ...], str | None, int]:
    """Read a portion: the matches, the id to continue after or None at the end, and how many rows were looked at."""
    sql, values = search.portion(after, limit)
    rows: list[Row] = cursor.execute(sql, values).fetchall()
    found: list[Instance] = []
    for id_, incarnation, matches in rows:
        if matches:
            row = cursor.execute(_ROW, (incarnation,)).fetchone()
            try:
                found.append(instance_from(row))
            except StoreCorrupt as error:
                damage.note(error)
            if len(found) == limit:
                return tuple(found), id_, len(rows)
    return tuple(found), rows[-1][0] if len(rows) == search.taken(limit) else None, len(rows)


def count_portion(
    cursor: sqlite3.Cursor, search: AttributeSearch, after: tuple[str, str], size: int
) -> tuple[int, tuple[str, str] | None]:
    """Count a portion of a plain search: the number, and where the next one begins after. None at the end."""
    # The end of a full portion is looked for first: then its keys need not be counted.
    sql, values = search.last_key(after, size)
    last = cursor.execute(sql, values).fetchone()
    if last is not None:
        return size, tuple(last)
    sql, values = search.count_keys(after)
    return cursor.execute(sql, values).fetchone()[0], None


def are_long(cursor: sqlite3.Cursor, search: AttributeSearch, most: int) -> bool:
    """Return whether each range has so many keys."""
    sql, values = search.lengths(most)
    lengths: tuple[int, ...] = cursor.execute(sql, values).fetchone()
    return min(lengths) >= most


def count_walking(cursor: sqlite3.Cursor, search: AttributeSearch, after: int) -> tuple[int, int | None]:
    """Count a portion in the order of the instances: the number, and where the next one begins after."""
    sql, values = search.walk(after)
    (read, number, last) = cursor.execute(sql, values).fetchone()
    return number, last if read == search.most else None


def count_matches(cursor: sqlite3.Cursor, search: AttributeSearch, after: str) -> tuple[int, str | None]:
    """Count a portion of any other search: the number, and the id where the next one begins after. None at the end."""
    sql, values = search.count_portion(after)
    (read, number, last) = cursor.execute(sql, values).fetchone()
    return number, last if read == search.size else None
