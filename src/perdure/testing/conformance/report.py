"""The result of a run of the suite."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen
class Outcome:
    """The result of one check.

    Attributes:
        name: the name of the case.
        verdict: ``not applicable`` when the capabilities of the store, or its harness, exclude the case.
        detail: how the store failed.
    """

    name: str
    verdict: Literal["passed", "failed", "not applicable"]
    detail: str = ""


@attrs.frozen
class ConformanceReport:
    """The result of each check of the suite. Its text is human-readable."""

    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The checks that failed."""
        return tuple(one for one in self.outcomes if one.verdict == "failed")

    def __str__(self) -> str:
        verdicts = ("passed", "failed", "not applicable")
        counts = {verdict: sum(one.verdict == verdict for one in self.outcomes) for verdict in verdicts}
        lines = [", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
        lines += [f"\n{one.name}: {one.detail}" for one in self.failed]
        return "\n".join(lines)
