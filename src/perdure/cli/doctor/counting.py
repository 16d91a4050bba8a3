"""Compares the counts that an engine keeps, or saved, with the rows of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final, TypeAlias

from perdure.cli.doctor.diagnosis import Diagnosis
from perdure.cli.stats.counts import Counts
from perdure.stores.sqlite.counters import saved
from perdure.stores.sqlite.reader import Reader
from perdure.values.listings import StatusCount, StoreCounts

TRIES: Final = 5
"""How often the file is counted, until nothing has changed meanwhile."""

TOPIC: Final = "counts"
ADVICE: Final = "stop the engine, sqlite3 FILE 'DELETE FROM instance_counts', and start it: it counts again"

Numbers: TypeAlias = dict[str, dict[str, int]]
"""Instances by job (printed ``kind:name``) and status."""


def kept_counts(ask: Callable[[], StoreCounts], count: Callable[[], Counts]) -> Diagnosis:
    """Check the counts of a running engine.

    Args:
        ask: asks the engine.
        count: counts the rows of its file.
    """
    before = ask()
    for _ in range(TRIES):
        rows, after = count().instances, ask()
        if not after.complete:
            return Diagnosis("skipped", TOPIC, "the engine has not counted all instances yet")
        if after.instances == before.instances:
            return compared("the engine counts", numbers_of(after.instances), rows)
        before = after
    return Diagnosis("skipped", TOPIC, f"the instances changed during each of {TRIES} counts")


def saved_counts(reader: Reader, rows: Numbers) -> Diagnosis:
    """Check the counts that an engine saved when it closed the file.

    Args:
        reader: reads the file.
        rows: the counts of its rows.
    """
    found = reader.read(_saved)
    if not found:
        return Diagnosis("ok", TOPIC, "none saved: the next engine counts the instances")
    return compared("the file says", numbers_of(found), rows)


def _saved(cursor: sqlite3.Cursor) -> tuple[StatusCount, ...]:
    try:
        return saved(cursor)
    except sqlite3.OperationalError:  # a file of an older schema has no such table
        return ()


def compared(source: str, kept: Numbers, rows: Numbers) -> Diagnosis:
    """Compare kept counts with those of the rows.

    Args:
        source: who keeps them, for the finding.
        kept: the kept counts.
        rows: the counts of the rows.
    """
    for job in sorted({*kept, *rows}):
        for status in sorted({*kept.get(job, {}), *rows.get(job, {})}):
            number, found = kept.get(job, {}).get(status, 0), rows.get(job, {}).get(status, 0)
            if number != found:
                detail = f"{source} {number:,} {status} instances of {job}, and {found:,} rows are"
                return Diagnosis("problem", TOPIC, detail, ADVICE)
    total = sum(number for statuses in rows.values() for number in statuses.values())
    return Diagnosis("ok", TOPIC, f"{total:,} {'instance' if total == 1 else 'instances'}, as {source}")


def numbers_of(counts: tuple[StatusCount, ...]) -> Numbers:
    """Return counts by job and status."""
    numbers: Numbers = {}
    for one in counts:
        numbers.setdefault(f"{one.kind}:{one.name}", {})[one.status] = one.number
    return numbers
