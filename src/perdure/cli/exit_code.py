"""The exit codes of the commands."""

from __future__ import annotations

from enum import IntEnum

from perdure.values.errors import (
    AccessDenied,
    DefinitionError,
    EngineClosed,
    OutcomeUnknown,
    Overloaded,
    PerdureError,
    ServerUnreachable,
    StoreError,
    StoreUnavailable,
)


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    """The command succeeded, or stopped on request."""

    FAILED = 1
    """The engine stopped itself or the store is unavailable, and a restart helps; a check found problems; a wait ended
    without its status."""

    MISCONFIGURED = 2
    """The command cannot start, or lost its store: a restart would not help; the message says how to fix it."""

    REFUSED = 3
    """The request was refused and changed nothing, there is no such instance, or the run did not succeed."""

    UNREACHABLE = 4
    """No engine answered, or it accepts no requests now. Nothing changed: retry later."""

    UNKNOWN = 5
    """The request may or may not have been applied: repeat it with its idempotency key."""

    INTERRUPTED = 130
    """The user pressed Ctrl-C before the command was done."""


def code_of(error: PerdureError) -> ExitCode:
    """Return the exit code of a command that an error ended."""
    match error:
        case ServerUnreachable() | EngineClosed() | Overloaded() | StoreUnavailable():
            return ExitCode.UNREACHABLE
        case OutcomeUnknown():
            return ExitCode.UNKNOWN
        case DefinitionError() | AccessDenied() | StoreError():
            return ExitCode.MISCONFIGURED
        case _:
            return ExitCode.REFUSED
