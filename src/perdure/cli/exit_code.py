"""The exit codes of the commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    """The command succeeded, or stopped on request."""

    FAILED = 1
    """The engine stopped itself or the store is unavailable, and a restart helps; or a check found problems."""

    MISCONFIGURED = 2
    """The command cannot start, or lost its store: a restart would not help; the message says how to fix it."""

    INTERRUPTED = 130
    """The user pressed Ctrl-C before the command was done."""
