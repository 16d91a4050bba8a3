"""The error of a command that cannot start."""

from __future__ import annotations

import attrs

from perdure.cli.exit_code import ExitCode


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
