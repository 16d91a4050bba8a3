"""What became of a run of the whole suite."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen
class Outcome:
    """What became of one check.

    Attributes:
        name: of the case.
        verdict: ``not promised`` when the store's capabilities, or its place, leave the case out.
        detail: how the promise was broken.
    """

    name: str
    verdict: Literal["kept", "broken", "not promised"]
    detail: str = ""


@attrs.frozen
class ConformanceReport:
    """What became of each check of the suite, printed as a person reads it."""

    outcomes: tuple[Outcome, ...]

    @property
    def broken(self) -> tuple[Outcome, ...]:
        """The checks that failed."""
        return tuple(one for one in self.outcomes if one.verdict == "broken")

    def __str__(self) -> str:
        verdicts = ("kept", "broken", "not promised")
        counts = {verdict: sum(one.verdict == verdict for one in self.outcomes) for verdict in verdicts}
        lines = [", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
        lines += [f"\n{one.name}: {one.detail}" for one in self.broken]
        return "\n".join(lines)
