"""Judges the measurements of a store. Pure."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from typing import Final, cast

from perdure.cli.doctor.diagnosis import Diagnosis
from perdure.cli.doctor.facts import StoreFacts
from perdure.cli.size import MIB, shown
from perdure.cli.stats.counts import FileSize
from perdure.stores.values import Health
from perdure.values.times import format_duration

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
    free = f"{shown(facts.free_bytes)} free"
    if facts.free_bytes < LEAST_FREE_BYTES:
        return Diagnosis("problem", "disk", free, "free space: commits fail when the disk is full")
    if facts.free_bytes < _size(facts).file_bytes:
        size = shown(_size(facts).file_bytes)
        return Diagnosis("warning", "disk", free, f"a backup or a vacuum needs {size} more")
    return Diagnosis("ok", "disk", f"{free}, the file has {shown(_size(facts).file_bytes)}")


def _size(facts: StoreFacts) -> FileSize:
    return cast("FileSize", facts.counts.size)  # these are the facts of a file


def _log(facts: StoreFacts) -> Diagnosis:
    size_bytes = _size(facts).wal_bytes
    if size_bytes > LARGE_LOG_BYTES:
        advice = "find the program that reads the file for long; it blocks checkpoints"
        return Diagnosis("warning", "wal", shown(size_bytes), advice)
    return Diagnosis("ok", "wal", shown(size_bytes))


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
