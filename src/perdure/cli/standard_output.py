"""Lines on standard output, also where that cannot be written: a closed pipe, a full disk, or none at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from perdure.values.excerpt import one_line


def write_lines(lines: Iterable[str]) -> None:
    r"""Write lines, with every character escaped that is not printable.

    Stored texts (ids, keys, errors) could contain terminal codes, or line breaks that forge a line.

    >>> write_lines(["task:orders:\x1b[31m\nPROBLEM"])
    task:orders:\x1b[31m\nPROBLEM
    """
    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))


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
