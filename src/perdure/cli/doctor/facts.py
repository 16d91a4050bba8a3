"""What is measured of a store, before it is judged."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from perdure.cli.stats.counts import Counts, count
from perdure.stores.sqlite.files import exposed_files, owner_socket
from perdure.stores.sqlite.lock import owner_of
from perdure.stores.sqlite.reader import Reader
from perdure.stores.sqlite.schema import migrations

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
