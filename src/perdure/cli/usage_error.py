"""The error of a command that cannot do what the user asked."""

from __future__ import annotations

import attrs


@attrs.frozen(str=False)
class UsageError(Exception):
    """A command cannot start.

    Attributes:
        problem: what is wrong and how to fix it.
        details: the traceback, if the user's own code raised.
    """

    problem: str
    details: str = ""

    def __str__(self) -> str:
        return self.problem
