"""Standard output that cannot be written: a closed pipe, a full disk, or none at all."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def ensure_stdout() -> None:
    """Discard the output of a process that was started without standard output."""
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - the descriptor may be closed
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for the life of the process


def discard_stdout(error: OSError) -> None:
    """Discard all further output, and report why on standard error. Python flushes the output at the end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    with suppress(OSError):
        sys.stderr.write(f"perdure: standard output cannot be written: {error.strerror}; it is discarded\n")
