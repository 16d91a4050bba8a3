"""What the SQLite store takes from the driver and the operating system, as one record."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs

from perdure.stores.sqlite.thread import DatabaseThread, connect

Connect: TypeAlias = Callable[[str], Awaitable[DatabaseThread]]
"""Opens a file, in a thread of its own."""


@attrs.frozen(kw_only=True)
class Disk:
    """Everything that the store does to a file other than by a statement.

    Attributes:
        connect: open a connection.
        stat: size, times and identity of the file at a path.
        read: so many bytes at an offset of a descriptor.
        touch: set the time of the last change of a descriptor's file, in nanoseconds.
    """

    connect: Connect = connect
    stat: Callable[[str], os.stat_result] = os.stat
    read: Callable[[int, int, int], bytes] = os.pread
    touch: Callable[[int, int], None] = attrs.field(default=lambda file, time_ns: os.utime(file, ns=(time_ns, time_ns)))


REAL_DISK = Disk()
