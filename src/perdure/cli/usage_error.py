"""The error of a command that was asked for something that cannot be done."""

from __future__ import annotations

import attrs


@attrs.frozen(str=False)
class UsageError(Exception):
    """A command cannot begin.

    Attributes:
        problem: what is wrong, and what to do.
        details: a traceback of the user's own code, if that is where it broke.
    """

    problem: str
    details: str = ""

    def __str__(self) -> str:
        return self.problem
