"""Diagnoses a SQLite store and any engine: each check measures, and a pure function judges.

It compares the counts that an engine keeps, or saved, with the file's rows.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from perdure.cli.inspection.report import Finding
from perdure.cli.inspection.stats import Counts, count
from perdure.cli.output import MIB, size_text
from perdure.stores.at_rest import StoreReader
from perdure.stores.sqlite.counters import saved
from perdure.stores.sqlite.files import exposed_files
from perdure.stores.sqlite.lock import owner_of
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.schema import migrations, size_of
from perdure.stores.values import Health
from perdure.values.listings import StatusCount, StoreCounts
from perdure.values.times import format_duration

MOUNTS: Final = Path("/proc/self/mounts")
_LAST_EVENT: Final = "SELECT max(at_ms) FROM (SELECT at_ms FROM events ORDER BY sequence DESC LIMIT 1)"
_LEFT: Final = """
SELECT CASE WHEN json_valid(left_mark) THEN coalesce(json_extract(left_mark, '$.error.error_type'), '?') ELSE '?' END,
  count(*) FROM instances WHERE left_by IS NOT NULL GROUP BY 1
"""
_WAITING: Final = """
SELECT (SELECT count(*) FROM perdure.instances WHERE suspension IS NOT NULL AND status = 'parked'),
  (SELECT count(*) FROM perdure.messages WHERE left_by IS NOT NULL), (SELECT count(*) FROM perdure.dead_letters)
"""
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the type that a file's file system has, such as ``ext4`` or ``nfs4``.

    Args:
        path: the file's absolute path.
        mounts: the mounted file systems, as Linux lists them.

    Returns:
        The type. Empty if it is unknown: without ``/proc``, or in a changed root, whose list names no mount for the
        file.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = ("", "")
    for line in lines:
        _, place, type_, *_ = [*line.split(" "), "", "", ""]
        mounted = _ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), place)
        # The longest one: it is mounted over the others. With `>=`, the last of two at the same place.
        if path.is_relative_to(mounted or "?") and len(mounted) >= len(found[0]):
            found = (mounted, type_)
    return found[1]


REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"})
"""File systems whose locks and synced writes another machine answers for."""

VOLATILE: Final = frozenset({"tmpfs", "ramfs"})

LEAST_FREE_BYTES: Final = 100 * MIB
LARGE_LOG_BYTES: Final = 256 * MIB
OVERDUE_MS: Final = 60_000
"""An engine that keeps up has no alarm that is due for longer."""

CLOCK_MS: Final = 60_000
"""Events that are this far in the future mean that a clock is wrong."""


def diagnosed(reader: Reader, *, url: str, listens: bool, now_ms: int) -> Iterator[Finding]:
    """Run every check on a file, and yield the findings.

    Args:
        reader: reads the file.
        url: its URL.
        listens: whether a process answers on its socket.
        now_ms: the present.
    """
    path, counts, owner = reader.path, count(reader, now_ms), owner_of(reader.path)
    can_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    ((last_event_ms,),) = reader.rows(_LAST_EVENT)
    yield schema(reader.schema_version, len(migrations()))
    yield permissions(path.stat().st_mode & 0o777, exposed_files(path), can_write=can_write)
    yield file_system(file_system_of(path))
    yield space(shutil.disk_usage(path.parent).free, size_of(path))
    yield log(size_of(reader.log))
    yield engine(owner, listens=listens, url=url)
    yield alarms(counts.due, counts.due_since_ms, now_ms, has_engine=owner is not None or listens)
    yield clock(last_event_ms, now_ms)
    yield from waiting_work(reader, _LEFT)
    # An engine keeps its counts in memory, and saves them when it closes the file.
    if owner is None:
        yield saved_counts(reader, counts.instances)


def schema(found: int, newest: int) -> Finding:
    """Judge the tables' version."""
    if found < newest:
        detail = f"schema version {found}, this library writes {newest}"
        advice = "back it up; the next engine upgrades it, and older versions of perdure cannot open it afterwards"
        return Finding("warning", "schema", detail, advice)
    return Finding("ok", "schema", f"schema version {found}")


def permissions(mode: int, exposed: Mapping[str, int], *, can_write: bool) -> Finding:
    """Judge a file's permissions.

    Args:
        mode: the file's mode.
        exposed: the files that every user can open, with their modes: the file, its lock file, its log.
        can_write: whether this user may write the file and its folder.
    """
    shown, names = f"mode {mode:04o}", " ".join(exposed)
    modes = ", ".join(f"{name} {one:04o}" for name, one in exposed.items())
    if any(one & stat.S_IWOTH for one in exposed.values()):
        return Finding("problem", "permissions", f"every user can change a file: {modes}", f"chmod o-rw {names}")
    if exposed:
        detail = f"every user can read all states, and lock the store so that no engine starts: {modes}"
        return Finding("warning", "permissions", detail, f"chmod o-rw {names}")
    if not can_write:
        detail = f"{shown}: this user can read the file and not write it and its folder"
        return Finding("warning", "permissions", detail, "run the engine as the owner of both")
    return Finding("ok", "permissions", shown)


def file_system(kind: str) -> Finding:
    """Judge a file system's type. Empty if unknown."""
    if kind in REMOTE:
        detail = f"{kind}: its locks do not keep a second engine out, and synced writes may be lost"
        return Finding("problem", "file system", detail, "move the file to a local disk")
    if kind in VOLATILE:
        return Finding("warning", "file system", f"{kind}: a restart of the machine loses it", "move it to a disk")
    return Finding("ok", "file system", kind or "unknown")


def space(free_bytes: int, file_bytes: int) -> Finding:
    """Judge the free space on the file's disk."""
    free, size = f"{size_text(free_bytes)} free", size_text(file_bytes)
    if free_bytes < LEAST_FREE_BYTES:
        return Finding("problem", "disk", free, "free space: commits fail when the disk is full")
    # A vacuum writes the file once more before it replaces it.
    if free_bytes < file_bytes:
        return Finding("warning", "disk", free, f"a backup or a vacuum needs {size} more")
    return Finding("ok", "disk", f"{free}, the file has {size}")


def log(size_bytes: int) -> Finding:
    """Judge the write-ahead log's size."""
    if size_bytes > LARGE_LOG_BYTES:
        advice = "find the program that reads the file for long; it blocks checkpoints"
        return Finding("warning", "wal", size_text(size_bytes), advice)
    return Finding("ok", "wal", size_text(size_bytes))


def engine(owner: str | None, *, listens: bool, url: str) -> Finding:
    """Judge whether an engine runs on a file.

    Args:
        owner: the process that owns it, or None.
        listens: whether that process answers on the socket beside the file.
        url: the store.
    """
    if listens:
        return Finding("ok", "engine", f"{owner or 'a process'} answers on the socket")
    if owner is not None:
        detail = f"{owner} owns the file and does not listen on the socket"
        return Finding("warning", "engine", detail, "start it with perdure run, so that commands can reach it")
    advice = f"start one: perdure run MODULE:APP --store {url}"
    return Finding("warning", "engine", "no engine runs on it: no alarm fires", advice)


def alarms(due: int, since_ms: int | None, now_ms: int, *, has_engine: bool) -> Finding:
    """Judge the alarms that are due, the oldest since an instant."""
    late_ms = 0 if since_ms is None else now_ms - since_ms
    if late_ms <= OVERDUE_MS:
        return Finding("ok", "alarms", f"{due:,} due")
    detail = f"{due:,} due, the oldest for {format_duration(late_ms // 1_000 * 1_000)}"
    if not has_engine:
        return Finding("warning", "alarms", detail, "they fire when an engine starts")
    advice = "its jobs may be orphaned (perdure list --status orphaned), or the engine hangs or is overloaded"
    return Finding("problem", "alarms", detail, advice)


def clock(last_event_ms: int | None, now_ms: int) -> Finding:
    """Judge the newest event's time."""
    if last_event_ms is not None and last_event_ms > now_ms + CLOCK_MS:
        ahead = format_duration((last_event_ms - now_ms) // 1_000 * 1_000)
        detail = f"the newest event lies {ahead} in the future"
        return Finding("problem", "clock", detail, "set the clock of this machine: alarms fire late or early")
    return Finding("ok", "clock", "no event lies in the future")


def waiting_work(reader: StoreReader, left: str) -> Iterator[Finding]:
    """Yield findings about the rows that wait for an operator.

    Args:
        reader: reads the store.
        left: the store's SQL that counts the instances that code left, by problem class.
    """
    ((parked, messages, letters),) = reader.rows(_WAITING)
    yield waiting(parked, "parked", "instances are parked", "perdure list --status parked")
    yield left_instances(dict(reader.rows(left)))
    yield left_messages(messages)
    yield waiting(letters, "dead letters", "messages failed too often", "perdure dead-letters")


def waiting(number: int, topic: str, detail: str, command: str) -> Finding:
    """Return a warning if something waits for an operator.

    Args:
        number: how many.
        topic: the subject.
        detail: what they are.
        command: the command that lists them.
    """
    if number:
        return Finding("warning", topic, f"{number:,}: {detail}", f"they wait for you; {command}")
    return Finding("ok", topic, "none")


def left_instances(numbers: Mapping[str, int], more: str = "") -> Finding:
    """Judge the instances that code left, because it cannot read them.

    Args:
        numbers: how many there are, by problem class.
        more: what follows if these are not all.
    """
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(numbers.items()))
    detail = f"instances are left, as the code cannot read them ({reasons}){more}"
    return waiting(sum(numbers.values()), "left", detail, "perdure list --status left")


def left_messages(number: int, more: str = "") -> Finding:
    """Judge the messages that code left, because it cannot read them.

    Args:
        number: how many.
        more: what follows if these are not all.
    """
    detail = f"messages are left, as the code cannot read them; those behind them wait as well{more}"
    return waiting(number, "left messages", detail, "perdure left-messages")


def health(report: Health) -> Finding:
    """Judge the health that an engine reports."""
    match report.state:
        case "ok":
            return Finding("ok", "health", "the engine reports no problem")
        case "degraded":
            return Finding("warning", "health", report.detail, "the engine works")
        case "failed":
            return Finding("problem", "health", report.detail, "see the log of the engine")


TRIES: Final = 5
"""How often the file is counted, until nothing has changed meanwhile."""

TOPIC: Final = "counts"
ADVICE: Final = "stop the engine, sqlite3 FILE 'DELETE FROM instance_counts', and start it: it counts again"

Numbers: TypeAlias = dict[str, dict[str, int]]
"""Instances by job (printed ``kind:name``) and status."""


def kept_counts(ask: Callable[[], StoreCounts], count: Callable[[], Counts]) -> Finding:
    """Check a running engine's counts."""
    before = ask()
    for _ in range(TRIES):
        rows, after = count().instances, ask()
        if not after.complete:
            return Finding("skipped", TOPIC, "the engine has not counted all instances yet")
        if after.instances == before.instances:
            return compared("the engine counts", numbers_of(after.instances), rows)
        before = after
    return Finding("skipped", TOPIC, f"the instances changed during each of {TRIES} counts")


def saved_counts(reader: Reader, rows: Numbers) -> Finding:
    """Check the counts that an engine saved when it closed the file."""
    found = reader.read(_saved)
    if not found:
        return Finding("ok", TOPIC, "none saved: the next engine counts the instances")
    return compared("the file says", numbers_of(found), rows)


def _saved(cursor: sqlite3.Cursor) -> tuple[StatusCount, ...]:
    try:
        return saved(cursor)
    except sqlite3.OperationalError:  # a file of an older schema has no such table
        return ()


def compared(source: str, kept: Numbers, rows: Numbers) -> Finding:
    """Compare kept counts with row counts.

    Args:
        source: who keeps them, for the finding.
        kept: the kept counts.
        rows: the row counts.
    """
    for job in sorted({*kept, *rows}):
        for status in sorted({*kept.get(job, {}), *rows.get(job, {})}):
            number, found = kept.get(job, {}).get(status, 0), rows.get(job, {}).get(status, 0)
            if number != found:
                detail = f"{source} {number:,} {status} instances of {job}, and {found:,} rows are"
                return Finding("problem", TOPIC, detail, ADVICE)
    total = sum(number for statuses in rows.values() for number in statuses.values())
    return Finding("ok", TOPIC, f"{total:,} {'instance' if total == 1 else 'instances'}, as {source}")


def numbers_of(counts: tuple[StatusCount, ...]) -> Numbers:
    """Return counts by job and status."""
    numbers: Numbers = {}
    for one in counts:
        numbers.setdefault(f"{one.kind}:{one.name}", {})[one.status] = one.number
    return numbers
