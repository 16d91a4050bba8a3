"""Keeps a forked child from using or closing the open files of its parent.

A lock that a child shares outlives its parent. The child must not even close a connection: SQLite's locks were not
inherited, and its mutexes in an arbitrary state (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_).
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """A resource that belongs to one process."""

    def leave(self) -> None:
        """Abandon the resource in a forked child: the parent keeps it."""
        ...


_open: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def guard_fork(thing: ForkAware) -> None:
    """Call ``leave`` in every child that is forked from now on."""
    _open.add(thing)


def _leave_to_parent() -> None:
    for thing in tuple(_open):
        thing.leave()
    _open.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
