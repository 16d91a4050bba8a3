"""The end of a replay: the steps that a program would perform next."""

from __future__ import annotations

import attrs

from perdure.values.excerpt import fields_in_line


@attrs.frozen(kw_only=True)
class NextStep:
    """A step that a program waits for after the replay of a journal.

    Attributes:
        path: the position of the step in its program.
        name: the name of the step.
        instruction: the instruction of the program, with its arguments.
        line: the line of the program that waits for it, as ``file:number``; None if it is unknown.
        request: the action of the request that answers it, such as ``signal.approval``; None if no caller does.
    """

    __repr__ = fields_in_line

    path: str
    name: str
    instruction: object
    line: str | None = None
    request: str | None = None
