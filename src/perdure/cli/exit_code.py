"""What the commands tell the shell."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    """It did what it was asked, or stopped when it was asked to."""

    FAILED = 1
    """It could not go on: the engine stopped by itself, a proof did not hold, or a check found problems."""

    MISCONFIGURED = 2
    """It was asked for something that cannot be done; the message says what to mend."""

    INTERRUPTED = 130
    """Somebody pressed Ctrl-C while it was not done yet."""
