"""The diagnosis of a SQLite store and of any engine: measurements of the file, and the judgement, which is pure.

The counts that an engine keeps, or saved, are compared with the rows of the file.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

import attrs

from perdure.cli.inspection.stats import Counts, FileSize, count
from perdure.cli.output import MIB, size_text
from perdure.stores.sqlite.counters import saved
from perdure.stores.sqlite.files import exposed_files, owner_socket
from perdure.stores.sqlite.lock import owner_of
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.schema import migrations
from perdure.stores.values import Health
from perdure.values.listings import StatusCount, StoreCounts
from perdure.values.times import format_duration

Level: TypeAlias = Literal["ok", "skipped", "warning", "problem"]
"""``problem``: something does not work. ``warning``: an operator should look at it. ``skipped``: not checked."""


@attrs.frozen
class Diagnosis:
    """The result of one check.

    Attributes:
        level: how much it matters.
        topic: the subject, a word.
        detail: the finding.
        advice: how to fix it; empty if it is ``ok``.
    """

    level: Level
    topic: str
    detail: str
    advice: str = ""

    @property
    def line(self) -> str:
        """The finding as one line."""
        return f"{self.level:<7}  {self.topic:<12}  {self.detail}{f': {self.advice}' if self.advice else ''}"


MOUNTS: Final = Path("/proc/self/mounts")
_LAST_EVENT: Final = "SELECT max(at_ms) FROM (SELECT at_ms FROM events ORDER BY sequence DESC LIMIT 1)"
_FIRST_WITH_MARKS: Final = 11
_LEFT: Final = """
SELECT CASE WHEN json_valid(left_mark) THEN coalesce(json_extract(left_mark, '$.error.error_type'), '?') ELSE '?' END,
  count(*) FROM instances WHERE left_by IS NOT NULL GROUP BY 1
"""
_LEFT_MESSAGES: Final = "SELECT count(*) FROM messages WHERE left_by IS NOT NULL"
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@attrs.frozen(kw_only=True)
class StoreFacts:
    """Measurements of a store and its surroundings.

    Attributes:
        url: the store.
        mode: the permissions of the file.
        exposed: the files that every user can open, with their modes: the file, its lock file, its log.
        can_write: whether this user may write the file and its folder.
        file_system: the type of its file system; empty if unknown.
        free_bytes: free space of its disk.
        counts: its rows.
        owner: the process that owns it, or None.
        listens: whether that process answers on the socket beside the file.
        schema_version: of its tables.
        newest_schema: the newest version that this library knows.
        left: instances that code left, as it cannot read them, by the class of the problem.
        left_messages: messages that code left.
        last_event_ms: the time of its newest event.
        now_ms: the present.
    """

    url: str
    mode: int
    exposed: Mapping[str, int]
    can_write: bool
    file_system: str
    free_bytes: int
    counts: Counts
    owner: str | None
    listens: bool
    schema_version: int
    newest_schema: int
    left: Mapping[str, int]
    left_messages: int
    last_event_ms: int | None
    now_ms: int


def measured(reader: Reader, *, url: str, listens: bool, now_ms: int) -> StoreFacts:
    """Measure a store.

    Args:
        reader: reads its file.
        url: its URL.
        listens: whether a process answers on its socket.
        now_ms: the present.
    """
    path = reader.path
    ((last_event_ms,),) = reader.rows(_LAST_EVENT)
    has_marks = reader.schema_version >= _FIRST_WITH_MARKS
    return StoreFacts(
        url=url,
        mode=path.stat().st_mode & 0o777,
        exposed=exposed_files(path),
        can_write=os.access(path, os.W_OK) and os.access(path.parent, os.W_OK),
        file_system=file_system_of(path),
        free_bytes=shutil.disk_usage(path.parent).free,
        counts=count(reader, now_ms),
        owner=owner_of(path),
        listens=listens,
        schema_version=reader.schema_version,
        newest_schema=len(migrations()),
        left=dict(reader.rows(_LEFT)) if has_marks else {},
        left_messages=reader.rows(_LEFT_MESSAGES)[0][0] if has_marks else 0,
        last_event_ms=last_event_ms,
        now_ms=now_ms,
    )


def socket_of(path: Path) -> str:
    """Return the path of the socket of a file's owner."""
    return owner_socket(path)


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the type of the file system that holds a file, such as ``ext4`` or ``nfs4``.

    Args:
        path: the absolute path of the file.
        mounts: the list of the mounted file systems, as Linux writes it.

    Returns:
        The type; empty if it is unknown: without ``/proc``, or in a changed root, whose list names no mount of the
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


def judged(facts: StoreFacts) -> Iterator[Diagnosis]:
    """Yield one or more findings of each check."""
    yield _schema(facts)
    yield _permissions(facts)
    yield _file_system(facts)
    yield _space(facts)
    yield _log(facts)
    yield _owner(facts)
    yield _alarms(facts)
    yield _clock(facts)
    yield from _work(facts)


def _schema(facts: StoreFacts) -> Diagnosis:
    if facts.schema_version < facts.newest_schema:
        detail = f"schema version {facts.schema_version}, this library writes {facts.newest_schema}"
        advice = "back it up; the next engine upgrades it, and older versions of perdure cannot open it afterwards"
        return Diagnosis("warning", "schema", detail, advice)
    return Diagnosis("ok", "schema", f"schema version {facts.schema_version}")


def _permissions(facts: StoreFacts) -> Diagnosis:
    mode = f"mode {facts.mode:04o}"
    names = " ".join(facts.exposed)
    modes = ", ".join(f"{name} {one:04o}" for name, one in facts.exposed.items())
    if any(one & stat.S_IWOTH for one in facts.exposed.values()):
        return Diagnosis("problem", "permissions", f"every user can change a file: {modes}", f"chmod o-rw {names}")
    if facts.exposed:
        detail = f"every user can read all states, and lock the store so that no engine starts: {modes}"
        return Diagnosis("warning", "permissions", detail, f"chmod o-rw {names}")
    if not facts.can_write:
        detail = f"{mode}: this user can read the file and not write it and its folder"
        return Diagnosis("warning", "permissions", detail, "run the engine as the owner of both")
    return Diagnosis("ok", "permissions", mode)


def _file_system(facts: StoreFacts) -> Diagnosis:
    kind = facts.file_system
    if kind in REMOTE:
        detail = f"{kind}: its locks do not keep a second engine out, and synced writes may be lost"
        return Diagnosis("problem", "file system", detail, "move the file to a local disk")
    if kind in VOLATILE:
        return Diagnosis("warning", "file system", f"{kind}: a restart of the machine loses it", "move it to a disk")
    return Diagnosis("ok", "file system", kind or "unknown")


def _space(facts: StoreFacts) -> Diagnosis:
    free = f"{size_text(facts.free_bytes)} free"
    if facts.free_bytes < LEAST_FREE_BYTES:
        return Diagnosis("problem", "disk", free, "free space: commits fail when the disk is full")
    if facts.free_bytes < _size(facts).file_bytes:
        size = size_text(_size(facts).file_bytes)
        return Diagnosis("warning", "disk", free, f"a backup or a vacuum needs {size} more")
    return Diagnosis("ok", "disk", f"{free}, the file has {size_text(_size(facts).file_bytes)}")


def _size(facts: StoreFacts) -> FileSize:
    return cast("FileSize", facts.counts.size)  # these are the facts of a file


def _log(facts: StoreFacts) -> Diagnosis:
    size_bytes = _size(facts).wal_bytes
    if size_bytes > LARGE_LOG_BYTES:
        advice = "find the program that reads the file for long; it blocks checkpoints"
        return Diagnosis("warning", "wal", size_text(size_bytes), advice)
    return Diagnosis("ok", "wal", size_text(size_bytes))


def _owner(facts: StoreFacts) -> Diagnosis:
    if facts.listens:
        return Diagnosis("ok", "engine", f"{facts.owner or 'a process'} answers on the socket")
    if facts.owner is not None:
        detail = f"{facts.owner} owns the file and does not listen on the socket"
        return Diagnosis("warning", "engine", detail, "start it with perdure run, so that commands can reach it")
    return Diagnosis(
        "warning",
        "engine",
        "no engine runs on it: no alarm fires",
        f"start one: perdure run MODULE:APP --store {facts.url}",
    )


def _alarms(facts: StoreFacts) -> Diagnosis:
    since_ms = facts.counts.due_since_ms
    late_ms = 0 if since_ms is None else facts.now_ms - since_ms
    if late_ms <= OVERDUE_MS:
        return Diagnosis("ok", "alarms", f"{facts.counts.due:,} due")
    late = format_duration(late_ms // 1_000 * 1_000)
    detail = f"{facts.counts.due:,} due, the oldest for {late}"
    if facts.owner is None and not facts.listens:
        return Diagnosis("warning", "alarms", detail, "they fire when an engine starts")
    advice = "its jobs may be orphaned (perdure list --status orphaned), or the engine hangs or is overloaded"
    return Diagnosis("problem", "alarms", detail, advice)


def _clock(facts: StoreFacts) -> Diagnosis:
    if facts.last_event_ms is not None and facts.last_event_ms > facts.now_ms + CLOCK_MS:
        ahead = format_duration((facts.last_event_ms - facts.now_ms) // 1_000 * 1_000)
        detail = f"the newest event lies {ahead} in the future"
        return Diagnosis("problem", "clock", detail, "set the clock of this machine: alarms fire late or early")
    return Diagnosis("ok", "clock", "no event lies in the future")


def _work(facts: StoreFacts) -> Iterator[Diagnosis]:
    counts = facts.counts
    parked = sum(statuses.get("parked", 0) for statuses in counts.instances.values())
    yield waiting(parked, "parked", "instances are parked", "perdure list --status parked")
    yield left_instances(facts.left)
    yield left_messages(facts.left_messages)
    yield waiting(counts.dead_letters, "dead letters", "messages failed too often", "perdure dead-letters")


def waiting(number: int, topic: str, detail: str, command: str) -> Diagnosis:
    """Return a warning if something waits for an operator.

    Args:
        number: how many.
        topic: the subject.
        detail: what they are.
        command: the command that lists them.
    """
    if number:
        return Diagnosis("warning", topic, f"{number:,}: {detail}", f"they wait for you; {command}")
    return Diagnosis("ok", topic, "none")


def left_instances(numbers: Mapping[str, int], more: str = "") -> Diagnosis:
    """Judge the instances that code left, because it cannot read them.

    Args:
        numbers: how many there are, by the class of the problem.
        more: what follows if these are not all.
    """
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(numbers.items()))
    detail = f"instances are left, as the code cannot read them ({reasons}){more}"
    return waiting(sum(numbers.values()), "left", detail, "perdure list --status left")


def left_messages(number: int, more: str = "") -> Diagnosis:
    """Judge the messages that code left, because it cannot read them.

    Args:
        number: how many.
        more: what follows if these are not all.
    """
    detail = f"messages are left, as the code cannot read them; those behind them wait as well{more}"
    return waiting(number, "left messages", detail, "perdure left-messages")


def health(report: Health) -> Diagnosis:
    """Judge the health that an engine reports."""
    match report.state:
        case "ok":
            return Diagnosis("ok", "health", "the engine reports no problem")
        case "degraded":
            return Diagnosis("warning", "health", report.detail, "the engine works")
        case "failed":
            return Diagnosis("problem", "health", report.detail, "see the log of the engine")


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
