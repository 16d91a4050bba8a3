"""Open files: a connection is one, and so are those of the store, which must never find none left."""

from __future__ import annotations

import resource
from typing import Final

import attrs

RESERVED: Final = 128
"""Open files that are kept for the store, the services and the log."""


@attrs.frozen(kw_only=True)
class OpenFiles:
    """The limit of open files of a process, and the connections that fit in.

    Attributes:
        soft: the limit in effect.
        connections: connections at the same time, over all addresses.
    """

    soft: int
    connections: int


def fitting(connections: int, *, soft: int, hard: int) -> OpenFiles:
    """Return the soft limit to set, and how many of the desired connections fit in.

    Args:
        connections: the desired connections.
        soft: the soft limit of this process.
        hard: its hard limit; -1 for none.

    >>> fitting(1_000, soft=1_024, hard=4_096)
    OpenFiles(soft=1128, connections=1000)
    >>> fitting(1_000, soft=256, hard=512)
    OpenFiles(soft=512, connections=384)
    """
    if soft == resource.RLIM_INFINITY:
        return OpenFiles(soft=soft, connections=connections)
    wanted = max(soft, connections + RESERVED)
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return OpenFiles(soft=possible, connections=max(1, min(connections, possible - RESERVED)))


def make_room(connections: int) -> int:
    """Raise this process's limit of open files as far as needed and permitted.

    Args:
        connections: the desired connections.

    Returns:
        The connections that fit in.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = fitting(connections, soft=soft, hard=hard)
    if found.soft != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (found.soft, hard))
    return found.connections
