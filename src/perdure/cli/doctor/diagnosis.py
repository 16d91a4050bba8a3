"""One finding of a check."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

Level: TypeAlias = Literal["ok", "skipped", "warning", "problem"]
"""``problem``: something does not work. ``warning``: an operator should look at it. ``skipped``: not checked."""


@attrs.frozen
class Diagnosis:
    """The result of one check.

    Attributes:
        level: how much it matters.
        topic: the subject, a word.
        detail: the finding.
        advice: how to fix it; empty if it is ``ok``.
    """

    level: Level
    topic: str
    detail: str
    advice: str = ""

    @property
    def line(self) -> str:
        """The finding as one line."""
        return f"{self.level:<7}  {self.topic:<12}  {self.detail}{f': {self.advice}' if self.advice else ''}"
