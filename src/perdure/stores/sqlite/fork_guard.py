"""What a forked child inherits of its parent's open files, and must let go of.

A lock that a child shares outlives its parent. A connection must not even be closed over there: SQLite's locks were not
inherited, and its mutexes as they happened to be (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_).
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """Something open that belongs to this process alone."""

    def leave(self) -> None:
        """Let go of it, in a forked child: the parent goes on with it."""
        ...


_open: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def guard_fork(thing: ForkAware) -> None:
    """Let a child that is forked from now on leave this thing to its parent."""
    _open.add(thing)


def _leave_to_parent() -> None:
    for thing in tuple(_open):
        thing.leave()
    _open.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
