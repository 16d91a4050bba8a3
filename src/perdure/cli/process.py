"""A command's process: its exit code, the error that ends it, and its standard output.

The entry point needs it before it knows that the extra ``cli`` is installed, so it imports neither cyclopts nor rich.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

import attrs

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
from perdure.values.excerpt import one_line


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    """The command succeeded, or stopped on request."""

    FAILED = 1
    """The engine stopped itself or the store is unavailable, and a restart helps. Or a check found problems, or a
    wait ended without its status."""

    MISCONFIGURED = 2
    """The command cannot start, or lost its store: a restart would not help. The message says how to fix it."""

    REFUSED = 3
    """The request was refused and changed nothing, there is no such instance, or the run did not succeed."""

    UNREACHABLE = 4
    """No engine answered, or it accepts no requests now. Nothing changed: retry later."""

    UNKNOWN = 5
    """The request may or may not have been applied: repeat it with its idempotency key."""

    INTERRUPTED = 130
    """The user pressed Ctrl-C before the command was done."""


def code_of(error: PerdureError) -> ExitCode:
    """Return a command's exit code after an error ended it."""
    match error:
        case ServerUnreachable() | EngineClosed() | Overloaded() | StoreUnavailable():
            return ExitCode.UNREACHABLE
        case OutcomeUnknown():
            return ExitCode.UNKNOWN
        case DefinitionError() | AccessDenied() | StoreError():
            return ExitCode.MISCONFIGURED
        case _:
            return ExitCode.REFUSED


@attrs.frozen(str=False)
class UsageError(Exception):
    """A command cannot start.

    Attributes:
        problem: the problem and how to fix it.
        details: the traceback, if the user's own code raised.
        exit_code: whether to start the command again.
    """

    problem: str
    details: str = ""
    exit_code: ExitCode = ExitCode.MISCONFIGURED

    def __str__(self) -> str:
        return self.problem


def write_lines(lines: Iterable[str]) -> None:
    r"""Write lines, with every character escaped that is not printable.

    Stored texts (ids, keys, errors) could contain terminal codes, or line breaks that forge a line.

    >>> write_lines(["task:orders:\x1b[31m\nPROBLEM"])
    task:orders:\x1b[31m\nPROBLEM
    """
    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))


def ensure_stdout() -> None:
    """Discard the output if the process was started without standard output."""
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - the descriptor may be closed
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for the life of the process


def discard_stdout(error: OSError) -> None:
    """Discard all further output, and report why on standard error. Python flushes the output at the end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        # The descriptor itself: Python would report the error again when it flushes at the end.
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    with suppress(OSError):
        sys.stderr.write(f"perdure: standard output cannot be written: {error.strerror}; it is discarded\n")
