"""The entry point. It needs only the standard library, so that it can report a missing extra."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module

from perdure.cli.process import ExitCode, discard_stdout, ensure_stdout

MISSING_EXTRA = "perdure: the command line needs cyclopts and rich; install them with: pip install 'perdure[cli]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command's name and options. By default the process arguments.

    Returns:
        The exit code.
    """
    try:
        return _main(arguments)
    except KeyboardInterrupt:  # while a module is imported, for example
        return ExitCode.INTERRUPTED


def _main(arguments: Sequence[str] | None) -> int:
    try:
        import_module("rich")  # commands import it later, when they print
        from perdure.cli.commands import run_command  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        sys.stderr.write(f"{MISSING_EXTRA}\n")
        return ExitCode.MISCONFIGURED
    ensure_stdout()
    try:
        code = run_command(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in {errno.EPIPE, errno.ENOSPC}:
            raise
        discard_stdout(error)
        return ExitCode.MISCONFIGURED
    return code
