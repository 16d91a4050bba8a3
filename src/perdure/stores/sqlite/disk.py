"""The functions of the driver and the operating system that the SQLite store uses, in one record."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from perdure.stores.sqlite.temp_file import sync_path
from perdure.stores.sqlite.thread import DatabaseThread, connect

Connect: TypeAlias = Callable[[str], Awaitable[DatabaseThread]]
"""Opens a file, in a thread of its own."""


@attrs.frozen(kw_only=True)
class Disk:
    """All file operations of the store other than SQL statements.

    Attributes:
        connect: open a connection.
        stat: size, times and identity of the file at a path.
        read: a number of bytes at an offset of a descriptor.
        touch: set the modification time of a descriptor's file, in nanoseconds.
        sync: write a file, or the names in a folder, to stable storage.
    """

    connect: Connect = connect
    stat: Callable[[str], os.stat_result] = os.stat
    read: Callable[[int, int, int], bytes] = os.pread
    touch: Callable[[int, int], None] = attrs.field(default=lambda file, time_ns: os.utime(file, ns=(time_ns, time_ns)))
    sync: Callable[[Path], None] = sync_path


REAL_DISK = Disk()

_BLOCK_BYTES: Final = 1024 * 1024


def why_unreadable(disk: Disk, descriptor: int, log: str) -> OSError | None:
    """Read a database and its log completely, and return the error of the disk, if there is one.

    SQLite reports corruption both when the system fails to read and when the bytes are damaged; this tells them apart.
    """
    try:
        _read_all(disk, descriptor)
        beside = os.open(log, os.O_RDONLY)  # SQLite has no lock on it that closing it here could drop
        try:
            _read_all(disk, beside)
        finally:
            os.close(beside)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def _read_all(disk: Disk, descriptor: int) -> None:
    offset = 0
    while read := len(disk.read(descriptor, _BLOCK_BYTES, offset)):
        offset += read
